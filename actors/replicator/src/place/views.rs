//! Nodes that see the network differently never lose a blob that was promised: whole nodes, each with
//! its own arbitrary view and the real deciding parts, over wires that lose what they like.
#![allow(clippy::unwrap_used)]

use std::sync::Mutex;

use actix::{Actor, Context, Handler, ResponseFuture};
use bytecave_core::proof::Proof;
use bytecave_core::{BlobCid, ShardRange, tree};
use bytecave_messages::body::{BlobBody, BodySender};
use bytecave_messages::budget::Budget;
use bytecave_messages::store::{InTransit, StoreCondition};
use bytecave_messages::swarm::{
    Admission, Answer, AskSync, ChallengePeer, InboundReplica, Offer, PeerView, RemoteBlob,
    ReplicaBody, ReplicaSent, RetrieveFromPeer, SendReplica, SetAdmission, StatedBlob, SwarmError,
};
use bytecave_messages::sync::SyncAnswer;
use bytes::Bytes;
use futures_util::future::join_all;
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::time::sleep;

use super::*;
use crate::audits::Audits;
use crate::facts::Facts;
use crate::fakes::{
    FakeStore, content_of_shard, keeper, network, peer, permit, settings, snapshot,
};
use crate::holders::Rules;
use crate::outbox::Outbox;
use crate::policy::StorePolicy;
use crate::receive::{Receiver, Strangers};

const NODES: u8 = 5;
const SHARD: u16 = 2;
const OURS: ShardRange = ShardRange { start: 0, end: 7 };
const OTHERS: ShardRange = ShardRange { start: 8, end: 15 };
const PATIENCE: Duration = Duration::from_secs(10);

/// How a node is, or is thought to be.
#[derive(Debug, Clone)]
struct Sight {
    known: bool,
    owns: bool,
    full: bool,
    capacity_bits: u32,
}

/// What becomes of one sending.
#[derive(Debug, Clone, Copy)]
enum Wire {
    Holds,
    /// The peer cannot be reached.
    Away,
    /// It breaks off in the middle of the bytes.
    Breaks,
    /// All arrives, and the answer is lost.
    LosesAnswer,
    /// All arrives, long after.
    Slow,
}

#[derive(Debug, Clone)]
struct World {
    /// How each node is.
    nodes: Vec<Sight>,
    /// Whether the blob was deleted there before.
    deleted: Vec<bool>,
    /// How each thinks the others are.
    views: Vec<Vec<Sight>>,
    wires: Vec<Wire>,
    /// The node to which a client brings the blob, and another one.
    clients: (usize, usize),
    /// When nodes that have an outbox begin anew.
    restarts: u64,
}

fn sight() -> impl Strategy<Value = Sight> {
    (0..5, 0..3, 0..4, 20_u32..40).prop_map(|(known, owns, full, capacity_bits)| Sight {
        known: known > 0,
        owns: owns > 0,
        full: full == 0,
        capacity_bits,
    })
}

fn world() -> impl Strategy<Value = World> {
    let many = usize::from(NODES);
    let wire = prop_oneof![
        3 => Just(Wire::Holds),
        1 => Just(Wire::Away),
        1 => Just(Wire::Breaks),
        1 => Just(Wire::LosesAnswer),
        1 => Just(Wire::Slow),
    ];
    (
        vec(sight(), many),
        vec(prop::bool::weighted(0.2), many),
        vec(vec(sight(), many), many),
        vec(wire, 1..12),
        (0..many, 0..many),
        0_u64..20,
    )
        .prop_map(|(nodes, deleted, views, wires, clients, restarts)| World {
            nodes,
            deleted,
            views,
            wires,
            clients,
            restarts,
        })
}

/// Where the nodes reach one another.
#[derive(Default)]
struct Wires {
    receivers: Mutex<Vec<(PeerId, Receiver)>>,
    /// What becomes of the next sendings, again and again.
    fates: Vec<Wire>,
    sent: Mutex<usize>,
}

impl Wires {
    fn next(&self) -> Wire {
        let mut sent = self.sent.lock().unwrap();
        *sent += 1;
        self.fates[*sent % self.fates.len()]
    }
}

/// One node's end of the wires.
struct End {
    me: PeerId,
    wires: Arc<Wires>,
}

impl Actor for End {
    type Context = Context<Self>;
}

impl Handler<SendReplica> for End {
    type Result = ResponseFuture<Result<ReplicaSent, SwarmError>>;

