#![allow(clippy::unwrap_used)]
use std::fs;

use bytecave_core::BlobCid;
use bytecave_messages::proof::{AuditCause, Outcome};

use super::*;
use crate::fakes::peer;

fn record(sequence: u64) -> Arc<AuditRecord> {
    Arc::new(AuditRecord {
        sequence,
        at_ms: 1_760_000_000_000,
        peer_id: peer(1),
        cid: BlobCid::of(b"x"),
        size: 1,
        cause: AuditCause::Random,
        outcome: Outcome::Failed,
        reason: Some("two\nlines".to_owned()),
        took_ms: 1,
        evidence: None,
    })
}

fn records(numbers: std::ops::RangeInclusive<u64>) -> Vec<Arc<AuditRecord>> {
    numbers.map(record).collect()
}

fn again(log: &Log) -> (Log, Vec<u64>) {
    let mut log = Log::new(log.path().to_owned(), log.limit);
    let mut found = Vec::new();
    log.read(|record| found.push(record.sequence));
    (log, found)
}

fn in_directory(limit: usize) -> (Log, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Log::new(dir.path().join("audits.jsonl"), limit), dir)
}

#[test]
fn a_torn_line_costs_itself_alone_and_what_follows_is_read() {
    let (mut log, _dir) = in_directory(10);
    assert!(log.append(&records(1..=3)));
    let text = fs::read(log.path()).unwrap();
    fs::write(log.path(), &text[..text.len() - 20]).unwrap();
    let (mut log, found) = again(&log);
    assert_eq!(found, [1, 2]);
    assert!(log.append(&records(4..=5)));
    assert_eq!(again(&log).1, [1, 2, 4, 5]);
}

#[test]
fn a_line_without_end_is_not_read_into_memory() {
    let (mut log, _dir) = in_directory(10);
    assert!(log.append(&records(1..=1)));
    let mut text = fs::read(log.path()).unwrap();
    text.extend(vec![b' '; 3 * LINE_MAX_BYTES]);
    text.extend(serde_json::to_vec(&*record(2)).unwrap());
    text.push(b'\n');
    fs::write(log.path(), text).unwrap();
    let (mut log, found) = again(&log);
    assert_eq!(found, [1]);
    assert!(log.append(&records(3..=3)));
    assert_eq!(again(&log).1, [1, 3]);
}

#[test]
fn it_is_too_long_at_twice_its_lines_or_by_its_bytes_and_is_written_anew() {
    let (mut log, _dir) = in_directory(10);
    assert!(log.append(&records(1..=20)));
    assert!(!log.is_too_long());
    assert!(log.append(&records(21..=21)));
    assert!(log.is_too_long());
    let (mut log, found) = again(&log);
    assert_eq!((log.is_too_long(), found.len()), (true, 21));
    log.rewrite(&records(12..=21));
    assert!(!log.is_too_long());
    let (mut log, found) = again(&log);
    assert_eq!((log.lines, found), (10, (12..=21).collect::<Vec<_>>()));
    log.bytes = EVIDENCE_BYTES + 10 * LINE_BYTES + 1;
    assert!(log.is_too_long());
}

#[test]
fn what_cannot_be_written_is_no_reason_to_stop_and_goes_on_later() {
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = dir.path().join("file");
    fs::write(&in_the_way, b"").unwrap();
    let mut log = Log::new(in_the_way.join("audits.jsonl"), 10);
    assert!(!log.append(&records(1..=1)));
    log.rewrite(&records(1..=1));
    assert!(log.failing);
    fs::remove_file(&in_the_way).unwrap();
    assert!(log.append(&records(1..=2)));
    log.sync();
    assert!(!log.failing);
    assert_eq!(again(&log).1, [1, 2]);
}

#[test]
fn what_is_no_file_is_set_aside() {
    let (log, _dir) = in_directory(10);
    fs::create_dir(log.path()).unwrap();
    let (mut log, found) = again(&log);
    assert!(found.is_empty());
    assert!(log.append(&records(1..=1)));
    assert_eq!(again(&log).1, [1]);
}
