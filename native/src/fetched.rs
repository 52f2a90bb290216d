//! Fetched records, found in Kafka's record batches (message format 2) without a Python object for each.
//!
//! https://kafka.apache.org/documentation/#recordbatch is the format; aiokafka's own reader is the reference.

use pyo3::exceptions::{PyIndexError, PyValueError};
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyTuple};
use std::collections::HashSet;
use std::ops::Range;

use crate::record_batch::{
    ATTRIBUTES_AT, COUNT_AT, CRC_AT, EPOCH_AT, HEADER_BYTES, LAST_OFFSET_AT, LENGTH_AT, MAGIC, MAGIC_AT, PRODUCER_AT,
    TIMES_AT, TRANSACTIONAL, put_field,
};

const CODEC: i16 = 0x07;
// All that one reading unpacks, about; what follows is left for the next one. A few kilobytes of a compressed batch can
// become gigabytes.
const UNPACKED_BYTES_MAX: usize = 128 << 20;
// In place of a timestamp's type, which a producer cannot set to this: a batch that could not be unpacked.
const UNREADABLE: u8 = u8::MAX;
// The broker's time of arrival, for all records of the batch.
const LOG_APPEND_TIME: i16 = 0x08;
const CONTROL: i16 = 0x20;
const ABORT: i16 = 0;

/// Records of one partition in the order of their offsets.
#[pyclass(frozen)]
pub struct Fetched {
    buffers: Vec<Py<PyBytes>>,
    records: Vec<Record>,
    next_offset: i64,
}

/// Where a record's parts are in its buffer.
struct Record {
    buffer: usize,
    offset: i64,
    timestamp_ms: i64,
    timestamp_type: u8,
    key: Option<Range<usize>>,
    value: Option<Range<usize>>,
    headers: i64,
    headers_at: usize,
}

/// The fields of a fetched record that count.
pub struct Fields<'a> {
    pub value: Option<&'a [u8]>,
    pub has_headers: bool,
    pub timestamp_ms: i64,
    pub offset: u64,
}

type Header<'py> = (String, Option<Bound<'py, PyBytes>>);
type Parts<'py> = (i64, i64, u8, Option<Bound<'py, PyBytes>>, Option<Bound<'py, PyBytes>>, Vec<Header<'py>>);

#[pymethods]
impl Fetched {
    /// Find the records from an offset on, leaving out aborted transactions and markers.
    ///
    /// `aborted` has (producer id, first offset) of aborted transactions in the order of their offsets; `decompress`
    /// takes a codec's number and a batch's compressed records, and gives None when they cannot be unpacked. Such a batch
    /// becomes one record at its last offset, with the compressed bytes as its value, 255 as the type of its timestamp,
    /// and its first offset in a header. None when a batch has an older format. ValueError when the bytes are damaged.
    #[staticmethod]
    fn read(
        data: Bound<'_, PyBytes>,
        from_offset: i64,
        aborted: Vec<(i64, i64)>,
        decompress: &Bound<'_, PyAny>,
    ) -> PyResult<Option<Self>> {
        let py = data.py();
        let mut fetched = Self { buffers: vec![data.clone().unbind()], records: Vec::new(), next_offset: from_offset };
        let mut aborted = aborted.into_iter().peekable();
        let mut aborted_producers = HashSet::new();
        let bytes = data.as_bytes();
        let mut at = 0;
        let mut unpacked = 0;
        // The broker may cut off the last batch; it comes whole with the next fetch.
        while let Some(batch) = Batch::at(bytes, at)? {
            at = batch.end;
            if batch.magic != MAGIC {
                return Ok(None);
            }
            if !batch.is_whole(bytes) {
                return Err(damaged("a batch has another checksum"));
            }
            while let Some((producer, _)) = aborted.next_if(|(_, first)| *first <= batch.base_offset) {
                aborted_producers.insert(producer);
            }
            if batch.attributes & CONTROL != 0 {
                if batch.is_abort(bytes)? {
                    aborted_producers.remove(&batch.producer_id);
                }
            } else if batch.attributes & TRANSACTIONAL == 0 || !aborted_producers.contains(&batch.producer_id) {
                match batch.attributes & CODEC {
                    0 => fetched.add(&batch, bytes, 0, batch.records.clone())?,
                    _ if unpacked >= UNPACKED_BYTES_MAX && fetched.next_offset > from_offset => break,
                    codec => {
                        let packed = PyBytes::new(py, &bytes[batch.records.clone()]);
                        let plain = decompress.call1((codec, packed))?;
                        if plain.is_none() {
                            fetched.add_unreadable(py, &batch, &bytes[batch.records.clone()]);
                        } else {
                            let plain = plain.cast_into::<PyBytes>()?;
                            let whole = 0..plain.as_bytes().len();
                            unpacked += whole.end;
                            fetched.buffers.push(plain.clone().unbind());
                            fetched.add(&batch, plain.as_bytes(), fetched.buffers.len() - 1, whole)?;
                        }
                    }
                }
            }
            fetched.next_offset = batch.next_offset;
        }
        Ok(Some(fetched))
    }

