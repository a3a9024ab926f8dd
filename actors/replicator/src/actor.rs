//! The actor's shell: it starts a task for each request and hears how store and network are.

use std::sync::Arc;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Recipient, ResponseFuture,
    WrapFuture,
};
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState, Stop};
use bytecave_messages::ports::{StorePort, SwarmPort, notify};
use bytecave_messages::replicator::{FetchBlob, FetchError, FetchedBlob};
use bytecave_messages::store::{BlobStored, StoreChanged};
use bytecave_messages::swarm::{
    InboundHaveList, InboundReplica, InboundRetrieve, InboundStore, SwarmChanged, SwarmSnapshot,
};

use crate::facts::Facts;
use crate::fetch::{Fetcher, Patience};
use crate::have_list::Lister;
use crate::options::ReplicatorOptions;
use crate::outbox::Outbox;
use crate::policy::{self, StorePolicy};
use crate::receive::{Receiver, now_ms};
use crate::serve;

/// How often the outbox is looked at: many stores share one batch, and a family that was written to
/// is not written to again for the sake of its outbox alone.
const OUTBOX_INTERVAL: Duration = Duration::from_secs(30);
const DISABLED: &str = "P2P_ENABLED is false";

/// The shell.
#[derive(Debug)]
pub struct ReplicatorActor {
    enabled: bool,
    store: StorePort,
    swarm: SwarmPort,
    listeners: Vec<Recipient<PartChanged>>,
    watch: DeathWatch,
    facts: Facts,
    /// The latest of the network; none while networking is off.
    network: Option<Arc<SwarmSnapshot>>,
    receiver: Receiver,
    lister: Lister,
    fetcher: Fetcher,
    outbox: Outbox,
}

impl ReplicatorActor {
    /// A shell that answers what peers ask and gets what they have.
    pub fn new(options: ReplicatorOptions) -> Self {
        let ReplicatorOptions {
            settings,
            has_registry,
            store,
            swarm,
            listeners,
            watch,
        } = options;
        let facts = Facts::default();
        let patience = Patience::of(settings.request_timeout.as_duration());
        Self {
            enabled: settings.enabled,
            listeners,
            watch,
            network: None,
            receiver: Receiver {
                store: store.clone(),
                facts: facts.clone(),
                admission: policy::admission(&settings, has_registry),
                policy: StorePolicy::new(&settings),
                now_ms,
            },
            lister: Lister::new(store.clone(), facts.clone()),
            fetcher: Fetcher::new(store.clone(), swarm.clone(), facts.clone(), patience),
            outbox: Outbox::default(),
            facts,
            store,
            swarm,
        }
    }

    fn advance(&mut self, context: &mut Context<Self>) {
        if let Some(round) = self.outbox.round(&self.store) {
            let round = round.into_actor(self);
            context.spawn(round.map(|round, actor, _| actor.outbox.end(round)));
        }
    }

    fn tell(&self, state: PartState) {
        let actor = ActorName::Replicator;
        notify(&self.listeners, &PartChanged { actor, state });
    }

    /// Tells the network who may send replicas, and the operator if that is nobody.
    fn admit(&self) {
        let admission = self.receiver.admission.clone();
        policy::log(&admission);
        let swarm = self.swarm.clone();
        tokio::spawn(async move {
            if let Err(error) = swarm.set_admission(admission).await {
                tracing::warn!(%error, "the network was not told who may send replicas");
            }
        });
    }
}

impl Actor for ReplicatorActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        if self.enabled {
            self.admit();
            self.tell(PartState::Ready);
        } else {
            let reason = DISABLED.to_owned();
            self.tell(PartState::Disabled { reason });
        }
        // What a crash left in the outbox has no nudge.
        let store = self.store.clone();
        let left = async move { store.outbox_shards().await };
        context.spawn(left.into_actor(self).map(|shards, actor, _| match shards {
            Ok(shards) => actor.outbox.nudge(shards),
            Err(error) => tracing::warn!(%error, "outbox not read; its next entry brings it back"),
        }));
        context.run_interval(OUTBOX_INTERVAL, Self::advance);
    }
}

/// A handler that leaves the work to a task, which the message's permit counts.
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

impl Handler<FetchBlob> for ReplicatorActor {
    type Result = ResponseFuture<Result<FetchedBlob, FetchError>>;

    fn handle(&mut self, wanted: FetchBlob, _: &mut Self::Context) -> Self::Result {
        let (fetcher, network) = (self.fetcher.clone(), self.network.clone());
        Box::pin(fetcher.fetch(wanted, network))
    }
}

impl Handler<BlobStored> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, BlobStored { shard }: BlobStored, _: &mut Self::Context) {
        self.outbox.nudge([shard]);
    }
}

impl Handler<StoreChanged> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, StoreChanged(snapshot): StoreChanged, _: &mut Self::Context) {
        self.facts.set(&snapshot);
    }
}

impl Handler<SwarmChanged> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, SwarmChanged(snapshot): SwarmChanged, _: &mut Self::Context) {
        self.network = Some(snapshot);
    }
}

impl Handler<Stop> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        self.watch.disarm();
        context.stop();
    }
}

#[cfg(test)]
mod tests;
