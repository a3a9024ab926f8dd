//! What a challenge may take, and what its answer shows: pure.
//!
//! Only what is proven is blamed. A peer fails when it says itself that it lacks the blob, or when it
//! answers what no holder of the blob answers; that it cannot be reached, has too much to do or speaks
//! other protocols says nothing about what it holds. How a proof's clock stands is no matter: the nonce
//! is fresh, so an old proof cannot answer it, and a holder with a wrong clock holds the blob all the same.

use std::time::Duration;

use bytecave_core::proof::{Anchor, Challenge, ChallengeCount, Proof, Question, Verdict, verify};
use bytecave_core::{BlobRoot, PeerId};
use bytecave_messages::proof::{Evidence, Outcome};
use bytecave_messages::swarm::{RefusalKind, SwarmError};

/// Blobs of at most this size are read whole for an answer.
const SMALL_BLOB_BYTES: u64 = 4 << 20;
/// What is read for each leaf of a larger blob: a chunk, and a page of hashes.
const LEAF_READ_BYTES: u64 = (256 + 128) << 10;
/// What every holder is supposed to read in a second.
const READ_BYTES_PER_SECOND: u64 = 10 << 20;
/// How many times as long it may take.
const READ_TIMES: u64 = 5;
/// Longest reason that is kept, in characters: peers write in it.
const REASON_MAX_CHARS: usize = 200;

/// The time that an answer may take once the peer is connected: `at_least`, and five times what the bytes
/// it has to read need at 10 MiB/s.
pub(crate) fn patience(at_least: Duration, size: u64, count: ChallengeCount) -> Duration {
    let bytes = if size <= SMALL_BLOB_BYTES {
        size
    } else {
        u64::from(count.get()) * LEAF_READ_BYTES
    };
    let micros = bytes * READ_TIMES * 1_000_000 / READ_BYTES_PER_SECOND;
    at_least + Duration::from_micros(micros)
}

/// What was asked of whom, and what is known here of the blob.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) peer: PeerId,
    pub(crate) challenge: Challenge,
    pub(crate) size: u64,
    pub(crate) blob_root: BlobRoot,
    /// Whether the peer never said that it lacks nothing of the shard since the blob came here: then it may never have
    /// had it.
    pub(crate) new: bool,
}

/// What an answer shows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Finding {
    /// The peer was connected and let its time pass.
    Silent,
    /// What was found, and why.
    Found {
        outcome: Outcome,
        /// `None` only of what was passed.
        reason: Option<String>,
        evidence: Option<Box<Evidence>>,
    },
}

impl Finding {
    fn of(outcome: Outcome, reason: &str) -> Self {
        let clean = reason.chars().filter(|c| !c.is_control());
        Self::Found {
            outcome,
            reason: Some(clean.take(REASON_MAX_CHARS).collect()),
            evidence: None,
        }
    }

    /// Nothing was learnt, for this reason.
    pub(crate) fn unknown(reason: &str) -> Self {
        Self::of(Outcome::Unknown, reason)
    }

    /// Whether the peer proved that it holds the blob.
    pub(crate) fn is_passed(&self) -> bool {
        let passed = Outcome::Passed;
        matches!(self, Self::Found { outcome, .. } if *outcome == passed)
    }
}

/// What this answer shows of the peer.
pub(crate) fn judge(asked: &Asked, answer: Result<Proof, SwarmError>) -> Finding {
    let error = match answer {
        Ok(proof) => return check(asked, proof),
        Err(error) => error,
    };
    let outcome = match &error {
        SwarmError::TimedOut { .. } => return Finding::Silent,
        SwarmError::Unreachable { .. } => Outcome::Offline,
        SwarmError::Unsupported { .. } => Outcome::Unsupported,
        SwarmError::NotFound { .. } => return lacking(asked, &error),
        SwarmError::BadAnswer { .. } => Outcome::Failed,
        SwarmError::Refused { kind, .. } => match kind {
            RefusalKind::NotFound => return lacking(asked, &error),
            RefusalKind::Damaged => Outcome::Failed,
            RefusalKind::Declined | RefusalKind::Blocked => Outcome::Declined,
            RefusalKind::Invalid
            | RefusalKind::NotAdmitted
            | RefusalKind::NotOurShard
            | RefusalKind::Mismatch
            | RefusalKind::TooLarge
            | RefusalKind::Full
            | RefusalKind::Busy
            | RefusalKind::Unavailable => Outcome::Unknown,
        },
        SwarmError::Full(_)
        | SwarmError::Unavailable
        | SwarmError::Busy { .. }
        | SwarmError::Body(_) => Outcome::Unknown,
    };
    Finding::of(outcome, &error.to_string())
}

/// The peer says that it does not have the blob: its own word against it, unless the blob may still be on
/// its way there.
fn lacking(asked: &Asked, error: &SwarmError) -> Finding {
    if asked.new {
        return Finding::unknown(&format!("{error}, and may not have been sent it yet"));
    }
    Finding::of(Outcome::Failed, &error.to_string())
}

fn check(asked: &Asked, proof: Proof) -> Finding {
    let anchor = Anchor::Root {
        blob_root: asked.blob_root,
        size: asked.size,
    };
    let question = Question {
        peer_id: Some(asked.peer),
        ..Question::of(&asked.challenge, anchor)
    };
    match verify(&proof, &question) {
        Verdict::Valid => Finding::Found {
            outcome: Outcome::Passed,
            reason: None,
            evidence: None,
        },
        Verdict::Broken(reason) => Finding::Found {
            outcome: Outcome::Failed,
            reason: Some(reason.code().to_owned()),
            evidence: Some(Box::new(Evidence {
                nonce: asked.challenge.nonce,
                count: asked.challenge.count.get(),
                proof,
            })),
        },
    }
}

#[cfg(test)]
mod tests;
