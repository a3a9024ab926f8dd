//! A store and a network that do what a test says and write down what they were asked.
#![allow(clippy::unwrap_used)]

mod store;
mod swarm;
mod told;

use std::cell::OnceCell;

use bytecave_core::{Fingerprint, NodeIdentity, PeerId, ShardCount, ShardId, ShardRange};
use bytecave_messages::budget::{ActorName, Budget, Permit, Share};
use bytecave_messages::replicator::{HolderView, ReplicatorSnapshot, ShardReplication};
use bytecave_messages::store::{Durability, ShardCounters, StoreCondition, StoreSnapshot};
use tokio::time::Instant;

pub(crate) use store::FakeStore;
pub(crate) use swarm::{Does, FakeSwarm};
pub(crate) use told::{Told, deaf};

/// Number of this node.
pub(crate) const ME: u8 = 200;

pub(crate) fn count() -> ShardCount {
    ShardCount::new(16).unwrap()
}

pub(crate) fn shard_id(number: u16) -> ShardId {
    count().shard(number.into()).unwrap()
}

pub(crate) fn identity(number: u8) -> NodeIdentity {
    NodeIdentity::from_seed([number; 32]).unwrap()
}

pub(crate) fn peer(number: u8) -> PeerId {
    identity(number).peer_id()
}

pub(crate) fn permit() -> Permit {
    let budget = Budget::new(ActorName::Proof, 16);
    budget.try_acquire(Share::Client, "test").unwrap()
}

/// A clock that goes with the time of the runtime.
pub(crate) fn now_ms() -> u64 {
    thread_local! {
        static START: OnceCell<Instant> = const { OnceCell::new() };
    }
    let passed = START.with(|start| start.get_or_init(Instant::now).elapsed());
    1_760_000_000_000 + u64::try_from(passed.as_millis()).unwrap()
}

/// These hold a shard, by rank.
pub(crate) fn shard(number: u16, holders: &[u8]) -> ShardReplication {
    let holder = |number: &u8| HolderView {
        peer_id: peer(*number),
        here: *number == ME,
        accepting: true,
        live: true,
        alike_ms: Some(u64::MAX),
        differing: None,
    };
    ShardReplication {
        shard: shard_id(number),
        blobs: 0,
        holders: holders.iter().map(holder).collect(),
        live: 0,
        missing: 0,
        reason: None,
    }
}

pub(crate) fn replicas(shards: Vec<ShardReplication>) -> ReplicatorSnapshot {
    ReplicatorSnapshot {
        factor: 3,
        outbox: 0,
        repairs_waiting: 0,
        repairs_running: 0,
        shards: shards.into(),
        peers: Vec::new().into(),
        counters: Vec::new(),
    }
}

pub(crate) fn counters(shard: u16, blobs: u64, bytes: u64) -> ShardCounters {
    ShardCounters {
        shard: shard_id(shard),
        owned: true,
        blobs,
        bytes,
        sealed_bytes: bytes,
        dead_bytes: 0,
        retired: 0,
        retired_bytes: 0,
        fingerprint: Fingerprint::EMPTY,
    }
}

pub(crate) fn stored(shards: Vec<ShardCounters>) -> StoreSnapshot {
    StoreSnapshot {
        shard_count: count(),
        owned: vec![ShardRange { start: 0, end: 15 }],
        blobs: shards.iter().map(|shard| shard.blobs).sum(),
        bytes: shards.iter().map(|shard| shard.bytes).sum(),
        shards,
        sealed_bytes: 0,
        dead_bytes: 0,
        reserved_bytes: 0,
        quota_bytes: 1 << 40,
        disk_free_bytes: 1 << 40,
        disk_reserve_bytes: 0,
        quarantined: 0,
        durability: Durability::Strict,
        condition: StoreCondition::Writable,
        gauges: Vec::new(),
    }
}
