//! What measures a node: the load tester, the engine beside the machine's limits, and the table.
//!
//! - `bytecave-load` drives any running node (or a DAV server beside it) over HTTP: [`load`].
//! - `bytecave-bench-engine` measures the engine without HTTP ([`engine`]) beside what the machine
//!   itself can do ([`machine`]).
//! - `bytecave-bench-network` measures what the line between two nodes can carry: [`network`].
//! - `bytecave-bench-table` puts medians, limits and targets side by side: [`table`].
//!
//! All of them put content on the disk that nothing can share or compress ([`content`]), and all of
//! them write one line of JSON for each thing they measured ([`sample`]), so that runs can be
//! alternated by a script and the medians taken afterwards. A figure means something only beside
//! others of the same alternated run: the disks of virtual machines drift by factors within an hour.

pub mod content;
pub mod engine;
pub mod load;
pub mod machine;
pub mod measure;
pub mod network;
pub mod process;
pub mod random;
pub mod sample;
pub mod size;
pub mod table;
