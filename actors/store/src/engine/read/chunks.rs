//! Large blobs: read chunk by chunk, a few to a job, while those before are on their way out.

use std::ops::Range;
use std::sync::Arc;

use bytecave_core::{BlobCid, ShardId};
use bytecave_messages::body::{BodyError, BodySender};
use bytecave_messages::store::{BlobInfo, StoreError, TransitHold};
use bytes::Bytes;

use super::{ChunkError, locate, part_of_segment};
use crate::engine::layout::{TRANSIT_FAMILY, chunk_key};
use crate::engine::record::BlobMeta;
use crate::engine::rocks::chunk_read_options;
use crate::engine::seal::{BlobCipher, SEGMENT_BYTES, segment_count};
use crate::engine::state::{Inner, failed, info, seal_failed};

/// Chunks that one job reads: enough that the hop between threads does not count, few enough that a
/// reader holds little memory.
const CHUNKS_PER_JOB: usize = 4;
/// Reads a large blob, or a part of it, from front to back.
#[derive(Debug)]
pub struct LargeReader {
    inner: Arc<Inner>,
    pub(super) meta: Arc<BlobMeta>,
    pub(super) shard: ShardId,
    origin: Origin,
    cipher: BlobCipher,
    segments: u32,
    pub(super) range: Range<u64>,
    /// The next byte to hand out.
    next: u64,
}

/// Where a large blob is read from.
#[derive(Debug)]
pub(crate) enum Origin {
    /// The family of its shard.
    Shard,
    /// The family of those in transit, which this keeps it in.
    Transit { _hold: TransitHold },
}

impl LargeReader {
    /// A reader of `range` of the blob.
    pub(crate) fn open(
        inner: &Arc<Inner>,
        meta: Arc<BlobMeta>,
        shard: ShardId,
        range: Range<u64>,
        origin: Origin,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            inner: Arc::clone(inner),
            shard,
            origin,
            cipher: BlobCipher::new(&meta.data_key, meta.blob_id).map_err(seal_failed)?,
            segments: segment_count(meta.size)
                .map_err(|error| failed("counting segments", error))?,
            next: range.start,
            range,
            meta,
        })
    }

    /// What is known of the blob.
    pub fn info(&self) -> BlobInfo {
        info(&self.meta, self.shard)
    }

    /// Whether everything was read.
    pub fn is_done(&self) -> bool {
        self.next >= self.range.end
    }

    /// Reads the next pieces, at most 1 MiB; none at the end.
    pub fn read(&mut self) -> Result<Vec<Bytes>, BodyError> {
        let mut pieces = Vec::with_capacity(CHUNKS_PER_JOB);
        while pieces.len() < CHUNKS_PER_JOB && !self.is_done() {
            let piece = self.read_chunk().map_err(|error| self.explain(&error))?;
            self.next += piece.len() as u64;
            pieces.push(piece);
        }
        Ok(pieces)
    }

    fn read_chunk(&self) -> Result<Bytes, ChunkError> {
        let number = u32::try_from(self.next / SEGMENT_BYTES as u64).unwrap_or(u32::MAX);
        let family = match self.origin {
            Origin::Shard => self.inner.family(self.shard).map(|family| &*family.name),
            Origin::Transit { .. } => Some(TRANSIT_FAMILY),
        };
        let handle = family
            .and_then(|family| self.inner.db.cf_handle(family))
            .ok_or(ChunkError::Gone)?;
        let sealed = self
            .inner
            .db
            .get_pinned_cf_opt(
                &handle,
                chunk_key(self.meta.blob_id, number),
                &chunk_read_options(),
            )
            .map_err(ChunkError::from_db)?
            .ok_or(ChunkError::Gone)?;
        let mut segment = sealed.to_vec();
        let len = self
            .cipher
            .open_segment(number, number + 1 == self.segments, &mut segment)
            .map_err(|error| ChunkError::Damaged(error.to_string()))?
            .len();
        segment.truncate(len);
        let wanted = part_of_segment(number, &(self.next..self.range.end))
            .filter(|wanted| wanted.end <= len)
            .ok_or_else(|| ChunkError::Damaged("a segment is too short".to_owned()))?;
        Ok(Bytes::from(segment).slice(wanted))
    }

    /// Whether the blob was deleted or replaced under the reader, or is damaged.
    fn explain(&self, error: &ChunkError) -> BodyError {
        if let ChunkError::Failed(cause) = error {
            tracing::error!(cause, "reading a chunk failed");
            return BodyError::StoreFailed;
        }
        if let Origin::Transit { .. } = self.origin {
            // Held, it is neither deleted nor replaced. Whoever sent it sends it again.
            self.inner.note_damage("a blob in transit", error.cause());
            return BodyError::Damaged;
        }
        match locate(&self.inner, BlobCid::from_digest(self.meta.digest), true) {
            Ok(located) if located.meta.blob_id == self.meta.blob_id => {
                self.inner.quarantine(&located, error);
                BodyError::Damaged
            }
            Ok(_) | Err(StoreError::NotFound { .. } | StoreError::Blocked { .. }) => {
                BodyError::Deleted
            }
            Err(StoreError::Damaged { .. }) => BodyError::Damaged,
            Err(_) => BodyError::StoreFailed,
        }
    }
}

/// Sends chunks as fast as they are taken; the next ones are read meanwhile.
pub(super) async fn feed<H>(
    reader: Box<LargeReader>,
    first: Vec<Bytes>,
    mut sender: BodySender,
    held: H,
) {
    let pool = Arc::clone(&reader.inner);
    let mut ready = first;
    let mut reader = Some(reader);
    loop {
        let job = match reader.take() {
            Some(mut reader) if !reader.is_done() => {
                let read = move || {
                    let pieces = reader.read();
                    (reader, pieces)
                };
                match pool.readers.submit(read).await {
                    Ok(job) => Some(job),
                    Err(_) => return sender.fail(BodyError::StoreFailed),
                }
            }
            _ => None,
        };
        for piece in std::mem::take(&mut ready) {
            if sender.send(piece).await.is_err() {
                // The client went away. A job that runs ends by itself.
                return;
            }
        }
        let Some(job) = job else {
            sender.finish();
            drop(held);
            return;
        };
        match job.result().await {
            Ok((next, Ok(pieces))) => {
                reader = Some(next);
                ready = pieces;
            }
            Ok((_, Err(error))) => return sender.fail(error),
            Err(_) => return sender.fail(BodyError::StoreFailed),
        }
    }
}
