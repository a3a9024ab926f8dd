//! When to compare with whom: pure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{PeerId, ShardId};
use tokio::time::Instant;

/// The shards that each peer holds together with this node, ascending.
pub(super) type Sharing = BTreeMap<PeerId, Arc<[ShardId]>>;

/// When the next comparison with each peer is due.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    peers: HashMap<PeerId, Due>,
    /// When it was due, before this node was restarted.
    resumed: HashMap<PeerId, Instant>,
}

#[derive(Debug)]
struct Due {
    at: Instant,
    shards: Arc<[ShardId]>,
}

impl Schedule {
    /// Goes on where a restart broke off: these were due then.
    pub(super) fn resumed(resumed: HashMap<PeerId, Instant>) -> Self {
        Self {
            peers: HashMap::new(),
            resumed,
        }
    }

    /// Takes over who shares what by now. Whoever shares more than before is due in a moment, of
    /// which `soon` says how long it is.
    pub(super) fn follow(&mut self, sharing: &Sharing, now: Instant, soon: impl Fn() -> Duration) {
        self.peers.retain(|peer, _| sharing.contains_key(peer));
        for (peer, shards) in sharing {
            let soon_at = || now + soon();
            let Some(due) = self.peers.get_mut(peer) else {
                let at = self.resumed.remove(peer);
                let at = at.map_or_else(&soon_at, |at| at.max(soon_at()));
                let shards = Arc::clone(shards);
                self.peers.insert(*peer, Due { at, shards });
                continue;
            };
            if Arc::ptr_eq(&due.shards, shards) {
                continue;
            }
            let is_old = |shard| due.shards.binary_search(shard).is_ok();
            if !shards.iter().all(is_old) {
                due.at = due.at.min(soon_at());
            }
            due.shards = Arc::clone(shards);
        }
    }

    /// Who is due and `reachable`, the longest first.
    pub(super) fn due(
        &self,
        now: Instant,
        reachable: impl Fn(&PeerId) -> bool,
    ) -> Option<(PeerId, Arc<[ShardId]>)> {
        let due = self.peers.iter().filter(|(_, due)| due.at <= now);
        let (peer, due) = due
            .filter(|(peer, _)| reachable(peer))
            .min_by_key(|(peer, due)| (due.at, **peer))?;
        Some((*peer, Arc::clone(&due.shards)))
    }

    /// The next comparison with `peer` is due then.
    pub(super) fn set(&mut self, peer: &PeerId, at: Instant) {
        if let Some(due) = self.peers.get_mut(peer) {
            due.at = at;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fakes::{count, peer};

    const SOON: Duration = Duration::from_secs(10);
    const LATER: Duration = Duration::from_mins(15);

    fn sharing(peers: &[(u8, &[u64])]) -> Sharing {
        let shards = |of: &[u64]| {
            of.iter()
                .map(|shard| count().shard(*shard).unwrap())
                .collect()
        };
        peers
            .iter()
            .map(|(number, of)| (peer(*number), shards(of)))
            .collect()
    }

    fn due(schedule: &Schedule, now: Instant) -> Option<PeerId> {
        schedule.due(now, |_| true).map(|(peer, _)| peer)
    }

    #[test]
    fn who_shares_more_than_before_is_due_soon() {
        let now = Instant::now();
        let mut schedule = Schedule::default();
        schedule.follow(&sharing(&[(1, &[3])]), now, || SOON);
        assert_eq!(due(&schedule, now), None);
        assert_eq!(due(&schedule, now + SOON), Some(peer(1)));
        assert_eq!(schedule.due(now + SOON, |_| false), None);
        schedule.set(&peer(1), now + LATER);
        schedule.follow(&sharing(&[(1, &[])]), now, || SOON);
        assert_eq!(due(&schedule, now + SOON), None, "it shares less");
        schedule.follow(&sharing(&[(1, &[4]), (2, &[4])]), now, || SOON);
        let (first, shards) = schedule.due(now + SOON, |who| *who == peer(1)).unwrap();
        assert_eq!((first, shards[0].get()), (peer(1), 4));
        schedule.set(&peer(1), now + LATER);
        assert_eq!(due(&schedule, now + LATER), Some(peer(2)));
        schedule.follow(&sharing(&[]), now, || SOON);
        schedule.follow(&sharing(&[(2, &[4])]), now + LATER, || SOON);
        assert_eq!(due(&schedule, now + LATER), None);
        assert_eq!(due(&schedule, now + LATER + SOON), Some(peer(2)));
    }

    #[test]
    fn a_restart_puts_nothing_forward() {
        let now = Instant::now();
        let resumed = HashMap::from([(peer(1), now + LATER), (peer(2), now)]);
        let mut schedule = Schedule::resumed(resumed);
        schedule.follow(&sharing(&[(1, &[3]), (2, &[3])]), now, || SOON);
        assert_eq!(due(&schedule, now + SOON), Some(peer(2)));
        schedule.set(&peer(2), now + LATER * 2);
        assert_eq!(due(&schedule, now + SOON), None);
        assert_eq!(due(&schedule, now + LATER), Some(peer(1)));
        schedule.follow(&sharing(&[]), now, || SOON);
        schedule.follow(&sharing(&[(1, &[3])]), now, || SOON);
        assert_eq!(due(&schedule, now + SOON), Some(peer(1)), "only once");
    }
}
