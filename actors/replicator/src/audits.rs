//! What audits of other nodes mean for their copies: which challenges are open, who failed to prove what
//! and has not proved it since, who passed how many, and who is to be asked again.
//!
//! A copy that failed counts for nothing in its shard until it is proved: the next in rank stands in. It
//! is asked for again after an hour, and less and less often, so that an accident is forgotten as soon
//! as it is mended. Nothing of this is decided by what a peer says of itself.

mod challenged;
mod failed;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use actix::Recipient;
use bytecave_core::{BlobCid, Digest, PeerId, ShardCount, ShardId};
use bytecave_messages::proof::{
    AuditCause, AuditRecord, ChallengeOpened, Outcome, PossessionWanted,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use crate::conduct::Deed;
use crate::placement::Unproved;
use challenged::Challenged;
use failed::Failed;

/// Peers of which is remembered how many audits they passed, or that they cannot be audited. Beyond
/// that, the one with the fewest is forgotten and begins anew.
const PEERS_MAX: usize = 4096;
/// Audits that a peer has to pass before it is relied on, where there is a probation; more are not
/// counted.
pub(crate) const PASSES: u64 = 20;
/// Time after which a question that nobody answered is asked again, and how often.
const ASK_EVERY: Duration = Duration::from_mins(2);
const ASKS_MAX: u32 = 4;
/// Waiting for room in the mailbox of whoever finds out, and how often.
const FULL_WAIT: Duration = Duration::from_millis(250);
const FULL_MAX: u32 = 120;
/// Answers that wait for whoever asked: all but the last are of no use to it.
const ANSWERS: usize = 4;

/// What audits found. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Audits(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Who finds out whether a peer holds a blob.
    possession: Vec<Recipient<PossessionWanted>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    challenged: Challenged,
    failed: Failed,
    passed: HashMap<PeerId, u64>,
    unsupported: BTreeSet<PeerId>,
    asking: HashMap<(PeerId, Digest), mpsc::Sender<Arc<AuditRecord>>>,
    /// Whether anything that is kept over a restart is new since it was written down.
    changed: bool,
    /// Where whose copies do not count, until that changes.
    unproved: Option<(ShardCount, Arc<HashMap<PeerId, Unproved>>)>,
}

/// What is kept over a restart.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct KeptAudits {
    /// Audits that each peer passed.
    pub(crate) passed: Vec<(PeerId, u64)>,
    /// Copies that failed and were not proved since, and when: milliseconds since 1970.
    pub(crate) failed: Vec<(PeerId, Digest, u64)>,
}

