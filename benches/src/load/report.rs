//! The result as text for people.

use std::fmt::Write as _;

use super::run::Outcome;
use crate::random::f64_of;
use crate::sample::Sample;

/// One paragraph, several lines, with a line break at the end.
pub fn text(outcome: &Outcome) -> String {
    let sample = &outcome.sample;
    let mut lines = vec![headline(sample), throughput(sample)];
    if let Some(latency) = sample.latency {
        lines.push(format!(
            "  latency     p50 {}  p90 {}  p99 {}  p99.9 {}  max {}",
            time(latency.p50_micros),
            time(latency.p90_micros),
            time(latency.p99_micros),
            time(latency.p999_micros),
            time(latency.max_micros),
        ));
    }
    if let Some(server) = sample.server {
        let per_gigabyte = if sample.bytes == 0 {
            String::new()
        } else {
            format!("  {:.2} s/GB", server.cpu_seconds_per_gigabyte)
        };
        lines.push(format!(
            "  server CPU  {}/op{per_gigabyte}  ({:.2} s; memory {:.0} MiB, peak {:.0} MiB)",
            time(server.cpu_micros_per_operation),
            server.cpu_seconds,
            mebibytes(server.rss_bytes),
            mebibytes(server.peak_rss_bytes),
        ));
    }
    lines.push(format!("  client CPU  {:.2} s", sample.client_cpu_seconds));
    if sample.errors.is_empty() {
        lines.push("  errors      none".to_owned());
    }
    for (kind, count) in &sample.errors {
        let example = outcome
            .examples
            .get(kind)
            .map(String::as_str)
            .unwrap_or_default();
        lines.push(format!(
            "  errors      {kind}: {count} (the first: {})",
            example.trim()
        ));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn headline(sample: &Sample) -> String {
    let mut line = format!("{} {}", sample.subject, sample.operation);
    if !sample.size.is_empty() {
        let _ = write!(line, " {}", sample.size);
    }
    let _ = write!(
        line,
        ", {} clients, {:.1} s",
        sample.clients, sample.seconds
    );
    line
}

fn throughput(sample: &Sample) -> String {
    let mut line = format!("  throughput  {:.1} ops/s", sample.operations_per_second);
    if sample.bytes > 0 {
        let _ = write!(line, "  {:.1} MB/s", sample.bytes_per_second / 1e6);
    }
    let _ = write!(line, "  ({} operations)", sample.operations);
    line
}

/// A time given in microseconds, in the unit that suits it.
fn time(micros: f64) -> String {
    if micros < 1_000.0 {
        format!("{micros:.0} µs")
    } else if micros < 1_000_000.0 {
        format!("{:.2} ms", micros / 1e3)
    } else {
        format!("{:.2} s", micros / 1e6)
    }
}

fn mebibytes(bytes: u64) -> f64 {
    f64_of(bytes) / f64_of(1 << 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_names_what_matters_and_what_failed() {
        let sample = Sample {
            subject: "bytecave".to_owned(),
            operation: "store".to_owned(),
            size: "4KiB".to_owned(),
            clients: 16,
            operations: 10,
            bytes: 40_960,
            seconds: 1.0,
            operations_per_second: 10.0,
            bytes_per_second: 40_960.0,
            errors: [("503".to_owned(), 3)].into(),
            ..Sample::default()
        };
        let examples = [("503".to_owned(), "{\"code\":\"full\"}".to_owned())].into();
        let text = text(&Outcome { sample, examples });
        assert!(
            text.starts_with("bytecave store 4KiB, 16 clients"),
            "{text}"
        );
        assert!(
            text.contains("503: 3 (the first: {\"code\":\"full\"})"),
            "{text}"
        );
        assert!(!text.contains("errors      none"), "{text}");
    }

    #[test]
    fn times_have_the_unit_that_suits_them() {
        assert_eq!(time(12.4), "12 µs");
        assert_eq!(time(1_250.0), "1.25 ms");
        assert_eq!(time(2_500_000.0), "2.50 s");
    }
}
