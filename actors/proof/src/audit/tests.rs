#![allow(clippy::unwrap_used)]
use std::collections::BTreeSet;

use bytecave_core::proof::{Challenge, ChallengeCount, Nonce};
use bytecave_messages::budget::{ActorName, Permit, Share};
use bytecave_messages::proof::{AuditCause, AuditRecord, Outcome};
use bytecave_messages::swarm::{RefusalKind, SwarmError};
use tokio::time::sleep;

use super::one::CONNECT_WITHIN;
use super::*;
use crate::chance::tests::Seeded;
use crate::fakes::{
    Does, FakeStore, FakeSwarm, ME, Told, count, deaf, now_ms, peer, replicas, shard,
};
use crate::open::OpenNonces;

const CONTAINED: Duration = Duration::from_mins(10);
const TIMEOUT: Duration = Duration::from_secs(4);

struct Node {
    store: FakeStore,
    swarm: FakeSwarm,
    told: Told,
    budget: Budget,
    counters: Arc<Counters>,
    auditor: Auditor,
    dir: Arc<tempfile::TempDir>,
}

impl Node {
    fn new(per_day: u32) -> Self {
        tokio::time::pause();
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::of(FakeStore::start(), FakeSwarm::start(), dir, per_day, None)
    }

    fn of(
        store: FakeStore,
        swarm: FakeSwarm,
        dir: Arc<tempfile::TempDir>,
        per_day: u32,
        opened: Option<actix::Recipient<bytecave_messages::proof::ChallengeOpened>>,
    ) -> Self {
        let (told, counters) = (Told::default(), Arc::<Counters>::default());
        let budget = Budget::new(ActorName::Proof, 64);
        let mut events = told.events();
        events.opened = opened.unwrap_or(events.opened);
        let auditor = Auditor::new(AuditorParts {
            open: OpenNonces::default(),
            per_day,
            timeout: TIMEOUT,
            budget: budget.clone(),
            store: store.port(),
            swarm: swarm.port(),
            events,
            ledger: Ledger::new(dir.path(), 1000, CONTAINED, now_ms),
            counters: Arc::clone(&counters),
            chance: Arc::new(Seeded::new(9)),
        });
        auditor.start(true);
        Self {
            store,
            swarm,
            told,
            budget,
            counters,
            auditor,
            dir,
        }
    }

    /// The same node after a restart.
    async fn restart(self) -> Self {
        self.auditor.stop().await;
        Self::of(self.store, self.swarm, self.dir, 0, None)
    }

    /// This blob is here and at all peers.
    fn seed(&self, content: &[u8]) -> BlobCid {
        self.swarm.seed(content);
        self.store.seed(content)
    }

    /// These hold all shards together with this node.
    fn tell_facts(&self, holders: &[u8]) {
        let holders: Vec<u8> = holders.iter().copied().chain([ME]).collect();
        let shards = (0..count().get()).map(|number| shard(number, &holders));
        let snapshot = replicas(shards.collect());
        self.auditor.set_replicas(Arc::new(snapshot));
        self.auditor.set_stored(Arc::new(self.store.snapshot()));
    }

    /// Asks and waits until it is known what came of it.
    async fn want(&self, number: u8, cid: BlobCid) -> Option<Arc<AuditRecord>> {
        let before = self.told.finished().len();
        self.auditor.want(peer(number), cid);
        sleep(Duration::from_mins(1)).await;
        self.told.finished().get(before).cloned()
    }

    fn counted(&self, name: &str) -> u64 {
        let all = self.counters.all();
        all.iter().find(|(one, _)| *one == name).unwrap().1
    }
}

