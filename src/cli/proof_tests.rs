//! Commands about proofs, audits and the scrub, against a node that answers as the test wants or none.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use bytecave_core::proof::{
    Challenge, ChallengeCount, Nonce, Proof, Receipt, Statement, StoredBlob,
};
use bytecave_core::{BlobCid, BlobRoot, Commitment, NodeIdentity, tree};
use serde_json::{Value, json};

use super::exchange_tests::{NOBODY, command, exit};
use super::fake::{FakeNode, answer};

const NONCE: [u8; 32] = [5; 32];
/// 2023-11-14.
const THEN: u64 = 1_700_000_000_000;

fn content() -> Vec<u8> {
    (0..4000_u32)
        .flat_map(|n| format!("{n:05}").into_bytes())
        .collect()
}

fn root() -> BlobRoot {
    tree::blob_root(&content())
}

fn commitment() -> Commitment {
    Commitment::of(content().len() as u64, &root())
}

fn identity() -> NodeIdentity {
    NodeIdentity::from_seed([7; 32]).unwrap()
}

fn proof(count: u64) -> Proof {
    let challenge = Challenge {
        cid: BlobCid::of(&content()),
        nonce: Nonce::new(NONCE),
        count: ChallengeCount::new(count).unwrap(),
    };
    let statement = Statement::from_content(&challenge, &content()).unwrap();
    Proof::sign(&identity(), "attic", THEN, statement).unwrap()
}

fn receipt(content: &[u8]) -> Receipt {
    let size = content.len() as u64;
    let stored = StoredBlob {
        cid: BlobCid::of(content),
        size,
        commitment: Commitment::of(size, &tree::blob_root(content)),
        stored_at_ms: THEN,
    };
    Receipt::sign(&identity(), "attic", stored).unwrap()
}

fn ok(body: &Value) -> FakeNode {
    FakeNode::answering(answer("200 OK", "application/json", &body.to_string()))
}

/// Files of a test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> String {
        let path = self.path(name);
        fs::write(&path, bytes).unwrap();
        text(&path)
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The body of a request.
fn body(request: &str) -> Value {
    serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap()
}

#[test]
fn a_proof_is_asked_for_with_a_nonce_of_its_own() {
    let nonce = hex::encode(NONCE);
    let cid = BlobCid::of(&content()).to_string();
    let mut seen = Vec::new();
    for _ in 0..2 {
        let node = ok(&json!({}));
        // No proof of this nonce can be ready, so the answer is not one.
        assert_eq!(exit(&["--url", node.url(), "proof", "make", &cid]), 1);
        let request = node.request();
        assert!(
            request.starts_with("POST /proofs HTTP/1.1\r\n"),
            "{request}"
        );
        let asked = body(&request);
        assert_eq!((&asked["cid"], &asked["count"]), (&json!(cid), &json!(4)));
        seen.push(asked["nonce"].as_str().unwrap().to_owned());
        assert_eq!(seen.last().unwrap().len(), 64);
    }
    assert_ne!(seen[0], seen[1]);
    let node = ok(&json!(proof(7)));
    let line = ["--url", node.url(), "proof", "make", &cid];
    let line = [&line[..], &["--nonce", &nonce, "--count", "7"]].concat();
    assert_eq!(exit(&line), 0);
    let asked = json!({"cid": cid, "nonce": nonce, "count": 7});
    assert_eq!(body(&node.request()), asked);
}

#[test]
fn a_proof_becomes_a_file_and_overwrites_none() {
    let files = Files::new();
    let out = text(&files.path("proof.json"));
    let (cid, nonce) = (BlobCid::of(&content()).to_string(), hex::encode(NONCE));
    let make = |url: &str, more: &[&str]| {
        let line = ["--url", url, "proof", "make", &cid, "--nonce", &nonce];
        exit(&[&line[..], &["--out", &out], more].concat())
    };
    let node = ok(&json!(proof(4)));
    assert_eq!(make(node.url(), &[]), 0);
    drop(node.request());
    let kept: Proof = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    assert_eq!(kept, proof(4));
    // The refusal comes before any connection.
    assert_eq!(make(NOBODY, &[]), 7);
    let node = ok(&json!(proof(4)));
    assert_eq!(make(node.url(), &["--force", "--json"]), 0);
}

