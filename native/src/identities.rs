//! Which usage events were counted already: the memory of identities within the dedupe horizon.
//!
//! `processors/tollgate/ledger/identities.py` is the reference and says what the numbers mean. Fifty million identities
//! must fit in less than 2 GB and none of them may cause a pause, so the table is in shards (`shard.rs`) that grow by an
//! eighth, each on its own.

use std::hash::{BuildHasher, Hasher, RandomState};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList};

pub use crate::shard::ROW_BYTES;
use crate::shard::{Row, Scratch, Shard};

pub type Digest = [u8; 16];

/// What is kept of an identity: the fingerprint of the event's content, and the broker's second at which it was first seen.
pub type Seen = (u64, u32);

const SHARD_BITS: u32 = 8;
const SHARDS: usize = 1 << SHARD_BITS;

/// How many restored rows are collected (15 MB) before each shard sorts its part of them and merges it in.
const STAGED_MAX: usize = 1 << 19;

/// How often a shard drops rows past the horizon of 35 days. Once a day would waste 3 % of the memory.
const SWEEP_SECONDS: i64 = 3600;

/// Identities counted by one partition, remembered for `horizon_s` after they were first seen.
#[pyclass]
pub struct Identities {
    horizon_s: i64,
    /// Odd and random: nobody can choose ids that crowd one place of the table.
    key: u64,
    shards: Vec<Shard>,
    /// Restored and not yet in the shards, oldest first.
    staged: Vec<Row>,
    scratch: Scratch,
    /// The highest second that was passed to `compact` or `restore`.
    now_s: i64,
    /// The shard that is cleaned next, and when the last round began.
    sweep: usize,
    round_s: i64,
}

/// The part that other Rust code calls, once per event.
impl Identities {
    /// What is known of an identity, be it past the horizon or not.
    #[inline]
    pub fn look(&mut self, digest: &Digest) -> Option<Seen> {
        self.unstage();
        let hash = hash_of(self.key, digest);
        self.shards
            .get(place(hash))
            .and_then(|shard| shard.look(hash << SHARD_BITS, digest, |row| hash_of(self.key, row) << SHARD_BITS))
    }

    /// Remember an identity; one that was known is from now on seen then.
    #[inline]
    pub fn insert(&mut self, digest: Digest, seen: Seen) {
        self.unstage();
        let hash = hash_of(self.key, &digest);
        let (key, oldest_s) = (self.key, self.oldest_s());
        if let Some(shard) = self.shards.get_mut(place(hash)) {
            shard.insert(packed(&digest, seen), |row| hash_of(key, row) << SHARD_BITS, oldest_s, &mut self.scratch);
        }
    }

    /// Whether an identity first seen then still counts as seen: up to and including the horizon.
    #[inline]
    pub fn remembers(&self, seen: Seen, now_s: i64) -> bool {
        now_s - i64::from(seen.1) <= self.horizon_s
    }

    /// The first second that is still within the horizon.
    fn oldest_s(&self) -> u32 {
        u32::try_from((self.now_s - self.horizon_s).max(0)).unwrap_or(u32::MAX)
    }

    /// Put restored rows into the shards.
    #[inline]
    fn unstage(&mut self) {
        if !self.staged.is_empty() {
            self.merge_staged();
        }
    }

    #[cold]
    fn merge_staged(&mut self) {
        let mut shares: Vec<Vec<Row>> = Vec::new();
        shares.resize_with(SHARDS, || Vec::with_capacity(self.staged.len() / SHARDS * 9 / 8));
        for row in std::mem::take(&mut self.staged) {
            if let Some(share) = shares.get_mut(place(hash_of(self.key, &row))) {
                share.push(row);
            }
        }
        let (key, oldest_s) = (self.key, self.oldest_s());
        for (shard, share) in self.shards.iter_mut().zip(shares) {
            shard.merge(share, |row| hash_of(key, row) << SHARD_BITS, oldest_s, &mut self.scratch);
        }
    }
}

