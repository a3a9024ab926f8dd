//! Questions.

use bytecave_core::{Digest, Fingerprint, ShardCount};
use bytecave_messages::sync::{SYNC_DIGESTS_MAX, SYNC_RANGES_MAX, SyncRequest};
use minicbor::Decoder;

use super::{
    SyncError, Writer, Written, at_the_end, exactly, framed, read_digest, read_kind, read_shards,
    read_sketches, shard, write_shards, write_sketches,
};

/// The frame of a question.
pub(crate) fn request_frame(request: &SyncRequest) -> Vec<u8> {
    framed(|to| write(to, request))
}

fn write(to: &mut Writer, request: &SyncRequest) -> Written {
    match request {
        SyncRequest::CompareAll { shards, hash } => {
            to.array(3)?.u8(0)?;
            write_shards(to, shards.iter().copied())?;
            to.bytes(hash.as_bytes())?;
        }
        SyncRequest::Compare { shards } => {
            to.array(3)?.u8(1)?;
            write_shards(to, shards.iter().map(|(shard, _)| *shard))?;
            let fingerprints = shards.iter().map(|(_, fingerprint)| fingerprint);
            let bytes: Vec<u8> = fingerprints.flat_map(|f| *f.as_bytes()).collect();
            to.bytes(&bytes)?;
        }
        SyncRequest::Keyed { nonce, shards } => {
            to.array(3)?.u8(2)?.bytes(nonce)?;
            write_shards(to, shards.iter().copied())?;
        }
        SyncRequest::Ranges {
            shard,
            nonce,
            ranges,
        } => {
            to.array(4)?.u8(3)?.u16(shard.get())?.bytes(nonce)?;
            write_sketches(to, ranges)?;
        }
        SyncRequest::Offer { shard, digests } => {
            to.array(3)?.u8(4)?.u16(shard.get())?;
            let bytes: Vec<u8> = digests.iter().flat_map(|d| *d.as_bytes()).collect();
            to.bytes(&bytes)?;
        }
    }
    Ok(())
}

/// Reads a question; its shards are those of a network with so many.
pub(crate) fn parse_request(bytes: &[u8], count: ShardCount) -> Result<SyncRequest, SyncError> {
    let mut from = Decoder::new(bytes);
    let from = &mut from;
    let request = match read_kind(from)? {
        (0, 3) => SyncRequest::CompareAll {
            shards: read_shards(from, count)?,
            hash: read_digest(from)?,
        },
        (1, 3) => {
            let shards = read_shards(from, count)?;
            let (fingerprints, rest) = from.bytes()?.as_chunks();
            if fingerprints.len() != shards.len() || !rest.is_empty() {
                return Err(SyncError::Length("fingerprints"));
            }
            let fingerprints = fingerprints.iter().copied().map(Fingerprint::new);
            SyncRequest::Compare {
                shards: shards.into_iter().zip(fingerprints).collect(),
            }
        }
        (2, 3) => SyncRequest::Keyed {
            nonce: exactly(from.bytes()?, "a nonce")?,
            shards: read_shards(from, count)?,
        },
        (3, 4) => SyncRequest::Ranges {
            shard: shard(count, from.u64()?)?,
            nonce: exactly(from.bytes()?, "a nonce")?,
            ranges: read_sketches(from, SYNC_RANGES_MAX)?,
        },
        (4, 3) => {
            let shard = shard(count, from.u64()?)?;
            let (digests, rest) = from.bytes()?.as_chunks();
            if digests.len() > SYNC_DIGESTS_MAX || !rest.is_empty() {
                return Err(SyncError::Length("digests"));
            }
            let digests: Vec<Digest> = digests.iter().copied().map(Digest::new).collect();
            SyncRequest::Offer { shard, digests }
        }
        (kind, _) => return Err(SyncError::Kind(kind)),
    };
    at_the_end(from)?;
    Ok(request)
}
