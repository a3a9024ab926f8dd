//! Commands about copies and blocks against a node that answers as the test wants.

#![allow(clippy::unwrap_used)]

use std::fs;

use bytecave_core::BlobCid;

use super::exchange_tests::{NOBODY, command, exit};
use super::exit::Exit;
use super::fake::{FakeNode, answer};

#[test]
fn copies_are_asked_for_and_fewer_have_a_code_of_their_own() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("f");
    fs::write(&file, "hello").unwrap();
    let file = file.to_str().unwrap();
    let body = format!(
        r#"{{"cid":"{}","size":5,"replicas":{{"target":3,"confirmed":2}}}}"#,
        BlobCid::of(b"hello")
    );
    for (status, code) in [("201 Created", 0), ("200 OK", 0), ("202 Accepted", 10)] {
        for flags in [&[][..], &["-q"], &["--json"]] {
            let node = FakeNode::answering(answer(status, "application/json", &body));
            let line = ["--url", node.url(), "store", "--replicas", "3", file];
            let ended = command(&[&line[..], flags].concat());
            if let Err(error) = &ended {
                assert_eq!(
                    error.to_string(),
                    format!(
                        "{file} is stored, with 2 of the 3 copies that were asked for; the rest are made in the background"
                    )
                );
            }
            let ended = ended.map_or_else(|error| error.exit().code(), Exit::code);
            assert_eq!(ended, code, "{status} {flags:?}");
            let request = node.request();
            assert!(
                request.starts_with("POST /store?replicas=3 HTTP/1.1\r\n"),
                "{request}"
            );
        }
    }
}

#[test]
fn blocks_are_set_and_lifted() {
    let cid = BlobCid::of(b"x").to_string();
    for (verb, method, changed) in [
        ("block", "PUT", true),
        ("block", "PUT", false),
        ("unblock", "DELETE", true),
        ("unblock", "DELETE", false),
    ] {
        let blocked = verb == "block";
        let body = format!(r#"{{"cid":"{cid}","blocked":{blocked},"changed":{changed}}}"#);
        let node = FakeNode::answering(answer("200 OK", "application/json", &body));
        assert_eq!(exit(&["--url", node.url(), verb, &cid]), 0);
        let request = node.request();
        let asked = format!("{method} /admin/blocked/{cid} HTTP/1.1\r\n");
        assert!(request.starts_with(&asked), "{request}");
    }
}

#[test]
fn a_list_is_blocked_whole_or_not_at_all() {
    let temp = tempfile::tempdir().unwrap();
    let list = temp.path().join("list");
    let path = list.to_str().unwrap();
    let cid = BlobCid::of(b"x");
    fs::write(&list, format!("# refused\n{cid}\nnonsense\n")).unwrap();
    // Before any connection.
    let error = command(&["--url", NOBODY, "block", "--file", path]).unwrap_err();
    assert_eq!(error.exit().code(), 2);
    let text = error.to_string();
    assert!(text.contains("line 3 (nonsense)"), "{text}");
    assert!(text.contains("nothing was done"), "{text}");

    fs::write(&list, format!("# refused\n{cid} # this one\n")).unwrap();
    let body = format!(r#"{{"cid":"{cid}","blocked":true,"changed":true}}"#);
    let node = FakeNode::answering(answer("200 OK", "application/json", &body));
    assert_eq!(exit(&["--url", node.url(), "block", "--file", path]), 0);
    let asked = format!("PUT /admin/blocked/{cid} ");
    assert!(node.request().starts_with(&asked));
    let missing = temp.path().join("missing");
    let missing = missing.to_str().unwrap();
    assert_eq!(exit(&["--url", NOBODY, "block", "--file", missing]), 1);
}

#[test]
fn the_list_of_blocks_is_asked_for() {
    let body = format!(r#"{{"cids":["{}"],"next":null}}"#, BlobCid::of(b"x"));
    for flags in [&[][..], &["--json"]] {
        let node = FakeNode::answering(answer("200 OK", "application/json", &body));
        let line = [&["--url", node.url(), "block", "--list"], flags].concat();
        assert_eq!(exit(&line), 0);
        let request = node.request();
        assert!(
            request.starts_with("GET /admin/blocked?limit=1000 HTTP/1.1\r\n"),
            "{request}"
        );
    }
}

#[test]
fn a_blocked_blob_is_refused_and_the_next_is_tried() {
    let problem = r#"{"status":451,"detail":"blob is blocked on this node","code":"blocked"}"#;
    let blocked = "451 Unavailable For Legal Reasons";
    let node = FakeNode::answering(answer(blocked, "application/problem+json", problem));
    let cid = BlobCid::of(b"x").to_string();
    let error = command(&["--url", node.url(), "stat", &cid]).unwrap_err();
    assert_eq!(error.exit().code(), 5);
    assert!(!error.ends_everything());
    drop(node.request());
}

#[test]
fn replication_is_asked_for() {
    let body = r#"{"enabled":true,"factor":3,"outbox":0,"repairsWaiting":0,"repairsRunning":0,"total":1,"missing":0,"shards":[],"peers":[],"next":null}"#;
    let off = r#"{"enabled":false,"factor":3,"outbox":0,"repairsWaiting":0,"repairsRunning":0,"total":0,"missing":0,"shards":[],"peers":[],"next":null}"#;
    for (body, flags, path, code) in [
        (body, &[][..], "/replication?missing=1", 0),
        (body, &["--all"], "/replication", 0),
        (body, &["--json"], "/replication?missing=1", 0),
        (off, &[], "/replication?missing=1", 0),
        ("{}", &[], "/replication?missing=1", 1),
    ] {
        let node = FakeNode::answering(answer("200 OK", "application/json", body));
        let line = [&["--url", node.url(), "replication"], flags].concat();
        assert_eq!(exit(&line), code, "{flags:?} {body}");
        let request = node.request();
        assert!(
            request.starts_with(&format!("GET {path} HTTP/1.1\r\n")),
            "{request}"
        );
    }
}
