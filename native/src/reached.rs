//! Which scopes have reached a limit, by the bytes of their state rows: `reached.py` is the reference.

use pyo3::prelude::*;
use pyo3::types::PyList;

use crate::row_reader::{Reader, Sum, Unit};
use crate::rows::{Row, Rows};

struct Limit {
    /// Of a base calendar its place among the sums of a row.
    place: Option<usize>,
    calendar: Box<[u8]>,
    start_ms: i128,
    unit: Unit,
    minimum: i128,
    /// No window of a base scope has more than lifetime.
    is_bounded: bool,
}

/// The limits of one pattern. A scope matches when it has the literals, the first at its begin and the last at its end.
struct Pattern {
    literals: Vec<Box<str>>,
    is_combination: bool,
    limits: Vec<Limit>,
}

/// As Python gives a pattern: literals, whether it is a combination, and the limits.
type Given = (Vec<String>, bool, Vec<GivenLimit>);

/// Place, calendar, start, unit, minimum, and whether it is bounded.
type GivenLimit = (Option<usize>, String, i64, String, i128, bool);

#[pyclass(module = "tollgate.ledger._native")]
pub struct ReachedLimits {
    patterns: Vec<Pattern>,
}

#[pymethods]
impl ReachedLimits {
    #[new]
    fn new(patterns: Vec<Given>) -> Self {
        let patterns = patterns.into_iter().map(|(literals, is_combination, limits)| Pattern {
            literals: literals.into_iter().map(Into::into).collect(),
            is_combination,
            limits: limits.into_iter().map(Limit::of).collect(),
        });
        Self { patterns: patterns.collect() }
    }

    /// Of the scopes at up to `most` places of a table from this one on, those that have reached a limit; those whose row
    /// is left to Python; and the place to go on at, `None` when there are no more.
    fn find<'py>(
        &self,
        py: Python<'py>,
        rows: &Rows,
        place: usize,
        most: usize,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>, Option<usize>)> {
        let (found, left) = (PyList::empty(py), PyList::empty(py));
        let mut text = Vec::new();
        let next = rows.walk(place, most, |scope, row| {
            let lifetime = row.window(0).map(|(_, sum)| sum);
            let mut patterns = self.patterns.iter();
            if !patterns.any(|pattern| pattern.may_be_reached_by(lifetime.as_ref()) && pattern.matches(scope)) {
                return Ok(());
            }
            let told = lifetime.and_then(|sum| self.is_reached_in_windows(scope, &row, &sum));
            match told.or_else(|| self.is_reached(scope, row.text(&mut text)?)) {
                Some(true) => found.append(scope),
                Some(false) => Ok(()),
                None => left.append(scope),
            }
        })?;
        Ok((found, left, next))
    }
}

impl ReachedLimits {
    /// The same as `is_reached`, from single windows of a base scope. `None`: they are not all that counts.
    fn is_reached_in_windows(&self, scope: &str, row: &Row, lifetime: &Sum) -> Option<bool> {
        let matching = self.patterns.iter().filter(|pattern| !pattern.is_combination && pattern.matches(scope));
        for limit in matching.flat_map(|pattern| &pattern.limits) {
            let place = u8::try_from(limit.place?).ok()?;
            if limit.is_bounded && !limit.is_reached_by(lifetime) {
                continue;
            }
            let (start_ms, sum) = row.window(place)?;
            if limit.minimum <= 0 || limit.is_in(start_ms, &sum) {
                return Some(true);
            }
        }
        Some(false)
    }

