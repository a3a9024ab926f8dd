//! What is counted since the start.

use std::sync::atomic::{AtomicU64, Ordering};

use bytecave_messages::proof::Outcome;

/// What is counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Challenges that were answered with a proof.
    pub(crate) answered: Count,
    /// Challenges that were not.
    pub(crate) refused: Count,
    /// Audits by what they found, in the order of [`Outcome::ALL`].
    outcomes: [Count; Outcome::ALL.len()],
    /// Audits that were due and did not take place, or without a verdict because the blob is no longer here.
    pub(crate) skipped: Count,
    /// Blobs read by the scrub.
    pub(crate) scrubbed_blobs: Count,
    /// Content bytes read by it.
    pub(crate) scrubbed_bytes: Count,
    /// Damaged blobs found by it.
    pub(crate) scrub_damaged: Count,
}

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// One more.
    pub(crate) fn one(&self) {
        self.add(1);
    }

    /// So many more.
    pub(crate) fn add(&self, many: u64) {
        self.0.fetch_add(many, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    /// An audit found this.
    pub(crate) fn found(&self, outcome: Outcome) {
        let all = Outcome::ALL.iter().zip(&self.outcomes);
        all.filter(|(one, _)| **one == outcome)
            .for_each(|(_, count)| count.one());
    }

    /// Every counter: name without prefix and `_total`, value.
    pub(crate) fn all(&self) -> Vec<(&'static str, u64)> {
        let mut all = vec![
            ("challenges_answered", self.answered.get()),
            ("challenges_refused", self.refused.get()),
            ("audits_skipped", self.skipped.get()),
            ("scrubbed_blobs", self.scrubbed_blobs.get()),
            ("scrubbed_bytes", self.scrubbed_bytes.get()),
            ("scrub_damaged", self.scrub_damaged.get()),
        ];
        let outcomes = Outcome::ALL.iter().zip(&self.outcomes);
        all.extend(outcomes.map(|(outcome, count)| (name(*outcome), count.get())));
        all
    }
}

const fn name(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "audits_passed",
        Outcome::Failed => "audits_failed",
        Outcome::Contained => "audits_contained",
        Outcome::Offline => "audits_offline",
        Outcome::Declined => "audits_declined",
        Outcome::Unsupported => "audits_unsupported",
        Outcome::Unknown => "audits_unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_outcome_has_its_own_counter() {
        let counters = Counters::default();
        for (many, outcome) in Outcome::ALL.into_iter().enumerate() {
            (0..=many).for_each(|_| counters.found(outcome));
        }
        for (many, outcome) in (1..).zip(Outcome::ALL) {
            let name = format!("audits_{}", outcome.word());
            let found = counters.all().into_iter().find(|(one, _)| *one == name);
            assert_eq!(found.map(|(_, value)| value), Some(many), "{name}");
        }
    }
}
