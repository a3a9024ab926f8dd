//! A store in memory that records what it was asked and fails when it is told to.

mod keeping;
mod uncalled;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use actix::{Actor, Addr, Context, Handler, ResponseFuture};
use bytecave_core::{BlobCid, Commitment, ShardCount, ShardId, ShardRange, ShardSet, tree};
use bytecave_messages::body::{BlobBody, BodyError, stream};
use bytecave_messages::store::{
    BlobInfo, BlobPage, BlobRead, ByteRange, Durability, Foreign, GetBlob, GetBlobInfo, InTransit,
    ListBlobs, ListCursor, PutBlob, StoreCondition, StoreError, StoreSnapshot, Stored, TransitHold,
    Word,
};
use bytes::{Bytes, BytesMut};
use tokio::sync::watch;

/// Pieces in which a streamed read is sent.
const PIECE: usize = 200_000;
/// Shards of the fake network; the fake owns the first twelve.
pub(crate) const SHARD_COUNT: u64 = 16;
pub(crate) const OWNED: ShardRange = ShardRange { start: 0, end: 11 };

/// What it holds and what it was asked; shared with the test.
#[derive(Clone)]
pub(crate) struct FakeStore(Arc<Mutex<State>>);

struct State {
    blobs: BTreeMap<BlobCid, (BlobInfo, Bytes)>,
    blocked: BTreeSet<BlobCid>,
    /// On what terms each blob came.
    terms: Vec<Terms>,
    asked: Vec<Asked>,
    fail: Option<StoreError>,
    break_reads_after: Option<(usize, BodyError)>,
    /// While false, requests are taken and not answered.
    gate: watch::Sender<bool>,
}

/// One request, as it arrived.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// A put whose body ended as said.
    Put {
        whole: bool,
        stated_len: Option<u64>,
        received: Result<u64, BodyError>,
    },
    Get(Option<ByteRange>),
    Info,
    List(Option<ShardId>, usize),
    Delete,
    Pin(bool),
    Gc,
    Rotate,
    Block(bool),
    Blocked(usize),
}

/// On what terms a blob came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Terms {
    pub(crate) word: Word,
    pub(crate) durable: bool,
    pub(crate) foreign: Foreign,
}

/// Largest blob that is in memory while it is on its way to others.
pub(crate) const TRANSIT_IN_MEMORY: usize = 4 * 1024 * 1024;

pub(crate) struct FakeActor(FakeStore);

impl FakeStore {
    pub(crate) fn start() -> (Self, Addr<FakeActor>) {
        let (gate, _) = watch::channel(true);
        let store = Self(Arc::new(Mutex::new(State {
            blobs: BTreeMap::new(),
            blocked: BTreeSet::new(),
            terms: Vec::new(),
            asked: Vec::new(),
            fail: None,
            break_reads_after: None,
            gate,
        })));
        let address = FakeActor(store.clone()).start();
        (store, address)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Everything asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.lock().asked.clone()
    }

    /// On what terms the latest blob came.
    pub(crate) fn terms(&self) -> Option<Terms> {
        self.lock().terms.last().copied()
    }

    /// Answers every request with this error from now on.
    pub(crate) fn fail_with(&self, error: Option<StoreError>) {
        self.lock().fail = error;
    }

    /// Breaks reads off after so many bytes.
    pub(crate) fn break_reads_after(&self, bytes: usize, error: BodyError) {
        self.lock().break_reads_after = Some((bytes, error));
    }

    /// Stops answering, or goes on.
    pub(crate) fn hold(&self, held: bool) {
        self.lock().gate.send_replace(!held);
    }

    pub(crate) fn content(&self, cid: &BlobCid) -> Option<Bytes> {
        self.lock().blobs.get(cid).map(|(_, bytes)| bytes.clone())
    }

    pub(crate) fn info(&self, cid: &BlobCid) -> Option<BlobInfo> {
        self.lock().blobs.get(cid).map(|(info, _)| info.clone())
    }

    pub(crate) fn quarantine(&self, cid: &BlobCid) {
        if let Some((info, _)) = self.lock().blobs.get_mut(cid) {
            info.quarantined = true;
        }
    }

    /// Puts a blob there without asking anyone.
    pub(crate) fn seed(&self, content: &[u8], content_type: Option<&str>) -> BlobCid {
        let bytes = Bytes::copy_from_slice(content);
        let type_text = content_type.map(str::to_owned);
        self.lock().keep(bytes, type_text, None).cid
    }

    pub(crate) fn snapshot(&self) -> StoreSnapshot {
        let state = self.lock();
        let bytes = state.blobs.values().map(|(info, _)| info.size).sum();
        StoreSnapshot {
            shard_count: count(),
            owned: vec![OWNED],
            shards: Vec::new(),
            blobs: state.blobs.len() as u64,
            bytes,
            sealed_bytes: bytes,
            dead_bytes: 0,
            reserved_bytes: 0,
            quota_bytes: 1 << 30,
            disk_free_bytes: 1 << 40,
            disk_reserve_bytes: 1 << 30,
            quarantined: 0,
            durability: Durability::Strict,
            condition: StoreCondition::Writable,
            gauges: vec![("wal_bytes", 7)],
        }
    }

