//! Audits: what was asked of whom, and what came of it.

use std::sync::Arc;

use actix::Message;
use bytecave_core::proof::{Nonce, Proof};
use bytecave_core::{BlobCid, PeerId};
use serde::{Deserialize, Serialize};

use super::ProofError;
use crate::budget::Permit;

/// Most audits of one page.
pub const AUDITS_LIMIT: usize = 1000;

/// What an audit found. Only `Failed` blames the peer: it is what was proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// The peer proved that it holds the blob.
    Passed,
    /// The peer says that it lacks the blob, its proof is wrong, or it gave none in several turns.
    Failed,
    /// The peer was connected and gave no answer in its time: it is asked for the same blob again.
    Contained,
    /// The peer could not be reached.
    Offline,
    /// The peer says that its operator deleted or blocked the blob: it does not hold it, and may.
    Declined,
    /// The peer speaks no protocol to ask it by: its copy is not counted.
    Unsupported,
    /// Anything else; blames nobody.
    Unknown,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 7] = [
        Self::Passed,
        Self::Failed,
        Self::Contained,
        Self::Offline,
        Self::Declined,
        Self::Unsupported,
        Self::Unknown,
    ];

    /// The word for programs and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Contained => "contained",
            Self::Offline => "offline",
            Self::Declined => "declined",
            Self::Unsupported => "unsupported",
            Self::Unknown => "unknown",
        }
    }
}

/// Why a peer was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AuditCause {
    /// By lot.
    Random,
    /// Because it gave no answer before.
    Contained,
    /// Because the replicator wanted to know.
    Wanted,
}

/// One audit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AuditRecord {
    /// Its number on this node, ascending.
    pub sequence: u64,
    /// When it ended, milliseconds since 1970.
    #[serde(rename = "at")]
    pub at_ms: u64,
    /// Who was asked.
    pub peer_id: PeerId,
    /// For which blob.
    pub cid: BlobCid,
    /// Its size in bytes.
    pub size: u64,
    /// Why.
    pub cause: AuditCause,
    /// What was found.
    pub outcome: Outcome,
    /// Why, when it was not passed: the word of the broken check, or what the peer or the network said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Milliseconds from the question to the answer.
    #[serde(rename = "took")]
    pub took_ms: u64,
    /// What was asked and answered, of a proof that did not hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Box<Evidence>>,
}

/// What anyone can check again, who knows the blob's commitment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Evidence {
    /// The nonce that was sent.
    pub nonce: Nonce,
    /// How many leaves were asked for.
    pub count: u8,
    /// The signed answer.
    pub proof: Proof,
}

/// Event: an audit ended.
#[derive(Debug, Clone, Message)]
#[rtype(result = "()")]
pub struct AuditFinished(pub Arc<AuditRecord>);

/// How a peer did in this node's audits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PeerAudits {
    /// Who.
    pub peer_id: PeerId,
    /// Audits that it passed.
    pub passed: u64,
    /// Audits that it failed.
    pub failed: u64,
    /// Audits without a verdict.
    pub other: u64,
    /// When it was last audited, milliseconds since 1970.
    pub last_at: u64,
    /// What was found then.
    pub last_outcome: Outcome,
}

/// Query: the latest audits, the newest first.
#[derive(Debug, Message)]
#[rtype(result = "Result<AuditPage, ProofError>")]
pub struct ListAudits {
    /// Which.
    pub filter: AuditFilter,
    /// Only those before this number; the newest when `None`.
    pub before: Option<u64>,
    /// At most this many, at most [`AUDITS_LIMIT`].
    pub limit: usize,
    /// The permit.
    pub permit: Permit,
}

/// Which audits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Only of this peer.
    pub peer: Option<PeerId>,
    /// Only of this blob.
    pub cid: Option<BlobCid>,
    /// Only with this outcome.
    pub outcome: Option<Outcome>,
}

/// A page of audits.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditPage {
    /// The newest first.
    pub audits: Vec<Arc<AuditRecord>>,
    /// The `before` of the next page; `None` after the oldest that is kept.
    pub next: Option<u64>,
}
