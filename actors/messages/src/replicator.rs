//! What may be asked of `ReplicatorActor`, which keeps copies where they belong.
//!
//! It hears of new blobs by [`BlobStored`](crate::store::BlobStored), a nudge to read the store's
//! outbox, and of what peers and relays want by the `Inbound…` events of [`crate::swarm`]: it decides
//! who holds which shard, what is taken from whom and what is given.

mod plan;

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use bytecave_core::{BlobCid, BlobRoot, PeerId, ShardId};
use serde::Serialize;
use thiserror::Error;

use crate::body::BlobBody;
use crate::budget::{Full, Permit};
use crate::cancel::Cancelled;
use crate::store::{ByteRange, InTransit};

pub use plan::{ApplyShardPlan, GetShardPlan, MoveHolder, PlanError, ShardMove, ShardPlan};

/// Why a blob could not be had from the network.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FetchError {
    /// The mailbox is full.
    #[error(transparent)]
    Full(#[from] Full),
    /// The actor is gone; the node is stopping.
    #[error("the replicator is not running")]
    Unavailable,
    /// No peer that could be asked has it.
    #[error("blob {cid} is not stored here, and none of the {asked} peers that were asked has it")]
    NotFound {
        /// The blob.
        cid: BlobCid,
        /// How many peers answered that they do not have it.
        asked: usize,
    },
    /// Peers may have it, but none gave it in time.
    #[error("blob {cid} is not stored here, and {silent} of {asked} peers did not answer within {} s", after.as_secs())]
    TimedOut {
        /// The blob.
        cid: BlobCid,
        /// How many peers were asked.
        asked: usize,
        /// How many of them gave no usable answer.
        silent: usize,
        /// The time they had.
        after: Duration,
    },
    /// A range that begins behind the end.
    #[error("the range lies outside the blob's {size} bytes")]
    RangeNotSatisfiable {
        /// The blob's size.
        size: u64,
    },
    /// A part was asked for, and there is no room to fetch the whole and verify it first.
    #[error(
        "blob {cid} is not stored here, and there is no room to fetch it for a part of it: {cause}"
    )]
    NoRoom {
        /// The blob.
        cid: BlobCid,
        /// What the store said.
        cause: String,
    },
}

/// Command: get a blob that is not stored here from peers, and keep it when its shard is ours.
///
/// A blob of at most 4 MiB, and any part of a blob, comes verified. A larger one comes as it is
/// fetched, its end withheld until its SHA-256 is known to be the one asked for: when it is not, the
/// stream fails, and what came of it is worth nothing.
#[derive(Debug, Message)]
#[rtype(result = "Result<FetchedBlob, FetchError>")]
pub struct FetchBlob {
    /// The blob.
    pub cid: BlobCid,
    /// Part of it; all when `None`.
    pub range: Option<ByteRange>,
    /// Heard when nobody waits any more.
    pub cancelled: Cancelled,
    /// The permit.
    pub permit: Permit,
}

/// A blob from peers, or a part of it.
#[derive(Debug)]
pub struct FetchedBlob {
    /// The size of the whole in bytes.
    pub size: u64,
    /// The media type that a peer stated; nothing proves it.
    pub content_type: Option<String>,
    /// First byte of the part.
    pub offset: u64,
    /// Length of the part in bytes.
    pub len: u64,
    /// The bytes of the part.
    pub body: BlobBody,
}

/// Why a blob was not brought to those who hold its shard.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlaceError {
    /// The mailbox is full.
    #[error(transparent)]
    Full(#[from] Full),
    /// The actor is gone; the node is stopping.
    #[error("the replicator is not running")]
    Unavailable,
    /// The blob is not kept here, and no holder of its shard took it.
    #[error("shard {shard} of blob {cid} is not one of this node's shards, and none of its {} known holders took the blob", holders.len())]
    NoHolder {
        /// The blob.
        cid: BlobCid,
        /// Its shard.
        shard: ShardId,
        /// Those who hold the shard, as far as this node knows.
        holders: Vec<PeerId>,
    },
}

/// Command: bring a blob that a client stored to the holders of its shard, and answer when enough of
/// them have it durably, or when the time is up.
#[derive(Debug, Message)]
#[rtype(result = "Result<Placed, PlaceError>")]
pub struct PlaceBlob {
    /// What.
    pub blob: BlobFacts,
    /// Where its bytes are.
    pub bytes: BytesAt,
    /// Durable copies to wait for, this node's included: 1 to the factor.
    pub wanted: u32,
    /// How long to wait for them. What is under way then goes on.
    pub patience: Duration,
    /// The permit.
    pub permit: Permit,
}

/// What is stated of a blob beside its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobFacts {
    /// Its name.
    pub cid: BlobCid,
    /// Its size in bytes.
    pub size: u64,
    /// Root of its tree.
    pub blob_root: BlobRoot,
    /// Its media type.
    pub content_type: Option<String>,
}

/// Where the bytes of a blob are.
#[derive(Debug, Clone)]
pub enum BytesAt {
    /// In the store, under its CID.
    Store,
    /// On their way: this node does not keep its shard.
    Transit(InTransit),
}

/// How many durable copies there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placed {
    /// Copies that are confirmed and durable, this node's included.
    pub confirmed: u32,
    /// How many there shall be: the factor, or fewer while the network has fewer holders.
    pub target: u32,
}

/// Event: how copies are, at most once a second.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ReplicatorChanged(pub Arc<ReplicatorSnapshot>);

/// Copies at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplicatorSnapshot {
    /// Copies that each blob shall have (`replication.factor`).
    pub factor: u32,
    /// Blobs that wait to be copied to others for the first time.
    pub outbox: u64,
    /// Blobs that are to be fetched from other holders.
    pub repairs_waiting: u64,
    /// Blobs being fetched from other holders.
    pub repairs_running: u64,
    /// Shards that this node keeps or has blobs of, ascending.
    pub shards: Arc<[ShardReplication]>,
    /// Peers whose conduct is remembered, by peer id.
    pub peers: Arc<[PeerConduct]>,
    /// Counted since the start: name without prefix and `_total`, value.
    pub counters: Vec<(&'static str, u64)>,
}

/// The copies of one shard.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardReplication {
    /// The shard.
    pub shard: ShardId,
    /// Blobs of it here.
    pub blobs: u64,
    /// Who holds it, by rank.
    pub holders: Vec<HolderView>,
    /// Copies of what is here: on holders whose set was last found alike, this node's included.
    pub live: u32,
    /// Copies that are wanting: the factor less `live`; none while this node neither holds the shard nor
    /// has blobs of it.
    pub missing: u32,
    /// Why copies are wanting; absent when none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A holder of a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HolderView {
    /// Who.
    pub peer_id: PeerId,
    /// Whether it is this node.
    pub here: bool,
    /// Whether it takes new blobs.
    pub accepting: bool,
    /// Whether it is live.
    pub live: bool,
    /// When its set was last found to be like this node's, milliseconds since 1970; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alike_ms: Option<u64>,
    /// Blobs that it lacked or this node lacked when they last compared; absent if never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub differing: Option<u64>,
}

/// How a peer behaved.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerConduct {
    /// Who.
    pub peer_id: PeerId,
    /// From -100 to 100; above 0 is good. It decays towards 0.
    pub score: f64,
    /// Whether nothing is asked of it for the time being.
    pub blocked: bool,
}
