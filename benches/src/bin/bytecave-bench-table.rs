//! Makes the table out of what `bytecave-bench-engine` and `bytecave-load` wrote; see `--help`.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bytecave_bench::sample::Sample;
use bytecave_bench::table;
use clap::Parser;

/// Prints the medians of measurements beside the machine's limits, and which targets were met.
#[derive(Parser, Debug)]
#[command(name = "bytecave-bench-table", version)]
struct Options {
    /// Lines of JSON about the engine and the limits taken beside it.
    #[arg(long)]
    engine: Option<PathBuf>,
    /// Lines of JSON about servers and the limits taken beside them.
    #[arg(long)]
    http: Option<PathBuf>,
    /// Lines of JSON about blobs that go from node to node, and the limits taken beside them.
    #[arg(long)]
    network: Option<PathBuf>,
    /// Print the rows as JSON.
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    match print(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bytecave-bench-table: {error}");
            ExitCode::FAILURE
        }
    }
}

fn print(options: &Options) -> Result<(), Box<dyn std::error::Error>> {
    let engine = read(options.engine.as_deref())?;
    let http = read(options.http.as_deref())?;
    let network = read(options.network.as_deref())?;
    let mut rows = table::rows(&engine, &http);
    rows.extend(table::network_rows(&network));
    let latencies = table::network_latencies(&network);
    let mut text = String::new();
    if options.json {
        text.push_str(&serde_json::to_string(&rows)?);
        text.push('\n');
        if !latencies.is_empty() {
            text.push_str(&serde_json::to_string(&latencies)?);
            text.push('\n');
        }
    } else {
        if !rows.is_empty() || latencies.is_empty() {
            text.push_str(&table::markdown(&rows));
        }
        if !latencies.is_empty() {
            text.push('\n');
            text.push_str(&table::latencies_markdown(&latencies));
        }
    }
    let failures = [&engine, &http, &network].map(|samples| table::failures(samples));
    let failures = failures.concat();
    if !options.json && !failures.is_empty() {
        text.push_str("\nFailed, so the figures are not to be trusted:\n");
        for failure in failures {
            text.push_str("- ");
            text.push_str(&failure);
            text.push('\n');
        }
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn read(path: Option<&Path>) -> Result<Vec<Sample>, Box<dyn std::error::Error>> {
    let Some(path) = path else {
        return Ok(Vec::new());
    };
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.lines()
        .zip(1..)
        .map(|(line, number)| {
            serde_json::from_str(line)
                .map_err(|error| format!("{}, line {number}: {error}", path.display()).into())
        })
        .collect()
}
