//! The engine beside the machine's limits, in one run.
//!
//! Each figure has its limit taken right before or right after it (which of the two changes from
//! round to round), in the same directory, moving as many bytes. Blobs that are read have been
//! written long enough ago to lie in files and not in the database's memory, as almost all blobs of
//! a node do.

mod cases;
mod run;
mod subject;

pub use run::{EngineBenchError, Limit, LimitOptions, Part, RunOptions, limit, run};
pub use subject::{Shelf, Subject, SubjectError};
