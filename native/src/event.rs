//! An ordinary usage event, read from its bytes: a part of what `usage_codec.py` accepts, with the same meaning.

use crate::amounts::{NANO, shortest};
use crate::instants;
use crate::json::Scanner;

const BYTES_MAX: usize = 64 * 1024;
const NAME_CHARS_MAX: usize = 256;
const KEYS_MAX: usize = 64;

/// Those of `schemas/conventions.py`, without the default. A test counts an event of each.
const CONVENTIONS: [&str; 14] = [
    "exclusive", "openai", "azure", "anthropic", "google", "bedrock", "xai", "groq", "mistral", "deepseek", "openrouter",
    "litellm", "cohere", "perplexity",
];

/// The sum of this name is of product tokens: `vocabulary.CREDITS`. What is sent under it needs the reference.
const CREDITS: &str = "credits";

/// How the keys of what comes in whole units end: `usage_values.WHOLE_KEY`.
const WHOLE: [&str; 9] =
    ["tokens", "token_count", "images", "requests", "characters", "messages", "searches", "pages", "calls"];

/// An optional name of `data`, by its place in `Event::names`.
pub mod name {
    pub const ORG: usize = 0;
    pub const SERVICE: usize = 1;
    pub const PROVIDER: usize = 2;
    pub const MODEL: usize = 3;
    pub const AGENT: usize = 4;
    pub const CAMPAIGN: usize = 5;
    pub const FEATURE: usize = 6;
    pub const PRODUCT: usize = 7;
    pub const OPERATION: usize = 8;
    pub const RESOURCE_TYPE: usize = 9;
    pub const RESOURCE_ID: usize = 10;
    pub const REQUEST_ID: usize = 11;
    pub const RESERVATION_ID: usize = 12;
    pub const COUNT: usize = 13;
}

/// An amount in shortest form: an integer when whole, else the decimal string that was sent.
#[derive(Clone, Copy)]
pub enum Amount<'a> {
    Whole(u64),
    Decimal { text: &'a str, nano: i128 },
}

impl Amount<'_> {
    /// In 10⁻⁹ units; below 10²⁷.
    #[inline]
    pub fn nano(&self) -> i128 {
        match self {
            Self::Whole(units) => i128::from(*units) * NANO,
            Self::Decimal { nano, .. } => *nano,
        }
    }
}

/// A value of `metadata`.
#[derive(Clone, Copy)]
pub enum Scalar<'a> {
    Text(&'a str),
    Whole(u64),
    Bool(bool),
    Null,
}

/// A cost that the sender knows: as it was sent, which is its shortest form, and in 10⁻¹² USD.
#[derive(Clone, Copy)]
pub struct Reported<'a> {
    pub text: &'a str,
    pub picousd: i128,
}

/// All that is read of an event. An absent name is the empty string. The objects are in the order they were sent in.
#[derive(Default)]
pub struct Event<'a> {
    pub source: &'a str,
    pub id: &'a str,
    pub subject: &'a str,
    pub time: &'a str,
    pub time_ms: i64,
    pub names: [&'a str; name::COUNT],
    pub usage: Vec<(&'a str, Amount<'a>)>,
    /// Empty for `inclusive`, the default.
    pub convention: &'a str,
    pub cost: Option<Reported<'a>>,
    /// Empty for `success`, the default.
    pub failure: &'a str,
    pub billed: bool,
    pub options: Vec<(&'a str, &'a str)>,
    pub latency_ms: Option<u64>,
    pub metadata: Vec<(&'a str, Scalar<'a>)>,
}

impl<'a> Event<'a> {
    /// The event of this type, or `None` when it is not ordinary, which leaves it to the Python code.
    pub fn read(value: &'a [u8], entry_type: &str) -> Option<Self> {
        if value.len() > BYTES_MAX {
            return None;
        }
        let mut scanner = Scanner::new(value)?;
        let mut event = Self::default();
        let mut seen = Seen::default();
        let mut more = scanner.object()?;
        while more {
            event.member(&mut scanner, &mut seen, entry_type)?;
            more = scanner.more()?;
        }
        // Every member of the envelope is required.
        (scanner.is_at_end() && seen.0 == 0x7f).then_some(())?;
        event.time_ms = instants::parse(event.time)?;
        Some(event)
    }

