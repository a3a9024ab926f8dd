//! When the next audit by lot is due: pure, but for the clock's type.

use std::time::Duration;

use tokio::time::Instant;

const DAY: Duration = Duration::from_hours(24);
/// The shortest time between two audits, as a share of the average. The longest is as far above the average.
const SHORTEST: f64 = 0.5;

/// So many a day, spread evenly and not foreseeable to the second.
#[derive(Debug)]
pub(super) struct Pace {
    interval: Duration,
    next: Instant,
}

impl Pace {
    /// `per_day` of them, the first within one interval of `now`, wherever in it `share` (0 to 1) says: a
    /// node that restarts again and again asks no more often. `None` for none at all.
    pub(super) fn new(per_day: u32, now: Instant, share: f64) -> Option<Self> {
        let interval = DAY.checked_div(per_day)?;
        Some(Self {
            interval,
            next: now + interval.mul_f64(share),
        })
    }

    /// When the next one is due.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// One was due. The next follows by an interval, give or take half of it as `share` says; what a node
    /// missed while it was held up is not made up for.
    pub(super) fn go_on(&mut self, now: Instant, share: f64) {
        let next = self.next + self.interval.mul_f64(SHORTEST + share);
        self.next = next.max(now);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::chance::Chance;
    use crate::chance::tests::Seeded;

    #[test]
    fn a_day_has_as_many_as_are_set_and_every_hour_its_share() {
        let seeded = Seeded::new(3);
        let chance: &dyn Chance = &seeded;
        let start = Instant::now();
        let mut pace = Pace::new(2400, start, chance.share().unwrap()).unwrap();
        let mut hours = [0_u32; 24];
        let mut gaps = Vec::new();
        while pace.next() < start + DAY {
            let hour = (pace.next() - start).as_secs() / 3600;
            hours[usize::try_from(hour).unwrap()] += 1;
            let now = pace.next();
            pace.go_on(now, chance.share().unwrap());
            gaps.push((pace.next() - now).as_secs());
        }
        let day: u32 = hours.iter().sum();
        assert!((2350..=2450).contains(&day), "{day}");
        assert!(
            hours.iter().all(|hour| (85..=115).contains(hour)),
            "{hours:?}"
        );
        assert!(gaps.iter().all(|gap| (18..=54).contains(gap)));
        assert!(gaps.iter().any(|gap| *gap < 24) && gaps.iter().any(|gap| *gap > 48));
    }

    #[test]
    fn a_node_that_restarts_again_and_again_asks_no_more_often() {
        let seeded = Seeded::new(4);
        let chance: &dyn Chance = &seeded;
        let start = Instant::now();
        let (mut now, mut audits) = (start, 0);
        // It restarts every ten minutes for ten days, with an audit every quarter of an hour.
        for _ in 0..1440 {
            let end = now + Duration::from_mins(10);
            let mut pace = Pace::new(96, now, chance.share().unwrap()).unwrap();
            while pace.next() < end {
                audits += 1;
                let due = pace.next();
                pace.go_on(due, chance.share().unwrap());
            }
            now = end;
        }
        assert!((860..=1060).contains(&audits), "{audits}");
    }

    #[test]
    fn none_is_none_and_what_was_missed_is_not_made_up_for() {
        let now = Instant::now();
        assert!(Pace::new(0, now, 0.5).is_none());
        let mut pace = Pace::new(1440, now, 0.0).unwrap();
        let late = now + Duration::from_hours(2);
        pace.go_on(late, 0.5);
        assert_eq!(pace.next(), late);
        pace.go_on(late, 0.5);
        assert_eq!(pace.next(), late + Duration::from_mins(1));
    }
}
