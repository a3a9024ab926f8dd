#![allow(clippy::unwrap_used)]
use std::fs;

use bytecave_messages::proof::AuditFilter;

use super::*;
use crate::fakes::{now_ms, peer, permit};

const INTERVAL: Duration = Duration::from_mins(10);

async fn ledger(directory: &Path, limit: usize) -> Ledger {
    let ledger = Ledger::new(directory, limit, INTERVAL, now_ms);
    ledger.load().await;
    ledger
}

fn ended(number: u8, blob: u8, finding: Finding) -> Ended {
    Ended {
        peer: peer(number),
        cid: BlobCid::of(&[blob]),
        size: 1,
        cause: AuditCause::Random,
        finding,
        took: Duration::from_millis(5),
    }
}

fn found(outcome: Outcome) -> Finding {
    Finding::Found {
        outcome,
        reason: None,
        evidence: None,
    }
}

async fn all(ledger: &Ledger) -> Vec<(u64, Outcome)> {
    let asked = ListAudits {
        filter: AuditFilter::default(),
        before: None,
        limit: 1000,
        permit: permit(),
    };
    let page = ledger.clone().answer(asked).await.unwrap();
    let audits = page.audits.into_iter();
    audits.map(|one| (one.sequence, one.outcome)).collect()
}

#[tokio::test(start_paused = true)]
async fn audits_sums_and_what_is_owed_survive_a_restart_and_numbers_go_on() {
    let dir = tempfile::tempdir().unwrap();
    let first = ledger(dir.path(), 100).await;
    first.note(ended(1, 1, found(Outcome::Passed)));
    first.note(ended(1, 2, Finding::Silent));
    first.note(ended(2, 3, found(Outcome::Failed)));
    first.close().await;
    let second = ledger(dir.path(), 100).await;
    assert_eq!(all(&second).await, all(&first).await);
    assert_eq!(second.peers(), first.peers());
    assert_eq!(second.take_due(), None);
    tokio::time::advance(INTERVAL).await;
    assert_eq!(second.take_due(), Some((peer(1), BlobCid::of(&[2]))));
    let outcomes: Vec<_> = (0..3)
        .map(|_| second.note(ended(1, 2, Finding::Silent)))
        .map(|record| (record.sequence, record.outcome))
        .collect();
    assert_eq!(
        outcomes,
        [
            (4, Outcome::Contained),
            (5, Outcome::Contained),
            (6, Outcome::Failed)
        ]
    );
}

/// The lines were written, the state was not: what it does not count is counted from the lines.
#[tokio::test(start_paused = true)]
async fn what_the_state_does_not_know_is_counted_from_the_lines() {
    let dir = tempfile::tempdir().unwrap();
    let first = ledger(dir.path(), 100).await;
    first.note(ended(1, 1, found(Outcome::Passed)));
    first.note(ended(1, 2, Finding::Silent));
    first.note(ended(1, 4, Finding::Silent));
    first.close().await;
    first.note(ended(1, 3, Finding::Silent));
    first.note(ended(1, 2, Finding::Silent));
    first.note(ended(1, 4, found(Outcome::Passed)));
    first.write(false).await;
    let second = ledger(dir.path(), 100).await;
    assert_eq!(second.peers(), first.peers());
    assert_eq!(
        second.0.book().contained.all(),
        first.0.book().contained.all()
    );
    assert_eq!(second.note(ended(1, 9, Finding::Silent)).sequence, 7);
}

#[tokio::test(start_paused = true)]
async fn it_is_written_as_it_goes_and_the_file_stays_short() {
    let dir = tempfile::tempdir().unwrap();
    let first = ledger(dir.path(), 100).await;
    let keeping = tokio::spawn(first.clone().keep());
    for _ in 0..50 {
        for blob in 0..10 {
            first.note(ended(1, blob, found(Outcome::Passed)));
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    tokio::time::sleep(Duration::from_secs(10)).await;
    keeping.abort();
    let text = fs::read_to_string(dir.path().join("audits.jsonl")).unwrap();
    let lines = text.lines().count();
    assert!((100..=200).contains(&lines), "{lines}");
    let second = ledger(dir.path(), 100).await;
    let kept = all(&second).await;
    assert_eq!((kept.len(), kept[0].0, kept[99].0), (100, 500, 401));
    assert_eq!(second.peers()[0].passed, 500);
}

#[tokio::test(start_paused = true)]
async fn numbers_go_on_when_the_lines_are_lost() {
    let dir = tempfile::tempdir().unwrap();
    let first = ledger(dir.path(), 100).await;
    first.note(ended(1, 1, found(Outcome::Passed)));
    first.close().await;
    fs::remove_file(dir.path().join("audits.jsonl")).unwrap();
    let second = ledger(dir.path(), 100).await;
    assert_eq!(all(&second).await, []);
    let next = second.note(ended(1, 1, found(Outcome::Passed)));
    assert_eq!((next.sequence, second.peers()[0].passed), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_takes_nothing_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let in_the_way = dir.path().join("file");
    fs::write(&in_the_way, b"").unwrap();
    let first = ledger(&in_the_way, 100).await;
    for _ in 0..UNWRITTEN_MAX + 10 {
        first.note(ended(1, 1, found(Outcome::Passed)));
    }
    first.close().await;
    first.note(ended(1, 1, found(Outcome::Passed)));
    assert_eq!(first.0.book().unwritten.len(), UNWRITTEN_MAX);
    fs::remove_file(&in_the_way).unwrap();
    first.close().await;
    let second = ledger(&in_the_way, 100).await;
    assert_eq!(all(&second).await, all(&first).await);
}

#[tokio::test(start_paused = true)]
async fn a_list_waits_until_it_is_known_what_survived() {
    let dir = tempfile::tempdir().unwrap();
    let first = ledger(dir.path(), 100).await;
    first.note(ended(1, 1, found(Outcome::Passed)));
    first.close().await;
    let second = Ledger::new(dir.path(), 100, INTERVAL, now_ms);
    let listing = tokio::spawn({
        let second = second.clone();
        async move { all(&second).await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!listing.is_finished());
    second.close().await;
    second.load().await;
    assert_eq!(listing.await.unwrap(), [(1, Outcome::Passed)]);
    let third = ledger(dir.path(), 100).await;
    assert_eq!(all(&third).await.len(), 1, "nothing was written over");
}

#[test]
fn peers_that_are_remembered_are_bounded_and_who_was_audited_last_stays() {
    let mut tallies = Tallies::default();
    let record = |number: u64| AuditRecord {
        sequence: number,
        at_ms: number,
        peer_id: bytecave_core::PublicKey::new(
            *bytecave_core::Digest::of(&number.to_be_bytes()).as_bytes(),
        )
        .peer_id(),
        cid: BlobCid::of(b"x"),
        size: 1,
        cause: AuditCause::Random,
        outcome: Outcome::Passed,
        reason: None,
        took_ms: 0,
        evidence: None,
    };
    let most = tallies::PEERS_MAX as u64;
    for number in 0..most + 5 {
        tallies.note(&record(number));
    }
    let all = tallies.all();
    assert_eq!(all.len() as u64, most);
    assert!(all.is_sorted_by_key(|audits| audits.peer_id));
    assert!(all.iter().all(|audits| audits.last_at >= 5));
}
