//! What may be asked of `SwarmActor`, the node's place in the network, and what it tells.
//!
//! The swarm knows connections, protocols and peers; it keeps no blob and decides nothing about
//! one. What a peer or a relay asks for arrives as an `Inbound…` event at the replicator, with an
//! [`Answer`] in it; the swarm has read and bounded it by then, and gives the answer the form the
//! asker understands.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use bytecave_core::{BlobCid, PeerId, ShardCount, ShardRange, StoreAuthorization};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::body::BlobBody;
use crate::budget::{Full, Permit};

/// Why the swarm did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SwarmError {
    /// The mailbox is full.
    #[error(transparent)]
    Full(#[from] Full),
    /// The actor is gone, or networking is switched off.
    #[error("the network is not running")]
    Unavailable,
    /// No direct connection to the peer, and none could be made.
    #[error("peer {peer} cannot be reached: {cause}")]
    Unreachable {
        /// The peer.
        peer: PeerId,
        /// What was tried.
        cause: String,
    },
    /// The peer does not speak the protocol.
    #[error("peer {peer} does not speak {protocol}")]
    Unsupported {
        /// The peer.
        peer: PeerId,
        /// The protocol.
        protocol: &'static str,
    },
    /// The peer says that it has no such blob.
    #[error("peer {peer} does not have the blob")]
    NotFound {
        /// The peer.
        peer: PeerId,
    },
    /// The peer has too much to do.
    #[error("peer {peer} is busy")]
    Busy {
        /// The peer.
        peer: PeerId,
    },
    /// The peer's time was up.
    #[error("peer {peer} did not answer within {} s", after.as_secs())]
    TimedOut {
        /// The peer.
        peer: PeerId,
        /// How long it had.
        after: Duration,
    },
    /// The peer answered what no honest peer answers.
    #[error("peer {peer} answered nonsense: {reason}")]
    BadAnswer {
        /// The peer.
        peer: PeerId,
        /// What is wrong with it.
        reason: String,
    },
}

/// Command: fetch a blob that `peer` has. Nothing of the answer is verified: the bytes may be any.
#[derive(Debug, Message)]
#[rtype(result = "Result<RemoteBlob, SwarmError>")]
pub struct RetrieveFromPeer {
    /// Whom to ask.
    pub peer: PeerId,
    /// For what.
    pub cid: BlobCid,
    /// The permit.
    pub permit: Permit,
}

/// What a peer gave, unverified.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteBlob {
    /// The bytes, as the peer gave them.
    pub bytes: Bytes,
    /// The media type that the peer states.
    pub content_type: Option<String>,
}

impl fmt::Debug for RemoteBlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RemoteBlob({} bytes)", self.bytes.len())
    }
}

/// Command: from now on these peers may send replicas. Needed before a frame is read, so that a
/// stranger's bytes are refused unread.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct SetAdmission(pub Admission);

/// Who may send replicas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// Every peer.
    Everyone,
    /// These peers.
    Only(Arc<std::collections::BTreeSet<PeerId>>),
    /// Nobody, for this reason.
    Nobody(&'static str),
}

impl Admission {
    /// Whether `peer` may send replicas; if not, why.
    pub fn admits(&self, peer: &PeerId) -> Result<(), Refusal> {
        match self {
            Self::Everyone => Ok(()),
            Self::Only(peers) if peers.contains(peer) => Ok(()),
            Self::Only(_) => Err(Refusal::NotAdmitted(
                "this node takes replicas from listed peers only",
            )),
            Self::Nobody(why) => Err(Refusal::NotAdmitted(why)),
        }
    }
}

/// Where the answer to an inbound request goes. Dropped unsent, the asker hears that the node is
/// busy.
#[derive(Debug)]
pub struct Answer<T>(oneshot::Sender<T>);

impl<T> Answer<T> {
    /// An answer to come, and where it arrives.
    pub fn new() -> (Self, oneshot::Receiver<T>) {
        let (sender, receiver) = oneshot::channel();
        (Self(sender), receiver)
    }

    /// Gives the answer. An asker who is gone does not get it, and nobody minds.
    pub fn send(self, answer: T) {
        let _ = self.0.send(answer);
    }
}

/// Who asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A peer, over a protocol stream.
    Peer(PeerId),
    /// A browser, through the storage link to the relay of this address.
    Link(Arc<str>),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Peer(peer) => write!(f, "peer {peer}"),
            Self::Link(relay) => write!(f, "relay {relay}"),
        }
    }
}

