#![allow(clippy::unwrap_used)]
use std::fs;
use std::os::unix::fs::PermissionsExt;

use bytecave_messages::state_file::beside;

use super::*;
use crate::fakes::{count, peer};

fn document() -> Document {
    let shard = |number| count().shard(number).unwrap();
    let mut board = Board::default();
    board.alike(peer(1), &[shard(1), shard(2)], 5);
    board.differ(peer(1), shard(3), 7, 6);
    board.record(peer(1)).compared_ms = 6;
    board.record(peer(1)).keyed_ms = 4;
    board.record(peer(2)).beyond_bytes = 9;
    board.take_changed();
    Document {
        board,
        scores: vec![(peer(1), -3.5), (peer(4), 2.0)],
        audits: KeptAudits {
            passed: vec![(peer(1), 20), (peer(5), 1)],
            failed: vec![
                (peer(1), Digest::of(b"one"), 3),
                (peer(6), Digest::of(b"two"), 4),
            ],
        },
        handover: KeptHandover {
            applied: vec![(shard(2), 5, 4), (shard(7), 0, 0)],
            unconfirmed: vec![Digest::of(b"three")],
        },
    }
}

fn same(one: Document, other: Document) {
    let sorted = |mut document: Document| {
        document.scores.sort_by_key(|(peer, _)| *peer);
        document.audits.passed.sort_unstable();
        document.audits.failed.sort_unstable();
        document
    };
    assert_eq!(sorted(one), sorted(other));
}

#[test]
fn what_is_written_is_read_and_nobody_else_may_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("deep").join("state.json");
    same(load(&path), Document::default());
    for _ in 0..2 {
        write(&path, document()).unwrap();
        same(load(&path), document());
    }
    let mode = fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(!beside(&path, ".tmp").exists());
    fs::write(beside(&path, ".tmp"), "half").unwrap();
    write(&path, document()).unwrap();
    same(load(&path), document());
}

#[test]
fn what_cannot_be_read_is_set_aside_whole() {
    let foreign: [&[u8]; 7] = [
        b"",
        b"{",
        b"null",
        b"\xff\xfe",
        b"{\"version\":2,\"peers\":[]}",
        b"{\"version\":1}",
        b"{\"version\":1,\"peers\":[7]}",
    ];
    for bytes in foreign {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.json");
        fs::write(&path, bytes).unwrap();
        same(load(&path), Document::default());
        assert!(!path.exists());
        assert_eq!(fs::read(beside(&path, ".damaged")).unwrap(), bytes);
        write(&path, document()).unwrap();
        same(load(&path), document());
    }
}

#[test]
fn a_directory_in_its_place_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state.json");
    fs::create_dir(&path).unwrap();
    same(load(&path), Document::default());
    write(&path, document()).unwrap();
    same(load(&path), document());
}

#[test]
fn shards_that_cannot_be_are_left_out() {
    let text = format!(
        "{{\"version\":1,\"peers\":[{{\"peerId\":\"{}\",\"comparedMs\":1,\"shards\":[[4096,1,0],[4095,1,0]]}}]}}",
        peer(1)
    );
    let document = parse(text.as_bytes()).unwrap();
    assert_eq!(document.board.peers[&peer(1)].shards.len(), 1);
    let text = "{\"version\":1,\"peers\":[],\"handing\":[[4096,1,0],[4095,1,0]]}";
    let document = parse(text.as_bytes()).unwrap();
    assert_eq!(document.handover.applied.len(), 1);
}

#[tokio::test]
async fn a_failed_write_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let taken = dir.path().join("file");
    fs::write(&taken, "").unwrap();
    let file = StateFile::new(taken.join("state.json"));
    assert!(!file.save(document()).await);
    let file = StateFile::new(dir.path().join("state.json"));
    assert!(file.save(document()).await);
    same(file.load().await, document());
}
