//! The priced record of an event as JSON, byte for byte as `outputs_codec.encode_priced` writes it.

use crate::amounts::{write_usd, write_whole};
use crate::dimensions::Dimensions;
use crate::event::{Amount, Event, Scalar, name};
use crate::instants;
use crate::prices::Quote;

/// Append the record. Texts are written as they are: an ordinary event holds none that needs an escape.
pub fn write(out: &mut Vec<u8>, event: &Event, dimensions: &Dimensions, quote: &Quote, partition: u32, offset: u64) {
    text(out, b"{\"event_id\":", event.id);
    text(out, b",\"source\":", event.source);
    out.extend_from_slice(b",\"time\":\"");
    let time = event.time.as_bytes();
    // A time in UTC with whole seconds or milliseconds is written as it came.
    if matches!(time.len(), 20 | 24) && time.get(10) == Some(&b'T') && time.last() == Some(&b'Z') {
        out.extend_from_slice(time);
    } else {
        instants::write(out, event.time_ms);
    }
    out.push(b'"');
    text(out, b",\"kind\":\"usage\",\"user\":", event.subject);
    out.extend_from_slice(b",\"cost_usd\":\"");
    write_usd(out, quote.cost_picousd);
    text(out, b"\",\"retail_usd\":\"0\",\"price_id\":", quote.price_id());
    text(out, b",\"price_status\":", quote.status.text());
    out.extend_from_slice(b",\"source_partition\":");
    write_whole(out, u64::from(partition));
    out.extend_from_slice(b",\"source_offset\":");
    write_whole(out, offset);
    out.extend_from_slice(b",\"version\":1,\"usage\":");
    object(out, &event.usage, |out, amount| match amount {
        Amount::Whole(units) => write_whole(out, *units),
        Amount::Decimal { text: decimal, .. } => text(out, b"", decimal),
    });
    text(out, b",\"status\":", if event.failure.is_empty() { "success" } else { event.failure });
    let names = &event.names;
    for (before, name) in dimensions.fields(event) {
        field(out, before, name);
    }
    field(out, b",\"operation\":", names[name::OPERATION]);
    if let Some(latency_ms) = event.latency_ms {
        out.extend_from_slice(b",\"latency_ms\":");
        write_whole(out, latency_ms);
    }
    field(out, b",\"resource_type\":", names[name::RESOURCE_TYPE]);
    field(out, b",\"resource_id\":", names[name::RESOURCE_ID]);
    field(out, b",\"request_id\":", names[name::REQUEST_ID]);
    if !event.options.is_empty() {
        out.extend_from_slice(b",\"options\":");
        object(out, &event.options, |out, value| text(out, b"", value));
    }
    if !event.metadata.is_empty() {
        out.extend_from_slice(b",\"metadata\":");
        object(out, &event.metadata, |out, value| match value {
            Scalar::Text(value) => text(out, b"", value),
            Scalar::Whole(value) => write_whole(out, *value),
            Scalar::Bool(true) => out.extend_from_slice(b"true"),
            Scalar::Bool(false) => out.extend_from_slice(b"false"),
            Scalar::Null => out.extend_from_slice(b"null"),
        });
    }
    out.push(b'}');
}

#[inline]
fn text(out: &mut Vec<u8>, before: &[u8], text: &str) {
    out.extend_from_slice(before);
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

#[inline]
fn field(out: &mut Vec<u8>, before: &[u8], value: &str) {
    if !value.is_empty() {
        text(out, before, value);
    }
}

fn object<T>(out: &mut Vec<u8>, members: &[(&str, T)], write: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'{');
    for (place, (name, value)) in members.iter().enumerate() {
        if place > 0 {
            out.push(b',');
        }
        text(out, b"", name);
        out.push(b':');
        write(out, value);
    }
    out.push(b'}');
}