    /// The same of records that are Python objects.
    #[staticmethod]
    fn of_records(records: &Bound<'_, PyList>) -> PyResult<Self> {
        let py = records.py();
        let mut found = Vec::with_capacity(records.len());
        let mut bytes = Vec::new();
        for record in records.iter() {
            let key = kept(&mut bytes, &record.getattr(intern!(py, "key"))?)?;
            let value = kept(&mut bytes, &record.getattr(intern!(py, "value"))?)?;
            let headers_at = bytes.len();
            let mut headers = 0;
            for header in record.getattr(intern!(py, "headers"))?.try_iter()? {
                let header = header?.cast_into::<PyTuple>()?;
                put_field(&mut bytes, Some(header.get_item(0)?.extract::<String>()?.as_bytes()));
                put_field(&mut bytes, header.get_item(1)?.extract::<Option<Vec<u8>>>()?.as_deref());
                headers += 1;
            }
            found.push(Record {
                buffer: 0,
                offset: record.getattr(intern!(py, "offset"))?.extract()?,
                timestamp_ms: record.getattr(intern!(py, "timestamp"))?.extract()?,
                timestamp_type: record.getattr(intern!(py, "timestamp_type"))?.extract()?,
                key,
                value,
                headers,
                headers_at,
            });
        }
        let next_offset = found.last().map_or(0, |record| record.offset + 1);
        Ok(Self { buffers: vec![PyBytes::new(py, &bytes).unbind()], records: found, next_offset })
    }

    /// The offset that follows, after everything that was read.
    #[getter]
    fn next_offset(&self) -> i64 {
        self.next_offset
    }

    fn __len__(&self) -> usize {
        self.records.len()
    }

    /// Offset, timestamp in ms, its type, key, value and headers of a record. IndexError as named.
    fn record<'py>(&self, py: Python<'py>, at: usize) -> PyResult<Parts<'py>> {
        let record = self.records.get(at).ok_or_else(|| PyIndexError::new_err("no such record"))?;
        let bytes = self.buffers[record.buffer].bind(py).as_bytes();
        let field = |range: &Option<Range<usize>>| range.clone().map(|range| PyBytes::new(py, &bytes[range]));
        let mut reader = Reader { bytes, at: record.headers_at };
        let mut headers = Vec::new();
        for _ in 0..record.headers {
            let name = reader.field()?.ok_or_else(|| damaged("a header has no name"))?;
            // Kafka does not check header names. One that is not UTF-8 must not stop the partition.
            let name = String::from_utf8_lossy(&bytes[name]).into_owned();
            headers.push((name, field(&reader.field()?)));
        }
        Ok((
            record.offset,
            record.timestamp_ms,
            record.timestamp_type,
            field(&record.key),
            field(&record.value),
            headers,
        ))
    }
}

impl Fetched {
    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// The parts of the record that counting needs. The position must exist.
    pub fn fields<'a>(&'a self, py: Python<'a>, at: usize) -> Option<Fields<'a>> {
        let record = self.records.get(at)?;
        let bytes = self.buffers.get(record.buffer)?.bind(py).as_bytes();
        Some(Fields {
            value: record.value.clone().and_then(|range| bytes.get(range)),
            has_headers: record.headers > 0,
            timestamp_ms: record.timestamp_ms,
            offset: u64::try_from(record.offset).ok()?,
        })
    }

    /// A batch that cannot be unpacked, as one record. Its key and headers are not known.
    fn add_unreadable(&mut self, py: Python<'_>, batch: &Batch, packed: &[u8]) {
        let mut bytes = packed.to_vec();
        put_field(&mut bytes, Some(b"source_offset_first"));
        put_field(&mut bytes, Some(batch.base_offset.to_string().as_bytes()));
        self.buffers.push(PyBytes::new(py, &bytes).unbind());
        self.records.push(Record {
            buffer: self.buffers.len() - 1,
            offset: batch.next_offset - 1,
            timestamp_ms: batch.max_ms,
            timestamp_type: UNREADABLE,
            key: None,
            value: Some(0..packed.len()),
            headers: 1,
            headers_at: packed.len(),
        });
    }

    fn add(&mut self, batch: &Batch, bytes: &[u8], buffer: usize, range: Range<usize>) -> PyResult<()> {
        let mut reader = Reader { bytes: &bytes[..range.end], at: range.start };
        for _ in 0..batch.count {
            let length = reader.varint()?;
            let end = usize::try_from(length)
                .ok()
                .and_then(|length| reader.at.checked_add(length))
                .filter(|end| *end <= range.end)
                .ok_or_else(|| damaged("a record is longer than its batch"))?;
            let mut inner = Reader { bytes: &bytes[..end], at: reader.at };
            // The attributes of a record mean nothing yet.
            inner.at += 1;
            let later_ms = inner.varint()?;
            let further = inner.varint()?;
            let key = inner.field()?;
            let value = inner.field()?;
            let headers = inner.varint()?;
            let headers_at = inner.at;
            for _ in 0..headers {
                inner.field()?.ok_or_else(|| damaged("a header has no name"))?;
                inner.field()?;
            }
            if inner.at != end {
                return Err(damaged("a record has another length"));
            }
            reader.at = end;
            let appended = batch.attributes & LOG_APPEND_TIME != 0;
            let offset = batch.base_offset.saturating_add(further);
            // A batch is always fetched whole, even when the wanted offset is in its middle.
            if offset >= self.next_offset {
                self.records.push(Record {
                    buffer,
                    offset,
                    timestamp_ms: if appended { batch.max_ms } else { batch.first_ms.saturating_add(later_ms) },
                    timestamp_type: u8::from(appended),
                    key,
                    value,
                    headers,
                    headers_at,
                });
            }
        }
        Ok(())
    }
}

