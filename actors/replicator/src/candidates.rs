//! Which peers to ask for a blob, and in which order: a pure decision.
//!
//! The holders of its shard come first, in their rank: they are the ones that shall have it. Then
//! come others that keep the shard, those that do not say what they keep, and those that keep other
//! shards and may have taken the blob from a client; among these, whoever behaved better goes first,
//! and among equals the nearer one. A peer that is blocked for its conduct is asked only when there
//! is nobody else: whatever it gives is verified, and an answer that is likely wrong is still more
//! than none.

use std::cmp::Ordering;

use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::swarm::{ConnectionKind, PeerView, SwarmSnapshot};

use crate::conduct::Conduct;
use crate::facts::StoreFacts;
use crate::placement::{Holder, Placement};

/// Most peers that are asked for one blob.
pub(crate) const ASKED_AT_MOST: usize = 16;
/// The protocols by which a blob is had.
const RETRIEVE: [&str; 3] = [
    "/bytecave/retrieve/2.0.0",
    "/bytecave/retrieve/1.0.0",
    "/bytecave/blob/1.0.0",
];

/// How likely a peer gives the blob soon; likely ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// Holds the shard, by this rank.
    Holder(usize),
    /// Connected, and keeps the shard.
    Keeper,
    /// Connected, and does not say what it keeps: programs of the first version.
    Unknown,
    /// Connected, and keeps other shards; it may have taken the blob from a client.
    Other,
    /// Not connected directly, and keeps the shard: to be dialled.
    Away,
}

/// What orders the peers.
struct Ranked {
    class: Class,
    /// Rounded, so that the round trip decides between those that behaved alike.
    score: f64,
    rtt_ms: u64,
    peer: PeerId,
}

impl Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        let better = other.score.total_cmp(&self.score);
        self.class
            .cmp(&other.class)
            .then(better)
            .then(self.rtt_ms.cmp(&other.rtt_ms))
            .then(self.peer.cmp(&other.peer))
    }
}

/// The peers to ask for `cid`, best first, at most [`ASKED_AT_MOST`].
pub(crate) fn candidates(
    network: &SwarmSnapshot,
    facts: Option<&StoreFacts>,
    placement: Option<&Placement>,
    conduct: &Conduct,
    cid: &BlobCid,
) -> Vec<PeerId> {
    let holders = placement
        .zip(facts)
        .map(|(placement, facts)| placement.holders(facts.shard(cid)));
    let mut ranked: Vec<_> = network
        .peers
        .iter()
        .filter_map(|peer| {
            let class = class(peer, facts, holders.as_deref().unwrap_or_default(), cid)?;
            Some(Ranked {
                class,
                score: conduct.score(&peer.peer_id).round(),
                rtt_ms: peer.rtt_ms.unwrap_or(u64::MAX),
                peer: peer.peer_id,
            })
        })
        .collect();
    ranked.sort_unstable_by(Ranked::cmp);
    let (blocked, mut welcome): (Vec<_>, Vec<_>) = ranked
        .into_iter()
        .map(|ranked| ranked.peer)
        .partition(|peer| conduct.is_blocked(peer));
    if welcome.is_empty() {
        welcome = blocked;
    }
    welcome.truncate(ASKED_AT_MOST);
    welcome
}

/// `None` for whom it makes no sense to ask: relays, strangers, and who speaks no protocol for it.
fn class(
    peer: &PeerView,
    facts: Option<&StoreFacts>,
    holders: &[Holder],
    cid: &BlobCid,
) -> Option<Class> {
    let info = peer.info.as_ref();
    let protocols = info.map_or(&[][..], |info| &info.protocols);
    let serves = protocols
        .iter()
        .any(|protocol| RETRIEVE.contains(&protocol.as_str()));
    if !protocols.is_empty() && !serves {
        return None;
    }
    let direct = peer.connection == Some(ConnectionKind::Direct);
    let rank = holders
        .iter()
        .position(|holder| holder.peer == peer.peer_id);
    if let Some(rank) = rank.filter(|_| direct || peer.live) {
        return Some(Class::Holder(rank));
    }
    // Programs of the first version answer who they are, and not which protocols they speak.
    let member = info.is_some() || peer.announced.is_some();
    match (direct, keeps(peer, facts, cid)) {
        (true, Some(true)) => Some(Class::Keeper),
        (true, None) if member => Some(Class::Unknown),
        (true, Some(false)) => Some(Class::Other),
        (false, Some(true)) if peer.live => Some(Class::Away),
        _ => None,
    }
}

