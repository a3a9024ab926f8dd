//! Copies that were not proved: bounded, and each asked for again less and less often. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bytecave_core::{Digest, PeerId, ShardCount, ShardId};

/// Copies that are remembered: about 2 MiB. One more, and the oldest goes that is not the last of its
/// peer, so that no peer is believed again because others fail more.
const FAILED_MAX: usize = 16_384;
/// Time until a copy is asked for again, at first and at most; it doubles.
const FIRST_WAIT_MS: u64 = 3_600_000;
const LONGEST_WAIT_MS: u64 = 24 * 3_600_000;
/// A peer that nobody remembers is forgotten here after so long.
const UNKNOWN_KEPT_MS: u64 = 24 * 3_600_000;

/// Copies that were not proved.
#[derive(Debug, Default)]
pub(super) struct Failed {
    copies: BTreeMap<(PeerId, Digest), Copy>,
}

#[derive(Debug, Clone, Copy)]
struct Copy {
    since_ms: u64,
    /// When it is to be asked for again.
    ask_ms: u64,
    asked: u32,
}

impl Copy {
    fn put_off(&mut self, now_ms: u64) {
        let wait_ms = FIRST_WAIT_MS.saturating_mul(1 << self.asked.min(16));
        self.asked = self.asked.saturating_add(1);
        self.ask_ms = now_ms.saturating_add(wait_ms.min(LONGEST_WAIT_MS));
    }
}

impl Failed {
    pub(super) fn contains(&self, peer: &PeerId, digest: &Digest) -> bool {
        self.copies.contains_key(&(*peer, *digest))
    }

    /// It failed, for the first time or again.
    pub(super) fn failed(&mut self, peer: PeerId, digest: Digest, now_ms: u64) {
        if self.contains(&peer, &digest) {
            return;
        }
        let mut copy = Copy {
            since_ms: now_ms,
            ask_ms: 0,
            asked: 0,
        };
        copy.put_off(now_ms);
        self.insert(peer, digest, copy);
    }

    /// It was proved; whether it had failed.
    pub(super) fn proved(&mut self, peer: &PeerId, digest: &Digest) -> bool {
        self.copies.remove(&(*peer, *digest)).is_some()
    }

    /// Those that are to be asked for now.
    pub(super) fn due(&mut self, now_ms: u64, limit: usize) -> Vec<(PeerId, Digest)> {
        let due = self.copies.iter_mut();
        let due = due.filter(|(_, copy)| copy.ask_ms <= now_ms).take(limit);
        due.map(|(about, copy)| {
            copy.put_off(now_ms);
            *about
        })
        .collect()
    }

    /// Whether anything was forgotten.
    pub(super) fn forget_unknown(&mut self, knows: impl Fn(&PeerId) -> bool, now_ms: u64) -> bool {
        let before = self.copies.len();
        self.copies.retain(|(peer, _), copy| {
            knows(peer) || now_ms.saturating_sub(copy.since_ms) < UNKNOWN_KEPT_MS
        });
        self.copies.len() < before
    }

    /// The shards in which each peer has such a copy.
    pub(super) fn shards(&self, count: ShardCount) -> HashMap<PeerId, BTreeSet<ShardId>> {
        let mut found: HashMap<_, BTreeSet<_>> = HashMap::new();
        for (peer, digest) in self.copies.keys() {
            let shards = found.entry(*peer).or_default();
            shards.insert(count.shard_of(digest));
        }
        found
    }

    /// How many each peer has of each shard.
    pub(super) fn by_shard(&self, count: ShardCount) -> HashMap<ShardId, Vec<(PeerId, usize)>> {
        let mut found: HashMap<_, BTreeMap<_, _>> = HashMap::new();
        for (peer, digest) in self.copies.keys() {
            let peers = found.entry(count.shard_of(digest)).or_default();
            *peers.entry(*peer).or_insert(0) += 1;
        }
        found
            .into_iter()
            .map(|(shard, peers)| (shard, peers.into_iter().collect()))
            .collect()
    }

    /// All of them, with the times since when.
    pub(super) fn all(&self) -> Vec<(PeerId, Digest, u64)> {
        let copies = self.copies.iter();
        copies
            .map(|((peer, digest), copy)| (*peer, *digest, copy.since_ms))
            .collect()
    }

    /// One that was kept over a restart: it is asked for soon.
    pub(super) fn restore(&mut self, peer: PeerId, digest: Digest, since_ms: u64, now_ms: u64) {
        let copy = Copy {
            since_ms,
            ask_ms: since_ms.min(now_ms).saturating_add(FIRST_WAIT_MS),
            asked: 1,
        };
        self.insert(peer, digest, copy);
    }

    fn insert(&mut self, peer: PeerId, digest: Digest, copy: Copy) {
        self.copies.insert((peer, digest), copy);
        if self.copies.len() <= FAILED_MAX {
            return;
        }
        let mut of_peer: HashMap<PeerId, usize> = HashMap::new();
        for (peer, _) in self.copies.keys() {
            *of_peer.entry(*peer).or_default() += 1;
        }
        let is_last = |peer: &PeerId| of_peer.get(peer) == Some(&1);
        let oldest = self.copies.iter();
        let oldest = oldest.min_by_key(|((peer, _), copy)| (is_last(peer), copy.since_ms));
        let oldest = oldest.map(|(about, _)| *about);
        oldest.and_then(|oldest| self.copies.remove(&oldest));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{count, peer};

    const HOUR_MS: u64 = 3_600_000;

    fn digest(number: usize) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    #[test]
    fn a_failed_copy_is_asked_for_after_an_hour_and_at_last_once_a_day() {
        let mut failed = Failed::default();
        failed.failed(peer(1), digest(1), 0);
        let mut asked_at = Vec::new();
        for hour in 0..100 {
            let due = failed.due(hour * HOUR_MS, 10);
            asked_at.extend(due.iter().map(|_| hour));
        }
        assert_eq!(asked_at, [1, 3, 7, 15, 31, 55, 79]);
        assert!(failed.proved(&peer(1), &digest(1)));
        assert!(!failed.proved(&peer(1), &digest(1)));
        assert_eq!(failed.due(1000 * HOUR_MS, 10), []);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_nobody_is_crowded_out() {
        let mut failed = Failed::default();
        failed.failed(peer(2), digest(0), 0);
        for number in 0..=FAILED_MAX {
            let at_ms = u64::try_from(number).unwrap_or(0) + 1;
            failed.failed(peer(1), digest(number), at_ms);
        }
        assert_eq!(failed.copies.len(), FAILED_MAX);
        assert!(
            failed.contains(&peer(2), &digest(0)),
            "the last of its peer"
        );
        assert!(!failed.contains(&peer(1), &digest(0)));
        let by_shard = failed.by_shard(count());
        let of_one = by_shard.values().flatten();
        let of_one = of_one.filter(|(who, _)| *who == peer(1));
        assert_eq!(
            of_one.map(|(_, copies)| copies).sum::<usize>(),
            FAILED_MAX - 1
        );
    }

    #[test]
    fn whoever_is_forgotten_by_all_is_forgotten_here_after_a_day() {
        let mut failed = Failed::default();
        failed.failed(peer(1), digest(1), 0);
        failed.failed(peer(2), digest(1), 0);
        let knows = |who: &PeerId| *who == peer(2);
        assert!(!failed.forget_unknown(knows, 23 * HOUR_MS));
        assert!(failed.forget_unknown(knows, 24 * HOUR_MS));
        assert_eq!(failed.all(), [(peer(2), digest(1), 0)]);
    }
}
