//! Everything one partition has counted and not yet written to Kafka: the class that Python's `UserStage` calls.
//!
//! `tally.py` is the reference for what is collected, `user_stage.py` for the checks of one event and their order.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::combinations::Combinations;
use crate::dimensions::{Dimensions, POSITIONS_MAX};
use crate::event::{Event, name};
use crate::fetched::{Fetched, Fields};
use crate::identities::{Digest, Identities, packed};
use crate::identity;
use crate::partitions::partition_of;
use crate::priced;
use crate::prices::{PICOUSD_MAX, Prices, Status, TaughtBand, Unable};
use crate::record_batch::PricedRecords;
use crate::sums::{Addition, Sums, Time};

// A batch has far fewer events; sums cannot overflow up to here (see `Addition`).
const EVENTS_MAX: usize = 1 << 22;

/// `Horizon`, as plain numbers: what it says holds while the clock is in `[since_ms, next_ms)`.
#[derive(FromPyObject)]
struct Limits {
    clock_ms: i64,
    since_ms: i64,
    next_ms: i64,
    punctual_from_ms: i64,
}

/// Why a record is left to Python: `HandedOver`.
#[derive(Clone, Copy)]
enum Why {
    Form,
    Headers,
    WindowBegins,
    Misrouted,
    Future,
    Old,
    Conflict,
    Reserved,
    Name,
    PriceUnknown,
    PriceSpecial,
    Dimensions,
    Full,
}

impl Why {
    const ALL: [Self; 13] = [
        Self::Form,
        Self::Headers,
        Self::WindowBegins,
        Self::Misrouted,
        Self::Future,
        Self::Old,
        Self::Conflict,
        Self::Reserved,
        Self::Name,
        Self::PriceUnknown,
        Self::PriceSpecial,
        Self::Dimensions,
        Self::Full,
    ];

    fn text(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Headers => "headers",
            Self::WindowBegins => "window",
            Self::Misrouted => "misrouted",
            Self::Future => "future",
            Self::Old => "old",
            Self::Conflict => "conflict",
            Self::Reserved => "reserved",
            Self::Name => "name",
            Self::PriceUnknown => "price",
            Self::PriceSpecial => "special",
            Self::Dimensions => "dimensions",
            Self::Full => "full",
        }
    }
}

/// Counts ordinary events of one partition, and collects what Python counted of the others.
#[pyclass]
pub struct Tally {
    partition: u32,
    partitions: u32,
    future_ms_max: i64,
    identities: Py<Identities>,
    entry_type: String,
    dimensions: Dimensions,
    combinations: Combinations,
    slot_ms: i64,
    prices: Prices,
    sums: Sums,
    /// Keys and values of the priced records, one after another, and where each key and each value ends.
    priced: Vec<u8>,
    ends: Vec<(usize, usize)>,
    new_identities: Vec<u8>,
    duplicates: u64,
    late: u64,
    usage: Vec<(u8, i128)>,
    scratch: Vec<u8>,
}