    /// Records, waits while held, and fails when told to.
    async fn take(&self, asked: Asked) -> Result<(), StoreError> {
        let mut gate = {
            let mut state = self.lock();
            state.asked.push(asked);
            state.gate.subscribe()
        };
        gate.wait_for(|open| *open).await.unwrap();
        self.lock().fail.clone().map_or(Ok(()), Err)
    }
}

pub(crate) fn count() -> ShardCount {
    ShardCount::new(SHARD_COUNT).unwrap()
}

fn owned() -> ShardSet {
    ShardSet::from_ranges(count(), &[OWNED]).unwrap()
}

/// Content of a shard that is, or is not, the fake's.
pub(crate) fn content_of_shard(ours: bool) -> Vec<u8> {
    (0..1000_u32)
        .map(|n| format!("content {n}").into_bytes())
        .find(|content| {
            let digest = BlobCid::of(content).digest();
            owned().contains(count().shard_of(&digest)) == ours
        })
        .unwrap()
}

/// Content that begins so, in a shard of the fake's.
pub(crate) fn content_that_begins_with(start: &str) -> Vec<u8> {
    (0..1000_u32)
        .map(|n| format!("{start}{n}").into_bytes())
        .find(|content| owned().contains(count().shard_of(&BlobCid::of(content).digest())))
        .unwrap()
}

/// `len` bytes that are not all the same, in a shard of the fake's.
pub(crate) fn content_of_len(len: usize) -> Vec<u8> {
    content_where(len, |shard| len == 0 || owned().contains(shard))
}

/// The same in a shard of others.
pub(crate) fn foreign_of_len(len: usize) -> Vec<u8> {
    content_where(len, |shard| !owned().contains(shard))
}

fn content_where(len: usize, right: impl Fn(ShardId) -> bool) -> Vec<u8> {
    (0_u8..=255)
        .map(|salt| {
            (0..len)
                .map(|n| u8::try_from((n * 31 + usize::from(salt)) % 251).unwrap())
                .collect::<Vec<u8>>()
        })
        .find(|content| right(count().shard_of(&BlobCid::of(content).digest())))
        .unwrap()
}

impl State {
    fn keep(
        &mut self,
        bytes: Bytes,
        content_type: Option<String>,
        file_name: Option<String>,
    ) -> Stored {
        let (stored, info) = self.facts(&bytes, content_type, file_name);
        self.blobs.entry(stored.cid).or_insert((info, bytes));
        stored
    }

    fn facts(
        &self,
        bytes: &Bytes,
        content_type: Option<String>,
        file_name: Option<String>,
    ) -> (Stored, BlobInfo) {
        let cid = BlobCid::of(bytes);
        let root = tree::blob_root(bytes);
        let size = bytes.len() as u64;
        let info = BlobInfo {
            cid,
            shard: count().shard_of(&cid.digest()),
            size,
            sealed_size: size + 16,
            content_type,
            file_name,
            created_ms: 1_700_000_000_000,
            blob_root: root,
            pinned: false,
            quarantined: false,
        };
        let stored = Stored {
            cid,
            shard: info.shard,
            size,
            blob_root: root,
            commitment: Commitment::of(size, &root),
            new: !self.blobs.contains_key(&cid),
            durability: Durability::Batched,
            transit: None,
        };
        (stored, info)
    }
}

impl Actor for FakeActor {
    type Context = Context<Self>;
}

impl Handler<PutBlob> for FakeActor {
    type Result = ResponseFuture<Result<Stored, StoreError>>;

    fn handle(&mut self, message: PutBlob, _: &mut Self::Context) -> Self::Result {
        let store = self.0.clone();
        Box::pin(async move {
            let PutBlob { blob, permit } = message;
            let whole = matches!(blob.body, BlobBody::Whole(_));
            let stated_len = blob.body.stated_len();
            let body = read_all(blob.body).await;
            let received = body.as_ref().map(|body| body.len() as u64);
            let received = received.map_err(Clone::clone);
            store
                .take(Asked::Put {
                    whole,
                    stated_len,
                    received,
                })
                .await?;
            let body = body?;
            let actual = BlobCid::of(&body);
            if let Some(expected) = blob.expected
                && expected != actual
            {
                return Err(StoreError::Mismatch { expected, actual });
            }
            drop(permit);
            let mut state = store.lock();
            state.terms.push(Terms {
                word: blob.word,
                durable: blob.durable,
                foreign: blob.foreign,
            });
            if state.blocked.contains(&actual) {
                return Err(StoreError::Blocked { cid: actual });
            }
            let shard = count().shard_of(&actual.digest());
            let (content_type, file_name) = (blob.content_type, blob.file_name);
            let mut stored = match (body.is_empty() || owned().contains(shard), blob.foreign) {
                (true, _) => state.keep(body, content_type, file_name),
                (false, Foreign::Refuse) => {
                    return Err(StoreError::NotOurShard { cid: actual, shard });
                }
                (false, Foreign::Transit) => {
                    let (mut stored, _) = state.facts(&body, content_type, file_name);
                    stored.transit = Some(if body.len() <= TRANSIT_IN_MEMORY {
                        InTransit::Memory(body)
                    } else {
                        InTransit::Disk(TransitHold::new(body))
                    });
                    stored
                }
            };
            if blob.durable {
                stored.durability = Durability::Strict;
            }
            Ok(stored)
        })
    }
}

