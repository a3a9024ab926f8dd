//! Proofs that hold.

use bytecave_core::proof::Proof;
use bytecave_core::tree;

use super::file::{AskedQuestion, ProofVector};
use super::make::{Blob, KIB, MIB, NODE_ID, NOW, node, nonce, other_node, vector};

fn of_size(name: &str, size: u64, leaves: u64) -> ProofVector {
    let blob = Blob::new(size, size);
    let challenge = blob.challenge(nonce(0), leaves);
    let question = blob.question(&challenge);
    vector(name, question, blob.answer(&challenge), "valid", true)
}

/// Asks for the last leaf, whose path is shorter than others in a tree of an odd number.
fn last_leaf(name: &str, size: u64) -> ProofVector {
    let blob = Blob::new(size, size);
    let last = tree::leaf_count(size) - 1;
    let challenge = blob.challenge_where(1, size, |indexes| indexes == [last]);
    let question = blob.question(&challenge);
    vector(name, question, blob.answer(&challenge), "valid", true)
}

/// Less is asked, or more.
fn questions() -> Vec<ProofVector> {
    let blob = Blob::new(3 * KIB, 3 * KIB);
    let challenge = blob.challenge(nonce(1), 4);
    let full = blob.question(&challenge);
    let with = |name: &str, question: AskedQuestion| {
        vector(name, question, blob.answer(&challenge), "valid", true)
    };
    vec![
        with(
            "question: root and size instead of the commitment",
            AskedQuestion {
                commitment: None,
                blob_root: Some(blob.root.to_string()),
                size: Some(blob.size),
                ..full.clone()
            },
        ),
        with(
            "question: no count, which is 4",
            AskedQuestion {
                count: None,
                ..full.clone()
            },
        ),
        with(
            "question: no nonce, which says nothing of when",
            AskedQuestion {
                nonce: None,
                ..full.clone()
            },
        ),
        with(
            "question: no CID, which leaves the choice of leaves to the prover",
            AskedQuestion {
                cid: None,
                ..full.clone()
            },
        ),
        with(
            "question: the peer that was asked",
            AskedQuestion {
                peer_id: Some(node().peer_id()),
                ..full.clone()
            },
        ),
        with(
            "question: just not too old",
            AskedQuestion {
                now: Some(NOW + 60_000),
                max_age: Some(60_000),
                ..full.clone()
            },
        ),
        with(
            "question: a clock behind, within the age",
            AskedQuestion {
                now: Some(NOW - 60_000),
                max_age: Some(60_000),
                ..full
            },
        ),
    ]
}

/// What the signer says of itself is its own affair.
fn signers() -> Vec<ProofVector> {
    let blob = Blob::new(3 * KIB, 3 * KIB);
    let challenge = blob.challenge(nonce(2), 2);
    let sign = |name, node_id: &str, now, by| {
        let proof = Proof::sign(by, node_id, now, blob.statement(&challenge)).unwrap();
        vector(name, blob.question(&challenge), proof, "valid", true)
    };
    let (node, other) = (node(), other_node());
    vec![
        sign("signer: another node", NODE_ID, NOW, &other),
        sign("signer: no name", "", NOW, &node),
        sign("signer: a name beyond ASCII", "höhle-7 ⛰", NOW, &node),
        sign("signer: the longest name", &"n".repeat(128), NOW, &node),
        sign("signer: another time, not asked about", NODE_ID, 1, &node),
    ]
}

/// The same leaf as often as the challenge asks for it.
fn repeats() -> ProofVector {
    let blob = Blob::new(2 * KIB, 2 * KIB);
    let challenge = blob.challenge_where(3, blob.size, |indexes| indexes == [1, 1, 1]);
    let proof = blob.answer(&challenge);
    assert_eq!(proof.leaves[0], proof.leaves[2]);
    vector(
        "a challenge that asks for one leaf three times",
        blob.question(&challenge),
        proof,
        "valid",
        true,
    )
}

pub(crate) fn all() -> Vec<ProofVector> {
    let mut all = vec![
        of_size("empty blob", 0, 4),
        of_size("1 byte", 1, 4),
        of_size("1023 bytes", 1023, 1),
        of_size("1024 bytes", 1024, 1),
        of_size("1025 bytes", 1025, 4),
        of_size("3 leaves", 3 * KIB, 4),
        of_size("5 leaves, the last of 1023 bytes", 5 * KIB - 1, 4),
        of_size("7 leaves", 7 * KIB, 4),
        of_size("16 leaves", 16 * KIB, 2),
        of_size("17 leaves, the last of 1 byte", 16 * KIB + 1, 2),
        of_size("513 leaves", 513 * KIB, 4),
        of_size("1 MiB", MIB, 4),
        of_size("5 MiB", 5 * MIB, 4),
        of_size("one leaf asked for", 7 * KIB, 1),
        of_size("32 leaves asked for of 1 byte", 1, 32),
        of_size("32 leaves asked for of 1 MiB", MIB, 32),
        last_leaf("last leaf of 2, of 1 byte", 1025),
        last_leaf("last leaf of 3", 3 * KIB),
        last_leaf("last leaf of 5, of 1023 bytes", 5 * KIB - 1),
        last_leaf("last leaf of 17, of 1 byte", 16 * KIB + 1),
        last_leaf("last leaf of 513, whose path is one hash", 513 * KIB),
        last_leaf("last leaf of 4097, whose path is one hash", 4 * MIB + 1),
        repeats(),
    ];
    all.extend(questions());
    all.extend(signers());
    all
}
