//! The table as text: Markdown that also reads well on a terminal.

use std::fmt::Write as _;

use super::{Latencies, Row, Unit, Verdict};
use crate::random::f64_of;

const HEADINGS: [&str; 11] = [
    "what",
    "blob",
    "clients",
    "figure",
    "beside",
    "its figure",
    "ratio",
    "target",
    "met",
    "CPU/op",
    "CPU s/GB",
];

const LATENCY_HEADINGS: [&str; 7] = [
    "blob", "clients", "copies", "p50", "p99", "stores/s", "CPU/op",
];

/// The rows as a Markdown table, columns aligned.
pub fn markdown(rows: &[Row]) -> String {
    table(HEADINGS, rows.iter().map(cells))
}

/// The same of latencies.
pub fn latencies_markdown(latencies: &[Latencies]) -> String {
    let milliseconds = |micros: f64| format!("{:.2} ms", micros / 1e3);
    let cells = latencies.iter().map(|line| {
        [
            line.blob.clone(),
            line.clients.to_string(),
            line.copies.to_string(),
            milliseconds(line.p50_micros),
            milliseconds(line.p99_micros),
            format!("{:.0}", line.per_second),
            line.cpu_micros
                .map(|micros| format!("{micros:.0} µs"))
                .unwrap_or_default(),
        ]
    });
    table(LATENCY_HEADINGS, cells)
}

fn table<const COLUMNS: usize>(
    headings: [&str; COLUMNS],
    cells: impl Iterator<Item = [String; COLUMNS]>,
) -> String {
    let mut lines = vec![headings.map(str::to_owned)];
    lines.extend(cells);
    let mut widths = [0; COLUMNS];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let mut text = String::new();
    for (number, line) in lines.iter().enumerate() {
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(text, "| {cell:<width$} ");
        }
        text.push_str("|\n");
        if number == 0 {
            for width in widths {
                let _ = write!(text, "|{}", "-".repeat(width + 2));
            }
            text.push_str("|\n");
        }
    }
    text
}

fn cells(row: &Row) -> [String; HEADINGS.len()] {
    let sign = if row.unit == Unit::Bytes { "<" } else { "≥" };
    let (per_operation, per_gigabyte) = row.cpu.map_or_else(Default::default, |(ours, theirs)| {
        (
            format!(
                "{:.0} / {:.0} µs",
                ours.micros_per_operation, theirs.micros_per_operation
            ),
            format!(
                "{:.2} / {:.2}",
                ours.seconds_per_gigabyte, theirs.seconds_per_gigabyte
            ),
        )
    });
    [
        row.what.clone(),
        row.blob.clone(),
        row.clients.to_string(),
        figure(row.figure, row.unit),
        row.beside.clone(),
        figure(row.other, row.unit),
        format!("{:.2}", row.ratio),
        row.target
            .map(|target| format!("{sign} {target}"))
            .unwrap_or_default(),
        match row.verdict {
            Verdict::NoTarget => "",
            Verdict::Met => "yes",
            Verdict::MetByDisk => "yes (disk)",
            Verdict::Missed => "no",
        }
        .to_owned(),
        per_operation,
        per_gigabyte,
    ]
}

fn figure(value: f64, unit: Unit) -> String {
    match unit {
        Unit::OperationsPerSecond => format!("{value:.0} /s"),
        Unit::BytesPerSecond => format!("{:.0} MB/s", value / 1e6),
        Unit::Bytes => format!("{:.0} MiB", value / f64_of(1 << 20)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Cpu;
    use super::*;

    #[test]
    fn every_line_has_the_same_width_and_all_columns() {
        let cpu = |micros_per_operation| Cpu {
            micros_per_operation,
            seconds_per_gigabyte: 1.5,
        };
        let row = Row {
            what: "HTTP store".to_owned(),
            blob: "4KiB".to_owned(),
            clients: 16,
            unit: Unit::OperationsPerSecond,
            figure: 12_345.6,
            beside: "nginx".to_owned(),
            other: 20_000.0,
            ratio: 0.617,
            target: Some(0.5),
            verdict: Verdict::Met,
            cpu: Some((cpu(120.0), cpu(60.0))),
        };
        let memory = Row {
            unit: Unit::Bytes,
            cpu: None,
            ..row.clone()
        };
        let text = markdown(&[row, memory]);
        let widths: Vec<usize> = text.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]), "{text}");
        assert_eq!(text.lines().count(), 4);
        for cell in [
            "12346 /s",
            "0.62",
            "≥ 0.5",
            "< 0.5",
            "yes",
            "120 / 60 µs",
            "1.50 / 1.50",
        ] {
            assert!(text.contains(cell), "{cell} in {text}");
        }
    }
}
