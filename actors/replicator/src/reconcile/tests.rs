#![allow(clippy::unwrap_used)]
//! Nodes with stores in memory, wired to each other, in virtual time.

mod answering;
mod audited;
mod converge;
mod fetching;
mod liars;
mod prover;
mod surviving;
mod trimming;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use actix::{Actor, Context, Handler, ResponseFuture};
use bytecave_config::{Config, TimeSpan};
use bytecave_core::proof::Proof;
use bytecave_core::{BlobCid, Digest, Fingerprint, PeerId, ShardId};
use bytecave_messages::budget::{ActorName, Budget, Share};
use bytecave_messages::replicator::ShardReplication;
use bytecave_messages::store::{ShardCounters, StoreCondition};
use bytecave_messages::swarm::{
    Answer, AskSync, ChallengePeer, RefusalKind, RemoteBlob, ReplicaSent, RetrieveFromPeer,
    SendReplica, SetAdmission, SwarmError,
};
use bytecave_messages::sync::{SyncAnswer, SyncRequest};
use tempfile::TempDir;
use tokio::time::Instant;

use super::*;
use crate::fakes::{FakeStore, count, keeper, network, peer, permit, snapshot};
use crate::holders::Rules;

const INTERVAL: Duration = Duration::from_mins(15);

thread_local! {
    static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
}

/// The clock of the tests: 2027, and the virtual time since the test began.
fn test_now_ms() -> u64 {
    let began = BEGAN.get().unwrap_or_else(Instant::now);
    BEGAN.set(Some(began));
    1_800_000_000_000 + u64::try_from(began.elapsed().as_millis()).unwrap()
}

type Answered = Result<SyncAnswer, SwarmError>;
type Twist = Arc<dyn Fn(&SyncRequest, Answered) -> Answered + Send + Sync>;
type Gives = Arc<dyn Fn(BlobCid, u64) -> Option<Result<RemoteBlob, SwarmError>> + Send + Sync>;

/// What connects the nodes.
#[derive(Default)]
struct Wire {
    nodes: BTreeMap<PeerId, (Reconciler, FakeStore)>,
    /// Who asked whom for what.
    log: Vec<(PeerId, PeerId, &'static str)>,
    /// Changes what a peer answers.
    twists: BTreeMap<PeerId, Twist>,
    /// What a peer gives instead of what it has.
    gives: BTreeMap<PeerId, Gives>,
    /// Peers that are asked for proof in vain.
    mute: BTreeSet<PeerId>,
}

#[derive(Clone, Default)]
struct World(Arc<Mutex<Wire>>);

struct Node {
    number: u8,
    store: FakeStore,
    facts: Facts,
    holders: Holders,
    conduct: Conduct,
    reconciler: Reconciler,
}

/// The network as one node sees it.
struct Mouth {
    me: PeerId,
    world: World,
}

impl World {
    fn lock(&self) -> std::sync::MutexGuard<'_, Wire> {
        self.0.lock().unwrap()
    }

    /// A node that begins to reconcile with `others`.
    async fn node(&self, number: u8, others: &[u8], settings: Replication, dir: &Path) -> Node {
        let store = FakeStore::start();
        self.node_with(number, others, settings, dir, store).await
    }

    async fn node_with(
        &self,
        number: u8,
        others: &[u8],
        settings: Replication,
        dir: &Path,
        store: FakeStore,
    ) -> Node {
        let facts = Facts::default();
        set_facts(&store, &facts).await;
        let holders = Holders::new(
            Rules {
                me: peer(number),
                factor: usize::try_from(settings.factor).unwrap(),
                probation: false,
                holder_timeout: Duration::from_mins(15),
                goodbye_timeout: Duration::from_mins(5),
                now_ms: || 0,
            },
            facts.clone(),
            prover::audits(peer(number), self),
        );
        let conduct = Conduct::new(test_now_ms);
        let mouth = Mouth {
            me: peer(number),
            world: self.clone(),
        };
        let budget = Budget::new(ActorName::Swarm, 256);
        let parts = ReconcilerParts {
            settings,
            state_file: dir.join(format!("{number}.json")),
            admission: Admission::Everyone,
            store: store.port(),
            swarm: SwarmPort::new(&mouth.start(), budget),
            facts: facts.clone(),
            holders: holders.clone(),
            conduct: conduct.clone(),
        };
        let reconciler = Reconciler::with_clock(parts, test_now_ms);
        let wired = (reconciler.clone(), store.clone());
        self.lock().nodes.insert(peer(number), wired);
        let node = Node {
            number,
            store,
            facts,
            holders,
            conduct,
            reconciler,
        };
        node.knows(others);
        node.tell_facts();
        node.reconciler.start();
        node
    }

