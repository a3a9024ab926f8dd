//! What may be asked of `StoreActor`, which keeps this node's blobs.
//!
//! The store knows nothing of peers, clients or placement: it takes blobs of the shards it owns,
//! gives them back, and says how it is.

mod copies;
mod possession;
mod state;

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use actix::Message;
use bytecave_core::{BlobCid, BlobRoot, Commitment, Digest, ShardId};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::body::{BlobBody, BodyError};
use crate::budget::{Full, Permit};

pub use copies::{
    AdvanceOutbox, BlockedPage, CheckBlobs, DIGESTS_LIMIT, ListBlocked, ListDigests,
    ListOutboxShards, OutboxEntry, OutboxKind, ReadOutbox, RenewTombstones, SetBlocked, Standing,
};
pub use possession::{
    ListDamaged, ReadLeaves, RestoreBlob, RetireBlob, SampleBlob, ScrubBlobs, Scrubbed,
};
pub use state::{STOP_GRACE, ShardCounters, StoreChanged, StoreCondition, StoreSnapshot};

/// Why the store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum StoreError {
    /// The mailbox is full.
    #[error(transparent)]
    Full(#[from] Full),
    /// The actor is gone; the node is stopping.
    #[error("the store is not running")]
    Unavailable,
    /// No such blob here.
    #[error("blob {cid} is not stored here")]
    NotFound {
        /// The blob asked for.
        cid: BlobCid,
    },
    /// The blob's shard belongs to other nodes.
    #[error("shard {shard} of blob {cid} is not one of this node's shards")]
    NotOurShard {
        /// The blob.
        cid: BlobCid,
        /// Its shard.
        shard: ShardId,
    },
    /// The bytes are not those of the CID that was stated for them.
    #[error("the content is that of {actual}, not of the stated {expected}")]
    Mismatch {
        /// The stated CID.
        expected: BlobCid,
        /// The CID of the bytes that came.
        actual: BlobCid,
    },
    /// Larger than a blob may be.
    #[error("the blob is larger than the allowed {limit_bytes} bytes (http.max_blob_size)")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The quota is used up.
    #[error(
        "the storage quota of {quota_bytes} bytes (MAX_STORAGE_MB) has {free_bytes} bytes left and {needed_bytes} are needed"
    )]
    QuotaReached {
        /// All of the quota, sealed bytes.
        quota_bytes: u64,
        /// What is left of it.
        free_bytes: u64,
        /// What the blob needs.
        needed_bytes: u64,
    },
    /// The free disk space is down to the reserve.
    #[error(
        "the disk has {free_bytes} bytes free and {reserve_bytes} are kept in reserve (store.disk_reserve)"
    )]
    DiskFull {
        /// Free bytes of the file system.
        free_bytes: u64,
        /// Bytes kept free for the log and compaction.
        reserve_bytes: u64,
    },
    /// The body did not arrive whole.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// A range that begins behind the end.
    #[error("the range lies outside the blob's {size} bytes")]
    RangeNotSatisfiable {
        /// The blob's size.
        size: u64,
    },
    /// The stored bytes are damaged; they are quarantined and never served.
    #[error("blob {cid} is damaged and quarantined: storing the same bytes again heals it")]
    Damaged {
        /// The blob.
        cid: BlobCid,
    },
    /// It was deleted here, and what was deleted is not taken back from peers.
    #[error("blob {cid} was deleted from this node: only a client brings it back")]
    Deleted {
        /// The blob.
        cid: BlobCid,
    },
    /// The operator blocked it.
    #[error("blob {cid} is blocked on this node")]
    Blocked {
        /// The blob.
        cid: BlobCid,
    },
    /// A pinned blob is not deleted.
    #[error("blob {cid} is pinned: unpin it first")]
    Pinned {
        /// The blob.
        cid: BlobCid,
    },
    /// The database takes no writes.
    #[error("the store is read-only: {reason}")]
    ReadOnly {
        /// Which file failed, and the remedy.
        reason: String,
    },
    /// RocksDB or the file system failed.
    #[error("{operation} failed: {cause}")]
    Failed {
        /// What was being done.
        operation: &'static str,
        /// What the library said.
        cause: String,
    },
}

