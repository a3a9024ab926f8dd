//! `POST /proofs` and `POST /proofs/verify`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytecave_core::proof::Anchor;
use bytecave_core::proof::{
    Challenge, ChallengeCount, FormError, Nonce, Proof, Question, Statement, Verdict, verify,
};
use bytecave_core::{BlobCid, BlobRoot, Commitment, NodeIdentity, tree};
use bytecave_messages::proof::ProofError;
use bytecave_messages::store::StoreError;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::client::{Answer, Request, read_answer};
use crate::fake_proof::PROVED_AT;
use crate::node::Node;

const NONCE: [u8; 32] = [5; 32];

fn content() -> Vec<u8> {
    (0..5000_u32).flat_map(u32::to_be_bytes).collect()
}

fn root() -> BlobRoot {
    tree::blob_root(&content())
}

fn commitment() -> Commitment {
    Commitment::of(content().len() as u64, &root())
}

fn challenge(count: u64) -> Challenge {
    Challenge {
        cid: BlobCid::of(&content()),
        nonce: Nonce::new(NONCE),
        count: ChallengeCount::new(count).unwrap(),
    }
}

/// A proof by another node than the one that is asked to verify it.
fn proof(count: u64, timestamp_ms: u64) -> Proof {
    let identity = NodeIdentity::from_seed([9; 32]).unwrap();
    let statement = Statement::from_content(&challenge(count), &content()).unwrap();
    Proof::sign(&identity, "prover", timestamp_ms, statement).unwrap()
}

fn ask(path: &str, body: &Value) -> Request {
    Request::post(path, body.to_string()).header("Content-Type", "application/json")
}

async fn prove(node: &Node, body: Value) -> Answer {
    node.send(ask("/proofs", &body)).await
}

async fn judge(node: &Node, body: Value) -> Answer {
    node.send(ask("/proofs/verify", &body)).await
}

#[track_caller]
fn says(problem: &Value, part: &str) {
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(part), "no {part:?} in {detail}");
}

#[actix::test]
async fn a_proof_holds_for_whoever_knows_the_commitment() {
    let node = Node::up().await;
    let cid = node.prover.seed(&content());
    for (cid, count) in [
        (cid.to_string(), None),
        (cid.digest().to_hex(), Some(1)),
        (cid.to_string(), Some(32)),
    ] {
        let mut body = json!({"cid": cid, "nonce": hex::encode(NONCE)});
        if let Some(count) = count {
            body["count"] = json!(count);
        }
        let answer = prove(&node, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        let proof: Proof = serde_json::from_slice(&answer.body).unwrap();
        let asked = challenge(count.unwrap_or(4));
        let question = Question::of(&asked, Anchor::Commitment(commitment()));
        assert_eq!(verify(&proof, &question), Verdict::Valid);
        assert_eq!(node.prover.challenged().pop(), Some(asked));
    }
}

#[actix::test]
async fn without_a_nonce_it_is_said_whose_it_has_to_be() {
    let node = Node::up().await;
    let cid = node.prover.seed(&content());
    for body in [json!({"cid": cid}), json!({"cid": cid, "nonce": null})] {
        let problem = prove(&node, body).await.problem(400, "bad_body");
        says(&problem, "nonce is missing");
        says(&problem, "the verifier makes");
    }
    assert!(node.prover.challenged().is_empty());
}

#[actix::test]
async fn what_is_wrong_with_a_challenge_is_named() {
    let node = Node::up().await;
    let cid = node.prover.seed(&content()).to_string();
    let nonce = hex::encode(NONCE);
    for (body, code, part) in [
        (json!({"nonce": nonce}), "bad_body", "cid"),
        (json!({"cid": "Qm", "nonce": nonce}), "bad_cid", "cid: "),
        (
            json!({"cid": cid, "nonce": "05"}),
            "bad_body",
            "nonce: \"05\"",
        ),
        (
            json!({"cid": cid, "nonce": nonce, "count": 0}),
            "bad_body",
            "count: ",
        ),
        (
            json!({"cid": cid, "nonce": nonce, "count": 33}),
            "bad_body",
            "1 to 32",
        ),
        (
            json!({"cid": cid, "nonce": nonce, "cuont": 4}),
            "bad_body",
            "unknown field `cuont`",
        ),
        (json!([]), "bad_body", "\"nonce\": 64 hex digits"),
    ] {
        says(&prove(&node, body).await.problem(400, code), part);
    }
    let twice = format!("{{\"cid\":\"{cid}\",\"nonce\":\"{nonce}\",\"nonce\":\"{nonce}\"}}");
    let twice = Request::post("/proofs", twice).header("Content-Type", "application/json");
    let problem = node.send(twice).await.problem(400, "bad_body");
    says(&problem, "duplicate field `nonce`");
    assert!(node.prover.challenged().is_empty());
}

#[actix::test]
async fn bodies_are_json_and_bounded() {
    let node = Node::up().await;
    for (path, max) in [("/proofs", 4 * 1024), ("/proofs/verify", 256 * 1024)] {
        let large = json!({"cid": "x".repeat(max)});
        let stated = node.send(ask(path, &large)).await;
        let problem = stated.problem(413, "body_too_large");
        says(&problem, &max.to_string());
        let chunked = node.send(ask(path, &large).chunked()).await;
        chunked.problem(413, "body_too_large");
        for kind in ["", "text/plain", "application/octet-stream"] {
            let request = Request::post(path, "{}").header("Content-Type", kind);
            let answer = node.send(request).await;
            answer.problem(415, "unsupported_media_type");
        }
        let empty = Request::new("POST", path).header("Content-Type", "application/json");
        node.send(empty).await.problem(400, "bad_body");
    }
}

#[actix::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let node = Node::with(|setup| {
        setup.settings.body_idle_timeout = Duration::from_millis(50);
        setup.http_mailbox = 1;
    })
    .await;
    let request = Request::post("/proofs", "").header("Content-Type", "application/json");
    let request = request.header("Content-Length", "100");
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    stream.write_all(&request.head(node.address)).await.unwrap();
    let answer = read_answer(&mut stream, false).await;
    answer.problem(408, "upload_too_slow");
}

