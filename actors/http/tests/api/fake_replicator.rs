//! A replicator that answers as a test says, and keeps what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use actix::{Actor, Addr, Context, Handler, ResponseFuture};
use bytecave_core::{BlobCid, PeerId, ShardId};
use bytecave_messages::body::{BlobBody, BodyError, BodySender, stream};
use bytecave_messages::replicator::{
    ApplyShardPlan, BlobFacts, BytesAt, FetchBlob, FetchError, FetchedBlob, GetShardPlan,
    PlaceBlob, PlaceError, Placed, PlanError, ShardPlan,
};
use bytecave_messages::store::{ByteRange, InTransit};
use bytes::Bytes;
use tokio::sync::watch;

use crate::fake_store::count;

/// Largest blob that is verified before its first byte.
const WHOLE: usize = 4 * 1024 * 1024;
/// Pieces in which larger ones come.
const PIECE: usize = 200_000;

/// What peers have and take, and how often it was asked for; shared with the test.
#[derive(Clone)]
pub(crate) struct FakeReplicator(Arc<Mutex<State>>);

struct State {
    blobs: BTreeMap<BlobCid, (Bytes, Option<String>)>,
    fail: Option<FetchError>,
    fetched: Vec<(BlobCid, Option<ByteRange>)>,
    /// Streams break off after so many bytes.
    break_after: Option<usize>,
    /// Streams whose reader went away before their end.
    let_go: usize,
    /// Fetches that nobody waited for any more.
    cancelled: usize,
    place: Option<Result<Placed, PlaceError>>,
    placed: Vec<PlaceAsked>,
    plan: Result<ShardPlan, PlanError>,
    applied: Vec<Vec<ShardId>>,
    /// While false, fetches and streams stand still.
    gate: watch::Sender<bool>,
}

/// What was to be brought to others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct PlaceAsked {
    pub(crate) blob: BlobFacts,
    pub(crate) from: Source,
    pub(crate) wanted: u32,
    pub(crate) patience: Duration,
}

/// Where its bytes were.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Source {
    Store,
    Memory(Bytes),
    Disk(Bytes),
}

pub(crate) struct ReplicatorFake(FakeReplicator);

impl FakeReplicator {
    pub(crate) fn start() -> (Self, Addr<ReplicatorFake>) {
        let (gate, _) = watch::channel(true);
        let replicator = Self(Arc::new(Mutex::new(State {
            blobs: BTreeMap::new(),
            fail: None,
            fetched: Vec::new(),
            break_after: None,
            let_go: 0,
            cancelled: 0,
            place: None,
            placed: Vec::new(),
            plan: Err(PlanError::NotYet),
            applied: Vec::new(),
            gate,
        })));
        let address = ReplicatorFake(replicator.clone()).start();
        (replicator, address)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// A peer has this.
    pub(crate) fn seed(&self, content: &[u8], content_type: Option<&str>) -> BlobCid {
        let cid = BlobCid::of(content);
        let blob = (
            Bytes::copy_from_slice(content),
            content_type.map(str::to_owned),
        );
        self.lock().blobs.insert(cid, blob);
        cid
    }

    pub(crate) fn fail_with(&self, error: FetchError) {
        self.lock().fail = Some(error);
    }

    /// Breaks streams off after so many bytes.
    pub(crate) fn break_after(&self, bytes: usize) {
        self.lock().break_after = Some(bytes);
    }

    /// Stands still, or goes on.
    pub(crate) fn hold(&self, held: bool) {
        self.lock().gate.send_replace(!held);
    }

    pub(crate) fn asked(&self) -> usize {
        self.lock().fetched.len()
    }

    /// Everything that was to be fetched so far.
    pub(crate) fn fetched(&self) -> Vec<(BlobCid, Option<ByteRange>)> {
        self.lock().fetched.clone()
    }

    pub(crate) fn let_go(&self) -> usize {
        self.lock().let_go
    }

    pub(crate) fn cancelled(&self) -> usize {
        self.lock().cancelled
    }

    /// How copies go from now on. Until then one copy of what is kept is all there is, and nobody takes
    /// anything else.
    pub(crate) fn place_ends(&self, ends: Result<(u32, u32), PlaceError>) {
        let ends = ends.map(|(confirmed, target)| Placed { confirmed, target });
        self.lock().place = Some(ends);
    }

    /// Everything that was to be brought to others so far.
    pub(crate) fn placed(&self) -> Vec<PlaceAsked> {
        self.lock().placed.clone()
    }

    /// What is planned from now on.
    pub(crate) fn plans(&self, plan: Result<ShardPlan, PlanError>) {
        self.lock().plan = plan;
    }

    /// Every order to hand shards over so far.
    pub(crate) fn applied(&self) -> Vec<Vec<ShardId>> {
        self.lock().applied.clone()
    }

    async fn open_gate(&self) {
        let mut gate = self.lock().gate.subscribe();
        gate.wait_for(|open| *open).await.unwrap();
    }

    fn fetch(&self, cid: BlobCid, range: Option<ByteRange>) -> Result<FetchedBlob, FetchError> {
        let state = self.lock();
        if let Some(error) = state.fail.clone() {
            return Err(error);
        }
        let found = state.blobs.get(&cid).cloned();
        let (bytes, content_type) = found.ok_or(FetchError::NotFound { cid, asked: 2 })?;
        let size = bytes.len() as u64;
        let (start, end) = match range {
            None => (0, size),
            Some(ByteRange::FromTo(first, last)) => (first, size.min(last.saturating_add(1))),
            Some(ByteRange::From(first)) => (first, size),
            Some(ByteRange::Last(len)) => (size.saturating_sub(len), size),
        };
        if range.is_some() && start >= size {
            return Err(FetchError::RangeNotSatisfiable { size });
        }
        let part = bytes.slice(usize::try_from(start).unwrap()..usize::try_from(end).unwrap());
        let body = if part.len() <= WHOLE {
            BlobBody::Whole(part)
        } else {
            let (sender, body) = stream(Some(end - start));
            actix::spawn(self.clone().send(part, sender, state.break_after));
            BlobBody::Stream(body)
        };
        Ok(FetchedBlob {
            size,
            content_type,
            offset: start,
            len: end - start,
            body,
        })
    }

    async fn send(self, part: Bytes, mut sender: BodySender, break_after: Option<usize>) {
        let mut sent = 0;
        for piece in part.chunks(PIECE) {
            self.open_gate().await;
            sent += piece.len();
            if break_after.is_some_and(|after| sent > after) {
                let received = u64::try_from(sent).unwrap();
                return sender.fail(BodyError::Stopped { received });
            }
            if sender.send(Bytes::copy_from_slice(piece)).await.is_err() {
                self.lock().let_go += 1;
                return;
            }
        }
        sender.finish();
    }
}

impl Actor for ReplicatorFake {
    type Context = Context<Self>;
}

impl Handler<FetchBlob> for ReplicatorFake {
    type Result = ResponseFuture<Result<FetchedBlob, FetchError>>;