impl Audits {
    /// Nothing is known yet; these find out more.
    pub(crate) fn new(possession: Vec<Recipient<PossessionWanted>>) -> Self {
        Self(Arc::new(Inner {
            possession,
            state: Mutex::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A challenge is open: from now on nothing of the blob is given to the peer.
    pub(crate) fn opened(&self, opened: &ChallengeOpened) {
        let until = Instant::from_std(opened.until);
        let digest = opened.cid.digest();
        self.lock().challenged.open(opened.peer, digest, until);
    }

    /// Whether nothing of the blob is given to `peer` at the moment, since it is to show that it has it.
    pub(crate) fn withholds(&self, peer: &PeerId, digest: &Digest) -> bool {
        self.lock().challenged.is_open(peer, digest)
    }

    /// An audit ended; `holder` says whether the peer's copy is one of those that are counted on. Answers
    /// what it is held for or against the peer.
    pub(crate) fn finished(
        &self,
        record: &Arc<AuditRecord>,
        holder: bool,
        now_ms: u64,
    ) -> Option<Deed> {
        let (peer, digest) = (record.peer_id, record.cid.digest());
        let mut state = self.lock();
        state.challenged.close(&peer, &digest);
        if let Some(asking) = state.asking.get(&(peer, digest)) {
            // Whoever asks takes the first that tells it anything.
            let _ = asking.try_send(Arc::clone(record));
        }
        let known = state.failed.contains(&peer, &digest);
        let says_no = record.cause == AuditCause::Wanted && record.evidence.is_none();
        match record.outcome {
            Outcome::Passed => {
                state.passed(peer);
                if state.failed.proved(&peer, &digest) {
                    tracing::info!(%peer, cid = ?record.cid, "a copy that had failed is proved");
                    state.shown();
                }
            }
            // A node that does not think it holds the shard may say so when asked.
            Outcome::Failed if !says_no || holder || known => {
                state.failed.failed(peer, digest, now_ms);
                state.shown();
            }
            Outcome::Unsupported => state.unsupported(peer),
            _ => {}
        }
        if !matches!(
            record.outcome,
            Outcome::Unsupported | Outcome::Offline | Outcome::Unknown
        ) {
            state.supported(&peer);
        }
        match record.outcome {
            Outcome::Passed => Some(Deed::Proved),
            Outcome::Failed if record.evidence.is_some() => Some(Deed::Lied),
            // Asked again about the same, it is the same fault, and an honest no is none.
            Outcome::Failed if !says_no => Some(Deed::Unproved),
            _ => None,
        }
    }

    /// Audits that a peer passed, up to [`PASSES`].
    pub(crate) fn passed(&self, peer: &PeerId) -> u64 {
        self.lock().passed.get(peer).copied().unwrap_or(0)
    }

    /// Where whose copies do not count.
    pub(crate) fn unproved(&self, count: ShardCount) -> Arc<HashMap<PeerId, Unproved>> {
        let mut state = self.lock();
        if let Some((of, known)) = &state.unproved
            && *of == count
        {
            return Arc::clone(known);
        }
        let mut found: HashMap<_, _> = state
            .failed
            .shards(count)
            .into_iter()
            .map(|(peer, shards)| (peer, Unproved::In(Arc::new(shards))))
            .collect();
        let mute = state.unsupported.iter();
        found.extend(mute.map(|peer| (*peer, Unproved::Everywhere)));
        let found = Arc::new(found);
        state.unproved = Some((count, Arc::clone(&found)));
        found
    }

    /// For each shard, who failed how many audits of its blobs.
    pub(crate) fn failed(&self, count: ShardCount) -> HashMap<ShardId, Vec<(PeerId, usize)>> {
        self.lock().failed.by_shard(count)
    }

    /// Copies that failed and are to be asked for again now, at most `limit`: the next time is later.
    pub(crate) fn due(&self, now_ms: u64, limit: usize) -> Vec<(PeerId, Digest)> {
        self.lock().failed.due(now_ms, limit)
    }

    /// Whether a copy that failed is of no concern any more, since this node has nothing to compare it
    /// with.
    pub(crate) fn forget(&self, peer: &PeerId, digest: &Digest) {
        let mut state = self.lock();
        if state.failed.proved(peer, digest) {
            state.shown();
        }
    }

    /// Forgets the failures, older than a day, of peers that nobody remembers.
    pub(crate) fn forget_unknown(&self, knows: impl Fn(&PeerId) -> bool, now_ms: u64) {
        let mut state = self.lock();
        if state.failed.forget_unknown(&knows, now_ms) {
            state.shown();
        }
        state.unsupported.retain(|peer| knows(peer));
    }

    /// Wants to know whether `peer` holds a blob; the answer comes as the end of an audit, or not. Whether
    /// that was heard.
    pub(crate) fn want(&self, peer: PeerId, cid: BlobCid) -> bool {
        let wanted = PossessionWanted { peer, cid };
        let mut heard = self.0.possession.iter();
        heard.all(|possession| possession.try_send(wanted).is_ok())
    }

    /// Whether `peer` proves that it holds a blob, by a question that was asked at `since_ms` or later
    /// (milliseconds since 1970). An answer that does not come, and any other than a proof, is no.
    pub(crate) async fn proves(&self, peer: PeerId, cid: BlobCid, since_ms: u64) -> bool {
        let (sender, mut heard) = mpsc::channel(ANSWERS);
        let _asking = Asking::begin(self, (peer, cid.digest()), sender);
        for _ in 0..ASKS_MAX {
            for _ in 0..FULL_MAX {
                if self.want(peer, cid) {
                    break;
                }
                sleep(FULL_WAIT).await;
            }
            let again_at = Instant::now() + ASK_EVERY;
            while let Ok(Some(record)) = timeout_at(again_at, heard.recv()).await {
                let asked_ms = record.at_ms.saturating_sub(record.took_ms);
                match record.outcome {
                    // What was asked before says nothing of what is so since.
                    _ if asked_ms < since_ms => {}
                    Outcome::Passed => return true,
                    Outcome::Contained | Outcome::Unknown => {}
                    Outcome::Failed
                    | Outcome::Offline
                    | Outcome::Declined
                    | Outcome::Unsupported => return false,
                }
            }
        }
        false
    }

    /// What is to be kept over a restart.
    pub(crate) fn kept(&self) -> KeptAudits {
        let state = self.lock();
        let mut passed: Vec<_> = state.passed.iter().map(|(peer, it)| (*peer, *it)).collect();
        passed.sort_unstable();
        KeptAudits {
            passed,
            failed: state.failed.all(),
        }
    }

    /// Takes over what was kept.
    pub(crate) fn restore(&self, kept: KeptAudits, now_ms: u64) {
        let mut state = self.lock();
        state.passed.extend(kept.passed.into_iter().take(PEERS_MAX));
        for (peer, digest, since_ms) in kept.failed {
            state.failed.restore(peer, digest, since_ms, now_ms);
        }
        state.unproved = None;
    }

    /// Whether anything that is kept is new since the last call.
    pub(crate) fn take_changed(&self) -> bool {
        std::mem::take(&mut self.lock().changed)
    }

    /// Writing failed: it is to be tried again.
    pub(crate) fn set_changed(&self) {
        self.lock().changed = true;
    }
}

impl State {
    fn passed(&mut self, peer: PeerId) {
        if self.passed.len() >= PEERS_MAX && !self.passed.contains_key(&peer) {
            let fewest = self.passed.iter().min_by_key(|(_, passed)| **passed);
            let fewest = fewest.map(|(peer, _)| *peer);
            fewest.and_then(|fewest| self.passed.remove(&fewest));
        }
        let passed = self.passed.entry(peer).or_default();
        if *passed < PASSES {
            *passed += 1;
            self.changed = true;
        }
    }

    /// Whose copies count is another matter now.
    fn shown(&mut self) {
        self.changed = true;
        self.unproved = None;
    }

    fn supported(&mut self, peer: &PeerId) {
        if self.unsupported.remove(peer) {
            self.unproved = None;
        }
    }

    fn unsupported(&mut self, peer: PeerId) {
        if self.unsupported.len() >= PEERS_MAX {
            self.unsupported.pop_first();
        }
        self.unsupported.insert(peer);
        self.unproved = None;
    }
}

/// Somebody waits for an answer. Dropped, nobody does.
struct Asking<'a> {
    audits: &'a Audits,
    about: (PeerId, Digest),
}

impl<'a> Asking<'a> {
    /// There is one asker at most for each: the trimmer, which has each blob in hand once.
    fn begin(
        audits: &'a Audits,
        about: (PeerId, Digest),
        sender: mpsc::Sender<Arc<AuditRecord>>,
    ) -> Self {
        audits.lock().asking.insert(about, sender);
        Self { audits, about }
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.audits.lock().asking.remove(&self.about);
    }
}

#[cfg(test)]
pub(crate) mod tests;
