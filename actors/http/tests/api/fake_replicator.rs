//! A replicator whose peers have what a test says, and which counts what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use actix::{Actor, Addr, Context, Handler, ResponseFuture};
use bytecave_core::BlobCid;
use bytecave_messages::replicator::{FetchBlob, FetchError, FetchedBlob};
use bytes::Bytes;

/// What peers have, and how often it was asked for; shared with the test.
#[derive(Clone, Default)]
pub(crate) struct FakeReplicator(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    blobs: BTreeMap<BlobCid, FetchedBlob>,
    fail: Option<FetchError>,
    asked: Vec<BlobCid>,
}

pub(crate) struct ReplicatorFake(FakeReplicator);

impl FakeReplicator {
    pub(crate) fn start() -> (Self, Addr<ReplicatorFake>) {
        let replicator = Self::default();
        let address = ReplicatorFake(replicator.clone()).start();
        (replicator, address)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A peer has this.
    pub(crate) fn seed(&self, content: &[u8], content_type: Option<&str>) -> BlobCid {
        let cid = BlobCid::of(content);
        let blob = FetchedBlob {
            bytes: Bytes::copy_from_slice(content),
            content_type: content_type.map(str::to_owned),
        };
        self.lock().blobs.insert(cid, blob);
        cid
    }

    pub(crate) fn fail_with(&self, error: FetchError) {
        self.lock().fail = Some(error);
    }

    pub(crate) fn asked(&self) -> usize {
        self.lock().asked.len()
    }
}

impl Actor for ReplicatorFake {
    type Context = Context<Self>;
}

impl Handler<FetchBlob> for ReplicatorFake {
    type Result = ResponseFuture<Result<FetchedBlob, FetchError>>;

    fn handle(
        &mut self,
        FetchBlob { cid, permit }: FetchBlob,
        _: &mut Self::Context,
    ) -> Self::Result {
        let mut state = self.0.lock();
        state.asked.push(cid);
        let found = state.blobs.get(&cid).cloned();
        let fetched = match state.fail.clone() {
            Some(error) => Err(error),
            None => found.ok_or(FetchError::NotFound { cid, asked: 2 }),
        };
        drop(state);
        Box::pin(async move {
            drop(permit);
            fetched
        })
    }
}
