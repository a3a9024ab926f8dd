//! The protocols between nodes of this program: a small header in CBOR, then the bytes as they are.
//!
//! Every stream is one request. A header is a 32-bit big-endian length, bounded, and that much CBOR;
//! [`header`] has those of `retrieve` and `replicate` and the questions of `proof`, [`sync`] the questions
//! and answers of `sync`. The bytes of a blob follow in pieces, see [`pieces`]: no base64, and never more
//! of a blob in memory than a window of the stream and a few pieces. A refusal has the same form in all
//! four, so that it can be said before a request is read.

pub(crate) mod header;
pub(crate) mod pieces;
pub(crate) mod proof;
mod replicate;
mod retrieve;
mod server;
pub(crate) mod sync;

use bytecave_messages::swarm::RefusalKind;
use libp2p::StreamProtocol;

pub(crate) use header::refusal;
pub(crate) use server::serve;

/// Largest blob that anybody may state: 16 TiB, far above what any node keeps, and far below where
/// sums of sizes overflow.
pub(crate) const BLOB_BYTES_MAX: u64 = 1 << 44;

/// A protocol that this node serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A blob, or its end from some byte on.
    Retrieve,
    /// A copy for this node to keep.
    Replicate,
    /// What is held here.
    Sync,
    /// That a blob is held here.
    Proof,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Retrieve, Self::Replicate, Self::Sync, Self::Proof];

    /// Its name on the wire and in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Retrieve => "/bytecave/retrieve/2.0.0",
            Self::Replicate => "/bytecave/replicate/2.0.0",
            Self::Sync => "/bytecave/sync/1.0.0",
            Self::Proof => "/bytecave/proof/1.0.0",
        }
    }

    /// Its name for libp2p.
    pub(crate) const fn protocol(self) -> StreamProtocol {
        StreamProtocol::new(self.name())
    }

    /// The protocol of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether its requests carry blobs.
    pub(crate) const fn is_upload(self) -> bool {
        matches!(self, Self::Replicate)
    }

    /// Whether a relayed connection will do: question and answer are small enough for its limits.
    pub(crate) const fn passes_relays(self) -> bool {
        matches!(self, Self::Proof)
    }
}

/// The kind and words of a refusal, as they came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    /// The kind.
    pub(crate) kind: RefusalKind,
    /// The words, cleaned and cut.
    pub(crate) text: String,
}
