//! The load tester: many clients on connections of their own, each with one request under way.
//!
//! It shares the machine with what it measures, so it is built to be light: connections are kept,
//! each is driven by the task that uses it (no wake-up between threads for a request), content is
//! stamped into buffers that are used again, and bodies are dropped as they arrive. The next request
//! of a client starts when its last one ended (a closed loop), so a slow server gets fewer requests,
//! and the percentiles say how long a client that waits its turn has waited, not how long a queue of
//! strangers would have.
//!
//! A measurement ends when the last request under way has ended: nothing is counted in part, at the
//! price of a tail with fewer clients at work when operations are long. Warm-up ends in the same way.

mod blobs;
mod connection;
mod options;
mod report;
mod run;
mod tally;
mod target;
mod upload;
mod worker;

pub use options::{Mode, Options, TargetKind};
pub use report::text as report_text;
pub use run::{LoadError, run};
