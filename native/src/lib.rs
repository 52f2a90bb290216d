//! The compiled core of the first stage, as the Python module `tollgate.ledger._native`.
//!
//! Each file is one class or one rule; `README.md` says what the crate promises and what is its reference.

use pyo3::prelude::*;

mod amounts;
mod combinations;
mod dimensions;
mod event;
mod fetched;
mod forms;
mod identities;
mod identity;
mod instants;
mod json;
mod packed_row;
mod partitions;
mod priced;
mod prices;
mod reached;
mod record_batch;
mod row_reader;
mod rows;
mod shard;
mod sums;
mod tally;

#[pymodule]
mod _native {
    #[pymodule_export]
    use crate::fetched::Fetched;
    #[pymodule_export]
    use crate::forms::Blanks;
    #[pymodule_export]
    use crate::identities::Identities;
    #[pymodule_export]
    use crate::reached::ReachedLimits;
    #[pymodule_export]
    use crate::record_batch::{PricedRecords, RecordBatch, pack_records};
    #[pymodule_export]
    use crate::rows::Rows;
    #[pymodule_export]
    use crate::tally::Tally;
}
