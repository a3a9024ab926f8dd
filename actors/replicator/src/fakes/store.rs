//! A store in memory.
#![allow(clippy::unwrap_used)]

mod letting_go;
mod outbox;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix::{Actor, Context, Handler, ResponseFuture};
use bytecave_core::proof::Statement;
use bytecave_core::{BlobCid, Commitment, Digest, ShardId, tree};
use bytecave_messages::body::BlobBody;
use bytecave_messages::budget::{ActorName, Budget};
use bytecave_messages::ports::StorePort;
use bytecave_messages::store::{
    BlobInfo, BlobPage, BlobRead, BlockedPage, ByteRange, CheckBlobs, CollectGarbage, DeleteBlob,
    Durability, Foreign, GcReport, GetBlob, GetBlobInfo, InTransit, ListBlobs, ListBlocked,
    ListCursor, ListDigests, NewBlob, OutboxEntry, OutboxKind, PutBlob, ReadLeaves, ReadTransit,
    RenewTombstones, RotateKeys, RotationReport, SampleBlob, ScrubBlobs, Scrubbed, SetBlocked,
    SetPin, Standing, StoreError, Stored, TransitHold, UseNonce, Word,
};
use bytecave_messages::sync::ListedDigest;
use bytes::Bytes;
use tokio::sync::watch;

use super::{OWNED, count};

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
    nonces: BTreeSet<Digest>,
    fail: Option<StoreError>,
    /// Puts are begun and never end, and read nothing.
    stalls: bool,
    asked: Vec<String>,
    outbox: BTreeMap<ShardId, Vec<OutboxEntry>>,
    sequence: u64,
    deleted: BTreeSet<Digest>,
    blocked: BTreeSet<Digest>,
    /// What was let go, and for how long it is kept.
    retired: BTreeMap<BlobCid, (BlobInfo, Bytes, Duration)>,
    /// Shards from this one on are kept no more; none of the fakes' that are.
    given_up_from: Option<u64>,
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

    /// From now on a put reads nothing and never ends.
    pub(crate) fn stall_puts(&self) {
        self.lock().stalls = true;
    }

    /// It fails no more.
    pub(crate) fn recover(&self) {
        self.lock().fail = None;
    }

    /// A client stored it: it is here, and in the outbox.
    pub(crate) fn client_stores(&self, content: &[u8]) -> BlobCid {
        let cid = self.seed(content, None);
        self.lock().write_outbox(cid);
        cid
    }

    /// Entries of the outbox that stand.
    pub(crate) fn outbox(&self) -> usize {
        self.lock().outbox.values().map(Vec::len).sum()
    }

    /// It is gone, and shall not come back from peers.
    pub(crate) fn deleted(&self, cid: &BlobCid) {
        let mut state = self.lock();
        state.blobs.remove(cid);
        state.deleted.insert(cid.digest());
    }

    /// It is blocked.
    pub(crate) fn blocked(&self, cid: &BlobCid) {
        let mut state = self.lock();
        state.blobs.remove(cid);
        state.blocked.insert(cid.digest());
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
        self.retired.remove(&cid);
        let new = !self.blobs.contains_key(&cid);
        let kept = &mut self.blobs.entry(cid).or_insert((info, bytes)).0;
        kept.quarantined = false;
        Stored {
            cid,
            shard,
            size,
            blob_root,
            commitment: Commitment::of(size, &blob_root),
            new,
            durability: Durability::Strict,
            transit: None,
        }
    }

    fn write_outbox(&mut self, cid: BlobCid) {
        self.sequence += 1;
        let entry = OutboxEntry {
            sequence: self.sequence,
            kind: OutboxKind::Stored,
            digest: cid.digest(),
        };
        let shard = count().shard_of(&cid.digest());
        self.outbox.entry(shard).or_default().push(entry);
    }

    fn put(&mut self, put: NewBlob, bytes: Bytes) -> Result<Stored, StoreError> {
        let actual = BlobCid::of(&bytes);
        let digest = actual.digest();
        let shard = count().shard_of(&digest);
        match put.expected {
            Some(expected) if expected != actual => {
                return Err(StoreError::Mismatch { expected, actual });
            }
            _ if self.blocked.contains(&digest) => {
                return Err(StoreError::Blocked { cid: actual });
            }
            _ if put.word == Word::Peer && self.deleted.contains(&digest) => {
                return Err(StoreError::Deleted { cid: actual });
            }
            _ => {}
        }
        if u64::from(shard.get()) > OWNED.end {
            if put.foreign == Foreign::Refuse {
                return Err(StoreError::NotOurShard { cid: actual, shard });
            }
            let hold = TransitHold::new(bytes.clone());
            let before = self.blobs.remove(&actual);
            let mut stored = self.keep(bytes, put.content_type);
            self.blobs.remove(&actual);
            self.blobs.extend(before.map(|before| (actual, before)));
            stored.transit = Some(InTransit::Disk(hold));
            return Ok(stored);
        }
        let stored = self.keep(bytes, put.content_type);
        if put.word == Word::Client {
            self.deleted.remove(&digest);
            self.write_outbox(actual);
        }
        Ok(stored)
    }

    fn standing(&self, digest: &Digest) -> Standing {
        let here = self.blobs.get(&BlobCid::from_digest(*digest));
        match here {
            _ if self.blocked.contains(digest) => Standing::Blocked,
            Some((info, _)) if info.quarantined => Standing::Damaged,
            Some(_) => Standing::Here,
            None if self.deleted.contains(digest) => Standing::Deleted,
            None => Standing::Absent,
        }
    }

    /// Writes down what is asked, and fails when told to.
    fn take(&mut self, asked: String) -> Result<(), StoreError> {
        self.asked.push(asked);
        self.fail.clone().map_or(Ok(()), Err)
    }

    fn info(&self, cid: BlobCid) -> Result<(BlobInfo, Bytes), StoreError> {
        let retired = || {
            let retired = self.retired.get(&cid);
            retired.map(|(info, bytes, _)| (info.clone(), bytes.clone()))
        };
        let found = self.blobs.get(&cid).cloned().or_else(retired);
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
        let permit = format!("{:?}", put.permit);
        assert!(permit.contains("put"), "{permit}");
        let (state, changed) = (Arc::clone(&self.state), self.changed.clone());
        Box::pin(async move {
            let PutBlob {
                mut blob,
                permit: _permit,
            } = put;
            if state.lock().unwrap().stalls {
                std::future::pending::<()>().await;
            }
            let body = std::mem::replace(&mut blob.body, BlobBody::Whole(Bytes::new()));
            let bytes = collect(body).await?;
            let answered = {
                let mut state = state.lock().unwrap();
                state
                    .take(format!("put {}", bytes.len()))
                    .and_then(|()| state.put(blob, bytes))
            };
            changed.send_modify(|asked| *asked += 1);
            answered
        })
    }
}

