//! How the engine is, from counters and never from a scan.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytecave_messages::store::{ShardCounters, StoreCondition, StoreError, StoreSnapshot};

use super::Engine;
use super::state::{Inner, lock, stopped};

impl Engine {
    /// The engine at this moment.
    pub fn snapshot(&self) -> StoreSnapshot {
        snapshot(&self.inner)
    }

    /// The same, on a thread that may wait for the database.
    pub async fn snapshot_in_pool(&self) -> Result<StoreSnapshot, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .readers
            .run(move || snapshot(&inner))
            .await
            .map_err(stopped)
    }
}

fn snapshot(inner: &Inner) -> StoreSnapshot {
    let space = inner.space.snapshot();
    let mut quarantined = 0;
    let shards: Vec<ShardCounters> = {
        let counters = inner.lock_counters();
        inner
            .all_families()
            .filter_map(|family| {
                let counters = counters.get(usize::from(family.shard.get()))?;
                quarantined += counters.quarantined;
                Some(ShardCounters {
                    shard: family.shard,
                    owned: family.owned,
                    blobs: counters.blobs,
                    bytes: counters.bytes,
                    sealed_bytes: counters.sealed_bytes,
                    dead_bytes: counters.dead_bytes,
                    retired: counters.retired,
                    retired_bytes: counters.retired_bytes,
                    fingerprint: counters.fingerprint,
                })
            })
            .collect()
    };
    let sum = |part: fn(&ShardCounters) -> u64| shards.iter().map(part).sum();
    let condition = match inner.health.read_only() {
        Some(reason) => StoreCondition::ReadOnly(reason),
        None if space.full || inner.health.is_out_of_space() => StoreCondition::Full,
        None => StoreCondition::Writable,
    };
    StoreSnapshot {
        shard_count: inner.options.shards.count(),
        owned: inner.options.shards.ranges(),
        blobs: sum(|shard| shard.blobs),
        bytes: sum(|shard| shard.bytes),
        sealed_bytes: sum(|shard| shard.sealed_bytes),
        dead_bytes: sum(|shard| shard.dead_bytes),
        shards,
        reserved_bytes: space.reserved,
        quota_bytes: space.quota,
        disk_free_bytes: space.disk_free,
        disk_reserve_bytes: space.disk_reserve,
        quarantined,
        durability: inner.options.durability,
        condition,
        gauges: gauges(inner),
    }
}

fn gauges(inner: &Inner) -> Vec<(&'static str, u64)> {
    let stats = &inner.stats;
    let bytes = |size: usize| size as u64;
    let property = |name: &str| {
        inner
            .db
            .property_int_value(name)
            .ok()
            .flatten()
            .unwrap_or(0)
    };
    vec![
        ("commit_groups_total", stats.groups.load(Ordering::Relaxed)),
        (
            "commit_operations_total",
            stats.operations.load(Ordering::Relaxed),
        ),
        (
            "commit_bytes_total",
            stats.group_bytes.load(Ordering::Relaxed),
        ),
        ("commit_syncs_total", stats.syncs.load(Ordering::Relaxed)),
        (
            "commit_paced_milliseconds_total",
            stats.paced_ms.load(Ordering::Relaxed),
        ),
        ("commit_queue_depth", bytes(inner.queue.depth())),
        ("ingested_total", stats.ingested.load(Ordering::Relaxed)),
        ("collected_total", stats.collected.load(Ordering::Relaxed)),
        (
            "damaged_reads_total",
            stats.damaged_reads.load(Ordering::Relaxed),
        ),
        (
            "uneven_lists_total",
            stats.uneven_lists.load(Ordering::Relaxed),
        ),
        ("readers_depth", bytes(inner.readers.depth())),
        ("sealers_depth", bytes(inner.sealers.depth())),
        ("movers_depth", bytes(inner.movers.depth())),
        ("nonces", inner.nonces.live()),
        ("blocked_blobs", bytes(inner.blocked.len())),
        ("transit_blobs", inner.transit.blobs()),
        ("transit_bytes", inner.transit.bytes()),
        ("files_to_free", bytes(lock(&inner.drops).len())),
        (
            "memtables_bytes",
            bytes(inner.rocks.write_buffers.get_usage()),
        ),
        ("block_cache_bytes", bytes(inner.rocks.cache.get_usage())),
        ("blob_cache_bytes", bytes(inner.cache.bytes())),
        ("background_errors_total", inner.background_errors()),
        (
            "running_compactions",
            property("rocksdb.num-running-compactions"),
        ),
        ("running_flushes", property("rocksdb.num-running-flushes")),
    ]
}
