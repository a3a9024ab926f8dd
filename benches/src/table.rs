//! The table: medians of what was measured, beside the limits of the same run, and what was to be
//! reached.
//!
//! Knows nothing of how samples came about: it reads their lines, so a script can alternate programs
//! as it likes. A row whose figure or limit is missing is left out, never guessed.

mod goals;
mod network;
mod print;

use serde::Serialize;

use crate::sample::{Latency, Sample};

pub use network::{latencies as network_latencies, rows as network_rows};
pub use print::{latencies_markdown, markdown};

/// Most memory that a node may ever have resident, in bytes.
const MEMORY_BOUND_BYTES: u64 = 768 << 20;

/// One line of the table: a figure beside another.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Where it was measured: `engine` or `HTTP`, and what.
    pub what: String,
    /// Size of the blobs.
    pub blob: String,
    /// Requests at once.
    pub clients: usize,
    /// The unit of both figures.
    pub unit: Unit,
    /// Median of the rounds.
    pub figure: f64,
    /// Beside what.
    pub beside: String,
    /// Its median.
    pub other: f64,
    /// The one by the other.
    pub ratio: f64,
    /// What the ratio was to reach; for memory, to stay below.
    pub target: Option<f64>,
    /// Whether it did.
    pub verdict: Verdict,
    /// CPU that the server took, and that the other took, where both are servers.
    pub cpu: Option<(Cpu, Cpu)>,
}

/// How long stores took that waited for so many copies.
#[derive(Clone, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Latencies {
    /// Size of the blobs.
    pub blob: String,
    /// Requests at once.
    pub clients: usize,
    /// Durable copies before the answer.
    pub copies: u32,
    /// Half took at most this; median of the rounds, as the others.
    pub p50_micros: f64,
    /// 99 of 100.
    pub p99_micros: f64,
    /// Stores each second.
    pub per_second: f64,
    /// CPU of all nodes together for each store.
    pub cpu_micros: Option<f64>,
}

/// Of a figure.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Unit {
    /// Operations each second.
    OperationsPerSecond,
    /// Content bytes each second.
    BytesPerSecond,
    /// Bytes of memory.
    Bytes,
}

/// Whether a target was met.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// There was none.
    NoTarget,
    /// It was.
    Met,
    /// The other is faster than the disk can sync, so the figure that the disk allows was asked for
    /// instead, and met.
    MetByDisk,
    /// It was not.
    Missed,
}

/// Medians of a server's CPU.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cpu {
    /// Microseconds for each operation.
    pub micros_per_operation: f64,
    /// Seconds for each 10^9 content bytes.
    pub seconds_per_gigabyte: f64,
}

/// Samples of which medians are taken.
#[derive(Clone, Copy, Debug)]
struct Samples<'a>(&'a [Sample]);

impl<'a> Samples<'a> {
    fn of(
        &self,
        subject: &str,
        operation: &str,
        size: &str,
        clients: usize,
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            sample.subject == subject
                && sample.operation == operation
                && sample.size == size
                && sample.clients == clients
        })
    }

    fn figure(&self, key: (&str, &str, &str, usize), unit: Unit) -> Option<f64> {
        let (subject, operation, size, clients) = key;
        median(
            self.of(subject, operation, size, clients)
                .map(|sample| match unit {
                    Unit::OperationsPerSecond => sample.operations_per_second,
                    Unit::BytesPerSecond | Unit::Bytes => sample.bytes_per_second,
                }),
        )
    }

    fn latency(
        &self,
        key: (&str, &str, &str, usize),
        percentile: impl Fn(Latency) -> f64,
    ) -> Option<f64> {
        let (subject, operation, size, clients) = key;
        let taken = self.of(subject, operation, size, clients);
        median(taken.filter_map(|sample| sample.latency.map(&percentile)))
    }

    fn cpu(&self, key: (&str, &str, &str, usize)) -> Option<Cpu> {
        let (subject, operation, size, clients) = key;
        let servers = || {
            self.of(subject, operation, size, clients)
                .filter_map(|sample| sample.server)
        };
        Some(Cpu {
            micros_per_operation: median(servers().map(|server| server.cpu_micros_per_operation))?,
            seconds_per_gigabyte: median(servers().map(|server| server.cpu_seconds_per_gigabyte))?,
        })
    }
}

