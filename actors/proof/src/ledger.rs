//! What became of audits: the latest of them, how each peer did, and who owes an answer.
//!
//! An audit is numbered and noted here before anybody hears of it. Within a second it stands in the file
//! `audits.jsonl` ([`log`]), a line each; the sums of peers and what is owed stand in `audit-state.json`, which
//! is written every few seconds and says up to which audit it counts, so that after a crash the rest is
//! counted from the lines. What cannot be written is said once and costs a restart its memory, nothing else.

mod contained;
mod log;
mod records;
mod tallies;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::proof::{
    AuditCause, AuditPage, AuditRecord, ListAudits, Outcome, PeerAudits, ProofError,
};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::blocking::blocking;
use crate::challenge::Finding;
use crate::state_file::StateFile;
use contained::{Contained, Owed};
use log::Log;
use records::{Records, Search};
use tallies::Tallies;

/// Time between two writes of audits.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// Time between two writes of sums and what is owed.
const SAVE_EVERY: Duration = Duration::from_secs(5);
/// Audits that wait to be written; beyond that, while the disk does not answer, the oldest are not written.
const UNWRITTEN_MAX: usize = 4096;
/// Audits that are looked through before others have their turn.
const SEARCH_TURN: usize = 10_000;

/// The ledger. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Ledger(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    book: Mutex<Book>,
    /// Audits that are kept.
    limit: usize,
    log: Arc<Mutex<Log>>,
    state: StateFile,
    now_ms: fn() -> u64,
    contained_interval_ms: u64,
    loaded: watch::Sender<bool>,
}

#[derive(Debug)]
struct Book {
    records: Records,
    tallies: Tallies,
    contained: Contained,
    /// The latest number that was given.
    sequence: u64,
    unwritten: Vec<Arc<AuditRecord>>,
    /// Whether sums or what is owed changed since they were written.
    changed: bool,
}

/// Sums and what is owed, as they are written. None of the names is safe to change.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// The latest audit that is counted in it.
    sequence: u64,
    peers: Vec<PeerAudits>,
    contained: Vec<Owed>,
}

/// An audit that ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) peer: PeerId,
    pub(crate) cid: BlobCid,
    pub(crate) size: u64,
    pub(crate) cause: AuditCause,
    pub(crate) finding: Finding,
    pub(crate) took: Duration,
}

impl Ledger {
    /// An empty one that keeps at most `limit` audits, with its files in `directory`.
    pub(crate) fn new(
        directory: &Path,
        limit: usize,
        contained_interval: Duration,
        now_ms: fn() -> u64,
    ) -> Self {
        let what = "how peers did in audits, and who owes an answer";
        Self(Arc::new(Inner {
            book: Mutex::new(Book::new(limit)),
            limit,
            log: Arc::new(Mutex::new(Log::new(directory.join("audits.jsonl"), limit))),
            state: StateFile::new(directory.join("audit-state.json"), what),
            now_ms,
            contained_interval_ms: millis(contained_interval),
            loaded: watch::Sender::new(false),
        }))
    }

    /// Takes over what survived the last run.
    pub(crate) async fn load(&self) {
        let kept: Option<Kept> = self.0.state.load().await;
        let log = Arc::clone(&self.0.log);
        let inner = Arc::clone(&self.0);
        let read = blocking(move || {
            let mut book = Book::new(inner.limit);
            let counted = kept.as_ref().map_or(0, |kept| kept.sequence);
            if let Some(kept) = kept {
                book.tallies = Tallies::restore(kept.peers);
                book.contained = Contained::restore(kept.contained);
            }
            lock(&log).read(|record| {
                let record = Arc::new(record);
                if book.records.push(Arc::clone(&record)) && record.sequence > counted {
                    book.tallies.note(&record);
                    book.follow(&record, inner.contained_interval_ms);
                }
            });
            book.sequence = book.records.latest().unwrap_or(0).max(counted);
            *inner.book() = book;
        });
        if let Err(error) = read.await {
            tracing::error!(%error, "audits were not read");
        }
        self.0.loaded.send_replace(true);
    }

    /// Whether it was loaded: before that nothing is noted.
    fn is_loaded(&self) -> bool {
        *self.0.loaded.borrow()
    }

    /// Notes what an audit found.
    pub(crate) fn note(&self, ended: Ended) -> Arc<AuditRecord> {
        let now_ms = (self.0.now_ms)();
        let Ended { peer, cid, .. } = ended;
        let mut book = self.0.book();
        let interval_ms = self.0.contained_interval_ms;
        let (outcome, reason, evidence) = match ended.finding {
            Finding::Silent => {
                let outcome = book.contained.silent(&peer, &cid, now_ms, interval_ms);
                (outcome, Some(silence(outcome)), None)
            }
            Finding::Found {
                outcome,
                reason,
                evidence,
            } => {
                book.found(&peer, &cid, outcome);
                (outcome, reason, evidence)
            }
        };
        book.sequence += 1;
        let record = Arc::new(AuditRecord {
            sequence: book.sequence,
            at_ms: now_ms,
            peer_id: peer,
            cid,
            size: ended.size,
            cause: ended.cause,
            outcome,
            reason,
            took_ms: millis(ended.took),
            evidence,
        });
        book.records.push(Arc::clone(&record));
        book.tallies.note(&record);
        if book.unwritten.len() >= UNWRITTEN_MAX {
            book.unwritten.remove(0);
        }
        book.unwritten.push(Arc::clone(&record));
        book.changed = true;
        record
    }

