//! What the replicator asks: what is new, what stands here, what shall not come back.

use std::sync::Arc;

use actix::Message;
use bytecave_core::{BlobCid, Digest, ShardId};

use super::StoreError;
use crate::budget::Permit;
use crate::sync::ListedDigest;

/// What an outbox entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutboxKind {
    /// A blob was stored.
    Stored,
}

/// One entry of a shard's outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxEntry {
    /// Its position, ascending within the shard.
    pub sequence: u64,
    /// What happened.
    pub kind: OutboxKind,
    /// To which content.
    pub digest: Digest,
}

/// Query: outbox entries behind a shard's cursor, oldest first.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<OutboxEntry>, StoreError>")]
pub struct ReadOutbox {
    /// The shard.
    pub shard: ShardId,
    /// At most this many, at most [`LIST_LIMIT`].
    pub limit: usize,
    /// The permit.
    pub permit: Permit,
}

/// Command: in each of these shards everything up to and including the sequence is dealt with; the
/// entries go, all in one batch, which need not be synced: what comes back is dealt with again.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct AdvanceOutbox {
    /// Shard and the last sequence dealt with; `u64::MAX` for all there are.
    pub through: Vec<(ShardId, u64)>,
    /// The permit.
    pub permit: Permit,
}

/// Query: shards whose outbox has entries.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<ShardId>, StoreError>")]
pub struct ListOutboxShards {
    /// The permit.
    pub permit: Permit,
}

/// Query: the digests of all blobs of a shard, ascending, those included that were deleted here and
/// still count as present. All at once, since they are sorted: at most [`DIGESTS_LIMIT`].
#[derive(Debug, Message)]
#[rtype(result = "Result<Arc<[ListedDigest]>, StoreError>")]
pub struct ListDigests {
    /// The shard.
    pub shard: ShardId,
    /// The permit.
    pub permit: Permit,
}

/// Most digests of one shard that are listed: 33 bytes of memory each. A shard with more is an error,
/// since half a list would make the other half look lost.
pub const DIGESTS_LIMIT: usize = 4 << 20;

/// Query: which of these are here; at most [`LIST_LIMIT`].
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<Standing>, StoreError>")]
pub struct CheckBlobs {
    /// Which; the answer is in this order.
    pub digests: Vec<Digest>,
    /// The permit.
    pub permit: Permit,
}

/// How a blob stands with this node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Not here, and may come.
    Absent,
    /// Here and sound, as far as is known.
    Here,
    /// Here, and known to be damaged.
    Damaged,
    /// Deleted here: not taken back from peers.
    Deleted,
    /// Blocked here: neither taken nor given.
    Blocked,
}

/// Command: peers still list these, so their tombstones stay as if they were new.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct RenewTombstones {
    /// Which; at most [`LIST_LIMIT`].
    pub digests: Vec<Digest>,
    /// The permit.
    pub permit: Permit,
}

/// Command: neither keep nor give this blob from now on, or lift that. What is here of it is deleted,
/// pinned or not. Answered with whether that changed anything.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, StoreError>")]
pub struct SetBlocked {
    /// The blob.
    pub cid: BlobCid,
    /// Whether it shall be blocked.
    pub blocked: bool,
    /// The permit.
    pub permit: Permit,
}

/// Query: the blobs that are blocked, the next page of them in the order of their sealed names.
#[derive(Debug, Message)]
#[rtype(result = "Result<BlockedPage, StoreError>")]
pub struct ListBlocked {
    /// Behind this position.
    pub after: Option<[u8; 32]>,
    /// At most this many, at most [`LIST_LIMIT`].
    pub limit: usize,
    /// The permit.
    pub permit: Permit,
}

/// A page of blocked blobs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockedPage {
    /// The blobs.
    pub cids: Vec<BlobCid>,
    /// Where to go on; `None` after the last.
    pub next: Option<[u8; 32]>,
}
