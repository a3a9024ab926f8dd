//! Proofs of storage: a node shows that it can produce leaves of a blob which it could not foresee,
//! and anyone who knows 32 bytes, the blob's [`Commitment`](crate::Commitment), can check it.
//!
//! A [`Challenge`] asks for leaves that its nonce picks. The [`Proof`] has each leaf's bytes with
//! its path to the blob's root, and is signed by the node that answers. [`verify`] gives
//! [`Verdict::Valid`] or one [`Reason`]. A [`Receipt`] is the signed word of a node that it stored a
//! blob, and no proof of anything else.
//!
//! Nothing here knows the time, files, the network or randomness: nonces and times are given.

mod answer;
mod challenge;
mod encoding;
mod form;
mod json;
mod receipt;
mod verify;

pub use answer::{LEAF_SIZE, LeafProof, PROOF_VERSION, Proof, Statement};
pub use challenge::{Challenge, ChallengeCount, Nonce};
pub use encoding::PROOF_MAX_BYTES;
pub use form::{FormError, NODE_ID_MAX_BYTES};
pub use receipt::{RECEIPT_VERSION, Receipt, StoredBlob};
pub use verify::{Anchor, Freshness, Question, Reason, Verdict, possession, verify};

#[cfg(test)]
mod tests;