#[pymethods]
impl Identities {
    #[new]
    fn new(horizon_ms: i64) -> Self {
        Self {
            horizon_s: horizon_ms / 1000,
            key: RandomState::new().build_hasher().finish() | 1,
            shards: (0..SHARDS).map(Shard::new).collect(),
            staged: Vec::new(),
            scratch: Vec::new(),
            now_s: 0,
            sweep: SHARDS,
            round_s: 0,
        }
    }

    fn __len__(&mut self) -> usize {
        self.unstage();
        self.shards.iter().map(Shard::len).sum()
    }

    /// Bytes of memory that the table holds.
    #[getter]
    fn nbytes(&self) -> usize {
        (self.staged.capacity() + self.scratch.capacity()) * ROW_BYTES
            + self.shards.iter().map(Shard::bytes).sum::<usize>()
    }

    /// What is known of one identity.
    fn get(&mut self, digest: Digest) -> Option<Seen> {
        self.look(&digest)
    }

    /// Those of the digests that are known, with what is known of them. ValueError when one is not 16 bytes.
    fn known<'py>(&mut self, digests: &Bound<'py, PyList>) -> PyResult<Bound<'py, PyDict>> {
        let found = PyDict::new(digests.py());
        for digest in digests {
            let bytes = digest.cast::<PyBytes>()?;
            let whole: &Digest = bytes.as_bytes().try_into().map_err(|_| PyValueError::new_err("not 16 bytes"))?;
            if let Some(seen) = self.look(whole) {
                found.set_item(bytes, seen)?;
            }
        }
        Ok(found)
    }

    fn add(&mut self, digest: Digest, fingerprint: u64, seen_s: u32) {
        self.insert(digest, (fingerprint, seen_s));
    }

    fn is_remembered(&self, seen: Seen, now_s: i64) -> bool {
        self.remembers(seen, now_s)
    }

    /// Forget what is past the horizon, one shard per call and each shard once an hour of `now_s`.
    fn compact(&mut self, now_s: i64) {
        self.now_s = self.now_s.max(now_s);
        if self.sweep >= SHARDS {
            if self.now_s - self.round_s < SWEEP_SECONDS {
                return;
            }
            (self.sweep, self.round_s) = (0, self.now_s);
        }
        self.unstage();
        let (key, oldest_s) = (self.key, self.oldest_s());
        if let Some(shard) = self.shards.get_mut(self.sweep) {
            shard.expire(|row| hash_of(key, row) << SHARD_BITS, oldest_s, &mut self.scratch);
        }
        self.sweep += 1;
    }

    /// Take back rows of the identities topic, in its order. ValueError when they are not whole rows.
    fn restore(&mut self, rows: &[u8], now_s: i64) -> PyResult<()> {
        let (whole, rest) = rows.as_chunks::<ROW_BYTES>();
        if !rest.is_empty() {
            return Err(PyValueError::new_err("not whole rows of 28 bytes"));
        }
        self.now_s = self.now_s.max(now_s);
        self.staged.extend_from_slice(whole);
        if self.staged.len() >= STAGED_MAX {
            self.merge_staged();
        }
        Ok(())
    }
}

/// The hash of a digest, or of a row, which begins with one.
#[inline]
fn hash_of(key: u64, digest: &[u8]) -> u64 {
    digest.first_chunk().map_or(0, |half| u64::from_le_bytes(*half)).wrapping_mul(key)
}

#[inline]
fn place(hash: u64) -> usize {
    (hash >> (64 - SHARD_BITS)) as usize
}

/// An identity as it stands in the identities topic.
pub fn packed(digest: &Digest, seen: Seen) -> Row {
    let mut row = [0; ROW_BYTES];
    row[..16].copy_from_slice(digest);
    row[16..24].copy_from_slice(&seen.0.to_le_bytes());
    row[24..].copy_from_slice(&seen.1.to_le_bytes());
    row
}
