//! Measures what the line between two nodes can carry; see `--help`.

use std::io::Write as _;
use std::process::ExitCode;

use bytecave_bench::network::{self, LimitOptions};
use clap::{Parser, Subcommand};

/// Measures what a line between two nodes can carry, without the nodes.
#[derive(Parser, Debug)]
#[command(name = "bytecave-bench-network", version)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Blobs of one size, one after the other over loopback, as a line of JSON.
    Limit(LimitOptions),
}

fn main() -> ExitCode {
    let Command::Limit(options) = Options::parse().command;
    match limit(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bytecave-bench-network: {error}");
            ExitCode::FAILURE
        }
    }
}

fn limit(options: &LimitOptions) -> Result<(), Box<dyn std::error::Error>> {
    let sample = network::limit(options)?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&sample)?)?;
    Ok(())
}