    /// `None`: the row is not as this release writes it, or its numbers are too large.
    fn is_reached(&self, scope: &str, row: &[u8]) -> Option<bool> {
        let mut matching = self.patterns.iter().filter(|pattern| pattern.matches(scope)).peekable();
        if matching.peek().is_none() {
            return Some(false);
        }
        let mut reader = Reader::new(row);
        reader.mark(b'[')?;
        reader.whole()?;
        reader.mark(b',')?;
        let is_base = match reader.peek()? {
            b'[' => true,
            b'{' => false,
            _ => return None,
        };
        let lifetime = if is_base { Some(reader.sum()?) } else { None };
        // Most rows are read no further.
        let limits: Vec<&Limit> = matching
            .filter(|pattern| pattern.is_combination != is_base)
            .flat_map(|pattern| &pattern.limits)
            .filter(|limit| !limit.is_bounded || lifetime.as_ref().is_none_or(|sum| limit.is_reached_by(sum)))
            .collect();
        if limits.is_empty() {
            return Some(false);
        }
        if limits.iter().any(|limit| limit.minimum <= 0) {
            return Some(true);
        }
        if let Some(sum) = &lifetime
            && limits.iter().any(|limit| limit.place == Some(0) && limit.is_reached_by(sum))
        {
            return Some(true);
        }
        let mut place = 0;
        while !is_base || reader.mark(b',').is_some() {
            if reader.peek()? == b'{' {
                return reader.has_reached(&limits, is_base);
            }
            place += 1;
            let start_ms = reader.whole()?;
            reader.mark(b',')?;
            let sum = reader.sum()?;
            if limits.iter().any(|limit| limit.place == Some(place) && limit.is_in(start_ms, &sum)) {
                return Some(true);
            }
        }
        reader.mark(b']')?;
        Some(false)
    }
}

impl Limit {
    fn of((place, calendar, start_ms, unit, minimum, is_bounded): GivenLimit) -> Self {
        let (calendar, unit) = (calendar.into_bytes().into(), Unit::of(unit));
        Self { place, calendar, start_ms: start_ms.into(), unit, minimum, is_bounded }
    }

    fn is_reached_by(&self, sum: &Sum) -> bool {
        self.unit.measure(sum) >= self.minimum
    }

    /// The present window of a scope that was spent in ahead of time is closed, and not in its row.
    fn is_in(&self, start_ms: i128, sum: &Sum) -> bool {
        start_ms > self.start_ms || (start_ms == self.start_ms && self.is_reached_by(sum))
    }
}

impl Pattern {
    /// `lifetime` is that of a base scope. `None`: it is not known.
    fn may_be_reached_by(&self, lifetime: Option<&Sum>) -> bool {
        lifetime.is_none_or(|sum| {
            !self.is_combination && self.limits.iter().any(|limit| !limit.is_bounded || limit.is_reached_by(sum))
        })
    }

    fn matches(&self, scope: &str) -> bool {
        let [first, middle @ .., last] = self.literals.as_slice() else {
            return self.literals.iter().all(|only| **only == *scope);
        };
        let Some(mut rest) = scope.strip_prefix(&**first).and_then(|rest| rest.strip_suffix(&**last)) else {
            return false;
        };
        for literal in middle {
            let Some((_, after)) = rest.split_once(&**literal) else {
                return false;
            };
            rest = after;
        }
        true
    }
}

impl Reader<'_> {
    /// The map of further calendars, and the end of the row.
    fn has_reached(&mut self, limits: &[&Limit], is_base: bool) -> Option<bool> {
        self.mark(b'{')?;
        let mut is_first = true;
        while self.peek()? != b'}' {
            if !is_first {
                self.mark(b',')?;
            }
            is_first = false;
            let calendar = self.text()?;
            self.mark(b':')?;
            self.mark(b'[')?;
            let start_ms = self.whole()?;
            self.mark(b',')?;
            let sum = self.sum()?;
            self.mark(b']')?;
            let mut limits = limits.iter().filter(|limit| !is_base || limit.place.is_none());
            if limits.any(|limit| *limit.calendar == *calendar && limit.is_in(start_ms, &sum)) {
                return Some(true);
            }
        }
        self.mark(b'}')?;
        self.mark(b']')?;
        Some(false)
    }
}
