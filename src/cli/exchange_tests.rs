//! Whole commands against a node that answers as the test wants.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;

use bytecave_core::BlobCid;

use super::fake::{FakeNode, answer};
use super::*;

/// Port 1 (tcpmux) has been out of use for decades.
pub(super) const NOBODY: &str = "http://127.0.0.1:1";

/// Runs a command line as `main` does, except `run`.
pub(super) fn command(line: &[&str]) -> Result<Exit, CliError> {
    let cli = Cli::try_parse_from([&["bytecave"], line].concat()).unwrap();
    dispatch(&Context::new(cli.globals), cli.command.unwrap())
}

pub(super) fn exit(line: &[&str]) -> u8 {
    match command(line) {
        Ok(exit) => exit.code(),
        Err(error) => error.exit().code(),
    }
}

fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect()
}

#[test]
fn the_right_bytes_become_a_file() {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("copy");
    let node = FakeNode::answering(answer("200 OK", "text/plain", "hello"));
    let cid = BlobCid::of(b"hello").to_string();
    assert_eq!(
        exit(&[
            "--url",
            node.url(),
            "get",
            &cid,
            "-o",
            target.to_str().unwrap()
        ]),
        0
    );
    assert_eq!(fs::read(&target).unwrap(), b"hello");
    assert!(
        node.request()
            .starts_with(&format!("GET /retrieve/{cid} HTTP/1.1\r\n"))
    );
}

#[test]
fn a_wrong_byte_leaves_no_file() {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("copy");
    let node = FakeNode::answering(answer("200 OK", "text/plain", "hellp"));
    let cid = BlobCid::of(b"hello").to_string();
    assert_eq!(
        exit(&[
            "--url",
            node.url(),
            "get",
            &cid,
            "-o",
            target.to_str().unwrap()
        ]),
        6
    );
    assert!(names(temp.path()).is_empty());
}

