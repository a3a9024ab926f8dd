//! What this node announces of itself.

use bytecave_core::ShardRange;
use bytecave_messages::store::StoreSnapshot;
use serde::Serialize;

use super::MESSAGE_LIMIT_BYTES;
use crate::facts::Facts;
use crate::members::ADDRESSES_LIMIT;

/// The published fields, and ours after them.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Said<'a> {
    peer_id: String,
    node_id: &'a str,
    available_storage: u64,
    blob_count: u64,
    /// Milliseconds since 1970.
    timestamp: u64,
    /// Circuits through relays, each ending in `/p2p-circuit/p2p/` and this node.
    relay_addrs: &'a [String],
    multiaddrs: &'a [String],
    public_key: String,
    is_registered: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    on_chain_node_id: Option<&'a str>,
    shards: &'a [ShardRange],
    shard_count: u64,
    /// The node is stopping.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    leaving: bool,
}

/// The announcement of this node at `now_ms`. Of `multiaddrs` those that are circuits go into
/// `relayAddrs`; of both, the first sixteen. When a thousand shard ranges do not fit they are left
/// out: a peer asks for them over `/bytecave/info/1.0.0` anyway. The last one before the node stops says
/// that it is `leaving`.
pub(crate) fn announcement(
    facts: &Facts,
    multiaddrs: &[String],
    is_registered: bool,
    leaving: bool,
    now_ms: u64,
) -> Vec<u8> {
    let (mut circuits, mut direct): (Vec<String>, Vec<String>) = multiaddrs
        .iter()
        .cloned()
        .partition(|address| address.contains("/p2p-circuit"));
    circuits.truncate(ADDRESSES_LIMIT);
    direct.truncate(ADDRESSES_LIMIT);
    let store = facts.store();
    let ranges = facts.shards.ranges();
    let mut said = Said {
        peer_id: facts.peer_id.to_string(),
        node_id: &facts.node_id,
        available_storage: store.as_deref().map_or(0, available),
        blob_count: store.as_deref().map_or(0, |store| store.blobs),
        timestamp: now_ms,
        relay_addrs: &circuits,
        multiaddrs: &direct,
        public_key: facts.public_key.to_string(),
        is_registered,
        on_chain_node_id: None,
        shards: &ranges,
        shard_count: facts.shards.count().into(),
        leaving,
    };
    let whole = json(&said);
    if whole.len() <= MESSAGE_LIMIT_BYTES {
        return whole;
    }
    said.shards = &[];
    json(&said)
}

fn json(said: &Said<'_>) -> Vec<u8> {
    // Strings and numbers: there is nothing in it that JSON cannot say.
    serde_json::to_vec(said).unwrap_or_default()
}

/// Bytes that blobs may still take here: what quota and disk both leave.
fn available(store: &StoreSnapshot) -> u64 {
    let taken = store.sealed_bytes.saturating_add(store.reserved_bytes);
    let of_quota = store.quota_bytes.saturating_sub(taken);
    let of_disk = store
        .disk_free_bytes
        .saturating_sub(store.disk_reserve_bytes);
    of_quota.min(of_disk)
}
