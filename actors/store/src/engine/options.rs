//! What the engine is told at the start.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytecave_core::{ShardError, ShardSet};
use bytecave_messages::store::Durability;

use super::secret::UnlockSecret;

const MIB: u64 = 1 << 20;

/// Everything the engine is told; a plain struct of values.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Directory of the database.
    pub db_dir: PathBuf,
    /// Directory of files being written; must be on the database's file system, and is emptied.
    pub tmp_dir: PathBuf,
    /// Opens the keyring; at the first start it seals the new one.
    pub unlock: UnlockSecret,
    /// The shards to keep, and how many there are.
    pub shards: ShardSet,
    /// Largest blob, in bytes.
    pub max_blob_bytes: u64,
    /// Limit on sealed bytes: live, dead and reserved.
    pub quota_bytes: u64,
    /// Free bytes of the file system that blobs leave alone; the larger of 1 GiB and 5 % if `None`.
    pub disk_reserve_bytes: Option<u64>,
    /// When a small blob counts as stored.
    pub durability: Durability,
    /// Time between syncs with [`Durability::Batched`].
    pub batch_sync_interval: Duration,
    /// How long a deletion is remembered.
    pub tombstone_keep: Duration,
    /// Share of dead bytes at which a family is compacted.
    pub gc_dead_ratio: f64,
    /// Memory for cached reads, in bytes: half for blocks of the database, half for small blobs.
    pub block_cache_bytes: usize,
    /// Memory for writes not yet in a table file, in bytes.
    pub write_buffer_bytes: usize,
    /// Size of the write-ahead log at which families are flushed; below `write_buffer_bytes`, or
    /// the start after a crash flushes every family.
    pub max_wal_bytes: u64,
    /// Threads of the database for flushes and compactions.
    pub background_jobs: u16,
    /// Memory for small blobs that are sealed and wait for the commit thread, in bytes. Too low:
    /// groups stay small. Too high: a burst of puts costs that much memory.
    pub sealed_in_flight_bytes: usize,
    /// Nonces that are remembered at once; each takes some 100 bytes on disk and goes after minutes.
    /// Too low: further authorized stores are refused as busy. Too high: strangers fill the disk, and
    /// the start counts them.
    pub max_nonces: u64,
}

impl EngineOptions {
    /// The built-in values, for the directory `data_dir`.
    pub fn new(data_dir: &Path, unlock: UnlockSecret, shards: ShardSet) -> Self {
        Self {
            db_dir: data_dir.join("db"),
            tmp_dir: data_dir.join("tmp"),
            unlock,
            shards,
            max_blob_bytes: 16 << 30,
            quota_bytes: 10_240 * MIB,
            disk_reserve_bytes: None,
            durability: Durability::Strict,
            batch_sync_interval: Duration::from_millis(50),
            tombstone_keep: Duration::from_hours(30 * 24),
            gc_dead_ratio: 0.3,
            block_cache_bytes: 128 << 20,
            write_buffer_bytes: 256 << 20,
            max_wal_bytes: 192 * MIB,
            background_jobs: 32,
            sealed_in_flight_bytes: 64 << 20,
            max_nonces: 1 << 18,
        }
    }

    /// The same as the section `store` of the configuration says.
    pub fn from_config(
        section: &bytecave_config::Store,
        data_dir: &Path,
        unlock: UnlockSecret,
        max_blob_bytes: u64,
    ) -> Result<Self, ShardError> {
        let in_memory =
            |size: bytecave_config::ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
        Ok(Self {
            max_blob_bytes,
            quota_bytes: section.quota().bytes(),
            disk_reserve_bytes: section.disk_reserve.map(bytecave_config::ByteSize::bytes),
            durability: match section.durability {
                bytecave_config::Durability::Strict => Durability::Strict,
                bytecave_config::Durability::Batched => Durability::Batched,
                bytecave_config::Durability::Relaxed => Durability::Relaxed,
            },
            batch_sync_interval: section.batch_sync_interval.as_duration(),
            tombstone_keep: section.tombstone_keep.as_duration(),
            gc_dead_ratio: section.gc_dead_ratio.get(),
            block_cache_bytes: in_memory(section.block_cache),
            write_buffer_bytes: in_memory(section.write_buffer_total),
            max_wal_bytes: section.max_total_wal_size.bytes(),
            background_jobs: section.max_background_jobs,
            ..Self::new(data_dir, unlock, section.shard_set()?)
        })
    }
}
