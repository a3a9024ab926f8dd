//! The actor's shell: it starts a task for each request and hears how store and network are.

mod answers;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, ResponseFuture};
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState, Stop};
use bytecave_messages::ports::{ReplicatorEvents, StorePort, SwarmPort, notify};
use bytecave_messages::replicator::ReplicatorChanged;
use bytecave_messages::store::{BlobStored, StoreChanged};
use bytecave_messages::swarm::SwarmChanged;

use crate::audits::Audits;
use crate::conduct::Conduct;
use crate::facts::Facts;
use crate::fetch::{Fetcher, Patience};
use crate::have_list::Lister;
use crate::holders::{Holders, Rules};
use crate::options::ReplicatorOptions;
use crate::outbox::Outbox;
use crate::place::Placer;
use crate::policy::{self, StorePolicy};
use crate::receive::{Receiver, Strangers, now_ms};
use crate::reconcile::{Reconciler, ReconcilerParts};

/// Time between two looks at who holds what, and at how copies are.
const OBSERVE_EVERY: Duration = Duration::from_secs(1);
const DISABLED: &str = "P2P_ENABLED is false";

/// The shell.
#[derive(Debug)]
pub struct ReplicatorActor {
    enabled: bool,
    store: StorePort,
    swarm: SwarmPort,
    events: ReplicatorEvents,
    watch: DeathWatch,
    conduct: Conduct,
    facts: Facts,
    holders: Holders,
    receiver: Receiver,
    lister: Lister,
    fetcher: Fetcher,
    placer: Placer,
    outbox: Outbox,
    reconciler: Reconciler,
}

impl ReplicatorActor {
    /// A shell that keeps copies where they belong.
    pub fn new(options: ReplicatorOptions) -> Self {
        let ReplicatorOptions {
            me,
            p2p,
            replication,
            has_registry,
            state_file,
            store,
            swarm,
            events,
            watch,
        } = options;
        let facts = Facts::default();
        let conduct = Conduct::new(now_ms);
        let rules = Rules {
            me,
            factor: usize::try_from(replication.factor).unwrap_or(usize::MAX),
            probation: replication.probation,
            holder_timeout: replication.holder_timeout.as_duration(),
            goodbye_timeout: replication.goodbye_timeout.as_duration(),
            now_ms,
        };
        let audits = Audits::new(events.possession.clone());
        let holders = Holders::new(rules, facts.clone(), audits);
        let patience = Patience::of(p2p.request_timeout.as_duration());
        let strangers = Strangers::new(replication.stranger_quota.get());
        let placer = Placer::new(
            store.clone(),
            swarm.clone(),
            holders.clone(),
            conduct.clone(),
        );
        let reconciler = Reconciler::new(ReconcilerParts {
            settings: replication,
            state_file,
            admission: policy::admission(&p2p, has_registry),
            store: store.clone(),
            swarm: swarm.clone(),
            facts: facts.clone(),
            holders: holders.clone(),
            conduct: conduct.clone(),
        });
        Self {
            enabled: p2p.enabled,
            receiver: Receiver {
                store: store.clone(),
                placer: placer.clone(),
                facts: facts.clone(),
                admission: policy::admission(&p2p, has_registry),
                policy: StorePolicy::new(&p2p),
                holders: holders.clone(),
                conduct: conduct.clone(),
                strangers,
                now_ms,
            },
            lister: Lister::new(store.clone(), facts.clone()),
            fetcher: Fetcher::new(
                store.clone(),
                swarm.clone(),
                facts.clone(),
                holders.clone(),
                conduct.clone(),
                patience,
            ),
            outbox: Outbox::new(store.clone(), placer.clone()),
            placer,
            reconciler,
            conduct,
            facts,
            holders,
            store,
            swarm,
            events,
            watch,
        }
    }

    /// Follows the clock, and tells how copies are.
    fn observe(&mut self, _: &mut Context<Self>) {
        self.holders.refresh();
        let snapshot = self.reconciler.snapshot(self.outbox.waiting());
        notify(&self.events.changed, &ReplicatorChanged(Arc::new(snapshot)));
    }

    fn tell(&self, state: PartState) {
        let actor = ActorName::Replicator;
        notify(&self.events.part, &PartChanged { actor, state });
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
        self.outbox.start(self.enabled);
        if self.enabled {
            self.reconciler.start();
        }
        context.run_interval(OBSERVE_EVERY, Self::observe);
    }
}

impl Handler<BlobStored> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, BlobStored { shard }: BlobStored, _: &mut Self::Context) {
        self.outbox.nudge(shard);
    }
}

impl Handler<StoreChanged> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, StoreChanged(snapshot): StoreChanged, _: &mut Self::Context) {
        if self.facts.set(&snapshot) {
            self.holders.refresh();
        }
    }
}

impl Handler<SwarmChanged> for ReplicatorActor {
    type Result = ();

    fn handle(&mut self, SwarmChanged(snapshot): SwarmChanged, _: &mut Self::Context) {
        self.holders.set_network(snapshot);
    }
}

impl Handler<Stop> for ReplicatorActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, context: &mut Self::Context) -> Self::Result {
        self.watch.disarm();
        context.stop();
        self.outbox.stop();
        Box::pin(self.reconciler.clone().stop())
    }
}

#[cfg(test)]
mod tests;
