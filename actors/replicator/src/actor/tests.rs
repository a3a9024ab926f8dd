#![allow(clippy::unwrap_used)]
use std::sync::Mutex;

use actix::Addr;
use bytecave_config::Config;
use bytecave_core::BlobCid;
use bytecave_messages::budget::{Budget, Share};
use bytecave_messages::ports::{ReplicatorPort, ask, hand_on};
use bytecave_messages::proof::{AuditFinished, ChallengeOpened, Outcome};
use bytecave_messages::replicator::{BlobFacts, BytesAt, PlanError, ReplicatorSnapshot};
use bytecave_messages::store::StoreCondition;
use bytecave_messages::swarm::{
    Admission, Answer, InboundReplica, InboundRetrieve, Offer, Origin, Refusal, ReplicaBody,
    StatedBlob,
};
use tokio::sync::mpsc;

use super::*;
use crate::audits::tests::record;
use crate::fakes::{
    Does, FakeStore, FakeSwarm, ME, content_of_shard, count, keeper, network, peer, permit,
    read_all, snapshot, view,
};

/// What the actor told.
#[derive(Clone, Default)]
struct Told {
    states: Arc<Mutex<Vec<PartState>>>,
    latest: Arc<Mutex<Option<Arc<ReplicatorSnapshot>>>>,
}

impl Actor for Told {
    type Context = Context<Self>;
}

impl Handler<PartChanged> for Told {
    type Result = ();

    fn handle(&mut self, part: PartChanged, _: &mut Self::Context) {
        assert_eq!(part.actor, ActorName::Replicator);
        self.states.lock().unwrap().push(part.state);
    }
}

impl Handler<ReplicatorChanged> for Told {
    type Result = ();

    fn handle(&mut self, ReplicatorChanged(latest): ReplicatorChanged, _: &mut Self::Context) {
        *self.latest.lock().unwrap() = Some(latest);
    }
}

struct Node {
    store: FakeStore,
    swarm: FakeSwarm,
    replicator: Addr<ReplicatorActor>,
    told: Told,
    deaths: mpsc::Receiver<ActorName>,
    _dir: tempfile::TempDir,
}

impl Node {
    fn start(enabled: bool, has_registry: bool) -> Self {
        let (store, swarm) = (FakeStore::start(), FakeSwarm::start());
        let told = Told::default();
        let listener = told.clone().start();
        let config = Config::built_in().unwrap();
        let mut p2p = config.p2p;
        p2p.enabled = enabled;
        let (sender, deaths) = mpsc::channel(1);
        let dir = tempfile::tempdir().unwrap();
        let replicator = ReplicatorActor::new(ReplicatorOptions {
            me: peer(ME),
            p2p,
            replication: config.replication,
            has_registry,
            state_file: dir.path().join("replication.json"),
            store: store.port(),
            swarm: swarm.port(),
            events: ReplicatorEvents {
                changed: vec![listener.clone().recipient()],
                possession: Vec::new(),
                part: vec![listener.recipient()],
            },
            watch: DeathWatch::new(ActorName::Replicator, sender),
        })
        .start();
        Self {
            store,
            swarm,
            replicator,
            told,
            deaths,
            _dir: dir,
        }
    }

    /// Store and network say how they are; two others keep what this node keeps.
    async fn tell_facts(&self) {
        let store = snapshot(1, StoreCondition::Writable);
        let to = self.replicator.clone().recipient();
        ask(&to, StoreChanged(Arc::new(store))).await.unwrap();
        let peers = vec![keeper(1), keeper(2), view(3)];
        let to = self.replicator.clone().recipient();
        let changed = SwarmChanged(Arc::new(network(peers)));
        ask(&to, changed).await.unwrap();
    }

    async fn stored(&self, shard: u16) {
        let shard = count().shard(shard.into()).unwrap();
        let to = self.replicator.clone().recipient();
        ask(&to, BlobStored { shard }).await.unwrap();
    }

    fn port(&self) -> (ReplicatorPort, Budget) {
        let budget = Budget::new(ActorName::Replicator, 16);
        (
            ReplicatorPort::new(&self.replicator, budget.clone()),
            budget,
        )
    }