    fn member(&mut self, scanner: &mut Scanner<'a>, seen: &mut Seen, entry_type: &str) -> Option<()> {
        match scanner.name()? {
            "specversion" => seen.first(0).and_then(|()| (scanner.text()? == "1.0").then_some(())),
            "type" => seen.first(1).and_then(|()| (scanner.text()? == entry_type).then_some(())),
            "source" => seen.first(2).and_then(|()| required(scanner, &mut self.source)),
            "id" => seen.first(3).and_then(|()| required(scanner, &mut self.id)),
            "subject" => seen.first(4).and_then(|()| required(scanner, &mut self.subject)),
            "time" => seen.first(5).and_then(|()| scanner.text().map(|text| self.time = text)),
            "data" => seen.first(6).and_then(|()| self.data(scanner)),
            // The codec has a field of this name, whose type it checks.
            "time_ms" => None,
            _ => scanner.text().map(|_| ()),
        }
    }

    fn data(&mut self, scanner: &mut Scanner<'a>) -> Option<()> {
        let mut seen = Seen::default();
        let mut more = scanner.object()?;
        while more {
            let field = scanner.name()?;
            if let Some(place) = place_of(field) {
                seen.first(place)?;
                if scanner.peek()? == b'n' {
                    // Null means absent here, whatever the field.
                    scanner.word(b"null")?;
                } else if let Some(name) = self.names.get_mut(place) {
                    *name = checked(scanner.text()?)?;
                } else {
                    self.field(field, scanner)?;
                }
            } else {
                scanner.text()?;
            }
            more = scanner.more()?;
        }
        let names = &self.names;
        let payer =
            !names[name::AGENT].is_empty() || !(names[name::PROVIDER].is_empty() || names[name::MODEL].is_empty());
        let cause = !self.usage.is_empty() || !self.failure.is_empty();
        (self.cost.is_some() || (payer && cause)).then_some(())
    }

    fn field(&mut self, field: &str, scanner: &mut Scanner<'a>) -> Option<()> {
        match field {
            "usage" => self.usage(scanner)?,
            "convention" => match scanner.text()? {
                "inclusive" => {}
                convention if CONVENTIONS.contains(&convention) => self.convention = convention,
                _ => return None,
            },
            "cost_usd" => {
                let text = scanner.text()?;
                self.cost = Some(Reported { text, picousd: shortest(text, 14, 12)? });
            }
            "status" => match scanner.text()? {
                "success" => {}
                failure @ ("error" | "rate_limited" | "cancelled") => self.failure = failure,
                _ => return None,
            },
            "billed" if scanner.peek()? == b't' => {
                scanner.word(b"true")?;
                self.billed = true;
            }
            "billed" => scanner.word(b"false")?,
            "options" => self.options(scanner)?,
            "latency_ms" => self.latency_ms = Some(scanner.whole().filter(|ms| *ms <= u64::from(u32::MAX))?),
            "metadata" => self.metadata(scanner)?,
            // Product tokens (`retail_tokens`) are priced by the reference alone, which also settles reservations (`more`).
            _ => return None,
        }
        Some(())
    }

    fn usage(&mut self, scanner: &mut Scanner<'a>) -> Option<()> {
        let mut more = scanner.object()?;
        self.usage = Vec::with_capacity(if more { 6 } else { 0 });
        while more {
            let dimension = checked(scanner.name()?)?;
            if dimension == CREDITS {
                return None;
            }
            let form = dimension.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            if !form || !dimension.starts_with(|first: char| first.is_ascii_lowercase()) {
                return None;
            }
            let amount = match scanner.peek()? {
                b'"' => match decimal(scanner.text()?)? {
                    // A fraction of a token is refused, with its path.
                    Amount::Decimal { .. } if is_whole(dimension) => return None,
                    amount => amount,
                },
                _ => Amount::Whole(scanner.whole()?),
            };
            push_new(&mut self.usage, dimension, amount)?;
            more = scanner.more()?;
        }
        Some(())
    }

