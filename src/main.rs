//! `bytecave`: the program. Composition root and command line, nothing else.
//!
//! `node` starts and stops a node, `wiring` connects the six actors, `data_dir` owns the directory
//! with its lock and keys, `telemetry` the log, `cli` everything that a person types, `start_message`
//! what a start says of the network.

mod cli;
mod data_dir;
mod node;
mod start_message;
mod telemetry;
mod wiring;

fn main() -> std::process::ExitCode {
    cli::main()
}