    fn copies(&self) -> usize {
        self.swarm.sent().len()
    }
}

#[actix::test]
async fn it_says_who_may_send_replicas_and_that_it_is_ready() {
    tokio::time::pause();
    let node = Node::start(true, true);
    node.tell_facts().await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(*node.told.states.lock().unwrap(), [PartState::Ready]);
    assert!(matches!(
        node.swarm.admission(),
        Some(Admission::Nobody(why)) if why.contains("no registry is read by this version")
    ));
    let latest = node.told.latest.lock().unwrap().clone().unwrap();
    assert_eq!((latest.factor, latest.outbox), (3, 0));
}

#[actix::test]
async fn without_networking_it_is_switched_off_and_still_empties_the_outbox() {
    tokio::time::pause();
    let node = Node::start(false, false);
    node.store.client_stores(&content_of_shard(3));
    node.store.until_asked("advance [3]").await;
    node.store.client_stores(&content_of_shard(5));
    node.stored(5).await;
    node.store.until_asked("advance [5]").await;
    assert_eq!(node.store.outbox(), 0);
    assert!(matches!(
        &node.told.states.lock().unwrap()[..],
        [PartState::Disabled { reason }] if reason == "P2P_ENABLED is false"
    ));
    assert_eq!(node.swarm.admission(), None);
    assert_eq!(node.swarm.offered(), []);
}

#[actix::test]
async fn it_serves_and_fetches() {
    let node = Node::start(true, false);
    node.tell_facts().await;
    let (answer, given) = Answer::new();
    let content = content_of_shard(9);
    let cid = BlobCid::of(&content);
    let wanted = InboundRetrieve {
        from: Origin::Peer(peer(1)),
        cid,
        range: None,
        answer,
        permit: permit(),
    };
    hand_on(&node.replicator.clone().recipient(), wanted);
    assert_eq!(given.await.unwrap().unwrap_err(), Refusal::NotFound);
    let nobody = node.swarm.asked();
    assert_eq!(nobody, [], "a peer is answered from the store alone");
    let (port, budget) = node.port();
    node.swarm
        .set(3, Does::Gives(content.clone(), Duration::ZERO));
    let blob = port.fetch(Share::Client, cid, None).await.unwrap();
    assert_eq!(read_all(blob.body).await, content);
    assert_eq!(budget.snapshot().depth, 0);
}

#[actix::test]
async fn what_a_client_stores_is_brought_to_the_others() {
    tokio::time::pause();
    let node = Node::start(true, false);
    node.tell_facts().await;
    let content = content_of_shard(2);
    let cid = node.store.client_stores(&content);
    node.stored(2).await;
    let (port, budget) = node.port();
    let blob = BlobFacts {
        cid,
        size: content.len() as u64,
        blob_root: bytecave_core::tree::blob_root(&content),
        content_type: None,
    };
    let patience = Duration::from_secs(5);
    let placed = port.place(Share::Client, blob, BytesAt::Store, 3, patience);
    let placed = placed.await.unwrap();
    assert_eq!((placed.confirmed, placed.target), (3, 3));
    assert_eq!(budget.snapshot().depth, 0);
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((node.store.outbox(), node.copies()), (0, 2));
}

#[actix::test]
async fn what_a_peer_sends_is_kept_and_brought_to_nobody() {
    tokio::time::pause();
    let node = Node::start(true, false);
    node.tell_facts().await;
    let content = content_of_shard(2);
    let (offer, wanted) = Offer::new(content.len() as u64);
    let (answer, given) = Answer::new();
    let sent = InboundReplica {
        from: peer(1),
        blob: StatedBlob {
            cid: BlobCid::of(&content),
            size: content.len() as u64,
            blob_root: Some(bytecave_core::tree::blob_root(&content)),
            content_type: None,
        },
        body: ReplicaBody::Offered(offer),
        answer,
        permit: permit(),
    };
    hand_on(&node.replicator.clone().recipient(), sent);
    let mut sender = wanted.await.unwrap();
    sender.send(content.into()).await.unwrap();
    sender.finish();
    assert!(!given.await.unwrap().unwrap().already_stored);
    node.stored(2).await;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((node.store.outbox(), node.copies()), (0, 0));
}

