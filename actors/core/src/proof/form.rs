//! Why something has not the form of a challenge, a proof or a receipt.

use thiserror::Error;

use super::challenge::COUNT_MAX;
use crate::tree::{LEAF_BYTES, PATH_MAX};

/// Longest name of a node in a proof or receipt, in bytes. The setting `node.id` allows less.
pub const NODE_ID_MAX_BYTES: usize = 128;

/// Why something has not the form of a challenge, a proof or a receipt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormError {
    /// A challenge for no leaf or for too many.
    #[error("a challenge cannot ask for {0} leaves: expected 1 to {COUNT_MAX}")]
    Count(u64),
    /// Not 64 hex digits.
    #[error("\"{0}\" is not a nonce: expected 64 hex digits")]
    Nonce(String),
    /// A leaf that the blob does not have.
    #[error("leaf {0} is outside of the content")]
    NoSuchLeaf(u64),
    /// Too many leaves.
    #[error("{0} leaves are too many for a proof: expected at most {COUNT_MAX}")]
    Leaves(u64),
    /// Too many bytes in a leaf.
    #[error("leaf data of {0} bytes is too long: expected at most {LEAF_BYTES}")]
    Data(u64),
    /// Too many hashes in a path.
    #[error("a path of {0} hashes is too long: expected at most {PATH_MAX}")]
    Path(u64),
    /// The node's name is too long.
    #[error("a node id of {0} bytes is too long: expected at most {NODE_ID_MAX_BYTES}")]
    NodeId(u64),
    /// A field of the binary form is not as long as it has to be.
    #[error("field {field} has {len} bytes: expected {expected}")]
    Field {
        /// Which.
        field: &'static str,
        /// Its length.
        len: u64,
        /// What it should be.
        expected: &'static str,
    },
    /// A field of the binary form does not hold what its name says.
    #[error("field {0} is malformed")]
    Value(&'static str),
    /// The binary form does not begin as it has to.
    #[error("this is not the binary form of a proof: it does not begin with bytecave-proof-v1")]
    Tag,
    /// The binary form ends too early.
    #[error("the binary form ends inside of field {0}")]
    Short(&'static str),
    /// Something follows the binary form.
    #[error("{0} bytes follow the proof")]
    Behind(u64),
    /// The binary form is longer than any proof.
    #[error("{0} bytes are too many for a proof: expected at most {max}", max = super::PROOF_MAX_BYTES)]
    Size(u64),
}
