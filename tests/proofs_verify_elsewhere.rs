//! Proofs are checked by programs that share no code with the node: a verifier in JavaScript that was
//! written from docs/proofs.md alone, and the contract, compiled again and run on a chain of its own.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::harness::js::runtime;
use crate::harness::{Ended, repository};

/// Runs a program of `tests/js` to its end. The programs end by themselves when what they talk to hangs.
#[track_caller]
fn run(args: &[&str], stdin: &str) -> Ended {
    let mut child = Command::new(runtime())
        .current_dir(repository().join("tests/js"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    // One that fails before it has read everything says why on its standard error.
    let _ = to.write_all(stdin.as_bytes());
    drop(to);
    Ended::from(child.wait_with_output().unwrap())
}

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
fn the_contract_compiles_to_the_bytes_that_are_checked_in() {
    let said = run(&["contracts.mjs", "check"], "").well().stdout;
    assert!(
        said.lines().any(|line| line == "ProofVerifier the same"),
        "{said}"
    );
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
