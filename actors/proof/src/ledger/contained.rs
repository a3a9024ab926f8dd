//! Blobs for which a peer owes an answer: it was connected, and let its time pass. Pure.
//!
//! It is asked for the same blob again, and its fourth silence is a failure, so a peer that lacks a blob
//! gains nothing by saying nothing. The list is bounded, for each peer and in all: a peer that is silent
//! about more than fits fails by those that are in it, and takes no place from another.

use std::collections::BTreeMap;

use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::proof::Outcome;
use serde::{Deserialize, Serialize};

/// Silences that are no failure yet.
pub(crate) const SILENCES_MAX: u8 = 3;
/// Blobs that one peer is asked for again. Fewer, and chance decides what a silent peer is asked; more, and
/// one peer's silence takes room from others.
const PER_PEER_MAX: usize = 16;
/// Blobs in all.
const ALL_MAX: usize = 4096;
/// A peer that gives no verdict in this time is asked no more for this blob: it is away, or no holder.
const GIVEN_UP_AFTER_MS: u64 = 24 * 3_600_000;

/// A blob that a peer is to be asked for again. None of the names is safe to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Owed {
    pub(super) peer_id: PeerId,
    pub(super) cid: BlobCid,
    /// How often it said nothing.
    silences: u8,
    /// When it did first, milliseconds since 1970.
    since_ms: u64,
    /// When it is asked again.
    due_ms: u64,
}

/// All of them, by peer and blob.
#[derive(Debug, Default)]
pub(super) struct Contained {
    owed: BTreeMap<PeerId, BTreeMap<BlobCid, Owed>>,
}

impl Contained {
    /// What was written down.
    pub(super) fn restore(kept: Vec<Owed>) -> Self {
        let mut contained = Self::default();
        for mut owed in kept {
            owed.silences = owed.silences.clamp(1, SILENCES_MAX);
            if contained.has_room(&owed.peer_id) {
                contained.insert(owed);
            }
        }
        contained
    }

    /// What is to be written down.
    pub(super) fn all(&self) -> Vec<Owed> {
        self.owed
            .values()
            .flat_map(BTreeMap::values)
            .copied()
            .collect()
    }

    /// The peer was connected and let its time pass. The outcome of that.
    pub(super) fn silent(
        &mut self,
        peer: &PeerId,
        cid: &BlobCid,
        now_ms: u64,
        interval_ms: u64,
    ) -> Outcome {
        let due_ms = now_ms.saturating_add(interval_ms);
        if let Some(owed) = self.get_mut(peer, cid) {
            if owed.silences >= SILENCES_MAX {
                self.ended(peer, cid);
                return Outcome::Failed;
            }
            owed.silences += 1;
            owed.due_ms = due_ms;
        } else if self.make_room(peer) {
            self.insert(Owed {
                peer_id: *peer,
                cid: *cid,
                silences: 1,
                since_ms: now_ms,
                due_ms,
            });
        }
        Outcome::Contained
    }

    /// There is a verdict, or nothing to ask for any more.
    pub(super) fn ended(&mut self, peer: &PeerId, cid: &BlobCid) {
        if let Some(blobs) = self.owed.get_mut(peer) {
            blobs.remove(cid);
            if blobs.is_empty() {
                self.owed.remove(peer);
            }
        }
    }

    /// A blob that is to be asked for now, the longest due first. It is due again an interval later, unless
    /// something is heard before.
    pub(super) fn take_due(&mut self, now_ms: u64, interval_ms: u64) -> Option<(PeerId, BlobCid)> {
        for blobs in self.owed.values_mut() {
            blobs.retain(|_, owed| now_ms.saturating_sub(owed.since_ms) < GIVEN_UP_AFTER_MS);
        }
        self.owed.retain(|_, blobs| !blobs.is_empty());
        // A clock that was set back puts nothing off for longer than an interval.
        let is_due = |owed: &&mut Owed| {
            owed.due_ms <= now_ms || owed.due_ms.saturating_sub(now_ms) > interval_ms
        };
        let all = self.owed.values_mut().flat_map(BTreeMap::values_mut);
        let owed = all.filter(is_due).min_by_key(|owed| owed.due_ms)?;
        owed.due_ms = now_ms.saturating_add(interval_ms);
        Some((owed.peer_id, owed.cid))
    }

    fn get_mut(&mut self, peer: &PeerId, cid: &BlobCid) -> Option<&mut Owed> {
        self.owed.get_mut(peer)?.get_mut(cid)
    }

    fn insert(&mut self, owed: Owed) {
        let blobs = self.owed.entry(owed.peer_id).or_default();
        blobs.insert(owed.cid, owed);
    }

    fn of(&self, peer: &PeerId) -> usize {
        self.owed.get(peer).map_or(0, BTreeMap::len)
    }

    fn has_room(&self, peer: &PeerId) -> bool {
        let all: usize = self.owed.values().map(BTreeMap::len).sum();
        self.of(peer) < PER_PEER_MAX && all < ALL_MAX
    }

