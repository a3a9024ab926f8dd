//! Who could not be reached a moment ago, and is left alone for a moment: thousands of blobs would
//! otherwise wait for the same peer one after the other.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytecave_core::PeerId;
use tokio::time::Instant;

/// How long a peer is left alone after it could not be reached once; doubles each time after that.
const FIRST: Duration = Duration::from_secs(2);
/// The longest. Too long: a peer that is back is passed over.
const LONGEST: Duration = Duration::from_mins(1);
/// Peers that are remembered; beyond that, further ones are tried each time.
const REMEMBERED: usize = 1024;

/// The peers that could not be reached. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Away(Arc<Mutex<HashMap<PeerId, Absence>>>);

#[derive(Debug, Clone, Copy)]
struct Absence {
    until: Instant,
    wait: Duration,
}

impl Away {
    /// It could not be reached. Those who tried it at the same time are one time.
    pub(super) fn missed(&self, peer: &PeerId) {
        let now = Instant::now();
        let mut away = self.lock();
        if away.len() >= REMEMBERED && !away.contains_key(peer) {
            away.retain(|_, absence| absence.until > now);
        }
        let before = away.get(peer).copied();
        if before.is_some_and(|before| before.until > now)
            || before.is_none() && away.len() >= REMEMBERED
        {
            return;
        }
        let wait = before.map_or(FIRST, |before| (before.wait * 2).min(LONGEST));
        let until = now + wait;
        away.insert(*peer, Absence { until, wait });
    }

    /// It answered.
    pub(super) fn met(&self, peer: &PeerId) {
        self.lock().remove(peer);
    }

    /// Whether to leave it alone for now.
    pub(super) fn is_away(&self, peer: &PeerId) -> bool {
        let now = Instant::now();
        let away = self.lock();
        away.get(peer).is_some_and(|absence| absence.until > now)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, Absence>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::peer;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_stays_away_is_left_alone_for_longer_and_never_for_long() {
        let away = Away::default();
        let mut expected = FIRST;
        for _ in 0..10 {
            away.missed(&peer(1));
            away.missed(&peer(1));
            tokio::time::advance(expected.saturating_sub(Duration::from_millis(1))).await;
            assert!(away.is_away(&peer(1)));
            tokio::time::advance(Duration::from_millis(1)).await;
            assert!(!away.is_away(&peer(1)));
            expected = (expected * 2).min(LONGEST);
        }
        away.missed(&peer(1));
        away.met(&peer(1));
        assert!(!away.is_away(&peer(1)));
    }
}