#[actix::test]
async fn holders_are_audited_by_lot_at_the_set_pace_and_hear_of_it_first() {
    let node = Node::new(8640);
    let blobs: Vec<BlobCid> = (0..20_u8).map(|one| node.seed(&[one; 2000])).collect();
    sleep(Duration::from_mins(1)).await;
    assert!(node.swarm.sent().is_empty(), "nobody is known");
    node.tell_facts(&[1, 2]);
    sleep(Duration::from_secs(1000)).await;
    let sent = node.swarm.sent();
    assert!((90..=110).contains(&sent.len()), "{}", sent.len());
    let gaps = sent.windows(2).map(|two| two[1].at - two[0].at);
    let gaps: Vec<_> = gaps.map(|gap| gap.as_secs_f64()).collect();
    assert!(gaps.iter().all(|gap| (4.9..15.1).contains(gap)), "{gaps:?}");
    let nonces: BTreeSet<_> = sent
        .iter()
        .map(|one| *one.challenge.nonce.as_bytes())
        .collect();
    assert_eq!(nonces.len(), sent.len());
    for number in [1, 2] {
        let to = sent.iter().filter(|one| one.peer == peer(number)).count();
        assert!(to > 30, "{number}: {to}");
    }
    let asked: BTreeSet<_> = sent.iter().map(|one| one.challenge.cid).collect();
    assert!(asked.len() > 15 && asked.iter().all(|cid| blobs.contains(cid)));
    let opened = node.told.opened();
    assert_eq!(opened.len(), sent.len());
    for (opened, sent) in opened.iter().zip(&sent) {
        assert_eq!((opened.peer, opened.cid), (sent.peer, sent.challenge.cid));
        let until = opened.until - sent.at.into_std();
        assert!(until >= sent.patience && until < Duration::from_secs(40));
    }
    let finished = node.told.finished();
    assert_eq!(finished.len(), sent.len());
    assert!(finished.iter().all(|one| {
        (one.outcome, one.cause, one.size) == (Outcome::Passed, AuditCause::Random, 2000)
    }));
    assert_eq!(node.counted("audits_passed"), finished.len() as u64);
    assert_eq!(node.budget.snapshot().depth, 0);
}

#[actix::test]
async fn each_answer_has_its_outcome_and_is_told() {
    let node = Node::new(0);
    let cid = node.seed(b"content");
    let peer = peer(1);
    let refused = |kind| {
        let reason = "because".to_owned();
        SwarmError::Refused { peer, kind, reason }
    };
    let cause = "no route".to_owned();
    let reason = "not a proof".to_owned();
    let protocol = "/bytecave/proof/2.0.0";
    let rows = [
        (Does::Proves, Outcome::Passed),
        (
            Does::Says(SwarmError::Unreachable { peer, cause }),
            Outcome::Offline,
        ),
        (Does::Says(SwarmError::NotFound { peer }), Outcome::Failed),
        (Does::Says(refused(RefusalKind::Damaged)), Outcome::Failed),
        (
            Does::Says(SwarmError::BadAnswer { peer, reason }),
            Outcome::Failed,
        ),
        (
            Does::Says(refused(RefusalKind::Declined)),
            Outcome::Declined,
        ),
        (Does::Says(refused(RefusalKind::Blocked)), Outcome::Declined),
        (
            Does::Says(SwarmError::Unsupported { peer, protocol }),
            Outcome::Unsupported,
        ),
        (Does::Says(SwarmError::Busy { peer }), Outcome::Unknown),
        (Does::Says(SwarmError::Unavailable), Outcome::Unknown),
        (Does::Silent, Outcome::Contained),
        (Does::Hangs, Outcome::Unknown),
    ];
    node.tell_facts(&[1, 2]);
    for (number, (does, expected)) in (1..).zip(rows) {
        node.swarm.set(1, does.clone());
        let found = node.want(1, cid).await.unwrap();
        assert_eq!(
            (found.outcome, found.cause, found.sequence),
            (expected, AuditCause::Wanted, number),
            "{does:?}"
        );
        assert_eq!((found.peer_id, found.cid, found.size), (peer, cid, 7));
        assert_eq!(found.reason.is_none(), expected == Outcome::Passed);
        assert_eq!(found.evidence, None);
    }
    for (name, many) in [
        ("audits_passed", 1),
        ("audits_failed", 3),
        ("audits_contained", 1),
        ("audits_offline", 1),
        ("audits_declined", 2),
        ("audits_unsupported", 1),
        ("audits_unknown", 3),
    ] {
        assert_eq!(node.counted(name), many, "{name}");
    }
    let [sums] = &node.auditor.shared.parts.ledger.peers()[..] else {
        panic!("one peer was asked");
    };
    assert_eq!((sums.passed, sums.failed, sums.other), (1, 3, 8));
}

