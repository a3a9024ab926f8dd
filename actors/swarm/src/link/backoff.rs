//! When a link is tried again, and how often its troubles are told.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use tokio::time::Instant;

use super::session::LinkFailure;

/// Time between two lines about one link, whatever happens to it.
const BETWEEN_LINES: Duration = Duration::from_mins(1);
/// Time after which a trouble that goes on is told again.
const TELL_AGAIN: Duration = Duration::from_mins(30);

/// Waits that double, each shortened by chance to between half and all of it, so that the nodes of
/// a relay that was restarted do not come back in one moment.
#[derive(Debug)]
pub(super) struct Backoff {
    first: Duration,
    last: Duration,
    next: Duration,
}

impl Backoff {
    pub(super) fn new(first: Duration, last: Duration) -> Self {
        let next = first;
        Self { first, last, next }
    }

    /// How long to wait now.
    pub(super) fn next(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(self.last);
        // Hash maps of the standard library are seeded at random; this is such a seed.
        let chance = RandomState::new().hash_one(0) % 1000;
        let chance = u32::try_from(chance).unwrap_or_default();
        whole / 2 + whole / 2 * chance / 1000
    }

    /// The last attempt went well: begin again with the shortest wait.
    pub(super) fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Says what is wrong with a link, and does not repeat itself.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    last: Option<(Instant, String)>,
}

impl Complaints {
    /// The link is down.
    pub(super) fn failed(&mut self, relay: &str, failure: &LinkFailure) {
        let reason = failure.to_string();
        if self.is_news(&reason) {
            let remedy = failure.remedy();
            tracing::warn!(
                relay,
                reason,
                remedy,
                "Storage link down; it is tried again"
            );
        }
    }

    /// The relay sent an error of its own.
    pub(super) fn relay_said(&mut self, relay: &str, error: &str) {
        if self.is_news(error) {
            tracing::warn!(relay, error, "the relay of a storage link reports an error");
        }
    }

    /// The link stands: the next trouble is a new one.
    pub(super) fn registered(&mut self) {
        if let Some((_, reason)) = &mut self.last {
            reason.clear();
        }
    }

    fn is_news(&mut self, reason: &str) -> bool {
        let told = self.last.as_ref().is_some_and(|(at, told)| {
            let quiet_for = if told == reason {
                TELL_AGAIN
            } else {
                BETWEEN_LINES
            };
            at.elapsed() < quiet_for
        });
        if !told {
            self.last = Some((Instant::now(), reason.to_owned()));
        }
        !told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_last_and_start_again() {
        let first = Duration::from_secs(1);
        let last = Duration::from_mins(1);
        let mut backoff = Backoff::new(first, last);
        for whole in [1, 2, 4, 8, 16, 32, 60, 60, 60] {
            let whole = Duration::from_secs(whole);
            let wait = backoff.next();
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
        }
        backoff.reset();
        assert!(backoff.next() <= first);
    }

    #[test]
    fn waits_differ_from_node_to_node() {
        let waits: std::collections::BTreeSet<Duration> = (0..64)
            .map(|_| Backoff::new(Duration::from_mins(1), Duration::from_mins(1)).next())
            .collect();
        assert!(waits.len() > 8, "{waits:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_trouble_is_told_once_and_after_a_while_again() {
        let mut complaints = Complaints::default();
        assert!(complaints.is_news("refused"));
        assert!(!complaints.is_news("refused"));
        assert!(!complaints.is_news("another"), "one line a minute");
        tokio::time::advance(BETWEEN_LINES).await;
        assert!(!complaints.is_news("refused"));
        assert!(complaints.is_news("another"));
        tokio::time::advance(TELL_AGAIN).await;
        assert!(complaints.is_news("another"));
        complaints.registered();
        tokio::time::advance(BETWEEN_LINES).await;
        assert!(complaints.is_news("another"));
    }
}
