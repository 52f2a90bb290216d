//! A state row in a fifth of its bytes. Only what this release writes is packed: JSON without white space and escapes,
//! amounts that are not negative, windows that begin at a slot.
//!
//! Packed it is the number of the transaction, how many windows there are in base calendars and beyond them, and of each
//! its calendar where it is beyond, its start and its sum. All numbers are varints, and texts are numbered once for all
//! rows of a table.

use hashbrown::HashMap;

use crate::row_reader::{Reader, Sum};

/// Windows begin at a multiple of 15 minutes.
const SLOT_MS: u128 = 900_000;
const NANO: u128 = 1_000_000_000;

/// Calendars and usage dimensions that are numbered in a table. Senders may invent dimensions.
const TEXTS_MAX: usize = 4_096;

#[derive(Default)]
pub struct Texts {
    texts: Vec<Box<[u8]>>,
    numbers: HashMap<Box<[u8]>, u32>,
}

impl Texts {
    fn number(&mut self, text: &[u8]) -> Option<u128> {
        if let Some(number) = self.numbers.get(text) {
            return Some(u128::from(*number));
        }
        if self.texts.len() >= TEXTS_MAX {
            return None;
        }
        let number = u32::try_from(self.texts.len()).ok()?;
        self.texts.push(text.into());
        self.numbers.insert(text.into(), number);
        Some(u128::from(number))
    }

    fn text(&self, number: u128) -> Option<&[u8]> {
        self.texts.get(usize::try_from(number).ok()?).map(|text| &**text)
    }
}

/// Append the packed row; `None`, with anything appended, where it cannot be packed.
pub fn pack(row: &[u8], texts: &mut Texts, to: &mut Vec<u8>) -> Option<()> {
    let mut reader = Reader::new(row);
    reader.mark(b'[')?;
    write_varint(to, unsigned(&mut reader)?);
    reader.mark(b',')?;
    // How many windows there are is known at the end, and is below 128.
    let counts = to.len();
    to.extend_from_slice(&[0, 0]);
    let (mut base, mut more) = (0_u8, 0_u8);
    if reader.peek()? == b'[' {
        pack_sum(&mut reader, texts, to)?;
        base = 1;
        while reader.mark(b',').is_some() {
            if reader.peek()? == b'{' {
                more = pack_more(&mut reader, texts, to)?;
                break;
            }
            pack_window(&mut reader, texts, to)?;
            base = base.checked_add(1)?;
        }
    } else {
        more = pack_more(&mut reader, texts, to)?;
    }
    reader.mark(b']')?;
    to.get_mut(counts..counts + 2)?.copy_from_slice(&[base, more]);
    Some(())
}

fn pack_more(reader: &mut Reader, texts: &mut Texts, to: &mut Vec<u8>) -> Option<u8> {
    let mut count = 0_u8;
    reader.mark(b'{')?;
    while reader.peek()? != b'}' {
        if count > 0 {
            reader.mark(b',')?;
        }
        write_varint(to, texts.number(reader.text()?)?);
        reader.mark(b':')?;
        reader.mark(b'[')?;
        pack_window(reader, texts, to)?;
        reader.mark(b']')?;
        count = count.checked_add(1)?;
    }
    reader.mark(b'}')?;
    Some(count)
}

fn pack_window(reader: &mut Reader, texts: &mut Texts, to: &mut Vec<u8>) -> Option<()> {
    let start_ms = unsigned(reader)?;
    if start_ms % SLOT_MS != 0 {
        return None;
    }
    write_varint(to, start_ms / SLOT_MS);
    reader.mark(b',')?;
    pack_sum(reader, texts, to)
}

fn pack_sum(reader: &mut Reader, texts: &mut Texts, to: &mut Vec<u8>) -> Option<()> {
    reader.mark(b'[')?;
    for _ in 0..3 {
        write_varint(to, unsigned(reader)?);
        reader.mark(b',')?;
    }
    reader.mark(b'{')?;
    let counts = to.len();
    to.push(0);
    let mut count = 0_u8;
    while reader.peek()? != b'}' {
        if count > 0 {
            reader.mark(b',')?;
        }
        write_varint(to, texts.number(reader.text()?)?);
        reader.mark(b':')?;
        // Most amounts are whole units.
        let nano = unsigned(reader)?;
        let (value, is_nano) = if nano % NANO == 0 { (nano / NANO, 0) } else { (nano, 1) };
        write_varint(to, value.checked_mul(2)? + is_nano);
        count = count.checked_add(1)?;
    }
    *to.get_mut(counts)? = count;
    reader.mark(b'}')?;
    reader.mark(b']')
}

fn unsigned(reader: &mut Reader) -> Option<u128> {
    u128::try_from(reader.whole()?).ok()
}

/// Append the row that was packed.
pub fn unpack(packed: &[u8], texts: &Texts, to: &mut Vec<u8>) -> Option<()> {
    let mut from = packed;
    to.push(b'[');
    write_number(to, read_varint(&mut from)?);
    let (base, more) = (byte(&mut from)?, byte(&mut from)?);
    for window in 0..base {
        to.push(b',');
        if window > 0 {
            unpack_start(&mut from, to)?;
        }
        unpack_sum(&mut from, texts, to)?;
    }
    for window in 0..more {
        to.extend_from_slice(if window == 0 { b",{\"" } else { b",\"" });
        to.extend_from_slice(texts.text(read_varint(&mut from)?)?);
        to.extend_from_slice(b"\":[");
        unpack_start(&mut from, to)?;
        unpack_sum(&mut from, texts, to)?;
        to.push(b']');
    }
    to.extend_from_slice(if more > 0 { b"}]" } else { b"]" });
    Some(())
}

