//! Large blobs of others' shards on their way to them.
//!
//! They are written as any large blob is, into a file that becomes part of a family of their own. All
//! that is known of one stands in memory, in its *hold*: no record on disk names it, no counter counts
//! it, and its key is nowhere else, so that what a crash leaves can be read by nobody. The space stays
//! reserved until its file is gone. Each upload has chunks of its own: the same content may be under
//! way several times.
//!
//! When the last clone of a hold is dropped, wherever that is, the chunks are left to the upkeep thread;
//! when the engine is closed by then, to the next start, which empties the family.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytecave_core::BlobCid;
use bytecave_messages::store::{BlobRead, ByteRange, StoreError, TransitHold};
use rocksdb::{BoundColumnFamily, DB, IteratorMode, Options};

use super::Engine;
use super::commit::blobs::chunk_run;
use super::failpoint::failpoint;
use super::layout::{TRANSIT_FAMILY, chunk_key, prefix};
use super::open::{self, OpenError};
use super::read::{LargeReader, Origin, resolve, start};
use super::record::{BlobMeta, ChunkRun};
use super::rocks::range_read_options;
use super::space::Reservation;
use super::state::{Inner, failed, lock, stopped};
use super::upkeep::Upkeep;

/// What is in transit.
#[derive(Debug)]
pub(crate) struct Transit {
    /// On the disk, held or leaving.
    blobs: AtomicU64,
    /// Sealed bytes of these.
    bytes: AtomicU64,
    /// Dropped, and their files not yet gone.
    leaving: Mutex<Vec<Leaving>>,
    upkeep: Arc<Upkeep>,
}

/// What is left of a blob when its hold is dropped.
#[derive(Debug)]
struct Leaving {
    run: ChunkRun,
    /// Given back when the file is gone.
    _space: Reservation,
}

/// What a hold keeps. It does not keep the engine: that may close before the last hold is dropped.
pub(crate) struct Held {
    transit: Arc<Transit>,
    meta: Arc<BlobMeta>,
    /// Taken when it is dropped.
    left: Option<Leaving>,
}

impl Transit {
    pub(crate) fn new(upkeep: Arc<Upkeep>) -> Self {
        Self {
            blobs: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            leaving: Mutex::default(),
            upkeep,
        }
    }

    /// Holds a blob that is about to be ingested: whatever becomes of that, its chunks will go.
    pub(crate) fn hold(
        self: &Arc<Self>,
        meta: BlobMeta,
        mut space: Reservation,
    ) -> Result<Held, StoreError> {
        let run = chunk_run(TRANSIT_FAMILY, &meta)?;
        space.settle(run.sealed_size);
        self.blobs.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(run.sealed_size, Ordering::Relaxed);
        Ok(Held {
            transit: Arc::clone(self),
            meta: Arc::new(meta),
            left: Some(Leaving { run, _space: space }),
        })
    }

    /// Blobs on the disk.
    pub(crate) fn blobs(&self) -> u64 {
        self.blobs.load(Ordering::Relaxed)
    }

    /// Sealed bytes of these.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(left) = self.left.take() {
            lock(&self.transit.leaving).push(left);
            self.transit.upkeep.wake();
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Held({:?})", self.meta.digest)
    }
}

impl Engine {
    /// Reads a blob in transit or a part of it. `held` is dropped when the last byte was handed over;
    /// the blob stays in transit at least as long.
    pub async fn read_transit<H: Send + 'static>(
        &self,
        hold: TransitHold,
        range: Option<ByteRange>,
        held: H,
    ) -> Result<BlobRead, StoreError> {
        let reader = self.open_transit(hold, range)?;
        let started = self
            .inner
            .readers
            .run(move || start(Box::new(reader)))
            .await
            .map_err(stopped)??;
        Ok(started.into_read(held))
    }

    fn open_transit(
        &self,
        hold: TransitHold,
        range: Option<ByteRange>,
    ) -> Result<LargeReader, StoreError> {
        let inner = &self.inner;
        let meta = hold
            .kept::<Held>()
            .filter(|held| Arc::ptr_eq(&held.transit, &inner.transit))
            .map(|held| Arc::clone(&held.meta))
            .ok_or_else(|| failed("reading a blob in transit", "it is not in this store"))?;
        let cid = BlobCid::from_digest(meta.digest);
        if inner
            .blocked
            .contains(&inner.keyring().sealed_name(&meta.digest))
        {
            return Err(StoreError::Blocked { cid });
        }
        let range = resolve(range, meta.size)?;
        let shard = inner.shard_of(&meta.digest);
        LargeReader::open(inner, meta, shard, range, Origin::Transit { _hold: hold })
    }
}

/// Frees the files of blobs that nobody holds any more; what cannot be freed yet is left to the next
/// round.
pub(crate) fn free(inner: &Inner) {
    let leaving = std::mem::take(&mut *lock(&inner.transit.leaving));
    if leaving.is_empty() {
        return;
    }
    failpoint!("transit::before-free");
    let Some(handle) = inner.db.cf_handle(TRANSIT_FAMILY) else {
        return;
    };
    for left in leaving {
        if free_run(&inner.db, &handle, &left.run) {
            inner.transit.blobs.fetch_sub(1, Ordering::Relaxed);
            inner
                .transit
                .bytes
                .fetch_sub(left.run.sealed_size, Ordering::Relaxed);
        } else {
            lock(&inner.transit.leaving).push(left);
        }
    }
}

/// Frees the file of a run; whether nothing of it is left.
fn free_run(db: &DB, handle: &Arc<BoundColumnFamily<'_>>, run: &ChunkRun) -> bool {
    let from = chunk_key(run.blob_id, 0);
    let to = chunk_key(run.blob_id, u32::MAX);
    if let Err(error) = db.delete_file_in_range_cf(handle, from, to) {
        tracing::debug!(%error, "the file of a blob in transit could not be freed yet");
        return false;
    }
    is_empty(db, handle, from.to_vec(), to.to_vec())
}

/// Removes what an earlier process left: by the file, or with the whole family where a file does not go.
pub(crate) fn empty(db: &DB, options: &Options) -> Result<(), OpenError> {
    let failed = |error: rocksdb::Error| open::refusal(&error, db.path());
    let (from, to) = ([prefix::CHUNK], [prefix::CHUNK + 1]);
    let left = || {
        let handle = db.cf_handle(TRANSIT_FAMILY)?;
        Some(handle).filter(|handle| !is_empty(db, handle, from.to_vec(), to.to_vec()))
    };
    let Some(handle) = left() else {
        return Ok(());
    };
    tracing::info!("blobs that were in transit when the node ended are removed");
    db.delete_file_in_range_cf(&handle, from, to)
        .map_err(failed)?;
    drop(handle);
    if left().is_some() {
        db.drop_cf(TRANSIT_FAMILY).map_err(failed)?;
        db.create_cf(TRANSIT_FAMILY, options).map_err(failed)?;
    }
    Ok(())
}

/// Whether there is no row in a range. One that cannot be read is one.
fn is_empty(db: &DB, handle: &Arc<BoundColumnFamily<'_>>, from: Vec<u8>, to: Vec<u8>) -> bool {
    let mut options = range_read_options(from, to);
    options.fill_cache(false);
    db.iterator_cf_opt(handle, options, IteratorMode::Start)
        .next()
        .is_none()
}