    /// Whether there is room for one more blob of this peer. Where all is full, the peer with the most gives
    /// up the one that it was asked for least, if it has at least two more than this peer.
    fn make_room(&mut self, peer: &PeerId) -> bool {
        if self.has_room(peer) {
            return true;
        }
        let of = self.of(peer);
        let most = self.owed.values_mut().max_by_key(|blobs| blobs.len());
        let Some(most) = most.filter(|blobs| of < PER_PEER_MAX && blobs.len() > of + 1) else {
            return false;
        };
        let least = most.values().min_by_key(|owed| owed.silences);
        let least = least.map(|owed| owed.cid);
        least.and_then(|cid| most.remove(&cid)).is_some()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_core::{NodeIdentity, PublicKey};

    use super::*;

    const INTERVAL: u64 = 600_000;

    fn peer(number: u32) -> PeerId {
        let mut key = [0; 32];
        key[..4].copy_from_slice(&number.to_be_bytes());
        PublicKey::new(key).peer_id()
    }

    fn blob(number: u32) -> BlobCid {
        BlobCid::of(&number.to_be_bytes())
    }

    #[test]
    fn three_silences_are_contained_and_the_fourth_is_a_failure() {
        let mut contained = Contained::default();
        let (peer, blob) = (peer(1), blob(1));
        for turn in 0..3 {
            let now = turn * INTERVAL;
            assert_eq!(
                contained.take_due(now, INTERVAL),
                (turn > 0).then_some((peer, blob))
            );
            let found = contained.silent(&peer, &blob, now, INTERVAL);
            assert_eq!(found, Outcome::Contained);
            assert_eq!(contained.take_due(now + INTERVAL - 1, INTERVAL), None);
        }
        assert_eq!(
            contained.take_due(3 * INTERVAL, INTERVAL),
            Some((peer, blob))
        );
        let found = contained.silent(&peer, &blob, 3 * INTERVAL, INTERVAL);
        assert_eq!(found, Outcome::Failed);
        assert_eq!(contained.all(), []);
        let found = contained.silent(&peer, &blob, 3 * INTERVAL, INTERVAL);
        assert_eq!(found, Outcome::Contained, "after a verdict it begins anew");
    }

    #[test]
    fn what_brings_no_verdict_is_asked_for_again_for_a_day() {
        let mut contained = Contained::default();
        contained.silent(&peer(1), &blob(1), 0, INTERVAL);
        let mut asked = 0;
        for now in (0..2 * GIVEN_UP_AFTER_MS).step_by(60_000) {
            asked += u64::from(contained.take_due(now, INTERVAL).is_some());
        }
        assert_eq!(asked, GIVEN_UP_AFTER_MS / INTERVAL - 1);
        contained.silent(&peer(1), &blob(1), 0, INTERVAL);
        contained.ended(&peer(1), &blob(1));
        assert_eq!(contained.take_due(INTERVAL, INTERVAL), None);
    }

    #[test]
    fn a_clock_that_was_set_back_puts_nothing_off() {
        let mut contained = Contained::default();
        contained.silent(&peer(1), &blob(1), 1 << 40, INTERVAL);
        let due = contained.take_due(1 << 30, INTERVAL);
        assert_eq!(due, Some((peer(1), blob(1))));
        assert_eq!(contained.take_due(1 << 30, INTERVAL), None);
    }

    #[test]
    fn a_silent_peer_escapes_neither_by_its_own_number_of_blobs_nor_by_many_peers() {
        let mut contained = Contained::default();
        for number in 0..1000 {
            contained.silent(&peer(0), &blob(number), number.into(), INTERVAL);
        }
        assert_eq!(contained.all().len(), PER_PEER_MAX);
        // Others fill all the room there is.
        for number in 0..u32::try_from(ALL_MAX).unwrap() {
            contained.silent(&peer(1 + number / 8), &blob(number), 2000, INTERVAL);
            contained.silent(&peer(1 + number / 8), &blob(number), 2000, INTERVAL);
        }
        assert_eq!(contained.all().len(), ALL_MAX);
        assert!(contained.of(&peer(0)) >= 8, "{}", contained.of(&peer(0)));
        // One more peer finds room all the same, and is not driven out by those that have more.
        let late = peer(1_000_000);
        contained.silent(&late, &blob(1), 3000, INTERVAL);
        for number in 0..1000 {
            contained.silent(&peer(7), &blob(5000 + number), 4000, INTERVAL);
        }
        assert_eq!((contained.of(&late), contained.all().len()), (1, ALL_MAX));
        for turn in 1..3 {
            let found = contained.silent(&late, &blob(1), turn, INTERVAL);
            assert_eq!(found, Outcome::Contained);
        }
        assert_eq!(
            contained.silent(&late, &blob(1), 4, INTERVAL),
            Outcome::Failed
        );
    }

    #[test]
    fn it_survives_and_what_was_written_is_not_trusted() {
        let mut contained = Contained::default();
        let peer = NodeIdentity::from_seed([1; 32]).unwrap().peer_id();
        contained.silent(&peer, &blob(1), 5, INTERVAL);
        contained.silent(&peer, &blob(1), 6, INTERVAL);
        let written = serde_json::to_string(&contained.all()).unwrap();
        let mut kept = Contained::restore(serde_json::from_str(&written).unwrap());
        assert_eq!(kept.all(), contained.all());
        assert_eq!(
            kept.silent(&peer, &blob(1), 7, INTERVAL),
            Outcome::Contained
        );
        assert_eq!(kept.silent(&peer, &blob(1), 8, INTERVAL), Outcome::Failed);
        let many = (0..100_000).map(|number| Owed {
            peer_id: self::peer(number / 20),
            cid: blob(number),
            silences: 200,
            since_ms: 0,
            due_ms: 0,
        });
        let kept = Contained::restore(many.collect()).all();
        assert_eq!(kept.len(), ALL_MAX);
        assert!(kept.iter().all(|owed| owed.silences == SILENCES_MAX));
    }
}
