//! A node whose replicator is a map in memory, and a peer that asks it with bytes of its choice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use actix::{Actor, Context, Handler, Message};
use bytecave_core::proof::Challenge;
use bytecave_core::tree::blob_root;
use bytecave_core::{BlobCid, NodeIdentity, ShardCount, ShardSet, StoreAuthorization};
use bytecave_messages::body::{self, BlobBody, BodyError};
use bytecave_messages::budget::{ActorName, Budget, Permit};
use bytecave_messages::ports::SwarmEvents;
use bytecave_messages::store::{ByteRange, Durability, StoreCondition, StoreSnapshot};
use bytecave_messages::swarm::{
    Admission, Answer, HaveList, HaveListAsk, InboundChallenge, InboundHaveList, InboundReplica,
    InboundRetrieve, InboundStore, InboundSync, Kept, Refusal, ReplicaBody, ServedBlob, StatedBlob,
};
use bytecave_messages::sync::{SyncAnswer, SyncRequest};
use bytes::Bytes;
use futures_util::AsyncWriteExt;
use libp2p::Stream;
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::host::{Host, limits};
use super::proofs::proof;
use crate::facts::{Facts, FixedFacts};
use crate::memory::BodyMemory;
use crate::wire::frame;
use crate::wire::service::{ServerParts, ServerSettings, Service, serve};
use crate::wire::streams::StreamLimits;
use crate::wire::v1::{self, Kind};
use crate::wire::v2;

/// Longer than any test takes.
pub(super) const LONG: Duration = Duration::from_mins(2);

/// What the replicator knows and has seen.
#[derive(Debug, Default)]
pub(super) struct Kitchen {
    pub(super) blobs: BTreeMap<BlobCid, (Bytes, Option<String>)>,
    pub(super) authorizations: Vec<Option<StoreAuthorization>>,
    pub(super) apps: Vec<Option<String>>,
    /// Drops every request.
    pub(super) deaf: bool,
    /// Keeps every request without an answer.
    pub(super) slow: bool,
    /// Says that blobs have this size.
    pub(super) claimed_size: Option<u64>,
    /// Reads blobs as a stream that fails before its last byte.
    pub(super) damaged: bool,
    /// Refuses copies with this, before it has their bytes or else behind so many of them.
    pub(super) refuses: Option<(Refusal, Option<u64>)>,
    /// Copies that came as offers, and how reading them ended.
    pub(super) offers: Vec<(StatedBlob, Option<BodyError>)>,
    /// Ranges that were asked for.
    pub(super) ranges: Vec<Option<ByteRange>>,
    /// What was asked about shards, and what is answered.
    pub(super) compared: Vec<SyncRequest>,
    pub(super) compares: Option<Result<SyncAnswer, Refusal>>,
    /// What was to be proven, and what is said instead of a proof.
    pub(super) challenged: Vec<Challenge>,
    pub(super) unproven: Option<Refusal>,
    kept: Vec<Box<dyn std::any::Any + Send>>,
}

struct Replicator(Arc<Mutex<Kitchen>>);

impl Actor for Replicator {
    type Context = Context<Self>;
}

impl Replicator {
    fn answer<T: Send + 'static>(
        &self,
        answer: Answer<Result<T, Refusal>>,
        with: impl FnOnce(&mut Kitchen) -> Result<T, Refusal>,
    ) {
        let mut kitchen = self.0.lock().unwrap();
        if kitchen.slow {
            kitchen.kept.push(Box::new(answer));
        } else if !kitchen.deaf {
            answer.send(with(&mut kitchen));
        }
    }
}

fn keep(
    kitchen: &mut Kitchen,
    stated: Option<BlobCid>,
    body: Bytes,
    content_type: Option<String>,
) -> Result<Kept, Refusal> {
    let cid = BlobCid::of(&body);
    if stated.is_some_and(|stated| stated != cid) {
        let actual = cid.digest().to_hex();
        return Err(Refusal::Mismatch { actual });
    }
    // A copy, so that the memory of the frame is free again.
    let body = Bytes::copy_from_slice(&body);
    let before = kitchen.blobs.insert(cid, (body, content_type));
    Ok(Kept {
        cid,
        already_stored: before.is_some(),
    })
}

