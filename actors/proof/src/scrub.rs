//! The scrub: everything here is read again over time, so that damage is found while others still have the blob.
//!
//! The store reads, compares and quarantines, a few MiB at a time in the order of its listing; here stands how far
//! it is and how fast it goes ([`pass`]). The position survives in `scrub.json`, which is at most a few seconds old.
//! What is damaged is the store's to tell and the replicator's to mend: here it is counted and logged.

mod pass;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytecave_messages::budget::{Budget, Share};
use bytecave_messages::ports::StorePort;
use bytecave_messages::proof::{ProofError, ScrubView, StartScrub};
use bytecave_messages::store::{ListCursor, Scrubbed, StoreError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::counters::Counters;
use crate::state_file::StateFile;
use pass::{Pass, Rules};

/// Time between two writes of the position.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Longest and shortest time between two looks at the clock, which may be set.
const LOOK_EVERY: Duration = Duration::from_mins(1);
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Time after which a step that failed is tried again, at first and at most; it doubles in between.
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_LAST: Duration = Duration::from_mins(5);
/// Damaged blobs that are named in the log, of one pass; further ones are counted.
const NAMED_MAX: u64 = 100;

/// What a scrubber is made of.
#[derive(Debug)]
pub(crate) struct ScrubberParts {
    /// `proof.scrub_period`
    pub(crate) period: Duration,
    /// `proof.scrub_bytes_per_second`
    pub(crate) bytes_per_second: u64,
    /// Of the actor itself.
    pub(crate) budget: Budget,
    pub(crate) store: StorePort,
    pub(crate) counters: Arc<Counters>,
    pub(crate) now_ms: fn() -> u64,
}

/// Scrubs. Clones share what is under way.
#[derive(Debug, Clone)]
pub(crate) struct Scrubber {
    shared: Arc<Shared>,
    /// What goes on; nothing before the start and after the stop.
    tasks: Arc<Mutex<JoinSet<()>>>,
}

#[derive(Debug)]
struct Shared {
    parts: ScrubberParts,
    rules: Rules,
    pass: Mutex<Pass>,
    /// Content bytes here; `None` before the store said.
    total_bytes: watch::Sender<Option<u64>>,
    /// A new pass was begun because somebody asked.
    begun: Notify,
    file: StateFile,
    /// What stands in the file.
    saved: Mutex<Pass>,
    /// Whether the file was read: before that, nothing begins and nothing is written.
    loaded: watch::Sender<bool>,
}

impl Scrubber {
    /// One that keeps its file in `directory`.
    pub(crate) fn new(parts: ScrubberParts, directory: &Path) -> Self {
        let rules = Rules {
            period: parts.period,
            most_per_second: parts.bytes_per_second,
        };
        let file = StateFile::new(directory.join("scrub.json"), "how far the scrub is");
        Self {
            shared: Arc::new(Shared {
                parts,
                rules,
                pass: Mutex::default(),
                total_bytes: watch::Sender::new(None),
                begun: Notify::new(),
                file,
                saved: Mutex::default(),
                loaded: watch::Sender::new(false),
            }),
            tasks: Arc::default(),
        }
    }

    /// Begins where the last run broke off.
    pub(crate) fn start(&self) {
        let shared = Arc::clone(&self.shared);
        self.lock_tasks().spawn(run(shared));
    }

    /// The store has so many content bytes.
    pub(crate) fn set_total_bytes(&self, bytes: u64) {
        self.shared.total_bytes.send_if_modified(|total| {
            let changed = *total != Some(bytes);
            *total = Some(bytes);
            changed
        });
    }

    /// Begins a pass as fast as is allowed, unless one that was asked for is under way. How it is then.
    pub(crate) async fn answer(self, asked: StartScrub) -> Result<ScrubView, ProofError> {
        let _permit = asked.permit;
        let mut loaded = self.shared.loaded.subscribe();
        // The sender lives as long as this scrubber.
        let _ = loaded.wait_for(|loaded| *loaded).await;
        let mut pass = self.shared.pass();
        if !(pass.running && pass.asked) {
            pass.begin(self.shared.now_ms(), true);
            self.shared.begun.notify_one();
        }
        drop(pass);
        Ok(self.view())
    }

    /// How it is.
    pub(crate) fn view(&self) -> ScrubView {
        let shared = &self.shared;
        let total_bytes = shared.total_bytes.borrow().unwrap_or(0);
        let pass = shared.pass();
        pass.view(shared.now_ms(), total_bytes, &shared.rules)
    }

    /// Ends what goes on and writes down the position.
    pub(crate) async fn stop(self) {
        let mut tasks = std::mem::take(&mut *self.lock_tasks());
        tasks.shutdown().await;
        if *self.shared.loaded.borrow() {
            self.shared.save().await;
        }
    }

    fn lock_tasks(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Scrubs for as long as it is let.
async fn run(shared: Arc<Shared>) {
    shared.load().await;
    let mut saved = Instant::now();
    let mut retry = RETRY_FIRST;
    loop {
        if saved.elapsed() >= SAVE_EVERY {
            saved = Instant::now();
            shared.save().await;
        }
        let Some(step) = shared.step() else {
            shared.rest().await;
            continue;
        };
        let scrubbed = tokio::select! {
            // First, so that what is read for a pass that was given up is not counted in the new one.
            biased;
            () = shared.begun.notified() => continue,
            scrubbed = shared.scrub(step) => scrubbed,
        };
        match scrubbed {
            Ok(scrubbed) => {
                retry = RETRY_FIRST;
                if shared.follow(step, &scrubbed) {
                    saved = Instant::now();
                    shared.save().await;
                }
            }
            Err(error) => {
                log_failure(&error, retry);
                tokio::select! {
                    () = shared.begun.notified() => {}
                    () = sleep(retry) => {}
                }
                retry = RETRY_LAST.min(retry * 2);
            }
        }
    }
}

/// What is to be read next, and how fast.
#[derive(Debug, Clone, Copy)]
struct Step {
    after: Option<ListCursor>,
    rate: u64,
}

impl Shared {
    fn now_ms(&self) -> u64 {
        (self.parts.now_ms)()
    }

    fn pass(&self) -> MutexGuard<'_, Pass> {
        // It is changed in one step: a panic elsewhere leaves nothing half done.
        self.pass.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn load(&self) {
        let kept: Option<Pass> = self.file.load().await;
        if let Some(mut kept) = kept {
            self.saved().clone_from(&kept);
            // It was switched off since.
            kept.running &= kept.asked || !self.rules.period.is_zero();
            *self.pass() = kept;
        }
        self.loaded.send_replace(true);
    }

    async fn save(&self) {
        let pass = self.pass().clone();
        if *self.saved() != pass && self.file.save(pass.clone()).await {
            *self.saved() = pass;
        }
    }

    fn saved(&self) -> MutexGuard<'_, Pass> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be read next, if anything is; begins a pass that is due.
    fn step(&self) -> Option<Step> {
        let now_ms = self.now_ms();
        let total_bytes = *self.total_bytes.borrow();
        let mut pass = self.pass();
        if !pass.running && pass.next_at(now_ms, &self.rules)? <= now_ms && total_bytes.is_some() {
            pass.begin(now_ms, false);
        }
        if !pass.running || (total_bytes.is_none() && !pass.asked) {
            return None;
        }
        Some(Step {
            after: pass.after(),
            rate: pass.rate(now_ms, total_bytes.unwrap_or(0), &self.rules),
        })
    }

    /// Waits until there may be something to read.
    async fn rest(&self) {
        let now_ms = self.now_ms();
        let next_at = self.pass().next_at(now_ms, &self.rules);
        let left = next_at.map_or(LOOK_EVERY, |at| {
            Duration::from_millis(at.saturating_sub(now_ms)).min(LOOK_EVERY)
        });
        let mut total_bytes = self.total_bytes.subscribe();
        tokio::select! {
            () = self.begun.notified() => {}
            // Only the first word of the store is waited for: the next pass does not hang on how much there is.
            _ = total_bytes.wait_for(Option::is_some), if self.total_bytes.borrow().is_none() => {}
            () = sleep(left.max(LOOK_AGAIN)) => {}
        }
    }

    async fn scrub(&self, step: Step) -> Result<Scrubbed, StoreError> {
        let _permit = self.parts.budget.try_acquire(Share::Repair, "scrub")?;
        let enough_bytes = pass::step_bytes(step.rate);
        let store = &self.parts.store;
        store.scrub(step.after, enough_bytes, step.rate).await
    }

    /// One step was done; whether that was the last of its pass.
    fn follow(&self, step: Step, scrubbed: &Scrubbed) -> bool {
        let mut pass = self.pass();
        if pass.after() != step.after {
            // A new pass was begun just now: it reads this again.
            return false;
        }
        let room = NAMED_MAX.saturating_sub(pass.damaged);
        let ended = pass.follow(scrubbed, self.now_ms());
        let (blobs, bytes, damaged) = (pass.blobs, pass.bytes, pass.damaged);
        drop(pass);
        let counters = &self.parts.counters;
        counters.scrubbed_blobs.add(scrubbed.blobs);
        counters.scrubbed_bytes.add(scrubbed.bytes);
        let named = usize::try_from(room).unwrap_or(usize::MAX);
        for (at, cid) in scrubbed.damaged.iter().enumerate() {
            counters.scrub_damaged.one();
            if at < named {
                tracing::warn!(%cid, "a blob is damaged: it is quarantined, and healed by another holder's copy");
            }
        }
        if ended && damaged > 0 {
            tracing::warn!(blobs, bytes, damaged, "scrub ended");
        } else if ended {
            tracing::info!(blobs, bytes, "scrub ended");
        }
        ended
    }
}

fn log_failure(error: &StoreError, retry: Duration) {
    let retry_seconds = retry.as_secs();
    match error {
        StoreError::Full(_) | StoreError::Unavailable => {
            tracing::debug!(%error, retry_seconds, "scrub waits");
        }
        // Once, until it works again.
        _ if retry == RETRY_FIRST => {
            tracing::warn!(%error, retry_seconds, "scrub cannot go on, and is tried again");
        }
        _ => tracing::debug!(%error, retry_seconds, "scrub cannot go on"),
    }
}

#[cfg(test)]
mod tests;
