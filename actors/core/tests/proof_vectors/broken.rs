//! Good proofs that do not answer the question.

use bytecave_core::BlobRoot;

use super::file::{AskedQuestion, ProofVector};
use super::make::{Blob, KIB, NOW, count, nonce, other_node, vector};

/// A good proof, and a question that it does not answer.
pub(crate) fn questions() -> Vec<ProofVector> {
    let blob = Blob::new(3 * KIB, 3 * KIB);
    let other = Blob::new(3 * KIB, 21);
    let challenge = blob.challenge(nonce(1), 4);
    let full = blob.question(&challenge);
    let asked =
        |name: &str, expected: &str, possession: bool, change: &dyn Fn(&mut AskedQuestion)| {
            let mut question = full.clone();
            change(&mut question);
            vector(
                name,
                question,
                blob.answer(&challenge),
                expected,
                possession,
            )
        };
    let root = |question: &mut AskedQuestion, root: BlobRoot, size: u64| {
        question.commitment = None;
        question.blob_root = Some(root.to_string());
        question.size = Some(size);
    };
    vec![
        asked(
            "asked: nothing to compare with",
            "unanchored",
            false,
            &|q| q.commitment = None,
        ),
        asked(
            "asked: another commitment",
            "commitmentMismatch",
            false,
            &|q| {
                q.commitment = Some(other.commitment.to_string());
            },
        ),
        asked(
            "asked: the root as if it were the commitment",
            "commitmentMismatch",
            false,
            &|q| {
                q.commitment = Some(blob.root.to_string());
            },
        ),
        asked("asked: another root", "commitmentMismatch", false, &|q| {
            root(q, other.root, blob.size);
        }),
        asked("asked: another size", "commitmentMismatch", false, &|q| {
            root(q, blob.root, blob.size - 1);
        }),
        asked("asked: another CID", "wrongCid", false, &|q| {
            q.cid = Some(other.cid);
        }),
        asked(
            "asked: another nonce, of an earlier challenge answered again",
            "wrongNonce",
            false,
            &|q| {
                q.nonce = Some(nonce(0));
            },
        ),
        asked("asked: fewer leaves", "wrongCount", false, &|q| {
            q.count = Some(count(3));
        }),
        asked("asked: more leaves", "wrongCount", false, &|q| {
            q.count = Some(count(5));
        }),
        asked("asked: another peer", "wrongPeer", true, &|q| {
            q.peer_id = Some(other_node().peer_id());
        }),
        asked("asked: too old by a millisecond", "stale", true, &|q| {
            (q.now, q.max_age) = (Some(NOW + 60_001), Some(60_000));
        }),
        asked(
            "asked: from the future by a millisecond too much",
            "stale",
            true,
            &|q| {
                (q.now, q.max_age) = (Some(NOW - 60_001), Some(60_000));
            },
        ),
    ]
}