/// When a write counts as done.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Synced to disk before the answer.
    Strict,
    /// Answered at once, synced within `store.batch_sync_interval`.
    Batched,
    /// Left to the operating system.
    Relaxed,
}

/// Command: keep this blob.
#[derive(Debug, Message)]
#[rtype(result = "Result<Stored, StoreError>")]
pub struct PutBlob {
    /// The blob.
    pub blob: NewBlob,
    /// The permit.
    pub permit: Permit,
}

/// A blob on its way in.
#[derive(Debug)]
pub struct NewBlob {
    /// The bytes.
    pub body: BlobBody,
    /// What the bytes must hash to, when the sender said so.
    pub expected: Option<BlobCid>,
    /// Media type, `application/octet-stream` when unknown. The first store's stays.
    pub content_type: Option<String>,
    /// The client's name for it. The first store's stays.
    pub file_name: Option<String>,
    /// On whose word.
    pub word: Word,
    /// Synced before the answer, whatever `store.durability` says.
    pub durable: bool,
    /// What becomes of it when it is not to be kept here.
    pub foreign: Foreign,
}

/// On whose word a blob is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// A client's, who may store here: it is written to the outbox, and lifts a tombstone.
    Client,
    /// A peer's: a copy, or a repair. What was deleted here is not taken back, and nothing is written
    /// to the outbox, since whoever took the blob from its client brings it to the other holders.
    Peer,
}

/// What becomes of a blob whose shard is not ours, or that was deleted here and that a peer brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Foreign {
    /// It is refused.
    Refuse,
    /// It is kept for as long as it is on its way.
    Transit,
}

/// A blob of others' shard on its way to them.
#[derive(Debug, Clone)]
pub enum InTransit {
    /// In memory: at most 4 MiB.
    Memory(Bytes),
    /// In the store until the last clone is dropped.
    Disk(TransitHold),
}

/// Keeps a foreign blob in the store until the last clone is dropped. What it holds is the store's own.
#[derive(Clone)]
pub struct TransitHold(Arc<dyn Any + Send + Sync>);

impl TransitHold {
    /// Holds `kept`, whose drop gives the space back.
    pub fn new<T: Any + Send + Sync>(kept: T) -> Self {
        Self(Arc::new(kept))
    }

    /// What is held, for the store that made it.
    pub fn kept<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for TransitHold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransitHold")
    }
}

/// Query: the bytes of a blob in transit.
#[derive(Debug, Message)]
#[rtype(result = "Result<BlobRead, StoreError>")]
pub struct ReadTransit {
    /// Which.
    pub hold: TransitHold,
    /// Part of it; all when `None`.
    pub range: Option<ByteRange>,
    /// The permit; held until the last byte was handed over.
    pub permit: Permit,
}

/// A blob is stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Its name.
    pub cid: BlobCid,
    /// Its shard.
    pub shard: ShardId,
    /// Its size in bytes.
    pub size: u64,
    /// Root of its tree.
    pub blob_root: BlobRoot,
    /// Commitment to size and root.
    pub commitment: Commitment,
    /// Whether it was not here before.
    pub new: bool,
    /// The durability it has.
    pub durability: Durability,
    /// Where it is, if it is not kept here: nowhere for long.
    pub transit: Option<InTransit>,
}

/// Bytes of a blob to read: `start..end`, end exclusive and at most the size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ByteRange {
    /// From the first to the last of these, both inclusive; the last may lie beyond the end.
    FromTo(u64, u64),
    /// From this byte to the end.
    From(u64),
    /// This many bytes at the end.
    Last(u64),
}

/// Query: the bytes of a blob.
#[derive(Debug, Message)]
#[rtype(result = "Result<BlobRead, StoreError>")]
pub struct GetBlob {
    /// The blob.
    pub cid: BlobCid,
    /// Part of it; all when `None`.
    pub range: Option<ByteRange>,
    /// The permit; held until the last byte was handed over.
    pub permit: Permit,
}

