//! A store in memory.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix::{Actor, Context, Handler, ResponseFuture};
use bytecave_core::proof::Statement;
use bytecave_core::{BlobCid, tree};
use bytecave_messages::budget::{ActorName, Budget};
use bytecave_messages::ports::StorePort;
use bytecave_messages::store::{
    AdvanceOutbox, BlobInfo, BlobPage, BlobRead, BlockedPage, CheckBlobs, CollectGarbage,
    DeleteBlob, GcReport, GetBlob, GetBlobInfo, ListBlobs, ListBlocked, ListCursor, ListDamaged,
    ListDigests, ListOutboxShards, OutboxEntry, PutBlob, ReadLeaves, ReadOutbox, ReadTransit,
    RenewTombstones, RestoreBlob, RetireBlob, RotateKeys, RotationReport, SampleBlob, ScrubBlobs,
    Scrubbed, SetBlocked, SetPin, Standing, StoreError, Stored, UseNonce,
};
use bytecave_messages::sync::ListedDigest;

use super::{count, counters, stored};

/// A store in memory.
#[derive(Clone)]
pub(crate) struct FakeStore {
    state: Arc<Mutex<Store>>,
    port: StorePort,
}

#[derive(Default)]
struct Store {
    blobs: BTreeMap<BlobCid, (BlobInfo, Vec<u8>)>,
    asked: Vec<String>,
    fail: Option<StoreError>,
    /// Of the scrub.
    rates: Vec<u64>,
}

struct StoreFake(Arc<Mutex<Store>>);

impl FakeStore {
    pub(crate) fn start() -> Self {
        let state = Arc::new(Mutex::new(Store::default()));
        let actor = StoreFake(Arc::clone(&state));
        let port = StorePort::new(&actor.start(), Budget::new(ActorName::Store, 256));
        Self { state, port }
    }

    pub(crate) fn port(&self) -> StorePort {
        self.port.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.state.lock().unwrap()
    }

    /// It has this, since long ago.
    pub(crate) fn seed(&self, content: &[u8]) -> BlobCid {
        let cid = BlobCid::of(content);
        let size = content.len() as u64;
        let info = BlobInfo {
            cid,
            shard: count().shard_of(&cid.digest()),
            size,
            sealed_size: size,
            content_type: None,
            file_name: None,
            created_ms: 0,
            blob_root: tree::blob_root(content),
            pinned: false,
            quarantined: false,
        };
        self.lock().blobs.insert(cid, (info, content.to_vec()));
        cid
    }

    pub(crate) fn remove(&self, cid: &BlobCid) {
        self.lock().blobs.remove(cid);
    }

    pub(crate) fn damage(&self, cid: &BlobCid) {
        self.lock().blobs.get_mut(cid).unwrap().0.quarantined = true;
    }

    pub(crate) fn fail_with(&self, error: Option<StoreError>) {
        self.lock().fail = error;
    }

    /// What it was asked, in words.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.lock().asked.clone()
    }

    /// How fast it was to scrub.
    pub(crate) fn rates(&self) -> Vec<u64> {
        self.lock().rates.clone()
    }

    /// How it is.
    pub(crate) fn snapshot(&self) -> bytecave_messages::store::StoreSnapshot {
        let state = self.lock();
        let mut shards = BTreeMap::new();
        for (info, _) in state.blobs.values() {
            let shard = shards.entry(info.shard.get()).or_insert((0, 0));
            *shard = (shard.0 + 1, shard.1 + info.size);
        }
        let shards = shards.into_iter();
        stored(
            shards
                .map(|(shard, (blobs, bytes))| counters(shard, blobs, bytes))
                .collect(),
        )
    }
}

impl StoreFake {
    fn answer<T: 'static>(
        &self,
        asked: String,
        answer: impl FnOnce(&mut Store) -> Result<T, StoreError>,
    ) -> ResponseFuture<Result<T, StoreError>> {
        let mut state = self.0.lock().unwrap();
        state.asked.push(asked);
        let failed = state.fail.clone();
        let answered = failed.map_or(Ok(()), Err);
        let answered = answered.and_then(|()| answer(&mut state));
        Box::pin(async move { answered })
    }
}

impl Actor for StoreFake {
    type Context = Context<Self>;
}

impl Handler<GetBlobInfo> for StoreFake {
    type Result = ResponseFuture<Result<BlobInfo, StoreError>>;

