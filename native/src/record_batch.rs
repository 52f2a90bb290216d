//! Kafka's record batches (message format 2), written in one go instead of record by record.
//!
//! https://kafka.apache.org/documentation/#recordbatch is the format; aiokafka's own builder is the reference.

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

// From the base offset to the number of records.
pub const HEADER_BYTES: usize = 61;
pub const LENGTH_AT: usize = 8;
// The batch's length counts the bytes after this field.
pub const EPOCH_AT: usize = 12;
pub const MAGIC_AT: usize = 16;
pub const CRC_AT: usize = 17;
pub const ATTRIBUTES_AT: usize = 21;
pub const LAST_OFFSET_AT: usize = 23;
pub const TIMES_AT: usize = 27;
pub const PRODUCER_AT: usize = 43;
pub const COUNT_AT: usize = 57;

pub const MAGIC: u8 = 2;
// Uncompressed, the producer's timestamps.
pub const TRANSACTIONAL: i16 = 0x10;

/// Records of one partition, complete except for the fields that the producer knows only when it sends them.
#[pyclass]
pub struct RecordBatch {
    bytes: Vec<u8>,
    records: i32,
}

#[pymethods]
impl RecordBatch {
    fn __len__(&self) -> usize {
        self.records as usize
    }

    /// How many bytes the batch has on the wire.
    #[getter]
    fn size(&self) -> usize {
        self.bytes.len()
    }

    /// The batch as part of a transaction of this producer.
    fn sealed<'py>(
        &mut self,
        py: Python<'py>,
        producer_id: i64,
        producer_epoch: i16,
        base_sequence: i32,
    ) -> Bound<'py, PyBytes> {
        let bytes = &mut self.bytes;
        put(bytes, PRODUCER_AT, &producer_id.to_be_bytes());
        put(bytes, PRODUCER_AT + 8, &producer_epoch.to_be_bytes());
        put(bytes, PRODUCER_AT + 10, &base_sequence.to_be_bytes());
        let crc = crc32c::crc32c(&bytes[ATTRIBUTES_AT..]);
        put(bytes, CRC_AT, &crc.to_be_bytes());
        PyBytes::new(py, bytes)
    }
}

/// Priced records of one tally, packed without a Python object for each; one is made when a record is asked for.
#[pyclass(frozen)]
pub struct PricedRecords {
    /// Keys and values, one after another, and where each key and each value ends.
    bytes: Vec<u8>,
    ends: Vec<(usize, usize)>,
}

impl PricedRecords {
    pub fn new(bytes: Vec<u8>, ends: Vec<(usize, usize)>) -> Self {
        Self { bytes, ends }
    }

    fn field(&self, at: usize) -> Option<(&[u8], &[u8])> {
        let (key_end, value_end) = *self.ends.get(at)?;
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before].1);
        Some((&self.bytes[start..key_end], &self.bytes[key_end..value_end]))
    }
}

#[pymethods]
impl PricedRecords {
    fn __len__(&self) -> usize {
        self.ends.len()
    }

    /// Key and value of a record. IndexError as named.
    fn __getitem__<'py>(&self, py: Python<'py>, at: usize) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
        let (key, value) = self.field(at).ok_or_else(|| PyIndexError::new_err("no such record"))?;
        Ok((PyBytes::new(py, key), PyBytes::new(py, value)))
    }

    /// As `pack_records`.
    fn pack(&self, bytes_max: usize, timestamp_ms: i64) -> PyResult<Vec<RecordBatch>> {
        let mut packer = Packer::new(bytes_max, timestamp_ms);
        for at in 0..self.ends.len() {
            let fields = self.field(at);
            packer.add(|record, number| {
                begin_record(record, number, fields.map(|(key, _)| key), fields.map(|(_, value)| value), 0);
                Ok(())
            })?;
        }
        packer.finish()
    }
}

/// Pack records (key, value, headers) into batches of at most `bytes_max` bytes, in order.
///
/// A record that is larger becomes a batch by itself, as aiokafka's builder makes it.
#[pyfunction]
pub fn pack_records(records: &Bound<'_, PyList>, bytes_max: usize, timestamp_ms: i64) -> PyResult<Vec<RecordBatch>> {
    let mut packer = Packer::new(bytes_max, timestamp_ms);
    for item in records.iter() {
        let (key, value, headers) = fields(&item)?;
        packer.add(|record, number| write_record(record, number, key.as_ref(), value.as_ref(), &headers))?;
    }
    packer.finish()
}

/// Fills one batch after the other.
struct Packer {
    batches: Vec<RecordBatch>,
    bytes: Vec<u8>,
    count: i32,
    record: Vec<u8>,
    bytes_max: usize,
    timestamp_ms: i64,
}

