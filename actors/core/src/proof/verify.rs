//! Whether a proof holds: one verdict, with the first of these checks that fails as its reason.
//!
//! 1. Is there anything to compare with? Else nothing can be said: *unanchored*.
//! 2. Is it of a version known here? Others are signed over something else.
//! 3. Does the signature hold over all other fields? So a field that was altered on the way is not
//!    blamed on the signer, and everything found from here on is the signer's own word.
//! 4. Does the peer id belong to the key, and is it the peer that was asked?
//! 5. Leaf size, CID, commitment (or root and size), nonce, number of leaves; then for all leaves
//!    the index, for all leaves the length, for all leaves the path.
//! 6. Is it recent?
//!
//! Possession rests on the checks under 5 from the CID on, and on them alone.

use serde::{Serialize, Serializer};
use thiserror::Error;

use super::answer::{LEAF_SIZE, PROOF_VERSION, Proof};
use super::challenge::{Challenge, ChallengeCount, Nonce};
use crate::tree::{leaf_count, leaf_hash, leaf_len, root_from_path};
use crate::{BlobCid, BlobRoot, Commitment, PeerId};

/// What the verifier knows of the blob's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Anchor {
    /// Nothing: no proof is valid.
    #[default]
    Nothing,
    /// The 32 bytes that bind size and root.
    Commitment(Commitment),
    /// Root and size themselves.
    Root {
        /// Root of the blob tree.
        blob_root: BlobRoot,
        /// Size of the blob in bytes.
        size: u64,
    },
}

/// How old a proof may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// The verifier's time, milliseconds since 1970.
    pub now_ms: u64,
    /// How far the proof's time may be from it, in either direction, in milliseconds.
    pub max_age_ms: u64,
}

/// What is asked about a proof. Whatever is `None` is not checked, and each weakens what a valid
/// proof shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Question {
    /// What the leaves are compared with.
    pub anchor: Anchor,
    /// The nonce that was sent. Without it the prover chose its own leaves, at its own time.
    pub nonce: Option<Nonce>,
    /// The blob that was asked for. Without it the prover can try CIDs until the leaves asked for
    /// are ones that it has: the leaves follow from the nonce and the CID.
    pub cid: Option<BlobCid>,
    /// How many leaves were asked for.
    pub count: ChallengeCount,
    /// The peer that was asked.
    pub peer_id: Option<PeerId>,
    /// How old it may be.
    pub freshness: Option<Freshness>,
}

impl Question {
    /// Whether a proof answers this challenge about what `anchor` names. Who answered, and when,
    /// is left open.
    pub fn of(challenge: &Challenge, anchor: Anchor) -> Self {
        Self {
            anchor,
            nonce: Some(challenge.nonce),
            cid: Some(challenge.cid),
            count: challenge.count,
            peer_id: None,
            freshness: None,
        }
    }
}

/// Why a proof does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Error)]
pub enum Reason {
    /// There is no commitment, nor root and size.
    #[error("there is nothing to compare the proof with: give the commitment, or root and size")]
    Unanchored,
    /// Another version.
    #[error("the proof's version is not {PROOF_VERSION}")]
    WrongVersion,
    /// The signature does not hold over the other fields.
    #[error("the signature does not hold: the proof was altered, or signed with another key")]
    BadSignature,
    /// The peer id does not belong to the public key.
    #[error("the peer id does not follow from the public key")]
    IdentityMismatch,
    /// Another peer than the one that was asked.
    #[error("the proof was made by another peer than the one that was asked")]
    WrongPeer,
    /// The stated leaf size is not 1024, or a leaf is shorter than it has to be.
    #[error(
        "the leaf size is not {LEAF_SIZE}, or a leaf has fewer bytes than that leaf of the blob"
    )]
    WrongLeafSize,
    /// Another blob.
    #[error("the proof is of another blob than the one that was asked for")]
    WrongCid,
    /// Size and root are not those that the verifier knows.
    #[error("size and root of the proof are not those of the commitment")]
    CommitmentMismatch,
    /// Another nonce.
    #[error("the proof answers another nonce")]
    WrongNonce,
    /// More or fewer leaves than asked for.
    #[error("the proof has another number of leaves than was asked for")]
    WrongCount,
    /// Other leaves than the challenge asks for, or in another order.
    #[error("the proof has other leaves than the challenge asks for")]
    WrongLeafIndex,
    /// A leaf has more bytes than it can.
    #[error("a leaf has more bytes than that leaf of the blob")]
    LeafTooLong,
    /// A path does not lead to the root.
    #[error("the path of a leaf does not reach the root")]
    PathDoesNotReachRoot,
    /// Its time is too far from now.
    #[error("the time of the proof is too far from now")]
    Stale,
}

