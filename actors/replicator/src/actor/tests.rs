#![allow(clippy::unwrap_used)]
use std::sync::Mutex;

use actix::Addr;
use bytecave_core::BlobCid;
use bytecave_messages::budget::{Budget, Share};
use bytecave_messages::ports::{ReplicatorPort, ask, hand_on};
use bytecave_messages::store::StoreCondition;
use bytecave_messages::swarm::{Admission, Answer, Origin, Refusal};
use tokio::sync::mpsc;

use super::*;
use crate::fakes::{
    Does, FakeStore, FakeSwarm, content_of_shard, network, permit, settings, snapshot, view,
};

struct Listener(Arc<Mutex<Vec<PartState>>>);

impl Actor for Listener {
    type Context = Context<Self>;
}

impl Handler<PartChanged> for Listener {
    type Result = ();

    fn handle(&mut self, part: PartChanged, _: &mut Self::Context) {
        assert_eq!(part.actor, ActorName::Replicator);
        self.0.lock().unwrap().push(part.state);
    }
}

struct Node {
    store: FakeStore,
    swarm: FakeSwarm,
    replicator: Addr<ReplicatorActor>,
    told: Arc<Mutex<Vec<PartState>>>,
    deaths: mpsc::Receiver<ActorName>,
}

impl Node {
    fn start(enabled: bool) -> Self {
        let (store, swarm) = (FakeStore::start(), FakeSwarm::start());
        store.leave_in_outbox(3);
        let told = Arc::default();
        let listener = Listener(Arc::clone(&told)).start();
        let mut settings = settings();
        settings.enabled = enabled;
        let (sender, deaths) = mpsc::channel(1);
        let replicator = ReplicatorActor::new(ReplicatorOptions {
            settings,
            has_registry: true,
            store: store.port(),
            swarm: swarm.port(),
            listeners: vec![listener.recipient()],
            watch: DeathWatch::new(ActorName::Replicator, sender),
        })
        .start();
        Self {
            store,
            swarm,
            replicator,
            told,
            deaths,
        }
    }

    async fn tell_facts(&self) {
        let store = snapshot(1, StoreCondition::Writable);
        ask(
            &self.replicator.clone().recipient(),
            StoreChanged(Arc::new(store)),
        )
        .await
        .unwrap();
        let changed = SwarmChanged(Arc::new(network(vec![view(1)])));
        ask(&self.replicator.clone().recipient(), changed)
            .await
            .unwrap();
    }
}

#[actix::test]
async fn it_says_who_may_send_replicas_and_that_it_is_ready() {
    tokio::time::pause();
    let node = Node::start(true);
    node.tell_facts().await;
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(*node.told.lock().unwrap(), [PartState::Ready]);
    assert!(matches!(
        node.swarm.admission(),
        Some(Admission::Nobody(why)) if why.contains("no registry is read by this version")
    ));
}

#[actix::test]
async fn without_networking_it_is_switched_off_and_still_empties_the_outbox() {
    tokio::time::pause();
    let node = Node::start(false);
    node.store.until_asked("outbox").await;
    let shard = crate::fakes::count().shard(5).unwrap();
    ask(&node.replicator.clone().recipient(), BlobStored { shard })
        .await
        .unwrap();
    node.store.until_asked("advance").await;
    assert_eq!(node.store.asked(), ["outbox", "advance [3, 5]"]);
    assert!(matches!(
        &node.told.lock().unwrap()[..],
        [PartState::Disabled { reason }] if reason == "P2P_ENABLED is false"
    ));
    assert_eq!(node.swarm.admission(), None);
}

#[actix::test]
async fn it_serves_and_fetches() {
    let node = Node::start(true);
    node.tell_facts().await;
    let (answer, given) = Answer::new();
    let cid = BlobCid::of(&content_of_shard(9));
    let wanted = InboundRetrieve {
        from: Origin::Peer(crate::fakes::peer(1)),
        cid,
        answer,
        permit: permit(),
    };
    hand_on(&node.replicator.clone().recipient(), wanted);
    assert_eq!(given.await.unwrap().unwrap_err(), Refusal::NotFound);
    assert_eq!(
        node.swarm.asked(),
        [],
        "a peer is answered from the store alone"
    );

    let budget = Budget::new(ActorName::Replicator, 16);
    let port = ReplicatorPort::new(&node.replicator, budget.clone());
    node.swarm
        .set(1, Does::Gives(content_of_shard(9), Duration::ZERO));
    let blob = port.fetch(Share::Client, cid).await.unwrap();
    assert_eq!(blob.bytes, content_of_shard(9));
    assert_eq!(budget.snapshot().depth, 0);
}

#[actix::test]
async fn it_stops_in_order() {
    let mut node = Node::start(true);
    ask(&node.replicator.clone().recipient(), Stop)
        .await
        .unwrap();
    drop(node.replicator);
    assert_eq!(node.deaths.recv().await, None);
}
