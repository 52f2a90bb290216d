//! What ordinary events cost, by multipliers that the Python pricer made: `pricing/integer_price.py` is the reference.
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

/// What an event has amounts of, as bits (`integer_price.py`): the first two cost something only where nothing else does,
/// the third is whatever is no token, and the others are of tokens.
const TOTAL_BIT: u32 = 1;
const REQUESTS_BIT: u32 = 2;
const SOMETHING: u32 = !(TOTAL_BIT | REQUESTS_BIT);
const SOME_TOKENS: u32 = !7;

/// What an amount does to what is left of its whole, and to the input tokens that choose the tier.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Plain,
    InputWhole,
    InputPart,
    OutputWhole,
    OutputPart,
    InputBeside,
}

impl Side {
    fn of(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Plain,
            1 => Self::InputWhole,
            2 => Self::InputPart,
            3 => Self::OutputWhole,
            4 => Self::OutputPart,
            5 => Self::InputBeside,
            _ => return None,
        })
    }
}

/// What a key of the usage adds: `integer_price.Term`, with the bit of the price that states its rate.
struct Term {
    multiplier: i128,
    side: Side,
    bit: u32,
    /// The bits that it must not meet: their tokens could be the same ones.
    apart: u32,
    origin: u8,
}

/// `integer_price.Band`: the linear part of a price for events of more than `above` input tokens.
struct Band {
    above: i128,
    denominator: i128,
    terms: HashMap<Box<str>, Term>,
}

/// What Python hands over of a band: above, denominator, and the terms by key, each the multiplier (picousd per whole
/// unit times the denominator), the side as a number of `integer_price`, the bit, the bits it must not meet, and the origin.
pub type TaughtBand = (i128, i128, Vec<(String, i128, u8, u32, u32, u8)>);

/// A price over an interval of event times. Without bands, only failed calls can be priced by it here.
pub struct Price {
    from_ms: i64,
    to_ms: i64,
    /// What an event is priced by, by the origins of its rates; without any it is the first.
    ids: Vec<Box<str>>,
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

/// The cost of one event. An empty price id stands for none; with the price go the origins of the event's rates.
pub struct Quote {
    pub cost_picousd: i128,
    price: Option<(Arc<Price>, u8)>,
    pub status: Status,
}

impl Quote {
    pub fn price_id(&self) -> &str {
        match (&self.price, self.status) {
            (Some((price, origins)), _) => price.id(*origins),
            (None, Status::Reported) => "reported",
            (None, _) => "",
        }
    }
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
    key: Vec<u8>,
}

impl Prices {
    pub fn forget(&mut self) {
        self.known.clear();
    }

