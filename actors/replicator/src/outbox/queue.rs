//! The part of one shard's outbox that is in memory: a window behind the cursor.
//!
//! Entries are dealt with in any order, so that one that takes long holds up no other; the cursor moves
//! over those that are settled without a gap.

use std::collections::VecDeque;
use std::time::Duration;

use bytecave_core::Digest;
use bytecave_messages::store::OutboxEntry;

/// Entries that are read at a time.
pub(super) const PAGE: usize = 100;
/// Entries of one shard that wait in memory, about 56 bytes each, and there may be 4096 shards. Beyond
/// that the shard is read on when the first of them is settled.
pub(super) const WINDOW: usize = 256;
/// How long an entry waits that nobody took; doubles each time.
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// The longest. Too long: a holder that is back waits for its copies.
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// One shard's window.
#[derive(Debug, Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// The last that was read.
    read_to: Option<u64>,
    /// Settled and still in the store, since the cursor there follows later.
    behind: usize,
}

#[derive(Debug)]
struct Entry {
    sequence: u64,
    digest: Digest,
    tries: u32,
    settled: bool,
}

impl Queue {
    /// How many entries to read from the store's cursor on; none while there is no room.
    pub(super) fn wanted(&self) -> Option<usize> {
        (self.entries.len() < WINDOW).then(|| self.behind + self.entries.len() + PAGE)
    }

    /// Takes what was read over; what is new of it.
    pub(super) fn take(&mut self, read: &[OutboxEntry]) -> Vec<u64> {
        let mut new = Vec::new();
        for entry in read {
            if self.read_to.is_some_and(|last| entry.sequence <= last) {
                continue;
            }
            self.read_to = Some(entry.sequence);
            new.push(entry.sequence);
            self.entries.push_back(Entry {
                sequence: entry.sequence,
                digest: entry.digest,
                tries: 0,
                settled: false,
            });
        }
        new
    }

    /// What this entry is about; nothing when it is settled.
    pub(super) fn digest(&self, sequence: u64) -> Option<Digest> {
        let entry = self.entries.get(self.position(sequence)?)?;
        (!entry.settled).then_some(entry.digest)
    }

    /// It is dealt with; through which all are, if that moved.
    pub(super) fn settle(&mut self, sequence: u64) -> Option<u64> {
        let at = self.position(sequence)?;
        self.entries.get_mut(at)?.settled = true;
        let mut through = None;
        while self.entries.front().is_some_and(|entry| entry.settled) {
            through = self.entries.pop_front().map(|entry| entry.sequence);
            self.behind += 1;
        }
        through
    }

    /// It is not: after which time it is tried again. Entries that failed together do not come back
    /// together.
    pub(super) fn put_off(&mut self, sequence: u64) -> Option<Duration> {
        let at = self.position(sequence)?;
        let entry = self.entries.get_mut(at)?;
        let doubled = FIRST_WAIT.saturating_mul(1 << entry.tries.min(16));
        entry.tries += 1;
        // From three quarters to five quarters of it.
        let [.., luck] = *entry.digest.as_bytes();
        Some(doubled.min(LONGEST_WAIT) * (384 + u32::from(luck)) / 512)
    }

    /// The store's cursor is where the last settled entry was.
    pub(super) fn followed(&mut self) {
        self.behind = 0;
    }

    /// Entries that are not settled.
    pub(super) fn waiting(&self) -> usize {
        self.entries.iter().filter(|entry| !entry.settled).count()
    }

    /// Whether nothing of it has to be kept.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.behind == 0
    }

    fn position(&self, sequence: u64) -> Option<usize> {
        let by = |entry: &Entry| entry.sequence.cmp(&sequence);
        self.entries.binary_search_by(by).ok()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_messages::store::OutboxKind;
    use proptest::prelude::*;

    use super::*;

    fn entries(sequences: impl Iterator<Item = u64>) -> Vec<OutboxEntry> {
        let entry = |sequence: u64| OutboxEntry {
            sequence,
            kind: OutboxKind::Stored,
            digest: Digest::of(&sequence.to_be_bytes()),
        };
        sequences.map(entry).collect()
    }

    #[test]
    fn the_window_is_bounded_and_reading_goes_on_behind_what_is_known() {
        let mut queue = Queue::default();
        assert_eq!(queue.wanted(), Some(PAGE));
        assert_eq!(queue.take(&entries(1..=100)).len(), 100);
        assert_eq!(queue.settle(1), Some(1));
        assert_eq!(
            queue.wanted(),
            Some(100 + PAGE),
            "the cursor has not followed"
        );
        assert_eq!(queue.take(&entries(1..=200)).len(), 100);
        queue.followed();
        assert_eq!(queue.wanted(), Some(199 + PAGE));
        queue.take(&entries(2..=300));
        assert_eq!(queue.wanted(), None);
        assert_eq!(queue.waiting(), 299);
        for sequence in (2..=300).rev() {
            assert_eq!(queue.settle(sequence).is_some(), sequence == 2);
        }
        assert!(!queue.is_empty());
        queue.followed();
        assert!(queue.is_empty());
    }

    #[test]
    fn waits_double_up_to_minutes_and_differ() {
        let mut queue = Queue::default();
        queue.take(&entries(1..=20));
        let mut last = Duration::ZERO;
        for tried in 0..8 {
            let wait = queue.put_off(1).unwrap();
            assert!(
                wait > last && wait >= FIRST_WAIT * 3 / 4,
                "{tried}: {wait:?}"
            );
            last = wait;
        }
        for _ in 0..100 {
            assert!(queue.put_off(1).unwrap() <= LONGEST_WAIT * 5 / 4);
        }
        let waits: std::collections::BTreeSet<_> = (2..=20).map(|at| queue.put_off(at)).collect();
        assert!(waits.len() > 10, "{waits:?}");
    }

    proptest! {
        /// However they are settled, the cursor never passes one that is not, and ends behind all.
        #[test]
        fn the_cursor_passes_only_what_is_settled(order in Just((1..=50_u64).collect::<Vec<_>>()).prop_shuffle()) {
            let mut queue = Queue::default();
            queue.take(&entries(1..=50));
            let mut settled = std::collections::BTreeSet::new();
            let mut cursor = 0;
            for sequence in order {
                settled.insert(sequence);
                if let Some(through) = queue.settle(sequence) {
                    prop_assert!(through > cursor);
                    cursor = through;
                }
                prop_assert!((1..=cursor).all(|passed| settled.contains(&passed)));
                prop_assert!(!settled.contains(&(cursor + 1)));
            }
            prop_assert_eq!((cursor, queue.waiting()), (50, 0));
        }
    }
}
