//! How a shard compares, range by range: pure decisions.
//!
//! Range-based set reconciliation (Meyer, "Range-Based Set Reconciliation", 2023): a range whose hash
//! differs is split at the quantiles of the asked one, or listed when little stands in it. Who asks
//! ([`Differ`]) goes on with the parts that differ, so the cost follows the difference. The hashes
//! are keyed by a nonce of the asker's: nobody makes two sets that look alike beforehand.
//!
//! Whatever an answer says is checked against what was asked: a range that is not covered or left, a
//! list out of order, a digest of another shard is a lie, and splitting without end is bounded in
//! depth and in questions.

mod differ;

use bytecave_core::Digest;
use bytecave_messages::sync::{
    ListedDigest, RangeAnswer, RangeSketch, SYNC_DIGESTS_MAX, SYNC_LEAF, SYNC_RANGES_MAX,
    SYNC_SPLIT,
};
use ring::digest::{Context, SHA256};
use thiserror::Error;

pub(super) use differ::{Differ, Found};

/// A question or an answer that no honest peer gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Nonsense {
    #[error("{0} ranges, expected at most {SYNC_RANGES_MAX}")]
    TooManyRanges(usize),
    #[error("ranges that are empty, overlap or are not in ascending order")]
    Disorder,
    #[error("{got} answers to {asked} ranges")]
    WrongNumber { asked: usize, got: usize },
    #[error("more than {SYNC_DIGESTS_MAX} digests in one message")]
    TooManyDigests,
    #[error("a range split into {0} parts, expected 2 to {SYNC_SPLIT}")]
    WrongParts(usize),
    #[error("parts that do not cover the range that was asked for, and nothing else")]
    NotCovering,
    #[error("digests that are not in ascending order")]
    Unsorted,
    #[error("a digest outside the range that was asked for")]
    OutsideRange,
    #[error("a digest of another shard")]
    OtherShard,
    #[error("splitting that comes to no end")]
    Endless,
}

/// Answers a question about ranges from what stands here, sorted.
pub(super) fn answer(
    ours: &[ListedDigest],
    nonce: &[u8; 32],
    asked: &[RangeSketch],
) -> Result<Vec<RangeAnswer>, Nonsense> {
    if asked.len() > SYNC_RANGES_MAX {
        return Err(Nonsense::TooManyRanges(asked.len()));
    }
    in_order(asked)?;
    let mut listed = 0;
    let answers = asked.iter().enumerate().map(|(at, range)| {
        let here = within(ours, &range.from, range.to.as_ref());
        if count(here) == range.count && hash(nonce, here) == range.hash {
            return RangeAnswer::Alike;
        }
        // One place is kept for each range to come: a single digest cannot be split, only listed.
        let to_come = asked.len() - at - 1;
        let room = SYNC_DIGESTS_MAX.saturating_sub(listed + to_come);
        if here.len() <= SYNC_LEAF.min(room) {
            listed += here.len();
            return RangeAnswer::Listed(here.to_vec());
        }
        RangeAnswer::Split(split(here, nonce, range))
    });
    Ok(answers.collect())
}

/// Digests that an answer to these ranges hashes.
pub(super) fn work(ours: &[ListedDigest], asked: &[RangeSketch]) -> u64 {
    let lens = asked
        .iter()
        .map(|range| count(within(ours, &range.from, range.to.as_ref())));
    lens.fold(0, u64::saturating_add)
}

/// Whether each range has an end behind its beginning, and the next does not begin before that.
fn in_order(ranges: &[RangeSketch]) -> Result<(), Nonsense> {
    let mut reached = None;
    for (at, range) in ranges.iter().enumerate() {
        let apart = at == 0 || reached.is_some_and(|end: Digest| end <= range.from);
        if !apart || range.to.is_some_and(|to| to <= range.from) {
            return Err(Nonsense::Disorder);
        }
        reached = range.to;
    }
    Ok(())
}

/// What stands in the range from `from` to before `to`.
fn within<'a>(
    sorted: &'a [ListedDigest],
    from: &Digest,
    to: Option<&Digest>,
) -> &'a [ListedDigest] {
    let start = sorted.partition_point(|listed| listed.digest < *from);
    let behind = sorted.get(start..).unwrap_or_default();
    let len = to.map_or(behind.len(), |to| {
        behind.partition_point(|listed| listed.digest < *to)
    });
    behind.get(..len).unwrap_or_default()
}

/// The range in parts of equal count, each with at least one digest; `here` has at least two.
fn split(here: &[ListedDigest], nonce: &[u8; 32], range: &RangeSketch) -> Vec<RangeSketch> {
    let part_len = here.len().div_ceil(SYNC_SPLIT);
    let parts: Vec<_> = here.chunks(part_len).collect();
    let begins = |at: usize| {
        let before = parts.get(at.checked_sub(1)?)?.last()?;
        let first = parts.get(at)?.first()?;
        Some(boundary(&before.digest, &first.digest))
    };
    let parts = parts.iter().enumerate().map(|(at, part)| {
        let from = begins(at).unwrap_or(range.from);
        let to = begins(at + 1).or(range.to);
        sketch(part, nonce, from, to)
    });
    parts.collect()
}

/// The shortest digest above `before` and not above `first`: zeros at the end do not travel.
fn boundary(before: &Digest, first: &Digest) -> Digest {
    let mut bytes = [0; 32];
    let pairs = before.as_bytes().iter().zip(first.as_bytes());
    for (to, (before, first)) in bytes.iter_mut().zip(pairs) {
        *to = *first;
        if before != first {
            break;
        }
    }
    Digest::new(bytes)
}

/// What stands in a range.
fn sketch(
    here: &[ListedDigest],
    nonce: &[u8; 32],
    from: Digest,
    to: Option<Digest>,
) -> RangeSketch {
    let (count, hash) = (count(here), hash(nonce, here));
    RangeSketch {
        from,
        to,
        count,
        hash,
    }
}

fn count(here: &[ListedDigest]) -> u64 {
    u64::try_from(here.len()).unwrap_or(u64::MAX)
}

/// The first 16 bytes of SHA-256(nonce ‖ digests).
fn hash(nonce: &[u8; 32], here: &[ListedDigest]) -> [u8; 16] {
    let mut hash = [0; 16];
    let all = keyed(nonce, here);
    for (to, from) in hash.iter_mut().zip(all.as_bytes()) {
        *to = *from;
    }
    hash
}

/// SHA-256(nonce ‖ digests): the keyed hash of a whole list.
pub(super) fn keyed(nonce: &[u8; 32], list: &[ListedDigest]) -> Digest {
    let mut context = Context::new(&SHA256);
    context.update(nonce);
    for listed in list {
        context.update(listed.digest.as_bytes());
    }
    Digest::finish(context)
}

/// A question about these digests one by one, as if none of them stood here, so that the asked one
/// lists what it has of them. `None` when there are more than fit one question.
pub(super) fn one_by_one(nonce: &[u8; 32], digests: &[Digest]) -> Option<Vec<RangeSketch>> {
    let ranges = digests
        .iter()
        .map(|digest| sketch(&[], nonce, *digest, successor(digest)));
    (digests.len() <= SYNC_RANGES_MAX).then(|| ranges.collect())
}

/// The digest behind this one; none behind the last.
fn successor(digest: &Digest) -> Option<Digest> {
    let mut bytes = *digest.as_bytes();
    for byte in bytes.iter_mut().rev() {
        let (next, overflowed) = byte.overflowing_add(1);
        *byte = next;
        if !overflowed {
            return Some(Digest::new(bytes));
        }
    }
    None
}

#[cfg(test)]
mod tests;
