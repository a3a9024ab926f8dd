//! Which shards are handed over, and how far that is: what the trimmer, the plan and the state file share.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytecave_core::{Digest, ShardId};
use tokio::time::Instant;

/// How far the handing over of shards is.
#[derive(Debug, Default)]
pub(super) struct Handover(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// One for each shard at most.
    shards: BTreeMap<ShardId, Progress>,
    /// Retired, and not yet proved once more: as many as one batch has.
    unconfirmed: BTreeSet<Digest>,
    /// Shards that somebody counts on this node to keep, until then.
    left_alone: HashMap<ShardId, Instant>,
    changed: bool,
}

/// How far one shard is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Progress {
    /// Whether it was ordered.
    pub(super) applied: bool,
    pub(super) proved: u64,
    pub(super) retired: u64,
    /// Blobs that stay, as far as was seen.
    pub(super) pinned: u64,
}

/// What is kept over a restart.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct KeptHandover {
    /// Shards that were ordered, with the blobs that were proved and let go.
    pub(super) applied: Vec<(ShardId, u64, u64)>,
    /// What a restart is to restore.
    pub(super) unconfirmed: Vec<Digest>,
}

impl Handover {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// These are ordered.
    pub(super) fn apply(&self, shards: &[ShardId]) {
        let mut state = self.lock();
        for shard in shards {
            let progress = state.shards.entry(*shard).or_default();
            if !progress.applied {
                *progress = Progress {
                    applied: true,
                    ..Progress::default()
                };
            }
        }
    }

    /// They are not: it could not be written down.
    pub(super) fn withdraw(&self, shards: &[ShardId]) {
        let mut state = self.lock();
        shards.iter().for_each(|shard| {
            state.shards.remove(shard);
        });
    }

    pub(super) fn is_applied(&self, shard: ShardId) -> bool {
        self.progress(shard).applied
    }

    pub(super) fn progress(&self, shard: ShardId) -> Progress {
        self.lock().shards.get(&shard).copied().unwrap_or_default()
    }

    /// The shards that were ordered.
    pub(super) fn applied(&self) -> Vec<ShardId> {
        let state = self.lock();
        let applied = state.shards.iter().filter(|(_, it)| it.applied);
        applied.map(|(shard, _)| *shard).collect()
    }

    /// So many blobs more were proved.
    pub(super) fn proved(&self, shard: ShardId, blobs: usize) {
        self.change(shard, |progress| progress.proved += number(blobs));
    }

    /// So many more were let go.
    pub(super) fn retired(&self, shard: ShardId, blobs: usize) {
        self.change(shard, |progress| progress.retired += number(blobs));
    }

    /// So many stay.
    pub(super) fn pinned(&self, shard: ShardId, blobs: usize) {
        self.change(shard, |progress| progress.pinned = number(blobs));
    }

    fn change(&self, shard: ShardId, change: impl FnOnce(&mut Progress)) {
        let mut state = self.lock();
        change(state.shards.entry(shard).or_default());
        state.changed = true;
    }

    /// These are about to be retired.
    pub(super) fn begin(&self, digests: impl IntoIterator<Item = Digest>) {
        self.lock().unconfirmed.extend(digests);
    }

    /// These are let go for good, or here.
    pub(super) fn end(&self, digests: impl IntoIterator<Item = Digest>) {
        let mut state = self.lock();
        for digest in digests {
            state.changed |= state.unconfirmed.remove(&digest);
        }
    }

    /// What is between the steps.
    pub(super) fn unconfirmed(&self) -> Vec<Digest> {
        self.lock().unconfirmed.iter().copied().collect()
    }

    /// Somebody counts on this node to keep `shard`: nothing of it is let go until then.
    pub(super) fn leave_alone(&self, shard: ShardId, until: Instant) {
        self.lock().left_alone.insert(shard, until);
    }

    pub(super) fn is_left_alone(&self, shard: ShardId) -> bool {
        let until = self.lock().left_alone.get(&shard).copied();
        until.is_some_and(|until| Instant::now() < until)
    }

    /// Forgets what is of no use any more: shards that this node holds.
    pub(super) fn prune(&self, holds: impl Fn(ShardId) -> bool) {
        let now = Instant::now();
        let mut state = self.lock();
        let before = state.shards.len();
        state.shards.retain(|shard, _| !holds(*shard));
        state.changed |= state.shards.len() < before;
        state.left_alone.retain(|_, until| now < *until);
    }

    /// What is to be kept over a restart.
    pub(super) fn kept(&self) -> KeptHandover {
        let state = self.lock();
        let applied = state.shards.iter().filter(|(_, it)| it.applied);
        KeptHandover {
            applied: applied
                .map(|(shard, it)| (*shard, it.proved, it.retired))
                .collect(),
            unconfirmed: state.unconfirmed.iter().copied().collect(),
        }
    }

    /// Takes over what was kept.
    pub(super) fn restore(&self, kept: KeptHandover) {
        let mut state = self.lock();
        for (shard, proved, retired) in kept.applied {
            let progress = Progress {
                applied: true,
                proved,
                retired,
                pinned: 0,
            };
            state.shards.insert(shard, progress);
        }
        state.unconfirmed.extend(kept.unconfirmed);
    }

    /// Whether anything that is kept is new since the last call.
    pub(super) fn take_changed(&self) -> bool {
        std::mem::take(&mut self.lock().changed)
    }

    /// Writing failed: it is to be tried again.
    pub(super) fn set_changed(&self) {
        self.lock().changed = true;
    }
}

fn number(blobs: usize) -> u64 {
    u64::try_from(blobs).unwrap_or(u64::MAX)
}
