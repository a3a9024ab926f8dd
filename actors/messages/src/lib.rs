//! The contract between the six actors: what they may say to one another, and how much at once.
//!
//! One file per actor holds its commands (imperative), queries (`Get…`, `Read…`, `List…`) and
//! events (past tense), with the one error enum of its port. [`ports`] bundles the typed senders
//! through which an actor is reached, and [`budget`] the permits without which nobody may ask;
//! [`memory`] and [`rate`] bound what strangers may take of the node's memory and time, and
//! [`state_file`] is how an actor writes down what survives a restart.
//!
//! Ranks: http (3) → replicator, proof, registry (2) → store, swarm (1). Asks go down, events go
//! up; a lower rank never awaits a higher one, so no cycle of waiting can form. No engine, no
//! network library and no web framework is known here.

pub mod body;
pub mod budget;
pub mod cancel;
pub mod http;
pub mod lifecycle;
pub mod memory;
pub mod ports;
pub mod proof;
pub mod rate;
pub mod registry;
pub mod replicator;
pub mod state_file;
pub mod store;
pub mod swarm;
pub mod sync;
