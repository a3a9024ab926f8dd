//! Answers, read against the question that they are to.

use bytecave_core::{Digest, ShardId};
use bytecave_messages::swarm::Refusal;
use bytecave_messages::sync::{
    ListedDigest, RangeAnswer, RangeSketch, SYNC_DIGESTS_MAX, SYNC_SPLIT, SyncAnswer, SyncRequest,
};
use minicbor::Decoder;
use minicbor::data::Type;

use super::super::Refused;
use super::super::header::Header;
use super::{
    ANSWER_BYTES, SyncError, Writer, Written, at_the_end, fits, framed, read_digest, read_kind,
    read_shard_numbers, read_sketches, write_shards, write_sketches,
};

/// A digest and whether it is declined.
const LISTED_BYTES: usize = 33;

/// What the asked one says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// An answer.
    Answer(SyncAnswer),
    /// That it does not answer.
    Refused(Refused),
}

/// The frame of an answer.
///
/// # Errors
///
/// It is too long: whoever asked has to ask about less at once.
pub(crate) fn answer_frame(answer: &SyncAnswer) -> Result<Vec<u8>, Refusal> {
    let frame = framed(|to| write(to, answer));
    if fits(&frame, ANSWER_BYTES) {
        Ok(frame)
    } else {
        Err(Refusal::TooLarge {
            size: frame.len() as u64,
            limit_bytes: ANSWER_BYTES,
        })
    }
}

fn write(to: &mut Writer, answer: &SyncAnswer) -> Written {
    to.array(2)?;
    match answer {
        SyncAnswer::Alike(alike) => {
            to.u8(0)?.bool(*alike)?;
        }
        SyncAnswer::Differing(shards) => {
            to.u8(1)?;
            write_shards(to, shards.iter().copied())?;
        }
        SyncAnswer::Hashes(hashes) => {
            to.u8(2)?.array(hashes.len() as u64)?;
            for hash in hashes {
                match hash {
                    Some(hash) => to.bytes(hash.as_bytes())?,
                    None => to.null()?,
                };
            }
        }
        SyncAnswer::Ranges(ranges) => {
            to.u8(3)?.array(ranges.len() as u64)?;
            for range in ranges {
                match range {
                    RangeAnswer::Alike => {
                        to.null()?;
                    }
                    RangeAnswer::Listed(listed) => {
                        let mut bytes = Vec::with_capacity(listed.len() * LISTED_BYTES);
                        for ListedDigest { digest, declined } in listed {
                            bytes.extend_from_slice(digest.as_bytes());
                            bytes.push(u8::from(*declined));
                        }
                        to.bytes(&bytes)?;
                    }
                    RangeAnswer::Split(parts) => write_sketches(to, parts)?,
                }
            }
        }
        SyncAnswer::Wanted(wanted) => {
            to.u8(4)?.u32(*wanted)?;
        }
    }
    Ok(())
}

/// Reads what came for an answer to `request`: of its kind, about what was asked, and no more.
pub(crate) fn parse_answer(bytes: &[u8], request: &SyncRequest) -> Result<Said, SyncError> {
    let mut from = Decoder::new(bytes);
    let from = &mut from;
    if from.datatype()? == Type::Map {
        let refused = Header::parse(bytes)?.refused;
        return refused.map(Said::Refused).ok_or(SyncError::Kind(0));
    }
    let answer = match (read_kind(from)?, request) {
        ((0, 2), SyncRequest::CompareAll { .. }) => SyncAnswer::Alike(from.bool()?),
        ((1, 2), SyncRequest::Compare { shards }) => {
            SyncAnswer::Differing(among(from, shards.iter().map(|(shard, _)| *shard))?)
        }
        ((2, 2), SyncRequest::Keyed { shards, .. }) => {
            if from.array()? != Some(shards.len() as u64) {
                return Err(SyncError::Number("hashes"));
            }
            let hashes = shards.iter().map(|_| read_hash(from));
            SyncAnswer::Hashes(hashes.collect::<Result<_, _>>()?)
        }
        ((3, 2), SyncRequest::Ranges { ranges, .. }) => {
            if from.array()? != Some(ranges.len() as u64) {
                return Err(SyncError::Number("ranges"));
            }
            let mut left = SYNC_DIGESTS_MAX;
            let answers = ranges
                .iter()
                .map(|asked| read_range(from, asked, &mut left));
            SyncAnswer::Ranges(answers.collect::<Result<_, _>>()?)
        }
        ((4, 2), SyncRequest::Offer { digests, .. }) => {
            let wanted = from.u32()?;
            if u64::from(wanted) > digests.len() as u64 {
                return Err(SyncError::Number("wanted digests"));
            }
            SyncAnswer::Wanted(wanted)
        }
        ((kind, _), _) => return Err(SyncError::Kind(kind)),
    };
    at_the_end(from)?;
    Ok(Said::Answer(answer))
}

/// Shards that are among those asked about; both ascend.
fn among(
    from: &mut Decoder<'_>,
    mut asked: impl Iterator<Item = ShardId>,
) -> Result<Vec<ShardId>, SyncError> {
    let numbers = read_shard_numbers(from)?.into_iter();
    numbers
        .map(|number| {
            asked
                .find(|shard| u64::from(shard.get()) == number)
                .ok_or(SyncError::Shard(number))
        })
        .collect()
}

fn read_hash(from: &mut Decoder<'_>) -> Result<Option<Digest>, SyncError> {
    if from.datatype()? == Type::Null {
        from.null()?;
        return Ok(None);
    }
    read_digest(from).map(Some)
}

/// How one range compares; `left` digests may still be listed.
fn read_range(
    from: &mut Decoder<'_>,
    asked: &RangeSketch,
    left: &mut usize,
) -> Result<RangeAnswer, SyncError> {
    match from.datatype()? {
        Type::Null => {
            from.null()?;
            Ok(RangeAnswer::Alike)
        }
        Type::Bytes => read_listed(from.bytes()?, asked, left).map(RangeAnswer::Listed),
        _ => {
            let parts = read_sketches(from, SYNC_SPLIT)?;
            let begins = parts.first().is_some_and(|first| first.from >= asked.from);
            let ends = parts.last().is_some_and(|last| match (last.to, asked.to) {
                (_, None) => true,
                (Some(end), Some(asked)) => end <= asked,
                (None, Some(_)) => false,
            });
            if begins && ends {
                Ok(RangeAnswer::Split(parts))
            } else {
                Err(SyncError::Order("parts of a range"))
            }
        }
    }
}

fn read_listed(
    bytes: &[u8],
    asked: &RangeSketch,
    left: &mut usize,
) -> Result<Vec<ListedDigest>, SyncError> {
    let (entries, rest) = bytes.as_chunks::<LISTED_BYTES>();
    if !rest.is_empty() {
        return Err(SyncError::Length("listed digests"));
    }
    *left = left
        .checked_sub(entries.len())
        .ok_or(SyncError::Number("listed digests"))?;
    let mut listed: Vec<ListedDigest> = Vec::with_capacity(entries.len());
    for entry in entries {
        let [digest @ .., declined] = entry;
        let digest = Digest::new(*digest);
        let after = listed.last().is_none_or(|last| last.digest < digest);
        let within = digest >= asked.from && asked.to.is_none_or(|to| digest < to);
        if !after || !within || *declined > 1 {
            return Err(SyncError::Order("listed digests"));
        }
        listed.push(ListedDigest {
            digest,
            declined: *declined == 1,
        });
    }
    Ok(listed)
}
