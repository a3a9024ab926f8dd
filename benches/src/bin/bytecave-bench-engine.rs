//! Measures the engine beside the machine's own limits; see `--help`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

use bytecave_bench::engine::{self, LimitOptions, RunOptions};
use bytecave_bench::sample::Sample;
use bytecave_bench::table;
use clap::{Parser, Subcommand};

/// Measures the engine without HTTP, beside what the machine itself can do, alternately in one run.
#[derive(Parser, Debug)]
#[command(name = "bytecave-bench-engine", version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Stores and reads of all sizes beside their limits, as one table.
    Run(RunOptions),
    /// One limit alone, as a line of JSON.
    Limit(LimitOptions),
}

fn main() -> ExitCode {
    let result = match Options::parse().command {
        Command::Run(options) => run(&options),
        Command::Limit(options) => limit(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bytecave-bench-engine: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &RunOptions) -> Result<(), Box<dyn std::error::Error>> {
    let samples = engine::run(options, &mut |sample| {
        let _ = writeln!(std::io::stderr(), "{}", line(sample));
    })?;
    let rows = table::rows(&samples, &[]);
    let text = if options.json {
        let mut text = serde_json::to_string(&rows)?;
        text.push('\n');
        text
    } else {
        table::markdown(&rows)
    };
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(())
}

fn limit(options: &LimitOptions) -> Result<(), Box<dyn std::error::Error>> {
    let sample = engine::limit(options)?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&sample)?)?;
    Ok(())
}

fn line(sample: &Sample) -> String {
    let Sample {
        subject,
        operation,
        size,
        clients,
        ..
    } = sample;
    let mut line = format!(
        "{subject:<7} {operation:<14} {size:>6} x{clients:<3} {:>9.0} /s {:>7.0} MB/s",
        sample.operations_per_second,
        sample.bytes_per_second / 1e6,
    );
    if let Some(read) = sample.disk_read_bytes {
        let _ = write!(
            line,
            "  ({read} of {} bytes came from the disk)",
            sample.bytes
        );
    }
    line
}