fn unpack_start(from: &mut &[u8], to: &mut Vec<u8>) -> Option<()> {
    write_number(to, read_varint(from)?.checked_mul(SLOT_MS)?);
    to.push(b',');
    Some(())
}

fn unpack_sum(from: &mut &[u8], texts: &Texts, to: &mut Vec<u8>) -> Option<()> {
    to.push(b'[');
    for _ in 0..3 {
        write_number(to, read_varint(from)?);
        to.push(b',');
    }
    to.push(b'{');
    for place in 0..byte(from)? {
        to.extend_from_slice(if place == 0 { b"\"" } else { b",\"" });
        to.extend_from_slice(texts.text(read_varint(from)?)?);
        to.extend_from_slice(b"\":");
        write_number(to, nano(read_varint(from)?)?);
    }
    to.extend_from_slice(b"}]");
    Some(())
}

/// Start and sum of the base window at this place among those of a row, 0 for lifetime; `None` when there is none, or its
/// numbers are too large.
pub fn base_window<'a>(packed: &[u8], texts: &'a Texts, place: u8) -> Option<(i128, Sum<'a>)> {
    let mut from = packed;
    read_varint(&mut from)?;
    let (base, _more) = (byte(&mut from)?, byte(&mut from)?);
    if place >= base {
        return None;
    }
    for window in 0..place {
        skip(&mut from, u8::from(window > 0))?;
    }
    let start_ms = if place > 0 { signed(read_varint(&mut from)?.checked_mul(SLOT_MS)?)? } else { 0 };
    let cost_picousd = signed(read_varint(&mut from)?)?;
    read_varint(&mut from)?;
    let events_nano = signed(read_varint(&mut from)?.checked_mul(NANO)?)?;
    let count = byte(&mut from)?;
    let mut usage = Vec::with_capacity(usize::from(count));
    for _ in 0..count {
        let name = texts.text(read_varint(&mut from)?)?;
        let value = read_varint(&mut from)?;
        usage.push((name, signed(nano(value)?)?));
    }
    Some((start_ms, Sum { cost_picousd, events_nano, usage }))
}

/// An amount of usage, as it is packed, in 10⁻⁹ units.
fn nano(value: u128) -> Option<u128> {
    if value % 2 == 0 { (value / 2).checked_mul(NANO) } else { Some(value / 2) }
}

fn signed(value: u128) -> Option<i128> {
    i128::try_from(value).ok()
}

/// Whether a packed row has calendars beyond the base ones.
pub fn has_more(packed: &[u8]) -> bool {
    let mut from = packed;
    read_varint(&mut from).is_some() && byte(&mut from).is_some() && byte(&mut from).is_some_and(|more| more > 0)
}

/// These calendars.
pub fn more_calendars(packed: &[u8], texts: &Texts) -> Option<Vec<String>> {
    let mut from = packed;
    read_varint(&mut from)?;
    let (base, more) = (byte(&mut from)?, byte(&mut from)?);
    let mut found = Vec::with_capacity(usize::from(more));
    if more == 0 {
        return Some(found);
    }
    for window in 0..base {
        skip(&mut from, u8::from(window > 0))?;
    }
    for _ in 0..more {
        let calendar = texts.text(read_varint(&mut from)?)?;
        found.push(std::str::from_utf8(calendar).ok()?.to_owned());
        skip(&mut from, 1)?;
    }
    Some(found)
}

/// Pass over a sum, and so many numbers before it.
fn skip(from: &mut &[u8], before: u8) -> Option<()> {
    for _ in 0..before + 3 {
        read_varint(from)?;
    }
    for _ in 0..byte(from)? {
        read_varint(from)?;
        read_varint(from)?;
    }
    Some(())
}

fn byte(from: &mut &[u8]) -> Option<u8> {
    let (first, rest) = from.split_first()?;
    *from = rest;
    Some(*first)
}

pub fn write_varint(to: &mut Vec<u8>, mut value: u128) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

pub fn read_varint(from: &mut &[u8]) -> Option<u128> {
    let mut value = 0_u128;
    let mut shift = 0_u32;
    loop {
        let next = byte(from)?;
        value |= u128::from(next & 0x7f).checked_shl(shift)?;
        if next < 0x80 {
            return Some(value);
        }
        shift += 7;
    }
}

fn write_number(to: &mut Vec<u8>, value: u128) {
    // The digits of 128 bits.
    let mut digits = [0_u8; 39];
    let mut at = digits.len();
    // Most fit into 64 bits, which are divided several times faster.
    let mut high = value;
    while u64::try_from(high).is_err() {
        at -= 1;
        digits[at] = b'0' + (high % 10) as u8;
        high /= 10;
    }
    let mut low = high as u64;
    loop {
        at -= 1;
        digits[at] = b'0' + (low % 10) as u8;
        low /= 10;
        if low == 0 {
            break;
        }
    }
    to.extend_from_slice(&digits[at..]);
}
