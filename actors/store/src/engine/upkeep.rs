//! The upkeep thread: what the engine does of itself, a little at a time.
//!
//! It frees the files of deleted large blobs and of those that were in transit, looks whether the database still takes writes, has
//! families collected when enough of them is dead, goes on with a rotation that was cut short, and
//! deletes what was retired long enough ago, and forgets old tombstones and expired nonces. What takes long it hands to a pool.

use std::collections::HashSet;
use std::io;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rocksdb::LiveFile;
use tokio::sync::Notify;

use super::commit::Op;
use super::commit::tombstones::Forget;
use super::commit::upkeep::Freed;
use super::failpoint::failpoint;
use super::layout::{DEFAULT_FAMILY, chunk_key, parse_name_key, parse_shard_family, prefix};
use super::record::ChunkRun;
use super::state::{Inner, lock, now_ms};
use super::{gc, manifest, nonces, retire, rotate, transit};

/// Time between rounds when nothing asks for one.
const ROUND: Duration = Duration::from_secs(1);
/// Longest time between two tries to free a file that a compaction or a reader holds.
const RETRY_AT_MOST: Duration = Duration::from_secs(30);
/// Tombstones are looked through this often at most.
const FORGET_EVERY: Duration = Duration::from_hours(1);
/// So many rows at a time.
const FORGET_ROWS: usize = 500;

/// Wakes and stops the upkeep thread.
#[derive(Debug, Default)]
pub(crate) struct Upkeep {
    state: Mutex<State>,
    changed: Condvar,
    /// Wakes whoever waits for the end without a thread of its own.
    ended: Notify,
}

#[derive(Debug, Default)]
struct State {
    woken: bool,
    closed: bool,
    /// A put was refused for want of quota while there were dead bytes.
    wants_space: bool,
    running: Vec<Job>,
}

/// The jobs of which only one may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Collecting families.
    Collect,
    /// Rotating keys.
    Rotate,
}

impl Upkeep {
    /// Begins a round now.
    pub(crate) fn wake(&self) {
        lock(&self.state).woken = true;
        self.changed.notify_all();
    }

    /// Somebody needs the space of dead bytes.
    pub(crate) fn want_space(&self) {
        let mut state = lock(&self.state);
        if !state.wants_space {
            state.wants_space = true;
            state.woken = true;
            drop(state);
            self.changed.notify_all();
        }
    }

    /// Ends the thread after its round.
    pub(crate) fn close(&self) {
        lock(&self.state).closed = true;
        self.changed.notify_all();
        self.ended.notify_waiters();
    }

    /// Waits until the engine is closing.
    pub(crate) async fn closed(&self) {
        let mut ended = pin!(self.ended.notified());
        // From here on no end is missed, whether it comes before or after the look.
        ended.as_mut().enable();
        if !self.is_closed() {
            ended.await;
        }
    }

    /// Whether the engine is closing.
    pub(crate) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    /// Claims a job; false if it is running already.
    pub(crate) fn claim(&self, job: Job) -> bool {
        lock(&self.state).claim(job)
    }