    fn handle(
        &mut self,
        GetBlobInfo { cid, .. }: GetBlobInfo,
        _: &mut Self::Context,
    ) -> Self::Result {
        self.answer("info".to_owned(), |state| {
            let found = state.blobs.get(&cid).map(|(info, _)| info.clone());
            found.ok_or(StoreError::NotFound { cid })
        })
    }
}

impl Handler<ReadLeaves> for StoreFake {
    type Result = ResponseFuture<Result<Statement, StoreError>>;

    fn handle(&mut self, asked: ReadLeaves, _: &mut Self::Context) -> Self::Result {
        let cid = asked.challenge.cid;
        self.answer("leaves".to_owned(), |state| {
            let (_, content) = state.blobs.get(&cid).ok_or(StoreError::NotFound { cid })?;
            Ok(Statement::from_content(&asked.challenge, content).unwrap())
        })
    }
}

impl Handler<SampleBlob> for StoreFake {
    type Result = ResponseFuture<Result<Option<BlobInfo>, StoreError>>;

    fn handle(&mut self, asked: SampleBlob, _: &mut Self::Context) -> Self::Result {
        self.answer(format!("sample {}", asked.shard), |state| {
            let all = state.blobs.values().map(|(info, _)| info);
            let of: Vec<_> = all.filter(|info| info.shard == asked.shard).collect();
            let many = of.len().max(1) as u64;
            let at = usize::try_from(asked.pick % many).unwrap();
            Ok(of.get(at).map(|info| (*info).clone()))
        })
    }
}

impl Handler<ScrubBlobs> for StoreFake {
    type Result = ResponseFuture<Result<Scrubbed, StoreError>>;

    /// In the order of their CIDs, and no faster than it may.
    fn handle(&mut self, asked: ScrubBlobs, _: &mut Self::Context) -> Self::Result {
        let from = asked.after.map_or("start", |_| "on");
        let scrubbed = self.answer(format!("scrub {from}"), |state| {
            state.rates.push(asked.bytes_per_second);
            let mut scrubbed = Scrubbed {
                blobs: 0,
                bytes: 0,
                damaged: Vec::new(),
                next: None,
            };
            let behind = |cid: &BlobCid| {
                asked
                    .after
                    .is_none_or(|cursor| cid.digest().as_bytes() > &cursor.after)
            };
            let mut rest = state.blobs.values().filter(|(info, _)| behind(&info.cid));
            let mut last = None;
            while scrubbed.bytes < asked.enough_bytes
                && let Some((info, _)) = rest.next()
            {
                scrubbed.blobs += 1;
                scrubbed.bytes += info.size;
                if info.quarantined {
                    scrubbed.damaged.push(info.cid);
                }
                last = Some(ListCursor {
                    shard: info.shard,
                    after: *info.cid.digest().as_bytes(),
                });
            }
            scrubbed.next = last.filter(|_| rest.next().is_some());
            Ok(scrubbed)
        });
        Box::pin(async move {
            let scrubbed = scrubbed.await?;
            let millis = scrubbed.bytes * 1000 / asked.bytes_per_second;
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Ok(scrubbed)
        })
    }
}

macro_rules! never_asked {
    ($($message:ident -> $reply:ty;)+) => {$(
        impl Handler<$message> for StoreFake {
            type Result = ResponseFuture<Result<$reply, StoreError>>;

            fn handle(&mut self, message: $message, _: &mut Self::Context) -> Self::Result {
                panic!("the prover asks for no {message:?}");
            }
        }
    )+};
}
never_asked! {
    PutBlob -> Stored;
    GetBlob -> BlobRead;
    ListBlobs -> BlobPage;
    DeleteBlob -> ();
    SetPin -> ();
    CollectGarbage -> GcReport;
    RotateKeys -> RotationReport;
    ReadOutbox -> Vec<OutboxEntry>;
    AdvanceOutbox -> ();
    ListOutboxShards -> Vec<bytecave_core::ShardId>;
    UseNonce -> bool;
    ReadTransit -> BlobRead;
    ListDigests -> Arc<[ListedDigest]>;
    CheckBlobs -> Vec<Standing>;
    RenewTombstones -> ();
    SetBlocked -> bool;
    ListBlocked -> BlockedPage;
    ListDamaged -> Vec<BlobCid>;
    RetireBlob -> bool;
    RestoreBlob -> bool;
}
