//! Copies between nodes: beside the bare stream, the bare line, and the same without the other node.

use super::{Latencies, Row, Samples, Unit, at_least};
use crate::sample::Sample;
use crate::size::parse_size;

/// What a fetch and a forwarded store of a large blob are to reach of the bare stream.
const OF_STREAM: f64 = 0.85;
/// From here a blob is large.
const LARGE_BYTES: u64 = 16 << 20;
/// Requests at once: one, as the limits have it.
const CLIENTS: usize = 1;

/// The rows of blobs that go from node to node: read, and stored, at the node that does not keep their shard
/// (`peer`), and at the one that does (`local`).
pub fn rows(samples: &[Sample]) -> Vec<Row> {
    let all = Samples(samples);
    let mut rows = Vec::new();
    for operation in ["retrieve", "store"] {
        for size in sizes(samples, operation) {
            rows.extend(row(all, operation, &size, ("stream", "limit")));
            rows.extend(row(all, operation, &size, ("tcp", "limit")));
            rows.extend(row(all, operation, &size, ("local", operation)));
        }
    }
    rows
}

/// The sizes of which there is a figure, ascending.
fn sizes(samples: &[Sample], operation: &str) -> Vec<String> {
    let peers = samples
        .iter()
        .filter(|sample| sample.subject == "peer" && sample.operation == operation);
    let mut sizes: Vec<String> = peers.map(|sample| sample.size.clone()).collect();
    sizes.sort_by_key(|size| parse_size(size).unwrap_or(u64::MAX));
    sizes.dedup();
    sizes
}

fn row(samples: Samples<'_>, operation: &str, size: &str, beside: (&str, &str)) -> Option<Row> {
    let unit = Unit::BytesPerSecond;
    let (other, other_operation) = beside;
    let ours = ("peer", operation, size, CLIENTS);
    let theirs = (other, other_operation, size, CLIENTS);
    let figure = samples.figure(ours, unit)?;
    let limit = samples.figure(theirs, unit)?;
    let is_large = parse_size(size).is_ok_and(|bytes| bytes >= LARGE_BYTES);
    let target = (other == "stream" && is_large).then_some(OF_STREAM);
    let ratio = figure / limit;
    Some(Row {
        what: format!("{operation} by a peer"),
        blob: size.to_owned(),
        clients: CLIENTS,
        unit,
        figure,
        beside: other.to_owned(),
        other: limit,
        ratio,
        target,
        verdict: at_least(ratio, target),
        cpu: samples.cpu(ours).zip(samples.cpu(theirs)),
    })
}

/// What a store costs that waits for so many copies: one line for each size, number of clients and number of
/// copies, in this order.
pub fn latencies(samples: &[Sample]) -> Vec<Latencies> {
    let all = Samples(samples);
    let mut keys: Vec<(u64, &str, usize, u32)> = samples
        .iter()
        .filter_map(|sample| {
            let copies = sample.subject.strip_prefix("copies-")?.parse().ok()?;
            let bytes = parse_size(&sample.size).ok()?;
            Some((bytes, sample.size.as_str(), sample.clients, copies))
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys.into_iter()
        .filter_map(|(_, size, clients, copies)| {
            let subject = format!("copies-{copies}");
            let key = (subject.as_str(), "store", size, clients);
            Some(Latencies {
                blob: size.to_owned(),
                clients,
                copies,
                p50_micros: all.latency(key, |latency| latency.p50_micros)?,
                p99_micros: all.latency(key, |latency| latency.p99_micros)?,
                per_second: all.figure(key, Unit::OperationsPerSecond)?,
                cpu_micros: all.cpu(key).map(|cpu| cpu.micros_per_operation),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Verdict;
    use super::*;
    use crate::sample::Latency;

    fn sample(subject: &str, operation: &str, size: &str, rate: f64) -> Sample {
        Sample {
            subject: subject.to_owned(),
            operation: operation.to_owned(),
            size: size.to_owned(),
            clients: 1,
            operations_per_second: rate,
            bytes_per_second: rate,
            ..Sample::default()
        }
    }

    #[test]
    fn only_large_blobs_have_a_target_and_only_beside_the_stream() {
        let mut samples = Vec::new();
        for size in ["1GiB", "64KiB", "16MiB"] {
            samples.push(sample("peer", "retrieve", size, 80.0));
            samples.push(sample("stream", "limit", size, 100.0));
            samples.push(sample("local", "retrieve", size, 200.0));
        }
        let rows = rows(&samples);
        let with_target: Vec<(&str, &str)> = rows
            .iter()
            .filter(|row| row.target.is_some())
            .map(|row| (row.blob.as_str(), row.beside.as_str()))
            .collect();
        assert_eq!(with_target, [("16MiB", "stream"), ("1GiB", "stream")]);
        assert_eq!(rows.len(), 6, "{rows:?}");
        let missed = rows.iter().filter(|row| row.verdict == Verdict::Missed);
        assert_eq!(missed.count(), 2, "{rows:?}");
    }

    #[test]
    fn latencies_are_medians_of_the_rounds_in_order() {
        let round = |copies: u32, clients, p50_micros| Sample {
            clients,
            latency: Some(Latency {
                p50_micros,
                p99_micros: 10.0 * p50_micros,
                ..Latency::default()
            }),
            ..sample(&format!("copies-{copies}"), "store", "4KiB", 5.0)
        };
        let samples = [
            round(2, 1, 7.0),
            round(1, 16, 9.0),
            round(1, 1, 1.0),
            round(1, 1, 900.0),
            round(1, 1, 3.0),
            sample("peer", "store", "4KiB", 1.0),
        ];
        let found = latencies(&samples);
        let keys: Vec<_> = found
            .iter()
            .map(|line| (line.clients, line.copies))
            .collect();
        assert_eq!(keys, [(1, 1), (1, 2), (16, 1)]);
        assert!((found[0].p50_micros - 3.0).abs() < 1e-9, "{found:?}");
        assert!((found[0].p99_micros - 30.0).abs() < 1e-9, "{found:?}");
        assert_eq!(found[0].cpu_micros, None);
    }
}