#[actix::test]
async fn bodies_count_against_the_memory_for_uploads() {
    let node = Node::with(|setup| setup.settings.max_upload_in_flight_bytes = 100).await;
    let body = json!({"cid": "x".repeat(100)});
    let refused = prove(&node, body).await;
    refused.problem(503, "uploads_full");
    assert_eq!(refused.header("retry-after"), Some("1"));
}

#[actix::test]
async fn what_the_prover_refuses_has_its_code() {
    let node = Node::up().await;
    let cid = BlobCid::of(b"not here");
    let body = json!({"cid": cid, "nonce": hex::encode(NONCE)});
    let missing = prove(&node, body.clone()).await;
    says(&missing.problem(404, "blob_not_found"), &cid.to_string());
    let busy = ProofError::Busy {
        retry_after: Duration::from_millis(2500),
    };
    for (error, status, code, wait) in [
        (StoreError::Blocked { cid }.into(), 451, "blocked", None),
        (
            StoreError::Deleted { cid }.into(),
            404,
            "blob_not_found",
            None,
        ),
        (StoreError::Damaged { cid }.into(), 500, "damaged", None),
        (
            StoreError::Unavailable.into(),
            503,
            "store_unavailable",
            Some("5"),
        ),
        (
            ProofError::Unavailable,
            503,
            "prover_unavailable",
            Some("5"),
        ),
        (busy, 429, "prover_busy", Some("3")),
        (FormError::NoSuchLeaf(7).into(), 500, "internal", None),
    ] {
        node.prover.fail_with(error);
        let answer = prove(&node, body.clone()).await;
        answer.problem(status, code);
        assert_eq!(answer.header("retry-after"), wait, "{code}");
    }
}

#[actix::test]
async fn a_full_prover_is_503() {
    use bytecave_messages::budget::Share;
    let node = Node::up().await;
    let held: Vec<_> =
        std::iter::from_fn(|| node.proof_budget.try_acquire(Share::Client, "held").ok()).collect();
    assert!(!held.is_empty());
    let body = json!({"cid": BlobCid::of(b"x"), "nonce": hex::encode(NONCE)});
    let answer = prove(&node, body).await;
    assert_eq!(answer.problem(503, "mailbox_full")["actor"], "proof");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

/// A question that a good proof answers, with some members changed; null removes one.
fn question(changes: Value) -> Value {
    let mut body = json!({
        "proof": proof(4, PROVED_AT),
        "nonce": hex::encode(NONCE),
        "commitment": commitment().to_string(),
        "cid": BlobCid::of(&content()),
        "count": 4,
    });
    for (name, value) in changes.as_object().unwrap() {
        if value.is_null() {
            body.as_object_mut().unwrap().remove(name);
        } else {
            body[name] = value.clone();
        }
    }
    body
}

#[actix::test]
async fn a_proof_that_holds_is_valid_by_either_anchor() {
    let node = Node::up().await;
    let size = content().len();
    let root = root().to_string();
    for changes in [
        json!({}),
        json!({"commitment": null, "blobRoot": root, "size": size}),
        // The answer to a store has all three.
        json!({"blobRoot": root, "size": size}),
        json!({"peerId": proof(4, 0).peer_id}),
        json!({"cid": BlobCid::of(&content()).digest().to_hex()}),
    ] {
        let answer = judge(&node, question(changes)).await;
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.json(), json!({"valid": true, "warnings": []}));
    }
}

