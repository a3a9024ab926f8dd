//! The actor's shell.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, ResponseFuture,
    WrapFuture,
};
use bytecave_core::ShardId;
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState, Stop};
use bytecave_messages::ports::{StorePort, SwarmPort, notify};
use bytecave_messages::replicator::{FetchBlob, FetchError, FetchedBlob};
use bytecave_messages::store::BlobStored;
use bytecave_messages::swarm::{
    InboundHaveList, InboundReplica, InboundRetrieve, InboundStore, SwarmChanged,
};

use crate::options::ReplicatorOptions;

/// How often the outbox is looked at: many stores share one batch, and a family that was written to
/// is not written to again for the sake of its outbox alone.
const OUTBOX_INTERVAL: Duration = Duration::from_secs(30);
const REASON: &str = "this version makes no copies on peers yet; nothing needs to be set";

/// The shell. With nobody to copy to, the outbox cursor advances past whatever was stored;
/// reconciliation covers that once the node joins a network.
#[derive(Debug)]
pub struct ReplicatorActor {
    store: StorePort,
    swarm: SwarmPort,
    listeners: Vec<Recipient<PartChanged>>,
    watch: DeathWatch,
    /// Shards whose outbox grew since it was last looked at; at most one entry a shard.
    nudged: BTreeSet<ShardId>,
    /// Whether a round is under way: a slow store gets no second one on top.
    advancing: bool,
}

impl ReplicatorActor {
    /// A shell that empties the outbox, and answers what peers ask.
    pub fn new(options: ReplicatorOptions) -> Self {
        let ReplicatorOptions {
            store,
            swarm,
            listeners,
            watch,
            ..
        } = options;
        Self {
            store,
            swarm,
            listeners,
            watch,
            nudged: BTreeSet::new(),
            advancing: false,
        }
    }

    /// Moves the cursor of each nudged shard to its end.
    fn advance(&mut self, context: &mut Context<Self>) {
        if self.advancing || self.nudged.is_empty() {
            return;
        }
        self.advancing = true;
        let shards = std::mem::take(&mut self.nudged);
        let store = self.store.clone();
        let round = async move {
            let through = shards.iter().map(|shard| (*shard, u64::MAX)).collect();
            let advanced = store.advance_outbox(through).await;
            (shards, advanced)
        };
        context.spawn(round.into_actor(self).map(|(shards, advanced), actor, _| {
            actor.advancing = false;
            if let Err(error) = advanced {
                tracing::debug!(%error, "outbox not advanced, next round tries again");
                actor.nudged.extend(shards);
            }
        }));
    }
}

impl Actor for ReplicatorActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        tracing::info!(reason = REASON, "replication disabled");
        let state = PartState::Disabled {
            reason: REASON.to_owned(),
        };
        notify(
            &self.listeners,
            &PartChanged {
                actor: ActorName::Replicator,
                state,
            },
        );
        // What a crash left in the outbox has no nudge.
        let store = self.store.clone();
        let left = async move { store.outbox_shards().await };
        context.spawn(left.into_actor(self).map(|shards, actor, _| match shards {
            Ok(shards) => actor.nudged.extend(shards),
            Err(error) => tracing::warn!(%error, "outbox not read; its next entry brings it back"),
        }));
        context.run_interval(OUTBOX_INTERVAL, Self::advance);
    }
}

impl Handler<BlobStored> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, BlobStored { shard }: BlobStored, _: &mut Self::Context) {
        self.nudged.insert(shard);
    }
}

impl Handler<SwarmChanged> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, _: SwarmChanged, _: &mut Self::Context) {}
}

impl Handler<InboundRetrieve> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, _: InboundRetrieve, _: &mut Self::Context) {}
}

impl Handler<InboundHaveList> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, _: InboundHaveList, _: &mut Self::Context) {}
}

impl Handler<InboundReplica> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, _: InboundReplica, _: &mut Self::Context) {}
}

impl Handler<InboundStore> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, _: InboundStore, _: &mut Self::Context) {}
}

impl Handler<FetchBlob> for ReplicatorActor {
    type Result = ResponseFuture<Result<FetchedBlob, FetchError>>;

    fn handle(&mut self, _: FetchBlob, _: &mut Self::Context) -> Self::Result {
        Box::pin(async { Err(FetchError::Unavailable) })
    }
}

impl Handler<Stop> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        self.watch.disarm();
        context.stop();
    }
}
