//! How peers behaved: a score for each, which orders whom to ask and, below a floor, lets nobody ask
//! for a time. It decays, so that no single fault is held against anybody for ever.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytecave_core::PeerId;

/// Scores lie between this and its negative.
const MOST: f64 = 100.0;
/// Below this nothing is asked of a peer until its score has decayed.
const FLOOR: f64 = -50.0;
/// Time in which a score halves.
const HALF_LIFE_MS: f64 = 6.0 * 3_600_000.0;
/// Peers that are remembered; beyond that, those whose score is nearest to nothing are forgotten.
const REMEMBERED: usize = 4096;

/// What a peer did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It gave a blob, or took one, as it should.
    Served,
    /// It proved that it holds a blob.
    Proved,
    /// It gave no answer in its time, or broke off.
    Silent,
    /// It did not prove a copy that it should have: it lost it, found it damaged, or said nothing in
    /// several turns.
    Unproved,
    /// It gave other bytes, another size or root than it stated, or a list that is not true. Nobody
    /// does that by accident.
    Lied,
}

impl Deed {
    fn worth(self) -> f64 {
        match self {
            Self::Served => 1.0,
            Self::Proved => 0.5,
            Self::Silent => -3.0,
            Self::Unproved => -20.0,
            Self::Lied => -60.0,
        }
    }
}

/// The scores. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Conduct {
    scores: Arc<Mutex<HashMap<PeerId, Score>>>,
    now_ms: fn() -> u64,
}

#[derive(Debug, Clone, Copy)]
struct Score {
    value: f64,
    at_ms: u64,
}

impl Score {
    fn at(self, now_ms: u64) -> f64 {
        // Precise to the second for the age of the universe.
        #[expect(clippy::cast_precision_loss, reason = "a time, not an amount")]
        let age_ms = now_ms.saturating_sub(self.at_ms) as f64;
        self.value * (-age_ms / HALF_LIFE_MS).exp2()
    }
}

impl Conduct {
    /// Of strangers, by a clock in milliseconds since 1970.
    pub(crate) fn new(now_ms: fn() -> u64) -> Self {
        Self {
            scores: Arc::default(),
            now_ms,
        }
    }

    /// `peer` did this.
    pub(crate) fn note(&self, peer: &PeerId, deed: Deed) {
        let now_ms = (self.now_ms)();
        let mut scores = self.scores();
        let before = scores.get(peer).map_or(0.0, |score| score.at(now_ms));
        // Whoever served well for long lies no less.
        let before = if deed == Deed::Lied {
            before.min(0.0)
        } else {
            before
        };
        let value = (before + deed.worth()).clamp(-MOST, MOST);
        let at_ms = now_ms;
        scores.insert(*peer, Score { value, at_ms });
        if deed == Deed::Lied {
            tracing::warn!(%peer, score = value, "a peer gave what no honest peer gives");
        }
        if scores.len() > REMEMBERED {
            let nearest = scores
                .iter()
                .min_by(|(_, one), (_, other)| {
                    one.at(now_ms).abs().total_cmp(&other.at(now_ms).abs())
                })
                .map(|(peer, _)| *peer);
            if let Some(nearest) = nearest {
                scores.remove(&nearest);
            }
        }
    }

    /// Its score, 0 for a stranger.
    pub(crate) fn score(&self, peer: &PeerId) -> f64 {
        let now_ms = (self.now_ms)();
        self.scores()
            .get(peer)
            .map_or(0.0, |score| score.at(now_ms))
    }

    /// Whether nothing is to be asked of it for the time being.
    pub(crate) fn is_blocked(&self, peer: &PeerId) -> bool {
        self.score(peer) < FLOOR
    }

    /// All scores, by peer id: what is kept over a restart, and shown.
    pub(crate) fn all(&self) -> Vec<(PeerId, f64)> {
        let now_ms = (self.now_ms)();
        let mut all: Vec<_> = self
            .scores()
            .iter()
            .map(|(peer, score)| (*peer, score.at(now_ms)))
            .collect();
        all.sort_unstable_by_key(|(peer, _)| *peer);
        all
    }

    /// Takes over what was kept.
    pub(crate) fn restore(&self, kept: impl IntoIterator<Item = (PeerId, f64)>) {
        let at_ms = (self.now_ms)();
        let kept = kept.into_iter().filter(|(_, value)| value.is_finite());
        let mut scores = self.scores();
        for (peer, value) in kept.take(REMEMBERED) {
            let value = value.clamp(-MOST, MOST);
            scores.insert(peer, Score { value, at_ms });
        }
    }

    fn scores(&self) -> MutexGuard<'_, HashMap<PeerId, Score>> {
        self.scores.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::fakes::peer;

    static NOW_MS: AtomicU64 = AtomicU64::new(0);

    fn now_ms() -> u64 {
        NOW_MS.load(Ordering::Relaxed)
    }

    #[test]
    fn copies_that_were_not_proved_are_forgiven_within_a_day() {
        static HOURS: AtomicU64 = AtomicU64::new(0);
        let conduct = Conduct::new(|| HOURS.load(Ordering::Relaxed) * 3_600_000);
        conduct.note(&peer(1), Deed::Proved);
        assert!(conduct.score(&peer(1)) > 0.0);
        for failed in 1..=3 {
            conduct.note(&peer(1), Deed::Unproved);
            assert_eq!(conduct.is_blocked(&peer(1)), failed == 3, "{failed}");
        }
        HOURS.store(24, Ordering::Relaxed);
        let score = conduct.score(&peer(1));
        assert!((-5.0..0.0).contains(&score), "{score}");
    }

    #[test]
    fn a_liar_is_left_alone_for_hours_and_not_for_ever() {
        let conduct = Conduct::new(now_ms);
        conduct.note(&peer(1), Deed::Silent);
        assert!(!conduct.is_blocked(&peer(1)));
        for _ in 0..100 {
            conduct.note(&peer(2), Deed::Served);
        }
        conduct.note(&peer(2), Deed::Lied);
        assert!(conduct.is_blocked(&peer(2)));
        assert!(conduct.score(&peer(2)) < conduct.score(&peer(1)));
        let kept = Conduct::new(now_ms);
        kept.restore(conduct.all());
        assert!(kept.is_blocked(&peer(2)));
        NOW_MS.fetch_add(6 * 3_600_000, Ordering::Relaxed);
        assert!(!conduct.is_blocked(&peer(2)));
        assert!(conduct.score(&peer(2)) < 0.0);
        assert!(conduct.score(&peer(3)).abs() < f64::EPSILON);
    }
}
