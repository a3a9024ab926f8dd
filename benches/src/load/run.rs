//! A whole run: preparation, warm-up, measurement.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::blobs::{Numbers, StoredBlob};
use super::options::Options;
use super::tally::{Failure, Tally};
use super::target::{Target, TargetError};
use super::worker::{Client, Shared, Until, Work};
use crate::process::{self, Usage};
use crate::random::{f64_of, fresh_seed};
use crate::sample::{Sample, ServerUsage};

/// Why a run came to no result.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The server cannot be addressed.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// Not a path.
    #[error("\"{path}\" is not a path: expected one that begins with a slash, such as /health")]
    Path {
        /// What was given.
        path: String,
    },
    /// The blobs to be read could not be stored.
    #[error("only {stored} of {wanted} blobs could be stored for reading; {reason}")]
    Prepare {
        /// Blobs stored.
        stored: usize,
        /// Blobs wanted.
        wanted: u64,
        /// What failed first.
        reason: String,
    },
    /// The process named by --server-pid cannot be looked at.
    #[error("process {pid} (--server-pid) could not be looked at: {cause}")]
    ServerPid {
        /// The process id.
        pid: u32,
        /// What the system said.
        cause: io::Error,
    },
    /// The runtime did not start.
    #[error("the runtime did not start: {0}")]
    Runtime(io::Error),
    /// A client died.
    #[error("a client died: {0}")]
    Client(#[from] tokio::task::JoinError),
}

/// What a run gave.
#[derive(Debug)]
pub struct Outcome {
    /// The measurement.
    pub sample: Sample,
    /// What the first failure of each kind said.
    pub examples: BTreeMap<String, String>,
}

/// Runs as the options say; blocks until done.
pub fn run(options: &Options) -> Result<Outcome, LoadError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads)
        .enable_all()
        .build()
        .map_err(LoadError::Runtime)?
        .block_on(run_phases(options))
}

async fn run_phases(options: &Options) -> Result<Outcome, LoadError> {
    let target = Target::new(options)?;
    let no_path = || LoadError::Path {
        path: options.path.clone(),
    };
    let path = Some(&options.path)
        .filter(|path| path.starts_with('/'))
        .and_then(|path| target.path(path))
        .ok_or_else(no_path)?;
    let shared = Arc::new(Shared {
        target,
        numbers: Numbers::new(fresh_seed()),
        sizes: options.sizes.clone(),
        mode: options.mode,
        read_ratio: options.read_ratio,
        verify: options.verify,
        path,
        timeout: options.timeout,
    });
    let count = options.concurrency as u64;
    let mut clients: Vec<Client> = (0..count)
        .map(|number| Client::new(Arc::clone(&shared), number))
        .collect();

    let blobs = Arc::new(prepare(&mut clients, options.prepared_blobs()).await?);
    let work = Work::Measure(blobs);
    if !options.warm_up.is_zero() {
        let until = Until::Deadline(Instant::now() + options.warm_up);
        phase(&mut clients, work.clone(), until).await?;
    }

    let server_before = server_usage(options)?;
    let client_before = process::own_cpu_seconds();
    let started = Instant::now();
    let until = match options.requests {
        Some(requests) => Until::Requests(AtomicU64::new(requests)),
        None => Until::Deadline(started + options.duration),
    };
    let (tally, _) = phase(&mut clients, work, until).await?;
    let elapsed = started.elapsed();
    let client_cpu_seconds = process::own_cpu_seconds() - client_before;
    let server = match (server_before, server_usage(options)?) {
        (Some(before), Some(after)) => Some(server_share(before, after, &tally)),
        _ => None,
    };
    let sample = sample(options, &tally, elapsed, server, client_cpu_seconds);
    let examples = tally
        .errors
        .into_iter()
        .map(|(kind, failure)| (kind, failure.example))
        .collect();
    Ok(Outcome { sample, examples })
}

/// Lets all clients work until the phase ends, and adds up what they did.
async fn phase(
    clients: &mut Vec<Client>,
    work: Work,
    until: Until,
) -> Result<(Tally, Vec<StoredBlob>), LoadError> {
    let until = Arc::new(until);
    let running: Vec<_> = clients
        .drain(..)
        .map(|client| tokio::spawn(client.run(work.clone(), Arc::clone(&until))))
        .collect();
    let mut tally = Tally::new();
    let mut stored = Vec::new();
    for client in running {
        let (client, done) = client.await?;
        clients.push(client);
        tally.add(done.tally);
        stored.extend(done.stored);
    }
    Ok((tally, stored))
}

async fn prepare(clients: &mut Vec<Client>, wanted: u64) -> Result<Vec<StoredBlob>, LoadError> {
    let until = Until::Requests(AtomicU64::new(wanted));
    let (tally, stored) = phase(clients, Work::Prepare, until).await?;
    if (stored.len() as u64) < wanted {
        let said = |(kind, failure): (&String, &Failure)| format!("{kind}: {}", failure.example);
        let reason = tally.errors.iter().next().map(said).unwrap_or_default();
        return Err(LoadError::Prepare {
            stored: stored.len(),
            wanted,
            reason,
        });
    }
    Ok(stored)
}

fn server_usage(options: &Options) -> Result<Option<Usage>, LoadError> {
    let read = |pid| process::usage(pid).map_err(|cause| LoadError::ServerPid { pid, cause });
    options.server_pid.map(read).transpose()
}

fn server_share(before: Usage, after: Usage, tally: &Tally) -> ServerUsage {
    let cpu_seconds = (after.cpu_seconds - before.cpu_seconds).max(0.0);
    let per = |count: u64, unit: f64| {
        if count == 0 {
            0.0
        } else {
            cpu_seconds * unit / f64_of(count)
        }
    };
    ServerUsage {
        cpu_seconds,
        cpu_micros_per_operation: per(tally.operations, 1e6),
        cpu_seconds_per_gigabyte: per(tally.bytes, 1e9),
        rss_bytes: after.rss_bytes,
        peak_rss_bytes: after.peak_rss_bytes,
    }
}

fn sample(
    options: &Options,
    tally: &Tally,
    elapsed: Duration,
    server: Option<ServerUsage>,
    client_cpu_seconds: f64,
) -> Sample {
    let seconds = elapsed.as_secs_f64();
    let per_second = |count| f64_of(count) / seconds.max(f64::MIN_POSITIVE);
    let has_size = options.mode != super::Mode::Path;
    Sample {
        subject: options.subject(),
        operation: options.mode.as_str().to_owned(),
        size: if has_size {
            options.sizes.to_string()
        } else {
            String::new()
        },
        clients: options.concurrency,
        operations: tally.operations,
        bytes: tally.bytes,
        seconds,
        operations_per_second: per_second(tally.operations),
        bytes_per_second: per_second(tally.bytes),
        latency: tally.latency(),
        errors: tally
            .errors
            .iter()
            .map(|(kind, failure)| (kind.clone(), failure.count))
            .collect(),
        server,
        client_cpu_seconds,
        disk_read_bytes: None,
    }
}
