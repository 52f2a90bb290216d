//! The state rows of idle scopes in little memory: `PythonRows` in `rows.py` is the reference.

use hashbrown::{DefaultHashBuilder, HashTable};
use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedStr;
use pyo3::types::{PyBytes, PyList};
use std::hash::BuildHasher;

use crate::packed_row::{self, Texts, read_varint, write_varint};
use crate::row_reader::{Sum, Unit};

/// How a row is kept: as it is, or packed.
const PLAIN: u8 = 0;
const PACKED: u8 = 1;

/// The list of scopes grows by a share, because half of a list of a million scopes is much.
const GROWTH: usize = 16;

/// A scope, with the calendars in which it counts beyond the base ones; `None` where only Python can read its row.
type More = (String, Option<Vec<String>>);

#[pyclass(module = "tollgate.ledger._native")]
#[derive(Default)]
pub struct Rows {
    hasher: DefaultHashBuilder,
    places: HashTable<u32>,
    /// Of each scope the length of its name, the name, how its row is kept, and the row.
    entries: Vec<Option<Box<[u8]>>>,
    /// Places of the list without a scope.
    free: Vec<u32>,
    texts: Texts,
    entry: Vec<u8>,
    row: Vec<u8>,
}

#[pymethods]
impl Rows {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn __len__(&self) -> usize {
        self.places.len()
    }

    fn __contains__(&self, scope: &str) -> bool {
        self.place(scope).is_some()
    }

