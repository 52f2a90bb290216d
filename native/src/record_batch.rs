//! Kafka's record batches (message format 2), written in one go instead of record by record.
//!
//! https://kafka.apache.org/documentation/#recordbatch is the format; aiokafka's own builder is the reference.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList, PyString, PyTuple};

// From the base offset to the number of records.
const HEADER_BYTES: usize = 61;
const LENGTH_AT: usize = 8;
// What follows this field is what the length counts.
const EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const LAST_OFFSET_AT: usize = 23;
const TIMES_AT: usize = 27;
const PRODUCER_AT: usize = 43;
const COUNT_AT: usize = 57;

const MAGIC: u8 = 2;
// Uncompressed, the producer's timestamps.
const TRANSACTIONAL: i16 = 0x10;

/// Records of one partition, ready but for what the producer knows only when it sends them.
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

/// Pack records (key, value, headers) into batches of at most `bytes_max` bytes, in order.
///
/// ValueError when a single record is larger.
#[pyfunction]
pub fn pack_records(
    records: &Bound<'_, PyList>,
    bytes_max: usize,
    timestamp_ms: i64,
) -> PyResult<Vec<RecordBatch>> {
    let mut batches = Vec::new();
    let mut bytes = vec![0; HEADER_BYTES];
    let mut count: i32 = 0;
    let mut record = Vec::new();
    for item in records.iter() {
        let (key, value, headers) = fields(&item)?;
        write_record(&mut record, count, key.as_ref(), value.as_ref(), &headers)?;
        if bytes.len() + record.len() + MAX_VARINT > bytes_max && count > 0 {
            batches.push(closed(bytes, count, timestamp_ms)?);
            bytes = vec![0; HEADER_BYTES];
            count = 0;
            write_record(&mut record, count, key.as_ref(), value.as_ref(), &headers)?;
        }
        if bytes.len() + record.len() + MAX_VARINT > bytes_max {
            return Err(PyValueError::new_err(format!(
                "a record of {} bytes does not fit a batch",
                record.len()
            )));
        }
        put_varint(&mut bytes, record.len() as i64);
        bytes.extend_from_slice(&record);
        count += 1;
    }
    if count > 0 {
        batches.push(closed(bytes, count, timestamp_ms)?);
    }
    Ok(batches)
}

const MAX_VARINT: usize = 10;

type Field<'py> = Option<Bound<'py, PyBytes>>;

fn fields<'py>(item: &Bound<'py, PyAny>) -> PyResult<(Field<'py>, Field<'py>, Bound<'py, PyList>)> {
    let item = item.cast::<PyTuple>()?;
    Ok((
        optional(item.get_item(0)?)?,
        optional(item.get_item(1)?)?,
        item.get_item(2)?.cast_into()?,
    ))
}

fn optional(value: Bound<'_, PyAny>) -> PyResult<Field<'_>> {
    if value.is_none() {
        Ok(None)
    } else {
        Ok(Some(value.cast_into()?))
    }
}

/// A record without its length in front.
fn write_record(
    out: &mut Vec<u8>,
    offset: i32,
    key: Option<&Bound<'_, PyBytes>>,
    value: Option<&Bound<'_, PyBytes>>,
    headers: &Bound<'_, PyList>,
) -> PyResult<()> {
    out.clear();
    // No attributes, and the batch's own timestamp.
    out.extend_from_slice(&[0, 0]);
    put_varint(out, i64::from(offset));
    put_field(out, key.map(|key| key.as_bytes()));
    put_field(out, value.map(|value| value.as_bytes()));
    put_varint(out, headers.len() as i64);
    for header in headers.iter() {
        let header = header.cast::<PyTuple>()?;
        let name = header.get_item(0)?.cast_into::<PyString>()?;
        put_field(out, Some(name.to_cow()?.as_bytes()));
        put_field(
            out,
            optional(header.get_item(1)?)?
                .as_ref()
                .map(|value| value.as_bytes()),
        );
    }
    Ok(())
}

/// The batch with its header, as far as it is known.
fn closed(mut bytes: Vec<u8>, records: i32, timestamp_ms: i64) -> PyResult<RecordBatch> {
    let length = i32::try_from(bytes.len() - EPOCH_AT)
        .map_err(|_| PyValueError::new_err("a batch of over 2 GiB"))?;
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

fn put_field(out: &mut Vec<u8>, field: Option<&[u8]>) {
    match field {
        Some(field) => {
            put_varint(out, field.len() as i64);
            out.extend_from_slice(field);
        }
        None => put_varint(out, -1),
    }
}

/// A number as protocol buffers write it: zigzag, then seven bits a byte.
fn put_varint(out: &mut Vec<u8>, number: i64) {
    let mut rest = ((number << 1) ^ (number >> 63)) as u64;
    while rest >= 0x80 {
        out.push((rest as u8) | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}
