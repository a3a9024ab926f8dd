//! The outbox: with nobody to copy to, its cursors advance past whatever was stored; reconciliation
//! covers that once copies are made.

use std::collections::BTreeSet;

use bytecave_core::ShardId;
use bytecave_messages::ports::StorePort;
use bytecave_messages::store::StoreError;

/// Shards whose outbox has to be looked at.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    /// Those that grew since they were last looked at; at most one entry a shard.
    nudged: BTreeSet<ShardId>,
    /// Whether a round is under way: a slow store gets no second one on top.
    advancing: bool,
}

/// What became of a round.
pub(crate) struct Round {
    shards: BTreeSet<ShardId>,
    advanced: Result<(), StoreError>,
}

impl Outbox {
    /// The outbox of these shards grew.
    pub(crate) fn nudge(&mut self, shards: impl IntoIterator<Item = ShardId>) {
        self.nudged.extend(shards);
    }

    /// A round that moves the cursor of each nudged shard to its end, if there is something to do.
    pub(crate) fn round(
        &mut self,
        store: &StorePort,
    ) -> Option<impl Future<Output = Round> + use<>> {
        if self.advancing || self.nudged.is_empty() {
            return None;
        }
        self.advancing = true;
        let shards = std::mem::take(&mut self.nudged);
        let store = store.clone();
        Some(async move {
            let through = shards.iter().map(|shard| (*shard, u64::MAX)).collect();
            let advanced = store.advance_outbox(through).await;
            Round { shards, advanced }
        })
    }

    /// A round is over; what was not advanced waits for the next.
    pub(crate) fn end(&mut self, round: Round) {
        self.advancing = false;
        if let Err(error) = round.advanced {
            tracing::debug!(%error, "outbox not advanced, next round tries again");
            self.nudged.extend(round.shards);
        }
    }
}