async fn read_all(body: BlobBody) -> Result<Bytes, BodyError> {
    match body {
        BlobBody::Whole(bytes) => Ok(bytes),
        BlobBody::Stream(mut stream) => {
            let mut whole = BytesMut::new();
            while let Some(piece) = stream.next().await {
                whole.extend_from_slice(&piece?);
            }
            Ok(whole.freeze())
        }
    }
}

impl Handler<GetBlob> for FakeActor {
    type Result = ResponseFuture<Result<BlobRead, StoreError>>;

    fn handle(&mut self, message: GetBlob, _: &mut Self::Context) -> Self::Result {
        let store = self.0.clone();
        Box::pin(async move {
            store.take(Asked::Get(message.range)).await?;
            let (info, bytes) = store.find(message.cid)?;
            if info.quarantined {
                return Err(StoreError::Damaged { cid: info.cid });
            }
            let size = info.size;
            let (start, end) = match message.range {
                None => (0, size),
                Some(ByteRange::FromTo(first, last)) => (first, size.min(last.saturating_add(1))),
                Some(ByteRange::From(first)) => (first, size),
                Some(ByteRange::Last(len)) => (size.saturating_sub(len), size),
            };
            if message.range.is_some() && start >= size {
                return Err(StoreError::RangeNotSatisfiable { size });
            }
            let part = bytes.slice(usize::try_from(start).unwrap()..usize::try_from(end).unwrap());
            let len = end - start;
            let broken = store.lock().break_reads_after.clone();
            let body = if part.len() <= 1024 * 1024 && broken.is_none() {
                BlobBody::Whole(part)
            } else {
                let (mut sender, body) = stream(Some(len));
                let permit = message.permit;
                actix::spawn(async move {
                    let _held = permit;
                    let mut sent = 0;
                    for piece in part.chunks(PIECE) {
                        if let Some((after, error)) = &broken
                            && sent + piece.len() > *after
                        {
                            return sender.fail(error.clone());
                        }
                        sent += piece.len();
                        if sender.send(Bytes::copy_from_slice(piece)).await.is_err() {
                            return;
                        }
                    }
                    sender.finish();
                });
                BlobBody::Stream(body)
            };
            Ok(BlobRead {
                info,
                offset: start,
                len,
                body,
            })
        })
    }
}

impl FakeStore {
    fn find(&self, cid: BlobCid) -> Result<(BlobInfo, Bytes), StoreError> {
        let state = self.lock();
        if state.blocked.contains(&cid) {
            return Err(StoreError::Blocked { cid });
        }
        let found = state.blobs.get(&cid).cloned();
        found.ok_or(StoreError::NotFound { cid })
    }
}

impl Handler<GetBlobInfo> for FakeActor {
    type Result = ResponseFuture<Result<BlobInfo, StoreError>>;

    fn handle(&mut self, message: GetBlobInfo, _: &mut Self::Context) -> Self::Result {
        let store = self.0.clone();
        Box::pin(async move {
            store.take(Asked::Info).await?;
            store.find(message.cid).map(|(info, _)| info)
        })
    }
}

impl Handler<ListBlobs> for FakeActor {
    type Result = ResponseFuture<Result<BlobPage, StoreError>>;

    fn handle(&mut self, message: ListBlobs, _: &mut Self::Context) -> Self::Result {
        let store = self.0.clone();
        Box::pin(async move {
            store
                .take(Asked::List(message.shard, message.limit))
                .await?;
            let state = store.lock();
            // The fake's sealed name is the digest itself.
            let mut all: Vec<BlobInfo> = state
                .blobs
                .values()
                .map(|(info, _)| info.clone())
                .filter(|info| message.shard.is_none_or(|shard| shard == info.shard))
                .collect();
            all.sort_by_key(|info| (info.shard, info.cid));
            if let Some(ListCursor { shard, after }) = message.after {
                all.retain(|info| (info.shard, *info.cid.digest().as_bytes()) > (shard, after));
            }
            let more = all.len() > message.limit;
            all.truncate(message.limit);
            let next = all.last().filter(|_| more).map(|last| ListCursor {
                shard: last.shard,
                after: *last.cid.digest().as_bytes(),
            });
            Ok(BlobPage { blobs: all, next })
        })
    }
}
