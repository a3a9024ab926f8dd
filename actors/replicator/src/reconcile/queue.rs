//! Blobs that wait to be fetched from other holders: bounded, each once, in the order in which they
//! came, with those who have them. And who did not give what it was said to have, so that it is not
//! asked again in each round.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::Duration;

use bytecave_core::{Digest, PeerId, ShardId};
use tokio::time::Instant;

/// Blobs that wait: about 20 MiB. What does not fit comes with the next round.
pub(super) const WAITING_MAX: usize = 100_000;
/// Peers to fetch one blob from.
const SOURCES_MAX: usize = 16;
/// Time between hearing of a blob and fetching it: one that was stored just now is on its way here by
/// itself.
pub(super) const SETTLE: Duration = Duration::from_secs(5);
/// Refusals that are remembered: about 12 MiB. Beyond that, peers are asked in vain once more.
const REFUSALS_MAX: usize = 100_000;
/// Doublings of the time for which a refusal is remembered.
const DOUBLINGS_MAX: u32 = 4;

/// The queue.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    /// In the order of `ready_at`.
    order: VecDeque<Digest>,
    waiting: HashMap<Digest, Waiting>,
    running: HashSet<Digest>,
    /// Blobs of each shard that wait or are being fetched.
    shards: HashMap<ShardId, u64>,
    refusals: HashMap<(PeerId, Digest), Refused>,
    /// For how long the first refusal is remembered.
    remember: Duration,
    /// Which source is the next one's first.
    rotation: usize,
}

#[derive(Debug)]
struct Waiting {
    shard: ShardId,
    sources: Vec<PeerId>,
    ready_at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Refused {
    until: Instant,
    times: u32,
}

/// A blob to fetch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) digest: Digest,
    pub(super) shard: ShardId,
    /// Who has it, in the order in which they are to be asked.
    pub(super) sources: Vec<PeerId>,
}

/// What there is to do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    Now(Wanted),
    At(Instant),
    Nothing,
}

/// What became of a blob and its source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// It will be fetched, or is being fetched already.
    Taken,
    /// That source refused it not long ago.
    Refused,
    /// There is no room.
    NoRoom,
}

impl Queue {
    /// Refusals are remembered for `remember` at first.
    pub(super) fn new(capacity: usize, remember: Duration) -> Self {
        Self {
            capacity,
            order: VecDeque::new(),
            waiting: HashMap::new(),
            running: HashSet::new(),
            shards: HashMap::new(),
            refusals: HashMap::new(),
            remember,
            rotation: 0,
        }
    }

    /// `source` has a blob that is wanting here.
    pub(super) fn push(
        &mut self,
        shard: ShardId,
        digest: Digest,
        source: PeerId,
        now: Instant,
    ) -> Pushed {
        let refused = self.refusals.get(&(source, digest));
        if refused.is_some_and(|refused| now < refused.until) {
            return Pushed::Refused;
        }
        if self.running.contains(&digest) {
            return Pushed::Taken;
        }
        if let Some(waiting) = self.waiting.get_mut(&digest) {
            if waiting.sources.len() < SOURCES_MAX && !waiting.sources.contains(&source) {
                waiting.sources.push(source);
            }
            return Pushed::Taken;
        }
        if self.waiting.len() >= self.capacity {
            return Pushed::NoRoom;
        }
        let (sources, ready_at) = (vec![source], now + SETTLE);
        self.order.push_back(digest);
        self.waiting.insert(
            digest,
            Waiting {
                shard,
                sources,
                ready_at,
            },
        );
        *self.shards.entry(shard).or_default() += 1;
        Pushed::Taken
    }

