//! The shape of the file.

use bytecave_core::proof::{Anchor, ChallengeCount, Freshness, Nonce, Proof, Question, Receipt};
use bytecave_core::{BlobCid, BlobRoot, Commitment, PeerId};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct VectorFile {
    /// What the fields mean.
    pub(crate) about: Vec<String>,
    pub(crate) trees: Vec<TreeVector>,
    pub(crate) proofs: Vec<ProofVector>,
    pub(crate) malformed_json: Vec<Malformed>,
    pub(crate) malformed_binary: Vec<Malformed>,
    pub(crate) receipts: Vec<ReceiptVector>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct TreeVector {
    pub(crate) size: u64,
    pub(crate) seed: u64,
    pub(crate) cid: String,
    pub(crate) leaf_count: u64,
    pub(crate) blob_root: String,
    pub(crate) commitment: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ProofVector {
    pub(crate) name: String,
    pub(crate) question: AskedQuestion,
    pub(crate) proof: Proof,
    pub(crate) expected: String,
    pub(crate) possession: bool,
    pub(crate) signed_bytes_sha256: String,
    /// Given where it is short.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) binary: Option<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Malformed {
    pub(crate) name: String,
    /// JSON, or the binary form in hex.
    pub(crate) text: String,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct ReceiptVector {
    pub(crate) name: String,
    pub(crate) receipt: Receipt,
    pub(crate) expected: String,
    pub(crate) signed_bytes: String,
}

#[derive(Serialize, Deserialize, Clone, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct AskedQuestion {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cid: Option<BlobCid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<Nonce>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) commitment: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blob_root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) count: Option<ChallengeCount>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) peer_id: Option<PeerId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) now: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<u64>,
}

impl AskedQuestion {
    pub(crate) fn read(&self) -> Question {
        let hash = |text: &String| {
            let mut bytes = [0; 32];
            hex::decode_to_slice(text, &mut bytes).unwrap();
            bytes
        };
        let commitment = self.commitment.as_ref().map(hash).map(Commitment::new);
        let root = self.blob_root.as_ref().map(hash).map(BlobRoot::new);
        let anchor = match (commitment, root.zip(self.size)) {
            (Some(commitment), None) => Anchor::Commitment(commitment),
            (None, Some((blob_root, size))) => Anchor::Root { blob_root, size },
            (None, None) => Anchor::Nothing,
            (Some(_), Some(_)) => panic!("two anchors"),
        };
        Question {
            anchor,
            nonce: self.nonce,
            cid: self.cid,
            count: self.count.unwrap_or_default(),
            peer_id: self.peer_id,
            freshness: self
                .now
                .zip(self.max_age)
                .map(|(now_ms, max_age_ms)| Freshness { now_ms, max_age_ms }),
        }
    }
}
