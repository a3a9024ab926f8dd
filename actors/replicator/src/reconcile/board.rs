//! What is remembered of comparisons: for each peer and shard how it was the last time, which is written
//! to the state file, and what was offered to whom, which is not. Pure.

use std::collections::{BTreeMap, BTreeSet};

use bytecave_core::{PeerId, ShardId};

use crate::placement::Placement;

/// How long a peer that is no member at the moment is remembered: it may be restarting, or we were.
const AWAY_KEPT_MS: u64 = 3_600_000;
/// Peers that are remembered.
pub(super) const PEERS_MAX: usize = 4096;

/// What is remembered.
#[derive(Debug, Default, Clone, PartialEq)]
pub(super) struct Board {
    pub(super) peers: BTreeMap<PeerId, Record>,
    /// Holders that were offered all blobs of a shard that this node keeps and does not hold, and lacked
    /// none of them.
    pub(super) offered: BTreeMap<ShardId, BTreeSet<PeerId>>,
    forgotten: u64,
    /// Whether anything is new since it was written down.
    changed: bool,
}

/// What is remembered of one peer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Record {
    /// When it was last compared with, milliseconds since 1970.
    pub(super) compared_ms: u64,
    /// When it was last compared with by keyed hashes.
    pub(super) keyed_ms: u64,
    /// Where to go on with these: a comparison broke off before this shard. Not written down.
    pub(super) keyed_from: Option<ShardId>,
    /// Bytes fetched on its offers of shards that it does not hold.
    pub(super) beyond_bytes: u64,
    pub(super) shards: BTreeMap<ShardId, Compared>,
}

/// How one shard compared.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compared {
    /// When it was last alike, milliseconds since 1970.
    pub(super) alike_ms: Option<u64>,
    /// Blobs that were wanting on either side the last time.
    pub(super) differing: u64,
}

impl Board {
    /// These shards are alike here and there.
    pub(super) fn alike(&mut self, peer: PeerId, shards: &[ShardId], now_ms: u64) {
        for shard in shards {
            self.differ(peer, *shard, 0, now_ms);
        }
    }

    /// So many blobs are wanting on either side.
    pub(super) fn differ(&mut self, peer: PeerId, shard: ShardId, blobs: u64, now_ms: u64) {
        let shards = &mut self.record(peer).shards;
        let compared = shards.entry(shard).or_default();
        compared.differing = blobs;
        if blobs == 0 {
            compared.alike_ms = Some(now_ms);
        }
    }

    /// The record of a peer, for a change.
    pub(super) fn record(&mut self, peer: PeerId) -> &mut Record {
        self.changed = true;
        self.peers.entry(peer).or_default()
    }

    /// All blobs of `shard` were offered to `peer`. Not written down: a restart offers them once more,
    /// since the last moments before a crash are not known.
    pub(super) fn offered(&mut self, shard: ShardId, peer: PeerId) {
        self.offered.entry(shard).or_default().insert(peer);
    }

    /// There is more of `shard` than was offered.
    pub(super) fn forget_offers(&mut self, shard: ShardId) {
        self.offered.remove(&shard);
        self.forgotten += 1;
    }

    /// How often that was.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn was_offered(&self, shard: ShardId, peer: &PeerId) -> bool {
        self.offered
            .get(&shard)
            .is_some_and(|peers| peers.contains(peer))
    }

    pub(super) fn compared(&self, peer: &PeerId, shard: ShardId) -> Option<Compared> {
        self.peers.get(peer)?.shards.get(&shard).copied()
    }

    /// Whether anything is new since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Writing failed: it is to be tried again.
    pub(super) fn set_changed(&mut self) {
        self.changed = true;
    }

    /// Forgets what is of no use any more: what is known of shards that a member does not hold, members
    /// that are gone for long, and offers to those who are no holders, or of shards that this node
    /// holds by now.
    pub(super) fn prune(&mut self, placement: &Placement, me: &PeerId, now_ms: u64) {
        let members = placement.members();
        let is_member = |peer: &PeerId| {
            members
                .binary_search_by_key(peer, |member| member.peer)
                .is_ok()
        };
        for (peer, record) in &mut self.peers {
            if is_member(peer) {
                let holds = |shard: &ShardId| placement.holds(peer, *shard);
                record.shards.retain(|shard, _| holds(shard));
            } else if now_ms.abs_diff(record.compared_ms) > AWAY_KEPT_MS {
                record.shards.clear();
            }
        }
        self.peers.retain(|peer, record| {
            is_member(peer) || !record.shards.is_empty() || record.beyond_bytes > 0
        });
        while self.peers.len() > PEERS_MAX {
            let away = self.peers.keys().find(|peer| !is_member(peer)).copied();
            let Some(away) = away else { break };
            self.peers.remove(&away);
        }
        self.offered.retain(|shard, peers| {
            peers.retain(|peer| placement.holds(peer, *shard));
            !peers.is_empty() && !placement.holds(me, *shard)
        });
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fakes::{ME, count, holders, keeper, peer};

    #[test]
    fn only_what_is_of_use_is_remembered() {
        let of = holders(3, vec![keeper(1)]).placement().unwrap();
        let [held, foreign] = [3, 12].map(|shard| count().shard(shard).unwrap());
        let now_ms = 2 * AWAY_KEPT_MS;
        let mut board = Board::default();
        board.alike(peer(1), &[held, foreign], now_ms);
        board.alike(peer(2), &[held], now_ms);
        board.record(peer(2)).compared_ms = now_ms;
        board.alike(peer(3), &[held], now_ms);
        board.record(peer(3)).compared_ms = 1;
        board.record(peer(4)).beyond_bytes = 1;
        board.offered(held, peer(1));
        board.offered(foreign, peer(2));
        assert!(board.take_changed() && !board.take_changed());
        board.prune(&of, &peer(ME), now_ms);
        let known: Vec<_> = board.peers.keys().copied().collect();
        assert_eq!(
            BTreeSet::from_iter(known),
            BTreeSet::from([1, 2, 4].map(peer))
        );
        assert!(board.compared(&peer(1), held).is_some());
        assert!(board.compared(&peer(1), foreign).is_none());
        assert!(
            board.offered.is_empty(),
            "this node holds the one, nobody the other"
        );
        for number in 0..=PEERS_MAX {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&number.to_be_bytes());
            let stranger = bytecave_core::PublicKey::new(bytes).peer_id();
            board.record(stranger).beyond_bytes = 1;
        }
        board.prune(&of, &peer(ME), now_ms);
        assert_eq!(board.peers.len(), PEERS_MAX);
        assert!(board.peers.contains_key(&peer(1)), "a member");
    }
}
