//! `tests/vectors/proof-vectors.json`: made here, and checked here as anyone else would check it.
//!
//! The file serves these tests, those of the contract and third parties. Everything in it follows
//! from fixed seeds, so that making it again gives the same bytes: `BLESS=1` writes it.

#![allow(clippy::unwrap_used)]

mod broken;
mod changed;
mod file;
mod forged;
mod form;
mod make;
mod valid;

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use bytecave_core::proof::{
    Anchor, Challenge, ChallengeCount, Nonce, PROOF_MAX_BYTES, Proof, Question, Reason, possession,
    verify,
};
use bytecave_core::{BlobCid, Commitment, Digest, tree};

use file::VectorFile;

/// Above this the file is no longer one to keep in a repository.
const FILE_MAX_BYTES: usize = 1_000_000;

fn path() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors/proof-vectors.json")
}

fn read() -> VectorFile {
    serde_json::from_str(&fs::read_to_string(path()).unwrap()).unwrap()
}

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "asks whoever runs the test, not the node"
)]
fn the_file_is_the_one_that_is_made_here() {
    let mut made = serde_json::to_string_pretty(&make::all()).unwrap();
    made.push('\n');
    assert!(made.len() < FILE_MAX_BYTES, "{} bytes", made.len());
    if std::env::var_os("BLESS").is_some() {
        fs::write(path(), &made).unwrap();
    }
    let found = fs::read_to_string(path()).unwrap();
    assert!(
        found == made,
        "proof-vectors.json is not what this code makes: run the test with BLESS=1 and look at the difference"
    );
}

#[test]
fn every_verdict_is_the_expected_one() {
    let file = read();
    assert!(file.proofs.len() > 60, "{} proofs", file.proofs.len());
    for vector in &file.proofs {
        let name = &vector.name;
        let question = vector.question.read();
        assert_eq!(
            verify(&vector.proof, &question).code(),
            vector.expected,
            "{name}"
        );
        assert_eq!(
            possession(&vector.proof, &question).is_valid(),
            vector.possession,
            "{name}"
        );
        let signed = BlobCid::of(&vector.proof.signed_bytes()).digest().to_hex();
        assert_eq!(signed, vector.signed_bytes_sha256, "{name}");
        if let Some(binary) = &vector.binary {
            let binary = hex::decode(binary).unwrap();
            assert_eq!(Proof::from_bytes(&binary).as_ref(), Ok(&vector.proof));
        }
    }
}

#[test]
fn every_reason_has_a_vector_and_every_name_one_meaning() {
    let file = read();
    let found: BTreeSet<&str> = file.proofs.iter().map(|v| v.expected.as_str()).collect();
    let reasons = [
        Reason::Unanchored,
        Reason::WrongVersion,
        Reason::BadSignature,
        Reason::IdentityMismatch,
        Reason::WrongPeer,
        Reason::WrongLeafSize,
        Reason::WrongCid,
        Reason::CommitmentMismatch,
        Reason::WrongNonce,
        Reason::WrongCount,
        Reason::WrongLeafIndex,
        Reason::LeafTooLong,
        Reason::PathDoesNotReachRoot,
        Reason::Stale,
    ];
    let expected: BTreeSet<&str> = reasons
        .into_iter()
        .map(Reason::code)
        .chain(["valid"])
        .collect();
    assert_eq!(found, expected);
    let names: BTreeSet<&str> = file.proofs.iter().map(|v| v.name.as_str()).collect();
    assert_eq!(names.len(), file.proofs.len());
}

#[test]
fn trees_are_those_of_the_stated_content() {
    for tree in read().trees {
        let content = make::content(tree.size, tree.seed);
        let root = tree::blob_root(&content);
        assert_eq!(BlobCid::of(&content).to_string(), tree.cid);
        assert_eq!(tree::leaf_count(tree.size), tree.leaf_count);
        assert_eq!(root.to_string(), tree.blob_root);
        assert_eq!(
            Commitment::of(tree.size, &root).to_string(),
            tree.commitment
        );
    }
}

#[test]
fn receipts_hold_or_do_not() {
    for vector in read().receipts {
        assert_eq!(
            vector.receipt.verify().code(),
            vector.expected,
            "{}",
            vector.name
        );
        assert_eq!(
            hex::encode(vector.receipt.signed_bytes()),
            vector.signed_bytes
        );
    }
}

#[test]
fn what_has_not_the_form_is_refused() {
    let file = read();
    for vector in file.malformed_json {
        let read = serde_json::from_str::<Proof>(&vector.text);
        assert!(read.is_err(), "{}", vector.name);
    }
    for vector in file.malformed_binary {
        let read = Proof::from_bytes(&hex::decode(vector.text).unwrap());
        assert!(read.is_err(), "{}", vector.name);
    }
}

/// What stands between the first line that is `from` and the next that ends a block.
fn block<'a>(page: &'a str, from: &str) -> &'a str {
    let (_, rest) = page.split_once(&format!("\n{from}\n")).unwrap();
    rest.split_once("\n```").unwrap().0
}

#[test]
fn the_example_of_the_page_holds() {
    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/proofs.md");
    let page = fs::read_to_string(page).unwrap();
    let proof: Proof = serde_json::from_str(block(&page, "```json")).unwrap();
    let challenge = Challenge {
        cid: BlobCid::of(b"x"),
        nonce: Nonce::new([5; 32]),
        count: ChallengeCount::new(1).unwrap(),
    };
    let commitment = Commitment::of(1, &tree::blob_root(b"x"));
    let question = Question::of(&challenge, Anchor::Commitment(commitment));
    assert_eq!(verify(&proof, &question).code(), "valid");
    assert_eq!(proof.peer_id, make::node().peer_id());

    let is_hex = |word: &&str| word.bytes().all(|byte| byte.is_ascii_hexdigit());
    let signed: String = block(&page, "```text")
        .lines()
        .flat_map(|line| line.split_whitespace().take_while(is_hex))
        .collect();
    assert_eq!(signed, hex::encode(proof.signed_bytes()));
    for stated in [
        commitment.to_string(),
        Digest::of(&proof.signed_bytes()).to_hex(),
        "The longest has 89,159 bytes".to_owned(),
    ] {
        assert!(page.contains(&stated), "{stated}");
    }
    assert_eq!(PROOF_MAX_BYTES, 89_159);
}
