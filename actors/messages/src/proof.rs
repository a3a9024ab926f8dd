//! What may be asked of `ProofActor`, which shows what this node holds and checks what others do.
//!
//! It answers challenges of clients and peers from the store, audits the other holders of this node's
//! shards, and re-reads everything here over time (the scrub). It decides nothing about copies: what an
//! audit found it tells as [`AuditFinished`].

mod audit;

use std::sync::Arc;
use std::time::Instant;

use actix::Message;
use bytecave_core::proof::{Challenge, FormError, Proof};
use bytecave_core::{BlobCid, PeerId};
use serde::Serialize;
use thiserror::Error;

use crate::budget::{Full, Permit};
use crate::store::StoreError;

pub use audit::{
    AUDITS_LIMIT, AuditCause, AuditFilter, AuditFinished, AuditPage, AuditRecord, Evidence,
    ListAudits, Outcome, PeerAudits,
};

/// Why there is no proof, or no list of audits.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProofError {
    /// The mailbox is full.
    #[error(transparent)]
    Full(#[from] Full),
    /// The actor is gone; the node is stopping.
    #[error("the prover is not running")]
    Unavailable,
    /// The store could not give the leaves.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the store gave makes no proof.
    #[error("the proof could not be made: {0}")]
    Form(#[from] FormError),
    /// More challenges than may be answered at once or in a time.
    #[error("too many challenges: try again in {} s", retry_after.as_secs().max(1))]
    Busy {
        /// When.
        retry_after: std::time::Duration,
    },
}

/// Query: a proof that this node holds a blob now.
#[derive(Debug, Message)]
#[rtype(result = "Result<Proof, ProofError>")]
pub struct MakeProof {
    /// What is to be shown.
    pub challenge: Challenge,
    /// The permit.
    pub permit: Permit,
}

/// Command: scrub everything now, from the first blob, unless a scrub that was asked for is under way.
/// Answered at once with how it is.
#[derive(Debug, Message)]
#[rtype(result = "Result<ScrubView, ProofError>")]
pub struct StartScrub {
    /// The permit.
    pub permit: Permit,
}

/// Event: a challenge about this blob is open at this peer, and until it is answered the peer is given
/// nothing of the blob. [`AuditFinished`] ends it early.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct ChallengeOpened {
    /// Who is challenged.
    pub peer: PeerId,
    /// About what.
    pub cid: BlobCid,
    /// Until when at most.
    pub until: Instant,
}

/// Event: the replicator wants to know whether this peer holds this blob now. [`AuditFinished`] says;
/// when nothing comes, it is wanted again.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct PossessionWanted {
    /// Who is to be asked.
    pub peer: PeerId,
    /// For what; this node holds it.
    pub cid: BlobCid,
}

/// Event: how proofs are, at most once a second.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct ProofChanged(pub Arc<ProofSnapshot>);

/// Proofs at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ProofSnapshot {
    /// The scrub.
    pub scrub: ScrubView,
    /// Peers that were audited and are remembered, by peer id.
    pub peers: Arc<[PeerAudits]>,
    /// Counted since the start: name without prefix and `_total`, value.
    pub counters: Vec<(&'static str, u64)>,
}

/// How far the re-reading of everything here is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ScrubView {
    /// Whether it is at work; else it waits for the next pass or is switched off.
    pub running: bool,
    /// When the present or last pass began, milliseconds since 1970; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// When the last whole pass ended; absent before that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<u64>,
    /// When the next pass begins; absent while one runs, and when scrubbing is switched off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_at: Option<u64>,
    /// Blobs read in the present or last pass.
    pub blobs: u64,
    /// Content bytes read in it.
    pub bytes: u64,
    /// Blobs found damaged in it.
    pub damaged: u64,
    /// Content bytes here in all, to compare `bytes` with.
    pub total_bytes: u64,
}
