//! What ordinary events cost, by multipliers that the Python pricer made: `domain/pricing/compiled.py` is the reference.
//!
//! Nothing is looked up in a price book here. A key that is not known yet goes to Python, which then teaches it.

use hashbrown::HashMap;
use std::sync::Arc;

use crate::amounts::{NANO, round_half_even};
use crate::event::{Amount, Event, name};

/// Costs and amounts below this, 10¹⁹ USD, can be added up: `tally::EVENTS_MAX` of them stay below 2¹²⁷.
pub const PICOUSD_MAX: i128 = 1 << 104;

// Names come from outside, so at most this many keys are kept. Past it all of them are dropped and asked for again.
const KEYS_MAX: usize = 4096;
// Prices kept per key: several, for late events next to live ones and for prices that change by time of day.
const INTERVALS_MAX: usize = 8;

/// How a dimension changes what is left of a whole: its amount minus the amounts of its parts. `Plain`: not at all.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Plain,
    InputWhole,
    InputPart,
    OutputWhole,
    OutputPart,
}

impl Side {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Plain,
            1 => Self::InputWhole,
            2 => Self::InputPart,
            3 => Self::OutputWhole,
            4 => Self::OutputPart,
            _ => return None,
        })
    }
}

/// A dimension's multiplier in either convention, in picousd per whole unit times the denominator.
struct Rate {
    exclusive: i128,
    inclusive: i128,
    side: Side,
}

/// `compiled.Band`: the linear part of a price for events of more than `above` input tokens.
struct Band {
    above: i128,
    denominator: i128,
    input_whole: i128,
    output_whole: i128,
    rates: HashMap<Box<str>, Rate>,
}

/// A band as Python passes it: above, denominator, input and output whole, and the rates by dimension, each with the
/// exclusive multiplier, the inclusive one, and the side as a number of `compiled`.
pub type TaughtBand = (i128, i128, i128, i128, Vec<(String, i128, i128, u8)>);

/// A price over an interval of event times. Without bands, only failed calls can be priced by it here.
pub struct Price {
    from_ms: i64,
    to_ms: i64,
    pub price_id: Box<str>,
    pub status: Status,
    /// That of the highest tier first, the base last.
    bands: Vec<Band>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Priced,
    Reported,
    Free,
    Unpriced,
}

impl Status {
    pub fn of(text: &str) -> Option<Self> {
        Some(match text {
            "priced" => Self::Priced,
            "free" => Self::Free,
            "unpriced" => Self::Unpriced,
            _ => return None,
        })
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::Priced => "priced",
            Self::Reported => "reported",
            Self::Free => "free",
            Self::Unpriced => "unpriced",
        }
    }
}

/// The cost of one event. An empty price id stands for none.
pub struct Quote {
    pub cost_picousd: i128,
    pub price: Option<Arc<Price>>,
    pub status: Status,
}

/// Why an event is priced by Python.
pub enum Unable {
    /// Its key, or its time, has not been asked for yet.
    Unknown,
    /// Its price is not linear, or does not cover it, or the numbers are extreme.
    Special,
}

/// All prices that were taught since the policy was last set.
#[derive(Default)]
pub struct Prices {
    known: HashMap<Vec<u8>, Vec<Arc<Price>>>,
    /// The dimensions that are parts of the input: with the input they choose the tier.
    input_parts: Vec<String>,
    key: Vec<u8>,
}

impl Prices {
    pub fn new(input_parts: Vec<String>) -> Self {
        Self { input_parts, ..Self::default() }
    }

    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// Remember a price for the event's key; `None` for bands when only Python can price by it.
    #[allow(clippy::too_many_arguments)]
    pub fn teach(
        &mut self,
        names: (&str, &str, &str),
        options: &[(String, String)],
        interval: (i64, i64),
        price_id: String,
        status: Status,
        bands: Option<Vec<TaughtBand>>,
    ) -> Option<()> {
        let bands = bands.unwrap_or_default().into_iter().map(band).collect::<Option<Vec<_>>>()?;
        let options = options.iter().map(|(option, value)| (option.as_str(), value.as_str()));
        write_key(&mut self.key, names, options);
        if self.known.len() >= KEYS_MAX && !self.known.contains_key(&self.key) {
            self.known.clear();
        }
        let prices = self.known.entry(self.key.clone()).or_default();
        let (from_ms, to_ms) = interval;
        prices.insert(0, Arc::new(Price { from_ms, to_ms, price_id: price_id.into(), status, bands }));
        prices.truncate(INTERVALS_MAX);
        Some(())
    }