#[pymethods]
impl Tally {
    /// The last four are the vocabulary: the type of the entries that are counted here, the dimensions in their order,
    /// the scope that every event adds to, and the unit of time of a sum. ValueError for one that is not known here.
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        partition: u32,
        partitions: u32,
        future_ms_max: i64,
        identities: Py<Identities>,
        entry_type: String,
        dimensions: Vec<String>,
        everything: String,
        slot_ms: i64,
    ) -> PyResult<Self> {
        let dimensions = Dimensions::of(&dimensions, everything)
            .ok_or_else(|| PyValueError::new_err("not the dimensions of a usage event, or too many"))?;
        if slot_ms <= 0 {
            return Err(PyValueError::new_err("a slot must have a length"));
        }
        let sums = Sums::new(dimensions.positions());
        Ok(Self {
            partition,
            partitions,
            future_ms_max,
            identities,
            entry_type,
            dimensions,
            combinations: Combinations::default(),
            slot_ms,
            prices: Prices::default(),
            sums,
            priced: Vec::new(),
            ends: Vec::new(),
            new_identities: Vec::new(),
            duplicates: 0,
            late: 0,
            usage: Vec::new(),
            scratch: Vec::new(),
        })
    }

    /// All reasons for which a record is left to Python.
    #[staticmethod]
    fn reasons() -> Vec<&'static str> {
        Why::ALL.iter().map(|why| why.text()).collect()
    }

    /// How many events were counted.
    fn __len__(&self) -> usize {
        self.ends.len()
    }

    /// Count the records from `first` on until one is not ordinary. Returns its position (or how many there are), why
    /// it is not (None when all were), and the clock. What is not ordinary changed nothing.
    fn count(
        &mut self,
        py: Python<'_>,
        records: &Fetched,
        first: usize,
        limits: Limits,
        age_ms_max: i64,
    ) -> (usize, Option<&'static str>, i64) {
        let identities = self.identities.clone_ref(py);
        let mut identities = identities.bind(py).borrow_mut();
        let mut clock_ms = limits.clock_ms;
        for at in first..records.len() {
            let Some(fields) = records.fields(py, at) else {
                return (at, Some(Why::Form.text()), clock_ms);
            };
            if fields.has_headers {
                return (at, Some(Why::Headers.text()), clock_ms);
            }
            if let Err(why) = self.event(&mut identities, &fields, &limits, age_ms_max, &mut clock_ms) {
                return (at, Some(why.text()), clock_ms);
            }
        }
        (records.len(), None, clock_ms)
    }

    /// Remember a price for events of these names (provider, model, agent, convention or `""` for the default) and
    /// options, within the interval of times. `price_ids` are what events are priced by, by the origins of their rates.
    ///
    /// ValueError or OverflowError when the numbers are none that can be used here.
    #[allow(clippy::too_many_arguments)]
    fn teach(
        &mut self,
        names: (String, String, String, String),
        options: Vec<(String, String)>,
        interval: (i64, i64),
        price_ids: Vec<String>,
        status: &str,
        bands: Option<Vec<TaughtBand>>,
    ) -> PyResult<()> {
        let names = [names.0.as_str(), names.1.as_str(), names.2.as_str(), names.3.as_str()];
        let status = Status::of(status).ok_or_else(|| PyValueError::new_err("not the status of a price"))?;
        self.prices
            .teach(names, &options, interval, price_ids, status, bands)
            .ok_or_else(|| PyValueError::new_err("not a band of a price"))
    }

    /// Ask for every price again: the price book was replaced.
    fn forget_prices(&mut self) {
        self.prices.forget();
    }

    /// From now on sum by these combinations too: the dimensions of each shape and where its scopes have stars, and the
    /// scopes of all of them. ValueError for a dimension that is not known here, for too many shapes, and while sums by
    /// others wait to be taken.
    fn set_combinations(&mut self, shapes: Vec<(Vec<String>, Vec<u8>)>, scopes: Vec<String>) -> PyResult<()> {
        if !self.sums.is_empty() {
            return Err(PyValueError::new_err("sums by other shapes wait to be taken"));
        }
        self.combinations = Combinations::of(shapes, scopes, &self.dimensions)
            .ok_or_else(|| PyValueError::new_err("not the dimensions of a usage event, or too many shapes"))?;
        self.sums = Sums::new(self.dimensions.positions() + self.combinations.len());
        Ok(())
    }

    /// Add an event that Python has priced. False, and nothing is added, when its amounts or dimensions are too many.
    fn add(
        &mut self,
        names: Vec<String>,
        time: Time,
        cost_picousd: &Bound<'_, PyAny>,
        retail_picousd: &Bound<'_, PyAny>,
        usage: Vec<(String, i128)>,
    ) -> PyResult<bool> {
        let (Ok(cost_picousd), Ok(retail_picousd)) = (cost_picousd.extract(), retail_picousd.extract()) else {
            return Ok(false);
        };
        let amounts = [cost_picousd, retail_picousd].into_iter().chain(usage.iter().map(|(_, nano)| *nano));
        if amounts.into_iter().any(|amount: i128| !(0..PICOUSD_MAX).contains(&amount)) || self.is_full() {
            return Ok(false);
        }
        if names.len() != self.dimensions.positions() + self.combinations.len() {
            return Err(PyValueError::new_err("not a name for each shape of scopes"));
        }
        let mut numbered = Vec::with_capacity(usage.len());
        for (dimension, nano) in &usage {
            match self.sums.dimension(dimension) {
                Some(number) => numbered.push((number, *nano)),
                None => return Ok(false),
            }
        }
        self.sums.add(&Addition {
            names: &names.iter().map(String::as_str).collect::<Vec<_>>(),
            time,
            cost_picousd,
            retail_picousd,
            usage: &numbered,
        });
        Ok(true)
    }

    /// Add the priced record of an event.
    fn add_priced(&mut self, key: &[u8], value: &[u8]) {
        self.priced.extend_from_slice(key);
        let key_end = self.priced.len();
        self.priced.extend_from_slice(value);
        self.ends.push((key_end, self.priced.len()));
    }

    /// Remember the identity of an event that is counted.
    fn add_identity(&mut self, py: Python<'_>, digest: Digest, fingerprint: u64, seen_s: u32) {
        let seen = (fingerprint, seen_s);
        self.identities.bind(py).borrow_mut().insert(digest, seen);
        self.new_identities.extend_from_slice(&packed(&digest, seen));
    }

    /// Repeated and late events that were met since this was last called.
    fn take_counts(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.duplicates), std::mem::take(&mut self.late))
    }

    /// The priced records, in order.
    fn take_priced(&mut self) -> PricedRecords {
        // The next batch is about as large; growing step by step would copy it several times.
        let priced = Vec::with_capacity(self.priced.len());
        let ends = Vec::with_capacity(self.ends.len());
        PricedRecords::new(std::mem::replace(&mut self.priced, priced), std::mem::replace(&mut self.ends, ends))
    }

    /// The new identities as records of the identities topic, each of at most this many rows.
    fn take_identities<'py>(&mut self, py: Python<'py>, rows_max: usize) -> Vec<Bound<'py, PyBytes>> {
        let rows = std::mem::take(&mut self.new_identities);
        rows.chunks((rows_max * crate::identities::ROW_BYTES).max(1)).map(|chunk| PyBytes::new(py, chunk)).collect()
    }

    /// The sums, in the order of `BatchSums.by_name`: position of the shape, name, time (two numbers), cost, retail,
    /// events, usage.
    fn take_sums<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let emptied = self.sums.emptied();
        let sums = std::mem::replace(&mut self.sums, emptied);
        let taken = PyList::empty(py);
        for group in sums.in_order() {
            let usage = PyDict::new(py);
            for (dimension, nano) in sums.usage(group) {
                usage.set_item(dimension, number(py, nano)?)?;
            }
            let (slot_ms, since_ms) = sums.time_of(group);
            taken.append(PyTuple::new(
                py,
                [
                    group.position.into_pyobject(py)?.into_any(),
                    sums.name(group).into_pyobject(py)?.into_any(),
                    slot_ms.into_pyobject(py)?.into_any(),
                    since_ms.into_pyobject(py)?.into_any(),
                    number(py, group.cost_picousd)?,
                    number(py, group.retail_picousd)?,
                    group.events.into_pyobject(py)?.into_any(),
                    usage.into_any(),
                ],
            )?)?;
        }
        Ok(taken)
    }
}

