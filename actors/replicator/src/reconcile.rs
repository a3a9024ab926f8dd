//! Comparing what this node has with what the other holders of its shards have, and fetching what is
//! wanting here.

mod ranges;

use std::path::PathBuf;

use bytecave_config::Replication;
use bytecave_messages::ports::{StorePort, SwarmPort};
use bytecave_messages::replicator::ReplicatorSnapshot;
use bytecave_messages::swarm::InboundSync;

use crate::conduct::Conduct;
use crate::facts::Facts;
use crate::holders::Holders;

/// What a reconciler is made of.
#[derive(Debug)]
pub(crate) struct ReconcilerParts {
    pub(crate) settings: Replication,
    pub(crate) state_file: PathBuf,
    pub(crate) store: StorePort,
    pub(crate) swarm: SwarmPort,
    pub(crate) facts: Facts,
    pub(crate) holders: Holders,
    pub(crate) conduct: Conduct,
}

/// Reconciles. Clones share what is under way.
#[derive(Debug, Clone)]
pub(crate) struct Reconciler(std::sync::Arc<ReconcilerParts>);

impl Reconciler {
    pub(crate) fn new(parts: ReconcilerParts) -> Self {
        Self(std::sync::Arc::new(parts))
    }

    /// Begins the rounds.
    pub(crate) fn start(&self) {}

    /// Answers a peer that compares.
    pub(crate) async fn answer(self, _asked: InboundSync) {}

    /// How copies are.
    pub(crate) fn snapshot(&self, outbox: u64) -> ReplicatorSnapshot {
        ReplicatorSnapshot {
            factor: self.0.settings.factor,
            outbox,
            repairs_waiting: 0,
            repairs_running: 0,
            shards: Vec::new(),
            peers: Vec::new(),
            counters: Vec::new(),
        }
    }

    /// Ends the rounds and writes down what is to survive.
    pub(crate) async fn stop(self) {}
}
