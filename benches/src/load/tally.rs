//! What one client counted; the clients' tallies are added up at the end.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;

use crate::random::f64_of;
use crate::sample::Latency;

/// Digits of a latency that are kept: three are a thousandth, finer than any repetition.
const DIGITS: u8 = 3;
/// Bytes of an error's text that are kept as an example.
const EXAMPLE_BYTES: usize = 300;

/// Counts of one client, or of all.
#[derive(Debug)]
pub(super) struct Tally {
    /// Operations that succeeded.
    pub(super) operations: u64,
    /// Content bytes that these moved.
    pub(super) bytes: u64,
    /// Nanoseconds that each took.
    latency: Option<Histogram<u64>>,
    /// What failed: status or kind, how often, and what the first one said.
    pub(super) errors: BTreeMap<String, Failure>,
}

/// Failures of one kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// How often.
    pub(super) count: u64,
    /// What the first one said.
    pub(super) example: String,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self {
            operations: 0,
            bytes: 0,
            // Fails only for more digits than five.
            latency: Histogram::new(DIGITS).ok(),
            errors: BTreeMap::new(),
        }
    }

    /// An operation succeeded.
    pub(super) fn succeeded(&mut self, bytes: u64, nanoseconds: u64) {
        self.operations += 1;
        self.bytes += bytes;
        if let Some(latency) = &mut self.latency {
            // It grows as needed, so no value is out of its range.
            let _ = latency.record(nanoseconds);
        }
    }

    /// An operation failed.
    pub(super) fn failed(&mut self, kind: String, said: &str) {
        let failure = self.errors.entry(kind).or_insert_with(|| Failure {
            count: 0,
            example: said.chars().take(EXAMPLE_BYTES).collect(),
        });
        failure.count += 1;
    }

    /// Adds another client's.
    pub(super) fn add(&mut self, other: Self) {
        self.operations += other.operations;
        self.bytes += other.bytes;
        if let (Some(latency), Some(more)) = (&mut self.latency, &other.latency) {
            // Both have the same digits and grow as needed, so adding cannot fail.
            let _ = latency.add(more);
        }
        for (kind, failure) in other.errors {
            self.errors
                .entry(kind)
                .and_modify(|known| known.count += failure.count)
                .or_insert(failure);
        }
    }

    /// How many failed.
    pub(super) fn failures(&self) -> u64 {
        self.errors.values().map(|failure| failure.count).sum()
    }

    /// Percentiles, when anything succeeded.
    pub(super) fn latency(&self) -> Option<Latency> {
        let latency = self
            .latency
            .as_ref()
            .filter(|latency| !latency.is_empty())?;
        let micros = |quantile| f64_of(latency.value_at_quantile(quantile)) / 1000.0;
        Some(Latency {
            p50_micros: micros(0.5),
            p90_micros: micros(0.9),
            p99_micros: micros(0.99),
            p999_micros: micros(0.999),
            max_micros: f64_of(latency.max()) / 1000.0,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tallies_add_up() {
        let mut all = Tally::new();
        for client in 0..2u64 {
            let mut tally = Tally::new();
            (1..=1000).for_each(|n| tally.succeeded(10, (client * 1000 + n) * 1000));
            tally.failed("503".to_owned(), &format!("client {client}"));
            all.add(tally);
        }
        assert_eq!(
            (all.operations, all.bytes, all.failures()),
            (2000, 20_000, 2)
        );
        assert_eq!(all.errors["503"].example, "client 0");
        let latency = all.latency().unwrap();
        let near = |actual: f64, expected: f64| (actual / expected - 1.0).abs() < 0.01;
        assert!(
            near(latency.p50_micros, 1000.0) && near(latency.p99_micros, 1980.0),
            "{latency:?}"
        );
    }

    #[test]
    fn nothing_succeeded_has_no_latency() {
        let mut tally = Tally::new();
        tally.failed("connect".to_owned(), &"x".repeat(10_000));
        assert_eq!(tally.latency(), None);
        assert!(tally.errors["connect"].example.len() <= EXAMPLE_BYTES);
    }
}
