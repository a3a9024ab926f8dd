//! Where the bytes of a blob that is copied come from: read once for all whom it is sent to.

use std::sync::Arc;
use std::time::Duration;

use bytecave_core::BlobCid;
use bytecave_messages::body::{BlobBody, BodyError};
use bytecave_messages::budget::Share;
use bytecave_messages::ports::StorePort;
use bytecave_messages::replicator::BytesAt;
use bytecave_messages::store::{BlobRead, InTransit, StoreError};
use bytes::{Bytes, BytesMut};
use tokio::sync::OnceCell;
use tokio::time::sleep;

use super::fan::fan;

/// Blobs up to this are in memory while they are copied; larger ones are streams. Too low: each
/// receiver of a small blob reads it anew. Too high: that much memory for each job.
pub(super) const WHOLE_BYTES: u64 = 1 << 20;
/// How often a store that is full is asked again, and the first wait before that; it doubles.
const ASKED_AGAIN: u32 = 4;
const ASK_AGAIN_IN: Duration = Duration::from_millis(100);

/// The bytes of one blob. Clones share what was read.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) store: StorePort,
    pub(super) share: Share,
    pub(super) cid: BlobCid,
    pub(super) size: u64,
    pub(super) at: BytesAt,
    pub(super) whole: Arc<OnceCell<Bytes>>,
}

impl Source {
    /// The bytes for so many receivers.
    pub(super) async fn bodies(&self, receivers: usize) -> Result<Vec<BlobBody>, BodyError> {
        if let BytesAt::Transit(InTransit::Memory(bytes)) = &self.at {
            return Ok(shared(bytes, receivers));
        }
        if self.size <= WHOLE_BYTES {
            let read = || async { collect(self.clone().open().await?).await };
            let bytes = self.whole.get_or_try_init(read).await?;
            return Ok(shared(bytes, receivers));
        }
        let streams = fan(self.size, receivers, self.clone().open());
        Ok(streams.into_iter().map(BlobBody::Stream).collect())
    }

    /// Opens the blob for reading, again and again while the store has too much to do.
    async fn open(self) -> Result<BlobBody, BodyError> {
        let mut wait = ASK_AGAIN_IN;
        for _ in 0..ASKED_AGAIN {
            match self.ask().await {
                Err(StoreError::Full(_)) => sleep(wait).await,
                answer => return answer.map(|read| read.body).map_err(unreadable),
            }
            wait *= 2;
        }
        Err(BodyError::StoreFailed)
    }

    async fn ask(&self) -> Result<BlobRead, StoreError> {
        match &self.at {
            BytesAt::Store => self.store.get(self.share, self.cid, None).await,
            BytesAt::Transit(InTransit::Disk(hold)) => {
                let hold = hold.clone();
                self.store.read_transit(self.share, hold, None).await
            }
            // Given out above; nothing of it is in the store.
            BytesAt::Transit(InTransit::Memory(_)) => Err(StoreError::NotFound { cid: self.cid }),
        }
    }
}

fn shared(bytes: &Bytes, receivers: usize) -> Vec<BlobBody> {
    let body = || BlobBody::Whole(bytes.clone());
    std::iter::repeat_with(body).take(receivers).collect()
}

async fn collect(body: BlobBody) -> Result<Bytes, BodyError> {
    match body {
        BlobBody::Whole(bytes) => Ok(bytes),
        BlobBody::Stream(mut stream) => {
            let mut all = BytesMut::new();
            while let Some(piece) = stream.next().await {
                all.extend_from_slice(&piece?);
            }
            Ok(all.freeze())
        }
    }
}

/// What an error of the store's is to whoever reads on.
fn unreadable(error: StoreError) -> BodyError {
    match error {
        StoreError::NotFound { .. } | StoreError::Deleted { .. } | StoreError::Blocked { .. } => {
            BodyError::Deleted
        }
        StoreError::Damaged { .. } => BodyError::Damaged,
        StoreError::Body(error) => error,
        error => {
            tracing::debug!(%error, "blob to be copied not read");
            BodyError::StoreFailed
        }
    }
}
