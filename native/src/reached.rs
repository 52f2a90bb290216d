//! Which scopes have reached a limit, by the bytes of their state rows: `reached.py` is the reference.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyString};

const NANO: i128 = 1_000_000_000;

/// What a limit measures.
enum Unit {
    Usd,
    Events,
    Usage(Box<[u8]>),
}

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

    /// Of these names, those whose row has reached a limit; and those that have no row, or one that is left to Python.
    fn find<'py>(
        &self,
        rows: &Bound<'py, PyDict>,
        names: &Bound<'py, PyList>,
    ) -> PyResult<(Bound<'py, PyList>, Bound<'py, PyList>)> {
        let (found, left) = (PyList::empty(names.py()), PyList::empty(names.py()));
        for name in names.iter() {
            let Some(row) = rows.get_item(&name)? else {
                left.append(name)?;
                continue;
            };
            let scope = name.cast::<PyString>()?.to_str()?;
            match self.is_reached(scope, row.cast::<PyBytes>()?.as_bytes()) {
                Some(true) => found.append(name)?,
                Some(false) => {}
                None => left.append(name)?,
            }
        }
        Ok((found, left))
    }
}

impl ReachedLimits {
    /// `None`: the row is not as this release writes it, or its numbers are too large.
    fn is_reached(&self, scope: &str, row: &[u8]) -> Option<bool> {
        let mut matching = self.patterns.iter().filter(|pattern| pattern.matches(scope)).peekable();
        if matching.peek().is_none() {
            return Some(false);
        }
        let mut reader = Reader { bytes: row, at: 0 };
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
        let unit = match unit.as_str() {
            "usd" => Unit::Usd,
            "events" => Unit::Events,
            _ => Unit::Usage(unit.into_bytes().into()),
        };
        Self { place, calendar: calendar.into_bytes().into(), start_ms: start_ms.into(), unit, minimum, is_bounded }
    }

    fn is_reached_by(&self, sum: &Sum) -> bool {
        let value = match &self.unit {
            Unit::Usd => sum.cost_picousd,
            Unit::Events => sum.events_nano,
            Unit::Usage(name) => sum.usage.iter().find(|(known, _)| *known == &**name).map_or(0, |(_, nano)| *nano),
        };
        value >= self.minimum
    }

    /// The present window of a scope that was spent in ahead of time is closed, and not in its row.
    fn is_in(&self, start_ms: i128, sum: &Sum) -> bool {
        start_ms > self.start_ms || (start_ms == self.start_ms && self.is_reached_by(sum))
    }
}

impl Pattern {
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

struct Sum<'a> {
    cost_picousd: i128,
    events_nano: i128,
    usage: Vec<(&'a [u8], i128)>,
}

/// Reads the JSON that a row is written in: no white space, no escapes.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn mark(&mut self, mark: u8) -> Option<()> {
        (self.peek()? == mark).then(|| self.at += 1)
    }

    fn whole(&mut self) -> Option<i128> {
        let is_negative = self.mark(b'-').is_some();
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        if length == 0 || length > 37 {
            return None;
        }
        let digits = rest.get(..length)?;
        // 18 digits fit into 64 bits, in which sums are faster.
        let value = if length <= 18 {
            i128::from(digits.iter().fold(0_u64, |sum, digit| sum * 10 + u64::from(digit - b'0')))
        } else {
            digits.iter().fold(0_i128, |sum, digit| sum * 10 + i128::from(digit - b'0'))
        };
        self.at += length;
        Some(if is_negative { -value } else { value })
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        self.mark(b'"')?;
        let rest = self.bytes.get(self.at..)?;
        let length = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        if *rest.get(length)? != b'"' {
            return None;
        }
        self.at += length + 1;
        rest.get(..length)
    }

    fn sum(&mut self) -> Option<Sum<'a>> {
        self.mark(b'[')?;
        let cost_picousd = self.whole()?;
        self.mark(b',')?;
        self.whole()?;
        self.mark(b',')?;
        let events_nano = self.whole()?.checked_mul(NANO)?;
        self.mark(b',')?;
        self.mark(b'{')?;
        let mut usage = Vec::new();
        while self.peek()? != b'}' {
            if !usage.is_empty() {
                self.mark(b',')?;
            }
            let name = self.text()?;
            self.mark(b':')?;
            usage.push((name, self.whole()?));
        }
        self.mark(b'}')?;
        self.mark(b']')?;
        Some(Sum { cost_picousd, events_nano, usage })
    }

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
