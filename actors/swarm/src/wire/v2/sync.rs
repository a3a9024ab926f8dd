//! Questions and answers of `sync`: CBOR arrays that begin with a number for their kind.
//!
//! | question | number | what follows |
//! |---|---|---|
//! | `CompareAll` | 0 | shards, hash |
//! | `Compare` | 1 | shards, their fingerprints in one string of 32 bytes each |
//! | `Keyed` | 2 | nonce, shards |
//! | `Ranges` | 3 | shard, nonce, sketches |
//! | `Offer` | 4 | shard, digests in one string |
//!
//! | answer | number | what follows |
//! |---|---|---|
//! | `Alike` | 0 | whether |
//! | `Differing` | 1 | shards |
//! | `Hashes` | 2 | an array: 32 bytes or null for each |
//! | `Ranges` | 3 | an array: null for alike, one string of digests each with a byte whether it is declined, or an array of sketches |
//! | `Wanted` | 4 | how many |
//!
//! Shards are an array of runs: how many are left out, how many follow, and so on. Sketches are an
//! array of four each: where it begins, or null where the last one ended; where it ends, or null at
//! the end of all; how many; the hash. A digest that bounds a range goes without the zeros at its end.
//! A refusal is a map, as in the other protocols. The numbers are not safe to change.
//!
//! What is read is never more than the bounds of the contract; memory grows with what is there.

mod answers;
mod questions;

use bytecave_core::{Digest, ShardCount, ShardId};
use bytecave_messages::sync::{RangeSketch, SYNC_SHARDS_MAX};
use minicbor::data::Type;
use minicbor::{Decoder, Encoder};
use thiserror::Error;

use super::header::HeaderError;
use crate::wire::frame::{self, PREFIX_BYTES};

pub(crate) use answers::{Said, answer_frame, parse_answer};
pub(crate) use questions::{parse_request, request_frame};

/// Longest question. The largest that makes sense, 4,096 fingerprints or digests, takes a little over
/// half of it.
pub(crate) const QUESTION_BYTES: u64 = 256 * 1024;
/// Longest answer. The largest that makes sense splits 512 ranges into 16 parts of some 60 bytes each.
pub(crate) const ANSWER_BYTES: u64 = 512 * 1024;
/// Parts of a sketch.
const SKETCH_PARTS: u64 = 4;

