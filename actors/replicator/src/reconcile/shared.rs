//! What the parts of reconciling have in common.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytecave_core::{Fingerprint, PeerId, ShardId, ShardSet};
use bytecave_messages::swarm::{ConnectionKind, PeerView};
use tokio::time::Instant;

use super::ReconcilerParts;
use super::board::Board;
use super::damage::Damage;
use super::handover::Handover;
use super::listings::{Listings, Rates};
use super::repair::Repairs;
use super::schedule::{Schedule, Sharing};
use super::state::{self, Document, StateFile};
use super::tallies::Tallies;
use super::view::View;
use crate::audits::Audits;
use crate::facts::StoreFacts;
use crate::placement::Placement;

/// Shards that are looked at before other tasks have their turn.
const SHARDS_AT_ONCE: usize = 64;

/// What the parts of reconciling have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) parts: ReconcilerParts,
    now_ms: fn() -> u64,
    pub(super) tallies: Tallies,
    pub(super) listings: Listings,
    pub(super) rates: Rates,
    pub(super) repairs: Repairs,
    pub(super) damage: Damage,
    pub(super) handover: Handover,
    /// Peers whose question is being answered.
    pub(super) asking: Mutex<HashSet<PeerId>>,
    board: Mutex<Board>,
    survey: Mutex<Option<Arc<Survey>>>,
    pub(super) view: Mutex<View>,
    file: StateFile,
    /// Held while a document is made and written, so that no older one is written after it.
    saving: tokio::sync::Mutex<()>,
    started: AtomicBool,
    /// Whether the file was read: before that, writing would forget what stands in it.
    loaded: AtomicBool,
}

/// Who holds what together with this node, of one placement.
#[derive(Debug)]
pub(super) struct Survey {
    pub(super) placement: Arc<Placement>,
    /// Shards that each peer holds together with this node.
    pub(super) sharing: Sharing,
}

impl Survey {
    /// Goes through all shards that this node keeps.
    pub(super) async fn of(placement: Arc<Placement>, me: &PeerId, facts: &StoreFacts) -> Self {
        let mut sharing: BTreeMap<PeerId, Vec<ShardId>> = BTreeMap::new();
        let owned = facts.owned().into_iter().flat_map(ShardSet::iter);
        for (at, shard) in owned.enumerate() {
            if at % SHARDS_AT_ONCE == 0 {
                tokio::task::yield_now().await;
            }
            let holders = placement.holders(shard);
            if holders.iter().any(|holder| holder.peer == *me) {
                for holder in holders.iter().filter(|holder| holder.peer != *me) {
                    sharing.entry(holder.peer).or_default().push(shard);
                }
            }
        }
        let sharing = sharing
            .into_iter()
            .map(|(peer, shards)| (peer, shards.into()))
            .collect();
        Self { placement, sharing }
    }
}

impl Shared {
    pub(super) fn new(parts: ReconcilerParts, now_ms: fn() -> u64) -> Self {
        Self {
            now_ms,
            tallies: Tallies::default(),
            listings: Listings::new(parts.store.clone()),
            rates: Rates::new(),
            repairs: Repairs::new(&parts.settings),
            damage: Damage::default(),
            handover: Handover::default(),
            asking: Mutex::default(),
            board: Mutex::default(),
            survey: Mutex::default(),
            view: Mutex::default(),
            file: StateFile::new(parts.state_file.clone()),
            saving: tokio::sync::Mutex::default(),
            started: AtomicBool::new(false),
            loaded: AtomicBool::new(false),
            parts,
        }
    }

