//! Receipts: a node signs that it stored a blob, for the client that brought it to keep.
//!
//! A receipt shows what the node said at that time, and nothing of what it holds later.

use serde::{Deserialize, Serialize};

use super::encoding::Writer;
use super::form::{FormError, NODE_ID_MAX_BYTES};
use super::json;
use super::verify::{Reason, Verdict};
use crate::{BlobCid, Commitment, NodeIdentity, PeerId, PublicKey};

/// The version of receipts made here, and the only one accepted.
pub const RECEIPT_VERSION: u32 = 1;
const TAG: &[u8] = b"bytecave-receipt-v1";

/// What a receipt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBlob {
    /// The blob.
    pub cid: BlobCid,
    /// Its size in bytes.
    pub size: u64,
    /// Against which proofs of it are checked.
    pub commitment: Commitment,
    /// When it was durable, by the node's clock, milliseconds since 1970.
    pub stored_at_ms: u64,
}

/// A node's signed word that it stored a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Receipt {
    /// Version of the form: 1.
    pub version: u32,
    /// The blob.
    pub cid: BlobCid,
    /// Its size in bytes.
    pub size: u64,
    /// Against which proofs of it are checked.
    #[serde(deserialize_with = "json::commitment")]
    #[serde(serialize_with = "json::as_text")]
    pub commitment: Commitment,
    /// When it was durable, by the node's clock, milliseconds since 1970.
    #[serde(rename = "storedAt")]
    pub stored_at_ms: u64,
    /// What the node calls itself; its own choice.
    #[serde(deserialize_with = "json::node_id")]
    pub node_id: String,
    /// The node's peer id, which contains its public key.
    pub peer_id: PeerId,
    /// The node's public key.
    pub public_key: PublicKey,
    /// Ed25519 (RFC 8032) over [`signed_bytes`](Self::signed_bytes). Hex in JSON.
    #[serde(with = "json::hex_bytes")]
    pub signature: [u8; 64],
}

impl Receipt {
    /// Signs that `stored` is stored on the node with this identity, which calls itself `node_id`.
    pub fn sign(
        identity: &NodeIdentity,
        node_id: &str,
        stored: StoredBlob,
    ) -> Result<Self, FormError> {
        if node_id.len() > NODE_ID_MAX_BYTES {
            return Err(FormError::NodeId(node_id.len() as u64));
        }
        let mut receipt = Self {
            version: RECEIPT_VERSION,
            cid: stored.cid,
            size: stored.size,
            commitment: stored.commitment,
            stored_at_ms: stored.stored_at_ms,
            node_id: node_id.to_owned(),
            peer_id: identity.peer_id(),
            public_key: identity.public_key(),
            signature: [0; 64],
        };
        receipt.signature = identity.sign(&receipt.signed_bytes());
        Ok(receipt)
    }

    /// What the signature is over: `bytecave-receipt-v1`, then all other fields in their order,
    /// each after its length, encoded as those of a proof are.
    pub fn signed_bytes(&self) -> Vec<u8> {
        let mut writer = Writer::new(TAG);
        writer.field(&self.version.to_be_bytes());
        writer.field(&self.cid.to_bytes());
        writer.field(&self.size.to_be_bytes());
        writer.field(self.commitment.as_bytes());
        writer.field(&self.stored_at_ms.to_be_bytes());
        writer.field(self.node_id.as_bytes());
        writer.field(&self.peer_id.to_bytes());
        writer.field(self.public_key.as_bytes());
        writer.finish()
    }

    /// Whether the node with this peer id signed this receipt: version, signature, and that the
    /// peer id belongs to the key, in this order.
    pub fn verify(&self) -> Verdict {
        if self.version != RECEIPT_VERSION {
            return Verdict::Broken(Reason::WrongVersion);
        }
        if !self
            .public_key
            .verifies(&self.signed_bytes(), &self.signature)
        {
            return Verdict::Broken(Reason::BadSignature);
        }
        if self.peer_id != self.public_key.peer_id() {
            return Verdict::Broken(Reason::IdentityMismatch);
        }
        Verdict::Valid
    }
}
