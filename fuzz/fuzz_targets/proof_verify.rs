//! A good proof, altered in any way and perhaps signed again, is valid only if it still says the same.

#![no_main]

use std::sync::OnceLock;

use bytecave_core::proof::{
    Anchor, Challenge, ChallengeCount, Nonce, Proof, Question, Statement, possession, verify,
};
use bytecave_core::tree::{self, Hash, PATH_MAX};
use bytecave_core::{BlobCid, Commitment, NodeIdentity};
use libfuzzer_sys::fuzz_target;

/// Sizes of the blobs: an empty one, one leaf, odd numbers of leaves, a full tree.
const SIZES: [usize; 7] = [0, 1, 1025, 2 * 1024 + 100, 4 * 1024, 5 * 1024, 17 * 1024];
/// Edits of one run.
const EDITS_MAX: usize = 16;
/// Longest content that a proof is made of here.
const CONTENT_MAX: usize = 8 * 1024;

struct Base {
    question: Question,
    proof: Proof,
    bytes: Vec<u8>,
}

fn identity() -> &'static NodeIdentity {
    static IDENTITY: OnceLock<NodeIdentity> = OnceLock::new();
    IDENTITY.get_or_init(|| NodeIdentity::from_seed([1; 32]).expect("any seed is a key"))
}

fn base(content: &[u8], nonce: [u8; 32], count: u64) -> Base {
    let challenge = Challenge {
        cid: BlobCid::of(content),
        nonce: Nonce::new(nonce),
        count: ChallengeCount::new(count).expect("a count within its bounds"),
    };
    let statement =
        Statement::from_content(&challenge, content).expect("every blob has its leaves");
    let proof = Proof::sign(identity(), "node", 1_760_000_000_000, statement).expect("a proof");
    let commitment = Commitment::of(content.len() as u64, &tree::blob_root(content));
    Base {
        question: Question::of(&challenge, Anchor::Commitment(commitment)),
        bytes: proof.to_bytes(),
        proof,
    }
}

fn bases() -> &'static [Base] {
    static BASES: OnceLock<Vec<Base>> = OnceLock::new();
    BASES.get_or_init(|| {
        let content: Vec<u8> = (0..*SIZES.last().expect("there are sizes"))
            .map(|at| (at * 31 + at / 1024 * 7) as u8)
            .collect();
        let of = |(n, size): (usize, &usize)| base(&content[..*size], [n as u8; 32], 1 + n as u64);
        SIZES.iter().enumerate().map(of).collect()
    })
}

/// Four bytes are an edit: what, where (two bytes), and a value.
fn edit(bytes: &mut Vec<u8>, edit: [u8; 4]) {
    let [what, high, low, value] = edit;
    if bytes.is_empty() {
        return;
    }
    let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
    let len = usize::from(value).min(bytes.len() - at);
    match what % 6 {
        0 => bytes[at] ^= value,
        1 => bytes[at] = value,
        2 => bytes.insert(at, value),
        3 => drop(bytes.drain(at..at + len)),
        4 => bytes.extend_from_within(at..at + len),
        _ => {
            let piece = bytes[at..at + len].to_vec();
            bytes.splice(0..0, piece);
        }
    }
}

fn judge(base: &Base, altered: Proof) {
    let same = altered == base.proof;
    assert_eq!(
        verify(&altered, &base.question).is_valid(),
        same,
        "altered and not noticed"
    );

    let mut again = altered;
    again.signature = identity().sign(&again.signed_bytes());
    if verify(&again, &base.question).is_valid() {
        let back = Proof {
            node_id: base.proof.node_id.clone(),
            timestamp_ms: base.proof.timestamp_ms,
            signature: base.proof.signature,
            ..again.clone()
        };
        assert_eq!(back, base.proof, "signed again, and says something else");
    }
    if possession(&again, &base.question).is_valid() {
        assert_eq!(again.leaves, base.proof.leaves, "other leaves that hold");
        assert_eq!(again.size, base.proof.size);
        assert_eq!(again.blob_root, base.proof.blob_root);
    }
}

/// Paths and numbers that nobody made: no panic, and no path of another length.
fn stray_path(input: &[u8]) {
    let Some((head, rest)) = input.split_first_chunk::<16>() else {
        return;
    };
    let (index, size) = head.split_at(8);
    let number = |bytes: &[u8]| u64::from_be_bytes(bytes.try_into().expect("8 bytes"));
    let (index, size) = (number(index), number(size));
    let leaf_count = tree::leaf_count(size);
    let (path, _) = rest.as_chunks::<32>();
    let path: Vec<Hash> = path.iter().take(PATH_MAX + 1).copied().collect();
    let reached = tree::root_from_path([0; 32], index, leaf_count, &path);
    assert_eq!(tree::leaf_len(size, index).is_some(), index < leaf_count);
    if reached.is_ok() {
        assert!(index < leaf_count && path.len() <= PATH_MAX);
        let shorter = path.split_last().map(|(_, rest)| rest);
        if let Some(shorter) = shorter {
            assert!(tree::root_from_path([0; 32], index, leaf_count, shorter).is_err());
        }
    }
}

fuzz_target!(|input: &[u8]| {
    stray_path(input);
    let Some((&which, rest)) = input.split_first() else {
        return;
    };
    let bases = bases();
    let own;
    let (base, edits) = match bases.get(usize::from(which) % (bases.len() + 1)) {
        Some(base) => (base, rest),
        None => {
            let (edits, content) = rest.split_at(rest.len().min(4));
            let content = &content[..content.len().min(CONTENT_MAX)];
            own = base(content, [which; 32], 1 + u64::from(which) % 32);
            (&own, edits)
        }
    };
    let mut bytes = base.bytes.clone();
    for step in edits.as_chunks::<4>().0.iter().take(EDITS_MAX) {
        edit(&mut bytes, *step);
    }
    if let Ok(altered) = Proof::from_bytes(&bytes) {
        judge(base, altered);
    }
    // The same on the fields, where lengths need no care.
    let mut altered = base.proof.clone();
    for [what, at, of, value] in edits.as_chunks::<4>().0.iter().take(EDITS_MAX) {
        let leaves = altered.leaves.len();
        let Some(leaf) = altered.leaves.get_mut(usize::from(*at) % leaves.max(1)) else {
            break;
        };
        let of = usize::from(*of);
        match what % 10 {
            0 => leaf.index ^= u64::from(*value),
            1 => leaf.data.resize(of * 8 % 1025, *value),
            2 => leaf.path.truncate(of),
            3 if leaf.path.len() < PATH_MAX => {
                leaf.path.insert(of % (leaf.path.len() + 1), [*value; 32])
            }
            4 => leaf.path.reverse(),
            5 => altered.leaves.swap(usize::from(*at) % leaves, of % leaves),
            6 => altered.leaves.truncate(of),
            7 if leaves < 32 => altered.leaves.extend_from_within(..1),
            8 => altered.size ^= u64::from(*value) << (of % 57),
            _ => altered.version ^= u32::from(*value),
        }
    }
    judge(base, altered);
});
