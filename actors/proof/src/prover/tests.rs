#![allow(clippy::unwrap_used)]
use std::time::Duration;

use bytecave_core::proof::{Anchor, ChallengeCount, Nonce, Question, Reason, Verdict, verify};
use bytecave_core::{BlobCid, tree};
use bytecave_messages::budget::{ActorName, Budget, Full};
use bytecave_messages::swarm::Answer;

use super::*;
use crate::fakes::{FakeStore, ME, identity, now_ms, peer, permit};

const CONTENT: &[u8] = &[9; 3000];

fn prover(store: &FakeStore, per_second: u32, per_peer: u32) -> Prover {
    Prover {
        identity: Arc::new(identity(ME)),
        node_id: "node-test".into(),
        store: store.port(),
        open: OpenNonces::default(),
        limits: Arc::new(Limits::new(per_second, per_peer)),
        counters: Arc::default(),
        now_ms,
    }
}

fn challenge(content: &[u8]) -> Challenge {
    Challenge {
        cid: BlobCid::of(content),
        nonce: Nonce::new([5; 32]),
        count: ChallengeCount::default(),
    }
}

async fn ask_as_peer(prover: &Prover, number: u8, content: &[u8]) -> Result<Proof, Refusal> {
    let (answer, given) = Answer::new();
    let asked = InboundChallenge {
        from: peer(number),
        challenge: challenge(content),
        answer,
        permit: permit(),
    };
    prover.clone().answer(asked).await;
    given.await.unwrap()
}

async fn ask_as_client(prover: &Prover, content: &[u8]) -> Result<Proof, ProofError> {
    let asked = MakeProof {
        challenge: challenge(content),
        permit: permit(),
    };
    prover.clone().make(asked).await
}

fn verdict(proof: &Proof) -> Verdict {
    let anchor = Anchor::Root {
        blob_root: tree::blob_root(CONTENT),
        size: CONTENT.len() as u64,
    };
    let question = Question {
        peer_id: Some(peer(ME)),
        ..Question::of(&challenge(CONTENT), anchor)
    };
    verify(proof, &question)
}

#[actix::test]
async fn clients_and_peers_get_a_proof_that_holds() {
    tokio::time::pause();
    let store = FakeStore::start();
    store.seed(CONTENT);
    let prover = prover(&store, 10, 10);
    let mine = ask_as_client(&prover, CONTENT).await.unwrap();
    assert_eq!(verdict(&mine), Verdict::Valid);
    assert_eq!(
        (mine.node_id.as_str(), mine.timestamp_ms),
        ("node-test", now_ms())
    );
    let mut theirs = ask_as_peer(&prover, 1, CONTENT).await.unwrap();
    assert_eq!(verdict(&theirs), Verdict::Valid);
    theirs.timestamp_ms += 1;
    assert_eq!(verdict(&theirs), Verdict::Broken(Reason::BadSignature));
    assert_eq!(store.asked(), ["leaves", "leaves"]);
    let counted = prover.counters.all();
    assert!(counted.contains(&("challenges_answered", 2)), "{counted:?}");
}

#[actix::test]
async fn what_is_not_given_is_refused_by_its_kind() {
    tokio::time::pause();
    let store = FakeStore::start();
    let prover = prover(&store, 1000, 1000);
    let cid = BlobCid::of(CONTENT);
    assert_eq!(
        ask_as_peer(&prover, 1, CONTENT).await.unwrap_err(),
        Refusal::NotFound
    );
    assert_eq!(
        ask_as_client(&prover, CONTENT).await.unwrap_err(),
        ProofError::Store(StoreError::NotFound { cid })
    );
    let full = Full {
        actor: ActorName::Store,
        capacity: 1,
        retry_after: Duration::from_secs(1),
    };
    let failed = StoreError::Failed {
        operation: "get",
        cause: "/secret/000123.sst".to_owned(),
    };
    let cases = [
        (StoreError::Deleted { cid }, Refusal::Declined),
        (StoreError::Blocked { cid }, Refusal::Blocked),
        (StoreError::Damaged { cid }, Refusal::Damaged),
        (StoreError::Full(full), Refusal::Busy),
        (
            StoreError::Unavailable,
            Refusal::Unavailable("the node is stopping"),
        ),
        (failed, Refusal::Unavailable("the store failed")),
    ];
    for (error, refusal) in cases {
        store.fail_with(Some(error.clone()));
        assert_eq!(ask_as_peer(&prover, 1, CONTENT).await, Err(refusal));
        assert_eq!(
            ask_as_client(&prover, CONTENT).await,
            Err(ProofError::Store(error))
        );
    }
    let counted = prover.counters.all();
    assert!(counted.contains(&("challenges_refused", 14)), "{counted:?}");
}

#[actix::test]
async fn who_asks_too_often_is_busied_without_a_read() {
    tokio::time::pause();
    let store = FakeStore::start();
    store.seed(CONTENT);
    let prover = prover(&store, 10, 2);
    for _ in 0..2 {
        assert!(ask_as_peer(&prover, 1, CONTENT).await.is_ok());
    }
    let refused = ask_as_peer(&prover, 1, CONTENT).await;
    assert_eq!(refused.unwrap_err(), Refusal::Busy);
    assert!(ask_as_peer(&prover, 2, CONTENT).await.is_ok());
    for _ in 0..7 {
        assert!(ask_as_client(&prover, CONTENT).await.is_ok());
    }
    let refused = ask_as_client(&prover, CONTENT).await.unwrap_err();
    let ProofError::Busy { retry_after } = refused else {
        panic!("{refused}");
    };
    assert_eq!(store.asked().len(), 10);
    tokio::time::sleep(retry_after).await;
    assert!(ask_as_client(&prover, CONTENT).await.is_ok());
}

#[actix::test]
async fn the_permit_is_free_once_the_answer_is_given() {
    tokio::time::pause();
    let store = FakeStore::start();
    store.seed(CONTENT);
    let budget = Budget::new(ActorName::Proof, 16);
    let (answer, given) = Answer::new();
    let asked = InboundChallenge {
        from: peer(1),
        challenge: challenge(CONTENT),
        answer,
        permit: budget.try_acquire(Share::Peer, "challenge").unwrap(),
    };
    tokio::spawn(prover(&store, 1, 1).answer(asked));
    assert!(given.await.unwrap().is_ok());
    tokio::task::yield_now().await;
    assert_eq!(budget.snapshot().depth, 0);
}

#[actix::test]
async fn a_challenge_of_our_own_is_not_answered_while_it_is_open() {
    let store = FakeStore::start();
    store.seed(CONTENT);
    let prover = prover(&store, 1000, 1000);
    let open = prover.open.open(challenge(CONTENT).nonce);
    let back = ask_as_peer(&prover, 1, CONTENT).await;
    assert_eq!(back.unwrap_err(), Refusal::Busy);
    drop(open);
    assert!(ask_as_peer(&prover, 1, CONTENT).await.is_ok());
}
