//! StoreActor: encrypted blobs in RocksDB, one column family per shard.

pub mod engine;
