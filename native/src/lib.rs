//! The compiled core of the first stage, as the Python module `tollgate.ledger._native`.
//!
//! Each file is one class or one rule; `README.md` says what the crate promises and what is its reference.

use pyo3::prelude::*;

mod identities;
mod shard;

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::identities::Identities;
}