/// Asks the actor for a blob, behind all that it was told.
async fn retrieve(node: &Node, from: Origin, cid: BlobCid) -> Result<u64, Refusal> {
    let (answer, given) = Answer::new();
    let wanted = InboundRetrieve {
        from,
        cid,
        range: None,
        answer,
        permit: permit(),
    };
    hand_on(&node.replicator.clone().recipient(), wanted);
    given.await.unwrap().map(|served| served.size)
}

#[actix::test]
async fn nothing_of_a_blob_is_given_to_whom_it_is_asked_of() {
    tokio::time::pause();
    let node = Node::start(true, false);
    node.tell_facts().await;
    let (blob, other) = (
        node.store.seed(b"blob", None),
        node.store.seed(b"other", None),
    );
    let open = || {
        let opened = ChallengeOpened {
            peer: peer(1),
            cid: blob,
            until: (tokio::time::Instant::now() + Duration::from_secs(30)).into_std(),
        };
        // In the mailbox before what is asked for after it.
        node.replicator
            .clone()
            .recipient()
            .try_send(opened)
            .unwrap();
    };
    let asked = |number: u8, cid| retrieve(&node, Origin::Peer(peer(number)), cid);
    open();
    assert_eq!(asked(1, blob).await, Err(Refusal::Busy));
    assert_eq!(asked(1, other).await, Ok(5));
    assert_eq!(asked(2, blob).await, Ok(4));
    let relay = Origin::Link("wss://relay".into());
    assert_eq!(retrieve(&node, relay, blob).await, Ok(4));
    let ended = AuditFinished(Arc::new(record(1, blob, Outcome::Contained, 1)));
    let to = node.replicator.clone().recipient();
    to.try_send(ended).unwrap();
    assert_eq!(asked(1, blob).await, Ok(4), "it was answered");
    open();
    assert_eq!(asked(1, blob).await, Err(Refusal::Busy));
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(asked(1, blob).await, Ok(4), "its time is up");
}

#[actix::test]
async fn what_audits_find_is_held_for_and_against_peers() {
    tokio::time::pause();
    let node = Node::start(true, false);
    node.tell_facts().await;
    let cid = node.store.seed(&content_of_shard(3), None);
    for (number, outcome) in [
        (1, Outcome::Passed),
        (2, Outcome::Failed),
        (3, Outcome::Offline),
    ] {
        let ended = AuditFinished(Arc::new(record(number, cid, outcome, 1)));
        let to = node.replicator.clone().recipient();
        ask(&to, ended).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    let latest = node.told.latest.lock().unwrap().clone().unwrap();
    let score = |number: u8| {
        let conduct = latest.peers.iter().find(|it| it.peer_id == peer(number));
        conduct.map_or(0.0, |conduct| conduct.score)
    };
    assert!(score(1) > 0.0 && score(2) < -19.0, "{:?}", latest.peers);
    assert!(score(3).abs() < f64::EPSILON);
    let shard = latest.shards.iter().find(|it| it.shard.get() == 3).unwrap();
    let reason = format!("peer {} failed an audit of 1 blob", peer(2));
    assert_eq!(shard.reason, Some(reason));
}

#[actix::test]
async fn shards_are_handed_over_by_plan() {
    tokio::time::pause();
    let node = Node::start(true, false);
    let (port, budget) = node.port();
    let get = || port.shard_plan(Share::Client);
    assert_eq!(get().await, Err(PlanError::NotYet));
    node.tell_facts().await;
    let plan = get().await.unwrap();
    assert_eq!((plan.factor, plan.hold, plan.shards.len()), (3, 86_400, 0));
    let shard = count().shard(3).unwrap();
    let held = port.apply_shard_plan(Share::Client, vec![shard]).await;
    assert_eq!(held, Err(PlanError::NotInPlan { shard }));
    assert_eq!(budget.snapshot().depth, 0);
}

#[actix::test]
async fn it_stops_in_order() {
    let mut node = Node::start(true, false);
    let to = node.replicator.clone().recipient();
    ask(&to, Stop).await.unwrap();
    drop(node.replicator);
    assert_eq!(node.deaths.recv().await, None);
}