    /// Nodes 1 to `last`, all of which know each other.
    async fn nodes(&self, last: u8, settings: &Replication, dir: &Path) -> Vec<Node> {
        let all: Vec<u8> = (1..=last).collect();
        let mut nodes = Vec::new();
        for number in &all {
            nodes.push(self.node(*number, &all, settings.clone(), dir).await);
        }
        nodes
    }

    fn twist(
        &self,
        number: u8,
        twist: impl Fn(&SyncRequest, Answered) -> Answered + Send + Sync + 'static,
    ) {
        self.lock().twists.insert(peer(number), Arc::new(twist));
    }

    fn gives(
        &self,
        number: u8,
        gives: impl Fn(BlobCid, u64) -> Option<Result<RemoteBlob, SwarmError>> + Send + Sync + 'static,
    ) {
        self.lock().gives.insert(peer(number), Arc::new(gives));
    }

    /// How often `from` asked anybody for this.
    fn asked(&self, from: u8, what: &str) -> usize {
        let from = peer(from);
        let log = &self.lock().log;
        log.iter()
            .filter(|(asker, _, asked)| *asker == from && *asked == what)
            .count()
    }
}

impl Node {
    /// From now on these are members, and all of them connected.
    fn knows(&self, others: &[u8]) {
        let others = others.iter().filter(|other| **other != self.number);
        let views = others.map(|other| keeper(*other)).collect();
        self.holders.set_network(Arc::new(network(views)));
    }

    /// The store says how it is each second, as long as the test runs.
    fn tell_facts(&self) {
        let (store, facts, holders) =
            (self.store.clone(), self.facts.clone(), self.holders.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_secs(1)).await;
                set_facts(&store, &facts).await;
                holders.refresh();
            }
        });
    }

    fn has(&self, contents: &[Vec<u8>]) -> bool {
        contents
            .iter()
            .all(|content| self.store.kept(&BlobCid::of(content)).is_some())
    }

    /// The content is wanting here; these have it, and are asked for it in this order.
    fn repair(&self, content: &[u8], sources: &[u8]) {
        let shared = &self.reconciler.shared;
        // The first to be queued is the last to be asked, the first time.
        let (first, others) = sources.split_first().unwrap();
        for source in others.iter().chain([first]) {
            let digest = [Digest::of(content)];
            let (repairs, tallies) = (&shared.repairs, &shared.tallies);
            assert_eq!(
                repairs.push(tallies, shard_of(content), &digest, peer(*source)),
                1
            );
        }
    }

    fn shard(&self, shard: ShardId) -> ShardReplication {
        let shards = self.reconciler.snapshot(0).shards;
        shards
            .iter()
            .find(|view| view.shard == shard)
            .cloned()
            .expect("the shard is held here")
    }

    fn counter(&self, name: &str) -> u64 {
        let counters = self.reconciler.snapshot(0).counters;
        let found = counters.iter().find(|(counter, _)| *counter == name);
        found.expect("there is such a counter").1
    }
}

async fn set_facts(store: &FakeStore, facts: &Facts) {
    let mut told = snapshot(0, StoreCondition::Writable);
    told.quarantined = store.quarantined();
    let owned = store.owned();
    told.owned = vec![owned];
    for shard in 0..8 {
        let shard = count().shard(shard).unwrap();
        let list = store
            .port()
            .list_digests(Share::Repair, shard)
            .await
            .unwrap();
        let mut fingerprint = Fingerprint::EMPTY;
        list.iter()
            .for_each(|listed| fingerprint.add(&listed.digest));
        told.shards.push(ShardCounters {
            shard,
            owned: u64::from(shard.get()) <= owned.end,
            blobs: list.len() as u64,
            bytes: 0,
            sealed_bytes: 0,
            dead_bytes: 0,
            retired: 0,
            retired_bytes: 0,
            fingerprint,
        });
    }
    facts.set(&told);
}

fn settings() -> Replication {
    Config::built_in().unwrap().replication
}

/// So many contents of shards that the nodes keep, beginning so.
fn contents(beginning: &str, number: usize) -> Vec<Vec<u8>> {
    (0_u32..)
        .map(|at| format!("{beginning} {at}").into_bytes())
        .filter(|content| shard_of(content).get() < 8)
        .take(number)
        .collect()
}

