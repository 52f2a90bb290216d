//! A shard of the table of identities: a hash table of 28-byte rows, sorted by hash, with gaps between them.
//!
//! A row is at the place that its hash gives it, or after it when that place is taken. Since rows are sorted by hash, a
//! search ends at the first larger hash, and growing and merging are one walk in order. Memory is allocated in segments
//! of one size, so that growth leaves no holes in the heap.

use crate::identities::{Digest, Seen};

/// One identity in the identities topic: digest, fingerprint and second, little endian.
pub const ROW_BYTES: usize = 28;
pub type Row = [u8; ROW_BYTES];

const SEGMENT_ROWS: usize = 128;
const EMPTY: Row = [0; ROW_BYTES];

/// A shard grows by an eighth when more than 92 % of its places are taken: a new row then passes some 80 others on its way
/// to a gap. Shards do not grow at the same time, so that a table is 87 % full on the whole: 32 bytes per identity.
const FULL_PERCENT: usize = 92;
const GROWN_PERCENT: usize = 82;

/// A buffer for rows that move to other places. The table lends it to its shards, so that it is allocated once.
pub type Scratch = Vec<Row>;

pub struct Shard {
    /// How full it is after many rows were added or forgotten at once.
    settled_percent: usize,
    segments: Vec<Box<[Row]>>,
    /// Hashes are spread over the first `capacity` places; those behind are for rows that were pushed past the end.
    capacity: usize,
    len: usize,
}

