//! The answer to a challenge.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::challenge::{COUNT_MAX, Challenge, Nonce};
use super::encoding;
use super::form::{FormError, NODE_ID_MAX_BYTES};
use super::json;
use crate::tree::{self, Hash, LEAF_BYTES, PATH_MAX};
use crate::{BlobCid, BlobRoot, NodeIdentity, PeerId, PublicKey};

/// The version of proofs made here, and the only one accepted.
pub const PROOF_VERSION: u32 = 1;
/// What a proof states as `leafSize`.
#[expect(clippy::cast_possible_truncation, reason = "it is 1024")]
pub const LEAF_SIZE: u32 = LEAF_BYTES as u32;

/// One leaf with its path to the blob's root.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeafProof {
    /// Which leaf of the blob, from 0.
    pub index: u64,
    /// The leaf's bytes: plaintext content, at most 1024. Base64 in JSON.
    #[serde(with = "json::leaf_data")]
    pub data: Vec<u8>,
    /// Siblings from the leaf upwards, at most 54. Hex in JSON.
    #[serde(with = "json::path")]
    pub path: Vec<Hash>,
}

impl fmt::Debug for LeafProof {
    /// Lengths only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeafProof")
            .field("index", &self.index)
            .field("data_bytes", &self.data.len())
            .field("path_len", &self.path.len())
            .finish()
    }
}

/// What a proof states before a node puts its name to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The blob.
    pub cid: BlobCid,
    /// Its size in bytes.
    pub size: u64,
    /// Root of its tree.
    pub blob_root: BlobRoot,
    /// The challenge's nonce.
    pub nonce: Nonce,
    /// The leaves asked for, in the order of the challenge, repeats included.
    pub leaves: Vec<LeafProof>,
}

impl Statement {
    /// Answers `challenge` from the whole content of the blob, which is hashed once.
    pub fn from_content(challenge: &Challenge, content: &[u8]) -> Result<Self, FormError> {
        let size = content.len() as u64;
        let indexes = challenge.leaf_indexes(size);
        // No blob has none of its own leaves; the error stands for what cannot come.
        let outside = || FormError::NoSuchLeaf(size);
        let (blob_root, paths) = tree::leaf_paths(content, &indexes).ok_or_else(outside)?;
        let leaves = indexes.into_iter().zip(paths).map(|(index, path)| {
            let data = tree::leaf_bytes(content, index)
                .ok_or(FormError::NoSuchLeaf(index))?
                .to_vec();
            Ok(LeafProof { index, data, path })
        });
        Ok(Self {
            cid: challenge.cid,
            size,
            blob_root,
            nonce: challenge.nonce,
            leaves: leaves.collect::<Result<_, FormError>>()?,
        })
    }
}

/// A signed answer to a challenge. Nothing of it is checked before [`verify`](super::verify), save
/// that it is within the bounds of its form.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Proof {
    /// Version of the form: 1.
    pub version: u32,
    /// The blob.
    pub cid: BlobCid,
    /// Its size in bytes.
    pub size: u64,
    /// Bytes in a leaf: 1024.
    pub leaf_size: u32,
    /// Root of its tree.
    #[serde(deserialize_with = "json::blob_root")]
    #[serde(serialize_with = "json::as_text")]
    pub blob_root: BlobRoot,
    /// The challenge's nonce.
    pub nonce: Nonce,
    /// The leaves, in the order of the challenge.
    #[serde(deserialize_with = "json::leaves")]
    pub leaves: Vec<LeafProof>,
    /// What the node calls itself; its own choice.
    #[serde(deserialize_with = "json::node_id")]
    pub node_id: String,
    /// The node's peer id, which contains its public key.
    pub peer_id: PeerId,
    /// The node's public key.
    pub public_key: PublicKey,
    /// When it was signed by the node's clock, milliseconds since 1970.
    #[serde(rename = "timestamp")]
    pub timestamp_ms: u64,
    /// Ed25519 (RFC 8032) over [`signed_bytes`](Self::signed_bytes). Hex in JSON.
    #[serde(with = "json::hex_bytes")]
    pub signature: [u8; 64],
}

impl Proof {
    /// Signs `statement` as the node with this identity, which calls itself `node_id`, at
    /// `timestamp_ms` by its clock. Refused is only what no verifier would read.
    pub fn sign(
        identity: &NodeIdentity,
        node_id: &str,
        timestamp_ms: u64,
        statement: Statement,
    ) -> Result<Self, FormError> {
        let mut proof = Self {
            version: PROOF_VERSION,
            cid: statement.cid,
            size: statement.size,
            leaf_size: LEAF_SIZE,
            blob_root: statement.blob_root,
            nonce: statement.nonce,
            leaves: statement.leaves,
            node_id: node_id.to_owned(),
            peer_id: identity.peer_id(),
            public_key: identity.public_key(),
            timestamp_ms,
            signature: [0; 64],
        };
        proof.check_form()?;
        proof.signature = identity.sign(&proof.signed_bytes());
        Ok(proof)
    }

    /// What the signature is over: all other fields, each with its length before it.
    ///
    /// The result begins with `bytecave-proof-v1`, so that no signature made for anything else is
    /// one of a proof.
    pub fn signed_bytes(&self) -> Vec<u8> {
        encoding::signed_bytes(self)
    }

    /// The binary form: [`signed_bytes`](Self::signed_bytes) and the signature, at most
    /// [`PROOF_MAX_BYTES`](super::PROOF_MAX_BYTES).
    pub fn to_bytes(&self) -> Vec<u8> {
        encoding::to_bytes(self)
    }

    /// Reads the binary form. Nothing may follow it, and each proof has only one.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, FormError> {
        encoding::from_bytes(bytes)
    }

    /// Whether every list and text is within its bound, as after decoding.
    fn check_form(&self) -> Result<(), FormError> {
        if self.leaves.len() > COUNT_MAX.into() {
            return Err(FormError::Leaves(self.leaves.len() as u64));
        }
        if self.node_id.len() > NODE_ID_MAX_BYTES {
            return Err(FormError::NodeId(self.node_id.len() as u64));
        }
        for leaf in &self.leaves {
            if leaf.data.len() > LEAF_BYTES {
                return Err(FormError::Data(leaf.data.len() as u64));
            }
            if leaf.path.len() > PATH_MAX {
                return Err(FormError::Path(leaf.path.len() as u64));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Proof {
    /// Without content.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proof")
            .field("cid", &self.cid)
            .field("size", &self.size)
            .field("blob_root", &self.blob_root)
            .field("nonce", &self.nonce)
            .field("leaves", &self.leaves)
            .field("node_id", &self.node_id)
            .field("peer_id", &self.peer_id)
            .field("timestamp_ms", &self.timestamp_ms)
            .finish_non_exhaustive()
    }
}
