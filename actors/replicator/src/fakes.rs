//! A store and a network that do what a test says and write down what they were asked.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, ResponseFuture};
use bytecave_config::{Config, P2p};
use bytecave_core::{
    BlobCid, Commitment, NodeIdentity, PeerId, ShardCount, ShardId, ShardRange, tree,
};
use bytecave_messages::body::BlobBody;
use bytecave_messages::budget::{ActorName, Budget, Permit, Share};
use bytecave_messages::ports::{StorePort, SwarmPort};
use bytecave_messages::store::{
    AdvanceOutbox, BlobInfo, BlobPage, BlobRead, CollectGarbage, DeleteBlob, Durability, GcReport,
    GetBlob, GetBlobInfo, ListBlobs, ListCursor, ListOutboxShards, OutboxEntry, PutBlob,
    ReadOutbox, RotateKeys, RotationReport, SetPin, StoreCondition, StoreError, StoreSnapshot,
    Stored, UseNonce,
};
use bytecave_messages::swarm::{
    Admission, ConnectionKind, PeerInfo, PeerView, Reachability, RemoteBlob, RetrieveFromPeer,
    SetAdmission, SwarmError, SwarmSnapshot,
};
use bytes::Bytes;
use tokio::sync::watch;

use crate::facts::Facts;

/// Shards of the fake network; the fake store owns the first eight.
const SHARDS: u64 = 16;
const OWNED: ShardRange = ShardRange { start: 0, end: 7 };

pub(crate) fn count() -> ShardCount {
    ShardCount::new(SHARDS).unwrap()
}

/// Content of this shard.
pub(crate) fn content_of_shard(shard: u16) -> Vec<u8> {
    (0_u32..10_000)
        .map(|number| format!("content {number}").into_bytes())
        .find(|content| count().shard_of(&BlobCid::of(content).digest()).get() == shard)
        .unwrap()
}

pub(crate) fn settings() -> P2p {
    Config::built_in().unwrap().p2p
}

pub(crate) fn permit() -> Permit {
    let budget = Budget::new(ActorName::Replicator, 16);
    budget.try_acquire(Share::Peer, "test").unwrap()
}

pub(crate) fn peer(number: u8) -> PeerId {
    NodeIdentity::from_seed([number; 32]).unwrap().peer_id()
}

/// A connected peer that speaks the protocols and does not say what it keeps.
pub(crate) fn view(number: u8) -> PeerView {
    PeerView {
        peer_id: peer(number),
        connection: Some(ConnectionKind::Direct),
        multiaddrs: Vec::new(),
        agent: None,
        // In the order of their numbers.
        rtt_ms: Some(number.into()),
        last_seen_ms: 0,
        live: true,
        announced: None,
        info: Some(PeerInfo {
            version: "1".to_owned(),
            owner_address: None,
            shards: None,
            shard_count: Some(count()),
            capacity: None,
            accepting: None,
            protocols: vec!["/bytecave/blob/1.0.0".to_owned()],
        }),
    }
}

pub(crate) fn network(peers: Vec<PeerView>) -> SwarmSnapshot {
    SwarmSnapshot {
        multiaddrs: Vec::new(),
        connected: peers.len(),
        peers,
        relays: Vec::new(),
        links: Vec::new(),
        reachability: Reachability::Unknown,
    }
}

pub(crate) fn snapshot(blobs: u64, condition: StoreCondition) -> StoreSnapshot {
    StoreSnapshot {
        shard_count: count(),
        owned: vec![OWNED],
        shards: Vec::new(),
        blobs,
        bytes: 0,
        sealed_bytes: 0,
        dead_bytes: 0,
        reserved_bytes: 0,
        quota_bytes: 1 << 30,
        disk_free_bytes: 1 << 30,
        disk_reserve_bytes: 0,
        quarantined: 0,
        durability: Durability::Strict,
        condition,
        gauges: Vec::new(),
    }
}

/// What a store without blobs says.
pub(crate) fn facts() -> Facts {
    let facts = Facts::default();
    facts.set(&snapshot(0, StoreCondition::Writable));
    facts
}