impl Shard {
    /// The shard of this number. Its neighbours grow a little earlier or later.
    pub fn new(number: usize) -> Self {
        let settled_percent = GROWN_PERCENT + number % (FULL_PERCENT - GROWN_PERCENT);
        Self { settled_percent, segments: Vec::new(), capacity: 0, len: 0 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn bytes(&self) -> usize {
        self.places() * ROW_BYTES
    }

    /// What is known of an identity. `hashed` gives the hash of a digest in this shard, `hash` is this one's.
    #[inline]
    pub fn look(&self, hash: u64, digest: &Digest, hashed: impl Fn(&Row) -> u64) -> Option<Seen> {
        let mut place = self.ideal(hash);
        while let Some(row) = self.row(place) {
            if is_empty(row) {
                return None;
            }
            if row.starts_with(digest) {
                return Some(seen_of(row));
            }
            if hashed(row) > hash {
                return None;
            }
            place += 1;
        }
        None
    }

    /// Put a row in, in place of one with the same digest. Rows seen before `oldest_s` may go where the shard must grow.
    pub fn insert(&mut self, row: Row, hashed: impl Fn(&Row) -> u64, oldest_s: u32, scratch: &mut Scratch) {
        if (self.len + 1) * 100 > self.capacity * FULL_PERCENT {
            self.collect(oldest_s, scratch);
            let grown = self.capacity + self.capacity / 8;
            let enough = self.settled(scratch.len() + SEGMENT_ROWS / 2);
            // It need not grow when many of its rows were past the horizon and are gone now.
            let has_room = scratch.len() * 100 < self.capacity * GROWN_PERCENT;
            self.arrange(if has_room { self.capacity.min(enough) } else { grown.max(enough) }, scratch, &hashed);
        }
        let hash = hashed(&row);
        let mut place = self.ideal(hash);
        while let Some(here) = self.row_mut(place) {
            if is_empty(here) {
                break;
            }
            if here[..16] == row[..16] {
                *here = dated(row);
                return;
            }
            if hashed(here) > hash {
                break;
            }
            place += 1;
        }
        self.push_along(place, dated(row));
        self.len += 1;
    }

    /// Put the row at the place and each row behind it one further, up to the first gap.
    fn push_along(&mut self, mut place: usize, mut carried: Row) {
        loop {
            if place >= self.places() {
                self.segments.push(segment());
            }
            let Some(here) = self.row_mut(place) else {
                return;
            };
            std::mem::swap(here, &mut carried);
            if is_empty(&carried) {
                return;
            }
            place += 1;
        }
    }

    /// Put many rows in, oldest first; of two with one digest the one seen later stays.
    pub fn merge(&mut self, mut rows: Vec<Row>, hashed: impl Fn(&Row) -> u64, oldest_s: u32, scratch: &mut Scratch) {
        rows.retain(|row| seen_of(row).1 >= oldest_s);
        if rows.is_empty() {
            return;
        }
        rows.sort_by_cached_key(&hashed);
        self.collect(oldest_s, scratch);
        let mut merged: Vec<Row> = Vec::with_capacity(scratch.len() + rows.len());
        let mut rows = rows.into_iter().peekable();
        for old in scratch.drain(..) {
            while let Some(new) = rows.next_if(|new| hashed(new) < hashed(&old)) {
                append(&mut merged, new, &hashed);
            }
            append(&mut merged, old, &hashed);
        }
        for new in rows {
            append(&mut merged, new, &hashed);
        }
        let full = merged.len() * 100 > self.capacity * FULL_PERCENT;
        self.arrange(if full { self.settled(merged.len()) } else { self.capacity }, &merged, &hashed);
    }

    /// Forget rows seen before `oldest_s`, and give back memory that is then not needed.
    pub fn expire(&mut self, hashed: impl Fn(&Row) -> u64, oldest_s: u32, scratch: &mut Scratch) {
        if !self.rows().any(|row| !is_empty(row) && seen_of(row).1 < oldest_s) {
            return;
        }
        self.collect(oldest_s, scratch);
        self.arrange(self.capacity.min(self.settled(scratch.len())), scratch, &hashed);
    }

    /// All rows that were not seen before `oldest_s`, in the order of their hashes.
    fn collect(&self, oldest_s: u32, scratch: &mut Scratch) {
        scratch.clear();
        scratch.extend(self.rows().filter(|row| !is_empty(row) && seen_of(row).1 >= oldest_s));
    }

    /// Hold these rows, which are in the order of their hashes, and no others, in as many places as the capacity needs.
    fn arrange(&mut self, capacity: usize, rows: &[Row], hashed: &impl Fn(&Row) -> u64) {
        let capacity = if rows.is_empty() { 0 } else { capacity };
        let segments = if rows.is_empty() { 0 } else { (capacity + tail(capacity)).div_ceil(SEGMENT_ROWS) };
        self.segments.truncate(segments);
        for rows in &mut self.segments {
            rows.fill(EMPTY);
        }
        self.segments.resize_with(segments, segment);
        self.capacity = capacity;
        self.len = rows.len();
        let mut next = 0;
        for row in rows {
            let place = self.ideal(hashed(row)).max(next);
            if place >= self.places() {
                self.segments.push(segment());
            }
            if let Some(here) = self.row_mut(place) {
                *here = *row;
            }
            next = place + 1;
        }
    }

    #[inline]
    fn ideal(&self, hash: u64) -> usize {
        ((u128::from(hash) * self.capacity as u128) >> 64) as usize
    }

    fn settled(&self, len: usize) -> usize {
        len * 100 / self.settled_percent + SEGMENT_ROWS / 8
    }

    fn places(&self) -> usize {
        self.segments.len() * SEGMENT_ROWS
    }

    #[inline]
    fn row(&self, place: usize) -> Option<&Row> {
        self.segments.get(place / SEGMENT_ROWS)?.get(place % SEGMENT_ROWS)
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.segments.iter().flat_map(|rows| rows.iter())
    }

    #[inline]
    fn row_mut(&mut self, place: usize) -> Option<&mut Row> {
        self.segments.get_mut(place / SEGMENT_ROWS)?.get_mut(place % SEGMENT_ROWS)
    }
}

/// Add a row to others in the order of their hashes, in place of one with its digest that was not seen later.
fn append(rows: &mut Vec<Row>, row: Row, hashed: impl Fn(&Row) -> u64) {
    let hash = hashed(&row);
    for before in rows.iter_mut().rev().take_while(|before| hashed(before) == hash) {
        if before[..16] == row[..16] {
            if seen_of(before).1 <= seen_of(&row).1 {
                *before = dated(row);
            }
            return;
        }
    }
    rows.push(dated(row));
}

fn segment() -> Box<[Row]> {
    vec![EMPTY; SEGMENT_ROWS].into_boxed_slice()
}

/// How many places behind the capacity are kept for rows that were pushed past it. More are made when these are taken.
fn tail(capacity: usize) -> usize {
    (capacity / 64).max(SEGMENT_ROWS / 8)
}

/// A place whose second is 0 is empty, so second 0 (in 1970) is stored as 1.
#[inline]
fn dated(mut row: Row) -> Row {
    if is_empty(&row) {
        row[24] = 1;
    }
    row
}

#[inline]
fn is_empty(row: &Row) -> bool {
    row[24..] == [0; 4]
}

#[inline]
pub fn seen_of(row: &Row) -> Seen {
    let (mut fingerprint, mut seconds) = ([0; 8], [0; 4]);
    fingerprint.copy_from_slice(&row[16..24]);
    seconds.copy_from_slice(&row[24..]);
    (u64::from_le_bytes(fingerprint), u32::from_le_bytes(seconds))
}
