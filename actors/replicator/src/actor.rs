//! The actor's shell.

use std::collections::BTreeSet;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, WrapFuture,
};
use bytecave_core::ShardId;
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState, Stop};
use bytecave_messages::ports::{StorePort, notify};
use bytecave_messages::store::BlobStored;

/// How often the outbox is looked at: many stores share one batch, and a family that was written to
/// is not written to again for the sake of its outbox alone.
const OUTBOX_INTERVAL: Duration = Duration::from_secs(30);
const REASON: &str = "this version makes no copies on peers yet; nothing needs to be set";

/// The shell. With nobody to copy to, the outbox cursor advances past whatever was stored;
/// reconciliation covers that once the node joins a network.
#[derive(Debug)]
pub struct ReplicatorActor {
    store: StorePort,
    listeners: Vec<Recipient<PartChanged>>,
    watch: DeathWatch,
    /// Shards whose outbox grew since it was last looked at; at most one entry a shard.
    nudged: BTreeSet<ShardId>,
    /// Whether a round is under way: a slow store gets no second one on top.
    advancing: bool,
}

impl ReplicatorActor {
    /// A shell that empties the outbox of `store` and reports to `listeners`.
    pub fn new(
        store: StorePort,
        listeners: Vec<Recipient<PartChanged>>,
        watch: DeathWatch,
    ) -> Self {
        Self {
            store,
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

impl Handler<Stop> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        self.watch.disarm();
        context.stop();
    }
}