pub(crate) async fn read_all(body: BlobBody) -> Vec<u8> {
    match body {
        BlobBody::Whole(bytes) => bytes.to_vec(),
        BlobBody::Stream(mut stream) => {
            let mut all = Vec::new();
            while let Some(piece) = stream.next().await {
                all.extend(piece.unwrap());
            }
            all
        }
    }
}

/// A store in memory.
#[derive(Clone)]
pub(crate) struct FakeStore {
    state: Arc<Mutex<Store>>,
    port: StorePort,
    changed: watch::Sender<usize>,
}

#[derive(Default)]
struct Store {
    blobs: BTreeMap<BlobCid, (BlobInfo, Bytes)>,
    nonces: BTreeSet<bytecave_core::Digest>,
    fail: Option<StoreError>,
    asked: Vec<String>,
    outbox: Vec<ShardId>,
}

struct StoreFake {
    state: Arc<Mutex<Store>>,
    changed: watch::Sender<usize>,
}

impl FakeStore {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(Store::default()));
        let (changed, _) = watch::channel(0);
        let actor = StoreFake {
            state: Arc::clone(&state),
            changed: changed.clone(),
        };
        let port = StorePort::new(&actor.start(), Budget::new(ActorName::Store, 256));
        Self {
            state,
            port,
            changed,
        }
    }

    pub(crate) fn port(&self) -> StorePort {
        self.port.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.state.lock().unwrap()
    }

    pub(crate) fn seed(&self, content: &[u8], content_type: Option<&str>) -> BlobCid {
        let content_type = content_type.map(str::to_owned);
        self.lock()
            .keep(Bytes::copy_from_slice(content), content_type)
            .cid
    }

    pub(crate) fn quarantine(&self, cid: &BlobCid) {
        self.lock().blobs.get_mut(cid).unwrap().0.quarantined = true;
    }

    pub(crate) fn fail_with(&self, error: StoreError) {
        self.lock().fail = Some(error);
    }

    pub(crate) fn leave_in_outbox(&self, shard: u16) {
        self.lock()
            .outbox
            .push(count().shard(shard.into()).unwrap());
    }

    /// What it was asked, in words.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    pub(crate) fn forget_asked(&self) {
        self.lock().asked.clear();
    }

    pub(crate) fn kept(&self, cid: &BlobCid) -> Option<BlobInfo> {
        self.lock().blobs.get(cid).map(|(info, _)| info.clone())
    }

    /// Waits until it was asked something that begins so.
    pub(crate) async fn until_asked(&self, what: &str) {
        let mut changed = self.changed.subscribe();
        let asked = changed.wait_for(|_| self.asked().iter().any(|asked| asked.starts_with(what)));
        tokio::time::timeout(Duration::from_mins(10), asked)
            .await
            .unwrap_or_else(|_| panic!("{what} was not asked: {:?}", self.asked()))
            .unwrap();
    }
}

impl Store {
    fn keep(&mut self, bytes: Bytes, content_type: Option<String>) -> Stored {
        let cid = BlobCid::of(&bytes);
        let size = bytes.len() as u64;
        let blob_root = tree::blob_root(&bytes);
        let shard = count().shard_of(&cid.digest());
        let info = BlobInfo {
            cid,
            shard,
            size,
            sealed_size: size,
            content_type,
            file_name: None,
            created_ms: 0,
            blob_root,
            pinned: false,
            quarantined: false,
        };
        let new = !self.blobs.contains_key(&cid);
        self.blobs.entry(cid).or_insert((info, bytes));
        Stored {
            cid,
            shard,
            size,
            blob_root,
            commitment: Commitment::of(size, &blob_root),
            new,
            durability: Durability::Strict,
        }
    }

    /// Writes down what is asked, and fails when told to.
    fn take(&mut self, asked: String) -> Result<(), StoreError> {
        self.asked.push(asked);
        self.fail.clone().map_or(Ok(()), Err)
    }

    fn info(&self, cid: BlobCid) -> Result<(BlobInfo, Bytes), StoreError> {
        let found = self.blobs.get(&cid).cloned();
        found.ok_or(StoreError::NotFound { cid })
    }
}