    fn options(&mut self, scanner: &mut Scanner<'a>) -> Option<()> {
        let mut more = scanner.object()?;
        while more {
            let option = given(scanner.name()?)?;
            push_new(&mut self.options, option, given(scanner.text()?)?)?;
            more = scanner.more()?;
        }
        Some(())
    }

    fn metadata(&mut self, scanner: &mut Scanner<'a>) -> Option<()> {
        let mut more = scanner.object()?;
        while more {
            let key = given(scanner.name()?)?;
            let value = match scanner.peek()? {
                b'"' => Scalar::Text(scanner.text()?),
                b't' => scanner.word(b"true").map(|()| Scalar::Bool(true))?,
                b'f' => scanner.word(b"false").map(|()| Scalar::Bool(false))?,
                b'n' => scanner.word(b"null").map(|()| Scalar::Null)?,
                _ => Scalar::Whole(scanner.whole()?),
            };
            push_new(&mut self.metadata, key, value)?;
            more = scanner.more()?;
        }
        Some(())
    }
}

/// Which members of an object were read. An object that repeats a name is left to the reference.
#[derive(Default)]
struct Seen(u32);

impl Seen {
    fn first(&mut self, place: usize) -> Option<()> {
        let bit = 1_u32.checked_shl(u32::try_from(place).ok()?)?;
        let is_first = self.0 & bit == 0;
        self.0 |= bit;
        is_first.then_some(())
    }
}

/// The number of a field of `data`: the names first, as in `Event::names`, then the other fields.
fn place_of(field: &str) -> Option<usize> {
    Some(match field {
        "provider" => name::PROVIDER,
        "model" => name::MODEL,
        "usage" => name::COUNT,
        "convention" => name::COUNT + 1,
        "cost_usd" => name::COUNT + 2,
        "status" => name::COUNT + 3,
        "billed" => name::COUNT + 4,
        "options" => name::COUNT + 5,
        "retail_tokens" => name::COUNT + 6,
        "org" => name::ORG,
        "service" => name::SERVICE,
        "agent" => name::AGENT,
        "campaign" => name::CAMPAIGN,
        "feature" => name::FEATURE,
        "product" => name::PRODUCT,
        "operation" => name::OPERATION,
        "latency_ms" => name::COUNT + 7,
        "resource_type" => name::RESOURCE_TYPE,
        "resource_id" => name::RESOURCE_ID,
        "request_id" => name::REQUEST_ID,
        "reservation_id" => name::RESERVATION_ID,
        "metadata" => name::COUNT + 8,
        "more" => name::COUNT + 9,
        _ => return None,
    })
}

/// The place in `Event::names` of a name of `data`.
pub fn place_of_name(field: &str) -> Option<usize> {
    place_of(field).filter(|place| *place < name::COUNT)
}

/// A text of at most 256 characters.
#[inline]
fn checked(text: &str) -> Option<&str> {
    (text.len() <= NAME_CHARS_MAX || text.chars().count() <= NAME_CHARS_MAX).then_some(text)
}

/// The same, and not empty.
#[inline]
fn given(text: &str) -> Option<&str> {
    checked(text).filter(|text| !text.is_empty())
}

fn required<'a>(scanner: &mut Scanner<'a>, into: &mut &'a str) -> Option<()> {
    *into = given(scanner.text()?)?;
    Some(())
}

/// Whether a key is of something that comes in whole units.
fn is_whole(key: &str) -> bool {
    WHOLE.iter().any(|end| key.strip_suffix(end).is_some_and(|start| start.is_empty() || start.ends_with('_')))
}

fn decimal(text: &str) -> Option<Amount<'_>> {
    let nano = shortest(text, 18, 9)?;
    if text.contains('.') {
        return Some(Amount::Decimal { text, nano });
    }
    u64::try_from(nano / NANO).ok().map(Amount::Whole)
}

/// Append a member unless its name is there already or there are too many.
fn push_new<'a, T>(members: &mut Vec<(&'a str, T)>, name: &'a str, value: T) -> Option<()> {
    if members.len() >= KEYS_MAX || members.iter().any(|(other, _)| *other == name) {
        return None;
    }
    members.push((name, value));
    Some(())
}
