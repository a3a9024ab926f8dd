#![allow(clippy::unwrap_used)]
use bytecave_core::proof::{Nonce, Statement};
use bytecave_core::{BlobCid, NodeIdentity, tree};
use bytecave_messages::body::BodyError;
use bytecave_messages::budget::{ActorName, Full};
use proptest::prelude::*;

use super::*;

fn identity(seed: u8) -> NodeIdentity {
    NodeIdentity::from_seed([seed; 32]).unwrap()
}

const CONTENT: &[u8] = &[7; 5000];

fn asked() -> Asked {
    Asked {
        peer: identity(1).peer_id(),
        challenge: Challenge {
            cid: BlobCid::of(CONTENT),
            nonce: Nonce::new([3; 32]),
            count: ChallengeCount::default(),
        },
        size: CONTENT.len() as u64,
        blob_root: tree::blob_root(CONTENT),
        new: false,
    }
}

fn proof(challenge: &Challenge, content: &[u8], signer: u8, at_ms: u64) -> Proof {
    let statement = Statement::from_content(challenge, content).unwrap();
    Proof::sign(&identity(signer), "node", at_ms, statement).unwrap()
}

fn outcome(finding: &Finding) -> Outcome {
    match finding {
        Finding::Found { outcome, .. } => *outcome,
        Finding::Silent => panic!("silent"),
    }
}

fn refused(kind: RefusalKind) -> SwarmError {
    SwarmError::Refused {
        peer: asked().peer,
        kind,
        reason: "because".to_owned(),
    }
}

#[test]
fn each_answer_of_the_network_has_its_outcome() {
    let peer = asked().peer;
    let cause = "no route".to_owned();
    let full = Full {
        actor: ActorName::Swarm,
        capacity: 1,
        retry_after: Duration::from_secs(1),
    };
    let protocol = "/bytecave/proof/2.0.0";
    let reason = "42".to_owned();
    let cases = [
        (SwarmError::Unreachable { peer, cause }, Outcome::Offline),
        (
            SwarmError::Unsupported { peer, protocol },
            Outcome::Unsupported,
        ),
        (SwarmError::NotFound { peer }, Outcome::Failed),
        (SwarmError::BadAnswer { peer, reason }, Outcome::Failed),
        (refused(RefusalKind::NotFound), Outcome::Failed),
        (refused(RefusalKind::Damaged), Outcome::Failed),
        (refused(RefusalKind::Declined), Outcome::Declined),
        (refused(RefusalKind::Blocked), Outcome::Declined),
        (refused(RefusalKind::Busy), Outcome::Unknown),
        (refused(RefusalKind::Unavailable), Outcome::Unknown),
        (refused(RefusalKind::Invalid), Outcome::Unknown),
        (SwarmError::Busy { peer }, Outcome::Unknown),
        (SwarmError::Full(full), Outcome::Unknown),
        (SwarmError::Unavailable, Outcome::Unknown),
        (SwarmError::Body(BodyError::Damaged), Outcome::Unknown),
    ];
    for (error, expected) in cases {
        let said = error.to_string();
        let found = judge(&asked(), Err(error));
        assert_eq!(outcome(&found), expected, "{said}");
        assert!(
            matches!(&found, Finding::Found { reason: Some(reason), evidence: None, .. } if *reason == said),
            "{found:?}"
        );
    }
    let after = Duration::from_secs(4);
    let silent = judge(&asked(), Err(SwarmError::TimedOut { peer, after }));
    assert_eq!(silent, Finding::Silent);
}

#[test]
fn a_blob_that_may_be_on_its_way_is_not_held_against_anybody() {
    let new = Asked {
        new: true,
        ..asked()
    };
    let peer = new.peer;
    for error in [
        SwarmError::NotFound { peer },
        refused(RefusalKind::NotFound),
    ] {
        assert_eq!(outcome(&judge(&new, Err(error))), Outcome::Unknown);
    }
    let damaged = judge(&new, Err(refused(RefusalKind::Damaged)));
    assert_eq!(outcome(&damaged), Outcome::Failed, "it has been there");
}

#[test]
fn a_proof_that_holds_passes_whatever_the_clock_of_its_signer() {
    for at_ms in [0, 1_760_000_000_000, u64::MAX] {
        let proof = proof(&asked().challenge, CONTENT, 1, at_ms);
        assert!(judge(&asked(), Ok(proof)).is_passed());
    }
}

#[test]
fn a_proof_that_does_not_hold_fails_with_its_reason_and_is_kept() {
    let asked = asked();
    let other = vec![8; 5000];
    let of_other = Challenge {
        cid: BlobCid::of(&other),
        ..asked.challenge
    };
    let old = Challenge {
        nonce: Nonce::new([4; 32]),
        ..asked.challenge
    };
    let fewer = Challenge {
        count: ChallengeCount::new(1).unwrap(),
        ..asked.challenge
    };
    let mut claimed = proof(&of_other, &other, 1, 0);
    claimed.cid = asked.challenge.cid;
    claimed.signature = identity(1).sign(&claimed.signed_bytes());
    let mut altered = proof(&asked.challenge, CONTENT, 1, 0);
    altered.leaves[0].data[0] ^= 1;
    let cases = [
        (proof(&of_other, &other, 1, 0), "wrongCid"),
        (claimed, "commitmentMismatch"),
        (proof(&old, CONTENT, 1, 0), "wrongNonce"),
        (proof(&fewer, CONTENT, 1, 0), "wrongCount"),
        (proof(&asked.challenge, CONTENT, 2, 0), "wrongPeer"),
        (altered, "badSignature"),
    ];
    for (given, expected) in cases {
        let Finding::Found {
            outcome,
            reason,
            evidence,
        } = judge(&asked, Ok(given.clone()))
        else {
            panic!("{expected}: silent");
        };
        assert_eq!(
            (outcome, reason.as_deref()),
            (Outcome::Failed, Some(expected))
        );
        let evidence = evidence.unwrap();
        assert_eq!(
            (evidence.nonce, evidence.count),
            (asked.challenge.nonce, 4),
            "{expected}"
        );
        assert_eq!(evidence.proof, given);
    }
}

#[test]
fn time_follows_from_what_has_to_be_read() {
    let four = ChallengeCount::default();
    let least = Duration::from_secs(4);
    assert_eq!(patience(least, 0, four), least);
    assert_eq!(patience(least, 4 << 20, four), Duration::from_secs(6));
    // Four chunks and pages: 1.5 MiB, however large the blob.
    let large = Duration::from_millis(4750);
    assert_eq!(patience(least, (4 << 20) + 1, four), large);
    assert_eq!(patience(least, u64::MAX, four), large);
}

proptest! {
    #[test]
    fn what_a_peer_says_is_bounded_and_without_control_characters(words in ".{0,400}") {
        let error = SwarmError::BadAnswer { peer: asked().peer, reason: format!("{words}\n\u{1b}[2J") };
        let Finding::Found { reason: Some(reason), .. } = judge(&asked(), Err(error)) else {
            panic!("no reason");
        };
        prop_assert!(reason.chars().count() <= REASON_MAX_CHARS);
        prop_assert!(!reason.chars().any(char::is_control));
    }
}
