//! What stands here that other nodes hold, for an operator who hands it over.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use bytecave_core::{PeerId, ShardId};
use bytecave_messages::replicator::{MoveHolder, PlanError, ShardMove, ShardPlan};
use bytecave_messages::store::ShardCounters;

use super::shared::{Shared, is_live};
use crate::facts::StoreFacts;
use crate::placement::{Holder, Placement};

/// The plan at this moment.
pub(super) fn plan(shared: &Shared) -> Result<ShardPlan, PlanError> {
    let scene = Scene::of(shared)?;
    let shards = scene.shards();
    Ok(ShardPlan {
        factor: shared.parts.settings.factor,
        hold: shared.parts.settings.hold.as_duration().as_secs(),
        shards: shards.map(|shard| scene.shard(shard)).collect(),
    })
}

/// Hands these shards over from now on, all of them or none.
pub(super) async fn apply(shared: &Shared, shards: &[ShardId]) -> Result<ShardPlan, PlanError> {
    let new: Vec<_> = {
        let scene = Scene::of(shared)?;
        let planned: BTreeSet<_> = scene.shards().collect();
        if let Some(shard) = shards.iter().find(|shard| !planned.contains(shard)) {
            return Err(PlanError::NotInPlan { shard: *shard });
        }
        let new = shards.iter().copied();
        new.filter(|shard| !shared.handover.is_applied(*shard))
            .collect()
    };
    shared.handover.apply(&new);
    if !shared.save().await {
        shared.handover.withdraw(&new);
        return Err(PlanError::NotWritten);
    }
    plan(shared)
}

struct Scene<'a> {
    shared: &'a Shared,
    me: PeerId,
    facts: Arc<StoreFacts>,
    placement: Arc<Placement>,
    live: HashSet<PeerId>,
}

impl<'a> Scene<'a> {
    fn of(shared: &'a Shared) -> Result<Self, PlanError> {
        let holders = &shared.parts.holders;
        let facts = shared.parts.facts.get();
        let found = (facts, holders.placement(), holders.network());
        let (Some(facts), Some(placement), Some(network)) = found else {
            return Err(PlanError::NotYet);
        };
        if !shared.is_started() {
            return Err(PlanError::NotYet);
        }
        let live = network.peers.iter().filter(|peer| is_live(peer));
        Ok(Self {
            shared,
            me: shared.me(),
            facts,
            placement,
            live: live.map(|peer| peer.peer_id).collect(),
        })
    }

    /// Those with blobs here, or that were ordered, and that this node does not hold; ascending.
    fn shards(&self) -> impl Iterator<Item = ShardId> {
        let with_blobs = self.facts.shards.iter().filter(|it| it.blobs > 0);
        let with_blobs = with_blobs.map(|counters| counters.shard);
        let all: BTreeSet<_> = with_blobs.chain(self.shared.handover.applied()).collect();
        all.into_iter()
            .filter(|shard| !self.placement.holds(&self.me, *shard))
    }

    fn counters(&self, shard: ShardId) -> Option<&ShardCounters> {
        let counters = &self.facts.shards;
        let at = counters.binary_search_by_key(&shard, |it| it.shard);
        counters.get(at.ok()?)
    }

    fn shard(&self, shard: ShardId) -> ShardMove {
        let counters = self.counters(shard);
        let holders = self.placement.holders(shard);
        let views: Vec<_> = {
            let board = self.shared.board();
            let view = |holder: &Holder| MoveHolder {
                peer_id: holder.peer,
                live: self.live.contains(&holder.peer),
                accepting: holder.accepting,
                given: board.was_offered(shard, &holder.peer),
            };
            holders.iter().map(view).collect()
        };
        let many = |those: fn(&&MoveHolder) -> bool| {
            let found = views.iter().filter(those).count();
            u32::try_from(found).unwrap_or(u32::MAX)
        };
        let progress = self.shared.handover.progress(shard);
        let (live, given) = (many(|it| it.live), many(|it| it.given));
        let blobs = counters.map_or(0, |counters| counters.blobs);
        let owned = self.facts.owned().is_some_and(|it| it.contains(shard));
        let waiting = (blobs > 0).then(|| self.waiting(shard, owned, blobs, &holders, &views));
        ShardMove {
            shard,
            owned,
            applied: progress.applied,
            blobs,
            bytes: counters.map_or(0, |counters| counters.bytes),
            holders: views,
            live,
            given,
            proved: progress.proved,
            retired: progress.retired,
            pinned: progress.pinned,
            waiting,
        }
    }

    /// What is wanting: what is most to the point.
    fn waiting(
        &self,
        shard: ShardId,
        owned: bool,
        blobs: u64,
        holders: &[Holder],
        views: &[MoveHolder],
    ) -> String {
        let factor = self.placement.factor();
        if holders.is_empty() {
            return "no other node keeps this shard".to_owned();
        }
        if holders.len() < factor {
            let nodes = holders.len();
            return format!("{nodes} other nodes keep this shard, and {factor} have to");
        }
        if let Some(unproved) = holders.iter().find(|holder| holder.unproved) {
            return format!("peer {} did not prove what it holds", unproved.peer);
        }
        if let Some(away) = views.iter().find(|holder| !holder.live) {
            return format!("holder {} is not live", away.peer_id);
        }
        let lacks = |holder: &&MoveHolder| holder.accepting && !holder.given;
        if let Some(lacking) = views.iter().find(lacks) {
            return format!("holder {} has not yet all that is here", lacking.peer_id);
        }
        let progress = self.shared.handover.progress(shard);
        if !owned && !progress.applied {
            return "its holders have it; it is kept here until it is ordered to hand it over"
                .to_owned();
        }
        if progress.pinned >= blobs {
            return format!("{blobs} pinned blobs stay here");
        }
        if self.shared.handover.is_left_alone(shard) {
            return "other nodes brought blobs of it here, and may count on this node for a while"
                .to_owned();
        }
        "its holders are asked to prove what they have".to_owned()
    }
}