    /// The row as it was put, or `None`.
    fn get<'py>(&mut self, py: Python<'py>, scope: &str) -> Option<Bound<'py, PyBytes>> {
        let place = self.place(scope)?;
        let (_, kept) = split(self.entries.get(place as usize)?.as_deref()?)?;
        plain(kept, &self.texts, &mut self.row).map(|row| PyBytes::new(py, row))
    }

    /// Of each scope how much of this unit the base window at this place of its row has, where the row is packed and this
    /// window is open; or `None`.
    fn values(&self, scopes: Vec<PyBackedStr>, place: u8, start_ms: u64, unit: String) -> Vec<Option<i64>> {
        let unit = Unit::of(unit);
        let value = |scope: &str| {
            let entry = self.entries.get(self.place(scope)? as usize)?.as_deref()?;
            let row = Row { kept: split(entry)?.1, texts: &self.texts };
            let (open_ms, sum) = row.window(place)?;
            (open_ms == i128::from(start_ms)).then(|| i64::try_from(unit.measure(&sum)).ok())?
        };
        scopes.iter().map(|scope| value(scope)).collect()
    }

    fn put(&mut self, scope: &str, row: &[u8]) -> PyResult<()> {
        let place = self.place(scope);
        self.keep(scope, row, place, true)
    }

    /// The same for rows that are read one after another, most scopes once, and some very often: packing a row takes
    /// several times as long as keeping it. `settle` comes when all are read.
    fn read(&mut self, scope: &str, row: &[u8]) -> PyResult<()> {
        let place = self.place(scope);
        self.keep(scope, row, place, place.is_none())
    }

    /// Pack the rows that are not.
    fn settle(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        for entry in entries.iter_mut().flatten() {
            if let Some((name, [PLAIN, row @ ..])) = split(entry)
                && let Ok(scope) = std::str::from_utf8(name)
                && self.pack(scope, row)
            {
                *entry = self.entry.as_slice().into();
            }
        }
        self.entries = entries;
    }

    /// The row as it was put, which is not kept any more; or `None`.
    fn pop<'py>(&mut self, py: Python<'py>, scope: &str) -> Option<Bound<'py, PyBytes>> {
        let found = self.get(py, scope)?;
        let hash = self.hasher.hash_one(scope.as_bytes());
        let entries = &self.entries;
        let is_it = |place: &u32| entries.get(*place as usize).and_then(name_of) == Some(scope.as_bytes());
        if let Ok(held) = self.places.find_entry(hash, is_it) {
            let (place, _) = held.remove();
            self.entries[place as usize] = None;
            self.free.push(place);
        }
        Some(found)
    }

    /// The scopes at up to `most` places from this one on, and the place to go on at; `None` when there are no more.
    ///
    /// A walk meets each scope that stays where it is. One that is taken out and put back may be passed over.
    fn names<'py>(&self, py: Python<'py>, place: usize, most: usize) -> PyResult<(Bound<'py, PyList>, Option<usize>)> {
        let found = PyList::empty(py);
        for (name, _) in self.at(place, most) {
            found.append(name)?;
        }
        Ok((found, self.after(place, most)))
    }

    /// The same, of scopes that count in calendars beyond the base ones, with these.
    fn counting_more(&self, place: usize, most: usize) -> (Vec<More>, Option<usize>) {
        let found = self.at(place, most).filter_map(|(name, kept)| match kept.split_first() {
            Some((&PACKED, packed)) => {
                let more = packed_row::more_calendars(packed, &self.texts)?;
                (!more.is_empty()).then(|| (name.to_owned(), Some(more)))
            }
            Some((_, row)) => row.ends_with(b"}]").then(|| (name.to_owned(), None)),
            None => None,
        });
        (found.collect(), self.after(place, most))
    }

    /// Whether there are any.
    fn has_more(&self) -> bool {
        self.at(0, self.entries.len()).any(|(_, kept)| match kept.split_first() {
            Some((&PACKED, packed)) => packed_row::has_more(packed),
            Some((_, row)) => row.ends_with(b"}]"),
            None => false,
        })
    }

    /// The scopes whose rows were written by the next transactions after this one, with their numbers: at least `most` of
    /// them, if there are; and the last of these transactions, `None` when there are no more.
    fn written_after(&self, sequence: u64, most: usize) -> PyResult<(Vec<(String, u64)>, Option<u64>)> {
        let mut numbers = Vec::new();
        for (name, kept) in self.at(0, self.entries.len()) {
            let number = number_of(kept).ok_or_else(|| PyValueError::new_err(format!("no row of state: {name:?}")))?;
            if number > sequence {
                numbers.push(number);
            }
        }
        let last = (most > 0 && most < numbers.len()).then(|| *numbers.select_nth_unstable(most - 1).1);
        let end = last.unwrap_or(u64::MAX);
        let found = self.at(0, self.entries.len()).filter_map(|(name, kept)| {
            let number = number_of(kept)?;
            (sequence < number && number <= end).then(|| (name.to_owned(), number))
        });
        Ok((found.collect(), last))
    }
}

impl Rows {
    /// Scopes and rows, as they are kept, at up to `most` places from this one on.
    fn at(&self, place: usize, most: usize) -> impl Iterator<Item = (&str, &[u8])> {
        let entries = self.entries.iter().skip(place).take(most);
        entries.filter_map(|entry| {
            let (name, kept) = split(entry.as_deref()?)?;
            Some((std::str::from_utf8(name).ok()?, kept))
        })
    }

    /// Look at the same scopes and rows; the place to go on at.
    pub fn walk(
        &self,
        place: usize,
        most: usize,
        mut look: impl FnMut(&str, Row) -> PyResult<()>,
    ) -> PyResult<Option<usize>> {
        for (name, kept) in self.at(place, most) {
            look(name, Row { kept, texts: &self.texts })?;
        }
        Ok(self.after(place, most))
    }

    fn after(&self, place: usize, most: usize) -> Option<usize> {
        let next = place.saturating_add(most);
        (next < self.entries.len()).then_some(next)
    }

    fn place(&self, scope: &str) -> Option<u32> {
        let is_it = |place: &u32| self.entries.get(*place as usize).and_then(name_of) == Some(scope.as_bytes());
        self.places.find(self.hasher.hash_one(scope.as_bytes()), is_it).copied()
    }

