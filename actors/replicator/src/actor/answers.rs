//! What others ask of the actor: each is left to a task, which the message's permit counts.

use actix::{Handler, ResponseFuture};
use bytecave_messages::replicator::{
    FetchBlob, FetchError, FetchedBlob, PlaceBlob, PlaceError, Placed,
};
use bytecave_messages::swarm::{
    InboundHaveList, InboundReplica, InboundRetrieve, InboundStore, InboundSync,
};

use super::ReplicatorActor;
use crate::serve;

/// A handler that leaves the work to a task.
macro_rules! spawn {
    ($message:ident, |$actor:ident, $given:ident| $task:expr) => {
        impl Handler<$message> for ReplicatorActor {
            type Result = ();

            fn handle(&mut self, $given: $message, _: &mut Self::Context) {
                let $actor = &*self;
                tokio::spawn($task);
            }
        }
    };
}

spawn!(InboundRetrieve, |actor, wanted| serve::retrieve(
    actor.store.clone(),
    wanted
));
spawn!(InboundHaveList, |actor, ask| actor
    .lister
    .clone()
    .answer(ask));
spawn!(InboundReplica, |actor, sent| actor
    .receiver
    .clone()
    .replica(sent));
spawn!(InboundStore, |actor, sent| actor
    .receiver
    .clone()
    .store(sent));
spawn!(InboundSync, |actor, asked| actor
    .reconciler
    .clone()
    .answer(asked));

impl Handler<FetchBlob> for ReplicatorActor {
    type Result = ResponseFuture<Result<FetchedBlob, FetchError>>;

    fn handle(&mut self, wanted: FetchBlob, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.fetcher.clone().fetch(wanted))
    }
}

impl Handler<PlaceBlob> for ReplicatorActor {
    type Result = ResponseFuture<Result<Placed, PlaceError>>;

    fn handle(&mut self, wanted: PlaceBlob, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.placer.clone().place(wanted))
    }
}
