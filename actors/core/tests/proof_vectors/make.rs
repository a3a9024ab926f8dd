//! What the vectors are made of: content, nonces and keys by stated rules.

use bytecave_core::proof::{
    Challenge, ChallengeCount, Nonce, Proof, Receipt, Statement, StoredBlob,
};
use bytecave_core::tree::{self, LEAF_BYTES};
use bytecave_core::{BlobCid, BlobRoot, Commitment, Digest, NodeIdentity};

use super::file::{AskedQuestion, ProofVector, ReceiptVector, TreeVector, VectorFile};
use super::{broken, changed, forged, form, valid};

/// When all proofs here were made.
pub(crate) const NOW: u64 = 1_760_000_000_000;
pub(crate) const NODE_ID: &str = "node-vectors";
pub(crate) const KIB: u64 = 1024;
pub(crate) const MIB: u64 = 1024 * KIB;

/// Byte blocks `SHA-256(u64be(seed) ‖ u64be(n))` for n = 0, 1, …, cut to `size`.
pub(crate) fn content(size: u64, seed: u64) -> Vec<u8> {
    let size = usize::try_from(size).unwrap();
    let block = |n: u64| Digest::of(&[seed.to_be_bytes(), n.to_be_bytes()].concat());
    let mut content: Vec<u8> = (0..size.div_ceil(32) as u64)
        .flat_map(|n| *block(n).as_bytes())
        .collect();
    content.truncate(size);
    content
}

/// The nonce with this number.
pub(crate) fn nonce(number: u32) -> Nonce {
    let text = [&b"bytecave vector nonce"[..], &number.to_be_bytes()].concat();
    Nonce::new(*Digest::of(&text).as_bytes())
}

/// The key of the node that answers, and of the other one.
pub(crate) fn node() -> NodeIdentity {
    NodeIdentity::from_seed([1; 32]).unwrap()
}

pub(crate) fn other_node() -> NodeIdentity {
    NodeIdentity::from_seed([2; 32]).unwrap()
}

pub(crate) fn count(count: u64) -> ChallengeCount {
    ChallengeCount::new(count).unwrap()
}

/// A blob and what is known of it.
pub(crate) struct Blob {
    pub(crate) content: Vec<u8>,
    pub(crate) cid: BlobCid,
    pub(crate) size: u64,
    pub(crate) root: BlobRoot,
    pub(crate) commitment: Commitment,
}

impl Blob {
    pub(crate) fn new(size: u64, seed: u64) -> Self {
        let content = content(size, seed);
        let root = tree::blob_root(&content);
        Self {
            cid: BlobCid::of(&content),
            size,
            root,
            commitment: Commitment::of(size, &root),
            content,
        }
    }

    pub(crate) fn challenge(&self, nonce: Nonce, leaves: u64) -> Challenge {
        Challenge {
            cid: self.cid,
            nonce,
            count: count(leaves),
        }
    }

    /// The first nonce for which the challenge asks for leaves that are as `wanted`.
    pub(crate) fn challenge_where(
        &self,
        leaves: u64,
        size: u64,
        wanted: impl Fn(&[u64]) -> bool,
    ) -> Challenge {
        (0..=u32::MAX)
            .map(|number| self.challenge(nonce(number), leaves))
            .find(|challenge| wanted(&challenge.leaf_indexes(size)))
            .unwrap()
    }

    pub(crate) fn statement(&self, challenge: &Challenge) -> Statement {
        Statement::from_content(challenge, &self.content).unwrap()
    }

    pub(crate) fn answer(&self, challenge: &Challenge) -> Proof {
        sign(self.statement(challenge))
    }

    /// The full question: CID, nonce, commitment and count.
    pub(crate) fn question(&self, challenge: &Challenge) -> AskedQuestion {
        AskedQuestion {
            cid: Some(challenge.cid),
            nonce: Some(challenge.nonce),
            commitment: Some(self.commitment.to_string()),
            count: Some(challenge.count),
            ..AskedQuestion::default()
        }
    }
}

pub(crate) fn sign(statement: Statement) -> Proof {
    Proof::sign(&node(), NODE_ID, NOW, statement).unwrap()
}