/// The rows, from what was measured of the engine and over HTTP. Limits are taken from the same of
/// the two that the figure is from.
pub fn rows(engine: &[Sample], http: &[Sample]) -> Vec<Row> {
    let (engine, http) = (Samples(engine), Samples(http));
    let mut rows: Vec<Row> = goals::ENGINE
        .iter()
        .filter_map(|goal| engine_row(engine, goal))
        .collect();
    for goal in goals::HTTP {
        rows.extend(nginx_row(http, goal));
        rows.extend(disk_row(http, goal));
        rows.extend(http_beside_engine_row(engine, http, goal));
    }
    rows.extend(memory_row(http));
    rows
}

/// What failed: each kind of error in each kind of sample, with its number.
pub fn failures(samples: &[Sample]) -> Vec<String> {
    samples
        .iter()
        .flat_map(|sample| {
            sample.errors.iter().map(|(kind, count)| {
                let Sample {
                    subject,
                    operation,
                    size,
                    clients,
                    ..
                } = sample;
                format!("{subject} {operation} {size}, {clients} clients: {count} × {kind}")
            })
        })
        .collect()
}

fn engine_row(samples: Samples<'_>, goal: &goals::EngineGoal) -> Option<Row> {
    let unit = goals::unit_of(goal.size);
    let figure = samples.figure(("engine", goal.operation, goal.size, goal.clients), unit)?;
    let limits = goal.limits.iter().filter_map(|limit| {
        let other = samples.figure((limit, "limit", goal.size, goal.clients), unit)?;
        Some((*limit, other))
    });
    let (beside, other) = limits.min_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let ratio = figure / other;
    Some(Row {
        what: format!("engine {}", goal.operation),
        blob: goal.size.to_owned(),
        clients: goal.clients,
        unit,
        figure,
        beside: beside.to_owned(),
        other,
        ratio,
        target: goal.target,
        verdict: at_least(ratio, goal.target),
        cpu: None,
    })
}

fn nginx_row(samples: Samples<'_>, goal: &goals::HttpGoal) -> Option<Row> {
    let unit = goals::unit_of(goal.size);
    let key = |subject| (subject, goal.operation, goal.size, goal.clients);
    let figure = samples.figure(key("bytecave"), unit)?;
    let other = samples.figure(key("nginx"), unit)?;
    let ratio = figure / other;
    let mut verdict = at_least(ratio, goal.of_nginx);
    if let (Verdict::Missed, Some(of_nginx), Some((limit, of_limit))) =
        (verdict, goal.of_nginx, goal.of_disk)
        && let Some(limit) = samples.figure((limit, "limit", goal.size, goal.clients), unit)
        && of_nginx * other > limit
        && figure >= of_limit * limit
    {
        verdict = Verdict::MetByDisk;
    }
    Some(Row {
        what: format!("HTTP {}", goal.operation),
        blob: goal.size.to_owned(),
        clients: goal.clients,
        unit,
        figure,
        beside: "nginx".to_owned(),
        other,
        ratio,
        target: goal.of_nginx,
        verdict,
        cpu: samples.cpu(key("bytecave")).zip(samples.cpu(key("nginx"))),
    })
}

/// How much of the disk's limit a store over HTTP is; the target stands with nginx's row.
fn disk_row(samples: Samples<'_>, goal: &goals::HttpGoal) -> Option<Row> {
    let unit = goals::unit_of(goal.size);
    let (limit, _) = goal.of_disk?;
    let figure = samples.figure(("bytecave", goal.operation, goal.size, goal.clients), unit)?;
    let other = samples.figure((limit, "limit", goal.size, goal.clients), unit)?;
    Some(Row {
        what: format!("HTTP {}", goal.operation),
        blob: goal.size.to_owned(),
        clients: goal.clients,
        unit,
        figure,
        beside: limit.to_owned(),
        other,
        ratio: figure / other,
        target: None,
        verdict: Verdict::NoTarget,
        cpu: None,
    })
}

fn http_beside_engine_row(
    engine: Samples<'_>,
    http: Samples<'_>,
    goal: &goals::HttpGoal,
) -> Option<Row> {
    let unit = goals::unit_of(goal.size);
    let target = goal.of_engine?;
    let key = |subject| (subject, goal.operation, goal.size, goal.clients);
    let figure = http.figure(key("bytecave"), unit)?;
    let other = engine.figure(key("engine"), unit)?;
    let ratio = figure / other;
    Some(Row {
        what: format!("HTTP {}", goal.operation),
        blob: goal.size.to_owned(),
        clients: goal.clients,
        unit,
        figure,
        beside: "engine".to_owned(),
        other,
        ratio,
        target: Some(target),
        verdict: at_least(ratio, Some(target)),
        cpu: None,
    })
}

