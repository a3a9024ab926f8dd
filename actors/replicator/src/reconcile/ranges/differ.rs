//! The side that asks: what differs between its list of a shard and a peer's.

use std::sync::Arc;

use bytecave_core::{Digest, ShardCount, ShardId};
use bytecave_messages::store::DIGESTS_LIMIT;
use bytecave_messages::sync::{
    ListedDigest, RangeAnswer, RangeSketch, SYNC_DIGESTS_MAX, SYNC_LEAF, SYNC_RANGES_MAX,
    SYNC_SPLIT, SyncRequest,
};

use super::{Nonsense, sketch, within};

/// Splits of a range one within the other: a list of the longest length is down to a leaf after six,
/// and answers that are full of lists split two times more.
const DEPTH_MAX: u32 = 12;
/// Most questions about one shard: four times what it takes to list the longest list whole.
const QUESTIONS_MAX: usize = 4 * DIGESTS_LIMIT / SYNC_DIGESTS_MAX;
/// Blobs wanting here after which it is enough: what is left comes with the next round, when these are here.
/// Of what is wanting there no more than these are named, and the walk goes on.
const ENOUGH: usize = 1 << 17;

/// Finds what differs, by one question after the other.
#[derive(Debug)]
pub(in crate::reconcile) struct Differ {
    shard: ShardId,
    count: ShardCount,
    nonce: [u8; 32],
    ours: Arc<[ListedDigest]>,
    /// The deepest last: these are asked about first, so that there are never many.
    open: Vec<Open>,
    asked: Vec<Open>,
    questions: usize,
    found: Found,
}

/// A range of which it is known only that it differs.
#[derive(Debug, Clone, Copy)]
struct Open {
    range: RangeSketch,
    depth: u32,
    /// What the peer says it has there.
    theirs: u64,
}

/// What differs.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(in crate::reconcile) struct Found {
    /// They have it, and we lack it.
    pub(in crate::reconcile) missing_here: Vec<Digest>,
    /// The same, but they deleted or blocked it, and do not give it.
    pub(in crate::reconcile) declined_there: Vec<Digest>,
    /// We have it, and they lack it. What we deleted is not among these.
    pub(in crate::reconcile) missing_there: Vec<Digest>,
    /// They have it, and we deleted it.
    pub(in crate::reconcile) deleted_here: Vec<Digest>,
    /// Whether no range was left out.
    pub(in crate::reconcile) whole: bool,
}

impl Differ {
    /// Of a shard of which `ours` stands here, sorted.
    pub(in crate::reconcile) fn new(
        shard: ShardId,
        count: ShardCount,
        nonce: [u8; 32],
        ours: Arc<[ListedDigest]>,
    ) -> Self {
        let everything = Open {
            range: sketch(&ours, &nonce, Digest::new([0; 32]), None),
            depth: 0,
            theirs: u64::MAX,
        };
        Self {
            shard,
            count,
            nonce,
            ours,
            open: vec![everything],
            asked: Vec::new(),
            questions: 0,
            found: Found::default(),
        }
    }

    /// What to ask next: as many ranges as one answer has room for. `None` when all is known, or
    /// enough.
    pub(in crate::reconcile) fn next_question(&mut self) -> Option<SyncRequest> {
        self.asked.clear();
        if self.is_enough() {
            return None;
        }
        let mut room = SYNC_DIGESTS_MAX;
        let leaf = u64::try_from(SYNC_LEAF).unwrap_or(u64::MAX);
        while let Some(open) = self.open.last() {
            // What is too much for a list is split, whose length does not depend on it.
            let listed = usize::try_from(open.theirs)
                .ok()
                .filter(|_| open.theirs <= leaf)
                .unwrap_or(1);
            if self.asked.len() == SYNC_RANGES_MAX || room < listed {
                break;
            }
            room -= listed;
            self.asked.extend(self.open.pop());
        }
        if self.asked.is_empty() {
            return None;
        }
        self.asked.sort_unstable_by_key(|open| open.range.from);
        self.questions += 1;
        Some(SyncRequest::Ranges {
            shard: self.shard,
            nonce: self.nonce,
            ranges: self.asked.iter().map(|open| open.range).collect(),
        })
    }