#[actix::test]
async fn a_proof_of_something_else_fails_with_its_evidence() {
    let node = Node::new(0);
    let (cid, other) = (node.seed(b"content"), node.seed(b"other content"));
    let of = |cid, nonce| Challenge {
        cid,
        nonce: Nonce::new(nonce),
        count: ChallengeCount::default(),
    };
    let rows = [
        (Does::Answers(of(other, [1; 32])), "wrongCid"),
        (Does::Answers(of(cid, [1; 32])), "wrongNonce"),
        (Does::PassesOn(2), "wrongPeer"),
    ];
    for (does, reason) in rows {
        node.swarm.set(1, does);
        let found = node.want(1, cid).await.unwrap();
        assert_eq!(
            (found.outcome, found.reason.as_deref()),
            (Outcome::Failed, Some(reason))
        );
        let evidence = found.evidence.as_ref().unwrap();
        let sent = *node.swarm.sent().last().unwrap();
        assert_eq!(evidence.nonce, sent.challenge.nonce);
    }
}

#[actix::test]
async fn a_silent_peer_is_asked_for_the_same_blob_and_fails_at_last_over_a_restart() {
    let node = Node::new(0);
    let cid = node.seed(b"content");
    node.tell_facts(&[1]);
    node.swarm.set(1, Does::Silent);
    node.auditor.want(peer(1), cid);
    sleep(Duration::from_mins(11)).await;
    let first = node.told.finished();
    assert_eq!(first.len(), 2);
    let node = node.restart().await;
    sleep(Duration::from_mins(11)).await;
    assert_eq!(node.swarm.sent().len(), 2, "it is not known who holds what");
    node.tell_facts(&[1]);
    sleep(Duration::from_mins(40)).await;
    let all: Vec<_> = first.into_iter().chain(node.told.finished()).collect();
    let found: Vec<_> = all
        .iter()
        .map(|one| (one.cause, one.outcome, one.cid))
        .collect();
    let (again, silent) = (AuditCause::Contained, Outcome::Contained);
    assert_eq!(
        found,
        [
            (AuditCause::Wanted, silent, cid),
            (again, silent, cid),
            (again, silent, cid),
            (again, Outcome::Failed, cid)
        ]
    );
    assert_eq!(all[3].sequence, 4);
    assert!(all[3].reason.as_ref().unwrap().contains("4 times"));
    let times: Vec<_> = node.swarm.sent().iter().map(|sent| sent.at).collect();
    assert!(times.windows(2).all(|two| two[1] - two[0] >= CONTAINED));
    assert!(
        node.swarm
            .sent()
            .iter()
            .all(|sent| sent.patience >= TIMEOUT)
    );
}

#[actix::test]
async fn who_answers_after_a_silence_owes_nothing() {
    let node = Node::new(0);
    let cid = node.seed(b"content");
    node.tell_facts(&[1]);
    node.swarm.set(1, Does::Silent);
    node.want(1, cid).await.unwrap();
    node.swarm.set(1, Does::Proves);
    sleep(Duration::from_hours(2)).await;
    let found: Vec<_> = node.told.finished().iter().map(|one| one.outcome).collect();
    assert_eq!(found, [Outcome::Contained, Outcome::Passed]);
}

#[actix::test]
async fn no_challenge_leaves_that_could_not_be_told_of() {
    tokio::time::pause();
    let (store, swarm) = (FakeStore::start(), FakeSwarm::start());
    let dir = Arc::new(tempfile::tempdir().unwrap());
    let node = Node::of(store, swarm, dir, 86_400, Some(deaf()));
    let cid = node.seed(b"content");
    node.tell_facts(&[1]);
    assert_eq!(node.want(1, cid).await, None);
    assert!(
        node.store
            .asked()
            .iter()
            .any(|asked| asked.starts_with("sample"))
    );
    assert!(node.swarm.sent().is_empty());
    assert!(node.counted("audits_skipped") > 30);
    assert_eq!(node.budget.snapshot().depth, 0);
}

