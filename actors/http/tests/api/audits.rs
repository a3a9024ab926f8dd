//! `GET /audits`, `POST /admin/scrub`, and what else tells of audits and the scrub.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytecave_core::proof::{
    Challenge, ChallengeCount, Nonce, Proof, Receipt, Statement, StoredBlob,
};
use bytecave_core::{BlobCid, Commitment, NodeIdentity, PeerId};
use bytecave_http::openapi_json;
use bytecave_messages::proof::{
    AuditCause, AuditFilter, AuditPage, AuditRecord, Evidence, Outcome, PeerAudits, ProofChanged,
    ProofError, ProofSnapshot,
};
use serde_json::{Value, json};

use crate::client::Request;
use crate::fake_proof::{PROVED_AT, scrub};
use crate::node::{Node, TOKEN};

fn identity(number: u32) -> NodeIdentity {
    let mut seed = [1; 32];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    NodeIdentity::from_seed(seed).unwrap()
}

fn peer_id(number: u32) -> PeerId {
    identity(number).peer_id()
}

fn proof(count: u64, size: usize) -> Proof {
    let content = vec![7; size];
    let challenge = Challenge {
        cid: BlobCid::of(&content),
        nonce: Nonce::new([3; 32]),
        count: ChallengeCount::new(count).unwrap(),
    };
    let statement = Statement::from_content(&challenge, &content).unwrap();
    Proof::sign(&identity(1), "liar", PROVED_AT, statement).unwrap()
}

fn audit(sequence: u64, evidence: Option<Proof>) -> Arc<AuditRecord> {
    let failed = evidence.is_some();
    Arc::new(AuditRecord {
        sequence,
        at_ms: PROVED_AT + sequence,
        peer_id: peer_id(1),
        cid: BlobCid::of(b"x"),
        size: 1,
        cause: AuditCause::Random,
        outcome: if failed {
            Outcome::Failed
        } else {
            Outcome::Passed
        },
        reason: failed.then(|| "wrongNonce".to_owned()),
        took_ms: 12,
        evidence: evidence.map(|proof| {
            Box::new(Evidence {
                nonce: proof.nonce,
                count: 4,
                proof,
            })
        }),
    })
}

fn peer(number: u32, failed: u64) -> PeerAudits {
    PeerAudits {
        peer_id: peer_id(number),
        passed: 5,
        failed,
        other: 2,
        last_at: PROVED_AT,
        last_outcome: if failed > 0 {
            Outcome::Failed
        } else {
            Outcome::Passed
        },
    }
}

fn snapshot(peers: Vec<PeerAudits>) -> ProofSnapshot {
    ProofSnapshot {
        scrub: scrub(),
        peers: peers.into(),
        counters: vec![("audits_passed", 11), ("scrubbed_blobs", 7)],
    }
}

impl Node {
    async fn tell_proofs(&self, proofs: ProofSnapshot) {
        let proofs = ProofChanged(Arc::new(proofs));
        self.actor.send(proofs).await.unwrap();
    }
}

#[actix::test]
async fn audits_are_told_with_peers_and_the_scrub() {
    let node = Node::up().await;
    node.prover.lists(AuditPage {
        audits: vec![audit(9, Some(proof(1, 10))), audit(8, None)],
        next: Some(8),
    });
    let answer = node.get("/audits").await.json();
    assert_eq!(
        (&answer["peers"], &answer["scrub"]),
        (&json!([]), &json!(null)),
        "nothing is known yet"
    );
    node.tell_proofs(snapshot(vec![peer(1, 3)])).await;
    let answer = node.get("/audits").await;
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    let answer = answer.json();
    assert_eq!(
        answer["audits"][1],
        json!({
            "sequence": 8, "at": PROVED_AT + 8, "peerId": peer_id(1).to_string(),
            "cid": BlobCid::of(b"x").to_string(), "size": 1, "cause": "random", "outcome": "passed",
            "took": 12,
        })
    );
    assert_eq!(answer["audits"][0]["reason"], "wrongNonce");
    let evidence = &answer["audits"][0]["evidence"];
    assert_eq!(evidence["nonce"], "03".repeat(32));
    assert_eq!(
        evidence["proof"],
        serde_json::to_value(proof(1, 10)).unwrap()
    );
    assert_eq!(answer["next"], 8);
    assert_eq!(
        answer["peers"],
        json!([{
            "peerId": peer_id(1).to_string(), "passed": 5, "failed": 3, "other": 2,
            "lastAt": PROVED_AT, "lastOutcome": "failed",
        }])
    );
    assert_eq!(
        answer["scrub"],
        json!({
            "running": true, "startedAt": PROVED_AT, "blobs": 3, "bytes": 4096, "damaged": 1,
            "totalBytes": 8192,
        })
    );
}

#[actix::test]
async fn the_filter_reaches_the_prover() {
    let node = Node::up().await;
    let cid = BlobCid::of(b"x");
    let peer = peer_id(4);
    let all = AuditFilter::default();
    for (query, expected) in [
        (String::new(), (all, None, 100)),
        ("?limit=1000&before=7".to_owned(), (all, Some(7), 1000)),
        (
            format!("?peer={peer}&cid={cid}&outcome=contained&limit=1"),
            (
                AuditFilter {
                    peer: Some(peer),
                    cid: Some(cid),
                    outcome: Some(Outcome::Contained),
                },
                None,
                1,
            ),
        ),
    ] {
        assert_eq!(node.get(format!("/audits{query}")).await.status, 200);
        assert_eq!(node.prover.listed().pop(), Some(expected), "{query}");
    }
}