#[test]
fn a_transfer_cut_short_leaves_no_file() {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("copy");
    let node = FakeNode::answering("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
    let cid = BlobCid::of(b"hello").to_string();
    assert_eq!(
        exit(&[
            "--url",
            node.url(),
            "get",
            &cid,
            "-o",
            target.to_str().unwrap()
        ]),
        4
    );
    assert!(names(temp.path()).is_empty());
}

#[test]
fn an_existing_file_is_not_even_asked_for() {
    let temp = tempfile::tempdir().unwrap();
    let target = temp.path().join("copy");
    fs::write(&target, "old").unwrap();
    let cid = BlobCid::of(b"hello").to_string();
    // The refusal comes before any connection.
    assert_eq!(
        exit(&["--url", NOBODY, "get", &cid, "-o", target.to_str().unwrap()]),
        7
    );
    let node = FakeNode::answering(answer("200 OK", "text/plain", "hello"));
    assert_eq!(
        exit(&[
            "--url",
            node.url(),
            "get",
            &cid,
            "--force",
            "-o",
            target.to_str().unwrap()
        ]),
        0
    );
    assert_eq!(fs::read(&target).unwrap(), b"hello");
}

#[test]
fn a_missing_blob_and_a_missing_node_are_told_apart() {
    let problem = r#"{"type":"x","title":"x","status":404,"detail":"blob is not here","code":"blob_not_found","requestId":"r"}"#;
    let node = FakeNode::answering(answer("404 Not Found", "application/problem+json", problem));
    let cid = BlobCid::of(b"hello").to_string();
    let error = command(&["--url", node.url(), "stat", &cid]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "blob is not here (code blob_not_found, request r)"
    );
    assert_eq!(error.exit().code(), 3);
    drop(node.request());
    let error = command(&["--url", NOBODY, "stat", &cid]).unwrap_err();
    assert_eq!(error.exit().code(), 4);
    assert!(error.to_string().contains(NOBODY), "{error}");
    assert!(error.hint().unwrap().contains("bytecave run"));
}

#[test]
fn the_answer_to_a_store_is_compared_with_what_was_sent() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("a file.txt");
    fs::write(&file, "hello").unwrap();
    let file = file.to_str().unwrap();
    for (content, code) in [(b"hello", 0), (b"hellp", 6)] {
        let body = format!(
            r#"{{"cid":"{}","size":5,"encrypted":true}}"#,
            BlobCid::of(content)
        );
        let node = FakeNode::answering(answer("201 Created", "application/json", &body));
        assert_eq!(exit(&["--url", node.url(), "store", "-q", file]), code);
        let request = node.request().to_ascii_lowercase();
        assert!(request.starts_with("post /store http/1.1\r\n"), "{request}");
        assert!(request.contains("\r\ncontent-length: 5\r\n"), "{request}");
        assert!(request.contains("filename=\"a file.txt\""), "{request}");
        assert!(request.ends_with("\r\n\r\nhello"), "{request}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_others_are_stored() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("b");
    fs::write(&file, "hello").unwrap();
    let body = format!(r#"{{"cid":"{}","size":5}}"#, BlobCid::of(b"hello"));
    let node = FakeNode::answering(answer("200 OK", "application/json", &body));
    let missing = temp.path().join("missing");
    let line = [
        "--url",
        node.url(),
        "store",
        "-q",
        missing.to_str().unwrap(),
        file.to_str().unwrap(),
    ];
    let error = command(&line).unwrap_err();
    assert_eq!(error.to_string(), "1 of 2 failed");
    assert_eq!(error.exit().code(), 1);
    assert!(node.request().ends_with("hello"));
}

#[test]
fn a_token_is_asked_for_and_sent() {
    let temp = tempfile::tempdir().unwrap();
    let token = temp.path().join("token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let problem = r#"{"status":401,"detail":"a token is needed","code":"token_required"}"#;
    let node = FakeNode::answering(answer(
        "401 Unauthorized",
        "application/problem+json",
        problem,
    ));
    let data = temp.path().to_str().unwrap();
    let error = command(&["--url", node.url(), "--data-dir", data, "gc"]).unwrap_err();
    assert_eq!(error.exit().code(), 5);
    assert!(
        error.hint().unwrap().contains("--token-file"),
        "{:?}",
        error.hint()
    );
    assert!(
        !node
            .request()
            .to_ascii_lowercase()
            .contains("authorization")
    );

    let report = r#"{"families":1,"deadBytesBefore":10,"deadBytesAfter":0}"#;
    let node = FakeNode::answering(answer("200 OK", "application/json", report));
    assert_eq!(
        exit(&[
            "--url",
            node.url(),
            "--token-file",
            token.to_str().unwrap(),
            "gc"
        ]),
        0
    );
    assert!(node.request().contains("Bearer 0123456789abcdef\r\n"));
}

#[test]
fn status_has_one_code_for_each_state() {
    let health = |status: &str| {
        let body = format!(
            r#"{{"status":"{status}","uptime":1,"storedBlobs":0,"totalSize":0,"peerId":"x","multiaddrs":[],"publicKey":"0x","peers":0}}"#
        );
        answer("200 OK", "application/json", &body)
    };
    let recovering = r#"{"status":503,"detail":"starting","code":"recovering"}"#;
    let cases = [
        (health("healthy"), 0),
        (health("degraded"), 1),
        (health("unhealthy"), 2),
        (
            answer(
                "503 Service Unavailable",
                "application/problem+json",
                recovering,
            ),
            2,
        ),
        (answer("200 OK", "text/html", "<html>"), 2),
        (answer("200 OK", "application/json", "{}"), 2),
    ];
    for (answer, code) in cases {
        let node = FakeNode::answering(answer);
        assert_eq!(exit(&["--url", node.url(), "status"]), code);
        assert!(node.request().starts_with("GET /health "));
    }
    assert_eq!(exit(&["--url", NOBODY, "status"]), 2);
}

#[test]
fn peers_are_asked_for_with_the_token() {
    let temp = tempfile::tempdir().unwrap();
    let token = temp.path().join("token");
    fs::write(&token, "0123456789abcdef\n").unwrap();
    let peers = r#"{"multiaddrs":[],"connected":1,"peers":[{"peerId":"p","connection":"direct","multiaddrs":[],"lastSeenMs":1,"live":true}],"relays":[],"links":[],"reachability":{"verdict":"unknown"}}"#;
    let off = r#"{"enabled":false,"multiaddrs":[],"connected":0,"peers":[],"relays":[],"links":[],"reachability":{"verdict":"unknown"}}"#;
    for (body, flags, code) in [
        (peers, &[][..], 0),
        (peers, &["--connected", "--live", "--shard", "5"], 0),
        (peers, &["--json"], 0),
        (peers, &["-q"], 0),
        (off, &[], 0),
        ("{}", &[], 1),
    ] {
        let node = FakeNode::answering(answer("200 OK", "application/json", body));
        let token = token.to_str().unwrap();
        let line = [
            &["--url", node.url(), "--token-file", token, "peers"],
            flags,
        ]
        .concat();
        let ended = command(&line);
        let ended = ended.map_or_else(|error| error.exit().code(), Exit::code);
        assert_eq!(ended, code, "{flags:?} {body}");
        let request = node.request();
        let asked = if flags.contains(&"--connected") {
            "GET /peers?state=connected HTTP/1.1\r\n"
        } else {
            "GET /peers HTTP/1.1\r\n"
        };
        assert!(request.starts_with(asked), "{request}");
        assert!(request.contains("Bearer 0123456789abcdef\r\n"), "{request}");
    }
}

#[test]
fn work_on_the_database_needs_one_and_a_confirmation() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let data = data.to_str().unwrap();
    let unconfirmed = command(&["--data-dir", data, "shards", "drop", "8-15"]).unwrap_err();
    assert_eq!(unconfirmed.exit().code(), 2);
    assert!(unconfirmed.to_string().contains("8-15"), "{unconfirmed}");
    assert!(unconfirmed.to_string().contains("--yes"), "{unconfirmed}");
    assert_eq!(
        exit(&["--data-dir", data, "shards", "drop", "9999", "--yes"]),
        2
    );
    assert_eq!(
        exit(&["--data-dir", data, "shards", "drop", "5-3", "--yes"]),
        2
    );
    for line in [&["verify"][..], &["shards", "drop", "8", "--yes"]] {
        let error = command(&[&["--data-dir", data], line].concat()).unwrap_err();
        assert!(error.to_string().contains("no database"), "{error}");
    }
    assert!(names(temp.path()).is_empty(), "nothing was made");
}

#[test]
fn a_redirect_is_not_followed() {
    let node = FakeNode::answering(
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n",
    );
    let error = command(&["--url", node.url(), "ls"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the answer was 302 Found and gave no reason"
    );
    drop(node.request());
}