    /// Milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        (self.now_ms)()
    }

    /// Time between two comparisons with a peer, on average.
    pub(super) fn interval(&self) -> Duration {
        self.parts.settings.reconcile_interval.as_duration()
    }

    pub(super) fn me(&self) -> PeerId {
        self.parts.holders.me()
    }

    pub(super) fn board(&self) -> MutexGuard<'_, Board> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn set_started(&self) {
        self.started.store(true, Ordering::Release);
    }

    /// Whether rounds go on: somebody keeps the view up to date.
    pub(super) fn is_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    /// The latest survey; none in the first moments.
    pub(super) fn survey(&self) -> Option<Arc<Survey>> {
        let survey = self.survey.lock().unwrap_or_else(PoisonError::into_inner);
        survey.clone()
    }

    pub(super) fn set_survey(&self, survey: Survey) {
        let mut latest = self.survey.lock().unwrap_or_else(PoisonError::into_inner);
        *latest = Some(Arc::new(survey));
    }

    /// What this node has of a shard that it keeps.
    pub(super) fn sum(facts: &StoreFacts, shard: ShardId) -> Option<Fingerprint> {
        let keeps = facts.owned()?.contains(shard);
        let counters = facts.counters(shard);
        keeps.then(|| counters.map_or(Fingerprint::EMPTY, |counters| counters.fingerprint))
    }

    /// Whether this node takes blobs of `shard` from `peer` now: it is one of the holders, or one of the
    /// next, who may be a holder to others that know more of somebody's copies; it has room, and the peer
    /// is admitted and no liar.
    pub(super) fn takes(&self, shard: ShardId, peer: &PeerId) -> bool {
        let (me, placement) = (self.me(), self.parts.holders.placement());
        let accepting = self.parts.facts.get().is_some_and(|facts| facts.accepting);
        let keeps = placement
            .is_some_and(|placement| placement.holds(&me, shard) || placement.is_next(&me, shard));
        accepting && keeps && self.hears(peer)
    }

    /// Whether what `peer` gives is taken at all.
    pub(super) fn hears(&self, peer: &PeerId) -> bool {
        self.parts.admission.admits(peer).is_ok() && !self.parts.conduct.is_blocked(peer)
    }

    /// Whether this node is one of the holders of `shard`.
    pub(super) fn holds(&self, shard: ShardId) -> bool {
        let placement = self.parts.holders.placement();
        placement.is_some_and(|placement| placement.holds(&self.me(), shard))
    }

    /// Whether `peer` is one of the nodes that keep copies.
    pub(super) fn is_member(&self, peer: &PeerId) -> bool {
        let placement = self.parts.holders.placement();
        placement.is_some_and(|placement| {
            let members = placement.members();
            let found = members.binary_search_by_key(peer, |member| member.peer);
            found.is_ok()
        })
    }

    /// Live peers that it makes sense to ask.
    pub(super) fn reachable(&self) -> HashSet<PeerId> {
        let network = self.parts.holders.network();
        let peers = network.iter().flat_map(|network| &network.peers);
        peers
            .filter(|peer| is_live(peer))
            .map(|peer| peer.peer_id)
            .filter(|peer| !self.parts.conduct.is_blocked(peer))
            .collect()
    }

    /// Reads what survived the last run, and says what was due then.
    pub(super) async fn load(&self) -> Schedule {
        let document = self.file.load().await;
        let (now_ms, now) = (self.now_ms(), Instant::now());
        let interval_ms = u64::try_from(self.interval().as_millis()).unwrap_or(u64::MAX);
        let Document {
            board,
            scores,
            audits,
            handover,
        } = document;
        let due = |compared_ms: u64| {
            // A clock that was set back puts nothing off for longer than an interval.
            let passed_ms = now_ms.saturating_sub(compared_ms);
            now + Duration::from_millis(interval_ms.saturating_sub(passed_ms))
        };
        let resumed: HashMap<_, _> = board
            .peers
            .iter()
            .map(|(peer, record)| (*peer, due(record.compared_ms)))
            .collect();
        self.parts.conduct.restore(scores);
        self.audits().restore(audits, now_ms);
        self.handover.restore(handover);
        self.parts.holders.refresh();
        *self.board() = board;
        self.loaded.store(true, Ordering::Release);
        Schedule::resumed(resumed)
    }

    /// Writes down what is to survive, if it was read; whether it stands there now.
    pub(super) async fn save(&self) -> bool {
        if !self.loaded.load(Ordering::Acquire) {
            return false;
        }
        let _alone = self.saving.lock().await;
        let board = {
            let mut board = self.board();
            board.take_changed();
            board.clone()
        };
        self.audits().take_changed();
        self.handover.take_changed();
        let document = Document {
            board,
            scores: self.parts.conduct.all(),
            audits: self.audits().kept(),
            handover: self.handover.kept(),
        };
        let saved = self.file.save(document).await;
        if !saved {
            self.board().set_changed();
            self.audits().set_changed();
            self.handover.set_changed();
        }
        saved
    }

    /// What audits found of others' copies.
    pub(super) fn audits(&self) -> &Audits {
        self.parts.holders.audits()
    }

    /// How peers behaved, in steps that are worth writing down.
    pub(super) fn conduct_steps(&self) -> Vec<(PeerId, i64)> {
        let all = self.parts.conduct.all().into_iter();
        all.map(|(peer, score)| (peer, state::step(score)))
            .collect()
    }
}

/// Whether a peer was heard of late, or is connected.
pub(super) fn is_live(peer: &PeerView) -> bool {
    peer.live || peer.connection == Some(ConnectionKind::Direct)
}
