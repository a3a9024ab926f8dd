//! What two settings must have to do with each other. Each finding names both.

mod p2p;
mod replication;

use bytecave_core::{ShardError, ShardSet};

use crate::load::Provenance;
use crate::problem::Problem;
use crate::sections::Config;

/// All conflicts.
pub(crate) fn between_keys(config: &Config, provenance: &Provenance) -> Vec<Problem> {
    let conflict = |first: &str, second: &str, reason: &str| Problem::Conflict {
        first: provenance.setting(first),
        second: provenance.setting(second),
        reason: reason.to_owned(),
    };
    let mut problems = shards(config, provenance);
    problems.extend(p2p::conflicts(config, provenance));
    problems.extend(replication::conflicts(config, provenance));
    let (store, http) = (&config.store, &config.http);
    if store.max_total_wal_size >= store.write_buffer_total {
        problems.push(conflict(
            "store.max_total_wal_size",
            "store.write_buffer_total",
            "the log must stay smaller than the write buffers, or a start after a crash flushes every shard",
        ));
    }
    if http.max_blob_size.is_some_and(|size| size > store.quota()) {
        problems.push(conflict(
            "http.max_blob_size",
            "store.max_storage_mb",
            "a blob of that size exceeds the storage limit; lower the one or raise the other",
        ));
    }
    if store.unlock_key_file.is_some() && store.passphrase_file.is_some() {
        problems.push(conflict(
            "store.unlock_key_file",
            "store.passphrase_file",
            "only one of them can unlock the store; leave the other out",
        ));
    }
    problems
}

/// What can be meant and seldom is: one line each, naming both settings.
pub(crate) fn doubtful(config: &Config, provenance: &Provenance) -> Vec<String> {
    let mut remarks = p2p::doubtful(&config.p2p, provenance);
    remarks.extend(replication::doubtful(config, provenance));
    remarks
}

/// Every range that is wrong alone, or else the first two that share a shard.
fn shards(config: &Config, provenance: &Provenance) -> Vec<Problem> {
    let count = config.store.shard_count;
    let Some(ranges) = &config.store.node_shards else {
        return Vec::new();
    };
    let alone: Vec<ShardError> = ranges
        .iter()
        .filter_map(|range| ShardSet::from_ranges(count, &[*range]).err())
        .collect();
    let found = if alone.is_empty() {
        ShardSet::from_ranges(count, ranges)
            .err()
            .into_iter()
            .collect()
    } else {
        alone
    };
    let (shards, shard_count) = ("store.node_shards", "store.shard_count");
    found
        .into_iter()
        .map(|error| match error {
            ShardError::OutOfRange { .. } => Problem::Conflict {
                first: provenance.setting(shards),
                second: provenance.setting(shard_count),
                reason: error.to_string(),
            },
            error => Problem::Senseless {
                setting: provenance.setting(shards),
                reason: error.to_string(),
            },
        })
        .collect()
}