async fn collect(body: BlobBody) -> Result<Bytes, StoreError> {
    match body {
        BlobBody::Whole(bytes) => Ok(bytes),
        BlobBody::Stream(mut stream) => {
            let mut all = Vec::new();
            while let Some(piece) = stream.next().await {
                all.extend_from_slice(&piece?);
            }
            Ok(all.into())
        }
    }
}

/// The part of `bytes` that is asked for.
fn part(info: BlobInfo, bytes: &Bytes, range: Option<ByteRange>) -> Result<BlobRead, StoreError> {
    let size = info.size;
    let (from, to) = match range {
        None => (0, size),
        Some(ByteRange::FromTo(from, last)) => (from, (last + 1).min(size)),
        Some(ByteRange::From(from)) => (from, size),
        Some(ByteRange::Last(len)) => (size.saturating_sub(len), size),
    };
    if range.is_some() && from >= size {
        return Err(StoreError::RangeNotSatisfiable { size });
    }
    let slice = usize::try_from(from).unwrap()..usize::try_from(to).unwrap();
    Ok(BlobRead {
        info,
        offset: from,
        len: to - from,
        body: BlobBody::Whole(bytes.slice(slice)),
    })
}

impl Handler<GetBlob> for StoreFake {
    type Result = ResponseFuture<Result<BlobRead, StoreError>>;

    fn handle(&mut self, get: GetBlob, _: &mut Self::Context) -> Self::Result {
        self.answer("get".to_owned(), |state| {
            let (info, bytes) = state.info(get.cid)?;
            if info.quarantined {
                return Err(StoreError::Damaged { cid: get.cid });
            }
            part(info, &bytes, get.range)
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
            let of_shard = |info: &BlobInfo| list.shard.is_none_or(|shard| shard == info.shard);
            let mut rest = state
                .blobs
                .values()
                .filter(|(info, _)| behind(&info.cid) && of_shard(info));
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

impl Handler<ReadTransit> for StoreFake {
    type Result = ResponseFuture<Result<BlobRead, StoreError>>;

    fn handle(&mut self, read: ReadTransit, _: &mut Self::Context) -> Self::Result {
        self.answer("read transit".to_owned(), |_| {
            let bytes = read.hold.kept::<Bytes>().unwrap().clone();
            let mut other = Store::default();
            let cid = other.keep(bytes.clone(), None).cid;
            part(other.info(cid)?.0, &bytes, read.range)
        })
    }
}

impl Handler<ListDigests> for StoreFake {
    type Result = ResponseFuture<Result<Arc<[ListedDigest]>, StoreError>>;

    fn handle(&mut self, list: ListDigests, _: &mut Self::Context) -> Self::Result {
        self.answer(format!("digests {}", list.shard.get()), |state| {
            let here = state.blobs.keys().map(BlobCid::digest);
            let gone = state.deleted.iter().copied();
            let mut listed: Vec<_> = here
                .map(|digest| (digest, false))
                .chain(gone.map(|digest| (digest, true)))
                .filter(|(digest, _)| count().shard_of(digest) == list.shard)
                .map(|(digest, declined)| ListedDigest { digest, declined })
                .collect();
            listed.sort_unstable();
            Ok(listed.into())
        })
    }
}

impl Handler<CheckBlobs> for StoreFake {
    type Result = ResponseFuture<Result<Vec<Standing>, StoreError>>;

    fn handle(&mut self, check: CheckBlobs, _: &mut Self::Context) -> Self::Result {
        self.answer(format!("check {}", check.digests.len()), |state| {
            let digests = check.digests.iter();
            Ok(digests.map(|digest| state.standing(digest)).collect())
        })
    }
}

impl Handler<RenewTombstones> for StoreFake {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(&mut self, renew: RenewTombstones, _: &mut Self::Context) -> Self::Result {
        self.answer(format!("renew {}", renew.digests.len()), |_| Ok(()))
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
    SetBlocked -> bool;
    ListBlocked -> BlockedPage;
    ReadLeaves -> Statement;
    SampleBlob -> Option<BlobInfo>;
    ScrubBlobs -> Scrubbed;
}
