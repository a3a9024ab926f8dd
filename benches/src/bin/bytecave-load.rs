//! Drives a running node over HTTP and prints how fast it was; see `--help`.
//!
//! Exit codes: 0 when all went well, 1 when it could not run, 3 when requests failed.

use std::io::Write as _;
use std::process::ExitCode;

use bytecave_bench::load::{self, Options};
use clap::Parser as _;

/// The measurement was made, but some requests failed.
const SOME_FAILED: u8 = 3;

fn main() -> ExitCode {
    let options = Options::parse();
    match measure(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(SOME_FAILED),
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "bytecave-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every request succeeded.
fn measure(options: &Options) -> Result<bool, Box<dyn std::error::Error>> {
    let outcome = load::run(options)?;
    if let Some(path) = &options.append {
        outcome.sample.append_to(path)?;
    }
    let mut text = if options.json {
        serde_json::to_string(&outcome.sample)?
    } else {
        load::report_text(&outcome)
    };
    if options.json {
        text.push('\n');
    }
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(outcome.sample.errors.is_empty())
}
