//! What proofs need: leaves of a blob, a blob by lot, everything read again, and copies that are no longer
//! needed.

use std::time::Duration;

use actix::Message;
use bytecave_core::proof::{Challenge, Statement};
use bytecave_core::{BlobCid, ShardId};

use super::{BlobInfo, ListCursor, StoreError};
use crate::budget::Permit;

/// Query: the leaves of a blob that a challenge asks for, with their paths. Of a large blob one page of
/// hashes and one chunk are read for each leaf. What is damaged is quarantined.
#[derive(Debug, Message)]
#[rtype(result = "Result<Statement, StoreError>")]
pub struct ReadLeaves {
    /// What is asked.
    pub challenge: Challenge,
    /// The permit.
    pub permit: Permit,
}

/// Query: a sound blob of a shard by lot, larger ones more often; `None` of a shard without any. Costs a
/// seek and a few rows, however many blobs there are.
#[derive(Debug, Message)]
#[rtype(result = "Result<Option<BlobInfo>, StoreError>")]
pub struct SampleBlob {
    /// The shard.
    pub shard: ShardId,
    /// Random bytes: where to look, in the order of sealed names.
    pub point: [u8; 32],
    /// A random number: which of those that stand there.
    pub pick: u64,
    /// The permit.
    pub permit: Permit,
}

/// Command: read the next blobs whole, in the order of the listing, and quarantine what is damaged: seal,
/// CID, tree and stored hashes are compared.
#[derive(Debug, Message)]
#[rtype(result = "Result<Scrubbed, StoreError>")]
pub struct ScrubBlobs {
    /// Behind this position; from the first when `None`.
    pub after: Option<ListCursor>,
    /// No further blob is begun once this many content bytes were read.
    pub enough_bytes: u64,
    /// Content bytes to read in a second, also within one blob.
    pub bytes_per_second: u64,
    /// The permit.
    pub permit: Permit,
}

/// What was read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrubbed {
    /// Blobs read.
    pub blobs: u64,
    /// Content bytes read.
    pub bytes: u64,
    /// Blobs found damaged now, or found so before and not healed since.
    pub damaged: Vec<BlobCid>,
    /// Where to go on; `None` after the last.
    pub next: Option<ListCursor>,
}

/// Query: blobs that are quarantined, some of them if there are many.
#[derive(Debug, Message)]
#[rtype(result = "Result<Vec<BlobCid>, StoreError>")]
pub struct ListDamaged {
    /// At most this many, at most [`super::LIST_LIMIT`].
    pub limit: usize,
    /// The permit.
    pub permit: Permit,
}

/// Command: this copy is needed no longer. It counts as absent from now on in counts, fingerprints and
/// listings, is still given to who asks for it by name, and is deleted for good after `keep_for`. One that is
/// needed no longer already goes at the new time. A pinned blob is refused. Answered with whether it counted as
/// here.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, StoreError>")]
pub struct RetireBlob {
    /// The blob.
    pub cid: BlobCid,
    /// How long it is kept.
    pub keep_for: Duration,
    /// The permit.
    pub permit: Permit,
}

/// Command: a copy that was retired is needed after all. Answered with whether there was one; it counts as
/// here again then.
#[derive(Debug, Message)]
#[rtype(result = "Result<bool, StoreError>")]
pub struct RestoreBlob {
    /// The blob.
    pub cid: BlobCid,
    /// The permit.
    pub permit: Permit,
}