impl StoreFake {
    fn answer<T: 'static>(
        &self,
        asked: String,
        answer: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> ResponseFuture<Result<T, StoreError>> {
        let answered = {
            let mut state = self.state.lock().unwrap();
            state.take(asked).and_then(|()| answer(&mut state))
        };
        self.changed.send_modify(|asked| *asked += 1);
        Box::pin(async move { answered })
    }
}

impl Actor for StoreFake {
    type Context = Context<Self>;
}

impl Handler<PutBlob> for StoreFake {
    type Result = ResponseFuture<Result<Stored, StoreError>>;

    fn handle(&mut self, put: PutBlob, _: &mut Self::Context) -> Self::Result {
        let BlobBody::Whole(bytes) = put.body else {
            panic!("the replicator has blobs whole");
        };
        let permit = format!("{:?}", put.permit);
        assert!(permit.contains("put"), "{permit}");
        self.answer(format!("put {}", bytes.len()), |state| {
            let actual = BlobCid::of(&bytes);
            match put.expected {
                Some(expected) if expected != actual => {
                    Err(StoreError::Mismatch { expected, actual })
                }
                _ => Ok(state.keep(bytes, put.content_type)),
            }
        })
    }
}

impl Handler<GetBlob> for StoreFake {
    type Result = ResponseFuture<Result<BlobRead, StoreError>>;

    fn handle(&mut self, get: GetBlob, _: &mut Self::Context) -> Self::Result {
        self.answer("get".to_owned(), |state| {
            let (info, bytes) = state.info(get.cid)?;
            if info.quarantined {
                return Err(StoreError::Damaged { cid: get.cid });
            }
            Ok(BlobRead {
                offset: 0,
                len: info.size,
                info,
                body: BlobBody::Whole(bytes),
            })
        })
    }
}

impl Handler<GetBlobInfo> for StoreFake {
    type Result = ResponseFuture<Result<BlobInfo, StoreError>>;

    fn handle(&mut self, get: GetBlobInfo, _: &mut Self::Context) -> Self::Result {
        self.answer("info".to_owned(), |state| {
            state.info(get.cid).map(|(info, _)| info)
        })
    }
}

impl Handler<ListBlobs> for StoreFake {
    type Result = ResponseFuture<Result<BlobPage, StoreError>>;

    /// In the order of their CIDs; the cursor holds the digest.
    fn handle(&mut self, list: ListBlobs, _: &mut Self::Context) -> Self::Result {
        let from = if list.after.is_some() { "on" } else { "start" };
        self.answer(format!("list {from} {}", list.limit), |state| {
            let behind = |cid: &BlobCid| match list.after {
                Some(cursor) => cid.digest().as_bytes() > &cursor.after,
                None => true,
            };
            let mut rest = state.blobs.values().filter(|(info, _)| behind(&info.cid));
            let blobs: Vec<BlobInfo> = rest
                .by_ref()
                .take(list.limit)
                .map(|(info, _)| info.clone())
                .collect();
            let more = rest.next().is_some();
            let next = blobs.last().filter(|_| more).map(|last| ListCursor {
                shard: last.shard,
                after: *last.cid.digest().as_bytes(),
            });
            Ok(BlobPage { blobs, next })
        })
    }
}

impl Handler<UseNonce> for StoreFake {
    type Result = ResponseFuture<Result<bool, StoreError>>;

    fn handle(&mut self, nonce: UseNonce, _: &mut Self::Context) -> Self::Result {
        self.answer(format!("nonce until {}", nonce.expires_ms), |state| {
            Ok(state.nonces.insert(nonce.key))
        })
    }
}

impl Handler<ListOutboxShards> for StoreFake {
    type Result = ResponseFuture<Result<Vec<ShardId>, StoreError>>;

    fn handle(&mut self, _: ListOutboxShards, _: &mut Self::Context) -> Self::Result {
        self.answer("outbox".to_owned(), |state| Ok(state.outbox.clone()))
    }
}

impl Handler<AdvanceOutbox> for StoreFake {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(&mut self, advance: AdvanceOutbox, _: &mut Self::Context) -> Self::Result {
        let shards: Vec<u16> = advance.through.iter().map(|(id, _)| id.get()).collect();
        self.answer(format!("advance {shards:?}"), |_| Ok(()))
    }
}