    fn handle(&mut self, sent: SendReplica, _: &mut Self::Context) -> Self::Result {
        let (wire, peer) = (self.wires.next(), sent.peer);
        let receivers = self.wires.receivers.lock().unwrap();
        let receiver = receivers.iter().find(|(known, _)| *known == peer);
        let receiver = receiver.map(|(_, receiver)| receiver.clone());
        let from = self.me;
        Box::pin(async move {
            let cause = String::new();
            let Some(receiver) = receiver.filter(|_| !matches!(wire, Wire::Away)) else {
                return Err(SwarmError::Unreachable { peer, cause });
            };
            if matches!(wire, Wire::Slow) {
                sleep(PATIENCE).await;
            }
            let (offer, wanted) = Offer::new(sent.blob.size);
            let (answer, given) = Answer::new();
            let blob = sent.blob;
            let replica = InboundReplica {
                from,
                blob: StatedBlob {
                    cid: blob.cid,
                    size: blob.size,
                    blob_root: Some(blob.blob_root),
                    content_type: blob.content_type,
                },
                body: ReplicaBody::Offered(offer),
                answer,
                permit: permit(),
            };
            let sending = async {
                if let Ok(sender) = wanted.await {
                    pour(sent.body, sender, wire).await;
                }
            };
            tokio::join!(receiver.replica(replica), sending);
            match given.await {
                Ok(_) if matches!(wire, Wire::LosesAnswer) => Err(SwarmError::TimedOut {
                    peer,
                    after: PATIENCE,
                }),
                Ok(Ok(kept)) => Ok(ReplicaSent {
                    already_stored: kept.already_stored,
                    counted: true,
                }),
                Ok(Err(refusal)) => Err(SwarmError::Refused {
                    peer,
                    kind: refusal.kind(),
                    reason: refusal.to_string(),
                }),
                Err(_) => Err(SwarmError::Busy { peer }),
            }
        })
    }
}

async fn pour(body: BlobBody, mut sender: BodySender, wire: Wire) {
    let BlobBody::Whole(bytes) = body else {
        panic!("a small blob is sent whole");
    };
    if matches!(wire, Wire::Breaks) {
        let half = bytes.slice(..bytes.len() / 2);
        assert!(sender.send(half).await.is_ok());
    } else if sender.send(bytes).await.is_ok() {
        sender.finish();
    }
}

macro_rules! never_asked {
    ($($message:ident -> $reply:ty;)+) => {$(
        impl Handler<$message> for End {
            type Result = ResponseFuture<$reply>;

            fn handle(&mut self, message: $message, _: &mut Self::Context) -> Self::Result {
                panic!("nobody asks for {message:?}");
            }
        }
    )+};
}
never_asked! {
    RetrieveFromPeer -> Result<RemoteBlob, SwarmError>;
    AskSync -> Result<SyncAnswer, SwarmError>;
    ChallengePeer -> Result<Proof, SwarmError>;
    SetAdmission -> ();
}

struct Node {
    sight: Sight,
    store: FakeStore,
    placer: Placer,
    outbox: Outbox,
}

impl Node {
    fn start(world: &World, at: usize, wires: &Arc<Wires>) -> Self {
        let number = u8::try_from(at).unwrap();
        let sight = world.nodes[at].clone();
        let store = FakeStore::start();
        let cid = BlobCid::of(&content_of_shard(SHARD));
        if world.deleted[at] {
            store.deleted(&cid);
        }
        let condition = if sight.full {
            StoreCondition::Full
        } else {
            StoreCondition::Writable
        };
        let mut own = snapshot(0, condition);
        own.owned = vec![if sight.owns { OURS } else { OTHERS }];
        own.quota_bytes = 1 << sight.capacity_bits;
        let facts = Facts::default();
        facts.set(&own);
        let rules = Rules {
            me: peer(number),
            factor: 3,
            probation: false,
            holder_timeout: Duration::from_mins(15),
            goodbye_timeout: Duration::from_mins(5),
            now_ms: || 0,
        };
        let holders = Holders::new(rules, facts.clone(), Audits::new(Vec::new()));
        let seen = world.views[at].iter().zip(0..NODES);
        let seen = seen.filter(|(sight, other)| sight.known && *other != number);
        let peers = seen.map(|(sight, other)| seen_as(sight, other)).collect();
        holders.set_network(Arc::new(network(peers)));
        let conduct = Conduct::new(|| 0);
        let end = End {
            me: peer(number),
            wires: Arc::clone(wires),
        };
        let budget = Budget::new(ActorName::Swarm, 256);
        let swarm = SwarmPort::new(&end.start(), budget);
        let placer = Placer::new(store.port(), swarm, holders.clone(), conduct.clone());
        let receiver = Receiver {
            store: store.port(),
            placer: placer.clone(),
            facts,
            admission: Admission::Everyone,
            policy: StorePolicy::new(&settings()),
            holders,
            conduct,
            strangers: Strangers::new(1.0),
            now_ms: || 0,
        };
        wires
            .receivers
            .lock()
            .unwrap()
            .push((peer(number), receiver));
        let outbox = Outbox::new(store.port(), placer.clone());
        Self {
            sight,
            store,
            placer,
            outbox,
        }
    }

