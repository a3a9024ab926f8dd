//! What may be asked of `StoreActor`, which keeps this node's blobs.
//!
//! The store knows nothing of peers, clients or placement: it takes blobs of the shards it owns,
//! gives them back, and says how it is.

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use bytecave_core::{
    BlobCid, BlobRoot, Commitment, Digest, Fingerprint, ShardCount, ShardId, ShardRange,
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::body::{BlobBody, BodyError};
use crate::budget::{Full, Permit};

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
    /// The bytes.
    pub body: BlobBody,
    /// What the bytes must hash to, when the sender said so.
    pub expected: Option<BlobCid>,
    /// Media type, `application/octet-stream` when unknown. The first store's stays.
    pub content_type: Option<String>,
    /// The client's name for it. The first store's stays.
    pub file_name: Option<String>,
    /// The permit.
    pub permit: Permit,
}

/// A blob is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
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

/// Event: how the store is, at most once a second.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct StoreChanged(pub Arc<StoreSnapshot>);

/// The store at one moment; from counters, never from a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreSnapshot {
    /// Shards in the network.
    pub shard_count: ShardCount,
    /// Shards owned.
    pub owned: Vec<ShardRange>,
    /// Counters of every shard that has a family here, ascending; owned or not.
    pub shards: Vec<ShardCounters>,
    /// Blobs in all shards.
    pub blobs: u64,
    /// Content bytes in all shards.
    pub bytes: u64,
    /// Sealed bytes of live blobs: what the quota counts.
    pub sealed_bytes: u64,
    /// Sealed bytes of deleted blobs whose space is not free yet.
    pub dead_bytes: u64,
    /// Bytes reserved by uploads in flight.
    pub reserved_bytes: u64,
    /// The quota, in sealed bytes.
    pub quota_bytes: u64,
    /// Free bytes of the file system.
    pub disk_free_bytes: u64,
    /// Free bytes that writes leave alone.
    pub disk_reserve_bytes: u64,
    /// Blobs whose bytes were found damaged.
    pub quarantined: u64,
    /// Durability of small blobs.
    pub durability: Durability,
    /// Whether it takes writes.
    pub condition: StoreCondition,
    /// Metrics of the engine: name without prefix, value.
    pub gauges: Vec<(&'static str, u64)>,
}

/// Whether the store takes writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreCondition {
    /// It does.
    Writable,
    /// The quota or the disk's reserve is reached: deletes still work.
    Full,
    /// The database is read-only; the text names the file and the remedy.
    ReadOnly(String),
}

/// One shard's counters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardCounters {
    /// The shard.
    pub shard: ShardId,
    /// Whether this node owns it; if not, it is read and never written.
    pub owned: bool,
    /// Blobs.
    pub blobs: u64,
    /// Content bytes.
    pub bytes: u64,
    /// Sealed bytes.
    pub sealed_bytes: u64,
    /// Sealed bytes of deleted blobs whose space is not free yet.
    pub dead_bytes: u64,
    /// Sum over the set of blobs.
    pub fingerprint: Fingerprint,
}

/// How long a damaged or slow store may hold up a stop before it is given up.
pub const STOP_GRACE: Duration = Duration::from_secs(3);
