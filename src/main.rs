//! `bytecave`: the program. Composition root and command line, nothing else.
//!
//! `node` starts and stops a node, `wiring` connects the six actors, `data_dir` owns the directory
//! with its lock and keys, `telemetry` the log, `cli` everything that a person types.

mod cli;
mod data_dir;
mod node;
mod telemetry;
mod wiring;

fn main() -> std::process::ExitCode {
    cli::main()
}