    /// A client brings the blob; whether it was promised.
    async fn client(&mut self, blob: &BlobFacts, content: &[u8]) -> bool {
        let mut order = PlaceBlob {
            blob: blob.clone(),
            bytes: BytesAt::Store,
            wanted: 2,
            patience: PATIENCE,
            permit: permit(),
        };
        if !self.sight.owns {
            let bytes = Bytes::copy_from_slice(content);
            order.bytes = BytesAt::Transit(InTransit::Memory(bytes));
            let placed = self.placer.clone().place(order).await;
            return placed.is_ok_and(|placed| placed.confirmed > 0);
        }
        if self.sight.full {
            return false;
        }
        self.store.client_stores(content);
        self.outbox.start(true);
        self.placer.clone().place(order).await.unwrap();
        true
    }

    fn restart(&mut self) {
        self.outbox.stop();
        self.outbox = Outbox::new(self.store.port(), self.placer.clone());
        self.outbox.start(true);
    }

    fn has(&self, cid: &BlobCid) -> bool {
        self.store.kept(cid).is_some()
    }
}

fn seen_as(sight: &Sight, number: u8) -> PeerView {
    let mut view = keeper(number);
    let info = view.info.as_mut().unwrap();
    info.shards = Some(vec![if sight.owns { OURS } else { OTHERS }]);
    info.accepting = Some(!sight.full);
    info.capacity = Some(1 << sight.capacity_bits);
    view
}

async fn live_through(world: &World) {
    let wires = Arc::new(Wires {
        fates: world.wires.clone(),
        ..Wires::default()
    });
    let content = content_of_shard(SHARD);
    let cid = BlobCid::of(&content);
    let blob = BlobFacts {
        cid,
        size: content.len() as u64,
        blob_root: tree::blob_root(&content),
        content_type: None,
    };
    let mut nodes: Vec<_> = (0..usize::from(NODES))
        .map(|at| Node::start(world, at, &wires))
        .collect();
    let (one, other) = world.clients;
    let clients = nodes.iter_mut().enumerate();
    let clients = clients.filter(|(at, _)| *at == one || *at == other);
    let clients = clients.map(async |(_, node)| node.client(&blob, &content).await);
    let promised = join_all(clients).await.contains(&true);
    let safe = |nodes: &[Node]| !promised || nodes.iter().any(|node| node.has(&cid));
    assert!(safe(&nodes), "promised, and nobody has it");

    sleep(Duration::from_secs(world.restarts)).await;
    let with_outbox = |node: &&mut Node| node.sight.owns;
    nodes.iter_mut().filter(with_outbox).for_each(Node::restart);
    sleep(Duration::from_hours(1)).await;
    assert!(safe(&nodes), "promised, and in the end nobody has it");
    for (at, node) in nodes.iter().enumerate() {
        let claimed = node.placer.recent(&cid.digest()).unwrap_or_default().has;
        for (claimed, _) in claimed {
            let found = (0..NODES).find(|number| peer(*number) == claimed).unwrap();
            assert!(
                nodes[usize::from(found)].has(&cid),
                "{found} does not have it"
            );
        }
        if node.has(&cid) && node.store.outbox() == 0 {
            let placement = node.placer.holders().placement().unwrap();
            let me = node.placer.holders().me();
            let shard = placement.shard_of(&cid);
            let holders = placement.holders(shard);
            let done = placement.holds(&me, shard)
                || holders
                    .iter()
                    .filter(|holder| holder.accepting)
                    .all(|holder| {
                        let number = (0..NODES).find(|number| peer(*number) == holder.peer);
                        let found = usize::from(number.unwrap());
                        !world.nodes[found].owns || world.deleted[found]
                    })
                || nodes
                    .iter()
                    .enumerate()
                    .any(|(elsewhere, node)| elsewhere != at && node.has(&cid));
            let brought = world.clients.0 == at || world.clients.1 == at;
            assert!(
                done || !brought,
                "let go of the entry, and no holder has it"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_each_thinks_of_the_others_what_was_promised_is_kept(world in world()) {
        actix::System::new().block_on(async {
            tokio::time::pause();
            live_through(&world).await;
        });
    }
}