    fn keep(&mut self, scope: &str, row: &[u8], place: Option<u32>, is_packed: bool) -> PyResult<()> {
        if !(is_packed && self.pack(scope, row)) {
            begin(&mut self.entry, scope, PLAIN);
            self.entry.extend_from_slice(row);
        }
        let entry = Some(self.entry.as_slice().into());
        if let Some(place) = place {
            self.entries[place as usize] = entry;
            return Ok(());
        }
        let place = match self.free.pop() {
            Some(place) => place,
            None => {
                let next = u32::try_from(self.entries.len())
                    .map_err(|_| PyOverflowError::new_err("too many scopes in one partition"))?;
                if self.entries.len() == self.entries.capacity() {
                    self.entries.reserve_exact(self.entries.len() / GROWTH + 64);
                }
                self.entries.push(None);
                next
            }
        };
        self.entries[place as usize] = entry;
        let (hasher, entries) = (&self.hasher, &self.entries);
        self.places.insert_unique(hasher.hash_one(scope.as_bytes()), place, |place| {
            hasher.hash_one(entries.get(*place as usize).and_then(name_of).unwrap_or_default())
        });
        Ok(())
    }

    /// Put name and packed row into `entry`; false for a row that would not be given back byte by byte as it came.
    fn pack(&mut self, scope: &str, row: &[u8]) -> bool {
        let at = begin(&mut self.entry, scope, PACKED);
        packed_row::pack(row, &mut self.texts, &mut self.entry).is_some()
            && plain(self.entry.get(at..).unwrap_or_default(), &self.texts, &mut self.row) == Some(row)
    }
}

/// A row as it is kept.
pub struct Row<'a> {
    kept: &'a [u8],
    texts: &'a Texts,
}

impl Row<'_> {
    /// Start and sum of the base window at this place, 0 for lifetime; `None` when there is none, or only the text tells.
    pub fn window(&self, place: u8) -> Option<(i128, Sum<'_>)> {
        match self.kept.split_first()? {
            (&PACKED, packed) => packed_row::base_window(packed, self.texts, place),
            _ => None,
        }
    }

    /// The row as it was put; `buffer` is where a packed one is written.
    pub fn text<'b>(&'b self, buffer: &'b mut Vec<u8>) -> Option<&'b [u8]> {
        plain(self.kept, self.texts, buffer)
    }
}

/// Begin an entry: the name, and how its row is kept. Returns where that is.
fn begin(entry: &mut Vec<u8>, scope: &str, kept: u8) -> usize {
    entry.clear();
    write_varint(entry, scope.len() as u128);
    entry.extend_from_slice(scope.as_bytes());
    entry.push(kept);
    entry.len() - 1
}

/// The name of an entry, and its row as it is kept.
fn split(entry: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut rest = entry;
    let length = usize::try_from(read_varint(&mut rest)?).ok()?;
    rest.split_at_checked(length)
}

fn name_of(entry: &Option<Box<[u8]>>) -> Option<&[u8]> {
    split(entry.as_deref()?).map(|(name, _)| name)
}

/// The row as it was put; `buffer` is where a packed one is written.
fn plain<'a>(kept: &'a [u8], texts: &Texts, buffer: &'a mut Vec<u8>) -> Option<&'a [u8]> {
    match kept.split_first()? {
        (&PACKED, packed) => {
            buffer.clear();
            packed_row::unpack(packed, texts, buffer)?;
            Some(buffer)
        }
        (_, row) => Some(row),
    }
}

/// The number of the transaction that wrote a row.
fn number_of(kept: &[u8]) -> Option<u64> {
    match kept.split_first()? {
        (&PACKED, packed) => read_varint(&mut &*packed).and_then(|number| u64::try_from(number).ok()),
        (_, row) => leading_number(row),
    }
}

/// 5 of `[5,…`.
fn leading_number(row: &[u8]) -> Option<u64> {
    let digits = row.strip_prefix(b"[")?.split(|byte| *byte == b',').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
