//! Handing shards over: what stands here that other nodes hold, and the word to let it go.

use actix::Message;
use bytecave_core::{PeerId, ShardId};
use serde::Serialize;
use thiserror::Error;

use crate::budget::{Full, Permit};

/// Why there is no plan, or it is not followed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PlanError {
    /// The mailbox is full.
    #[error(transparent)]
    Full(#[from] Full),
    /// The actor is gone; the node is stopping.
    #[error("the replicator is not running")]
    Unavailable,
    /// The node has only begun, or networking is off.
    #[error("it is not known who holds what: the node has only begun, or P2P_ENABLED is false")]
    NotYet,
    /// A shard that is not in the plan.
    #[error(
        "shard {shard} is not in the plan: this node holds it, or has no blobs of it (bytecave shards plan)"
    )]
    NotInPlan {
        /// The shard.
        shard: ShardId,
    },
    /// The state file could not be written: a restart would forget the order.
    #[error(
        "the order could not be written down, and is not followed: the log names the file and the error"
    )]
    NotWritten,
}

/// Query: the shards with blobs here that this node does not keep any more, or keeps and does not hold.
#[derive(Debug, Message)]
#[rtype(result = "Result<ShardPlan, PlanError>")]
pub struct GetShardPlan {
    /// The permit.
    pub permit: Permit,
}

/// Command: hand these shards of the plan over: what its holders have proved is let go here. Written down
/// before the answer, and gone on with after a restart. Answered with the plan as it is then.
#[derive(Debug, Message)]
#[rtype(result = "Result<ShardPlan, PlanError>")]
pub struct ApplyShardPlan {
    /// Which; all of them are in the plan, or none is handed over.
    pub shards: Vec<ShardId>,
    /// The permit.
    pub permit: Permit,
}

/// What stands here that other nodes hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardPlan {
    /// Copies on others that a blob needs before it is let go here (`replication.factor`).
    pub factor: u32,
    /// Seconds for which what was let go stays on disk (`replication.hold`).
    pub hold: u64,
    /// The shards, ascending.
    pub shards: Vec<ShardMove>,
}

/// One shard, and how far its handing over is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardMove {
    /// The shard.
    pub shard: ShardId,
    /// Whether this node keeps the shard (`NODE_SHARDS`) and only does not hold it: then what others have
    /// proved is let go without being asked for.
    pub owned: bool,
    /// Whether it was ordered to hand it over.
    pub applied: bool,
    /// Blobs that are left here.
    pub blobs: u64,
    /// Their content bytes.
    pub bytes: u64,
    /// Who would have it, by rank.
    pub holders: Vec<MoveHolder>,
    /// How many of them are live.
    pub live: u32,
    /// How many of them lack nothing of what is here, by their own word.
    pub given: u32,
    /// Blobs that enough holders have proved since the node began or the order was given.
    pub proved: u64,
    /// Blobs that were let go since then.
    pub retired: u64,
    /// Blobs here that are pinned and stay, as far as was seen.
    pub pinned: u64,
    /// What is wanting; absent when nothing is left to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
}

/// Who would have a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MoveHolder {
    /// Who.
    pub peer_id: PeerId,
    /// Whether it is live.
    pub live: bool,
    /// Whether it takes new blobs.
    pub accepting: bool,
    /// Whether it lacks nothing of what is here, by its own word.
    pub given: bool,
}