/// Why these bytes are no question, or no answer to it.
#[derive(Debug, Error)]
pub(crate) enum SyncError {
    /// Not this form.
    #[error("not understood: {0}")]
    Form(#[from] minicbor::decode::Error),
    /// A refusal that is none.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A list without a length.
    #[error("the length of a list is left open")]
    Open,
    /// A kind that is not known, or not the one that was asked for.
    #[error("kind {0} makes no sense here")]
    Kind(u8),
    /// More than the contract allows, or not as many as belong together.
    #[error("{0} in a number that makes no sense")]
    Number(&'static str),
    /// A string of another length.
    #[error("{0} of a length that makes no sense")]
    Length(&'static str),
    /// A shard that this network does not have, or that was not asked about.
    #[error("shard {0} makes no sense here")]
    Shard(u64),
    /// Not ascending, overlapping, or outside of what was asked.
    #[error("{0} out of order or of range")]
    Order(&'static str),
    /// Something follows.
    #[error("bytes follow")]
    Behind,
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;
type Writer = Encoder<Vec<u8>>;

/// The frame of what `write` writes.
fn framed(write: impl FnOnce(&mut Writer) -> Written) -> Vec<u8> {
    let mut encoder = Encoder::new(vec![0; PREFIX_BYTES]);
    // Writing into a vector cannot fail.
    let _ = write(&mut encoder);
    frame::seal(encoder.into_writer())
}

/// Whether a frame is short enough to be sent.
pub(crate) fn fits(frame: &[u8], limit_bytes: u64) -> bool {
    frame.len() as u64 <= PREFIX_BYTES as u64 + limit_bytes
}

fn write_shards(to: &mut Writer, shards: impl Iterator<Item = ShardId>) -> Written {
    let mut runs: Vec<(u16, u16)> = Vec::new();
    let mut next = 0;
    for shard in shards.map(ShardId::get) {
        match runs.last_mut() {
            Some((_, length)) if shard == next => *length += 1,
            _ => runs.push((shard.saturating_sub(next), 1)),
        }
        next = shard + 1;
    }
    to.array(2 * runs.len() as u64)?;
    for (gap, length) in runs {
        to.u16(gap)?.u16(length)?;
    }
    Ok(())
}

/// The numbers of shards, ascending.
fn read_shard_numbers(from: &mut Decoder<'_>) -> Result<Vec<u64>, SyncError> {
    let parts = from.array()?.ok_or(SyncError::Open)?;
    if parts % 2 != 0 {
        return Err(SyncError::Number("runs of shards"));
    }
    let mut shards = Vec::new();
    let mut next: u64 = 0;
    for _ in 0..parts / 2 {
        next += u64::from(from.u16()?);
        let length = u64::from(from.u16()?);
        if length == 0 || shards.len() as u64 + length > SYNC_SHARDS_MAX as u64 {
            return Err(SyncError::Number("shards"));
        }
        shards.extend(next..next + length);
        next += length;
    }
    Ok(shards)
}

fn shard(count: ShardCount, number: u64) -> Result<ShardId, SyncError> {
    count.shard(number).map_err(|_| SyncError::Shard(number))
}

fn read_shards(from: &mut Decoder<'_>, count: ShardCount) -> Result<Vec<ShardId>, SyncError> {
    let numbers = read_shard_numbers(from)?.into_iter();
    numbers.map(|number| shard(count, number)).collect()
}

fn write_sketches(to: &mut Writer, sketches: &[RangeSketch]) -> Written {
    to.array(SKETCH_PARTS * sketches.len() as u64)?;
    let mut ended: Option<Digest> = None;
    for sketch in sketches {
        if ended == Some(sketch.from) {
            to.null()?;
        } else {
            to.bytes(trimmed(&sketch.from))?;
        }
        match &sketch.to {
            Some(end) => to.bytes(trimmed(end))?,
            None => to.null()?,
        };
        to.u64(sketch.count)?.bytes(&sketch.hash)?;
        ended = sketch.to;
    }
    Ok(())
}

/// At least one and at most `most` ranges, ascending and apart.
fn read_sketches(from: &mut Decoder<'_>, most: usize) -> Result<Vec<RangeSketch>, SyncError> {
    let parts = from.array()?.ok_or(SyncError::Open)?;
    let whole = parts % SKETCH_PARTS == 0;
    if !whole || parts == 0 || parts / SKETCH_PARTS > most as u64 {
        return Err(SyncError::Number("ranges"));
    }
    let mut sketches: Vec<RangeSketch> = Vec::new();
    for _ in 0..parts / SKETCH_PARTS {
        let ended = match sketches.last() {
            None => Some(Digest::new([0; 32])),
            Some(last) => last.to,
        };
        // Nothing comes behind the end of all.
        let ended = ended.ok_or(SyncError::Order("ranges"))?;
        let begin = match read_bound(from)? {
            Some(begin) => begin,
            None if sketches.is_empty() => return Err(SyncError::Order("ranges")),
            None => ended,
        };
        let end = read_bound(from)?;
        if begin < ended || end.is_some_and(|end| end <= begin) {
            return Err(SyncError::Order("ranges"));
        }
        sketches.push(RangeSketch {
            from: begin,
            to: end,
            count: from.u64()?,
            hash: exactly(from.bytes()?, "a hash")?,
        });
    }
    Ok(sketches)
}

fn trimmed(bound: &Digest) -> &[u8] {
    let bytes = bound.as_bytes();
    let kept = bytes.iter().rposition(|byte| *byte != 0);
    bytes
        .get(..kept.map_or(0, |last| last + 1))
        .unwrap_or(bytes)
}

fn read_bound(from: &mut Decoder<'_>) -> Result<Option<Digest>, SyncError> {
    if from.datatype()? == Type::Null {
        from.null()?;
        return Ok(None);
    }
    let bytes = from.bytes()?;
    let mut bound = [0; 32];
    let room = bound.get_mut(..bytes.len());
    room.ok_or(SyncError::Length("a bound"))?
        .copy_from_slice(bytes);
    Ok(Some(Digest::new(bound)))
}

fn exactly<const N: usize>(bytes: &[u8], what: &'static str) -> Result<[u8; N], SyncError> {
    bytes.try_into().map_err(|_| SyncError::Length(what))
}

fn read_digest(from: &mut Decoder<'_>) -> Result<Digest, SyncError> {
    Ok(Digest::new(exactly(from.bytes()?, "a hash")?))
}

/// The kind, after the right number of parts.
fn read_kind(from: &mut Decoder<'_>) -> Result<(u8, u64), SyncError> {
    let parts = from.array()?.ok_or(SyncError::Open)?;
    Ok((from.u8()?, parts))
}

fn at_the_end(from: &Decoder<'_>) -> Result<(), SyncError> {
    if from.position() == from.input().len() {
        Ok(())
    } else {
        Err(SyncError::Behind)
    }
}

#[cfg(test)]
#[path = "sync_tests.rs"]
mod tests;
