//! The command line of `bytecave-load`.

use std::path::PathBuf;
use std::time::Duration;

use bytecave_config::TimeSpan;
use clap::{Parser, ValueEnum};

use crate::size::SizeSpec;

/// Drives a running node over HTTP and says how fast it was.
///
/// Works with any ByteCave node, and with a DAV server (nginx) beside it for comparison.
#[derive(Parser, Clone, Debug)]
#[command(name = "bytecave-load", version)]
pub struct Options {
    /// Where the server listens: http://HOST:PORT, for --target dav with the directory to use. Given more than
    /// once, clients are dealt out to the servers in turn.
    #[arg(long = "url", default_value = "http://127.0.0.1:5001")]
    pub urls: Vec<String>,
    /// How the server is spoken to.
    #[arg(long, value_enum, default_value_t = TargetKind::Bytecave)]
    pub target: TargetKind,
    /// What the clients do.
    #[arg(long, value_enum, default_value_t = Mode::Store)]
    pub mode: Mode,
    /// Sizes of blobs: one (4KiB), several (4KiB,1MiB: each as often), or log:1KiB-8MiB.
    #[arg(long, default_value = "4KiB")]
    pub sizes: SizeSpec,
    /// Clients, each with one connection and one request under way.
    #[arg(long, short = 'c', default_value_t = 16, value_parser = at_least_one)]
    pub concurrency: usize,
    /// How long to measure, such as 10s or 5m.
    #[arg(long, default_value = "10s", value_parser = duration, conflicts_with = "requests")]
    pub duration: Duration,
    /// Measure this many requests instead of a duration.
    #[arg(long)]
    pub requests: Option<u64>,
    /// How long to drive the server before measuring.
    #[arg(long, default_value = "1s", value_parser = duration)]
    pub warm_up: Duration,
    /// With --mode mixed: the share of requests that retrieve, 0 to 1.
    #[arg(long, default_value_t = 0.9, value_parser = share)]
    pub read_ratio: f64,
    /// Blobs to store beforehand for retrieving; unset: about 256 MiB of them, 16 to 10000.
    #[arg(long)]
    pub prepare: Option<u64>,
    /// List of the blobs to retrieve. Where the file is missing it is written when they have been stored; where
    /// it is there nothing is stored, so that another run, or another node, is asked for the same.
    #[arg(long)]
    pub blobs: Option<PathBuf>,
    /// Durable copies to wait for at each store (?replicas=N); unset: the server's default. An answer that says
    /// that fewer were made in time counts as failed. Not with --target dav.
    #[arg(long)]
    pub replicas: Option<u32>,
    /// Compare every retrieved byte with what was stored (costs the client CPU).
    #[arg(long)]
    pub verify: bool,
    /// With --mode path: what to GET.
    #[arg(long, default_value = "/health")]
    pub path: String,
    /// File with the API token, where storing asks for one.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// With --mode prove: leaves that each challenge asks for, 1 to 32.
    #[arg(long, default_value_t = 4)]
    pub leaves: u8,
    /// Requests per second that all clients together begin at most; unset: as many as they can.
    #[arg(long, value_parser = rate)]
    pub rate: Option<f64>,
    /// Longest time for one request; then it counts as failed.
    #[arg(long, default_value = "5m", value_parser = duration)]
    pub timeout: Duration,
    /// Threads of the client.
    #[arg(long, default_value_t = 2, value_parser = at_least_one)]
    pub threads: usize,
    /// Process id of the server on this machine: reports its CPU and memory, workers included. Given more than
    /// once, of all these together.
    #[arg(long = "server-pid")]
    pub server_pids: Vec<u32>,
    /// What the server is called in the results; unset: bytecave or nginx, after --target.
    #[arg(long)]
    pub subject: Option<String>,
    /// Print one line of JSON instead of text.
    #[arg(long)]
    pub json: bool,
    /// Append the line of JSON to this file as well.
    #[arg(long)]
    pub append: Option<PathBuf>,
}

/// How the server is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum TargetKind {
    /// POST /store and GET /retrieve/CID.
    Bytecave,
    /// PUT and GET of a path under the URL, as DAV and static servers do.
    Dav,
}

/// What the clients do.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Mode {
    /// Store blobs that nobody has stored before.
    Store,
    /// Retrieve blobs at random among those stored beforehand.
    Retrieve,
    /// Both, see --read-ratio.
    Mixed,
    /// Challenge the node to prove blobs at random among those stored beforehand, with a nonce that is new each time.
    Prove,
    /// GET one path over and over, such as /health.
    Path,
}

impl Mode {
    /// As on the command line and in the results.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Store => "store",
            Self::Retrieve => "retrieve",
            Self::Mixed => "mixed",
            Self::Prove => "prove",
            Self::Path => "path",
        }
    }
}

impl Options {
    /// What the server is called in the results.
    pub fn subject(&self) -> String {
        self.subject.clone().unwrap_or_else(|| match self.target {
            TargetKind::Bytecave => "bytecave".to_owned(),
            TargetKind::Dav => "nginx".to_owned(),
        })
    }

    /// How many blobs to store beforehand.
    pub fn prepared_blobs(&self) -> u64 {
        /// Enough that a warm run is not all in the processor's cache, and little enough for memory.
        const PREPARED_BYTES: u64 = 256 << 20;
        match self.mode {
            Mode::Store | Mode::Path => 0,
            Mode::Retrieve | Mode::Mixed | Mode::Prove => self.prepare.map_or_else(
                || (PREPARED_BYTES / self.sizes.mean().max(1)).clamp(16, 10_000),
                |count| count.max(1),
            ),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    text.parse::<TimeSpan>()
        .map(Duration::from)
        .map_err(|why| format!("{why}: expected a time such as 500ms, 10s or 5m"))
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number) if number >= 1 => Ok(number),
        _ => Err("expected a whole number from 1".to_owned()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate > 0.0 && rate <= 1e9 => Ok(rate),
        _ => Err("expected a number above 0".to_owned()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("expected a number from 0 to 1".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn blobs_are_prepared_only_for_reading_and_within_bounds() {
        let parse = |arguments: &str| {
            Options::try_parse_from(["bytecave-load"].into_iter().chain(arguments.split(' ')))
                .unwrap()
        };
        assert_eq!(parse("--mode store").prepared_blobs(), 0);
        assert_eq!(parse("--mode retrieve --sizes 64MiB").prepared_blobs(), 16);
        assert_eq!(parse("--mode retrieve --sizes 1MiB").prepared_blobs(), 256);
        assert_eq!(parse("--mode mixed --sizes 4KiB").prepared_blobs(), 10_000);
        assert_eq!(parse("--mode mixed --prepare 3").prepared_blobs(), 3);
    }

    #[test]
    fn servers_and_processes_may_be_several() {
        let parse = |arguments: &str| {
            Options::try_parse_from(["bytecave-load"].into_iter().chain(arguments.split(' ')))
                .unwrap()
        };
        let one = parse("--mode store");
        assert_eq!(one.urls, ["http://127.0.0.1:5001"]);
        assert!(one.server_pids.is_empty());
        let two = parse("--url http://a:1 --url http://b:2 --server-pid 3 --server-pid 4");
        assert_eq!(two.urls, ["http://a:1", "http://b:2"]);
        assert_eq!(two.server_pids, [3, 4]);
    }
}
