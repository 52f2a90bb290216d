//! Which usage events were counted already: the memory of identities within the dedupe horizon.
//!
//! `processors/tollgate/ledger/identities.py` is the reference and says what the numbers mean.

use hashbrown::HashMap;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

pub type Digest = [u8; 16];

/// What is known of an identity: the fingerprint of what the event said, and the broker's second it was first seen at.
pub type Seen = (u64, u32);

/// One identity in the identities topic: digest, fingerprint and second, little endian.
pub const ROW_BYTES: usize = 28;

/// Identities counted by one partition, remembered for `horizon_s` after they were first seen.
#[pyclass]
pub struct Identities {
    horizon_s: i64,
    table: HashMap<Digest, Seen>,
}

/// The part that other Rust code calls, once per event.
impl Identities {
    /// What is known of an identity, be it past the horizon or not.
    #[inline]
    pub fn look(&self, digest: &Digest) -> Option<Seen> {
        self.table.get(digest).copied()
    }

    /// Remember an identity; one that was known is from now on seen then.
    #[inline]
    pub fn insert(&mut self, digest: Digest, seen: Seen) {
        self.table.insert(digest, seen);
    }

    /// Whether an identity first seen then still counts as seen: up to and including the horizon.
    #[inline]
    pub fn remembers(&self, seen: Seen, now_s: i64) -> bool {
        now_s - i64::from(seen.1) <= self.horizon_s
    }
}

#[pymethods]
impl Identities {
    #[new]
    fn new(horizon_ms: i64) -> Self {
        Self { horizon_s: horizon_ms / 1000, table: HashMap::new() }
    }

    fn __len__(&self) -> usize {
        self.table.len()
    }

    /// What is known of one identity.
    fn get(&self, digest: Digest) -> Option<Seen> {
        self.look(&digest)
    }

    fn add(&mut self, digest: Digest, fingerprint: u64, seen_s: u32) {
        self.insert(digest, (fingerprint, seen_s));
    }

    fn is_remembered(&self, seen: Seen, now_s: i64) -> bool {
        self.remembers(seen, now_s)
    }

    /// Forget what is past the horizon, if that is due.
    fn compact(&mut self, now_s: i64) {
        let horizon_s = self.horizon_s;
        if self.table.len() == self.table.capacity() {
            self.table.retain(|_, seen| now_s - i64::from(seen.1) <= horizon_s);
        }
    }

    /// Take back rows of the identities topic. ValueError when they are not whole rows.
    fn restore(&mut self, rows: &[u8], now_s: i64) -> PyResult<()> {
        if rows.len() % ROW_BYTES != 0 {
            return Err(PyValueError::new_err("not whole rows of 28 bytes"));
        }
        for row in rows.chunks_exact(ROW_BYTES) {
            let mut whole = [0; ROW_BYTES];
            whole.copy_from_slice(row);
            let (digest, seen) = unpacked(&whole);
            self.insert(digest, seen);
        }
        self.compact(now_s);
        Ok(())
    }
}

/// An identity as it stands in the identities topic.
pub fn packed(digest: &Digest, seen: Seen) -> [u8; ROW_BYTES] {
    let mut row = [0; ROW_BYTES];
    row[..16].copy_from_slice(digest);
    row[16..24].copy_from_slice(&seen.0.to_le_bytes());
    row[24..].copy_from_slice(&seen.1.to_le_bytes());
    row
}

/// The inverse of `packed`.
pub fn unpacked(row: &[u8; ROW_BYTES]) -> (Digest, Seen) {
    let mut digest = [0; 16];
    let (mut fingerprint, mut seconds) = ([0; 8], [0; 4]);
    digest.copy_from_slice(&row[..16]);
    fingerprint.copy_from_slice(&row[16..24]);
    seconds.copy_from_slice(&row[24..]);
    (digest, (u64::from_le_bytes(fingerprint), u32::from_le_bytes(seconds)))
}