    /// A blob that a peer owes an answer about and is to be asked for now.
    pub(crate) fn take_due(&self) -> Option<(PeerId, BlobCid)> {
        let now_ms = (self.0.now_ms)();
        let mut book = self.0.book();
        let interval_ms = self.0.contained_interval_ms;
        let due = book.contained.take_due(now_ms, interval_ms)?;
        book.changed = true;
        Some(due)
    }

    /// There is nothing to ask for any more.
    pub(crate) fn forget(&self, peer: &PeerId, cid: &BlobCid) {
        let mut book = self.0.book();
        book.contained.ended(peer, cid);
        book.changed = true;
    }

    /// How each peer did, by peer id.
    pub(crate) fn peers(&self) -> Arc<[PeerAudits]> {
        self.0.book().tallies.all()
    }

    /// The latest audits, the newest first, once it is known what survived.
    pub(crate) async fn answer(self, asked: ListAudits) -> Result<AuditPage, ProofError> {
        let ListAudits {
            filter,
            before,
            limit,
            permit: _permit,
        } = asked;
        let mut loaded = self.0.loaded.subscribe();
        // The sender lives as long as this ledger.
        let _ = loaded.wait_for(|loaded| *loaded).await;
        let mut search = Search::new(filter, before, limit);
        while !search.go_on(&self.0.book().records, SEARCH_TURN) {
            tokio::task::yield_now().await;
        }
        Ok(search.page())
    }

    /// Writes down what is new, for as long as it is let.
    pub(crate) async fn keep(self) {
        let mut tick = interval(WRITE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut saved = Instant::now();
        loop {
            tick.tick().await;
            self.write(false).await;
            if saved.elapsed() >= SAVE_EVERY {
                saved = Instant::now();
                self.save().await;
            }
        }
    }

    /// Writes down what is to survive, at a stop.
    pub(crate) async fn close(&self) {
        if self.is_loaded() {
            self.write(true).await;
            self.save().await;
        }
    }

    async fn write(&self, last: bool) {
        if self.0.book().unwritten.is_empty() && !last {
            return;
        }
        let inner = Arc::clone(&self.0);
        let written = blocking(move || {
            let mut log = lock(&inner.log);
            // Taken once it is this one's turn to write: their order is that of their numbers.
            let records = std::mem::take(&mut inner.book().unwritten);
            if !records.is_empty() && !log.append(&records) {
                inner.book().put_back(records);
            }
            if log.is_too_long() {
                let all = inner.book().records.all();
                log.rewrite(&all);
            }
            if last {
                log.sync();
            }
        });
        if let Err(error) = written.await {
            tracing::error!(%error, "audits were not written down");
        }
    }

    async fn save(&self) {
        let kept = {
            let mut book = self.0.book();
            if !std::mem::take(&mut book.changed) {
                return;
            }
            Kept {
                sequence: book.sequence,
                peers: book.tallies.all().to_vec(),
                contained: book.contained.all(),
            }
        };
        if !self.0.state.save(kept).await {
            self.0.book().changed = true;
        }
    }
}

impl Inner {
    fn book(&self) -> MutexGuard<'_, Book> {
        lock(&self.book)
    }
}

impl Book {
    fn new(limit: usize) -> Self {
        Self {
            records: Records::new(limit),
            tallies: Tallies::default(),
            contained: Contained::default(),
            sequence: 0,
            unwritten: Vec::new(),
            changed: false,
        }
    }

    /// What was found of a peer that may owe an answer about this blob. Without a verdict it goes on owing
    /// it, and is asked again in its time.
    fn found(&mut self, peer: &PeerId, cid: &BlobCid, outcome: Outcome) {
        match outcome {
            Outcome::Passed | Outcome::Failed | Outcome::Declined | Outcome::Unsupported => {
                self.contained.ended(peer, cid);
            }
            Outcome::Contained | Outcome::Offline | Outcome::Unknown => {}
        }
    }

    /// Counts an audit of the last run that the state does not know.
    fn follow(&mut self, record: &AuditRecord, interval_ms: u64) {
        let (peer, cid) = (&record.peer_id, &record.cid);
        if record.outcome == Outcome::Contained {
            self.contained.silent(peer, cid, record.at_ms, interval_ms);
        } else {
            self.found(peer, cid, record.outcome);
        }
    }

    /// These could not be written: they go before those that came since, as far as there is room.
    fn put_back(&mut self, mut records: Vec<Arc<AuditRecord>>) {
        records.append(&mut self.unwritten);
        let excess = records.len().saturating_sub(UNWRITTEN_MAX);
        records.drain(..excess);
        self.unwritten = records;
    }
}

fn silence(outcome: Outcome) -> String {
    if outcome == Outcome::Failed {
        let turns = contained::SILENCES_MAX + 1;
        return format!("no answer in time, {turns} times in a row");
    }
    "no answer in time".to_owned()
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves nothing half done that a restart would not leave as well.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