impl Packer {
    fn new(bytes_max: usize, timestamp_ms: i64) -> Self {
        Self {
            batches: Vec::new(),
            bytes: vec![0; HEADER_BYTES],
            count: 0,
            record: Vec::new(),
            bytes_max,
            timestamp_ms,
        }
    }

    /// Add the record that `write` writes; it is given the record's number in its batch.
    fn add(&mut self, write: impl Fn(&mut Vec<u8>, i32) -> PyResult<()>) -> PyResult<()> {
        write(&mut self.record, self.count)?;
        if self.is_over() && self.count > 0 {
            self.close()?;
            write(&mut self.record, 0)?;
        }
        put_varint(&mut self.bytes, self.record.len() as i64);
        self.bytes.extend_from_slice(&self.record);
        self.count += 1;
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.bytes.len() + self.record.len() + MAX_VARINT > self.bytes_max
    }

    fn close(&mut self) -> PyResult<()> {
        let bytes = std::mem::replace(&mut self.bytes, vec![0; HEADER_BYTES]);
        let count = std::mem::take(&mut self.count);
        self.batches.push(closed(bytes, count, self.timestamp_ms)?);
        Ok(())
    }

    fn finish(mut self) -> PyResult<Vec<RecordBatch>> {
        if self.count > 0 {
            self.close()?;
        }
        Ok(self.batches)
    }
}

const MAX_VARINT: usize = 10;

type Field<'py> = Option<Bound<'py, PyBytes>>;

fn fields<'py>(item: &Bound<'py, PyAny>) -> PyResult<(Field<'py>, Field<'py>, Bound<'py, PyList>)> {
    let item = item.cast::<PyTuple>()?;
    Ok((optional(item.get_item(0)?)?, optional(item.get_item(1)?)?, item.get_item(2)?.cast_into()?))
}

fn optional(value: Bound<'_, PyAny>) -> PyResult<Field<'_>> {
    if value.is_none() { Ok(None) } else { Ok(Some(value.cast_into()?)) }
}

/// A record without its length in front.
fn write_record(
    out: &mut Vec<u8>,
    offset: i32,
    key: Option<&Bound<'_, PyBytes>>,
    value: Option<&Bound<'_, PyBytes>>,
    headers: &Bound<'_, PyList>,
) -> PyResult<()> {
    begin_record(out, offset, key.map(|key| key.as_bytes()), value.map(|value| value.as_bytes()), headers.len());
    for header in headers.iter() {
        let header = header.cast::<PyTuple>()?;
        let name = header.get_item(0)?.cast_into::<PyString>()?;
        put_field(out, Some(name.to_cow()?.as_bytes()));
        put_field(out, optional(header.get_item(1)?)?.as_ref().map(|value| value.as_bytes()));
    }
    Ok(())
}

/// A record up to its headers.
fn begin_record(out: &mut Vec<u8>, offset: i32, key: Option<&[u8]>, value: Option<&[u8]>, headers: usize) {
    out.clear();
    // No attributes, and the batch's own timestamp.
    out.extend_from_slice(&[0, 0]);
    put_varint(out, i64::from(offset));
    put_field(out, key);
    put_field(out, value);
    put_varint(out, headers as i64);
}

/// The batch with its header, as far as it is known.
fn closed(mut bytes: Vec<u8>, records: i32, timestamp_ms: i64) -> PyResult<RecordBatch> {
    let length = i32::try_from(bytes.len() - EPOCH_AT).map_err(|_| PyValueError::new_err("a batch of over 2 GiB"))?;
    put(&mut bytes, LENGTH_AT, &length.to_be_bytes());
    put(&mut bytes, EPOCH_AT, &(-1_i32).to_be_bytes());
    put(&mut bytes, MAGIC_AT, &[MAGIC]);
    put(&mut bytes, ATTRIBUTES_AT, &TRANSACTIONAL.to_be_bytes());
    put(&mut bytes, LAST_OFFSET_AT, &(records - 1).to_be_bytes());
    put(&mut bytes, TIMES_AT, &timestamp_ms.to_be_bytes());
    put(&mut bytes, TIMES_AT + 8, &timestamp_ms.to_be_bytes());
    put(&mut bytes, COUNT_AT, &records.to_be_bytes());
    Ok(RecordBatch { bytes, records })
}

fn put(bytes: &mut [u8], at: usize, field: &[u8]) {
    bytes[at..at + field.len()].copy_from_slice(field);
}

pub fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        Some(field) => {
            put_varint(out, field.len() as i64);
            out.extend_from_slice(field);
        }
        None => put_varint(out, -1),
    }
}

/// A number as protocol buffers write it: zigzag, then seven bits a byte.
pub fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
