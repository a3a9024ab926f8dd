//! The outbox: what was stored here and is yet to be brought to the other holders.

use bytecave_core::ShardId;
use bytecave_messages::ports::StorePort;

use crate::place::Placer;

/// Works through the outbox of the store.
#[derive(Debug)]
pub(crate) struct Outbox {
    store: StorePort,
    placer: Placer,
}

impl Outbox {
    pub(crate) fn new(store: StorePort, placer: Placer) -> Self {
        Self { store, placer }
    }

    /// Starts with what a crash may have left. Without a network there is nobody to bring anything
    /// to, and the cursors follow at once.
    pub(crate) fn start(&mut self, _networked: bool) {}

    /// The outbox of this shard grew.
    pub(crate) fn nudge(&mut self, _shard: ShardId) {}

    /// Entries that are not dealt with, as far as is known.
    pub(crate) fn waiting(&self) -> u64 {
        0
    }

    pub(crate) fn stop(&mut self) {}
}
