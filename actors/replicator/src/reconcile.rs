//! Comparing what this node has with what the other holders of its shards have, and fetching what is
//! wanting here.
//!
//! Every holder compares with every other from time to time ([`rounds`]): by one hash of all sums at
//! first, then by the sums of the shards, then range by range ([`ranges`]), so that it costs as much
//! as there is that differs. Sums can be forged, so now and then whole lists are compared by keyed
//! hashes ([`keyed`]). Whoever is asked keeps no state between questions ([`answers`]).
//!
//! What is wanting is pulled, never pushed: each holder fetches what it itself lacks, once, a bounded
//! number at a time and at a bounded rate, from those who have it in rotation ([`repair`]). So when
//! a node is lost, the others do not fall over the one that takes its place, and nobody has to be
//! elected to help it. What a peer lacks is only offered to it ([`offers`]). What is damaged here is fetched in the
//! same way ([`damage`]). Copies that are needed no longer are let go when others have proved theirs ([`trim`]).
//!
//! A deletion is its node's own: what was deleted or blocked there counts as present, is neither asked
//! for nor given, and stays so while a peer has it.
//!
//! At a stop or a crash what is under way is dropped and begins anew; what was found out survives in a
//! file ([`state`]) that is at most a minute old.

mod answers;
mod aside;
mod board;
mod chance;
mod compare;
mod damage;
mod exchange;
mod follow;
mod handover;
mod keyed;
mod listings;
mod offers;
mod pace;
mod plan;
mod queue;
mod ranges;
mod repair;
mod rounds;
mod schedule;
mod shared;
mod state;
mod tallies;
mod trim;
mod view;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytecave_config::Replication;
use bytecave_messages::ports::{StorePort, SwarmPort};
use bytecave_messages::replicator::{ApplyShardPlan, PlanError, ReplicatorSnapshot, ShardPlan};
use bytecave_messages::swarm::{Admission, InboundSync};
use tokio::task::JoinSet;

use crate::conduct::Conduct;
use crate::facts::Facts;
use crate::holders::Holders;
use crate::receive::now_ms;
use shared::Shared;

/// What a reconciler is made of.
#[derive(Debug)]
pub(crate) struct ReconcilerParts {
    pub(crate) settings: Replication,
    pub(crate) state_file: PathBuf,
    /// From whom blobs are taken: fetching what a peer offers is taking it.
    pub(crate) admission: Admission,
    pub(crate) store: StorePort,
    pub(crate) swarm: SwarmPort,
    pub(crate) facts: Facts,
    pub(crate) holders: Holders,
    pub(crate) conduct: Conduct,
}

/// Reconciles. Clones share what is under way.
#[derive(Debug, Clone)]
pub(crate) struct Reconciler {
    shared: Arc<Shared>,
    /// What goes on; nothing before the start and after the stop.
    tasks: Arc<Mutex<JoinSet<()>>>,
}

impl Reconciler {
    pub(crate) fn new(parts: ReconcilerParts) -> Self {
        Self::with_clock(parts, now_ms)
    }

    /// By a clock in milliseconds since 1970.
    fn with_clock(parts: ReconcilerParts, now_ms: fn() -> u64) -> Self {
        Self {
            shared: Arc::new(Shared::new(parts, now_ms)),
            tasks: Arc::default(),
        }
    }

    /// Begins the rounds.
    pub(crate) fn start(&self) {
        self.shared.set_started();
        let shared = Arc::clone(&self.shared);
        self.lock_tasks().spawn(run(shared));
    }

    /// Answers a peer that compares.
    pub(crate) async fn answer(self, asked: InboundSync) {
        answers::answer(&self.shared, asked).await;
    }

    /// What stands here that other nodes hold.
    pub(crate) async fn plan(self) -> Result<ShardPlan, PlanError> {
        // Holders of every shard are looked at.
        let plan = aside::blocking(move || plan::plan(&self.shared)).await;
        plan.unwrap_or(Err(PlanError::Unavailable))
    }

    /// Hands shards of the plan over.
    pub(crate) async fn apply(self, order: ApplyShardPlan) -> Result<ShardPlan, PlanError> {
        plan::apply(&self.shared, &order.shards).await
    }

    /// How copies are.
    pub(crate) fn snapshot(&self, outbox: u64) -> ReplicatorSnapshot {
        view::snapshot(&self.shared, outbox)
    }

    /// Ends the rounds and writes down what is to survive.
    pub(crate) async fn stop(self) {
        let mut tasks = std::mem::take(&mut *self.lock_tasks());
        tasks.shutdown().await;
        self.shared.save().await;
    }

    fn lock_tasks(&self) -> std::sync::MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that goes on between start and stop.
async fn run(shared: Arc<Shared>) {
    let schedule = shared.load().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(follow::run(Arc::clone(&shared)));
    tasks.spawn(repair::run(Arc::clone(&shared)));
    tasks.spawn(damage::run(Arc::clone(&shared)));
    tasks.spawn(trim::run(Arc::clone(&shared)));
    tasks.spawn(rounds::run(shared, schedule));
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of reconciling is dead until the node restarts");
        }
    }
}

#[cfg(test)]
mod tests;
