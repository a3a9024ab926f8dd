//! A store and a network that do what a test says and write down what they were asked.
#![allow(clippy::unwrap_used)]

mod store;
mod swarm;

use bytecave_config::{Config, P2p};
use bytecave_core::{BlobCid, NodeIdentity, PeerId, ShardCount, ShardRange};
use bytecave_messages::body::BlobBody;
use bytecave_messages::budget::{ActorName, Budget, Permit, Share};
use bytecave_messages::store::{Durability, StoreCondition, StoreSnapshot};
use bytecave_messages::swarm::{ConnectionKind, PeerInfo, PeerView, Reachability, SwarmSnapshot};

use crate::audits::Audits;
use crate::facts::Facts;
use crate::holders::{Holders, REPLICATE, Rules};

pub(crate) use store::FakeStore;
pub(crate) use swarm::{Does, FakeSwarm, Takes};

/// Shards of the fake network; the fake store owns the first eight.
const SHARDS: u64 = 16;
const OWNED: ShardRange = ShardRange { start: 0, end: 7 };

pub(crate) fn count() -> ShardCount {
    ShardCount::new(SHARDS).unwrap()
}

/// Content of this shard.
pub(crate) fn content_of_shard(shard: u16) -> Vec<u8> {
    (0_u32..10_000)
        .map(|number| format!("content {number}").into_bytes())
        .find(|content| count().shard_of(&BlobCid::of(content).digest()).get() == shard)
        .unwrap()
}

/// So many contents of this shard.
pub(crate) fn contents_of_shard(shard: u16, many: usize) -> Vec<Vec<u8>> {
    (0_u32..)
        .map(|number| format!("content {number}").into_bytes())
        .filter(|content| count().shard_of(&BlobCid::of(content).digest()).get() == shard)
        .take(many)
        .collect()
}

pub(crate) fn settings() -> P2p {
    Config::built_in().unwrap().p2p
}

pub(crate) fn permit() -> Permit {
    let budget = Budget::new(ActorName::Replicator, 16);
    budget.try_acquire(Share::Peer, "test").unwrap()
}

pub(crate) fn peer(number: u8) -> PeerId {
    NodeIdentity::from_seed([number; 32]).unwrap().peer_id()
}

/// A connected peer that speaks the protocols and does not say what it keeps.
pub(crate) fn view(number: u8) -> PeerView {
    PeerView {
        peer_id: peer(number),
        connection: Some(ConnectionKind::Direct),
        multiaddrs: Vec::new(),
        agent: None,
        // In the order of their numbers.
        rtt_ms: Some(number.into()),
        last_seen_ms: 0,
        first_seen_ms: 0,
        live: true,
        left_ms: None,
        announced: None,
        info: Some(PeerInfo {
            version: "1".to_owned(),
            owner_address: None,
            shards: None,
            shard_count: Some(count()),
            capacity: None,
            accepting: None,
            protocols: vec!["/bytecave/blob/1.0.0".to_owned()],
        }),
    }
}

pub(crate) fn network(peers: Vec<PeerView>) -> SwarmSnapshot {
    SwarmSnapshot {
        multiaddrs: Vec::new(),
        connected: peers.len(),
        peers,
        relays: Vec::new(),
        links: Vec::new(),
        reachability: Reachability::Unknown,
    }
}

pub(crate) fn snapshot(blobs: u64, condition: StoreCondition) -> StoreSnapshot {
    StoreSnapshot {
        shard_count: count(),
        owned: vec![OWNED],
        shards: Vec::new(),
        blobs,
        bytes: 0,
        sealed_bytes: 0,
        dead_bytes: 0,
        reserved_bytes: 0,
        quota_bytes: 1 << 30,
        disk_free_bytes: 1 << 30,
        disk_reserve_bytes: 0,
        quarantined: 0,
        durability: Durability::Strict,
        condition,
        gauges: Vec::new(),
    }
}

/// What a store without blobs says.
pub(crate) fn facts() -> Facts {
    let facts = Facts::default();
    facts.set(&snapshot(0, StoreCondition::Writable));
    facts
}

pub(crate) async fn read_all(body: BlobBody) -> Vec<u8> {
    match body {
        BlobBody::Whole(bytes) => bytes.to_vec(),
        BlobBody::Stream(mut stream) => {
            let mut all = Vec::new();
            while let Some(piece) = stream.next().await {
                all.extend(piece.unwrap());
            }
            all
        }
    }
}

/// A connected peer that holds shards as this node does.
pub(crate) fn keeper(number: u8) -> PeerView {
    let mut view = view(number);
    let info = view.info.as_mut().unwrap();
    info.shards = Some(vec![OWNED]);
    info.capacity = Some(1 << 30);
    info.accepting = Some(true);
    info.protocols.push(REPLICATE.to_owned());
    view
}

/// Number of this node, whose store is the fake one.
pub(crate) const ME: u8 = 200;

/// Who holds what among these peers and this node.
pub(crate) fn holders(factor: usize, peers: Vec<PeerView>) -> Holders {
    let rules = Rules {
        me: peer(ME),
        factor,
        probation: false,
        holder_timeout: std::time::Duration::from_mins(15),
        goodbye_timeout: std::time::Duration::from_mins(5),
        now_ms: || 0,
    };
    let holders = Holders::new(rules, facts(), Audits::new(Vec::new()));
    holders.set_network(std::sync::Arc::new(network(peers)));
    holders
}