#[actix::test]
async fn what_is_no_longer_here_is_held_against_nobody() {
    let node = Node::new(0);
    let (cid, contained) = (node.seed(b"content"), node.seed(b"more"));
    node.tell_facts(&[1, 2]);
    node.swarm.set(2, Does::Silent);
    node.want(2, contained).await.unwrap();
    node.store.remove(&contained);
    node.swarm.set(1, Does::Silent);
    node.auditor.want(peer(1), cid);
    sleep(Duration::from_secs(2)).await;
    node.store.remove(&cid);
    sleep(Duration::from_hours(1)).await;
    assert_eq!(node.swarm.sent().len(), 2);
    assert_eq!(node.told.finished().len(), 1);
    assert_eq!(node.auditor.shared.parts.ledger.take_due(), None);
    assert!(lock(&node.auditor.shared.open).is_empty());
}

#[actix::test]
async fn a_blob_that_may_still_be_on_its_way_fails_nobody() {
    let node = Node::new(0);
    let cid = node.store.seed(b"content");
    let found = node.want(1, cid).await.unwrap();
    assert_eq!(
        found.outcome,
        Outcome::Unknown,
        "it never said that it has all"
    );
    node.tell_facts(&[1, 2]);
    let found = node.want(1, cid).await.unwrap();
    assert_eq!(found.outcome, Outcome::Failed, "it said so since");
}

#[actix::test]
async fn audits_that_hang_are_bounded_in_number_and_time() {
    let node = Node::new(86_400);
    for one in 0..20_u8 {
        node.seed(&[one; 2000]);
    }
    node.swarm.set(1, Does::Hangs);
    node.tell_facts(&[1]);
    sleep(Duration::from_mins(5)).await;
    let sent = node.swarm.sent();
    let hangs = CONNECT_WITHIN + TIMEOUT;
    assert!(sent.len() > 30 && sent.windows(5).all(|five| five[4].at - five[0].at >= hangs));
    let finished = node.told.finished();
    assert!((28..=36).contains(&finished.len()), "{}", finished.len());
    assert!(finished.iter().all(|one| one.outcome == Outcome::Unknown));
}

#[actix::test]
async fn what_is_wanted_is_asked_few_at_a_time_and_once() {
    let node = Node::new(0);
    let blobs: Vec<_> = (0..30_u8).map(|one| node.seed(&[one])).collect();
    for _ in 0..2 {
        for cid in &blobs {
            for number in 1..=8 {
                node.auditor.want(peer(number), *cid);
            }
        }
    }
    sleep(Duration::from_mins(1)).await;
    let sent = node.swarm.sent();
    assert_eq!(sent.len(), 240);
    assert!(node.swarm.most() <= 4);
    let took = sent.last().unwrap().at - sent[0].at;
    assert!(took >= Duration::from_millis(20 * 239), "{took:?}");
    let to_one: Vec<_> = sent.iter().filter(|one| one.peer == peer(1)).collect();
    assert!(
        to_one
            .windows(2)
            .all(|two| two[1].at - two[0].at >= Duration::from_millis(100))
    );
    assert!(
        node.told
            .finished()
            .iter()
            .all(|one| one.outcome == Outcome::Passed)
    );
}

#[actix::test]
async fn silent_peers_do_not_hold_up_the_others() {
    let node = Node::new(0);
    let blobs: Vec<_> = (0..50_u8).map(|one| node.seed(&[one])).collect();
    for number in 1..=4 {
        node.swarm.set(number, Does::Silent);
    }
    for number in 1..=5 {
        for cid in &blobs {
            node.auditor.want(peer(number), *cid);
        }
    }
    sleep(Duration::from_secs(20)).await;
    let finished = node.told.finished();
    let of = |outcome| finished.iter().filter(|one| one.outcome == outcome).count();
    assert_eq!((of(Outcome::Contained), of(Outcome::Passed)), (4, 50));
}

#[actix::test]
async fn without_a_permit_nothing_is_asked_and_a_stop_leaves_no_verdict() {
    let node = Node::new(0);
    let cid = node.seed(b"content");
    let taken: Vec<Permit> =
        std::iter::from_fn(|| node.budget.try_acquire(Share::Repair, "other").ok()).collect();
    assert_eq!(node.want(1, cid).await, None);
    assert_eq!(node.counted("audits_skipped"), 1);
    drop(taken);
    node.swarm.set(1, Does::Silent);
    node.auditor.want(peer(1), cid);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(node.swarm.sent().len(), 1);
    node.auditor.clone().stop().await;
    sleep(Duration::from_mins(1)).await;
    assert!(node.told.finished().is_empty());
    assert_eq!(node.budget.snapshot().depth, 0);
}