    /// Remember a price for the event's key; `None` for bands when only Python can price by it.
    #[allow(clippy::too_many_arguments)]
    pub fn teach(
        &mut self,
        names: [&str; 4],
        options: &[(String, String)],
        interval: (i64, i64),
        ids: Vec<String>,
        status: Status,
        bands: Option<Vec<TaughtBand>>,
    ) -> Option<()> {
        let ids: Vec<Box<str>> = ids.into_iter().map(String::into_boxed_str).collect();
        (!ids.is_empty()).then_some(())?;
        let bands = bands.unwrap_or_default().into_iter().map(band).collect::<Option<Vec<_>>>()?;
        let options = options.iter().map(|(option, value)| (option.as_str(), value.as_str()));
        write_key(&mut self.key, names, options);
        if self.known.len() >= KEYS_MAX && !self.known.contains_key(&self.key) {
            self.known.clear();
        }
        let prices = self.known.entry(self.key.clone()).or_default();
        let (from_ms, to_ms) = interval;
        prices.insert(0, Arc::new(Price { from_ms, to_ms, ids, status, bands }));
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
        let names = [event.names[name::PROVIDER], event.names[name::MODEL], event.names[name::AGENT], event.convention];
        write_key(&mut self.key, names, event.options.iter().copied());
        let time_ms = event.time_ms;
        let known = self.known.get(self.key.as_slice()).map(Vec::as_slice).unwrap_or_default();
        let price = known.iter().find(|price| (price.from_ms..price.to_ms).contains(&time_ms));
        let price = Arc::clone(price.ok_or(Unable::Unknown)?);
        if !owed {
            // A failed call that is not billed costs nothing, so an unknown model raises no alert here.
            let (price, status) = match price.status {
                Status::Unpriced => (None, Status::Free),
                status => (Some((price, 0)), status),
            };
            return Ok(Quote { cost_picousd: 0, price, status });
        }
        let status = price.status;
        if status == Status::Free {
            return Ok(Quote { cost_picousd: 0, price: Some((price, 0)), status });
        }
        let (cost, origins) = price.band(event).and_then(|band| band.cost(event)).ok_or(Unable::Special)?;
        if !(0..PICOUSD_MAX).contains(&cost) {
            return Err(Unable::Special);
        }
        Ok(Quote { cost_picousd: cost, price: Some((price, origins)), status })
    }
}

/// The key of a price: everything but the time that its choice depends on, with all options as they were sent. The parts
/// are separated by control characters, which no name contains.
fn write_key<'a>(
    key: &mut Vec<u8>,
    [provider, model, agent, convention]: [&str; 4],
    options: impl Iterator<Item = (&'a str, &'a str)>,
) {
    key.clear();
    for part in [provider, model, if model.is_empty() { agent } else { "" }, convention] {
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

fn band((above, denominator, terms): TaughtBand) -> Option<Band> {
    let terms = terms
        .into_iter()
        .map(|(key, multiplier, side, bit, apart, origin)| {
            Some((key.into_boxed_str(), Term { multiplier, side: Side::of(side)?, bit, apart, origin }))
        })
        .collect::<Option<_>>()?;
    (denominator > 0).then_some(Band { above, denominator, terms })
}

impl Price {
    fn id(&self, origins: u8) -> &str {
        self.ids.get(usize::from(origins)).or(self.ids.first()).map_or("", |id| id)
    }

    fn band(&self, event: &Event) -> Option<&Band> {
        if let [band] = self.bands.as_slice() {
            return Some(band);
        }
        let (base, tiers) = self.bands.split_last()?;
        let mut tokens = 0_i128;
        for (key, amount) in &event.usage {
            if base.terms.get(*key).is_some_and(|term| matches!(term.side, Side::InputWhole | Side::InputBeside)) {
                tokens = tokens.checked_add(amount.nano())?;
            }
        }
        let reached = tiers.iter().find(|band| band.above.checked_mul(NANO).is_some_and(|above| tokens > above));
        Some(reached.unwrap_or(base))
    }
}

impl Band {
    /// In picousd, rounded once, and the origins of the rates. `None` when the amounts and multipliers alone do not make
    /// the cost, or a number is too large.
    fn cost(&self, event: &Event) -> Option<(i128, u8)> {
        let decimal = event.usage.iter().any(|(_, amount)| matches!(amount, Amount::Decimal { .. }));
        let (mut total, mut input_rest, mut output_rest) = (0_i128, 0_i128, 0_i128);
        let (mut seen, mut origins) = (0_u32, 0_u8);
        for (key, amount) in &event.usage {
            let term = self.terms.get(*key)?;
            // All in whole units, or with one decimal among them all in 10⁻⁹ units.
            let amount = match amount {
                Amount::Whole(units) if !decimal => i128::from(*units),
                other => other.nano(),
            };
            if amount == 0 {
                continue;
            }
            if seen & term.apart != 0 {
                return None;
            }
            seen |= term.bit;
            origins |= term.origin;
            total = total.checked_add(term.multiplier.checked_mul(amount)?)?;
            match term.side {
                Side::Plain | Side::InputBeside => {}
                Side::InputWhole => input_rest = input_rest.checked_add(amount)?,
                Side::InputPart => input_rest = input_rest.checked_sub(amount)?,
                Side::OutputWhole => output_rest = output_rest.checked_add(amount)?,
                Side::OutputPart => output_rest = output_rest.checked_sub(amount)?,
            }
        }
        let is_complete = (seen & TOTAL_BIT == 0 || seen & SOME_TOKENS != 0)
            && (seen & REQUESTS_BIT == 0 || seen & SOMETHING != 0);
        if input_rest < 0 || output_rest < 0 || !is_complete {
            return None;
        }
        let denominator = if decimal { self.denominator.checked_mul(NANO)? } else { self.denominator };
        let cost = if denominator == 1 { total } else { round_half_even(total, denominator)? };
        Some((cost, origins))
    }
}