    /// Takes the answer to the last question. After an error nothing of what was found is to be
    /// believed.
    pub(in crate::reconcile) fn take(&mut self, answers: Vec<RangeAnswer>) -> Result<(), Nonsense> {
        let asked = std::mem::take(&mut self.asked);
        if asked.len() != answers.len() {
            return Err(Nonsense::WrongNumber {
                asked: asked.len(),
                got: answers.len(),
            });
        }
        if self.questions >= QUESTIONS_MAX {
            return Err(Nonsense::Endless);
        }
        let mut listed = 0;
        for (open, answer) in asked.iter().zip(answers) {
            match answer {
                RangeAnswer::Alike => {}
                RangeAnswer::Listed(theirs) => {
                    listed += theirs.len();
                    if listed > SYNC_DIGESTS_MAX {
                        return Err(Nonsense::TooManyDigests);
                    }
                    self.check_list(&open.range, &theirs)?;
                    self.compare(&open.range, &theirs);
                }
                RangeAnswer::Split(parts) => self.take_parts(open, &parts)?,
            }
        }
        Ok(())
    }

    /// What differs, when there is nothing more to ask.
    pub(in crate::reconcile) fn into_found(mut self) -> Found {
        self.found.whole = self.open.is_empty();
        self.found
    }

    fn is_enough(&self) -> bool {
        self.found.missing_here.len() >= ENOUGH
    }

    fn check_list(&self, range: &RangeSketch, theirs: &[ListedDigest]) -> Result<(), Nonsense> {
        let mut before: Option<Digest> = None;
        for ListedDigest { digest, .. } in theirs {
            if before.is_some_and(|before| before >= *digest) {
                return Err(Nonsense::Unsorted);
            }
            if *digest < range.from || range.to.is_some_and(|to| *digest >= to) {
                return Err(Nonsense::OutsideRange);
            }
            if self.count.shard_of(digest) != self.shard {
                return Err(Nonsense::OtherShard);
            }
            before = Some(*digest);
        }
        Ok(())
    }

    /// Goes through both lists of a range side by side.
    fn compare(&mut self, range: &RangeSketch, theirs: &[ListedDigest]) {
        let ours = Arc::clone(&self.ours);
        let mut ours = within(&ours, &range.from, range.to.as_ref())
            .iter()
            .peekable();
        for their in theirs {
            while let Some(our) = ours.next_if(|our| our.digest < their.digest) {
                self.lacks(our);
            }
            let our = ours.next_if(|our| our.digest == their.digest);
            match (our, their.declined) {
                (None, true) if self.found.declined_there.len() >= ENOUGH => {}
                (None, true) => self.found.declined_there.push(their.digest),
                (None, false) => self.found.missing_here.push(their.digest),
                (Some(our), false) if our.declined => self.found.deleted_here.push(our.digest),
                (Some(_), _) => {}
            }
        }
        for our in ours {
            self.lacks(our);
        }
    }

    fn lacks(&mut self, our: &ListedDigest) {
        if !our.declined && self.found.missing_there.len() < ENOUGH {
            self.found.missing_there.push(our.digest);
        }
    }

    fn take_parts(&mut self, open: &Open, parts: &[RangeSketch]) -> Result<(), Nonsense> {
        if !(2..=SYNC_SPLIT).contains(&parts.len()) {
            return Err(Nonsense::WrongParts(parts.len()));
        }
        let depth = open.depth + 1;
        if depth > DEPTH_MAX {
            return Err(Nonsense::Endless);
        }
        let mut reached = Some(open.range.from);
        for part in parts {
            if reached != Some(part.from) || part.to.is_some_and(|to| to <= part.from) {
                return Err(Nonsense::NotCovering);
            }
            reached = part.to;
        }
        // Only the last may have no end, since nothing begins behind that.
        if reached != open.range.to {
            return Err(Nonsense::NotCovering);
        }
        let ours = Arc::clone(&self.ours);
        for part in parts.iter().rev() {
            let here = within(&ours, &part.from, part.to.as_ref());
            if part.count == 0 {
                here.iter().for_each(|our| self.lacks(our));
                continue;
            }
            let range = sketch(here, &self.nonce, part.from, part.to);
            if range.count != part.count || range.hash != part.hash {
                self.open.push(Open {
                    range,
                    depth,
                    theirs: part.count,
                });
            }
        }
        Ok(())
    }

    /// How often was asked.
    #[cfg(test)]
    pub(in crate::reconcile) fn questions(&self) -> usize {
        self.questions
    }

    /// Ranges that are still to be asked about.
    #[cfg(test)]
    pub(in crate::reconcile) fn open(&self) -> usize {
        self.open.len()
    }
}