impl Tally {
    fn is_full(&self) -> bool {
        self.ends.len() >= EVENTS_MAX
    }

    /// Count one event. The reason when it is not ordinary; then nothing but the clock has changed.
    fn event(
        &mut self,
        identities: &mut Identities,
        fetched: &Fields,
        limits: &Limits,
        age_ms_max: i64,
        clock_ms: &mut i64,
    ) -> Result<(), Why> {
        let event = fetched.value.and_then(|value| Event::read(value, &self.entry_type)).ok_or(Why::Form)?;
        let now_ms = fetched.timestamp_ms;
        if now_ms > *clock_ms {
            if now_ms >= limits.next_ms {
                return Err(Why::WindowBegins);
            }
            *clock_ms = now_ms;
        }
        if !event.names[name::RESERVATION_ID].is_empty() {
            return Err(Why::Reserved);
        }
        if !self.combinations.are_plain(&event) {
            return Err(Why::Name);
        }
        if partition_of(event.subject.as_bytes(), self.partitions) != Some(self.partition) {
            return Err(Why::Misrouted);
        }
        if event.time_ms > now_ms.saturating_add(self.future_ms_max) {
            return Err(Why::Future);
        }
        if event.time_ms < now_ms.saturating_sub(age_ms_max) {
            return Err(Why::Old);
        }
        let now_s = u32::try_from(now_ms.div_euclid(1000)).map_err(|_| Why::Form)?;
        let digest = identity::digest(&event, &mut self.scratch);
        let fingerprint = identity::fingerprint(&event, &mut self.scratch);
        if let Some(seen) = identities.look(&digest)
            && identities.remembers(seen, i64::from(now_s))
        {
            if seen.0 != fingerprint {
                return Err(Why::Conflict);
            }
            self.duplicates += 1;
            return Ok(());
        }
        let quote = self.prices.quote(&event).map_err(|unable| match unable {
            Unable::Unknown => Why::PriceUnknown,
            Unable::Special => Why::PriceSpecial,
        })?;
        self.usage.clear();
        for (dimension, amount) in &event.usage {
            self.usage.push((self.sums.dimension(dimension).ok_or(Why::Dimensions)?, amount.nano()));
        }
        if self.is_full() {
            return Err(Why::Full);
        }
        // From here on nothing can fail.
        let seen = (fingerprint, now_s);
        identities.insert(digest, seen);
        self.new_identities.extend_from_slice(&packed(&digest, seen));
        let slot_ms = event.time_ms - event.time_ms % self.slot_ms;
        self.late += u64::from(slot_ms < limits.punctual_from_ms);
        let mut names = [""; POSITIONS_MAX];
        let addition = Addition {
            names: self.dimensions.names(&event, &mut names),
            time: (slot_ms, limits.since_ms),
            cost_picousd: quote.cost_picousd,
            retail_picousd: 0,
            usage: &self.usage,
        };
        self.sums.add(&addition);
        if self.combinations.len() > 0 {
            self.combinations.add(&event, &addition, &mut self.sums);
        }
        self.priced.extend_from_slice(event.subject.as_bytes());
        let key_end = self.priced.len();
        priced::write(&mut self.priced, &event, &self.dimensions, &quote, self.partition, fetched.offset);
        self.ends.push((key_end, self.priced.len()));
        Ok(())
    }
}

/// A Python integer; most fit into 64 bits, which is several times faster.
fn number(py: Python<'_>, value: i128) -> PyResult<Bound<'_, PyAny>> {
    Ok(match i64::try_from(value) {
        Ok(small) => small.into_pyobject(py)?.into_any(),
        Err(_) => value.into_pyobject(py)?.into_any(),
    })
}
