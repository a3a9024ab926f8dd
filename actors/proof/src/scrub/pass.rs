//! How far a pass of the scrub is, how fast it goes, and when the next one begins: pure.

use std::time::Duration;

use bytecave_core::ShardId;
use bytecave_messages::proof::ScrubView;
use bytecave_messages::store::{ListCursor, Scrubbed};
use serde::{Deserialize, Serialize};

/// Slowest that a pass goes, in bytes per second: a small node is through in minutes, and then rests.
const SLOWEST: u64 = 256 << 10;
/// Share of the period in which a pass is to be through, in percent: the rest is for what is stored meanwhile, and
/// for a node that is switched off at times.
const SPREAD_PERCENT: u64 = 80;
/// Most content bytes of one step, as long as blobs are no larger.
const STEP_MAX_BYTES: u64 = 8 << 20;
/// How long a step takes, if blobs are small enough: what a crash makes it read again.
const STEP_SECONDS: u64 = 4;

/// A pass, the present or the last. None of the names is safe to change.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Pass {
    /// Whether it is under way.
    pub(super) running: bool,
    /// Whether it was asked for: it goes as fast as is allowed.
    pub(super) asked: bool,
    /// Behind which blob it goes on.
    cursor: Option<Cursor>,
    started_at: Option<u64>,
    finished_at: Option<u64>,
    pub(super) blobs: u64,
    pub(super) bytes: u64,
    pub(super) damaged: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Cursor {
    shard: ShardId,
    after: [u8; 32],
}

/// What the settings say.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    /// `proof.scrub_period`; zero switches off all but what is asked for.
    pub(super) period: Duration,
    /// `proof.scrub_bytes_per_second`
    pub(super) most_per_second: u64,
}

impl Pass {
    /// A new one, from the first blob.
    pub(super) fn begin(&mut self, now_ms: u64, asked: bool) {
        *self = Self {
            running: true,
            asked,
            started_at: Some(now_ms),
            finished_at: self.finished_at,
            ..Self::default()
        };
    }

    /// Behind which blob it goes on.
    pub(super) fn after(&self) -> Option<ListCursor> {
        let cursor = self.cursor.as_ref();
        cursor.map(|Cursor { shard, after }| ListCursor {
            shard: *shard,
            after: *after,
        })
    }

    /// One step was done; whether that was the last.
    pub(super) fn follow(&mut self, scrubbed: &Scrubbed, now_ms: u64) -> bool {
        self.blobs = self.blobs.saturating_add(scrubbed.blobs);
        self.bytes = self.bytes.saturating_add(scrubbed.bytes);
        let damaged = u64::try_from(scrubbed.damaged.len()).unwrap_or(u64::MAX);
        self.damaged = self.damaged.saturating_add(damaged);
        self.cursor = scrubbed.next.map(|next| Cursor {
            shard: next.shard,
            after: next.after,
        });
        if self.cursor.is_none() {
            self.running = false;
            self.finished_at = Some(now_ms);
        }
        !self.running
    }

    /// When the next pass begins, milliseconds since 1970; `None` while one runs, and if none does by itself.
    pub(super) fn next_at(&self, now_ms: u64, rules: &Rules) -> Option<u64> {
        if self.running || rules.period.is_zero() {
            return None;
        }
        let period_ms = millis(rules.period);
        let next = self.started_at.map_or(0, |at| at.saturating_add(period_ms));
        // A clock that was set back puts nothing off for longer than a period.
        Some(next.clamp(now_ms, now_ms.saturating_add(period_ms)))
    }

    /// Bytes per second: what is left is spread over what is left of the time, but goes neither slower nor faster
    /// than it may.
    pub(super) fn rate(&self, now_ms: u64, total_bytes: u64, rules: &Rules) -> u64 {
        let most = rules.most_per_second.max(1);
        if self.asked || rules.period.is_zero() {
            return most;
        }
        let spread_ms = u128::from(millis(rules.period)) * u128::from(SPREAD_PERCENT) / 100;
        let passed_ms = now_ms.saturating_sub(self.started_at.unwrap_or(now_ms));
        let left_ms = spread_ms.saturating_sub(u128::from(passed_ms)).max(1);
        let left_bytes = u128::from(total_bytes.saturating_sub(self.bytes));
        let needed = left_bytes * 1000 / left_ms;
        let needed = u64::try_from(needed).unwrap_or(u64::MAX);
        needed.max(SLOWEST).min(most)
    }

