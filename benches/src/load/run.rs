//! A whole run: preparation, warm-up, measurement.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use thiserror::Error;

use super::blobs::{Numbers, StoredBlob, read_list, write_list};
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
    /// The list of blobs cannot be read or written.
    #[error("the list of blobs {path} could not be used: {cause}")]
    List {
        /// The file.
        path: PathBuf,
        /// What the system said, or what is wrong with it.
        cause: io::Error,
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
    let targets: Vec<Arc<Target>> = options
        .urls
        .iter()
        .map(|url| Target::new(options, url).map(Arc::new))
        .collect::<Result<_, _>>()?;
    let shared = Arc::new(Shared {
        numbers: Numbers::new(fresh_seed()),
        sizes: options.sizes.clone(),
        mode: options.mode,
        read_ratio: options.read_ratio,
        verify: options.verify,
        timeout: options.timeout,
        leaves: options.leaves,
        every: options
            .rate
            .map(|rate| Duration::from_secs_f64(f64_of(options.concurrency as u64) / rate)),
    });
    let count = options.concurrency as u64;
    let mut clients: Vec<Client> = (0..count)
        .zip(targets.iter().cycle())
        .map(|(number, target)| Client::new(Arc::clone(&shared), Arc::clone(target), number))
        .collect();

    let blobs = Arc::new(blobs_to_read(options, &mut clients).await?);
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

/// Those of the list, or those that are stored for it.
async fn blobs_to_read(
    options: &Options,
    clients: &mut Vec<Client>,
) -> Result<Vec<StoredBlob>, LoadError> {
    let wanted = options.prepared_blobs();
    let Some(path) = options.blobs.as_ref().filter(|_| wanted > 0) else {
        return prepare(clients, wanted).await;
    };
    let unusable = |cause| LoadError::List {
        path: path.clone(),
        cause,
    };
    if let Some(listed) = read_list(path).map_err(unusable)? {
        return Ok(listed);
    }
    let stored = prepare(clients, wanted).await?;
    write_list(path, &stored).map_err(unusable)?;
    Ok(stored)
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

/// Of all servers together; `None` where none was named.
fn server_usage(options: &Options) -> Result<Option<Usage>, LoadError> {
    let mut all: Option<Usage> = None;
    for &pid in &options.server_pids {
        let one = process::usage(pid).map_err(|cause| LoadError::ServerPid { pid, cause })?;
        let all = all.get_or_insert_default();
        all.cpu_seconds += one.cpu_seconds;
        all.rss_bytes += one.rss_bytes;
        all.peak_rss_bytes += one.peak_rss_bytes;
    }
    Ok(all)
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