#[test]
fn an_answer_to_another_challenge_is_kept_nowhere() {
    let files = Files::new();
    let out = text(&files.path("proof.json"));
    let cid = BlobCid::of(&content()).to_string();
    let other = "0".repeat(64);
    for (nonce, count) in [(other.as_str(), "4"), (&hex::encode(NONCE), "5")] {
        let node = ok(&json!(proof(4)));
        let line = ["--url", node.url(), "proof", "make", &cid, "--out", &out];
        let line = [&line[..], &["--nonce", nonce, "--count", count]].concat();
        let error = command(&line).unwrap_err();
        assert_eq!(error.exit().code(), 11);
        assert!(error.to_string().contains("does not hold"), "{error}");
        drop(node.request());
    }
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_node_that_cannot_prove_says_why() {
    let cid = BlobCid::of(b"x").to_string();
    for (status, code, expected) in [
        ("404 Not Found", "blob_not_found", 3),
        ("429 Too Many Requests", "prover_busy", 8),
        ("451 Unavailable For Legal Reasons", "blocked", 5),
        ("500 Internal Server Error", "damaged", 6),
    ] {
        let problem = json!({"status": 1, "detail": "so", "code": code}).to_string();
        let node = FakeNode::answering(answer(status, "application/problem+json", &problem));
        let ended = exit(&["--url", node.url(), "proof", "make", &cid]);
        assert_eq!(ended, expected, "{code}");
        drop(node.request());
    }
}

#[test]
fn a_proof_is_verified_without_a_node() {
    let files = Files::new();
    let proof_file = files.write("proof.json", json!(proof(4)).to_string());
    let blob = files.write("blob", content());
    let other_blob = files.write("other", b"other");
    let (nonce, other) = (hex::encode(NONCE), "0".repeat(64));
    let (commitment, root) = (commitment().to_string(), root().to_string());
    let size = content().len().to_string();
    let cid = BlobCid::of(&content()).to_string();
    let other_cid = BlobCid::of(b"other").to_string();
    let peer = identity().peer_id().to_string();
    let other_peer = NodeIdentity::from_seed([8; 32]).unwrap();
    let other_peer = other_peer.peer_id().to_string();
    let by_commitment = ["--commitment", &commitment];
    for (nonce, flags, code) in [
        (&nonce, &by_commitment[..], 0),
        (&nonce, &["--file", &blob], 0),
        (&nonce, &["--root", &root, "--size", &size], 0),
        (
            &nonce,
            &["--commitment", &commitment, "--cid", &cid, "--peer", &peer],
            0,
        ),
        (&nonce, &["--commitment", &commitment, "--json"], 0),
        (&other, &by_commitment[..], 11),
        (&nonce, &["--commitment", &other], 11),
        (&nonce, &["--commitment", &other, "--json"], 11),
        (&nonce, &["--file", &other_blob], 11),
        (&nonce, &["--root", &root, "--size", "7"], 11),
        (
            &nonce,
            &["--commitment", &commitment, "--cid", &other_cid],
            11,
        ),
        (
            &nonce,
            &["--commitment", &commitment, "--peer", &other_peer],
            11,
        ),
        (&nonce, &["--commitment", &commitment, "--count", "5"], 11),
        (
            &nonce,
            &["--commitment", &commitment, "--max-age", "1h"],
            11,
        ),
    ] {
        let line = ["--url", NOBODY, "proof", "verify", &proof_file];
        let line = [&line[..], &["--nonce", nonce], flags].concat();
        assert_eq!(exit(&line), code, "{flags:?}");
    }
}

#[test]
fn a_file_that_is_no_proof_is_named() {
    let files = Files::new();
    let whole = json!(proof(1)).to_string();
    let (nonce, commitment) = (hex::encode(NONCE), commitment().to_string());
    for (bytes, part) in [
        (String::new(), "ends too early"),
        (whole[..100].to_owned(), "ends too early"),
        ("{}".to_owned(), "missing field"),
        (format!("{whole} {whole}"), "trailing characters"),
        (
            whole.replace("\"size\"", "\"sice\""),
            "unknown field `sice`",
        ),
        (" ".repeat(2 << 20), "more than"),
    ] {
        let file = files.write("p", bytes);
        let line = ["proof", "verify", &file, "--nonce", &nonce];
        let line = [&line[..], &["--commitment", &commitment]].concat();
        let error = command(&line).unwrap_err();
        let said = error.to_string();
        assert!(said.contains(&file) && said.contains(part), "{said}");
        assert!(matches!(error.exit().code(), 1 | 2), "{said}");
    }
}

#[test]
fn receipts_are_checked_and_kept_one_on_a_line() {
    let files = Files::new();
    let kept = text(&files.path("receipts"));
    let blob = files.write("blob", content());
    let stored = |receipt: Value| json!({"cid": BlobCid::of(&content()), "size": content().len(), "receipt": receipt});
    let store = |body: &Value, kept: &str| {
        let node = ok(body);
        let ended = command(&["--url", node.url(), "store", "-q", "--receipt", kept, &blob]);
        drop(node.request());
        ended
    };
    let mut altered = json!(receipt(&content()));
    altered["storedAt"] = json!(THEN + 1);
    for (body, code) in [
        (
            json!({"cid": BlobCid::of(&content()), "size": content().len()}),
            1,
        ),
        (stored(json!({"version": 1})), 1),
        (stored(altered.clone()), 11),
        (stored(json!(receipt(b"another"))), 11),
    ] {
        let error = store(&body, &kept).unwrap_err();
        assert_eq!(error.exit().code(), code, "{error}");
        assert!(!Path::new(&kept).exists(), "{error}");
    }
    store(&stored(json!(receipt(&content()))), &kept).unwrap();
    let text = fs::read_to_string(&kept).unwrap();
    assert_eq!(text.lines().count(), 1);
    assert_eq!(
        serde_json::from_str::<Receipt>(&text).unwrap(),
        receipt(&content())
    );
    // Before anything is stored.
    let line = ["--url", NOBODY, "store", "--receipt", &kept, &blob];
    assert_eq!(exit(&line), 7);

    let both = format!("{text}{}", json!(receipt(b"another")));
    let both = files.write("both", both);
    let altered = files.write("altered", altered.to_string());
    let (cid, other) = (BlobCid::of(&content()).to_string(), "0".repeat(64));
    let (commitment, peer) = (commitment().to_string(), identity().peer_id().to_string());
    for (file, flags, code) in [
        (&kept, &[][..], 0),
        (&kept, &["--json"], 0),
        (&kept, &["--file", &blob], 0),
        (
            &kept,
            &["--cid", &cid, "--commitment", &commitment, "--peer", &peer],
            0,
        ),
        (&kept, &["--commitment", &other], 11),
        (&both, &[], 0),
        (&both, &["--cid", &cid], 11),
        (&altered, &[], 11),
        (&blob, &[], 2),
    ] {
        let line = ["proof", "verify-receipt", file];
        assert_eq!(exit(&[&line[..], flags].concat()), code, "{flags:?}");
    }
    let empty = files.write("empty", "");
    assert_eq!(exit(&["proof", "verify-receipt", &empty]), 2);
}

#[test]
fn audits_are_asked_for() {
    let peer = identity().peer_id().to_string();
    let cid = BlobCid::of(b"x").to_string();
    let filter = format!("/audits?peer={peer}&cid={cid}&outcome=failed&before=7&limit=3");
    let filtered = [
        "--peer",
        &peer,
        "--cid",
        &cid,
        "--outcome",
        "failed",
        "--before",
        "7",
        "--limit",
        "3",
    ];
    let answer = json!({"audits": [], "next": null, "peers": [], "scrub": null});
    for (body, flags, path, code) in [
        (&answer, &[][..], "/audits?limit=100", 0),
        (&answer, &["--json"], "/audits?limit=100", 0),
        (&answer, &filtered[..], filter.as_str(), 0),
        (&json!({}), &[], "/audits?limit=100", 1),
    ] {
        let node = ok(body);
        let line = [&["--url", node.url(), "audits"], flags].concat();
        assert_eq!(exit(&line), code, "{flags:?}");
        let request = node.request();
        let asked = format!("GET {path} HTTP/1.1\r\n");
        assert!(request.starts_with(&asked), "{request}");
    }
}

fn scrub(running: bool, started_at: u64, finished_at: u64) -> Value {
    json!({
        "running": running, "startedAt": started_at, "finishedAt": finished_at, "blobs": 1,
        "bytes": 2, "damaged": 1, "totalBytes": 3,
    })
}

#[test]
fn a_scrub_is_asked_for_and_waited_for() {
    for flags in [&[][..], &["--json"]] {
        let node = ok(&scrub(true, 5, 4));
        let line = [&["--url", node.url(), "scrub"], flags].concat();
        assert_eq!(exit(&line), 0);
        let request = node.request();
        let asked = "POST /admin/scrub HTTP/1.1\r\n";
        assert!(request.starts_with(asked), "{request}");
    }
    let bodies = [
        scrub(true, 5, 4),
        // What the node said last was of the time before.
        json!({"scrub": scrub(false, 2, 4)}),
        json!({"scrub": null}),
        json!({"scrub": scrub(true, 5, 4)}),
        json!({"scrub": scrub(false, 5, 6)}),
    ];
    let answers = bodies.map(|body| answer("200 OK", "application/json", &body.to_string()));
    let node = FakeNode::answering_each(answers);
    assert_eq!(exit(&["--url", node.url(), "scrub", "--wait"]), 0);
    let request = node.request();
    assert_eq!(request.matches("POST /admin/scrub ").count(), 1);
    assert_eq!(request.matches("GET /health ").count(), 4, "{request}");
}