    /// Waits for a job to be over and claims it.
    pub(crate) fn claim_blocking(&self, job: Job) {
        let mut state = lock(&self.state);
        while !state.claim(job) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The job is over.
    fn release(&self, job: Job) {
        lock(&self.state).running.retain(|running| *running != job);
        self.changed.notify_all();
    }

    fn take_wants_space(&self) -> bool {
        std::mem::take(&mut lock(&self.state).wants_space)
    }

    /// Waits for the next round; false when there is none.
    fn next_round(&self) -> bool {
        let mut state = lock(&self.state);
        let until = Instant::now() + ROUND;
        while !state.woken && !state.closed {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self
                .changed
                .wait_timeout(state, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        state.woken = false;
        !state.closed
    }
}

impl State {
    fn claim(&mut self, job: Job) -> bool {
        let free = !self.running.contains(&job);
        if free {
            self.running.push(job);
        }
        free
    }
}

/// Releases a claimed job when dropped, however the job ended.
pub(crate) struct Claimed(pub(crate) Arc<Inner>, pub(crate) Job);

impl Drop for Claimed {
    fn drop(&mut self) {
        self.0.upkeep.release(self.1);
    }
}

/// What the thread remembers from round to round.
struct Rounds {
    background_errors: u64,
    retry_at: Instant,
    retry_after: Duration,
    /// What was there at the last try: something new is tried at once.
    tried: usize,
    forget_at: Instant,
    manifest: manifest::Watch,
    nonces: nonces::Watch,
}

/// Starts the upkeep thread.
pub(crate) fn start(inner: Arc<Inner>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("store-upkeep".to_owned())
        .spawn(move || run(&inner))
}

fn run(inner: &Arc<Inner>) {
    let now = Instant::now();
    let mut rounds = Rounds {
        background_errors: 0,
        retry_at: now,
        retry_after: ROUND,
        tried: 0,
        forget_at: now,
        manifest: manifest::Watch::default(),
        nonces: nonces::Watch::new(now),
    };
    rounds.manifest.settle(&inner.options.db_dir);
    let started_ms = now_ms();
    rotate::resume(inner);
    while inner.upkeep.next_round() {
        probe(inner, &mut rounds);
        free_files(inner, &mut rounds);
        transit::free(inner);
        rounds.manifest.round(&inner.options.db_dir);
        if inner.health.refusal().is_none() {
            gc::collect_where_due(inner, inner.upkeep.take_wants_space());
            forget_tombstones(inner, &mut rounds);
            retire::expire(inner, started_ms);
            rounds.nonces.round(inner);
        }
    }
    rounds.manifest.settle(&inner.options.db_dir);
}

/// Has something written when there is a new background error, or the last write was refused.
fn probe(inner: &Inner, rounds: &mut Rounds) {
    let errors = inner.background_errors();
    if errors > rounds.background_errors || inner.health.refusal().is_some() {
        rounds.background_errors = errors;
        inner.queue.submit_cleanup(Op::Probe);
    }
}

/// Frees the files of deleted large blobs; what is held is tried again later.
fn free_files(inner: &Inner, rounds: &mut Rounds) {
    let runs: Vec<ChunkRun> = lock(&inner.drops).values().cloned().collect();
    if runs.is_empty() {
        rounds.retry_after = ROUND;
        rounds.tried = 0;
        return;
    }
    if runs.len() == rounds.tried && Instant::now() < rounds.retry_at {
        return;
    }
    failpoint!("drop::before-unlink");
    for run in &runs {
        if let Some(handle) = inner.db.cf_handle(&run.family) {
            let from = chunk_key(run.blob_id, 0);
            let to = chunk_key(run.blob_id, u32::MAX);
            if let Err(error) = inner.db.delete_file_in_range_cf(&handle, from, to) {
                tracing::warn!(%error, "the file of a deleted blob could not be freed yet");
            }
        }
    }
    failpoint!("drop::after-unlink");
    let Ok(files) = inner.db.live_files() else {
        return;
    };
    let families: HashSet<&str> = runs.iter().map(|run| run.family.as_str()).collect();
    let files: Vec<&LiveFile> = files
        .iter()
        .filter(|file| families.contains(file.column_family_name.as_str()))
        .filter(|file| first_byte(file) == Some(prefix::CHUNK))
        .collect();
    let mut left = 0;
    for run in runs {
        if files.iter().any(|file| holds(file, &run)) {
            left += 1;
            continue;
        }
        let shard = parse_shard_family(&run.family)
            .and_then(|number| inner.options.shards.count().shard(number.into()).ok());
        inner.queue.submit_cleanup(Op::Freed(Freed { shard, run }));
    }
    rounds.tried = left;
    rounds.retry_after = (rounds.retry_after * 2).min(RETRY_AT_MOST);
    rounds.retry_at = Instant::now() + rounds.retry_after;
}

fn first_byte(file: &LiveFile) -> Option<u8> {
    file.start_key.as_ref()?.first().copied()
}

/// Whether a file has chunks of the run.
fn holds(file: &LiveFile, run: &ChunkRun) -> bool {
    let (Some(start), Some(end)) = (&file.start_key, &file.end_key) else {
        return false;
    };
    file.column_family_name == run.family
        && start.as_slice() <= &chunk_key(run.blob_id, u32::MAX)[..]
        && end.as_slice() >= &chunk_key(run.blob_id, 0)[..]
}

/// Forgets tombstones that are older than they are kept.
fn forget_tombstones(inner: &Inner, rounds: &mut Rounds) {
    if Instant::now() < rounds.forget_at {
        return;
    }
    let keep = inner.options.tombstone_keep;
    rounds.forget_at = Instant::now() + FORGET_EVERY.min(keep / 2).max(ROUND);
    let keep = u64::try_from(keep.as_millis()).unwrap_or(u64::MAX);
    let before_ms = now_ms().saturating_sub(keep);
    let mut from = vec![prefix::TOMBSTONE];
    loop {
        let Ok(rows) = inner.rows(DEFAULT_FAMILY, from, vec![prefix::TOMBSTONE + 1]) else {
            return;
        };
        let names: Vec<_> = rows
            .take(FORGET_ROWS)
            .map_while(|row| parse_name_key(prefix::TOMBSTONE, &row.ok()?.0))
            .collect();
        let Some(last) = names.last() else {
            return;
        };
        from = [&[prefix::TOMBSTONE], &last[..], &[0]].concat();
        let answer = inner.queue.submit(|reply| {
            Op::Forget(Forget {
                names,
                before_ms,
                reply,
            })
        });
        match answer.blocking_recv() {
            Ok(Ok(0)) => {}
            Ok(Ok(forgotten)) => tracing::debug!(forgotten, "old deletions forgotten"),
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

impl Inner {
    /// Errors of flushes and compactions since the database was opened.
    pub(crate) fn background_errors(&self) -> u64 {
        self.db
            .property_int_value("rocksdb.background-errors")
            .ok()
            .flatten()
            .unwrap_or_default()
    }
}
