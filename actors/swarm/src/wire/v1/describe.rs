//! How the node is, and what it is: answered from what is known, nobody is asked.

use bytecave_core::{PeerId, PublicKey, ShardCount, ShardRange};
use libp2p::StreamProtocol;
use serde::Serialize;

use crate::facts::Facts;
use crate::wire::frame;
use crate::wire::served::LastHour;

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Health<'a> {
    peer_id: PeerId,
    status: &'static str,
    blob_count: u64,
    storage_used: u64,
    storage_max: u64,
    /// Milliseconds.
    uptime: u64,
    version: &'static str,
    multiaddrs: &'a [String],
    node_id: &'a str,
    public_key: PublicKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_address: Option<&'a str>,
    metrics: LastHour,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Info<'a> {
    peer_id: PeerId,
    public_key: PublicKey,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner_address: Option<&'a str>,
    version: &'static str,
    shards: Vec<ShardRange>,
    shard_count: ShardCount,
    capacity: u64,
    accepting: bool,
    protocols: Vec<&'a str>,
}

/// The frame of the health protocol.
pub(super) fn health(facts: &Facts, metrics: LastHour) -> Vec<u8> {
    let store = facts.store();
    let network = facts.network();
    let store = store.as_deref();
    frame::encode(&Health {
        peer_id: facts.peer_id,
        status: if facts.accepting() {
            "healthy"
        } else {
            "degraded"
        },
        blob_count: store.map_or(0, |store| store.blobs),
        storage_used: store.map_or(0, |store| store.sealed_bytes),
        storage_max: facts.quota_bytes,
        uptime: u64::try_from(facts.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        version: facts.version,
        multiaddrs: &network.multiaddrs,
        node_id: &facts.node_id,
        public_key: facts.public_key,
        owner_address: facts.owner_address.as_deref(),
        metrics,
    })
}

/// The frame of the info protocol.
pub(super) fn info(facts: &Facts, protocols: &[StreamProtocol]) -> Vec<u8> {
    frame::encode(&Info {
        peer_id: facts.peer_id,
        public_key: facts.public_key,
        owner_address: facts.owner_address.as_deref(),
        version: facts.version,
        shards: facts.shards.ranges(),
        shard_count: facts.shards.count(),
        capacity: facts.quota_bytes,
        accepting: facts.accepting(),
        protocols: protocols.iter().map(AsRef::as_ref).collect(),
    })
}