/// Why an inbound request is refused. The text goes to the asker.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refusal {
    /// There is no such blob here. The published text.
    #[error("Blob not found")]
    NotFound,
    /// The request makes no sense. Starts with the published text.
    #[error("Invalid request: {0}")]
    Invalid(String),
    /// The sender may not send replicas.
    #[error("not admitted: {0}")]
    NotAdmitted(&'static str),
    /// The store authorization does not hold, or there is none.
    #[error("not authorized: {0}")]
    NotAuthorized(String),
    /// The shard is kept by other nodes.
    #[error("shard {0} is not kept by this node")]
    NotOurShard(bytecave_core::ShardId),
    /// The bytes are not those of the stated CID.
    #[error("the content does not match its hash: it is that of {actual}")]
    Mismatch {
        /// Of what the bytes are, in hex.
        actual: String,
    },
    /// Too large for this protocol.
    #[error("the blob of {size} bytes is larger than the {limit_bytes} bytes allowed here")]
    TooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit_bytes: u64,
    },
    /// No room.
    #[error("storage full")]
    Full,
    /// Too many requests at once or in a time.
    #[error("busy: try again later")]
    Busy,
    /// The blob is damaged here.
    #[error("the blob is damaged here")]
    Damaged,
    /// This node cannot at the moment.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
}

/// Event: someone wants a blob. Answered from the local store only, never from the network.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct InboundRetrieve {
    /// Who asks.
    pub from: Origin,
    /// For what.
    pub cid: BlobCid,
    /// Where the blob goes.
    pub answer: Answer<Result<ServedBlob, Refusal>>,
    /// The permit.
    pub permit: Permit,
}

/// A blob on its way to a peer.
#[derive(Debug)]
pub struct ServedBlob {
    /// Its size in bytes; nothing was read from `body` yet, so that the swarm can decline first.
    pub size: u64,
    /// Its media type.
    pub content_type: Option<String>,
    /// The bytes.
    pub body: BlobBody,
}

/// Event: a peer asks which blobs are here.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct InboundHaveList {
    /// Who asks.
    pub from: PeerId,
    /// For which part of the list.
    pub ask: HaveListAsk,
    /// Where the list goes.
    pub answer: Answer<Result<HaveList, Refusal>>,
    /// The permit.
    pub permit: Permit,
}

/// Most entries of one have-list, asked or answered.
pub const HAVE_LIST_LIMIT: usize = 1000;

/// Which part of the list of blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HaveListAsk {
    /// So many from there on; at most [`HAVE_LIST_LIMIT`].
    Page {
        /// How many.
        limit: usize,
        /// How many to leave out first.
        offset: u64,
    },
    /// Those of these that are here; at most [`HAVE_LIST_LIMIT`].
    Which(Vec<BlobCid>),
}

/// A part of the list of blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HaveList {
    /// The blobs.
    pub cids: Vec<BlobCid>,
    /// How many there are in all.
    pub total: u64,
    /// Whether more follow.
    pub has_more: bool,
}

/// Event: an admitted peer sends a copy of a blob.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct InboundReplica {
    /// Who sends it.
    pub from: PeerId,
    /// The stated name; not yet compared with the bytes.
    pub cid: BlobCid,
    /// The stated media type.
    pub content_type: Option<String>,
    /// The bytes.
    pub body: Bytes,
    /// Where the outcome goes.
    pub answer: Answer<Result<Kept, Refusal>>,
    /// The permit.
    pub permit: Permit,
}

/// Event: a browser or another client of the first network stores a blob.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct InboundStore {
    /// Who sends it.
    pub from: Origin,
    /// The stated name, where the form has one; not yet compared with the bytes.
    pub cid: Option<BlobCid>,
    /// The stated media type.
    pub content_type: Option<String>,
    /// The stated application.
    pub app_id: Option<String>,
    /// The bytes.
    pub body: Bytes,
    /// The signed authorization, if there is one; not yet checked.
    pub authorization: Option<StoreAuthorization>,
    /// Where the outcome goes.
    pub answer: Answer<Result<Kept, Refusal>>,
    /// The permit.
    pub permit: Permit,
}

/// A blob was stored for someone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub cid: BlobCid,
    /// Whether it was here before.
    pub already_stored: bool,
}

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
    /// Whether it was heard recently enough to count as a live member.
    pub live: bool,
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
