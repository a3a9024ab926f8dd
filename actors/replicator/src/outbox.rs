//! The outbox: what was stored here and is yet to be brought to the other holders.
//!
//! The store writes an entry with each blob that a client brings, so nothing is forgotten by a crash; a
//! nudge only says where to look. Entries of many shards and blobs are dealt with at once, and the
//! store's cursors follow in batches: what a crash brings back is offered once more, and the holders
//! have it already.

mod queue;
mod verdict;
mod worker;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytecave_core::ShardId;
use bytecave_messages::ports::StorePort;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::place::Placer;
use worker::Worker;

/// Works through the outbox of the store.
#[derive(Debug)]
pub(crate) struct Outbox {
    store: StorePort,
    placer: Placer,
    shared: Arc<Shared>,
    task: Option<AbortHandle>,
}

/// What the shell and the task share.
#[derive(Debug, Default)]
struct Shared {
    /// Shards whose outbox grew: no more than there are.
    grown: Mutex<BTreeSet<ShardId>>,
    nudged: Notify,
    waiting: AtomicU64,
}

impl Outbox {
    pub(crate) fn new(store: StorePort, placer: Placer) -> Self {
        Self {
            store,
            placer,
            shared: Arc::default(),
            task: None,
        }
    }

    /// Starts with what a crash may have left. Without a network there is nobody to bring anything
    /// to, and the cursors follow.
    pub(crate) fn start(&mut self, networked: bool) {
        let (store, placer) = (self.store.clone(), self.placer.clone());
        let worker = Worker::new(store, placer, Arc::clone(&self.shared), networked);
        self.task = Some(tokio::spawn(worker.run()).abort_handle());
    }

    /// The outbox of this shard grew.
    pub(crate) fn nudge(&mut self, shard: ShardId) {
        self.shared.lock().insert(shard);
        self.shared.nudged.notify_one();
    }

    /// Entries that are not dealt with, as far as is known.
    pub(crate) fn waiting(&self) -> u64 {
        self.shared.waiting.load(Ordering::Relaxed)
    }

    /// Lets go; what is not dealt with stands in the store.
    pub(crate) fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

impl Drop for Outbox {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn take_grown(&self) -> BTreeSet<ShardId> {
        std::mem::take(&mut *self.lock())
    }

    async fn grown(&self) {
        self.nudged.notified().await;
    }

    fn set_waiting(&self, entries: usize) {
        let entries = u64::try_from(entries).unwrap_or(u64::MAX);
        self.waiting.store(entries, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<ShardId>> {
        self.grown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