impl Handler<InboundRetrieve> for Replicator {
    type Result = ();

    fn handle(&mut self, asked: InboundRetrieve, _: &mut Self::Context) {
        let permit = asked.permit;
        self.answer(asked.answer, |kitchen| {
            kitchen.ranges.push(asked.range);
            let (bytes, content_type) = kitchen.blobs.get(&asked.cid).ok_or(Refusal::NotFound)?;
            let size = bytes.len() as u64;
            let (offset, end) = match asked.range {
                None => (0, size),
                Some(ByteRange::From(from)) => (from, size),
                Some(ByteRange::FromTo(from, to)) => (from, size.min(to + 1)),
                Some(ByteRange::Last(_)) => panic!("nobody asks so"),
            };
            if offset > end {
                return Err(Refusal::Invalid("behind the end".to_owned()));
            }
            let part = bytes.slice(usize::try_from(offset).unwrap()..usize::try_from(end).unwrap());
            Ok(ServedBlob {
                size: kitchen.claimed_size.unwrap_or(size),
                blob_root: blob_root(bytes),
                content_type: content_type.clone(),
                offset,
                len: end - offset,
                body: if kitchen.damaged {
                    broken(part, permit)
                } else {
                    BlobBody::Whole(part)
                },
            })
        });
    }
}

/// Fails before the last byte.
fn broken(bytes: Bytes, permit: Permit) -> BlobBody {
    let (mut sender, stream) = body::stream(Some(bytes.len() as u64));
    actix::spawn(async move {
        let _permit = permit;
        for piece in bytes[..bytes.len() - 1].chunks(100_000) {
            if sender.send(Bytes::copy_from_slice(piece)).await.is_err() {
                return;
            }
        }
        sender.fail(BodyError::Damaged);
    });
    BlobBody::Stream(stream)
}

impl Handler<InboundHaveList> for Replicator {
    type Result = ();

    fn handle(&mut self, asked: InboundHaveList, _: &mut Self::Context) {
        self.answer(asked.answer, |kitchen| {
            let all = kitchen.blobs.keys().copied();
            let total = kitchen.blobs.len() as u64;
            let (cids, has_more) = match asked.ask {
                HaveListAsk::Page { limit, offset } => {
                    let offset = usize::try_from(offset).unwrap();
                    let cids: Vec<_> = all.skip(offset).take(limit).collect();
                    let more = offset + cids.len() < kitchen.blobs.len();
                    (cids, more)
                }
                HaveListAsk::Which(cids) => (all.filter(|cid| cids.contains(cid)).collect(), false),
            };
            Ok(HaveList {
                cids,
                total,
                has_more,
            })
        });
    }
}

impl Handler<InboundReplica> for Replicator {
    type Result = ();

    fn handle(&mut self, sent: InboundReplica, _: &mut Self::Context) {
        let InboundReplica {
            blob,
            body,
            answer,
            permit,
            ..
        } = sent;
        let offer = match body {
            ReplicaBody::Here(bytes) => {
                return self.answer(answer, |kitchen| {
                    keep(kitchen, Some(blob.cid), bytes, blob.content_type)
                });
            }
            ReplicaBody::Offered(offer) => offer,
        };
        let kitchen = Arc::clone(&self.0);
        let state = kitchen.lock().unwrap();
        if state.slow || state.deaf {
            drop(state);
            return self.answer(answer, |_| Err(Refusal::Busy));
        }
        let refuses = state.refuses.clone();
        let already_stored = state.blobs.contains_key(&blob.cid);
        drop(state);
        if already_stored {
            let cid = blob.cid;
            return answer.send(Ok(Kept {
                cid,
                already_stored,
            }));
        }
        if let Some((refusal, None)) = refuses {
            return answer.send(Err(refusal));
        }
        actix::spawn(async move {
            let _permit = permit;
            let enough = refuses.and_then(|(refusal, after)| Some((refusal, after?)));
            let taken = take(offer.accept(), enough).await;
            let mut kitchen = kitchen.lock().unwrap();
            let (failed, verdict) = match taken {
                Ok(bytes) => {
                    let cid = Some(blob.cid);
                    let kept = keep(&mut kitchen, cid, bytes, blob.content_type.clone());
                    (None, kept)
                }
                Err(Ok(refusal)) => (None, Err(refusal)),
                Err(Err(error)) => (Some(error), Err(Refusal::Unavailable("not whole"))),
            };
            kitchen.offers.push((blob, failed));
            answer.send(verdict);
        });
    }
}

