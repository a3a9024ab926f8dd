//! `bytecave`: the program. Composition root and command line, nothing else.
//!
//! `node` starts and stops a node, `wiring` connects the six actors, `options` tells each what it has to
//! know, `data_dir` owns the directory with its lock and keys, `telemetry` the log, `cli` everything that
//! a person types, `start_message` what a start says of the network.

mod cli;
mod data_dir;
mod node;
mod options;
mod start_message;
mod telemetry;
mod wiring;

fn main() -> std::process::ExitCode {
    cli::main()
}
