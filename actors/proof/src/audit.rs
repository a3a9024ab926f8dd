//! Audits of the other holders of this node's shards.
//!
//! Some are by lot ([`lots`]): so many a day ([`pace`]), of a shard that this node holds with others, by its
//! bytes ([`lot`]), and of one blob of it that the store draws. Some follow a silence, some are wanted by
//! the replicator ([`asked`], [`wanted`]). All are done alike ([`one`]), a bounded number at a time.
//!
//! What is known to be true of a blob is what stands in this node's store: its size and its root. No challenge
//! leaves before the replicator has heard of it, which then gives nothing of that blob to that peer.
//!
//! At a stop or a crash what is under way is dropped without a verdict.

mod asked;
mod lot;
mod lots;
mod one;
mod pace;
mod wanted;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytecave_core::{BlobCid, PeerId, ShardId};
use bytecave_messages::budget::Budget;
use bytecave_messages::ports::{ProofEvents, StorePort, SwarmPort};
use bytecave_messages::replicator::ReplicatorSnapshot;
use bytecave_messages::store::StoreSnapshot;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};

use crate::chance::Chance;
use crate::counters::Counters;
use crate::ledger::Ledger;
use crate::open::OpenNonces;
use wanted::Wanted;

/// What an auditor is made of.
#[derive(Debug)]
pub(crate) struct AuditorParts {
    pub(crate) open: OpenNonces,
    /// `proof.audits_per_day`
    pub(crate) per_day: u32,
    /// `proof.audit_timeout`
    pub(crate) timeout: Duration,
    /// Of the actor itself.
    pub(crate) budget: Budget,
    pub(crate) store: StorePort,
    pub(crate) swarm: SwarmPort,
    pub(crate) events: ProofEvents,
    pub(crate) ledger: Ledger,
    pub(crate) counters: Arc<Counters>,
    pub(crate) chance: Arc<dyn Chance>,
}

/// Audits. Clones share what is under way.
#[derive(Debug, Clone)]
pub(crate) struct Auditor {
    shared: Arc<Shared>,
    /// What goes on; nothing before the start and after the stop.
    tasks: Arc<Mutex<JoinSet<()>>>,
}

/// What its parts have in common.
struct Shared {
    parts: AuditorParts,
    /// Who holds what, as it was last told.
    replicas: Mutex<Option<Arc<ReplicatorSnapshot>>>,
    /// What is here, as it was last told.
    stored: Mutex<Option<Arc<StoreSnapshot>>>,
    wanted: Mutex<Wanted>,
    /// Something is wanted.
    woken: Notify,
    /// What is being asked: of each peer about a blob once at a time, since the end of one audit ends for the
    /// replicator what it knows of both.
    open: Mutex<HashSet<(PeerId, BlobCid)>>,
}

impl Auditor {
    pub(crate) fn new(parts: AuditorParts) -> Self {
        Self {
            shared: Arc::new(Shared {
                parts,
                replicas: Mutex::default(),
                stored: Mutex::default(),
                wanted: Mutex::default(),
                woken: Notify::new(),
                open: Mutex::default(),
            }),
            tasks: Arc::default(),
        }
    }

    /// Begins: loads what survived, then audits, if there is a network, and writes down what comes of it.
    pub(crate) fn start(&self, networked: bool) {
        let shared = Arc::clone(&self.shared);
        lock(&self.tasks).spawn(run(shared, networked));
    }

    /// Who holds what.
    pub(crate) fn set_replicas(&self, snapshot: Arc<ReplicatorSnapshot>) {
        *lock(&self.shared.replicas) = Some(snapshot);
    }

    /// What is here.
    pub(crate) fn set_stored(&self, snapshot: Arc<StoreSnapshot>) {
        *lock(&self.shared.stored) = Some(snapshot);
    }

    /// The replicator wants to know whether `peer` holds this blob.
    pub(crate) fn want(&self, peer: PeerId, cid: BlobCid) {
        if lock(&self.shared.wanted).push(peer, cid) {
            self.shared.woken.notify_one();
        } else {
            self.shared.parts.counters.skipped.one();
        }
    }

    /// Ends what goes on and writes down what is to survive.
    pub(crate) async fn stop(self) {
        let mut tasks = std::mem::take(&mut *lock(&self.tasks));
        tasks.shutdown().await;
        self.shared.parts.ledger.close().await;
    }
}

/// All that goes on between start and stop.
async fn run(shared: Arc<Shared>, networked: bool) {
    let ledger = shared.parts.ledger.clone();
    ledger.load().await;
    let mut tasks = JoinSet::new();
    tasks.spawn(ledger.keep());
    if networked {
        tasks.spawn(lots::run(Arc::clone(&shared)));
        tasks.spawn(asked::run(shared));
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended {
            tracing::error!(%error, "a part of the audits is dead until the node restarts");
        }
    }
}

impl Shared {
    /// A holder by lot, and the shard to ask it about; nobody while too little is known, or there is nobody.
    fn draw(&self) -> Option<(ShardId, PeerId)> {
        let replicas = lock(&self.replicas).clone()?;
        let stored = lock(&self.stored).clone()?;
        let chance = &*self.parts.chance;
        let drawn = lot::draw(&replicas.shards, &stored.shards, chance);
        drawn
            .inspect_err(|error| tracing::error!(%error, "no audit by lot"))
            .ok()?
    }

    /// When `peer` last had all that this node has of `shard`, milliseconds since 1970.
    fn alike_ms(&self, shard: ShardId, peer: &PeerId) -> Option<u64> {
        let replicas = lock(&self.replicas).clone()?;
        lot::alike_ms(&replicas.shards, shard, peer)
    }

    /// Whether `peer` holds this blob's shard together with this node, as far as is known.
    fn is_holder(&self, peer: &PeerId, cid: &BlobCid) -> bool {
        let replicas = lock(&self.replicas).clone();
        let stored = lock(&self.stored).clone();
        let (Some(replicas), Some(stored)) = (replicas, stored) else {
            return false;
        };
        let shard = stored.shard_count.shard_of(&cid.digest());
        lot::is_holder(&replicas.shards, shard, peer)
    }

    /// A random share, from 0 to 1; in the middle when there is no chance.
    fn share(&self) -> f64 {
        self.parts.chance.share().unwrap_or(0.5)
    }
}

/// An audit ended by itself, or in a panic.
fn joined(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an audit broke off");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Each is changed in one step: a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl fmt::Debug for Shared {
    /// Without the snapshots, which are long.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("parts", &self.parts)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