#[actix::test]
async fn a_bad_parameter_is_named() {
    let node = Node::up().await;
    for (query, part) in [
        ("peer=x", "peer=x: "),
        ("cid=x", "cid=x: "),
        (
            "outcome=bad",
            "outcome=bad is none: expected one of passed, failed,",
        ),
        ("before=-1", "before=-1: "),
        ("limit=many", "limit=many: "),
        ("limit=0", "limit=0 is out of range: expected 1 to 1000"),
        ("limit=1001", "limit=1001 is out of range"),
        ("pear=x", "unknown field `pear`"),
    ] {
        let problem = node.get(format!("/audits?{query}")).await;
        let problem = problem.problem(400, "bad_query");
        let detail = problem["detail"].as_str().unwrap();
        assert!(detail.contains(part), "no {part:?} in {detail}");
    }
    assert!(node.prover.listed().is_empty());
}

#[actix::test]
async fn a_page_with_much_evidence_ends_early_and_goes_on_behind() {
    let node = Node::up().await;
    let large = proof(32, 100 * 1024);
    node.prover.lists(AuditPage {
        audits: (0..200)
            .map(|at| audit(1000 - at, Some(large.clone())))
            .collect(),
        next: Some(801),
    });
    let answer = node.get("/audits?limit=200").await;
    assert!(answer.body.len() < 5 * 1024 * 1024, "{}", answer.body.len());
    let answer = answer.json();
    let audits = answer["audits"].as_array().unwrap();
    assert!((20..200).contains(&audits.len()), "{}", audits.len());
    assert_eq!(answer["next"], audits.last().unwrap()["sequence"]);
}

#[actix::test]
async fn of_too_many_peers_those_that_failed_most_are_told() {
    let node = Node::up().await;
    let peers = (0..1200).map(|number| peer(number, u64::from(number % 100)));
    node.tell_proofs(snapshot(peers.collect())).await;
    let answer = node.get("/audits").await.json();
    let peers = answer["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 1000);
    let fewest = peers.iter().map(|peer| peer["failed"].as_u64().unwrap());
    assert!(fewest.min().unwrap() >= 16);
}

#[actix::test]
async fn a_scrub_is_started_and_its_state_told() {
    let node = Node::up().await;
    let request = Request::new("POST", "/admin/scrub").token(TOKEN);
    let answer = node.send(request.clone()).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json(), serde_json::to_value(scrub()).unwrap());
    assert_eq!(node.prover.scrubs(), 1);

    assert_eq!(node.get("/health").await.json()["scrub"], json!(null));
    node.tell_proofs(snapshot(Vec::new())).await;
    let health = node.get("/health").await.json();
    assert_eq!(health["scrub"], answer.json());
    assert_eq!(health["status"], "healthy", "a scrub is nothing bad");

    node.prover.fail_with(ProofError::Unavailable);
    node.send(request).await.problem(503, "prover_unavailable");
    node.get("/audits").await.problem(503, "prover_unavailable");
}

#[actix::test]
async fn metrics_tell_of_audits_and_the_scrub() {
    let node = Node::up().await;
    let text = node.get("/metrics").await.text();
    assert!(!text.contains("bytecave_proof_scrub"));
    node.tell_proofs(snapshot(vec![peer(1, 0), peer(2, 1)]))
        .await;
    for (name, value) in [
        ("bytecave_proof_scrub_running", 1.0),
        ("bytecave_proof_scrub_blobs", 3.0),
        ("bytecave_proof_scrub_position_bytes", 4096.0),
        ("bytecave_proof_scrub_total_bytes", 8192.0),
        ("bytecave_proof_scrub_damaged_blobs", 1.0),
        ("bytecave_proof_scrub_start_time_seconds", 1_700_000_000.0),
        ("bytecave_proof_peers ", 2.0),
        ("bytecave_proof_peers_failed", 1.0),
        ("bytecave_proof_audits_passed_total", 11.0),
        ("bytecave_proof_scrubbed_blobs_total", 7.0),
    ] {
        assert_eq!(node.metric(name).await, Some(value), "{name}");
    }
    assert_eq!(
        node.metric("bytecave_proof_scrub_finish_time_seconds")
            .await,
        None,
        "none has ended yet"
    );
    let text = node.get("/metrics").await.text();
    assert!(!text.contains(&peer_id(1).to_string()));
}

/// The shapes in the OpenAPI document are written by hand; the answers are not.
#[test]
fn the_documented_shapes_have_every_field() {
    let document: Value = serde_json::from_str(openapi_json()).unwrap();
    let mut view = scrub();
    (view.finished_at, view.next_at) = (Some(1), Some(2));
    let failed = serde_json::to_value(&*audit(1, Some(proof(1, 10)))).unwrap();
    let stored = StoredBlob {
        cid: BlobCid::of(b"x"),
        size: 1,
        commitment: Commitment::new([0; 32]),
        stored_at_ms: 1,
    };
    let receipt = Receipt::sign(&identity(1), "n", stored).unwrap();
    let proof = &failed["evidence"]["proof"];
    for (name, value) in [
        ("Proof", proof.clone()),
        ("ProofLeaf", proof["leaves"][0].clone()),
        ("Receipt", serde_json::to_value(receipt).unwrap()),
        ("Scrub", serde_json::to_value(view).unwrap()),
        ("AuditEvidence", failed["evidence"].clone()),
        ("Audit", failed),
        ("PeerAudits", serde_json::to_value(peer(1, 1)).unwrap()),
    ] {
        let documented = &document["components"]["schemas"][name]["properties"];
        let documented: BTreeSet<&String> = documented.as_object().unwrap().keys().collect();
        let told: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(documented, told, "{name}");
    }
}
