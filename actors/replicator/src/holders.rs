//! The members of the network as this node knows them, and who of them holds what.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use bytecave_core::{PeerId, ShardCount, ShardId, ShardSet};
use bytecave_messages::swarm::{ConnectionKind, PeerInfo, PeerView, SwarmSnapshot};

use crate::audits::{Audits, PASSES};
use crate::facts::{Facts, StoreFacts};
use crate::placement::{Member, Placement, Unproved, Weight};

/// Whoever speaks this keeps copies as we do; others are served, and counted by nobody.
pub(crate) const REPLICATE: &str = "/bytecave/replicate/2.0.0";
/// What programs of the first version take copies by.
const REPLICATE_V1: &str = "/bytecave/replicate/1.0.0";
/// A peer that was met later than this is on probation, where there is one, and so is one that did not
/// pass [`PASSES`] audits.
const PROBATION: Duration = Duration::from_hours(24);

/// What makes a peer a member that holds shards.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Rules {
    /// This node.
    pub(crate) me: PeerId,
    /// `replication.factor`
    pub(crate) factor: usize,
    /// `replication.probation`
    pub(crate) probation: bool,
    /// `replication.holder_timeout`
    pub(crate) holder_timeout: Duration,
    /// `replication.goodbye_timeout`
    pub(crate) goodbye_timeout: Duration,
    /// Milliseconds since 1970.
    pub(crate) now_ms: fn() -> u64,
}

/// The latest of the network. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Holders(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    rules: Rules,
    facts: Facts,
    audits: Audits,
    latest: RwLock<Latest>,
    /// Shards of which a blob was stored here that not all holders were brought. At most one entry each.
    owed: Mutex<BTreeSet<ShardId>>,
}

#[derive(Debug, Default)]
struct Latest {
    network: Option<Arc<SwarmSnapshot>>,
    placement: Option<Arc<Placement>>,
}

impl Holders {
    /// Nothing is known of the network yet.
    pub(crate) fn new(rules: Rules, facts: Facts, audits: Audits) -> Self {
        let latest = RwLock::default();
        Self(Arc::new(Inner {
            rules,
            facts,
            audits,
            latest,
            owed: Mutex::default(),
        }))
    }

    /// This node.
    pub(crate) fn me(&self) -> PeerId {
        self.0.rules.me
    }

    /// What audits found of others' copies.
    pub(crate) fn audits(&self) -> &Audits {
        &self.0.audits
    }

    /// A blob of `shard` was stored here, and for now nobody goes on bringing it to all holders: whoever
    /// compares, or hands the shard over, has to see to it.
    pub(crate) fn owe(&self, shard: ShardId) {
        self.owed().insert(shard);
    }

    /// The shards that are owed, from now on by the caller.
    pub(crate) fn take_owed(&self) -> BTreeSet<ShardId> {
        std::mem::take(&mut *self.owed())
    }

    fn owed(&self) -> MutexGuard<'_, BTreeSet<ShardId>> {
        self.0.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The network said how it is.
    pub(crate) fn set_network(&self, network: Arc<SwarmSnapshot>) {
        self.write(|latest| latest.network = Some(network));
        self.refresh();
    }

    /// Works out who holds what, if that may have changed: to be called when network or store said
    /// something, and now and then, since a silent peer is lost by the clock.
    pub(crate) fn refresh(&self) {
        let Some(facts) = self.0.facts.get() else {
            return;
        };
        let rules = &self.0.rules;
        let (count, factor) = (facts.shard_count(), rules.factor);
        let members = members(rules, &facts, &self.0.audits, self.network().as_deref());
        let placement = match self.placement() {
            Some(placement) if placement.is_of(count, factor, &members) => return,
            Some(placement) => placement.followed_by(count, factor, members),
            None => Placement::new(count, factor, members),
        };
        self.write(|latest| latest.placement = Some(Arc::new(placement)));
    }

    /// The latest of the network; none while networking is off.
    pub(crate) fn network(&self) -> Option<Arc<SwarmSnapshot>> {
        let latest = self.0.latest.read();
        latest
            .unwrap_or_else(PoisonError::into_inner)
            .network
            .clone()
    }

    /// Who holds what; none in the first moments of a node.
    pub(crate) fn placement(&self) -> Option<Arc<Placement>> {
        let latest = self.0.latest.read();
        latest
            .unwrap_or_else(PoisonError::into_inner)
            .placement
            .clone()
    }

