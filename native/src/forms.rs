//! Fills in what is written about many scopes that have reached the same limit: `forms.py` is the reference.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::{PyBytes, PyList};
use std::io::Write;

use crate::amounts::{write_amount, write_usd, write_whole};

/// What stands in a blank: see `forms.py`.
enum Blank {
    Name,
    Value,
    Spent,
    Percent,
}

/// What stands before each blank, and after the last.
struct Text {
    blanks: Vec<(Vec<u8>, Blank)>,
    end: Vec<u8>,
}

#[pyclass(module = "tollgate.ledger._native")]
pub struct Blanks {
    texts: Vec<Text>,
    is_usd: bool,
    limit: i128,
}

#[pymethods]
impl Blanks {
    /// Of each text its parts, and the blanks between them.
    #[new]
    fn new(texts: Vec<(Vec<Vec<u8>>, Vec<u8>)>, is_usd: bool, limit: i128) -> PyResult<Self> {
        let texts = texts.into_iter().map(|(parts, blanks)| Text::of(parts, &blanks)).collect::<PyResult<_>>()?;
        Ok(Self { texts, is_usd, limit })
    }

    /// For each text a list with one of each name and value. JSON writes these names as they are.
    fn fill<'py>(
        &self,
        py: Python<'py>,
        names: Vec<PyBackedBytes>,
        values: Vec<u64>,
    ) -> PyResult<Vec<Bound<'py, PyList>>> {
        let filled: Vec<Bound<'py, PyList>> = self.texts.iter().map(|_| PyList::empty(py)).collect();
        let (mut digits, mut spent, mut percent, mut out) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for (name, value) in names.iter().zip(values) {
            for number in [&mut digits, &mut spent, &mut percent] {
                number.clear();
            }
            write_whole(&mut digits, value);
            let write = if self.is_usd { write_usd } else { write_amount };
            write(&mut spent, i128::from(value));
            self.write_percent(&mut percent, value)?;
            for (text, list) in self.texts.iter().zip(&filled) {
                out.clear();
                for (before, blank) in &text.blanks {
                    out.extend_from_slice(before);
                    out.extend_from_slice(match blank {
                        Blank::Name => name,
                        Blank::Value => &digits,
                        Blank::Spent => &spent,
                        Blank::Percent => &percent,
                    });
                }
                out.extend_from_slice(&text.end);
                list.append(PyBytes::new(py, &out))?;
            }
        }
        Ok(filled)
    }
}

impl Blanks {
    /// As `Budget.percent` does.
    fn write_percent(&self, out: &mut Vec<u8>, value: u64) -> PyResult<()> {
        let hundredths = (i128::from(value) * 10_000)
            .checked_div(self.limit)
            .ok_or_else(|| PyValueError::new_err("a limit of 0"))?;
        write!(out, "{}.{:02}", hundredths / 100, hundredths % 100)?;
        Ok(())
    }
}

impl Text {
    fn of(parts: Vec<Vec<u8>>, blanks: &[u8]) -> PyResult<Self> {
        let mut parts = parts.into_iter();
        let blanks = blanks.iter().map(|blank| {
            let before = parts.next().ok_or_else(|| PyValueError::new_err("too few parts"))?;
            let blank = match blank {
                0 => Blank::Name,
                1 => Blank::Value,
                2 => Blank::Spent,
                3 => Blank::Percent,
                _ => return Err(PyValueError::new_err("no such blank")),
            };
            Ok((before, blank))
        });
        let blanks = blanks.collect::<PyResult<_>>()?;
        Ok(Self { blanks, end: parts.next().unwrap_or_default() })
    }
}
