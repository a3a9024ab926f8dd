#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use actix::Addr;
use bytecave_config::Config;
use bytecave_core::BlobCid;
use bytecave_core::proof::{Challenge, ChallengeCount, Nonce};
use bytecave_messages::budget::{Budget, Share};
use bytecave_messages::ports::{ProofPort, ask, hand_on};
use bytecave_messages::proof::{AuditFilter, Outcome};
use bytecave_messages::swarm::{Answer, Refusal};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::*;
use crate::chance::tests::Seeded;
use crate::fakes::{self, FakeStore, FakeSwarm, ME, Told, identity, peer, permit};

struct Node {
    store: FakeStore,
    swarm: FakeSwarm,
    told: Told,
    prover: Addr<ProofActor>,
    port: ProofPort,
    budget: Budget,
    deaths: mpsc::Receiver<ActorName>,
    dir: Arc<tempfile::TempDir>,
}

impl Node {
    fn start(networked: bool) -> Self {
        tokio::time::pause();
        let dir = Arc::new(tempfile::tempdir().unwrap());
        Self::of(FakeStore::start(), FakeSwarm::start(), dir, networked)
    }

    fn of(
        store: FakeStore,
        swarm: FakeSwarm,
        dir: Arc<tempfile::TempDir>,
        networked: bool,
    ) -> Self {
        let told = Told::default();
        let budget = Budget::new(ActorName::Proof, 64);
        let (sender, deaths) = mpsc::channel(1);
        let options = ProofOptions {
            identity: Arc::new(identity(ME)),
            node_id: "node-test".to_owned(),
            settings: Config::built_in().unwrap().proof,
            networked,
            directory: dir.path().to_owned(),
            budget: budget.clone(),
            store: store.port(),
            swarm: swarm.port(),
            events: told.events(),
            watch: DeathWatch::new(ActorName::Proof, sender),
        };
        let chance = Arc::new(Seeded::new(1));
        let prover = ProofActor::with(options, fakes::now_ms, chance).start();
        let port = ProofPort::new(&prover, budget.clone());
        Self {
            store,
            swarm,
            told,
            prover,
            port,
            budget,
            deaths,
            dir,
        }
    }

    /// A blob that a peer holds as well.
    fn seed(&self, content: &[u8]) -> BlobCid {
        self.swarm.seed(content);
        self.store.seed(content)
    }

    async fn tell_facts(&self) {
        let stored = StoreChanged(Arc::new(self.store.snapshot()));
        let to = self.prover.clone().recipient();
        ask(&to, stored).await.unwrap();
        let shards = (0..fakes::count().get()).map(|number| fakes::shard(number, &[ME, 1]));
        let replicas = fakes::replicas(shards.collect());
        let to = self.prover.clone().recipient();
        ask(&to, ReplicatorChanged(Arc::new(replicas)))
            .await
            .unwrap();
    }

    async fn stop(&self) {
        let to = self.prover.clone().recipient();
        ask(&to, Stop).await.unwrap();
    }
}

fn challenge(cid: BlobCid) -> Challenge {
    Challenge {
        cid,
        nonce: Nonce::new([1; 32]),
        count: ChallengeCount::default(),
    }
}

#[actix::test]
async fn it_is_ready_and_proves_to_clients_and_peers() {
    let node = Node::start(true);
    let cid = node.seed(b"content");
    let proof = node.port.make(Share::Client, challenge(cid)).await.unwrap();
    assert_eq!((proof.cid, proof.peer_id), (cid, peer(ME)));
    let (answer, given) = Answer::new();
    let asked = InboundChallenge {
        from: peer(1),
        challenge: challenge(BlobCid::of(b"what is not here")),
        answer,
        permit: permit(),
    };
    hand_on(&node.prover.clone().recipient(), asked);
    assert_eq!(given.await.unwrap().unwrap_err(), Refusal::NotFound);
    assert_eq!(node.told.states(), [PartState::Ready]);
    assert_eq!(node.budget.snapshot().depth, 0);
}

#[actix::test]
async fn it_audits_by_itself_scrubs_and_tells_how_it_is_once_a_second() {
    let node = Node::start(true);
    let cid = node.seed(b"content");
    node.tell_facts().await;
    sleep(Duration::from_mins(10)).await;
    let told = node.told.snapshots();
    assert!((598..=602).contains(&told.len()), "{}", told.len());
    let latest = told.last().unwrap();
    let audits = node.told.finished().len() as u64;
    assert!((10..=18).contains(&audits), "2000 a day: {audits}");
    assert_eq!((latest.peers.len(), latest.peers[0].passed), (1, audits));
    assert_eq!((latest.scrub.blobs, latest.scrub.total_bytes), (1, 7));
    for expected in [("audits_passed", audits), ("scrubbed_blobs", 1)] {
        assert!(latest.counters.contains(&expected), "{:?}", latest.counters);
    }
    let filter = AuditFilter {
        cid: Some(cid),
        ..AuditFilter::default()
    };
    let page = node
        .port
        .audits(Share::Client, filter, None, 5)
        .await
        .unwrap();
    assert_eq!(page.audits.len(), 5);
    assert_eq!(page.next, Some(audits - 4));
    let begun = node.port.start_scrub(Share::Client).await.unwrap();
    assert!(begun.running);
}

#[actix::test]
async fn without_a_network_it_proves_and_scrubs_and_asks_nobody() {
    let node = Node::start(false);
    let cid = node.seed(b"content");
    node.tell_facts().await;
    let wanted = PossessionWanted { peer: peer(1), cid };
    ask(&node.prover.clone().recipient(), wanted).await.unwrap();
    sleep(Duration::from_hours(2)).await;
    assert!(node.swarm.sent().is_empty());
    assert!(node.port.make(Share::Client, challenge(cid)).await.is_ok());
    assert_eq!(node.told.snapshots().last().unwrap().scrub.blobs, 1);
    assert_eq!(node.told.states(), [PartState::Ready]);
}

#[actix::test]
async fn it_stops_in_order_and_goes_on_after_a_restart() {
    let mut node = Node::start(true);
    let cid = node.seed(b"content");
    node.tell_facts().await;
    let wanted = PossessionWanted { peer: peer(1), cid };
    ask(&node.prover.clone().recipient(), wanted).await.unwrap();
    sleep(Duration::from_secs(3)).await;
    assert_eq!(node.told.finished()[0].outcome, Outcome::Passed);
    let scrubbed = node.told.snapshots().last().unwrap().scrub.clone();
    node.stop().await;
    drop((node.prover, node.port));
    assert_eq!(node.deaths.recv().await, None);

    let node = Node::of(node.store, node.swarm, node.dir, true);
    let page = node
        .port
        .audits(Share::Client, AuditFilter::default(), None, 100);
    let page = page.await.unwrap();
    assert_eq!((page.audits.len(), page.next), (1, None));
    assert_eq!((page.audits[0].sequence, page.audits[0].cid), (1, cid));
    sleep(Duration::from_secs(3)).await;
    let told = node.told.snapshots();
    let latest = told.last().unwrap();
    assert_eq!(latest.peers[0].passed, 1);
    assert_eq!(latest.scrub.started_at, scrubbed.started_at);
    let asked = node.store.asked();
    let scrubs = asked.iter().filter(|asked| asked.starts_with("scrub"));
    assert_eq!(scrubs.count(), 1, "{asked:?}");
}
