//! What peers and relays ask of this node, and what they are answered.

use std::fmt;
use std::sync::Arc;

use actix::Message;
use bytecave_core::proof::{Challenge, Proof};
use bytecave_core::{BlobCid, BlobRoot, PeerId, StoreAuthorization};
use bytes::Bytes;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::body::{BlobBody, BodySender, stream};
use crate::budget::Permit;
use crate::store::ByteRange;
use crate::sync::{SyncAnswer, SyncRequest};

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
    /// The blob was deleted here.
    #[error("Blob not found: declined, it was deleted from this node")]
    Declined,
    /// The operator blocked the blob.
    #[error("Blob not found: blocked on this node")]
    Blocked,
    /// This node cannot at the moment.
    #[error("unavailable: {0}")]
    Unavailable(&'static str),
}

/// What kind of refusal it is: what another node of ours can act on. The numbers travel and are not
/// safe to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RefusalKind {
    /// The blob is not there.
    NotFound = 1,
    /// The request makes no sense.
    Invalid = 2,
    /// The sender may not send replicas.
    NotAdmitted = 3,
    /// The shard is kept by others.
    NotOurShard = 4,
    /// The bytes are not those of the stated CID, size or root.
    Mismatch = 5,
    /// Too large.
    TooLarge = 6,
    /// No room on its disk, or none for this sender.
    Full = 7,
    /// Too much to do at the moment.
    Busy = 8,
    /// The blob is damaged there.
    Damaged = 9,
    /// The blob was deleted there.
    Declined = 10,
    /// The blob is blocked there.
    Blocked = 11,
    /// It cannot at the moment, or says what this version does not know.
    Unavailable = 12,
}

impl RefusalKind {
    /// The kind of this number; one that is not known is `Unavailable`.
    pub fn from_number(number: u8) -> Self {
        match number {
            1 => Self::NotFound,
            2 => Self::Invalid,
            3 => Self::NotAdmitted,
            4 => Self::NotOurShard,
            5 => Self::Mismatch,
            6 => Self::TooLarge,
            7 => Self::Full,
            8 => Self::Busy,
            9 => Self::Damaged,
            10 => Self::Declined,
            11 => Self::Blocked,
            _ => Self::Unavailable,
        }
    }
}

impl Refusal {
    /// Its kind.
    pub fn kind(&self) -> RefusalKind {
        match self {
            Self::NotFound => RefusalKind::NotFound,
            Self::Invalid(_) => RefusalKind::Invalid,
            Self::NotAdmitted(_) | Self::NotAuthorized(_) => RefusalKind::NotAdmitted,
            Self::NotOurShard(_) => RefusalKind::NotOurShard,
            Self::Mismatch { .. } => RefusalKind::Mismatch,
            Self::TooLarge { .. } => RefusalKind::TooLarge,
            Self::Full => RefusalKind::Full,
            Self::Busy => RefusalKind::Busy,
            Self::Damaged => RefusalKind::Damaged,
            Self::Declined => RefusalKind::Declined,
            Self::Blocked => RefusalKind::Blocked,
            Self::Unavailable(_) => RefusalKind::Unavailable,
        }
    }
}

/// Event: someone wants a blob. Answered from the local store only, never from the network.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct InboundRetrieve {
    /// Who asks.
    pub from: Origin,
    /// For what.
    pub cid: BlobCid,
    /// Part of it; all when `None`.
    pub range: Option<ByteRange>,
    /// Where the blob goes.
    pub answer: Answer<Result<ServedBlob, Refusal>>,
    /// The permit.
    pub permit: Permit,
}

/// A blob on its way to a peer.
#[derive(Debug)]
pub struct ServedBlob {
    /// The size of the whole in bytes; nothing was read from `body` yet, so that the swarm can decline
    /// first.
    pub size: u64,
    /// Root of its tree.
    pub blob_root: BlobRoot,
    /// Its media type.
    pub content_type: Option<String>,
    /// First byte of the part.
    pub offset: u64,
    /// Length of the part in bytes.
    pub len: u64,
    /// The bytes of the part.
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
    /// What is stated of it; not yet compared with the bytes.
    pub blob: StatedBlob,
    /// The bytes.
    pub body: ReplicaBody,
    /// Where the outcome goes.
    pub answer: Answer<Result<Kept, Refusal>>,
    /// The permit.
    pub permit: Permit,
}

/// What a peer states of the blob that it sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatedBlob {
    /// Its name.
    pub cid: BlobCid,
    /// Its size in bytes.
    pub size: u64,
    /// Root of its tree; the 1.0.0 protocol has none.
    pub blob_root: Option<BlobRoot>,
    /// Its media type.
    pub content_type: Option<String>,
}

/// The bytes of a replica.
#[derive(Debug)]
pub enum ReplicaBody {
    /// They are here.
    Here(Bytes),
    /// They come when they are wanted.
    Offered(Offer),
}

/// A replica that is sent only when it is wanted. Dropped, it is not.
#[derive(Debug)]
pub struct Offer {
    wanted: oneshot::Sender<BodySender>,
    size: u64,
}

impl Offer {
    /// An offer of so many bytes, and where is heard that it is wanted: there, as many bytes are to be
    /// sent as were offered.
    pub fn new(size: u64) -> (Self, oneshot::Receiver<BodySender>) {
        let (wanted, heard) = oneshot::channel();
        (Self { wanted, size }, heard)
    }

    /// The bytes, please. A peer that is gone leaves a stream that ends in an error.
    pub fn accept(self) -> BlobBody {
        let (sender, body) = stream(Some(self.size));
        // Given back when nobody hears it, and so dropped.
        let _ = self.wanted.send(sender);
        BlobBody::Stream(body)
    }
}

/// Event: another holder compares what it has with what is here.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct InboundSync {
    /// Who asks.
    pub from: PeerId,
    /// What.
    pub request: SyncRequest,
    /// Where the answer goes.
    pub answer: Answer<Result<SyncAnswer, Refusal>>,
    /// The permit.
    pub permit: Permit,
}

/// Event: a peer wants proof that a blob is here.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct InboundChallenge {
    /// Who asks.
    pub from: PeerId,
    /// What is asked.
    pub challenge: Challenge,
    /// Where the proof goes.
    pub answer: Answer<Result<Proof, Refusal>>,
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