fn shard_of(content: &[u8]) -> ShardId {
    count().shard_of(&Digest::of(content))
}

/// Waits for it, for so long of virtual time at most.
async fn until(what: &str, at_most: Duration, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < at_most, "{what}: not within {at_most:?}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

impl Actor for Mouth {
    type Context = Context<Self>;
}

impl Handler<ChallengePeer> for Mouth {
    type Result = ResponseFuture<Result<Proof, SwarmError>>;

    fn handle(&mut self, asked: ChallengePeer, _: &mut Self::Context) -> Self::Result {
        panic!("the replicator challenges nobody: {asked:?}");
    }
}

impl Handler<AskSync> for Mouth {
    type Result = ResponseFuture<Answered>;

    fn handle(&mut self, asked: AskSync, _: &mut Self::Context) -> Self::Result {
        let AskSync {
            peer: to,
            request,
            permit: held,
        } = asked;
        let what = match &request {
            SyncRequest::CompareAll { .. } => "compare all",
            SyncRequest::Compare { .. } => "compare",
            SyncRequest::Keyed { .. } => "keyed",
            SyncRequest::Ranges { .. } => "ranges",
            SyncRequest::Offer { .. } => "offer",
        };
        let (node, twist) = {
            let mut wire = self.world.lock();
            wire.log.push((self.me, to, what));
            let node = wire.nodes.get(&to).map(|(node, _)| node.clone());
            (node, wire.twists.get(&to).cloned())
        };
        let from = self.me;
        Box::pin(async move {
            let _held = held;
            let answered = match node {
                Some(node) => put(&node, from, to, request.clone()).await,
                None => Err(unreachable_peer(to)),
            };
            match twist {
                Some(twist) => twist(&request, answered),
                None => answered,
            }
        })
    }
}

fn unreachable_peer(peer: PeerId) -> SwarmError {
    let cause = "for a test".to_owned();
    SwarmError::Unreachable { peer, cause }
}

/// Puts a question to a node.
async fn put(node: &Reconciler, from: PeerId, to: PeerId, request: SyncRequest) -> Answered {
    let (answer, answered) = Answer::new();
    let asked = InboundSync {
        from,
        request,
        answer,
        permit: permit(),
    };
    node.clone().answer(asked).await;
    answered
        .await
        .unwrap()
        .map_err(|refusal| match refusal.kind() {
            RefusalKind::Busy => SwarmError::Busy { peer: to },
            kind => SwarmError::Refused {
                peer: to,
                kind,
                reason: refusal.to_string(),
            },
        })
}

impl Handler<RetrieveFromPeer> for Mouth {
    type Result = ResponseFuture<Result<RemoteBlob, SwarmError>>;

    fn handle(&mut self, wanted: RetrieveFromPeer, _: &mut Self::Context) -> Self::Result {
        let to = wanted.peer;
        let (store, gives) = {
            let mut wire = self.world.lock();
            wire.log.push((self.me, to, "retrieve"));
            let store = wire.nodes.get(&to).map(|(_, store)| store.clone());
            (store, wire.gives.get(&to).cloned())
        };
        Box::pin(async move {
            if let Some(given) = gives.and_then(|gives| gives(wanted.cid, wanted.from)) {
                return given;
            }
            let store = store.ok_or_else(|| unreachable_peer(to))?;
            let read = store.port().get(Share::Peer, wanted.cid, None).await;
            let read = read.map_err(|_| SwarmError::NotFound { peer: to })?;
            Ok(RemoteBlob {
                size: read.info.size,
                blob_root: Some(read.info.blob_root),
                content_type: read.info.content_type,
                offset: 0,
                body: read.body,
            })
        })
    }
}

impl Handler<SendReplica> for Mouth {
    type Result = ResponseFuture<Result<ReplicaSent, SwarmError>>;

    fn handle(&mut self, sent: SendReplica, _: &mut Self::Context) -> Self::Result {
        panic!("reconciling pulls and never pushes: {:?}", sent.blob);
    }
}

impl Handler<SetAdmission> for Mouth {
    type Result = ();

    fn handle(&mut self, _: SetAdmission, _: &mut Self::Context) {}
}

fn dir() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// The names of these blobs.
fn digests(contents: &[Vec<u8>]) -> BTreeSet<Digest> {
    contents.iter().map(|content| Digest::of(content)).collect()
}