    fn handle(&mut self, message: FetchBlob, _: &mut Self::Context) -> Self::Result {
        let replicator = self.0.clone();
        let FetchBlob {
            cid,
            range,
            cancelled,
            permit,
        } = message;
        replicator.lock().fetched.push((cid, range));
        Box::pin(async move {
            let _held = permit;
            let work = async {
                replicator.open_gate().await;
                replicator.fetch(cid, range)
            };
            if let Some(fetched) = cancelled.unless(work).await {
                return fetched;
            }
            replicator.lock().cancelled += 1;
            Err(FetchError::Unavailable)
        })
    }
}

impl Handler<PlaceBlob> for ReplicatorFake {
    type Result = ResponseFuture<Result<Placed, PlaceError>>;

    fn handle(&mut self, message: PlaceBlob, _: &mut Self::Context) -> Self::Result {
        let PlaceBlob {
            blob,
            bytes,
            wanted,
            patience,
            permit,
        } = message;
        let from = match bytes {
            BytesAt::Store => Source::Store,
            BytesAt::Transit(InTransit::Memory(bytes)) => Source::Memory(bytes),
            BytesAt::Transit(InTransit::Disk(hold)) => {
                Source::Disk(hold.kept::<Bytes>().unwrap().clone())
            }
        };
        let mut state = self.0.lock();
        let ends = state.place.clone().unwrap_or_else(|| match from {
            Source::Store => Ok(Placed {
                confirmed: 1,
                target: 1,
            }),
            Source::Memory(_) | Source::Disk(_) => Err(PlaceError::NoHolder {
                cid: blob.cid,
                shard: count().shard_of(&blob.cid.digest()),
                holders: Vec::<PeerId>::new(),
            }),
        });
        state.placed.push(PlaceAsked {
            blob,
            from,
            wanted,
            patience,
        });
        Box::pin(async move {
            drop(permit);
            ends
        })
    }
}

impl Handler<GetShardPlan> for ReplicatorFake {
    type Result = ResponseFuture<Result<ShardPlan, PlanError>>;

    fn handle(&mut self, _: GetShardPlan, _: &mut Self::Context) -> Self::Result {
        let plan = self.0.lock().plan.clone();
        Box::pin(async { plan })
    }
}

impl Handler<ApplyShardPlan> for ReplicatorFake {
    type Result = ResponseFuture<Result<ShardPlan, PlanError>>;

    fn handle(&mut self, order: ApplyShardPlan, _: &mut Self::Context) -> Self::Result {
        let mut state = self.0.lock();
        state.applied.push(order.shards);
        let plan = state.plan.clone();
        Box::pin(async { plan })
    }
}