/// The header of a batch, and where its records are.
struct Batch {
    base_offset: i64,
    next_offset: i64,
    magic: u8,
    attributes: i16,
    first_ms: i64,
    max_ms: i64,
    producer_id: i64,
    count: i32,
    crc: u32,
    start: usize,
    records: Range<usize>,
    end: usize,
}

impl Batch {
    /// The batch at a place; None when the bytes end before it does.
    fn at(bytes: &[u8], start: usize) -> PyResult<Option<Self>> {
        let rest = &bytes[start..];
        if rest.len() <= MAGIC_AT {
            return Ok(None);
        }
        let length = i32::from_be_bytes(fixed(rest, LENGTH_AT));
        let length = usize::try_from(length).map_err(|_| damaged("a batch of negative length"))?;
        let end = start + EPOCH_AT + length;
        if end > bytes.len() {
            return Ok(None);
        }
        let mut batch = Self {
            base_offset: i64::from_be_bytes(fixed(rest, 0)),
            next_offset: 0,
            magic: rest[MAGIC_AT],
            attributes: 0,
            first_ms: 0,
            max_ms: 0,
            producer_id: -1,
            count: 0,
            crc: 0,
            start,
            records: end..end,
            end,
        };
        if batch.magic != MAGIC {
            return Ok(Some(batch));
        }
        if end - start < HEADER_BYTES {
            return Err(damaged("a batch is shorter than its header"));
        }
        batch.next_offset = batch
            .base_offset
            .saturating_add(i64::from(i32::from_be_bytes(fixed(rest, LAST_OFFSET_AT))))
            .saturating_add(1);
        batch.attributes = i16::from_be_bytes(fixed(rest, ATTRIBUTES_AT));
        batch.first_ms = i64::from_be_bytes(fixed(rest, TIMES_AT));
        batch.max_ms = i64::from_be_bytes(fixed(rest, TIMES_AT + 8));
        batch.producer_id = i64::from_be_bytes(fixed(rest, PRODUCER_AT));
        batch.count = i32::from_be_bytes(fixed(rest, COUNT_AT));
        batch.crc = u32::from_be_bytes(fixed(rest, CRC_AT));
        batch.records = start + HEADER_BYTES..end;
        Ok(Some(batch))
    }

    fn is_whole(&self, bytes: &[u8]) -> bool {
        crc32c::crc32c(&bytes[self.start + ATTRIBUTES_AT..self.end]) == self.crc
    }

    /// Whether this marker ends an aborted transaction: its key has a version and a type.
    fn is_abort(&self, bytes: &[u8]) -> PyResult<bool> {
        let mut reader = Reader { bytes: &bytes[..self.end], at: self.records.start };
        reader.varint()?;
        reader.at += 1;
        reader.varint()?;
        reader.varint()?;
        let key = reader.field()?.filter(|key| key.len() >= 4).ok_or_else(|| damaged("a marker without a type"))?;
        Ok(i16::from_be_bytes(fixed(bytes, key.start + 2)) == ABORT)
    }
}

/// Reads what protocol buffers write: seven bits a byte, zigzag.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn varint(&mut self) -> PyResult<i64> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.bytes.get(self.at).ok_or_else(|| damaged("a record ends early"))?;
            self.at += 1;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(((number >> 1) as i64) ^ -((number & 1) as i64));
            }
        }
        Err(damaged("a number is too long"))
    }

    /// The place of bytes with their length in front; None for a length of -1.
    fn field(&mut self) -> PyResult<Option<Range<usize>>> {
        let length = self.varint()?;
        if length == -1 {
            return Ok(None);
        }
        let start = self.at;
        let end = usize::try_from(length)
            .ok()
            .and_then(|length| start.checked_add(length))
            .filter(|end| *end <= self.bytes.len())
            .ok_or_else(|| damaged("a field is longer than its record"))?;
        self.at = end;
        Ok(Some(start..end))
    }
}

fn kept(bytes: &mut Vec<u8>, value: &Bound<'_, PyAny>) -> PyResult<Option<Range<usize>>> {
    if value.is_none() {
        return Ok(None);
    }
    let start = bytes.len();
    bytes.extend_from_slice(value.cast::<PyBytes>()?.as_bytes());
    Ok(Some(start..bytes.len()))
}

fn fixed<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&bytes[at..at + N]);
    field
}

fn damaged(what: &'static str) -> PyErr {
    PyValueError::new_err(what)
}