/// All of a body, unless there is enough of it before.
async fn take(
    body: BlobBody,
    enough: Option<(Refusal, u64)>,
) -> Result<Bytes, Result<Refusal, BodyError>> {
    let BlobBody::Stream(mut stream) = body else {
        panic!("an offer comes as a stream");
    };
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece.map_err(Err)?);
        if let Some((refusal, after)) = &enough
            && bytes.len() as u64 > *after
        {
            return Err(Ok(refusal.clone()));
        }
    }
    Ok(bytes.into())
}

impl Handler<InboundChallenge> for Replicator {
    type Result = ();

    fn handle(&mut self, asked: InboundChallenge, _: &mut Self::Context) {
        self.answer(asked.answer, |kitchen| {
            kitchen.challenged.push(asked.challenge);
            if let Some(refusal) = &kitchen.unproven {
                return Err(refusal.clone());
            }
            let blob = kitchen.blobs.get(&asked.challenge.cid);
            let (bytes, _) = blob.ok_or(Refusal::NotFound)?;
            Ok(proof(&asked.challenge, bytes))
        });
    }
}

impl Handler<InboundSync> for Replicator {
    type Result = ();

    fn handle(&mut self, asked: InboundSync, _: &mut Self::Context) {
        self.answer(asked.answer, |kitchen| {
            kitchen.compared.push(asked.request);
            kitchen
                .compares
                .clone()
                .unwrap_or(Err(Refusal::Unavailable("not now")))
        });
    }
}

impl Handler<InboundStore> for Replicator {
    type Result = ();

    fn handle(&mut self, sent: InboundStore, _: &mut Self::Context) {
        self.answer(sent.answer, |kitchen| {
            kitchen.authorizations.push(sent.authorization);
            kitchen.apps.push(sent.app_id);
            keep(kitchen, sent.cid, sent.body, sent.content_type)
        });
    }
}

/// How a node of these tests is set up.
pub(super) struct Setup {
    pub(super) limits: StreamLimits,
    pub(super) settings: ServerSettings,
    pub(super) memory_bytes: u64,
    pub(super) mailbox: usize,
    pub(super) admission: Admission,
    /// Speaks nothing but the 1.0.0 protocols.
    pub(super) first_version: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            limits: limits(),
            settings: ServerSettings {
                request_timeout: LONG,
                requests_per_second_per_peer: 0,
                request_burst_per_peer: 1,
                takes_stores: true,
            },
            memory_bytes: 256 * 1024 * 1024,
            mailbox: 1024,
            admission: Admission::Everyone,
            first_version: false,
        }
    }
}