    /// The event's cost; `Pricer.price` is the reference.
    pub fn quote(&mut self, event: &Event) -> Result<Quote, Unable> {
        let owed = event.failure.is_empty() || event.billed;
        if let Some(cost) = event.cost {
            let cost_picousd = if owed { cost.picousd } else { 0 };
            return Ok(Quote { cost_picousd, price: None, status: Status::Reported });
        }
        let names = (event.names[name::PROVIDER], event.names[name::MODEL], event.names[name::AGENT]);
        write_key(&mut self.key, names, event.options.iter().copied());
        let time_ms = event.time_ms;
        let known = self.known.get(self.key.as_slice()).map(Vec::as_slice).unwrap_or_default();
        let price = known.iter().find(|price| (price.from_ms..price.to_ms).contains(&time_ms));
        let price = Arc::clone(price.ok_or(Unable::Unknown)?);
        if !owed {
            // A failed call that is not billed costs nothing, so an unknown model raises no alert here.
            let (price, status) = match price.status {
                Status::Unpriced => (None, Status::Free),
                status => (Some(price), status),
            };
            return Ok(Quote { cost_picousd: 0, price, status });
        }
        let status = price.status;
        if status == Status::Free {
            return Ok(Quote { cost_picousd: 0, price: Some(price), status });
        }
        let cost = price.band(event, &self.input_parts).and_then(|band| band.cost(event)).ok_or(Unable::Special)?;
        if !(0..PICOUSD_MAX).contains(&cost) {
            return Err(Unable::Special);
        }
        Ok(Quote { cost_picousd: cost, price: Some(price), status })
    }
}

/// The key of a price: everything but the time that its choice depends on, with all options as they were sent. The parts
/// are separated by control characters, which no name contains.
fn write_key<'a>(
    key: &mut Vec<u8>,
    (provider, model, agent): (&str, &str, &str),
    options: impl Iterator<Item = (&'a str, &'a str)>,
) {
    key.clear();
    for part in [provider, model, if model.is_empty() { agent } else { "" }] {
        key.extend_from_slice(part.as_bytes());
        key.push(0);
    }
    for (option, value) in options {
        key.extend_from_slice(option.as_bytes());
        key.push(1);
        key.extend_from_slice(value.as_bytes());
        key.push(2);
    }
}

fn band((above, denominator, input_whole, output_whole, rates): TaughtBand) -> Option<Band> {
    let rates = rates
        .into_iter()
        .map(|(dimension, exclusive, inclusive, side)| {
            Some((dimension.into_boxed_str(), Rate { exclusive, inclusive, side: Side::of(side)? }))
        })
        .collect::<Option<_>>()?;
    (denominator > 0).then_some(Band { above, denominator, input_whole, output_whole, rates })
}

impl Price {
    fn band(&self, event: &Event, input_parts: &[String]) -> Option<&Band> {
        if let [band] = self.bands.as_slice() {
            return Some(band);
        }
        let (mut whole, mut parts) = (0_i128, 0_i128);
        for (dimension, amount) in &event.usage {
            if *dimension == "input_tokens" {
                whole = amount.nano();
            } else if input_parts.iter().any(|part| part == dimension) {
                parts = parts.checked_add(amount.nano())?;
            }
        }
        let tokens = if event.exclusive { whole.checked_add(parts)? } else { whole.max(parts) };
        let (base, tiers) = self.bands.split_last()?;
        let reached = tiers.iter().find(|band| band.above.checked_mul(NANO).is_some_and(|above| tokens > above));
        Some(reached.unwrap_or(base))
    }
}

impl Band {
    /// In picousd, rounded once. `None` when some dimension is not covered, or a number is too large.
    fn cost(&self, event: &Event) -> Option<i128> {
        let decimal = event.usage.iter().any(|(_, amount)| matches!(amount, Amount::Decimal { .. }));
        let (mut total, mut input_rest, mut output_rest) = (0_i128, 0_i128, 0_i128);
        for (dimension, amount) in &event.usage {
            let rate = self.rates.get(*dimension)?;
            // All in whole units, or with one decimal among them all in 10⁻⁹ units.
            let amount = match amount {
                Amount::Whole(units) if !decimal => i128::from(*units),
                other => other.nano(),
            };
            let multiplier = if event.exclusive { rate.exclusive } else { rate.inclusive };
            total = total.checked_add(multiplier.checked_mul(amount)?)?;
            if !event.exclusive {
                match rate.side {
                    Side::Plain => {}
                    Side::InputWhole => input_rest = input_rest.checked_add(amount)?,
                    Side::InputPart => input_rest = input_rest.checked_sub(amount)?,
                    Side::OutputWhole => output_rest = output_rest.checked_add(amount)?,
                    Side::OutputPart => output_rest = output_rest.checked_sub(amount)?,
                }
            }
        }
        if input_rest < 0 {
            total = total.checked_sub(self.input_whole.checked_mul(input_rest)?)?;
        }
        if output_rest < 0 {
            total = total.checked_sub(self.output_whole.checked_mul(output_rest)?)?;
        }
        let denominator = if decimal { self.denominator.checked_mul(NANO)? } else { self.denominator };
        if denominator == 1 { Some(total) } else { round_half_even(total, denominator) }
    }
}
