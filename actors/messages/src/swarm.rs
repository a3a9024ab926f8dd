//! What may be asked of `SwarmActor`, the node's place in the network, and what it tells.
//!
//! The swarm knows connections, protocols and peers; it keeps no blob and decides nothing about
//! one. What a peer or a relay asks for arrives as an `Inbound…` event at the replicator, with an
//! [`Answer`] in it; the swarm has read and bounded it by then, and gives the answer the form the
//! asker understands.

mod inbound;
mod view;

use std::sync::Arc;
use std::time::Duration;

use actix::Message;
use bytecave_core::proof::{Challenge, Proof};
use bytecave_core::{BlobCid, BlobRoot, PeerId};
use thiserror::Error;

use crate::body::{BlobBody, BodyError};
use crate::budget::{Full, Permit};
use crate::cancel::Cancelled;
use crate::replicator::BlobFacts;
use crate::sync::{SyncAnswer, SyncRequest};

pub use inbound::{
    Answer, HAVE_LIST_LIMIT, HaveList, HaveListAsk, InboundChallenge, InboundHaveList,
    InboundReplica, InboundRetrieve, InboundStore, InboundSync, Kept, Offer, Origin, Refusal,
    RefusalKind, ReplicaBody, ServedBlob, StatedBlob,
};
pub use view::{
    Announced, ConnectionKind, HolePunching, LinkView, PeerInfo, PeerView, Reachability,
    RelayState, RelayView, SwarmChanged, SwarmSnapshot,
};

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
    /// The peer does not take what it was sent, and says why.
    #[error("peer {peer} refused: {reason}")]
    Refused {
        /// The peer.
        peer: PeerId,
        /// The kind of refusal.
        kind: RefusalKind,
        /// Its words, cleaned and cut.
        reason: String,
    },
    /// What was being sent could not be read here.
    #[error(transparent)]
    Body(#[from] BodyError),
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
    /// From which byte on. The 1.0.0 protocols give the whole all the same.
    pub from: u64,
    /// Heard when nobody waits for the head of the answer any more.
    pub cancelled: Cancelled,
    /// The permit; held until the last byte was handed over.
    pub permit: Permit,
}

/// What a peer gives, unverified.
#[derive(Debug)]
pub struct RemoteBlob {
    /// The size of the whole, as the peer states it; of the 1.0.0 protocols the length that came.
    pub size: u64,
    /// Root of its tree, as the peer states it; the 1.0.0 protocols have none.
    pub blob_root: Option<BlobRoot>,
    /// The media type that the peer states.
    pub content_type: Option<String>,
    /// First byte of what follows.
    pub offset: u64,
    /// The bytes from there to the end, never more than `size` says. When the stream breaks, it ends
    /// in an error. Dropped, the peer is told to stop.
    pub body: BlobBody,
}

/// Command: bring a copy to `peer`; answered when the peer has it durably, or has it already.
#[derive(Debug, Message)]
#[rtype(result = "Result<ReplicaSent, SwarmError>")]
pub struct SendReplica {
    /// To whom.
    pub peer: PeerId,
    /// What is stated of the blob.
    pub blob: BlobFacts,
    /// Its bytes, not yet read: the peer may refuse before.
    pub body: BlobBody,
    /// Heard when nobody waits any more.
    pub cancelled: Cancelled,
    /// The permit.
    pub permit: Permit,
}

/// A peer has a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplicaSent {
    /// Whether it had it before.
    pub already_stored: bool,
    /// Whether it counts: the peer speaks 2.0.0, whose word is that the copy is durable.
    pub counted: bool,
}

/// Command: ask `peer` a question about what it holds.
#[derive(Debug, Message)]
#[rtype(result = "Result<SyncAnswer, SwarmError>")]
pub struct AskSync {
    /// Whom.
    pub peer: PeerId,
    /// What.
    pub request: SyncRequest,
    /// The permit.
    pub permit: Permit,
}

/// Command: challenge `peer` to show that it holds a blob. The answer is well-formed and nothing else: it may be
/// of another blob, or no proof at all.
#[derive(Debug, Message)]
#[rtype(result = "Result<Proof, SwarmError>")]
pub struct ChallengePeer {
    /// Whom.
    pub peer: PeerId,
    /// What is asked.
    pub challenge: Challenge,
    /// The time it has for the answer, once it is connected.
    pub patience: Duration,
    /// The permit.
    pub permit: Permit,
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