macro_rules! never_asked {
    ($($message:ident -> $reply:ty;)+) => {$(
        impl Handler<$message> for StoreFake {
            type Result = ResponseFuture<Result<$reply, StoreError>>;

            fn handle(&mut self, message: $message, _: &mut Self::Context) -> Self::Result {
                panic!("the replicator asks for no {message:?}");
            }
        }
    )+};
}
never_asked! {
    DeleteBlob -> ();
    SetPin -> ();
    CollectGarbage -> GcReport;
    RotateKeys -> RotationReport;
    ReadOutbox -> Vec<OutboxEntry>;
}

/// What a peer does when it is asked for a blob.
#[derive(Debug, Clone)]
pub(crate) enum Does {
    /// Gives these bytes, after so long.
    Gives(Vec<u8>, Duration),
    /// Says that it does not have it.
    HasNot,
    /// Speaks no such protocol.
    SpeaksNot,
    /// Is busy.
    IsBusy,
    /// Never answers.
    Nothing,
}

/// A network of peers that do what a test says.
#[derive(Clone)]
pub(crate) struct FakeSwarm {
    state: Arc<Mutex<Network>>,
    port: SwarmPort,
    budget: Budget,
}

#[derive(Default)]
struct Network {
    peers: BTreeMap<PeerId, Does>,
    asked: Vec<PeerId>,
    /// Retrievals under way, and the most there were.
    under_way: usize,
    most: usize,
    admission: Option<Admission>,
}

struct SwarmFake(Arc<Mutex<Network>>);

impl FakeSwarm {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(Network::default()));
        let address: Addr<SwarmFake> = SwarmFake(Arc::clone(&state)).start();
        let budget = Budget::new(ActorName::Swarm, 256);
        Self {
            state,
            port: SwarmPort::new(&address, budget.clone()),
            budget,
        }
    }

    pub(crate) fn port(&self) -> SwarmPort {
        self.port.clone()
    }

    /// Takes all permits, as other work would.
    pub(crate) fn occupy(&self) -> Vec<Permit> {
        std::iter::from_fn(|| self.budget.try_acquire(Share::Client, "other").ok()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Network> {
        self.state.lock().unwrap()
    }

    pub(crate) fn set(&self, number: u8, does: Does) {
        self.lock().peers.insert(peer(number), does);
    }

    pub(crate) fn asked(&self) -> Vec<PeerId> {
        self.lock().asked.clone()
    }

    pub(crate) fn most_at_once(&self) -> usize {
        self.lock().most
    }

    pub(crate) fn admission(&self) -> Option<Admission> {
        self.lock().admission.clone()
    }
}

impl Actor for SwarmFake {
    type Context = Context<Self>;
}

impl Handler<RetrieveFromPeer> for SwarmFake {
    type Result = ResponseFuture<Result<RemoteBlob, SwarmError>>;

    fn handle(&mut self, wanted: RetrieveFromPeer, _: &mut Self::Context) -> Self::Result {
        let peer = wanted.peer;
        let state = Arc::clone(&self.0);
        let does = {
            let mut network = state.lock().unwrap();
            network.asked.push(peer);
            network.under_way += 1;
            network.most = network.most.max(network.under_way);
            network.peers.get(&peer).cloned().unwrap_or(Does::HasNot)
        };
        Box::pin(async move {
            let answer = match does {
                Does::Gives(bytes, after) => {
                    tokio::time::sleep(after).await;
                    Ok(RemoteBlob {
                        bytes: Bytes::from(bytes),
                        content_type: Some("text/plain".to_owned()),
                    })
                }
                Does::HasNot => Err(SwarmError::NotFound { peer }),
                Does::SpeaksNot => Err(SwarmError::Unsupported {
                    peer,
                    protocol: "/bytecave/blob/1.0.0",
                }),
                Does::IsBusy => Err(SwarmError::Busy { peer }),
                Does::Nothing => std::future::pending().await,
            };
            state.lock().unwrap().under_way -= 1;
            drop(wanted.permit);
            answer
        })
    }
}

impl Handler<SetAdmission> for SwarmFake {
    type Result = ();

    fn handle(&mut self, SetAdmission(admission): SetAdmission, _: &mut Self::Context) {
        self.0.lock().unwrap().admission = Some(admission);
    }
}
