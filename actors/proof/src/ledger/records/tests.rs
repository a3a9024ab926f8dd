#![allow(clippy::unwrap_used)]
use bytecave_core::BlobCid;
use bytecave_core::proof::{Challenge, ChallengeCount, Nonce, Proof, Statement};
use bytecave_messages::proof::Evidence;
use proptest::prelude::*;

use super::*;
use crate::fakes::{identity, peer};

fn record(sequence: u64, cause: AuditCause, outcome: Outcome) -> AuditRecord {
    AuditRecord {
        sequence,
        at_ms: sequence,
        peer_id: peer(u8::try_from(sequence % 3).unwrap() + 1),
        cid: BlobCid::of(&[u8::try_from(sequence % 5).unwrap()]),
        size: 1,
        cause,
        outcome,
        reason: None,
        took_ms: 1,
        evidence: None,
    }
}

fn evidence() -> Box<Evidence> {
    let challenge = Challenge {
        cid: BlobCid::of(b"x"),
        nonce: Nonce::new([1; 32]),
        count: ChallengeCount::default(),
    };
    let statement = Statement::from_content(&challenge, b"x").unwrap();
    Box::new(Evidence {
        nonce: challenge.nonce,
        count: 4,
        proof: Proof::sign(&identity(1), "node", 0, statement).unwrap(),
    })
}

fn numbers(page: &AuditPage) -> Vec<u64> {
    page.audits.iter().map(|record| record.sequence).collect()
}

fn list(records: &Records, filter: AuditFilter, before: Option<u64>, limit: usize) -> AuditPage {
    let mut search = Search::new(filter, before, limit);
    while !search.go_on(records, 2) {}
    search.page()
}

#[test]
fn what_was_wanted_and_passed_drives_nothing_else_out() {
    let mut records = Records::new(10);
    for sequence in 1..=6 {
        records.push(Arc::new(record(
            sequence,
            AuditCause::Random,
            Outcome::Failed,
        )));
    }
    for sequence in 7..=1000 {
        records.push(Arc::new(record(
            sequence,
            AuditCause::Wanted,
            Outcome::Passed,
        )));
    }
    let kept = numbers(&list(&records, AuditFilter::default(), None, 100));
    assert_eq!(kept, [1000, 999, 998, 997, 996, 6, 5, 4, 3, 2]);
    for sequence in 1001..=1020 {
        records.push(Arc::new(record(
            sequence,
            AuditCause::Random,
            Outcome::Passed,
        )));
    }
    let kept = numbers(&list(&records, AuditFilter::default(), None, 100));
    assert_eq!(kept, (1011..=1020).rev().collect::<Vec<_>>());
    assert!(records.quiet.is_empty());
}

#[test]
fn evidence_is_kept_of_the_newest_failures_only() {
    let mut records = Records::new(1000);
    let evidence = evidence();
    for sequence in 1..=500 {
        let mut failed = record(sequence, AuditCause::Random, Outcome::Failed);
        failed.evidence = Some(evidence.clone());
        records.push(Arc::new(failed));
    }
    let all = records.all();
    let with: Vec<_> = all.iter().filter(|one| one.evidence.is_some()).collect();
    assert_eq!((all.len(), with.len()), (500, EVIDENCE_MAX));
    assert_eq!(with[0].sequence, 500 - EVIDENCE_MAX as u64 + 1);
}

#[test]
fn numbers_only_ascend() {
    let mut records = Records::new(10);
    assert!(records.push(Arc::new(record(5, AuditCause::Random, Outcome::Passed))));
    for stale in [5, 4, u64::MAX] {
        assert!(!records.push(Arc::new(record(stale, AuditCause::Random, Outcome::Passed))));
    }
    assert_eq!(records.latest(), Some(5));
}

proptest! {
    #[test]
    fn pages_joined_are_what_the_filter_lets_through(
        kept in 0_u64..60,
        limit in 1_usize..8,
        by_peer: bool,
        by_cid: bool,
        by_outcome: bool,
    ) {
        let mut records = Records::new(40);
        let outcomes = [Outcome::Passed, Outcome::Failed];
        for sequence in 1..=kept {
            let outcome = outcomes[usize::try_from(sequence % 2).unwrap()];
            records.push(Arc::new(record(sequence, AuditCause::Random, outcome)));
        }
        let filter = AuditFilter {
            peer: by_peer.then(|| peer(2)),
            cid: by_cid.then(|| BlobCid::of(&[1])),
            outcome: by_outcome.then_some(Outcome::Failed),
        };
        let expected: Vec<u64> = (1..=kept)
            .rev()
            .take(40)
            .filter(|s| !by_peer || s % 3 == 1)
            .filter(|s| !by_cid || s % 5 == 1)
            .filter(|s| !by_outcome || s % 2 == 1)
            .collect();
        let (mut before, mut found) = (None, Vec::new());
        loop {
            let page = list(&records, filter, before, limit);
            prop_assert!(page.audits.len() <= limit);
            prop_assert!(page.next.is_none() || page.audits.len() == limit);
            found.extend(numbers(&page));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        prop_assert_eq!(found, expected);
    }
}