/// Whether a peer keeps the shard of the blob; `None` if it does not say, or counts shards otherwise.
fn keeps(peer: &PeerView, facts: Option<&StoreFacts>, cid: &BlobCid) -> Option<bool> {
    let info = peer.info.as_ref()?;
    let facts = facts?;
    info.keeps(facts.shard(cid), facts.shard_count())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_core::ShardRange;
    use bytecave_messages::swarm::Announced;

    use super::*;
    use crate::conduct::Deed;
    use crate::fakes::{content_of_shard, facts, holders, keeper, network, peer, view};

    fn strangers() -> Conduct {
        Conduct::new(|| 0)
    }

    fn announced() -> Announced {
        Announced {
            node_id: "node".to_owned(),
            available_storage: 1,
            blob_count: 1,
            is_registered: true,
            timestamp_ms: 1,
        }
    }

    /// Of shard 3.
    fn cid() -> BlobCid {
        BlobCid::of(&content_of_shard(3))
    }

    fn ranked(peers: Vec<PeerView>) -> Vec<PeerId> {
        ranked_by(&strangers(), peers)
    }

    /// No peer holds a shard.
    fn ranked_by(conduct: &Conduct, peers: Vec<PeerView>) -> Vec<PeerId> {
        let facts = facts().get().unwrap();
        candidates(&network(peers), Some(&facts), None, conduct, &cid())
    }

    fn keeping(number: u8, start: u64, end: u64) -> PeerView {
        let mut view = view(number);
        let info = view.info.as_mut().unwrap();
        info.shards = Some(vec![ShardRange { start, end }]);
        view
    }

    #[test]
    fn keepers_first_then_by_round_trip() {
        let mut slow = keeping(1, 0, 3);
        slow.rtt_ms = Some(200);
        let mut fast = keeping(2, 3, 3);
        fast.rtt_ms = Some(20);
        let mut unmeasured = keeping(3, 2, 5);
        unmeasured.rtt_ms = None;
        let mut silent_about_shards = view(4);
        silent_about_shards.rtt_ms = Some(1);
        let mut other = keeping(5, 4, 5);
        other.rtt_ms = Some(1);
        let mut away = keeping(6, 3, 3);
        away.connection = None;
        let peers = vec![other, away, unmeasured, silent_about_shards, slow, fast];
        assert_eq!(ranked(peers), [2, 1, 3, 4, 5, 6].map(peer));
    }

    #[test]
    fn whom_it_makes_no_sense_to_ask() {
        let mut relay = view(1);
        relay.info = None;
        let mut no_protocol = view(2);
        no_protocol.info.as_mut().unwrap().protocols = vec!["/bytecave/info/1.0.0".to_owned()];
        let mut relayed = view(3);
        relayed.connection = Some(ConnectionKind::Relayed);
        let mut gone = keeping(4, 3, 3);
        gone.connection = None;
        gone.live = false;
        assert_eq!(ranked(vec![relay, no_protocol, relayed, gone]), []);
    }

    #[test]
    fn a_program_of_the_first_version_is_known_by_what_it_says() {
        let mut old = view(1);
        old.info = None;
        old.announced = Some(announced());
        let mut answers = view(4);
        answers.info.as_mut().unwrap().protocols.clear();
        assert_eq!(ranked(vec![answers]), [peer(4)]);
        let mut other_count = keeping(2, 0, 3);
        other_count.info.as_mut().unwrap().shard_count =
            Some(bytecave_core::ShardCount::new(32).unwrap());
        assert_eq!(ranked(vec![old.clone(), other_count]).len(), 2);
        // Without a word from the store nobody is known to keep the shard.
        let network = network(vec![old, keeping(3, 3, 3)]);
        assert_eq!(
            candidates(&network, None, None, &strangers(), &cid()).len(),
            2
        );
    }

    #[test]
    fn holders_come_first_and_in_their_rank() {
        let mut peers: Vec<_> = (1..=6).map(keeper).collect();
        // It knows of no other shards and is the nearest of all.
        peers.push(view(7));
        peers[6].rtt_ms = Some(0);
        let facts = facts().get().unwrap();
        let holders = holders(3, peers.clone());
        let placement = holders.placement().unwrap();
        let by_rank: Vec<_> = placement
            .holders(facts.shard(&cid()))
            .iter()
            .map(|holder| holder.peer)
            .filter(|peer| *peer != holders.me())
            .collect();
        let conduct = strangers();
        conduct.note(&by_rank[0], Deed::Silent);
        let network = network(peers);
        let asked = candidates(&network, Some(&facts), Some(&placement), &conduct, &cid());
        assert_eq!(asked.len(), 7);
        assert_eq!(asked[..by_rank.len()], by_rank);
        assert_eq!(asked[6], peer(7));
    }

    #[test]
    fn a_holder_that_left_is_not_asked_and_one_that_is_away_is() {
        let facts = facts().get().unwrap();
        let mut away = keeper(1);
        away.connection = None;
        let mut left = keeper(2);
        left.connection = None;
        left.live = false;
        let peers = vec![away, left, view(3)];
        let holders = holders(3, peers.clone());
        let placement = holders.placement();
        let network = network(peers);
        let conduct = strangers();
        let asked = candidates(
            &network,
            Some(&facts),
            placement.as_deref(),
            &conduct,
            &cid(),
        );
        assert_eq!(asked, [1, 3].map(peer));
    }

    #[test]
    fn whoever_behaved_better_goes_first_among_its_like() {
        let conduct = strangers();
        conduct.note(&peer(1), Deed::Silent);
        conduct.note(&peer(3), Deed::Served);
        conduct.note(&peer(4), Deed::Served);
        conduct.note(&peer(5), Deed::Served);
        let mut peers: Vec<_> = (1..=4).map(view).collect();
        peers.push(keeping(6, 3, 3));
        assert_eq!(ranked_by(&conduct, peers), [6, 3, 4, 2, 1].map(peer));
    }

    #[test]
    fn a_blocked_peer_is_asked_only_when_there_is_nobody_else() {
        let conduct = strangers();
        conduct.note(&peer(1), Deed::Lied);
        let peers = vec![keeping(1, 3, 3), view(2)];
        assert_eq!(ranked_by(&conduct, peers), [peer(2)]);
        assert_eq!(ranked_by(&conduct, vec![view(1)]), [peer(1)]);
    }

    #[test]
    fn no_more_are_asked_than_allowed() {
        let peers = (1..=60).map(view).collect();
        assert_eq!(ranked(peers).len(), ASKED_AT_MOST);
    }
}