/// A node that serves, and a host that is connected to it.
pub(super) struct Node {
    pub(super) host: Host,
    pub(super) asker: Host,
    pub(super) kitchen: Arc<Mutex<Kitchen>>,
    pub(super) memory: BodyMemory,
    pub(super) budget: Budget,
    pub(super) facts: Arc<Facts>,
    pub(super) tracker: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Node {
    pub(super) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(super) async fn with(change: impl FnOnce(&mut Setup)) -> Self {
        let mut setup = Setup::default();
        change(&mut setup);
        let (host, asker) = (Host::new(setup.limits).await, Host::new(limits()).await);
        let kitchen = Arc::new(Mutex::new(Kitchen::default()));
        let memory = BodyMemory::new(setup.memory_bytes);
        let budget = Budget::new(ActorName::Swarm, setup.mailbox);
        let facts = facts();
        let (tracker, stop) = (TaskTracker::new(), CancellationToken::new());
        let (_, admission) = watch::channel(setup.admission);
        let parts = ServerParts {
            facts: Arc::clone(&facts),
            events: events(Arc::clone(&kitchen)),
            budget: budget.clone(),
            memory: memory.clone(),
            admission,
            settings: setup.settings,
            counters: host.counters.clone(),
            tracker: tracker.clone(),
            stop: stop.clone(),
        };
        if setup.first_version {
            v1::serve(&Service::new(parts), &host.control);
        } else {
            serve(parts, &host.control);
        }
        assert!(asker.dial(&host.address).await);
        Self {
            host,
            asker,
            kitchen,
            memory,
            budget,
            facts,
            tracker,
            stop,
        }
    }

    pub(super) fn has(&self, bytes: &[u8], content_type: Option<&str>) -> BlobCid {
        let cid = BlobCid::of(bytes);
        let blob = (
            Bytes::copy_from_slice(bytes),
            content_type.map(str::to_owned),
        );
        self.kitchen.lock().unwrap().blobs.insert(cid, blob);
        cid
    }

    pub(super) async fn open(&self, kind: Kind) -> Stream {
        let names = [kind.protocol()];
        let opened = self.asker.control.open(&self.host.id, &names).await;
        opened.unwrap().stream
    }

    /// A stream of one of our own protocols.
    pub(super) async fn open_ours(&self, kind: v2::Kind) -> Stream {
        let names = [kind.protocol()];
        let opened = self.asker.control.open(&self.host.id, &names).await;
        opened.unwrap().stream
    }

    /// Sends these bytes, closes, and reads the answer.
    pub(super) async fn say(&self, kind: Kind, bytes: &[u8]) -> Value {
        let mut stream = self.open(kind).await;
        // Who is refused unread may find the stream closed.
        let _ = stream.write_all(bytes).await;
        let _ = stream.close().await;
        read(&mut stream).await
    }

    /// Sends this as a frame and reads the answer.
    pub(super) async fn ask(&self, kind: Kind, request: Value) -> Value {
        self.say(kind, &frame::encode(&request)).await
    }
}

/// Reads an answer, and that nothing follows it.
pub(super) async fn read(stream: &mut Stream) -> Value {
    let answer = frame::read(stream, frame::BLOB_FRAME_BYTES, LONG)
        .await
        .unwrap();
    let end = futures_util::AsyncReadExt::read(stream, &mut [0; 1]).await;
    assert_eq!(end.unwrap(), 0, "one answer and then the end");
    serde_json::from_slice(&answer).unwrap()
}

/// Waits until something is so.
pub(super) async fn until(condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, wait).await.unwrap();
}

fn events(kitchen: Arc<Mutex<Kitchen>>) -> SwarmEvents {
    let replicator = Replicator(kitchen).start();
    SwarmEvents {
        changed: Vec::new(),
        part: Vec::new(),
        retrieve: recipient::<InboundRetrieve>(&replicator),
        have_list: recipient::<InboundHaveList>(&replicator),
        replica: recipient::<InboundReplica>(&replicator),
        sync: recipient::<InboundSync>(&replicator),
        challenge: recipient::<InboundChallenge>(&replicator),
        store: recipient::<InboundStore>(&replicator),
    }
}

fn recipient<M>(replicator: &actix::Addr<Replicator>) -> actix::Recipient<M>
where
    M: Message<Result = ()> + Send + 'static,
    Replicator: Handler<M>,
{
    replicator.clone().recipient()
}

fn facts() -> Arc<Facts> {
    let shards = ShardSet::all(ShardCount::new(16).unwrap());
    let facts = Facts::new(FixedFacts {
        public_key: NodeIdentity::from_seed([7; 32]).unwrap().public_key(),
        node_id: "node-7".to_owned(),
        owner_address: Some("0xowner".to_owned()),
        version: "1.2.3",
        quota_bytes: 1000,
        shards: shards.clone(),
    });
    facts.set_store(Arc::new(StoreSnapshot {
        shard_count: shards.count(),
        owned: shards.ranges(),
        shards: Vec::new(),
        blobs: 42,
        bytes: 400,
        sealed_bytes: 500,
        dead_bytes: 0,
        reserved_bytes: 0,
        quota_bytes: 1000,
        disk_free_bytes: 0,
        disk_reserve_bytes: 0,
        quarantined: 0,
        durability: Durability::Strict,
        condition: StoreCondition::Writable,
        gauges: Vec::new(),
    }));
    facts
}
