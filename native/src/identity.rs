//! Digest and fingerprint of an event, which tell whether two events are the same. Equal bit for bit to those of
//! `usage_identity.py`: these values are stored for weeks.

use blake2b_simd::blake2b;

use crate::amounts::write_whole;
use crate::event::{Amount, Event, Scalar, name};
use crate::identities::Digest;

/// 16 bytes that stand for source and id. `scratch` is written over.
pub fn digest(event: &Event, scratch: &mut Vec<u8>) -> Digest {
    scratch.clear();
    write_whole(scratch, event.source.chars().count() as u64);
    scratch.push(b':');
    scratch.extend_from_slice(event.source.as_bytes());
    scratch.extend_from_slice(event.id.as_bytes());
    let mut cut = [0; 16];
    cut.copy_from_slice(&blake2b(scratch).as_array()[..16]);
    cut
}

/// 64 bits that stand for the subject and the data in canonical form: usage of 0 and metadata that is null are left out.
/// `scratch` is written over.
pub fn fingerprint(event: &Event, scratch: &mut Vec<u8>) -> u64 {
    scratch.clear();
    scratch.push(0x92);
    text(scratch, event.subject);
    data(scratch, event);
    let mut cut = [0; 8];
    cut.copy_from_slice(&blake2b(scratch).as_array()[..8]);
    u64::from_be_bytes(cut)
}

/// The data as msgpack: fields in the order of `EventData`, those with their default left out, objects sorted by key.
fn data(out: &mut Vec<u8>, event: &Event) {
    let named = event.names.iter().filter(|name| !name.is_empty()).count();
    let has_usage = event.usage.iter().any(|(_, amount)| amount.says_something());
    let has_metadata = event.metadata.iter().any(|(_, value)| value.says_something());
    let others = [
        has_usage,
        !event.convention.is_empty(),
        event.cost.is_some(),
        !event.failure.is_empty(),
        event.billed,
        !event.options.is_empty(),
        event.latency_ms.is_some(),
        has_metadata,
    ];
    // Always with two bytes of size: the encoder makes room for all 22 fields before it knows how many there are.
    out.push(0xde);
    out.extend_from_slice(&((named + others.iter().filter(|given| **given).count()) as u16).to_be_bytes());
    field(out, "provider", event.names[name::PROVIDER]);
    field(out, "model", event.names[name::MODEL]);
    if has_usage {
        text(out, "usage");
        object(out, &event.usage, |out, amount| match amount {
            Amount::Whole(units) => whole(out, *units),
            Amount::Decimal { text: decimal, .. } => text(out, decimal),
        });
    }
    field(out, "convention", event.convention);
    if let Some(cost) = &event.cost {
        field(out, "cost_usd", cost.text);
    }
    field(out, "status", event.failure);
    if event.billed {
        text(out, "billed");
        out.push(0xc3);
    }
    if !event.options.is_empty() {
        text(out, "options");
        object(out, &event.options, |out, value| text(out, value));
    }
    field(out, "org", event.names[name::ORG]);
    field(out, "service", event.names[name::SERVICE]);
    field(out, "agent", event.names[name::AGENT]);
    field(out, "campaign", event.names[name::CAMPAIGN]);
    field(out, "feature", event.names[name::FEATURE]);
    field(out, "product", event.names[name::PRODUCT]);
    field(out, "operation", event.names[name::OPERATION]);
    if let Some(latency_ms) = event.latency_ms {
        text(out, "latency_ms");
        whole(out, latency_ms);
    }
    field(out, "resource_type", event.names[name::RESOURCE_TYPE]);
    field(out, "resource_id", event.names[name::RESOURCE_ID]);
    field(out, "request_id", event.names[name::REQUEST_ID]);
    field(out, "reservation_id", event.names[name::RESERVATION_ID]);
    if has_metadata {
        text(out, "metadata");
        object(out, &event.metadata, |out, value| match value {
            Scalar::Text(value) => text(out, value),
            Scalar::Whole(value) => whole(out, *value),
            Scalar::Bool(value) => out.push(0xc2 + u8::from(*value)),
            Scalar::Null => out.push(0xc0),
        });
    }
}

#[inline]
fn field(out: &mut Vec<u8>, field: &str, value: &str) {
    if !value.is_empty() {
        text(out, field);
        text(out, value);
    }
}

/// A member of an object: whether an object without it would say the same.
trait Says {
    fn says_something(&self) -> bool;
}

impl Says for Amount<'_> {
    #[inline]
    fn says_something(&self) -> bool {
        // A decimal in shortest form is never zero.
        !matches!(self, Self::Whole(0))
    }
}

impl Says for Scalar<'_> {
    #[inline]
    fn says_something(&self) -> bool {
        !matches!(self, Self::Null)
    }
}

impl Says for &str {
    #[inline]
    fn says_something(&self) -> bool {
        true
    }
}

fn object<T: Says>(out: &mut Vec<u8>, members: &[(&str, T)], write: impl Fn(&mut Vec<u8>, &T)) {
    // Few enough that sorting their places costs less than the digest.
    let mut sorted: Vec<&(&str, T)> = Vec::with_capacity(members.len());
    sorted.extend(members.iter().filter(|(_, value)| value.says_something()));
    map(out, sorted.len());
    sorted.sort_unstable_by_key(|(name, _)| *name);
    for (name, value) in sorted {
        text(out, name);
        write(out, value);
    }
}

// Sizes are below 65,536, as all of an event is.

fn map(out: &mut Vec<u8>, size: usize) {
    if size < 16 {
        out.push(0x80 | size as u8);
    } else {
        out.push(0xde);
        out.extend_from_slice(&(size as u16).to_be_bytes());
    }
}

#[inline]
fn text(out: &mut Vec<u8>, text: &str) {
    let size = text.len();
    if size < 32 {
        out.push(0xa0 | size as u8);
    } else if size < 256 {
        out.extend_from_slice(&[0xd9, size as u8]);
    } else {
        out.push(0xda);
        out.extend_from_slice(&(size as u16).to_be_bytes());
    }
    out.extend_from_slice(text.as_bytes());
}

fn whole(out: &mut Vec<u8>, value: u64) {
    if value < 128 {
        out.push(value as u8);
    } else if let Ok(value) = u8::try_from(value) {
        out.extend_from_slice(&[0xcc, value]);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(0xcd);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(0xce);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xcf);
        out.extend_from_slice(&value.to_be_bytes());
    }
}