fn memory_row(samples: Samples<'_>) -> Option<Row> {
    let nodes = samples
        .0
        .iter()
        .filter(|sample| sample.subject == "bytecave");
    let peak = nodes
        .filter_map(|sample| Some(sample.server?.peak_rss_bytes))
        .max()?;
    let figure = crate::random::f64_of(peak);
    let other = crate::random::f64_of(MEMORY_BOUND_BYTES);
    let ratio = figure / other;
    let verdict = if ratio < 1.0 {
        Verdict::Met
    } else {
        Verdict::Missed
    };
    Some(Row {
        what: "HTTP peak memory".to_owned(),
        blob: "all".to_owned(),
        clients: 16,
        unit: Unit::Bytes,
        figure,
        beside: "bound".to_owned(),
        other,
        ratio,
        target: Some(1.0),
        verdict,
        cpu: None,
    })
}

fn at_least(ratio: f64, target: Option<f64>) -> Verdict {
    match target {
        None => Verdict::NoTarget,
        Some(target) if ratio >= target => Verdict::Met,
        Some(_) => Verdict::Missed,
    }
}

/// The middle one; of two, their mean.
fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = *values.get(values.len().saturating_sub(1) / 2)?;
    Some(f64::midpoint(lower, upper))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sample(subject: &str, operation: &str, size: &str, clients: usize, rate: f64) -> Sample {
        Sample {
            subject: subject.to_owned(),
            operation: operation.to_owned(),
            size: size.to_owned(),
            clients,
            operations_per_second: rate,
            bytes_per_second: rate,
            ..Sample::default()
        }
    }

    #[test]
    fn the_median_is_not_moved_by_one_bad_round() {
        assert_eq!(median([1.0, 900.0, 2.0].into_iter()), Some(2.0));
        assert_eq!(median([1.0, 3.0].into_iter()), Some(2.0));
        assert_eq!(median(std::iter::empty()), None);
    }

    #[test]
    fn the_engine_is_held_against_the_lower_of_two_limits() {
        let samples = [
            sample("engine", "store", "1GiB", 1, 90.0),
            sample("disk", "limit", "1GiB", 1, 300.0),
            sample("core", "limit", "1GiB", 1, 100.0),
        ];
        let rows = rows(&samples, &[]);
        let [row] = rows.as_slice() else {
            panic!("{rows:?}");
        };
        assert_eq!(
            (row.beside.as_str(), row.ratio, row.verdict),
            ("core", 0.9, Verdict::Met)
        );
    }

    #[test]
    fn nginx_that_outruns_the_disk_leaves_the_disk_as_the_measure() {
        let verdict = |figure: f64, nginx: f64, disk: f64| {
            let samples = [
                sample("bytecave", "store", "64MiB", 16, figure),
                sample("nginx", "store", "64MiB", 16, nginx),
                sample("disk", "limit", "64MiB", 16, disk),
            ];
            rows(&[], &samples)
                .iter()
                .find(|row| row.beside == "nginx")
                .unwrap()
                .verdict
        };
        assert_eq!(verdict(95.0, 100.0, 200.0), Verdict::Met);
        assert_eq!(verdict(80.0, 100.0, 200.0), Verdict::Missed);
        assert_eq!(verdict(80.0, 200.0, 100.0), Verdict::MetByDisk);
        assert_eq!(verdict(70.0, 200.0, 100.0), Verdict::Missed);
    }

    #[test]
    fn a_missing_limit_leaves_the_row_out() {
        assert_eq!(rows(&[sample("engine", "store", "4KiB", 1, 90.0)], &[]), []);
    }

    #[test]
    fn memory_is_the_highest_peak_of_the_node_alone() {
        let with_peak = |subject: &str, peak_rss_bytes| Sample {
            server: Some(crate::sample::ServerUsage {
                peak_rss_bytes,
                ..Default::default()
            }),
            ..sample(subject, "store", "4KiB", 16, 1.0)
        };
        let samples = [
            with_peak("bytecave", 100 << 20),
            with_peak("bytecave", 800 << 20),
            with_peak("nginx", 900 << 20),
        ];
        let rows = rows(&[], &samples);
        let memory = rows.iter().find(|row| row.unit == Unit::Bytes).unwrap();
        assert_eq!(memory.verdict, Verdict::Missed);
        assert!((memory.figure - f64::from(800 << 20)).abs() < 1.0);
    }

    #[test]
    fn failures_are_named() {
        let mut failed = sample("bytecave", "store", "4KiB", 16, 1.0);
        failed.errors.insert("503".to_owned(), 2);
        assert_eq!(
            failures(&[failed]),
            ["bytecave store 4KiB, 16 clients: 2 × 503"]
        );
    }
}
