//! How fast something goes on: a token bucket, kept as the moment at which it is paid for (GCRA).

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So much per second on average.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: u64,
    /// What may be ahead of the average, as the time that it takes.
    burst: Duration,
    /// When everything so far is paid for.
    paid_at: Mutex<Option<Instant>>,
}

impl Pace {
    /// `per_second` of something, and what `burst` of time brings at once.
    pub(super) fn new(per_second: u64, burst: Duration) -> Self {
        Self {
            per_second: per_second.max(1),
            burst,
            paid_at: Mutex::new(None),
        }
    }

    /// Spends `amount`, and waits until it was time for it.
    pub(super) async fn spend(&self, amount: u64) {
        let paid_at = self.charge(amount);
        if let Some(time) = paid_at.checked_sub(self.burst) {
            tokio::time::sleep_until(time).await;
        }
    }

    /// Spends `amount` if it is time for it. What takes longer than the burst may be spent when
    /// nothing was before.
    pub(super) fn try_spend(&self, amount: u64) -> bool {
        let mut paid_at = self.lock();
        let next = self.next(*paid_at, amount);
        *paid_at = next.or(*paid_at);
        next.is_some()
    }

    /// Whether it is time for `amount`.
    pub(super) fn may_spend(&self, amount: u64) -> bool {
        self.next(*self.lock(), amount).is_some()
    }

    fn next(&self, paid_at: Option<Instant>, amount: u64) -> Option<Instant> {
        let now = Instant::now();
        let from = paid_at.map_or(now, |at| at.max(now));
        let next = from + self.time(amount).min(self.burst);
        (next.saturating_duration_since(now) <= self.burst).then_some(next)
    }

    /// Whether it is as if nothing had ever been spent.
    pub(super) fn is_idle(&self) -> bool {
        self.lock().is_none_or(|at| at <= Instant::now())
    }

    fn charge(&self, amount: u64) -> Instant {
        let mut paid_at = self.lock();
        let now = Instant::now();
        let next = paid_at.map_or(now, |at| at.max(now)) + self.time(amount);
        *paid_at = Some(next);
        next
    }

    fn time(&self, amount: u64) -> Duration {
        // In microseconds: exact, and longer than anybody waits.
        let micros = u128::from(amount) * 1_000_000 / u128::from(self.per_second);
        Duration::from_micros(
            u64::try_from(micros)
                .unwrap_or(u64::MAX)
                .min(u64::MAX >> 12),
        )
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.paid_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_average_holds_whoever_spends() {
        let pace = Pace::new(1000, Duration::from_secs(1));
        let start = Instant::now();
        for _ in 0..50 {
            pace.spend(100).await;
        }
        // 5000 in all, of which the first 1000 are free.
        assert_eq!(start.elapsed().as_secs(), 4);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert!(pace.is_idle());
        let start = Instant::now();
        pace.spend(1000).await;
        assert_eq!(start.elapsed().as_secs(), 0);
        pace.spend(10_000).await;
        assert_eq!(start.elapsed().as_secs(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_is_not_spent() {
        let pace = Pace::new(10, Duration::from_secs(10));
        assert!(pace.try_spend(60));
        assert!(!pace.try_spend(60));
        assert!(pace.try_spend(40));
        tokio::time::sleep(Duration::from_secs(6)).await;
        assert!(pace.try_spend(60));
        assert!(!pace.try_spend(1));
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert!(pace.try_spend(1_000_000), "it would never fit");
        assert!(!pace.try_spend(1));
    }
}
