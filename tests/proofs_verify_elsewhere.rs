//! Proofs are checked by programs that share no code with the node: a verifier in JavaScript that was
//! written from docs/proofs.md alone, and the contract, run on a chain of its own.

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::js::run;
use crate::harness::{Home, content, repository};

fn vectors() -> Value {
    let file = repository().join("tests/vectors/proof-vectors.json");
    serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
fn by_a_verifier_written_from_the_page_alone() {
    let said = run(&["proof-vectors.mjs"], "").well().stdout;
    let vectors = vectors();
    let lists = [
        "trees",
        "proofs",
        "malformedJson",
        "malformedBinary",
        "receipts",
    ];
    for list in lists {
        let all = vectors[list].as_array().unwrap().len();
        assert!(
            said.lines().any(|line| line == format!("{list} {all}")),
            "{list}: {said}"
        );
    }
    assert!(said.contains("the example of the page"), "{said}");
}

#[test]
fn by_the_contract_on_a_chain() {
    let said = run(&["proof-chain.mjs", "check"], "").well().stdout;
    let all = vectors()["proofs"].as_array().unwrap().len();
    for words in [
        format!("vectors {all}:"),
        "trees: 75 held".to_owned(),
        "misuse refused".to_owned(),
        "gas as in docs/proofs.md".to_owned(),
    ] {
        assert!(said.contains(&words), "{words:?} is not in {said}");
    }
}

/// The verifier's word on an answer, and the contract's.
#[track_caller]
fn judged(question: &Value, proof: &Value) -> (String, String) {
    let asked = json!({"question": question, "proof": proof}).to_string();
    let word = |args: &[&str]| run(args, &asked).well().stdout.trim().to_owned();
    (
        word(&["proof-verifier.mjs"]),
        word(&["proof-chain.mjs", "judge"]),
    )
}

#[test]
fn a_running_node_convinces_both() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    // One leaf that is not full; a whole number of chunks and a byte; more than a page of hashes.
    for (seed, size) in [(1, 700), (2, 1_048_577), (3, 70 * 1024 * 1024 + 5)] {
        let blob = content::bytes(seed, size);
        let stored = client.store(&blob).json();
        let (cid, nonce) = (
            content::cid(&blob),
            content::hex(&content::bytes(seed + 10, 32)),
        );
        let challenge = json!({"cid": cid, "nonce": nonce, "count": 8});
        let answer = client.ask(
            Request::new("POST", "/proofs")
                .header("Content-Type", "application/json")
                .body(challenge.to_string().as_bytes()),
        );
        assert_eq!(answer.status, 200, "{answer:?}");
        let proof = answer.json();
        // Of the bytes alone: the verifier trusts the node for nothing.
        let mut question = challenge;
        question["commitment"] = content::hex(&content::commitment(&blob)).into();
        let valid = ("valid".to_owned(), "valid".to_owned());
        assert_eq!(judged(&question, &proof), valid, "{size} bytes");

        // An honest answer says nothing of another blob.
        question["commitment"] = content::hex(&content::commitment(b"another")).into();
        let wrong = (
            "commitmentMismatch".to_owned(),
            "CommitmentMismatch".to_owned(),
        );
        assert_eq!(judged(&question, &proof), wrong, "{size} bytes");

        let receipt = json!({"receipt": stored["receipt"]}).to_string();
        assert_eq!(
            run(&["proof-verifier.mjs"], &receipt).well().stdout,
            "valid\n"
        );
    }
    node.stop();
}
