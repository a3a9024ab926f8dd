//! What operators see of copies. Worked out aside every few seconds, since there may be thousands of
//! shards and the actor asks each second.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytecave_core::{PeerId, ShardId, ShardSet};
use bytecave_messages::replicator::{
    HolderView, PeerConduct, ReplicatorSnapshot, ShardReplication,
};
use tokio::time::Instant;

use super::board::{Board, Compared};
use super::shared::{Shared, is_live};
use crate::facts::StoreFacts;
use crate::placement::{Holder, Placement};

/// Time between two looks.
const EVERY: Duration = Duration::from_secs(3);
/// Shards that are looked at before other tasks have their turn.
const SHARDS_AT_ONCE: usize = 64;
/// A comparison that is older than this many intervals says nothing of today.
const FRESH_INTERVALS: u32 = 2;

/// The latest look.
#[derive(Debug, Default)]
pub(super) struct View {
    made: Option<Instant>,
    /// Of which placement.
    of: Option<Arc<Placement>>,
    shards: Arc<[ShardReplication]>,
    peers: Arc<[PeerConduct]>,
}

/// How copies are.
pub(super) fn snapshot(shared: &Shared, outbox: u64) -> ReplicatorSnapshot {
    if !shared.is_started() {
        // Nobody else looks; without a network there is nobody but this node to look at.
        if let Some(scene) = Scene::of(shared, shared.parts.holders.placement()) {
            let shards = scene.shards();
            let shards = shards.into_iter().map(|shard| scene.shard(shared, shard));
            set(shared, &scene, shards.collect());
        }
    }
    let (waiting, running) = shared.repairs.len();
    let count = |len| u64::try_from(len).unwrap_or(u64::MAX);
    let view = shared.view.lock().unwrap_or_else(PoisonError::into_inner);
    ReplicatorSnapshot {
        factor: shared.parts.settings.factor,
        outbox,
        repairs_waiting: count(waiting),
        repairs_running: count(running),
        shards: Arc::clone(&view.shards),
        peers: Arc::clone(&view.peers),
        counters: shared.tallies.all(),
    }
}

/// Looks again, if it is time to or who holds what has changed.
pub(super) async fn refresh(shared: &Shared) {
    let placement = shared.survey().map(|survey| Arc::clone(&survey.placement));
    let Some(scene) = Scene::of(shared, placement) else {
        return;
    };
    let shards = scene.shards();
    let mut views = Vec::with_capacity(shards.len());
    for shards in shards.chunks(SHARDS_AT_ONCE) {
        views.extend(shards.iter().map(|shard| scene.shard(shared, *shard)));
        tokio::task::yield_now().await;
    }
    set(shared, &scene, views);
}

fn set(shared: &Shared, scene: &Scene, shards: Vec<ShardReplication>) {
    let conduct = &shared.parts.conduct;
    let peers = conduct
        .all()
        .into_iter()
        .map(|(peer_id, score)| PeerConduct {
            peer_id,
            score,
            blocked: conduct.is_blocked(&peer_id),
        });
    let peers = peers.collect();
    let mut view = shared.view.lock().unwrap_or_else(PoisonError::into_inner);
    *view = View {
        made: Some(Instant::now()),
        of: Some(Arc::clone(&scene.placement)),
        shards: shards.into(),
        peers,
    };
}

/// What is looked at.
struct Scene {
    me: PeerId,
    factor: u32,
    placement: Arc<Placement>,
    facts: Arc<StoreFacts>,
    /// Whether each peer is live, and when it was heard last.
    seen: HashMap<PeerId, (bool, u64)>,
    fetching: HashMap<ShardId, u64>,
    /// Who failed how many audits of blobs of each shard.
    failed: HashMap<ShardId, Vec<(PeerId, usize)>>,
    now_ms: u64,
    /// Comparisons count for so long.
    fresh_ms: u64,
}

impl Scene {
    /// None if there is nothing to look at yet, or the last look was a moment ago.
    fn of(shared: &Shared, placement: Option<Arc<Placement>>) -> Option<Self> {
        let placement = placement?;
        {
            let view = shared.view.lock().unwrap_or_else(PoisonError::into_inner);
            let same = view
                .of
                .as_ref()
                .is_some_and(|of| Arc::ptr_eq(of, &placement));
            if same && view.made.is_some_and(|made| made.elapsed() < EVERY) {
                return None;
            }
        }
        let network = shared.parts.holders.network();
        let peers = network.iter().flat_map(|network| &network.peers);
        let fresh = shared.interval() * FRESH_INTERVALS;
        let facts = shared.parts.facts.get()?;
        Some(Self {
            me: shared.me(),
            factor: shared.parts.settings.factor,
            placement,
            seen: peers
                .map(|peer| (peer.peer_id, (is_live(peer), peer.last_seen_ms)))
                .collect(),
            fetching: shared.repairs.by_shard(),
            failed: shared.audits().failed(facts.shard_count()),
            facts,
            now_ms: shared.now_ms(),
            fresh_ms: u64::try_from(fresh.as_millis()).unwrap_or(u64::MAX),
        })
    }

    /// The shards that this node keeps or has blobs of, ascending.
    fn shards(&self) -> Vec<ShardId> {
        let owned = self.facts.owned().into_iter().flat_map(ShardSet::iter);
        let kept = self.facts.shards.iter();
        let kept = kept.filter(|counters| counters.blobs > 0);
        let all: BTreeSet<_> = owned.chain(kept.map(|counters| counters.shard)).collect();
        all.into_iter().collect()
    }