    /// Connected peers of the first version that may take a copy of a blob of `shard`, the nearest first.
    /// Their copies count for nothing, since nothing is known of how they keep them.
    pub(crate) fn uncounted(&self, shard: ShardId) -> Vec<PeerId> {
        let network = self.network();
        let peers = network.as_ref().map_or(&[][..], |network| &network.peers);
        let mut found: Vec<_> = peers
            .iter()
            .filter(|peer| peer.live && peer.connection == Some(ConnectionKind::Direct))
            .filter(|peer| takes_uncounted(peer.info.as_ref(), shard))
            .map(|peer| (peer.rtt_ms.unwrap_or(u64::MAX), peer.peer_id))
            .collect();
        found.sort_unstable();
        found.into_iter().map(|(_, peer)| peer).collect()
    }

    fn write(&self, change: impl FnOnce(&mut Latest)) {
        let latest = self.0.latest.write();
        change(&mut latest.unwrap_or_else(PoisonError::into_inner));
    }
}

/// This node and the peers that keep copies as it does, by peer id.
fn members(
    rules: &Rules,
    facts: &StoreFacts,
    audits: &Audits,
    network: Option<&SwarmSnapshot>,
) -> Vec<Member> {
    let now_ms = (rules.now_ms)();
    let unproved = audits.unproved(facts.shard_count());
    let is_young = |peer: &PeerView| {
        let met = now_ms.saturating_sub(peer.first_seen_ms);
        u128::from(met) < PROBATION.as_millis() || audits.passed(&peer.peer_id) < PASSES
    };
    let peers = network.map_or(&[][..], |network| &network.peers);
    let mut members: Vec<_> = peers
        .iter()
        .filter(|peer| peer.peer_id != rules.me && !is_lost(rules, peer, now_ms))
        .filter_map(|peer| {
            let info = peer.info.as_ref()?;
            let shards = kept(info, facts.shard_count())?;
            let speaks = info.protocols.iter().any(|name| name == REPLICATE);
            speaks.then_some(Member {
                peer: peer.peer_id,
                weight: Weight::of(info.capacity?),
                shards,
                accepting: info.accepting?,
                on_probation: rules.probation && is_young(peer),
                unproved: unproved.get(&peer.peer_id).cloned().unwrap_or_default(),
            })
        })
        .collect();
    members.extend(facts.owned().map(|owned| Member {
        peer: rules.me,
        weight: Weight::of(facts.quota_bytes),
        shards: owned.clone(),
        accepting: facts.accepting,
        on_probation: false,
        unproved: Unproved::Nowhere,
    }));
    members.sort_unstable_by_key(|member| member.peer);
    members
}

/// Whether a peer takes copies in the form of the first version alone, and does not say that it keeps
/// other shards.
fn takes_uncounted(info: Option<&PeerInfo>, shard: ShardId) -> bool {
    let speaks = |wanted: &str| {
        info.is_some_and(|info| info.protocols.iter().any(|protocol| protocol == wanted))
    };
    let ranges = info.and_then(|info| info.shards.as_ref());
    let shard = u64::from(shard.get());
    let keeps = ranges.is_none_or(|ranges| {
        ranges
            .iter()
            .any(|range| (range.start..=range.end).contains(&shard))
    });
    speaks(REPLICATE_V1) && !speaks(REPLICATE) && keeps
}

/// The shards that a peer says it keeps, if it counts them as we do.
fn kept(info: &PeerInfo, count: ShardCount) -> Option<ShardSet> {
    if info.shard_count? != count {
        return None;
    }
    ShardSet::from_ranges(count, info.shards.as_ref()?).ok()
}

