//! Everything one partition has counted and not yet written to Kafka: the class that Python's `UserStage` calls.
//!
//! `tally.py` is the reference for what is collected, `user_stage.py` for the checks of one event and their order.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use crate::event::{Event, name};
use crate::fetched::{Fetched, Fields};
use crate::identities::{Digest, Identities, packed};
use crate::identity;
use crate::instants::HOUR_MS;
use crate::partitions::partition_of;
use crate::priced;
use crate::prices::{PICOUSD_MAX, Prices, Status, TaughtBand, Unable};
use crate::record_batch::PricedRecords;
use crate::sums::{Addition, POSITIONS, Sums};

// A batch has far fewer events; sums cannot overflow up to here (see `Addition`).
const EVENTS_MAX: usize = 1 << 22;

/// `Horizon`, as plain numbers: which windows are held while the clock stays below `next_hour_ms`.
#[derive(FromPyObject)]
struct Limits {
    clock_ms: i64,
    next_hour_ms: i64,
    hours_from: i64,
    days_from: i64,
    months_from: i64,
}

/// Counts ordinary events of one partition, and collects what Python counted of the others.
#[pyclass]
pub struct Tally {
    partition: u32,
    partitions: u32,
    future_ms_max: i64,
    identities: Py<Identities>,
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
    #[new]
    fn new(partition: u32, partitions: u32, future_ms_max: i64, identities: Py<Identities>) -> Self {
        Self {
            partition,
            partitions,
            future_ms_max,
            identities,
            prices: Prices::default(),
            sums: Sums::default(),
            priced: Vec::new(),
            ends: Vec::new(),
            new_identities: Vec::new(),
            duplicates: 0,
            late: 0,
            usage: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// How many events were counted.
    fn __len__(&self) -> usize {
        self.ends.len()
    }

    /// Count the records from `first` on until one is not ordinary. Returns its position (or how many there are), why
    /// it is not, and the clock. What is not ordinary changed nothing.
    fn count(
        &mut self,
        py: Python<'_>,
        records: &Fetched,
        first: usize,
        limits: Limits,
        age_ms_max: i64,
    ) -> (usize, &'static str, i64) {
        let identities = self.identities.clone_ref(py);
        let mut identities = identities.bind(py).borrow_mut();
        let mut clock_ms = limits.clock_ms;
        for at in first..records.len() {
            let Some(fields) = records.fields(py, at) else {
                return (at, "form", clock_ms);
            };
            if fields.has_headers {
                return (at, "headers", clock_ms);
            }
            if let Err(why) = self.event(&mut identities, &fields, &limits, age_ms_max, &mut clock_ms) {
                return (at, why, clock_ms);
            }
        }
        (records.len(), "", clock_ms)
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

    /// Add an event that Python has priced. False, and nothing is added, when its amounts or dimensions are too many.
    fn add(
        &mut self,
        names: [String; POSITIONS],
        time: (i64, u8),
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
        let mut numbered = Vec::with_capacity(usage.len());
        for (dimension, nano) in &usage {
            match self.sums.dimension(dimension) {
                Some(number) => numbered.push((number, *nano)),
                None => return Ok(false),
            }
        }
        self.sums.add(&Addition {
            names: std::array::from_fn(|position| names[position].as_str()),
            hour_start_ms: time.0,
            held_kinds: time.1,
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

    /// The sums, in the order of `BatchSums.by_name`: position of the dimension, name, start of the hour, held kinds,
    /// cost, retail, events, usage.
    fn take_sums<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let sums = std::mem::take(&mut self.sums);
        let taken = PyList::empty(py);
        for group in sums.in_order() {
            let usage = PyDict::new(py);
            for (dimension, nano) in sums.usage(group) {
                usage.set_item(dimension, number(py, nano)?)?;
            }
            let (hour_start_ms, held_kinds) = sums.time_of(group);
            taken.append(PyTuple::new(
                py,
                [
                    group.position.into_pyobject(py)?.into_any(),
                    sums.name(group).into_pyobject(py)?.into_any(),
                    hour_start_ms.into_pyobject(py)?.into_any(),
                    held_kinds.into_pyobject(py)?.into_any(),
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
    ) -> Result<(), &'static str> {
        let event = fetched.value.and_then(Event::read).ok_or("form")?;
        let now_ms = fetched.timestamp_ms;
        if now_ms > *clock_ms {
            if now_ms >= limits.next_hour_ms {
                return Err("hour");
            }
            *clock_ms = now_ms;
        }
        if partition_of(event.subject.as_bytes(), self.partitions) != Some(self.partition) {
            return Err("misrouted");
        }
        if event.time_ms > now_ms.saturating_add(self.future_ms_max) {
            return Err("future");
        }
        if event.time_ms < now_ms.saturating_sub(age_ms_max) {
            return Err("old");
        }
        let now_s = u32::try_from(now_ms.div_euclid(1000)).map_err(|_| "form")?;
        let digest = identity::digest(&event, &mut self.scratch);
        let fingerprint = identity::fingerprint(&event, &mut self.scratch);
        if let Some(seen) = identities.look(&digest)
            && identities.remembers(seen, i64::from(now_s))
        {
            if seen.0 != fingerprint {
                return Err("conflict");
            }
            self.duplicates += 1;
            return Ok(());
        }
        let quote = self.prices.quote(&event).map_err(|unable| match unable {
            Unable::Unknown => "price",
            Unable::Special => "special",
        })?;
        self.usage.clear();
        for (dimension, amount) in &event.usage {
            self.usage.push((self.sums.dimension(dimension).ok_or("dimensions")?, amount.nano()));
        }
        if self.is_full() {
            return Err("full");
        }
        // From here on nothing can fail.
        let seen = (fingerprint, now_s);
        identities.insert(digest, seen);
        self.new_identities.extend_from_slice(&packed(&digest, seen));
        let hour_start_ms = event.time_ms - event.time_ms % HOUR_MS;
        let held_kinds = limits.held_kinds(hour_start_ms);
        self.late += u64::from(held_kinds < 4);
        let names = &event.names;
        self.sums.add(&Addition {
            names: [
                event.subject,
                names[name::ORG],
                names[name::SERVICE],
                names[name::PROVIDER],
                names[name::MODEL],
                names[name::AGENT],
                names[name::CAMPAIGN],
                names[name::FEATURE],
                names[name::PRODUCT],
                "global",
            ],
            hour_start_ms,
            held_kinds,
            cost_picousd: quote.cost_picousd,
            retail_picousd: 0,
            usage: &self.usage,
        });
        self.priced.extend_from_slice(event.subject.as_bytes());
        let key_end = self.priced.len();
        priced::write(&mut self.priced, &event, &quote, self.partition, fetched.offset);
        self.ends.push((key_end, self.priced.len()));
        Ok(())
    }
}

impl Limits {
    /// `Horizon.held_kinds`. Its limits are starts of a day and of a month, so the hour need not be brought to one.
    fn held_kinds(&self, hour_start_ms: i64) -> u8 {
        match hour_start_ms {
            hour if hour >= self.hours_from => 4,
            hour if hour >= self.days_from => 3,
            hour if hour >= self.months_from => 2,
            _ => 1,
        }
    }
}

/// A Python integer; most fit into 64 bits, which is several times faster.
fn number(py: Python<'_>, value: i128) -> PyResult<Bound<'_, PyAny>> {
    Ok(match i64::try_from(value) {
        Ok(small) => small.into_pyobject(py)?.into_any(),
        Err(_) => value.into_pyobject(py)?.into_any(),
    })
}
