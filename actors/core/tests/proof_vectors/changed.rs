//! Proofs with one field changed, signed again by the node and not signed again.

use bytecave_core::proof::Proof;
use bytecave_core::tree::LEAF_BYTES;
use bytecave_core::{BlobCid, BlobRoot};

use super::file::ProofVector;
use super::make::{Blob, KIB, node, nonce, other_node, signed_again, vector};

/// A field changed: what it is called, the change, the reason when the node signs again, and whether
/// the leaves alone hold.
type Change = (&'static str, fn(&mut Proof), &'static str, bool);

/// Leaf 2, which has 100 bytes, is the first asked for; leaves 0 and 1 follow.
const CHANGES: &[Change] = &[
    ("version 2", |p| p.version = 2, "wrongVersion", true),
    ("version 0", |p| p.version = 0, "wrongVersion", true),
    (
        "another CID",
        |p| p.cid = BlobCid::of(b"other"),
        "wrongCid",
        false,
    ),
    (
        "size one more",
        |p| p.size += 1,
        "commitmentMismatch",
        false,
    ),
    (
        "size one less",
        |p| p.size -= 1,
        "commitmentMismatch",
        false,
    ),
    ("size 0", |p| p.size = 0, "commitmentMismatch", false),
    (
        "leaf size 2048",
        |p| p.leaf_size = 2048,
        "wrongLeafSize",
        true,
    ),
    (
        "another root",
        |p| p.blob_root = flipped(p.blob_root),
        "commitmentMismatch",
        false,
    ),
    (
        "another nonce",
        |p| p.nonce = nonce(77),
        "wrongNonce",
        false,
    ),
    ("no leaves", |p| p.leaves.clear(), "wrongCount", false),
    (
        "the last leaf left out",
        |p| p.leaves.truncate(2),
        "wrongCount",
        false,
    ),
    (
        "a leaf too many",
        |p| p.leaves.extend_from_within(..1),
        "wrongCount",
        false,
    ),
    (
        "two leaves swapped",
        |p| p.leaves.swap(0, 1),
        "wrongLeafIndex",
        false,
    ),
    ("repeated indices", repeat_first, "wrongLeafIndex", false),
    (
        "another index on a leaf",
        |p| p.leaves[1].index = 1,
        "wrongLeafIndex",
        false,
    ),
    (
        "an index outside of the blob",
        |p| p.leaves[1].index = 3,
        "wrongLeafIndex",
        false,
    ),
    (
        "a bit of a leaf",
        |p| p.leaves[1].data[500] ^= 1,
        "pathDoesNotReachRoot",
        false,
    ),
    (
        "a leaf one byte shorter",
        |p| p.leaves[1].data.truncate(1023),
        "wrongLeafSize",
        false,
    ),
    (
        "an empty leaf",
        |p| p.leaves[1].data.clear(),
        "wrongLeafSize",
        false,
    ),
    (
        "the short leaf one byte longer",
        |p| p.leaves[0].data.push(0),
        "leafTooLong",
        false,
    ),
    (
        "the short leaf filled up",
        |p| p.leaves[0].data.resize(LEAF_BYTES, 0),
        "leafTooLong",
        false,
    ),
    (
        "data of another leaf",
        |p| p.leaves[1].data = p.leaves[2].data.clone(),
        "pathDoesNotReachRoot",
        false,
    ),
    (
        "a bit of a path",
        |p| p.leaves[1].path[1][0] ^= 1,
        "pathDoesNotReachRoot",
        false,
    ),
    (
        "a path without its end",
        |p| p.leaves[1].path.truncate(1),
        "pathDoesNotReachRoot",
        false,
    ),
    (
        "an empty path",
        |p| p.leaves[1].path.clear(),
        "pathDoesNotReachRoot",
        false,
    ),
    (
        "a path that goes on",
        |p| p.leaves[1].path.push([0; 32]),
        "pathDoesNotReachRoot",
        false,
    ),
    (
        "the longest path",
        |p| p.leaves[1].path = vec![[0; 32]; 54],
        "pathDoesNotReachRoot",
        false,
    ),
    (
        "a path upside down",
        |p| p.leaves[1].path.reverse(),
        "pathDoesNotReachRoot",
        false,
    ),
    (
        "the path of another leaf",
        |p| p.leaves[1].path = p.leaves[2].path.clone(),
        "pathDoesNotReachRoot",
        false,
    ),
    ("another node id", |p| p.node_id.push('x'), "valid", true),
    (
        "another peer id",
        |p| p.peer_id = other_node().peer_id(),
        "identityMismatch",
        true,
    ),
    (
        "another public key",
        |p| p.public_key = other_node().public_key(),
        "badSignature",
        true,
    ),
    ("another time", |p| p.timestamp_ms += 1, "valid", true),
];

fn flipped(root: BlobRoot) -> BlobRoot {
    let mut bytes = *root.as_bytes();
    bytes[31] ^= 1;
    BlobRoot::new(bytes)
}

fn repeat_first(proof: &mut Proof) {
    let first = proof.leaves[0].clone();
    proof.leaves.fill(first);
}

/// Two vectors for each change.
pub(crate) fn fields() -> Vec<ProofVector> {
    let blob = Blob::new(2 * KIB + 100, 20);
    let challenge = blob.challenge_where(3, blob.size, |indexes| indexes == [2, 0, 1]);
    let answer = blob.answer(&challenge);
    let question = blob.question(&challenge);
    let mut all = Vec::new();
    for (name, change, reason, possession) in CHANGES {
        let mut proof = answer.clone();
        change(&mut proof);
        let unsigned = match *reason {
            // Of another version nobody knows what is signed.
            "wrongVersion" => "wrongVersion",
            _ => "badSignature",
        };
        let again = signed_again(proof.clone(), &node());
        let name_again = format!("{name}, signed again");
        all.push(vector(
            name_again,
            question.clone(),
            again,
            reason,
            *possession,
        ));
        let name = format!("{name}, not signed again");
        all.push(vector(name, question.clone(), proof, unsigned, *possession));
    }
    all
}