    fn shard(&self, shared: &Shared, shard: ShardId) -> ShardReplication {
        let board = shared.board();
        let holders = self.placement.holders(shard);
        let counters = &self.facts.shards;
        let found = counters.binary_search_by_key(&shard, |counters| counters.shard);
        let here = found.ok().and_then(|at| counters.get(at));
        let blobs = here.map_or(0, |counters| counters.blobs);
        let holds = holders.iter().any(|holder| holder.peer == self.me);
        let keeps = blobs > 0 || holds;
        let others = holders.iter().filter(|holder| holder.peer != self.me);
        let copies = others.filter(|holder| {
            if !keeps {
                false
            } else if holds {
                self.has_copy(&board, shard, holder)
            } else {
                self.has_all(&board, shard, holder)
            }
        });
        let copies = copies.count();
        let live = u32::try_from(copies + usize::from(keeps)).unwrap_or(u32::MAX);
        // Of a shard that others hold, and of which nothing is here, this node has nothing to say.
        let missing = if keeps {
            self.factor.saturating_sub(live)
        } else {
            0
        };
        let reason = (missing > 0).then(|| self.reason(shared, &board, shard, &holders));
        ShardReplication {
            shard,
            blobs,
            holders: holders
                .iter()
                .map(|holder| self.holder(&board, shard, holder))
                .collect(),
            live,
            missing,
            reason,
        }
    }

    fn holder(&self, board: &Board, shard: ShardId, holder: &Holder) -> HolderView {
        let here = holder.peer == self.me;
        let compared = board.compared(&holder.peer, shard);
        HolderView {
            peer_id: holder.peer,
            here,
            accepting: holder.accepting,
            live: here || self.is_live(&holder.peer),
            alike_ms: compared.and_then(|compared| compared.alike_ms),
            differing: compared.map(|compared| compared.differing),
        }
    }

    fn is_live(&self, peer: &PeerId) -> bool {
        self.seen.get(peer).is_some_and(|(live, _)| *live)
    }

    /// Whether another holder has what is here, by the last comparison. One on probation beside another
    /// does not count, nor one that did not prove a blob.
    fn has_copy(&self, board: &Board, shard: ShardId, holder: &Holder) -> bool {
        let counts = holder.counted || !holder.on_probation && !holder.unproved;
        let compared = board.compared(&holder.peer, shard);
        counts && self.is_live(&holder.peer) && compared.is_some_and(|it| self.is_alike(it))
    }

    /// Whether a holder said that it lacks none of what this node keeps without being one.
    fn has_all(&self, board: &Board, shard: ShardId, holder: &Holder) -> bool {
        let counts = !holder.unproved && self.is_live(&holder.peer);
        counts && board.was_offered(shard, &holder.peer)
    }

    fn is_alike(&self, compared: Compared) -> bool {
        let fresh = |at: u64| self.now_ms.saturating_sub(at) <= self.fresh_ms;
        compared.differing == 0 && compared.alike_ms.is_some_and(fresh)
    }

    /// Why copies are wanting: what is most to the point.
    fn reason(&self, shared: &Shared, board: &Board, shard: ShardId, holders: &[Holder]) -> String {
        let others: Vec<_> = holders
            .iter()
            .filter(|holder| holder.peer != self.me)
            .collect();
        if others.is_empty() {
            return "no other node keeps this shard".to_owned();
        }
        if let Some(unproved) = others.iter().find(|holder| holder.unproved) {
            return self.unproved(shard, &unproved.peer);
        }
        if let Some(lost) = others.iter().find(|holder| !self.is_live(&holder.peer)) {
            let seen_ms = self.seen.get(&lost.peer).map_or(0, |(_, seen_ms)| *seen_ms);
            let unseen = in_words(self.now_ms.saturating_sub(seen_ms));
            return format!("holder {} unseen for {unseen}", lost.peer);
        }
        if let Some(fetching) = self.fetching.get(&shard) {
            return format!("{fetching} blobs are being fetched");
        }
        let conduct = &shared.parts.conduct;
        if let Some(liar) = others.iter().find(|it| conduct.is_blocked(&it.peer)) {
            return format!(
                "holder {} is not asked for a time, for what it did",
                liar.peer
            );
        }
        if others.len() == holders.len()
            && let Some(untold) = others.iter().find(|it| !self.has_all(board, shard, it))
        {
            return format!("holder {} has not yet all that is here", untold.peer);
        }
        let compared = |holder: &&Holder| board.compared(&holder.peer, shard);
        if let Some(new) = others.iter().find(|holder| compared(holder).is_none()) {
            return format!("waiting for the first comparison with holder {}", new.peer);
        }
        let most = others.iter().filter_map(compared).map(|it| it.differing);
        if let Some(differing) = most.max().filter(|differing| *differing > 0) {
            return format!("holders differ by {differing} blobs");
        }
        let old = |it: &Compared| !self.is_alike(*it);
        if others.iter().filter_map(compared).any(|it| old(&it)) {
            return "the last comparison is too long ago".to_owned();
        }
        format!("only {} nodes keep this shard", holders.len())
    }

    /// Why a holder's copies do not count.
    fn unproved(&self, shard: ShardId, peer: &PeerId) -> String {
        let failed = self.failed.get(&shard).into_iter().flatten();
        let mut failed = failed.filter(|(failed, _)| failed == peer);
        match failed.next() {
            Some((_, 1)) => format!("peer {peer} failed an audit of 1 blob"),
            Some((_, blobs)) => format!("peer {peer} failed audits of {blobs} blobs"),
            None => format!("peer {peer} cannot be asked for proof of what it holds"),
        }
    }
}

/// About so long.
fn in_words(ms: u64) -> String {
    match ms / 1000 {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}
