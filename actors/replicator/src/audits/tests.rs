#![allow(clippy::unwrap_used)]
use bytecave_core::proof::{Nonce, Proof};
use bytecave_core::{BlobRoot, NodeIdentity};
use bytecave_messages::proof::Evidence;

use super::*;
use crate::fakes::{count, peer};

/// An audit of `number` that was asked and ended at this time.
pub(crate) fn record(number: u8, cid: BlobCid, outcome: Outcome, at_ms: u64) -> AuditRecord {
    AuditRecord {
        sequence: 1,
        at_ms,
        peer_id: peer(number),
        cid,
        size: 1,
        cause: AuditCause::Random,
        outcome,
        reason: None,
        took_ms: 0,
        evidence: None,
    }
}

fn cid() -> BlobCid {
    BlobCid::of(b"content")
}

/// A signed proof of nothing.
fn evidence() -> Box<Evidence> {
    let nonce = Nonce::new([7; 32]);
    let identity = NodeIdentity::from_seed([9; 32]).unwrap();
    Box::new(Evidence {
        nonce,
        count: 1,
        proof: Proof {
            version: 1,
            cid: cid(),
            size: 1,
            leaf_size: 1024,
            blob_root: BlobRoot::new([1; 32]),
            nonce,
            leaves: Vec::new(),
            node_id: String::new(),
            peer_id: identity.peer_id(),
            public_key: identity.public_key(),
            timestamp_ms: 1,
            signature: [0; 64],
        },
    })
}

fn audits() -> Audits {
    Audits::new(Vec::new())
}

/// The shards in which the copies of a peer do not count.
fn unproved(audits: &Audits, number: u8) -> Unproved {
    let all = audits.unproved(count());
    all.get(&peer(number)).cloned().unwrap_or_default()
}

fn of_shard() -> Unproved {
    Unproved::In(Arc::new([count().shard_of(&cid().digest())].into()))
}

/// What an audit does: outcome, cause, whether the peer is counted on, whether its proof was wrong; the deed,
/// and whether its copies count after it.
type Case = (Outcome, AuditCause, bool, bool, Option<Deed>, bool);

#[test]
fn only_what_is_proven_is_held_against_a_peer() {
    use AuditCause as Cause;
    let lied = Some(Deed::Lied);
    let cases: [Case; 12] = [
        (
            Outcome::Passed,
            Cause::Random,
            true,
            false,
            Some(Deed::Proved),
            true,
        ),
        (
            Outcome::Passed,
            Cause::Wanted,
            false,
            false,
            Some(Deed::Proved),
            true,
        ),
        (
            Outcome::Failed,
            Cause::Random,
            true,
            false,
            Some(Deed::Unproved),
            false,
        ),
        (
            Outcome::Failed,
            Cause::Contained,
            true,
            false,
            Some(Deed::Unproved),
            false,
        ),
        (Outcome::Failed, Cause::Random, true, true, lied, false),
        (Outcome::Failed, Cause::Wanted, false, true, lied, false),
        // Asked whether it has it, it says no.
        (Outcome::Failed, Cause::Wanted, true, false, None, false),
        (Outcome::Failed, Cause::Wanted, false, false, None, true),
        (Outcome::Contained, Cause::Random, true, false, None, true),
        (Outcome::Offline, Cause::Random, true, false, None, true),
        (Outcome::Declined, Cause::Random, true, false, None, true),
        (Outcome::Unknown, Cause::Random, true, false, None, true),
    ];
    for case in cases {
        let (outcome, cause, holder, wrong, deed, counts) = case;
        let audits = audits();
        let record = AuditRecord {
            cause,
            evidence: wrong.then(evidence),
            ..record(1, cid(), outcome, 5)
        };
        let found = audits.finished(&Arc::new(record), holder, 5);
        assert_eq!(found, deed, "{case:?}");
        let expected = if counts {
            Unproved::Nowhere
        } else {
            of_shard()
        };
        assert_eq!(unproved(&audits, 1), expected, "{case:?}");
        assert_eq!(unproved(&audits, 2), Unproved::Nowhere);
    }
}

#[test]
fn a_copy_counts_again_when_it_is_proved_and_not_before() {
    let audits = audits();
    let end = |outcome| audits.finished(&Arc::new(record(1, cid(), outcome, 5)), true, 5);
    end(Outcome::Failed);
    assert!(audits.take_changed() && !audits.take_changed());
    let kept = audits.kept();
    for outcome in [Outcome::Declined, Outcome::Offline, Outcome::Contained] {
        end(outcome);
        assert_eq!(unproved(&audits, 1), of_shard(), "{outcome:?}");
    }
    end(Outcome::Passed);
    assert_eq!(unproved(&audits, 1), Unproved::Nowhere);
    assert!(audits.take_changed());
    let again = Audits::new(Vec::new());
    again.restore(kept, 6);
    assert_eq!(unproved(&again, 1), of_shard(), "a restart forgets nothing");
    assert_eq!(again.due(5 + 3_600_000, 9), [(peer(1), cid().digest())]);
    again.forget(&peer(1), &cid().digest());
    assert_eq!(unproved(&again, 1), Unproved::Nowhere);
}

#[test]
fn who_cannot_be_asked_is_not_counted_until_it_can() {
    let audits = audits();
    let end = |outcome| audits.finished(&Arc::new(record(1, cid(), outcome, 5)), true, 5);
    assert_eq!(end(Outcome::Unsupported), None);
    assert_eq!(unproved(&audits, 1), Unproved::Everywhere);
    end(Outcome::Offline);
    assert_eq!(unproved(&audits, 1), Unproved::Everywhere);
    end(Outcome::Passed);
    assert_eq!(unproved(&audits, 1), Unproved::Nowhere);
}

#[test]
fn passes_are_counted_up_to_what_is_needed() {
    let audits = audits();
    for _ in 0..PASSES + 5 {
        audits.finished(&Arc::new(record(1, cid(), Outcome::Passed, 5)), true, 5);
    }
    assert_eq!(
        (audits.passed(&peer(1)), audits.passed(&peer(2))),
        (PASSES, 0)
    );
    assert_eq!(audits.kept().passed, [(peer(1), PASSES)]);
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_by_what_was_asked_after_it() {
    let audits = audits();
    let tell = |outcome, at_ms, after: u64| {
        let (audits, record) = (audits.clone(), record(1, cid(), outcome, at_ms));
        tokio::spawn(async move {
            sleep(Duration::from_secs(after)).await;
            audits.finished(&Arc::new(record), true, at_ms);
        })
    };
    tell(Outcome::Passed, 99, 1);
    tell(Outcome::Contained, 100, 2);
    tell(Outcome::Failed, 100, 3);
    assert!(!audits.proves(peer(1), cid(), 100).await, "99 is too old");
    tell(Outcome::Unknown, 100, 1);
    tell(Outcome::Passed, 100, 200);
    assert!(audits.proves(peer(1), cid(), 100).await);
    let began = Instant::now();
    assert!(!audits.proves(peer(1), cid(), 100).await);
    assert_eq!(began.elapsed(), ASK_EVERY * ASKS_MAX);
    assert!(audits.lock().asking.is_empty());
}
