//! How often a peer may ask.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bytecave_core::PeerId;
use tokio::time::Instant;

/// Peers whose rate is remembered. With more of them the one that asked longest ago is forgotten,
/// who has most likely its whole burst again anyway.
const REMEMBERED: usize = 4096;
/// So many entries of the list that are passed over cost as much as one request.
const PASSED_PER_REQUEST: u64 = 1000;

/// A token bucket for each peer.
#[derive(Debug)]
pub(crate) struct Rates {
    /// 0: no limit.
    per_second: f64,
    burst: f64,
    buckets: Mutex<HashMap<PeerId, Bucket>>,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    at: Instant,
    /// Where the last page of the list ended.
    list_end: u64,
}

impl Rates {
    /// `per_second` requests of each peer on average, and `burst` at once.
    pub(crate) fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: per_second.into(),
            burst: burst.max(1).into(),
            buckets: Mutex::default(),
        }
    }

    /// Whether `peer` may ask now.
    pub(crate) fn take(&self, peer: &PeerId) -> bool {
        self.charge(peer, |bucket| spend(bucket, 1.0))
    }

    /// Whether `peer` may have this page of the list, beyond the request itself. Going on where the
    /// last page ended costs nothing more; a jump costs what is passed over.
    pub(crate) fn take_page(&self, peer: &PeerId, offset: u64, limit: u64) -> bool {
        // Within the burst, or far pages could never be had.
        let passed = (offset / PASSED_PER_REQUEST).min(u32::MAX.into());
        let passed = u32::try_from(passed).map_or(self.burst, f64::from);
        let cost = passed.min(self.burst - 1.0);
        self.charge(peer, |bucket| {
            let goes_on = offset == bucket.list_end;
            let may = goes_on || spend(bucket, cost);
            if may {
                bucket.list_end = offset.saturating_add(limit);
            }
            may
        })
    }

    fn charge(&self, peer: &PeerId, take: impl FnOnce(&mut Bucket) -> bool) -> bool {
        if self.per_second == 0.0 {
            return true;
        }
        let now = Instant::now();
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= REMEMBERED && !buckets.contains_key(peer) {
            let oldest = buckets.iter().min_by_key(|(_, bucket)| bucket.at);
            if let Some(oldest) = oldest.map(|(peer, _)| *peer) {
                buckets.remove(&oldest);
            }
        }
        let bucket = buckets.entry(*peer).or_insert(Bucket {
            tokens: self.burst,
            at: now,
            list_end: 0,
        });
        let earned = now.duration_since(bucket.at).as_secs_f64() * self.per_second;
        bucket.tokens = (bucket.tokens + earned).min(self.burst);
        bucket.at = now;
        take(bucket)
    }
}

fn spend(bucket: &mut Bucket, cost: f64) -> bool {
    let may = bucket.tokens >= cost;
    if may {
        bucket.tokens -= cost;
    }
    may
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytecave_core::PublicKey;

    use super::*;

    fn peer(number: u16) -> PeerId {
        let mut key = [0; 32];
        key[..2].copy_from_slice(&number.to_be_bytes());
        PublicKey::new(key).peer_id()
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_let_through_and_then_the_rate() {
        let rates = Rates::new(2, 5);
        let taken = |who: PeerId| (0..20).filter(|_| rates.take(&who)).count();
        assert_eq!(taken(peer(1)), 5);
        assert_eq!(taken(peer(2)), 5, "each peer has its own");
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(taken(peer(1)), 4);
        tokio::time::advance(Duration::from_hours(1)).await;
        assert_eq!(taken(peer(1)), 5, "no more than a burst is saved up");
    }

    #[tokio::test(start_paused = true)]
    async fn nought_is_no_limit() {
        let rates = Rates::new(0, 1);
        assert!((0..1000).all(|_| rates.take(&peer(1))));
        assert!(rates.buckets.lock().unwrap().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_do_not_grow_the_memory() {
        let rates = Rates::new(1, 1);
        for number in 0..5000 {
            tokio::time::advance(Duration::from_millis(1)).await;
            rates.take(&peer(number));
        }
        assert_eq!(rates.buckets.lock().unwrap().len(), REMEMBERED);
        assert!(!rates.take(&peer(4999)), "the latest is remembered");
        assert!(rates.take(&peer(0)), "the oldest was forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn reading_on_is_cheap_and_jumping_is_not() {
        let rates = Rates::new(1, 10);
        let who = peer(1);
        assert!((0..100).all(|page| rates.take_page(&who, page * 1000, 1000)));
        assert!(
            rates.take_page(&who, 9_000, 1000),
            "a jump that the burst pays"
        );
        assert!(
            !rates.take_page(&who, 500_000, 1000),
            "nothing is left for another"
        );
        assert!(
            rates.take_page(&who, 10_000, 1000),
            "reading on still works"
        );
    }
}
