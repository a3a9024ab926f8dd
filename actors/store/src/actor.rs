//! The shell of the storage engine: turns messages into calls of [`Engine`], and says how it is.
//!
//! No handler waits and nothing content-sized runs here: each clones the handle and gives back a
//! future. The permit stays inside the future, or with the bytes that are being read.

mod pass_on;

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, WrapFuture,
};
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState, Stop};
use bytecave_messages::ports::{StoreEvents, notify};
use bytecave_messages::store::{
    BlobRead, BlobStored, GetBlob, PutBlob, ReadTransit, StoreChanged, StoreError, Stored, Word,
};
use tracing::Instrument as _;

use crate::engine::Engine;
use crate::engine::failpoint::failpoint;

/// Time between two snapshots.
const SNAPSHOT_EVERY: Duration = Duration::from_secs(1);

/// The blobs of this node.
#[derive(Debug)]
pub struct StoreActor {
    engine: Engine,
    events: StoreEvents,
    death_watch: DeathWatch,
    /// A snapshot is being taken.
    observing: bool,
}

impl StoreActor {
    /// The shell of `engine`; `events` hear of what happens, `death_watch` of the actor's death.
    pub fn new(engine: Engine, events: StoreEvents, death_watch: DeathWatch) -> Self {
        Self {
            engine,
            events,
            death_watch,
            observing: false,
        }
    }

    /// Tells how the engine is, unless the last telling is still under way.
    fn observe(&mut self, context: &mut Context<Self>) {
        if std::mem::replace(&mut self.observing, true) {
            return;
        }
        let engine = self.engine.clone();
        let snapshot = async move { engine.snapshot_in_pool().await }.into_actor(self);
        context.spawn(snapshot.map(|snapshot, actor, _| {
            actor.observing = false;
            if let Ok(snapshot) = snapshot {
                let changed = StoreChanged(Arc::new(snapshot));
                actor.events.store_changed(&changed);
            }
        }));
    }

    fn tell(&self, state: PartState) {
        let actor = ActorName::Store;
        notify(&self.events.part, &PartChanged { actor, state });
    }
}

impl Actor for StoreActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        self.tell(PartState::Ready);
        self.observe(context);
        context.run_interval(SNAPSHOT_EVERY, Self::observe);
    }
}

impl Handler<PutBlob> for StoreActor {
    type Result = ResponseFuture<Result<Stored, StoreError>>;

    fn handle(&mut self, message: PutBlob, _: &mut Self::Context) -> Self::Result {
        failpoint!("actor::put");
        let (engine, events) = (self.engine.clone(), self.events.clone());
        let PutBlob { blob, permit } = message;
        let word = blob.word;
        let span = permit.span().clone();
        let put = async move {
            let stored = engine.put(blob).await?;
            // Nothing else is written to an outbox.
            if stored.new && stored.transit.is_none() && word == Word::Client {
                let shard = stored.shard;
                events.blob_stored(BlobStored { shard });
            }
            drop(permit);
            Ok(stored)
        };
        Box::pin(put.instrument(span))
    }
}

impl Handler<GetBlob> for StoreActor {
    type Result = ResponseFuture<Result<BlobRead, StoreError>>;

    fn handle(&mut self, message: GetBlob, _: &mut Self::Context) -> Self::Result {
        let engine = self.engine.clone();
        let GetBlob { cid, range, permit } = message;
        let span = permit.span().clone();
        Box::pin(async move { engine.get(cid, range, permit).await }.instrument(span))
    }
}

impl Handler<ReadTransit> for StoreActor {
    type Result = ResponseFuture<Result<BlobRead, StoreError>>;

    fn handle(&mut self, message: ReadTransit, _: &mut Self::Context) -> Self::Result {
        let engine = self.engine.clone();
        let ReadTransit {
            hold,
            range,
            permit,
        } = message;
        let span = permit.span().clone();
        Box::pin(async move { engine.read_transit(hold, range, permit).await }.instrument(span))
    }
}

impl Handler<Stop> for StoreActor {
    type Result = ResponseFuture<()>;

    /// Commits what waits and syncs the log, then the actor stops.
    fn handle(&mut self, _: Stop, context: &mut Self::Context) -> Self::Result {
        self.death_watch.disarm();
        self.tell(PartState::Stopping);
        context.stop();
        let engine = self.engine.clone();
        let (closed, closing) = tokio::sync::oneshot::channel();
        // Joins threads, so it gets one of its own.
        let spawned = std::thread::Builder::new()
            .name("store-close".to_owned())
            .spawn(move || {
                engine.close();
                // Before the answer: the process may end with it, and must not end amid a close.
                drop(engine);
                let _ = closed.send(());
            });
        Box::pin(async move {
            if spawned.is_ok() {
                let _ = closing.await;
            }
        })
    }
}

#[cfg(test)]
mod tests;