#[actix::test]
async fn a_proof_that_does_not_hold_has_one_reason() {
    let node = Node::up().await;
    let other = "0".repeat(64);
    let altered = {
        let mut altered = serde_json::to_value(proof(4, PROVED_AT)).unwrap();
        altered["size"] = json!(1);
        altered
    };
    for (changes, reason) in [
        (json!({"commitment": null}), "unanchored"),
        (json!({"commitment": other}), "commitmentMismatch"),
        (json!({"nonce": other}), "wrongNonce"),
        (json!({"cid": BlobCid::of(b"y")}), "wrongCid"),
        (json!({"count": 5}), "wrongCount"),
        (json!({"proof": proof(5, PROVED_AT)}), "wrongCount"),
        (json!({"proof": altered}), "badSignature"),
        (json!({"maxAgeSeconds": 60}), "stale"),
        (
            json!({"peerId": NodeIdentity::from_seed([8; 32]).unwrap().peer_id()}),
            "wrongPeer",
        ),
    ] {
        let answer = judge(&node, question(changes)).await;
        assert_eq!(answer.status, 200);
        let answer = answer.json();
        assert_eq!(answer["valid"], false, "{reason}");
        assert_eq!(answer["reason"], reason);
        assert!(!answer["detail"].as_str().unwrap().is_empty());
    }
}

#[actix::test]
async fn a_recent_proof_is_not_stale() {
    let node = Node::up().await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = u64::try_from(now.as_millis()).unwrap();
    for (timestamp, age, valid) in [
        (now, 3600, true),
        // Clocks differ in both directions.
        (now + 60_000, 3600, true),
        (now + 7_200_000, 3600, false),
        (0, u64::MAX, true),
    ] {
        let changes = json!({"proof": proof(4, timestamp), "maxAgeSeconds": age});
        let answer = judge(&node, question(changes)).await.json();
        assert_eq!(answer["valid"], valid, "{timestamp} {answer}");
    }
}

#[actix::test]
async fn what_was_not_asked_is_told() {
    let node = Node::up().await;
    let codes = |answer: &Value| -> Vec<String> {
        let warnings = answer["warnings"].as_array().unwrap();
        let codes = warnings
            .iter()
            .map(|warning| warning["code"].as_str().unwrap());
        codes.map(str::to_owned).collect()
    };
    for (changes, valid, told) in [
        (json!({"nonce": null}), true, vec!["noNonce"]),
        (json!({"cid": null}), true, vec!["noCid"]),
        (json!({"count": null}), true, vec!["noCount"]),
        (
            json!({"nonce": null, "cid": null, "count": null}),
            true,
            vec!["noNonce", "noCid", "noCount"],
        ),
        // Neither nonce nor commitment: nothing can be said.
        (
            json!({"nonce": null, "commitment": null}),
            false,
            vec!["noNonce"],
        ),
    ] {
        let answer = judge(&node, question(changes)).await.json();
        assert_eq!(answer["valid"], valid, "{answer}");
        assert_eq!(codes(&answer), told);
        assert_eq!(answer["reason"] == "unanchored", !valid);
    }
}

#[actix::test]
async fn what_contradicts_itself_or_has_no_form_is_400() {
    let node = Node::up().await;
    let root = root().to_string();
    let size = content().len();
    let cut = {
        let mut cut = serde_json::to_value(proof(4, PROVED_AT)).unwrap();
        cut.as_object_mut().unwrap().remove("signature");
        cut
    };
    let many = {
        let mut many = serde_json::to_value(proof(32, PROVED_AT)).unwrap();
        let leaf = many["leaves"][0].clone();
        many["leaves"].as_array_mut().unwrap().push(leaf);
        many
    };
    for (changes, part) in [
        (
            json!({"blobRoot": root, "size": size + 1}),
            "of different blobs",
        ),
        (json!({"blobRoot": root}), "blobRoot is given without size"),
        (json!({"size": size}), "size is given without blobRoot"),
        (json!({"commitment": "zz"}), "commitment: \"zz\""),
        (json!({"blobRoot": "zz", "size": 1}), "blobRoot: \"zz\""),
        (json!({"nonce": "zz"}), "nonce: \"zz\""),
        (json!({"peerId": "zz"}), "peerId: "),
        (json!({"count": 99}), "count: "),
        (json!({"size": -1}), "-1"),
        (json!({"anchor": 1}), "unknown field `anchor`"),
        (json!({"proof": null}), "missing field `proof`"),
        (json!({"proof": cut}), "missing field `signature`"),
        (json!({"proof": many}), "33 leaves are too many"),
    ] {
        let answer = judge(&node, question(changes)).await;
        says(&answer.problem(400, "bad_body"), part);
    }
    let answer = judge(&node, question(json!({"cid": "zz"}))).await;
    says(&answer.problem(400, "bad_cid"), "cid: ");
}