/// A blob being read.
#[derive(Debug)]
pub struct BlobRead {
    /// What is known of it.
    pub info: BlobInfo,
    /// First byte of the part read, and its length.
    pub offset: u64,
    /// Length of the part read, in bytes.
    pub len: u64,
    /// The bytes.
    pub body: BlobBody,
}

/// What is known of a stored blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub cid: BlobCid,
    /// Its shard.
    pub shard: ShardId,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes it takes on disk, sealed.
    pub sealed_size: u64,
    /// Media type as given when it was first stored.
    pub content_type: Option<String>,
    /// The client's name for it.
    pub file_name: Option<String>,
    /// When it was first stored, milliseconds since 1970.
    pub created_ms: u64,
    /// Root of its tree.
    pub blob_root: BlobRoot,
    /// Whether it is protected from deletion.
    pub pinned: bool,
    /// Whether its bytes were found damaged.
    pub quarantined: bool,
}

/// Query: what is known of a blob.
#[derive(Debug, Message)]
#[rtype(result = "Result<BlobInfo, StoreError>")]
pub struct GetBlobInfo {
    /// The blob.
    pub cid: BlobCid,
    /// The permit.
    pub permit: Permit,
}

/// A position in the listing: opaque to callers, 2 bytes of shard and 32 of sealed name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ListCursor {
    /// The family.
    pub shard: ShardId,
    /// The sealed name behind which to go on.
    pub after: [u8; 32],
}

/// Query: the next page of stored blobs, in the order of shard and sealed name.
#[derive(Debug, Message)]
#[rtype(result = "Result<BlobPage, StoreError>")]
pub struct ListBlobs {
    /// Only this shard.
    pub shard: Option<ShardId>,
    /// Behind this position.
    pub after: Option<ListCursor>,
    /// At most this many, at most [`LIST_LIMIT`].
    pub limit: usize,
    /// The permit.
    pub permit: Permit,
}

/// Most blobs in one page: no iterator lives over more rows.
pub const LIST_LIMIT: usize = 1000;

/// A page of the listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobPage {
    /// The blobs.
    pub blobs: Vec<BlobInfo>,
    /// Where to go on; `None` after the last.
    pub next: Option<ListCursor>,
}

/// Command: delete a blob from this node, leaving a tombstone.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct DeleteBlob {
    /// The blob.
    pub cid: BlobCid,
    /// The permit.
    pub permit: Permit,
}

/// Command: protect a blob from deletion, or stop protecting it.
#[derive(Debug, Message)]
#[rtype(result = "Result<(), StoreError>")]
pub struct SetPin {
    /// The blob.
    pub cid: BlobCid,
    /// Whether it shall be protected.
    pub pinned: bool,
    /// The permit.
    pub permit: Permit,
}

/// Command: give the space of deleted blobs back now, instead of when enough of it is dead.
#[derive(Debug, Message)]
#[rtype(result = "Result<GcReport, StoreError>")]
pub struct CollectGarbage {
    /// The permit.
    pub permit: Permit,
}

/// What a garbage collection did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GcReport {
    /// Families that were compacted.
    pub families: usize,
    /// Dead bytes before.
    pub dead_bytes_before: u64,
    /// Dead bytes after.
    pub dead_bytes_after: u64,
}

/// Command: add a key-encryption key and re-seal all metadata under it. Resumes after a restart.
#[derive(Debug, Message)]
#[rtype(result = "Result<RotationReport, StoreError>")]
pub struct RotateKeys {
    /// The permit.
    pub permit: Permit,
}

/// What a key rotation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RotationReport {
    /// Id of the key now in use.
    pub key_id: u32,
    /// Records sealed again.
    pub resealed: u64,
}

/// Command: use up a nonce, so that what was authorized once is not authorized again, also after a
/// restart. Answered with whether it was unused; on disk before the answer.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, StoreError>")]
pub struct UseNonce {
    /// Digest of who used which nonce.
    pub key: Digest,
    /// When it may be forgotten, since what it authorizes is too old by then; milliseconds since 1970.
    pub expires_ms: u64,
    /// The permit.
    pub permit: Permit,
}

/// Event: a blob was stored. A nudge only: the outbox has what matters.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct BlobStored {
    /// The shard whose outbox grew.
    pub shard: ShardId,
}