    /// What is shown of it.
    pub(super) fn view(&self, now_ms: u64, total_bytes: u64, rules: &Rules) -> ScrubView {
        ScrubView {
            running: self.running,
            started_at: self.started_at,
            finished_at: self.finished_at,
            next_at: self.next_at(now_ms, rules),
            blobs: self.blobs,
            bytes: self.bytes,
            damaged: self.damaged,
            total_bytes,
        }
    }
}

/// Content bytes after which a step begins no further blob.
pub(super) fn step_bytes(rate: u64) -> u64 {
    rate.saturating_mul(STEP_SECONDS).min(STEP_MAX_BYTES)
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY_MS: u64 = 24 * 3_600_000;
    const MONTH: Rules = Rules {
        period: Duration::from_hours(30 * 24),
        most_per_second: 16 << 20,
    };

    fn begun(asked: bool) -> Pass {
        let mut pass = Pass::default();
        pass.begin(1000, asked);
        pass
    }

    #[test]
    fn a_pass_is_spread_over_its_period_and_no_faster_than_allowed() {
        let tib = 1 << 40;
        let rate = begun(false).rate(1000, tib, &MONTH);
        let day_bytes = rate * 24 * 3600;
        assert_eq!(tib / day_bytes, 24, "{rate}: 80 % of 30 days");
        assert_eq!(begun(false).rate(1000, 1 << 20, &MONTH), SLOWEST);
        assert_eq!(begun(false).rate(1000, u64::MAX, &MONTH), 16 << 20);
        assert_eq!(begun(true).rate(1000, 1 << 20, &MONTH), 16 << 20);
        let slow = Rules {
            most_per_second: 64 << 10,
            ..MONTH
        };
        assert_eq!(begun(false).rate(1000, tib, &slow), 64 << 10);
    }

    #[test]
    fn what_was_missed_is_caught_up_with() {
        let tib = 1 << 40;
        let mut pass = begun(false);
        let at_first = pass.rate(1000, tib, &MONTH);
        // Half of it in half of the time: no faster. Nothing more for ten days: twice as fast, about.
        pass.bytes = tib / 2;
        let half = 1000 + 12 * DAY_MS;
        assert!(pass.rate(half, tib, &MONTH).abs_diff(at_first) <= 1);
        let late = pass.rate(half + 6 * DAY_MS, tib, &MONTH);
        assert!(late.abs_diff(2 * at_first) <= 2);
        assert_eq!(pass.rate(u64::MAX, tib, &MONTH), 16 << 20);
    }

    #[test]
    fn the_next_pass_begins_a_period_after_the_last_began() {
        let mut pass = Pass::default();
        assert_eq!(pass.next_at(5000, &MONTH), Some(5000), "the first at once");
        pass.begin(5000, false);
        assert_eq!(pass.next_at(5000, &MONTH), None);
        let end = Scrubbed {
            blobs: 1,
            bytes: 2,
            damaged: Vec::new(),
            next: None,
        };
        assert!(pass.follow(&end, 9000));
        assert_eq!(pass.next_at(9000, &MONTH), Some(5000 + 30 * DAY_MS));
        assert_eq!(pass.next_at(1000, &MONTH), Some(1000 + 30 * DAY_MS));
        let late = 90 * DAY_MS;
        assert_eq!(pass.next_at(late, &MONTH), Some(late));
        let off = Rules {
            period: Duration::ZERO,
            ..MONTH
        };
        assert_eq!(pass.next_at(late, &off), None);
        let view = pass.view(9000, 7, &MONTH);
        assert_eq!((view.blobs, view.bytes, view.total_bytes), (1, 2, 7));
        assert_eq!(
            (view.started_at, view.finished_at),
            (Some(5000), Some(9000))
        );
    }

    #[test]
    fn a_step_takes_seconds_and_has_a_bound() {
        assert_eq!(step_bytes(SLOWEST), 1 << 20);
        assert_eq!(step_bytes(16 << 20), 8 << 20);
        assert_eq!(step_bytes(u64::MAX), 8 << 20);
    }
}
