//! Who is to be asked for what because the replicator wants to know: pure, but for the clock's type.
//!
//! A peer is asked one thing at a time, with a pause between two, so that its own limit is kept and one that
//! is slow holds up nobody else. What does not fit is dropped, and wanted again.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytecave_core::{BlobCid, PeerId};
use tokio::time::Instant;

/// Questions that wait. More would only be older when their turn comes.
const WAITING_MAX: usize = 4096;
/// Time between an answer of a peer and the next question to it: half as often as a peer answers when nothing
/// is set (`proof.challenges_per_second_per_peer`), since other audits ask it as well.
const PEER_PAUSE: Duration = Duration::from_millis(100);

/// The questions.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    waiting: VecDeque<(PeerId, BlobCid)>,
    known: HashSet<(PeerId, BlobCid)>,
    /// Peers that are being asked (`None`), or have their pause until then.
    resting: HashMap<PeerId, Option<Instant>>,
}

/// What is next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// This peer is to be asked for this blob now.
    Ask(PeerId, BlobCid),
    /// Somebody at that time.
    At(Instant),
    /// Nobody before something changes.
    Nothing,
}

impl Wanted {
    /// One more question, unless it waits already or there is no room; whether it waits now.
    pub(super) fn push(&mut self, peer: PeerId, cid: BlobCid) -> bool {
        if self.known.contains(&(peer, cid)) {
            return true;
        }
        if self.waiting.len() >= WAITING_MAX {
            return false;
        }
        self.known.insert((peer, cid));
        self.waiting.push_back((peer, cid));
        true
    }

    /// Takes the oldest question to a peer that may be asked. [`done`](Self::done) has to follow.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        self.resting
            .retain(|_, until| until.is_none_or(|until| until > now));
        let resting = &self.resting;
        let free = |(peer, _): &(PeerId, BlobCid)| !resting.contains_key(peer);
        if let Some(at) = self.waiting.iter().position(free)
            && let Some((peer, cid)) = self.waiting.remove(at)
        {
            self.known.remove(&(peer, cid));
            self.resting.insert(peer, None);
            return Next::Ask(peer, cid);
        }
        let awaited = self.waiting.iter();
        let awaited = awaited.filter_map(|(peer, _)| *self.resting.get(peer)?);
        awaited.min().map_or(Next::Nothing, Next::At)
    }

    /// The peer was asked. One that gave no answer is not asked for what waits.
    pub(super) fn done(&mut self, peer: &PeerId, answered: bool, now: Instant) {
        self.resting.insert(*peer, Some(now + PEER_PAUSE));
        if !answered {
            self.waiting.retain(|(other, _)| other != peer);
            self.known.retain(|(other, _)| other != peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::peer;

    fn blob(number: usize) -> BlobCid {
        BlobCid::of(&number.to_be_bytes())
    }

    #[test]
    fn each_peer_is_asked_one_thing_at_a_time_in_order_and_with_a_pause() {
        let (mut wanted, now) = (Wanted::default(), Instant::now());
        for (number, at) in [(1, 1), (1, 2), (2, 1), (1, 1)] {
            assert!(wanted.push(peer(number), blob(at)));
        }
        assert_eq!(wanted.next(now), Next::Ask(peer(1), blob(1)));
        assert_eq!(wanted.next(now), Next::Ask(peer(2), blob(1)));
        assert_eq!(wanted.next(now), Next::Nothing);
        wanted.done(&peer(1), true, now);
        assert_eq!(wanted.next(now), Next::At(now + PEER_PAUSE));
        let later = now + PEER_PAUSE;
        assert_eq!(wanted.next(later), Next::Ask(peer(1), blob(2)));
        assert_eq!(wanted.next(later), Next::Nothing);
        wanted.done(&peer(1), true, later);
        wanted.done(&peer(2), true, later);
        assert_eq!(wanted.next(later), Next::Nothing);
        assert_eq!(wanted.next(later + PEER_PAUSE), Next::Nothing);
        assert!(wanted.resting.is_empty());
    }

    #[test]
    fn what_waits_is_bounded_and_not_twice() {
        let mut wanted = Wanted::default();
        for _ in 0..2 {
            for number in 0..WAITING_MAX {
                assert!(wanted.push(peer(1), blob(number)));
            }
        }
        assert!(!wanted.push(peer(2), blob(1)));
        assert_eq!(wanted.waiting.len(), WAITING_MAX);
    }

    #[test]
    fn a_silent_peer_is_not_asked_for_what_waits() {
        let (mut wanted, now) = (Wanted::default(), Instant::now());
        for number in 0..10 {
            wanted.push(peer(1), blob(number));
        }
        wanted.push(peer(2), blob(0));
        assert_eq!(wanted.next(now), Next::Ask(peer(1), blob(0)));
        wanted.done(&peer(1), false, now);
        assert_eq!(wanted.next(now), Next::Ask(peer(2), blob(0)));
        assert_eq!(wanted.next(now + PEER_PAUSE), Next::Nothing);
        assert!(wanted.push(peer(1), blob(3)), "it may be wanted again");
        let later = now + PEER_PAUSE;
        assert_eq!(wanted.next(later), Next::Ask(peer(1), blob(3)));
    }
}
