//! What may be asked of `ReplicatorActor`, which keeps copies where they belong.
//!
//! It hears of new blobs by [`BlobStored`](crate::store::BlobStored), a nudge to read the store's
//! outbox, and of what peers and relays want by the `Inbound…` events of [`crate::swarm`]: it decides
//! what is taken from whom and what is given. Copies to peers are not part of this version: the
//! outbox cursor soon follows each store.

use std::time::Duration;

use actix::Message;
use bytecave_core::BlobCid;
use bytes::Bytes;
use thiserror::Error;

use crate::budget::{Full, Permit};

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
}

/// Command: get a blob that is not stored here from a peer, verified against its CID, and keep it
/// when its shard is ours.
#[derive(Debug, Message)]
#[rtype(result = "Result<FetchedBlob, FetchError>")]
pub struct FetchBlob {
    /// The blob.
    pub cid: BlobCid,
    /// The permit.
    pub permit: Permit,
}

/// A blob from a peer; its bytes hash to the CID that was asked for.
#[derive(Clone)]
pub struct FetchedBlob {
    /// The bytes.
    pub bytes: Bytes,
    /// The media type that the peer stated; nothing proves it.
    pub content_type: Option<String>,
}

impl std::fmt::Debug for FetchedBlob {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FetchedBlob({} bytes)", self.bytes.len())
    }
}
