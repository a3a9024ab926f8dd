//! How the store is: what it tells once a second.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use bytecave_core::{Fingerprint, ShardCount, ShardId, ShardRange};

use super::Durability;

/// Event: how the store is, at most once a second.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct StoreChanged(pub Arc<StoreSnapshot>);

/// The store at one moment; from counters, never from a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSnapshot {
    /// Shards in the network.
    pub shard_count: ShardCount,
    /// Shards owned.
    pub owned: Vec<ShardRange>,
    /// Counters of every shard that has a family here, ascending; owned or not.
    pub shards: Vec<ShardCounters>,
    /// Blobs in all shards.
    pub blobs: u64,
    /// Content bytes in all shards.
    pub bytes: u64,
    /// Sealed bytes of live blobs, retired ones among them: what the quota counts.
    pub sealed_bytes: u64,
    /// Sealed bytes of deleted blobs whose space is not free yet.
    pub dead_bytes: u64,
    /// Bytes reserved by uploads in flight.
    pub reserved_bytes: u64,
    /// The quota, in sealed bytes.
    pub quota_bytes: u64,
    /// Free bytes of the file system.
    pub disk_free_bytes: u64,
    /// Free bytes that writes leave alone.
    pub disk_reserve_bytes: u64,
    /// Blobs whose bytes were found damaged.
    pub quarantined: u64,
    /// Durability of small blobs.
    pub durability: Durability,
    /// Whether it takes writes.
    pub condition: StoreCondition,
    /// Metrics of the engine: name without prefix, value.
    pub gauges: Vec<(&'static str, u64)>,
}

/// Whether the store takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreCondition {
    /// It does.
    Writable,
    /// The quota or the disk's reserve is reached: deletes still work.
    Full,
    /// The database is read-only; the text names the file and the remedy.
    ReadOnly(String),
}

/// One shard's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardCounters {
    /// The shard.
    pub shard: ShardId,
    /// Whether this node owns it; if not, nothing comes to what is there.
    pub owned: bool,
    /// Blobs.
    pub blobs: u64,
    /// Content bytes.
    pub bytes: u64,
    /// Sealed bytes, those of retired blobs too.
    pub sealed_bytes: u64,
    /// Sealed bytes of deleted blobs whose space is not free yet.
    pub dead_bytes: u64,
    /// Blobs that are needed no longer and kept for a while; they are not among `blobs`.
    pub retired: u64,
    /// Content bytes of these.
    pub retired_bytes: u64,
    /// Sum over the set of blobs.
    pub fingerprint: Fingerprint,
}

/// How long a damaged or slow store may hold up a stop before it is given up.
pub const STOP_GRACE: Duration = Duration::from_secs(3);
