//! `StoreActor`: encrypted blobs in RocksDB, one column family per shard.
//!
//! The store knows nothing of peers, clients or placement. [`engine`] is the store itself and knows
//! no actor; [`actor`] is its shell. [`offline`] is what is done to a database while no node runs.

pub mod actor;
pub mod engine;

pub use actor::StoreActor;
pub use engine::verify as offline;
pub use engine::{Engine, EngineOptions, OpenError};
