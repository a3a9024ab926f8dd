//! Which peers to ask for a blob, and in which order: a pure decision.

use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::swarm::{ConnectionKind, PeerView, SwarmSnapshot};

use crate::facts::StoreFacts;

/// Most peers that are asked for one blob.
pub(crate) const ASKED_AT_MOST: usize = 16;
/// The protocols by which a blob is had.
const RETRIEVE: [&str; 2] = ["/bytecave/retrieve/1.0.0", "/bytecave/blob/1.0.0"];

/// How likely a peer gives the blob soon; likely ones first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// Connected, and keeps the shard.
    Keeper,
    /// Connected, and does not say what it keeps: programs of the first version.
    Unknown,
    /// Connected, and keeps other shards; it may have taken the blob from a client.
    Other,
    /// Not connected directly, and keeps the shard: to be dialled.
    Away,
}

/// The peers to ask for `cid`, best first, at most [`ASKED_AT_MOST`].
pub(crate) fn candidates(
    network: &SwarmSnapshot,
    facts: Option<&StoreFacts>,
    cid: &BlobCid,
) -> Vec<PeerId> {
    let mut ranked: Vec<_> = network
        .peers
        .iter()
        .filter_map(|peer| {
            let rank = rank(peer, facts, cid)?;
            let rtt_ms = peer.rtt_ms.unwrap_or(u64::MAX);
            Some((rank, rtt_ms, peer.peer_id))
        })
        .collect();
    ranked.sort_unstable();
    ranked.truncate(ASKED_AT_MOST);
    ranked.into_iter().map(|(.., peer)| peer).collect()
}

/// `None` for whom it makes no sense to ask: relays, strangers, and who speaks no protocol for it.
fn rank(peer: &PeerView, facts: Option<&StoreFacts>, cid: &BlobCid) -> Option<Rank> {
    let info = peer.info.as_ref();
    let protocols = info.map_or(&[][..], |info| &info.protocols);
    let serves = protocols
        .iter()
        .any(|protocol| RETRIEVE.contains(&protocol.as_str()));
    if !protocols.is_empty() && !serves {
        return None;
    }
    // Programs of the first version answer who they are, and not which protocols they speak.
    let member = info.is_some() || peer.announced.is_some();
    let keeps = keeps(peer, facts, cid);
    let direct = peer.connection == Some(ConnectionKind::Direct);
    match (direct, keeps) {
        (true, Some(true)) => Some(Rank::Keeper),
        (true, None) if member => Some(Rank::Unknown),
        (true, Some(false)) => Some(Rank::Other),
        (false, Some(true)) if peer.live => Some(Rank::Away),
        _ => None,
    }
}

/// Whether a peer keeps the shard of the blob; `None` if it does not say, or counts shards otherwise.
fn keeps(peer: &PeerView, facts: Option<&StoreFacts>, cid: &BlobCid) -> Option<bool> {
    let info = peer.info.as_ref()?;
    let (facts, ranges) = (facts?, info.shards.as_ref()?);
    if info.shard_count? != facts.shard_count() {
        return None;
    }
    let shard = u64::from(facts.shard(cid).get());
    let within = ranges
        .iter()
        .any(|range| (range.start..=range.end).contains(&shard));
    Some(within)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_core::ShardRange;
    use bytecave_messages::swarm::Announced;

    use super::*;
    use crate::fakes::{content_of_shard, facts, network, peer, view};

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
        let facts = facts().get().unwrap();
        candidates(&network(peers), Some(&facts), &cid())
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
        assert_eq!(candidates(&network, None, &cid()).len(), 2);
    }

    #[test]
    fn no_more_are_asked_than_allowed() {
        let peers = (1..=60).map(view).collect();
        assert_eq!(ranked(peers).len(), ASKED_AT_MOST);
    }
}