    /// The next blob to fetch; [`Queue::done`] is to follow.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let Some(digest) = self.order.front().copied() else {
            return Next::Nothing;
        };
        if let Some(waiting) = self.waiting.get(&digest)
            && waiting.ready_at > now
        {
            return Next::At(waiting.ready_at);
        }
        self.order.pop_front();
        let Some(mut waiting) = self.waiting.remove(&digest) else {
            return Next::At(now);
        };
        // Whoever has all of what is wanting does not get all of the work.
        self.rotation = self.rotation.wrapping_add(1);
        let first = self.rotation % waiting.sources.len().max(1);
        waiting.sources.rotate_left(first);
        self.running.insert(digest);
        Next::Now(Wanted {
            digest,
            shard: waiting.shard,
            sources: waiting.sources,
        })
    }

    /// A blob is here, or will not come for now.
    pub(super) fn done(&mut self, wanted: &Wanted) {
        self.running.remove(&wanted.digest);
        if let Some(count) = self.shards.get_mut(&wanted.shard) {
            *count -= 1;
            if *count == 0 {
                self.shards.remove(&wanted.shard);
            }
        }
    }

    /// `source` did not give it: it is not asked for it for some time, and for longer each time.
    pub(super) fn refused(&mut self, source: PeerId, digest: Digest, now: Instant) {
        if self.refusals.len() >= REFUSALS_MAX {
            // Those that were over long ago are those that did not happen again.
            let kept = self.remember;
            self.refusals
                .retain(|_, refused| now < refused.until + kept);
        }
        let times = self
            .refusals
            .get(&(source, digest))
            .map_or(0, |refused| refused.times);
        if times == 0 && self.refusals.len() >= REFUSALS_MAX {
            return;
        }
        let until = now + self.remember * 2_u32.pow(times.min(DOUBLINGS_MAX));
        let times = times.saturating_add(1);
        self.refusals
            .insert((source, digest), Refused { until, times });
    }

    /// Blobs that wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Blobs being fetched.
    pub(super) fn running(&self) -> usize {
        self.running.len()
    }

    /// Blobs of each shard that wait or are being fetched.
    pub(super) fn shards(&self) -> &HashMap<ShardId, u64> {
        &self.shards
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fakes::{count, peer};

    const HOUR: Duration = Duration::from_hours(1);

    fn digest(number: usize) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    fn push(queue: &mut Queue, number: usize, source: u8, now: Instant) -> Pushed {
        let shard = count().shard(3).unwrap();
        queue.push(shard, digest(number), peer(source), now)
    }

    fn next(queue: &mut Queue, now: Instant) -> Wanted {
        match queue.next(now) {
            Next::Now(wanted) => wanted,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_never_holds_more_than_it_may() {
        let now = Instant::now();
        let mut queue = Queue::new(2, HOUR);
        assert_eq!(push(&mut queue, 1, 1, now), Pushed::Taken);
        assert_eq!(push(&mut queue, 2, 1, now), Pushed::Taken);
        assert_eq!(push(&mut queue, 3, 1, now), Pushed::NoRoom);
        assert_eq!(push(&mut queue, 2, 2, now), Pushed::Taken);
        assert_eq!(queue.waiting(), 2);
        for source in 3..100 {
            push(&mut queue, 1, source, now);
        }
        let first = next(&mut queue, now + SETTLE);
        assert_eq!(first.sources.len(), SOURCES_MAX);
        assert_eq!(push(&mut queue, 3, 1, now), Pushed::Taken);
        assert_eq!(push(&mut queue, 1, 1, now), Pushed::Taken, "it is running");
        assert_eq!((queue.waiting(), queue.running()), (2, 1));
        assert_eq!(queue.shards()[&first.shard], 3);
        queue.done(&first);
        assert_eq!(queue.shards()[&first.shard], 2);
    }

    #[test]
    fn what_was_heard_of_just_now_waits_a_moment() {
        let now = Instant::now();
        let mut queue = Queue::new(10, HOUR);
        assert_eq!(queue.next(now), Next::Nothing);
        push(&mut queue, 1, 1, now);
        assert_eq!(queue.next(now), Next::At(now + SETTLE));
        assert_eq!(next(&mut queue, now + SETTLE).digest, digest(1));
        assert_eq!(queue.next(now + SETTLE), Next::Nothing);
    }

    #[test]
    fn sources_take_turns() {
        let now = Instant::now();
        let mut queue = Queue::new(10, HOUR);
        for number in 0..4 {
            for source in 1..=2 {
                push(&mut queue, number, source, now);
            }
        }
        let firsts: Vec<_> = (0..4)
            .map(|_| next(&mut queue, now + SETTLE).sources[0])
            .collect();
        assert_ne!(firsts[0], firsts[1]);
        assert_eq!(firsts[0], firsts[2]);
        assert_eq!(firsts[1], firsts[3]);
    }

    #[test]
    fn who_refused_is_asked_later_and_later() {
        let mut now = Instant::now();
        let mut queue = Queue::new(10, HOUR);
        for times in [1, 2, 4, 8, 16, 16] {
            queue.refused(peer(1), digest(1), now);
            now += HOUR * times;
            let before = now.checked_sub(Duration::from_secs(1)).unwrap();
            assert_eq!(push(&mut queue, 1, 1, before), Pushed::Refused);
            assert_eq!(push(&mut queue, 1, 1, now), Pushed::Taken);
            let wanted = next(&mut queue, now + SETTLE);
            queue.done(&wanted);
        }
        assert_eq!(push(&mut queue, 1, 2, now), Pushed::Taken, "others may");
    }

    #[test]
    fn refusals_are_bounded() {
        let now = Instant::now();
        let mut queue = Queue::new(10, HOUR);
        let source = peer(1);
        for number in 0..=REFUSALS_MAX {
            queue.refused(source, digest(number), now);
        }
        assert_eq!(queue.refusals.len(), REFUSALS_MAX);
        queue.refused(source, digest(REFUSALS_MAX), now + HOUR * 3);
        assert_eq!(queue.refusals.len(), 1);
    }
}