/// Signs all fields again as they are.
pub(crate) fn signed_again(mut proof: Proof, by: &NodeIdentity) -> Proof {
    proof.signature = by.sign(&proof.signed_bytes());
    proof
}

pub(crate) fn vector(
    name: impl Into<String>,
    question: AskedQuestion,
    proof: Proof,
    expected: &str,
    possession: bool,
) -> ProofVector {
    let binary = proof.to_bytes();
    ProofVector {
        name: name.into(),
        question,
        expected: expected.to_owned(),
        possession,
        signed_bytes_sha256: Digest::of(&proof.signed_bytes()).to_hex(),
        binary: (binary.len() < LEAF_BYTES).then(|| hex::encode(binary)),
        proof,
    }
}

fn trees() -> Vec<TreeVector> {
    let sizes = [
        0,
        1,
        1023,
        1024,
        1025,
        2 * KIB,
        3 * KIB,
        5 * KIB - 1,
        7 * KIB,
        16 * KIB,
        16 * KIB + 1,
        513 * KIB,
        MIB,
        4 * MIB + 1,
        5 * MIB,
    ];
    let tree = |size| {
        let blob = Blob::new(size, size);
        TreeVector {
            size,
            seed: size,
            cid: blob.cid.to_string(),
            leaf_count: tree::leaf_count(size),
            blob_root: blob.root.to_string(),
            commitment: blob.commitment.to_string(),
        }
    };
    sizes.into_iter().map(tree).collect()
}

fn receipts() -> Vec<ReceiptVector> {
    let blob = Blob::new(KIB + 1, 1);
    let stored = StoredBlob {
        cid: blob.cid,
        size: blob.size,
        commitment: blob.commitment,
        stored_at_ms: NOW,
    };
    let receipt = Receipt::sign(&node(), NODE_ID, stored).unwrap();
    let changed = |name: &str, expected: &str, change: &dyn Fn(&mut Receipt)| {
        let mut receipt = receipt.clone();
        change(&mut receipt);
        ReceiptVector {
            name: name.to_owned(),
            signed_bytes: hex::encode(receipt.signed_bytes()),
            receipt,
            expected: expected.to_owned(),
        }
    };
    vec![
        changed("a receipt", "valid", &|_| ()),
        changed("another size", "badSignature", &|r| r.size += 1),
        changed("another time", "badSignature", &|r| r.stored_at_ms += 1),
        changed("another blob", "badSignature", &|r| {
            r.cid = BlobCid::of(b"other");
        }),
        changed("another version", "wrongVersion", &|r| r.version = 2),
        changed(
            "signed with another key under this peer id",
            "identityMismatch",
            &|r| {
                r.public_key = other_node().public_key();
                r.signature = other_node().sign(&r.signed_bytes());
            },
        ),
    ]
}

pub(crate) fn all() -> VectorFile {
    let about = [
        "Test vectors of storage proofs; docs/proofs.md describes the format and the order of the checks.",
        "content of a blob: blocks SHA-256(u64be(seed) || u64be(n)) for n = 0, 1, 2 and so on, joined and cut to size bytes",
        "trees: size and seed of a content, and what follows from it",
        "proofs: proof is judged against question; a field that question lacks is not asked about, count is 4 where it is missing",
        "proofs.expected: valid, or the one reason",
        "proofs.possession: whether the leaves alone hold (what a contract checks: CID, commitment or root and size, nonce, count, indexes, lengths, paths), whatever version, leaf size field, names, signature and time say",
        "proofs.signedBytesSha256: SHA-256 of the bytes that the signature is over, for the fields as they stand",
        "proofs.binary: the binary form in hex, given where it is shorter than 1024 bytes",
        "malformedJson, malformedBinary: text that a decoder refuses, so that there is no verdict; the binary ones are in hex",
        "receipts: expected is valid or the one reason; signedBytes in hex",
        "keys: Ed25519 seed of 32 bytes 0x01 for the node, of 32 bytes 0x02 for the other node",
    ];
    VectorFile {
        about: about.map(str::to_owned).to_vec(),
        trees: trees(),
        proofs: [
            valid::all(),
            changed::fields(),
            broken::questions(),
            forged::all(),
        ]
        .into_iter()
        .flatten()
        .collect(),
        malformed_json: form::json(),
        malformed_binary: form::binary(),
        receipts: receipts(),
    }
}
