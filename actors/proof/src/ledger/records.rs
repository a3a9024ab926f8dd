//! The latest audits, by number: pure.
//!
//! Bounded in number, and in what is kept of proofs that did not hold, since a hostile one may have 90 KiB.
//! Audits that somebody wanted and that were passed come by the thousand while copies move: they never take
//! more than half of the room, so that what an operator looks for is not driven out by them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytecave_messages::proof::{
    AUDITS_LIMIT, AuditCause, AuditFilter, AuditPage, AuditRecord, Outcome,
};

/// Failures whose evidence is kept, the newest: at most 23 MiB in memory, and 40 MiB in the file.
pub(super) const EVIDENCE_MAX: usize = 256;
/// Highest number that is read: there is room for as many after it as anybody counts.
const SEQUENCE_MAX: u64 = u64::MAX >> 1;

/// The latest audits.
#[derive(Debug)]
pub(super) struct Records {
    limit: usize,
    all: BTreeMap<u64, Arc<AuditRecord>>,
    /// Numbers of those that were wanted and passed, ascending.
    quiet: VecDeque<u64>,
    /// Numbers of those with evidence, ascending.
    proven: VecDeque<u64>,
}

fn is_quiet(record: &AuditRecord) -> bool {
    record.cause == AuditCause::Wanted && record.outcome == Outcome::Passed
}

impl Records {
    /// At most `limit`, at least one.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            all: BTreeMap::new(),
            quiet: VecDeque::new(),
            proven: VecDeque::new(),
        }
    }

    /// One more; whether it was taken: its number has to be above all others.
    pub(super) fn push(&mut self, record: Arc<AuditRecord>) -> bool {
        let sequence = record.sequence;
        if sequence > SEQUENCE_MAX || self.latest().is_some_and(|latest| latest >= sequence) {
            return false;
        }
        if is_quiet(&record) {
            self.quiet.push_back(sequence);
        }
        if record.evidence.is_some() {
            self.proven.push_back(sequence);
        }
        self.all.insert(sequence, record);
        if self.proven.len() > EVIDENCE_MAX {
            let oldest = self.proven.pop_front();
            let oldest = oldest.and_then(|oldest| self.all.get_mut(&oldest));
            if let Some(record) = oldest {
                let mut without = AuditRecord::clone(record);
                without.evidence = None;
                *record = Arc::new(without);
            }
        }
        if self.all.len() > self.limit {
            self.drop_one();
        }
        true
    }

    fn drop_one(&mut self) {
        let oldest = self.all.first_key_value().map(|(sequence, _)| *sequence);
        let many_quiet = self.quiet.len() > self.limit / 2;
        let quiet = self.quiet.front().copied().filter(|_| many_quiet);
        let Some(dropped) = quiet.or(oldest) else {
            return;
        };
        self.all.remove(&dropped);
        for numbers in [&mut self.quiet, &mut self.proven] {
            if numbers.front() == Some(&dropped) {
                numbers.pop_front();
            }
        }
    }

    /// The highest number.
    pub(super) fn latest(&self) -> Option<u64> {
        self.all.last_key_value().map(|(sequence, _)| *sequence)
    }

    /// All of them, the oldest first.
    pub(super) fn all(&self) -> Vec<Arc<AuditRecord>> {
        self.all.values().cloned().collect()
    }
}

/// A page that is being put together: a long history is gone through in several turns.
#[derive(Debug)]
pub(super) struct Search {
    filter: AuditFilter,
    before: Option<u64>,
    limit: usize,
    found: Vec<Arc<AuditRecord>>,
}

impl Search {
    pub(super) fn new(filter: AuditFilter, before: Option<u64>, limit: usize) -> Self {
        Self {
            filter,
            before,
            limit: limit.clamp(1, AUDITS_LIMIT),
            found: Vec::new(),
        }
    }

    /// Looks at `turn` records more; whether it is at its end.
    pub(super) fn go_on(&mut self, records: &Records, turn: usize) -> bool {
        let mut behind = match self.before {
            Some(before) => records.all.range(..before),
            None => records.all.range(..),
        };
        for _ in 0..turn {
            let Some((sequence, record)) = behind.next_back() else {
                return true;
            };
            self.before = Some(*sequence);
            if self.wants(record) {
                self.found.push(Arc::clone(record));
                // One more than fits shows that there is a next page.
                if self.found.len() > self.limit {
                    return true;
                }
            }
        }
        false
    }

    fn wants(&self, record: &AuditRecord) -> bool {
        let AuditFilter { peer, cid, outcome } = self.filter;
        peer.is_none_or(|peer| record.peer_id == peer)
            && cid.is_none_or(|cid| record.cid == cid)
            && outcome.is_none_or(|outcome| record.outcome == outcome)
    }

    pub(super) fn page(mut self) -> AuditPage {
        let more = self.found.len() > self.limit;
        self.found.truncate(self.limit);
        let last = self.found.last().map(|record| record.sequence);
        AuditPage {
            next: last.filter(|_| more),
            audits: self.found,
        }
    }
}

#[cfg(test)]
mod tests;
