//! How the network is: what the swarm tells once a second.

use std::sync::Arc;

use actix::Message;
use bytecave_core::{PeerId, ShardCount, ShardId, ShardRange};
use serde::{Deserialize, Serialize};

/// Event: how the network is, at most once a second.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SwarmChanged(pub Arc<SwarmSnapshot>);

/// The network at one moment.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SwarmSnapshot {
    /// Where others can reach this node: addresses that were confirmed or configured, circuits
    /// through relays, and those it listens on; each a multiaddress that ends in the node's peer id.
    pub multiaddrs: Vec<String>,
    /// Peers connected now.
    pub connected: usize,
    /// Connected and remembered peers; connected ones first, then by peer id.
    pub peers: Vec<PeerView>,
    /// The configured relays.
    pub relays: Vec<RelayView>,
    /// The storage links.
    pub links: Vec<LinkView>,
    /// Whether others can reach this node.
    pub reachability: Reachability,
}

/// What is known of a peer.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerView {
    /// Its id.
    pub peer_id: PeerId,
    /// How it is connected; absent when it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection: Option<ConnectionKind>,
    /// Where it is reached; of a connected peer, the addresses in use first.
    pub multiaddrs: Vec<String>,
    /// Its program, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// Round trip in milliseconds, measured by ping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rtt_ms: Option<u64>,
    /// When it was last heard, milliseconds since 1970.
    pub last_seen_ms: u64,
    /// When it was first met, milliseconds since 1970; 0 if never.
    pub first_seen_ms: u64,
    /// Whether it was heard recently enough to count as a live member, and did not say goodbye since.
    pub live: bool,
    /// When it said goodbye, milliseconds since 1970; absent when it was heard since.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
    /// What it announced last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub announced: Option<Announced>,
    /// What it said over a connection of its own; never taken from others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub info: Option<PeerInfo>,
}

/// How a peer is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ConnectionKind {
    /// Directly.
    Direct,
    /// Through a relay, with its limits of time and bytes.
    Relayed,
}

/// What a peer announces of itself, signed by it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Announced {
    /// What it calls itself.
    pub node_id: String,
    /// Bytes it says are free.
    pub available_storage: u64,
    /// Blobs it says it has.
    pub blob_count: u64,
    /// Whether it says that it is registered; the chain decides, not this.
    pub is_registered: bool,
    /// When it said so, milliseconds since 1970.
    pub timestamp_ms: u64,
}

/// What a peer answers over `/bytecave/info/1.0.0`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerInfo {
    /// Version of its program.
    pub version: String,
    /// Address of its owner, as it says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_address: Option<String>,
    /// Ranges it keeps; absent for programs that do not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<Vec<ShardRange>>,
    /// Shards in its network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shard_count: Option<ShardCount>,
    /// Its storage limit in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Whether it takes new blobs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepting: Option<bool>,
    /// The /bytecave/ protocols it speaks.
    #[serde(default)]
    pub protocols: Vec<String>,
}

impl PeerInfo {
    /// Whether it keeps `shard` of `count`; `None` if it does not say, or counts shards otherwise.
    pub fn keeps(&self, shard: ShardId, count: ShardCount) -> Option<bool> {
        let ranges = self.shards.as_ref()?;
        if self.shard_count? != count {
            return None;
        }
        let shard = u64::from(shard.get());
        let within = |range: &ShardRange| (range.start..=range.end).contains(&shard);
        Some(ranges.iter().any(within))
    }
}

/// A configured relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RelayView {
    /// Its address as configured.
    pub multiaddr: String,
    /// How the reservation there is.
    #[serde(flatten)]
    pub state: RelayState,
}

/// How a reservation at a relay is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "state", rename_all = "camelCase")]
pub enum RelayState {
    /// Being made.
    Connecting,
    /// It stands: others reach this node through the relay.
    Reserved,
    /// It could not be made; it is tried again.
    Failed {
        /// Why.
        reason: String,
    },
    /// Circuits are switched off by `P2P_ENABLE_RELAY`.
    Off,
}

/// A storage link to a relay.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkView {
    /// Its WebSocket address.
    pub url: String,
    /// Whether it is connected and registered there.
    pub registered: bool,
    /// What went wrong last, while it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Whether others can reach this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "camelCase")]
pub enum Reachability {
    /// Nobody has tried yet.
    Unknown,
    /// A peer dialled one of our addresses.
    Direct,
    /// Not directly, but through a relay; direct connections come about by hole punching where the
    /// NAT allows it.
    Relayed {
        /// Whether a hole was ever punched since the start, and if not whether it was tried.
        #[serde(rename = "holePunching")]
        hole_punching: HolePunching,
    },
    /// Peers tried and failed, and there is no relay.
    Unreachable,
}

/// How hole punching went since the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum HolePunching {
    /// Not tried.
    Untried,
    /// It worked at least once.
    Works,
    /// It was tried and never worked: the NAT gives each peer another port (symmetric), or a
    /// firewall is in the way.
    Fails,
}