/// Whether a peer was silent for so long that others take its place.
fn is_lost(rules: &Rules, peer: &PeerView, now_ms: u64) -> bool {
    if peer.connection.is_some() {
        return false;
    }
    let since = |ms: u64| Duration::from_millis(now_ms.saturating_sub(ms));
    let left = peer.left_ms.map(since);
    left.is_some_and(|left| left >= rules.goodbye_timeout)
        || since(peer.last_seen_ms) >= rules.holder_timeout
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU64, Ordering};

    use bytecave_messages::proof::Outcome;
    use bytecave_messages::store::StoreCondition;

    use super::*;
    use crate::audits::tests::record;
    use crate::fakes::{ME, count, keeper, network, peer, snapshot, view};

    const MINUTE: u64 = 60_000;
    const START: u64 = 1_000_000 * MINUTE;

    static NOW_MS: AtomicU64 = AtomicU64::new(START);

    fn holders(now_ms: fn() -> u64) -> Holders {
        let rules = Rules {
            me: peer(ME),
            factor: 3,
            probation: true,
            holder_timeout: Duration::from_mins(15),
            goodbye_timeout: Duration::from_mins(5),
            now_ms,
        };
        Holders::new(rules, Facts::default(), Audits::new(Vec::new()))
    }

    fn say(holders: &Holders, condition: StoreCondition) {
        holders.0.facts.set(&snapshot(0, condition));
        holders.refresh();
    }

    fn members(holders: &Holders) -> Vec<PeerId> {
        let placement = holders.placement().unwrap();
        placement
            .members()
            .iter()
            .map(|member| member.peer)
            .collect()
    }

    fn sorted(numbers: &[u8]) -> Vec<PeerId> {
        let mut peers: Vec<_> = numbers.iter().map(|number| peer(*number)).collect();
        peers.sort_unstable();
        peers
    }

    #[test]
    fn a_member_speaks_the_protocol_counts_alike_and_says_all_of_itself() {
        let holders = holders(|| START);
        let changed = |number: u8, change: fn(&mut PeerInfo)| {
            let mut view = keeper(number);
            change(view.info.as_mut().unwrap());
            view
        };
        let reversed = |info: &mut PeerInfo| {
            let range = info.shards.as_mut().unwrap();
            (range[0].start, range[0].end) = (3, 2);
        };
        let mut silent = keeper(9);
        silent.info = None;
        let peers = vec![
            keeper(1),
            view(2),
            changed(3, |info| info.protocols.retain(|name| name != REPLICATE)),
            changed(4, |info| info.shard_count = ShardCount::new(32).ok()),
            changed(5, |info| info.capacity = None),
            changed(6, |info| info.accepting = None),
            changed(7, reversed),
            changed(8, |info| info.shard_count = None),
            silent,
            keeper(ME),
        ];
        holders.set_network(Arc::new(network(peers)));
        assert!(
            holders.placement().is_none(),
            "the store has not said what it keeps"
        );
        say(&holders, StoreCondition::Writable);
        assert_eq!(members(&holders), sorted(&[1, ME]));
        let before = holders.placement().unwrap();
        holders.refresh();
        assert!(Arc::ptr_eq(&before, &holders.placement().unwrap()));
        say(&holders, StoreCondition::Full);
        let shard = count().shard(0).unwrap();
        let known = holders.placement().unwrap().holders(shard);
        let own = known.iter().find(|holder| holder.peer == peer(ME)).unwrap();
        assert!(!own.accepting && !own.counted);
    }

    #[test]
    fn whoever_is_silent_or_says_goodbye_is_lost_in_time_and_the_young_are_on_probation() {
        let holders = holders(|| NOW_MS.load(Ordering::Relaxed));
        let mut gone = keeper(1);
        (gone.connection, gone.last_seen_ms) = (None, START);
        let mut left = keeper(2);
        (left.connection, left.last_seen_ms) = (None, START);
        left.left_ms = Some(START);
        let mut young = keeper(3);
        young.first_seen_ms = START;
        let pass = |number: u8, times: u64| {
            let cid = bytecave_core::BlobCid::of(b"content");
            let passed = Arc::new(record(number, cid, Outcome::Passed, START));
            for _ in 0..times {
                holders.audits().finished(&passed, true, START);
            }
        };
        (1..=3).for_each(|number| pass(number, PASSES));
        pass(4, PASSES - 1);
        holders.set_network(Arc::new(network(vec![gone, left, young, keeper(4)])));
        say(&holders, StoreCondition::Writable);
        let at = |minutes: u64| {
            NOW_MS.store(START + minutes * MINUTE, Ordering::Relaxed);
            holders.refresh();
            members(&holders)
        };
        assert_eq!(at(4), sorted(&[1, 2, 3, 4, ME]));
        assert_eq!(at(5), sorted(&[1, 3, 4, ME]));
        assert_eq!(at(14), sorted(&[1, 3, 4, ME]));
        assert_eq!(at(15), sorted(&[3, 4, ME]), "who is connected is not lost");
        let on_probation = || {
            let placement = holders.placement().unwrap();
            let members = placement.members().iter();
            let young = members.filter(|member| member.on_probation);
            young.map(|member| member.peer).collect::<Vec<_>>()
        };
        // First met at an unknown time is long ago.
        assert_eq!(on_probation(), sorted(&[3, 4]));
        at(24 * 60);
        assert_eq!(on_probation(), [peer(4)], "it did not prove enough");
        pass(4, 1);
        at(24 * 60);
        assert_eq!(on_probation(), []);
    }
}
