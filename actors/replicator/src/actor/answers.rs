//! What others ask of the actor: each is left to a task, which the message's permit counts. And what
//! audits found, which is noted at once, so that what is asked later meets it.

use actix::{Handler, ResponseFuture};
use bytecave_messages::proof::{AuditFinished, ChallengeOpened};
use bytecave_messages::replicator::{
    ApplyShardPlan, FetchBlob, FetchError, FetchedBlob, GetShardPlan, PlaceBlob, PlaceError,
    Placed, PlanError, ShardPlan,
};
use bytecave_messages::swarm::{
    InboundHaveList, InboundReplica, InboundRetrieve, InboundStore, InboundSync,
};

use super::ReplicatorActor;
use crate::receive::now_ms;
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
    actor.holders.audits().clone(),
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

impl Handler<GetShardPlan> for ReplicatorActor {
    type Result = ResponseFuture<Result<ShardPlan, PlanError>>;

    fn handle(&mut self, wanted: GetShardPlan, _: &mut Self::Context) -> Self::Result {
        let plan = self.reconciler.clone().plan();
        Box::pin(async move {
            let _permit = wanted.permit;
            plan.await
        })
    }
}

impl Handler<ApplyShardPlan> for ReplicatorActor {
    type Result = ResponseFuture<Result<ShardPlan, PlanError>>;

    fn handle(&mut self, order: ApplyShardPlan, _: &mut Self::Context) -> Self::Result {
        Box::pin(self.reconciler.clone().apply(order))
    }
}

impl Handler<ChallengeOpened> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, opened: ChallengeOpened, _: &mut Self::Context) {
        self.holders.audits().opened(&opened);
    }
}

impl Handler<AuditFinished> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, AuditFinished(record): AuditFinished, _: &mut Self::Context) {
        let (peer, placement) = (record.peer_id, self.holders.placement());
        let holder = placement.is_some_and(|placement| {
            let shard = placement.shard_of(&record.cid);
            let holders = placement.holders(shard);
            holders.iter().any(|it| it.peer == peer && it.counted)
        });
        let deed = self.holders.audits().finished(&record, holder, now_ms());
        if let Some(deed) = deed {
            self.conduct.note(&peer, deed);
        }
    }
}
