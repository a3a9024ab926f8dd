//! The storage engine: encrypted blobs in RocksDB. It knows no actor.

pub mod codec;
pub mod keyring;
pub mod record;
pub mod seal;
pub mod secret;
