//! Proofs whose maker lacks the bytes or the key.

use bytecave_core::Commitment;
use bytecave_core::proof::{LeafProof, Proof, Statement};
use bytecave_core::tree::{self, LEAF_BYTES};

use super::file::{AskedQuestion, ProofVector};
use super::make::{Blob, KIB, MIB, nonce, other_node, sign, signed_again, vector};

/// What the prover does not have, it makes up.
fn leaves() -> Vec<ProofVector> {
    let blob = Blob::new(3 * KIB, 3 * KIB);
    let other = Blob::new(3 * KIB, 21);
    let challenge = blob.challenge(nonce(3), 2);
    let question = blob.question(&challenge);
    let own = other.answer(&other.challenge(challenge.nonce, 2));
    let under_our_cid = sign(other.statement(&challenge));
    let under_our_root = sign(Statement {
        blob_root: blob.root,
        ..other.statement(&challenge)
    });
    let no_cid = AskedQuestion {
        cid: None,
        ..question.clone()
    };
    // Leaves chosen by the prover, under a CID that does not ask for them.
    let chosen = blob.challenge_where(2, blob.size, |indexes| {
        let under_other = other.challenge(challenge.nonce, 2).leaf_indexes(blob.size);
        indexes != under_other
    });
    let chosen = sign(Statement {
        cid: other.cid,
        nonce: challenge.nonce,
        ..blob.statement(&chosen)
    });
    let asked = |name: &str, proof: Proof, expected: &str, possession: bool| {
        vector(name, question.clone(), proof, expected, possession)
    };
    vec![
        asked(
            "a self-consistent proof of other data",
            own.clone(),
            "wrongCid",
            false,
        ),
        vector(
            "a self-consistent proof of other data, CID not asked about",
            no_cid.clone(),
            own,
            "commitmentMismatch",
            false,
        ),
        asked(
            "a self-consistent proof of other data under the CID asked for",
            under_our_cid,
            "commitmentMismatch",
            false,
        ),
        asked(
            "leaves and paths of other data under the root asked for",
            under_our_root,
            "pathDoesNotReachRoot",
            false,
        ),
        vector(
            "leaves that another CID would ask for, CID not asked about",
            no_cid,
            chosen,
            "wrongLeafIndex",
            false,
        ),
    ]
}

/// The leaves are good, and the signature is not the node's.
fn signatures() -> Vec<ProofVector> {
    let blob = Blob::new(3 * KIB, 3 * KIB);
    let challenge = blob.challenge(nonce(3), 2);
    let taken = Proof {
        peer_id: other_node().peer_id(),
        public_key: other_node().public_key(),
        ..blob.answer(&challenge)
    };
    let mismatch = signed_again(
        Proof {
            public_key: other_node().public_key(),
            ..blob.answer(&challenge)
        },
        &other_node(),
    );
    let damaged = |change: fn(&mut [u8; 64])| {
        let mut proof = blob.answer(&challenge);
        change(&mut proof.signature);
        proof
    };
    let asked = |name: &str, proof: Proof, expected: &str| {
        vector(name, blob.question(&challenge), proof, expected, true)
    };
    vec![
        asked(
            "another node's proof under one's own name",
            taken,
            "badSignature",
        ),
        asked(
            "signed with another key under this peer id",
            mismatch,
            "identityMismatch",
        ),
        asked(
            "a bit of the signature",
            damaged(|s| s[0] ^= 1),
            "badSignature",
        ),
        asked(
            "a bit of the signature's second half",
            damaged(|s| s[63] ^= 1),
            "badSignature",
        ),
        asked("no signature", damaged(|s| *s = [0; 64]), "badSignature"),
    ]
}

/// What the tree alone does not say, and the commitment does.
fn sizes() -> Vec<ProofVector> {
    let blob = Blob::new(MIB, MIB);
    let claimed = 513 * KIB;
    let claim = |challenge: &_, leaves: &[u64]| {
        let (_, paths) = tree::leaf_paths(&blob.content, leaves).unwrap();
        let leaf = |(index, path): (&u64, _)| LeafProof {
            index: *index,
            data: tree::leaf_bytes(&blob.content, *index).unwrap().to_vec(),
            path,
        };
        sign(Statement {
            size: claimed,
            leaves: leaves.iter().zip(paths).map(leaf).collect(),
            ..blob.statement(challenge)
        })
    };
    // Below leaf 512 the path is as long in both trees, and leads to the root.
    let low = blob.challenge_where(2, claimed, |indexes| indexes.iter().all(|i| *i < 512));
    let last = blob.challenge_where(1, claimed, |indexes| indexes == [512]);
    let false_commitment = AskedQuestion {
        commitment: Some(Commitment::of(claimed, &blob.root).to_string()),
        ..blob.question(&last)
    };
    let mut inner = vec![inner_node()];
    inner.extend([
        vector(
            "513 leaves claimed against a root over 1024",
            blob.question(&low),
            claim(&low, &low.leaf_indexes(claimed)),
            "commitmentMismatch",
            false,
        ),
        vector(
            "513 leaves claimed against a root over 1024, by a false commitment",
            false_commitment,
            claim(&last, &[512]),
            "pathDoesNotReachRoot",
            false,
        ),
        largest(),
    ]);
    inner
}

/// Two leaves' hashes passed off as a leaf of 64 bytes: leaves and nodes hash differently.
fn inner_node() -> ProofVector {
    let blob = Blob::new(2 * KIB, 2 * KIB);
    let challenge = blob.challenge(nonce(4), 1);
    let data = tree::leaf_hashes(&blob.content).concat();
    let proof = sign(Statement {
        size: 64,
        leaves: vec![LeafProof {
            index: 0,
            data,
            path: Vec::new(),
        }],
        ..blob.statement(&challenge)
    });
    let question = AskedQuestion {
        commitment: Some(Commitment::of(64, &blob.root).to_string()),
        ..blob.question(&challenge)
    };
    vector(
        "an inner node passed off as a leaf, by a false commitment",
        question,
        proof,
        "pathDoesNotReachRoot",
        false,
    )
}

/// The largest blob that JSON's common numbers can name, so that nothing overflows.
fn largest() -> ProofVector {
    let blob = Blob::new(1, 1);
    let size = (1 << 53) - 1;
    let challenge = blob.challenge(nonce(5), 1);
    let proof = sign(Statement {
        size,
        leaves: vec![LeafProof {
            index: challenge.leaf_indexes(size)[0],
            data: vec![0; LEAF_BYTES],
            path: vec![[0; 32]; 43],
        }],
        ..blob.statement(&challenge)
    });
    let question = AskedQuestion {
        commitment: Some(Commitment::of(size, &blob.root).to_string()),
        ..blob.question(&challenge)
    };
    vector(
        "a blob of 2^53 - 1 bytes, by a false commitment",
        question,
        proof,
        "pathDoesNotReachRoot",
        false,
    )
}

pub(crate) fn all() -> Vec<ProofVector> {
    [leaves(), signatures(), sizes()]
        .into_iter()
        .flatten()
        .collect()
}