impl Reason {
    /// The word for programs; it never changes.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unanchored => "unanchored",
            Self::WrongVersion => "wrongVersion",
            Self::BadSignature => "badSignature",
            Self::IdentityMismatch => "identityMismatch",
            Self::WrongPeer => "wrongPeer",
            Self::WrongLeafSize => "wrongLeafSize",
            Self::WrongCid => "wrongCid",
            Self::CommitmentMismatch => "commitmentMismatch",
            Self::WrongNonce => "wrongNonce",
            Self::WrongCount => "wrongCount",
            Self::WrongLeafIndex => "wrongLeafIndex",
            Self::LeafTooLong => "leafTooLong",
            Self::PathDoesNotReachRoot => "pathDoesNotReachRoot",
            Self::Stale => "stale",
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}

/// What verification says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Verdict {
    /// It holds.
    Valid,
    /// It does not hold.
    Broken(Reason),
}

impl Verdict {
    /// Whether it holds.
    pub const fn is_valid(self) -> bool {
        matches!(self, Self::Valid)
    }

    /// Why it does not hold.
    pub const fn reason(self) -> Option<Reason> {
        match self {
            Self::Valid => None,
            Self::Broken(reason) => Some(reason),
        }
    }

    /// `valid` or the reason's word.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Broken(reason) => reason.code(),
        }
    }
}

impl From<Result<(), Reason>> for Verdict {
    fn from(checked: Result<(), Reason>) -> Self {
        checked.map_or_else(Self::Broken, |()| Self::Valid)
    }
}

/// Whether `proof` holds, by every check of `question`.
pub fn verify(proof: &Proof, question: &Question) -> Verdict {
    check(proof, question).into()
}

/// Whether the leaves of `proof` are those asked for and belong to the blob, whoever signed it: what
/// a contract checks. A valid proof passes, and so may one with a bad signature.
pub fn possession(proof: &Proof, question: &Question) -> Verdict {
    check_possession(proof, question).into()
}

fn check(proof: &Proof, question: &Question) -> Result<(), Reason> {
    ensure(question.anchor != Anchor::Nothing, Reason::Unanchored)?;
    ensure(proof.version == PROOF_VERSION, Reason::WrongVersion)?;
    let signed = proof.signed_bytes();
    let signature_holds = proof.public_key.verifies(&signed, &proof.signature);
    ensure(signature_holds, Reason::BadSignature)?;
    let same_key = proof.peer_id == proof.public_key.peer_id();
    ensure(same_key, Reason::IdentityMismatch)?;
    if let Some(asked) = question.peer_id {
        ensure(proof.peer_id == asked, Reason::WrongPeer)?;
    }
    ensure(proof.leaf_size == LEAF_SIZE, Reason::WrongLeafSize)?;
    check_possession(proof, question)?;
    if let Some(Freshness { now_ms, max_age_ms }) = question.freshness {
        let apart = now_ms.abs_diff(proof.timestamp_ms);
        ensure(apart <= max_age_ms, Reason::Stale)?;
    }
    Ok(())
}

fn check_possession(proof: &Proof, question: &Question) -> Result<(), Reason> {
    if let Some(asked) = question.cid {
        ensure(proof.cid == asked, Reason::WrongCid)?;
    }
    let anchored = match question.anchor {
        Anchor::Nothing => return Err(Reason::Unanchored),
        Anchor::Commitment(known) => Commitment::of(proof.size, &proof.blob_root) == known,
        Anchor::Root { blob_root, size } => proof.blob_root == blob_root && proof.size == size,
    };
    ensure(anchored, Reason::CommitmentMismatch)?;
    if let Some(sent) = question.nonce {
        ensure(proof.nonce == sent, Reason::WrongNonce)?;
    }
    let count = usize::from(question.count.get());
    ensure(proof.leaves.len() == count, Reason::WrongCount)?;

    let challenge = Challenge {
        cid: proof.cid,
        nonce: proof.nonce,
        count: question.count,
    };
    let wanted = challenge.leaf_indexes(proof.size);
    let found = proof.leaves.iter().map(|leaf| leaf.index);
    ensure(found.eq(wanted), Reason::WrongLeafIndex)?;
    for leaf in &proof.leaves {
        let len = leaf_len(proof.size, leaf.index).ok_or(Reason::WrongLeafIndex)?;
        ensure(leaf.data.len() <= len, Reason::LeafTooLong)?;
        ensure(leaf.data.len() == len, Reason::WrongLeafSize)?;
    }
    let leaf_count = leaf_count(proof.size);
    for leaf in &proof.leaves {
        let hash = leaf_hash(&leaf.data);
        let reached = root_from_path(hash, leaf.index, leaf_count, &leaf.path);
        let root = proof.blob_root.as_bytes();
        ensure(reached.as_ref() == Ok(root), Reason::PathDoesNotReachRoot)?;
    }
    Ok(())
}

fn ensure(holds: bool, otherwise: Reason) -> Result<(), Reason> {
    if holds { Ok(()) } else { Err(otherwise) }
}
