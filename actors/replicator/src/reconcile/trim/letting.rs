//! Letting go of one copy: pure.

use std::collections::BTreeSet;

use bytecave_core::{PeerId, ShardId};

use crate::placement::{Holder, Placement};

/// A copy of this node's that is to be let go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Letting {
    needed: Vec<PeerId>,
    /// Who proved it since the stage began.
    proved: BTreeSet<PeerId>,
    stage: Stage,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It is here and counts.
    Here,
    /// It is on disk, and proves nothing.
    Retired,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// Others are still to answer.
    Wait,
    /// It is to be retired.
    Retire,
    /// It stays retired.
    LetGo,
    /// It is kept: restored, if it was retired.
    Keep,
}

impl Letting {
    /// All of these have to prove it, twice.
    pub(super) fn new(needed: &[PeerId]) -> Self {
        Self {
            needed: needed.to_vec(),
            proved: BTreeSet::new(),
            stage: Stage::Here,
        }
    }

    pub(super) fn needed(&self) -> &[PeerId] {
        &self.needed
    }

    /// It was retired: what was proved before counts for nothing any more.
    pub(super) fn retired(&mut self) {
        self.stage = Stage::Retired;
        self.proved.clear();
    }

    /// An answer to a question that was asked since the stage began.
    pub(super) fn heard(&mut self, peer: &PeerId, proves: bool) -> Next {
        if !proves {
            self.needed.clear();
            return Next::Keep;
        }
        self.proved.insert(*peer);
        if self.needed.is_empty() {
            // Somebody did not prove it.
            return Next::Keep;
        }
        if !self
            .needed
            .iter()
            .all(|needed| self.proved.contains(needed))
        {
            return Next::Wait;
        }
        match self.stage {
            Stage::Here => Next::Retire,
            Stage::Retired => Next::LetGo,
        }
    }
}

/// Those who have to prove what `me` lets go of `shard`: as many holders that rank before it as there shall
/// be copies, all live, none that failed an audit of the shard, one on probation at most; those that take
/// blobs first. None if there are fewer, or if `me` is a holder itself.
pub(super) fn provers(
    placement: &Placement,
    me: &PeerId,
    shard: ShardId,
    is_live: impl Fn(&PeerId) -> bool,
) -> Option<Vec<PeerId>> {
    let factor = placement.factor();
    if placement.holds(me, shard) || factor == 0 {
        return None;
    }
    let mut young = 0;
    let mut fit: Vec<Holder> = placement.ahead_of(me, shard);
    fit.retain(|holder| !holder.unproved && is_live(&holder.peer));
    // The order among those that take blobs, and among the others, stays that of the ranks.
    fit.sort_by_key(|holder| !holder.counted);
    fit.retain(|holder| {
        young += usize::from(holder.on_probation);
        !holder.on_probation || young == 1
    });
    fit.truncate(factor);
    let peers: Vec<_> = fit.into_iter().map(|holder| holder.peer).collect();
    (peers.len() == factor).then_some(peers)
}

#[cfg(test)]
mod tests;
