//! What all parts of the engine share.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{SystemTime, UNIX_EPOCH};

use bytecave_core::{BlobCid, Digest, ShardId};
use bytecave_messages::store::{BlobInfo, StoreError};
use rocksdb::{BoundColumnFamily, DB, ReadOptions};
use tokio::sync::Semaphore;

use super::blocks::Blocked;
use super::cache::BlobCache;
use super::commit::queue::CommitQueue;
use super::health::Health;
use super::keyring::{Keyring, SealedName};
use super::layout::{name_key, prefix};
use super::nonces::Nonces;
use super::options::EngineOptions;
use super::pool::{Pool, PoolError};
use super::record::{self, BlobMeta, ChunkRun, Counters, RecordError};
use super::rocks::Rocks;
use super::seal::{BlobId, SealError};
use super::space::Space;
use super::transit::Transit;
use super::upkeep::Upkeep;

/// The family of one shard.
#[derive(Debug)]
pub(crate) struct Family {
    pub(crate) name: String,
    pub(crate) shard: ShardId,
    /// Whether this node owns it; if not, nothing comes to it: it is read, and what it holds is flagged,
    /// retired and deleted.
    pub(crate) owned: bool,
}

/// The engine's insides, shared by its threads and handles.
pub(crate) struct Inner {
    pub(crate) options: EngineOptions,
    pub(crate) db: DB,
    pub(crate) rocks: Rocks,
    /// Replaced by the commit thread only, once the new record is durable.
    pub(crate) keyring: RwLock<Arc<Keyring>>,
    /// By shard number; `None` where there is no family.
    pub(crate) families: Vec<Option<Family>>,
    /// By shard number. Changed by the commit thread only, together with the stored ones.
    pub(crate) counters: Mutex<Vec<Counters>>,
    /// What was read lately. Changed together with what is stored.
    pub(crate) cache: BlobCache,
    pub(crate) space: Space,
    pub(crate) health: Health,
    pub(crate) queue: CommitQueue,
    /// Reads from disk.
    pub(crate) readers: Pool,
    /// Hashing and sealing.
    pub(crate) sealers: Pool,
    /// What takes long: syncing and ingesting large files, collecting, rotating.
    pub(crate) movers: Pool,
    /// KiB of small blobs that may be sealed and waiting for their commit.
    pub(crate) sealed_slots: Arc<Semaphore>,
    /// Large blobs whose files have to go.
    pub(crate) drops: Mutex<HashMap<BlobId, ChunkRun>>,
    /// Whether there may be tombstones: while there are none, nobody looks for them.
    pub(crate) tombstones: AtomicBool,
    pub(crate) blocked: Blocked,
    pub(crate) transit: Arc<Transit>,
    /// The turn to list the digests of a shard: a long list must not hold up all readers.
    pub(crate) listings: Arc<Semaphore>,
    pub(crate) nonces: Nonces,
    pub(crate) upkeep: Arc<Upkeep>,
    pub(crate) stats: Stats,
}

/// What the engine counts for `/metrics`.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    /// Groups committed.
    pub(crate) groups: AtomicU64,
    /// Operations in them.
    pub(crate) operations: AtomicU64,
    /// Bytes in them.
    pub(crate) group_bytes: AtomicU64,
    /// Syncs of the log.
    pub(crate) syncs: AtomicU64,
    /// Milliseconds that the commit thread waited for memtables to be flushed.
    pub(crate) paced_ms: AtomicU64,
    /// Reads that found damage.
    pub(crate) damaged_reads: AtomicU64,
    /// Large blobs ingested.
    pub(crate) ingested: AtomicU64,
    /// Families collected.
    pub(crate) collected: AtomicU64,
    /// Lists of digests that did not sum up to the fingerprint of their shard.
    pub(crate) uneven_lists: AtomicU64,
    /// Numbers temporary files.
    pub(crate) uploads: AtomicU64,
}

/// Where a blob lives.
pub(crate) struct Place<'a> {
    pub(crate) family: &'a Family,
    pub(crate) handle: Arc<BoundColumnFamily<'a>>,
}

/// What the metadata row of a blob says.
pub(crate) enum Found {
    /// There is none.
    Absent,
    /// This.
    Here(Arc<BlobMeta>),
    /// It is there and does not open.
    Unreadable,
}

impl Inner {
    /// The keyring in use.
    pub(crate) fn keyring(&self) -> Arc<Keyring> {
        Arc::clone(&self.keyring.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The family of `shard`, if there is one.
    pub(crate) fn family(&self, shard: ShardId) -> Option<&Family> {
        self.families.get(usize::from(shard.get()))?.as_ref()
    }

    /// Every family of a shard, ascending.
    pub(crate) fn all_families(&self) -> impl Iterator<Item = &Family> {
        self.families.iter().flatten()
    }

    /// The shard of the content with this digest.
    pub(crate) fn shard_of(&self, digest: &Digest) -> ShardId {
        self.options.shards.count().shard_of(digest)
    }

    /// The family of `shard` with its handle, if there is one.
    pub(crate) fn place(&self, shard: ShardId) -> Option<Place<'_>> {
        let family = self.family(shard)?;
        let handle = self.db.cf_handle(&family.name)?;
        Some(Place { family, handle })
    }

    /// The same, where it may be written.
    pub(crate) fn owned_place(
        &self,
        shard: ShardId,
        cid: BlobCid,
    ) -> Result<Place<'_>, StoreError> {
        self.place(shard)
            .filter(|place| place.family.owned)
            .ok_or(StoreError::NotOurShard { cid, shard })
    }

    /// The family `default`.
    pub(crate) fn default_family(&self) -> Result<Arc<BoundColumnFamily<'_>>, StoreError> {
        self.db
            .cf_handle(super::layout::DEFAULT_FAMILY)
            .ok_or(StoreError::Unavailable)
    }

    /// Reads the metadata row of a blob.
    pub(crate) fn find(
        &self,
        place: &Place<'_>,
        keyring: &Keyring,
        name: &SealedName,
    ) -> Result<Found, StoreError> {
        self.find_with(place, keyring, name, &ReadOptions::default())
    }

    /// The same as `options` say.
    pub(crate) fn find_with(
        &self,
        place: &Place<'_>,
        keyring: &Keyring,
        name: &SealedName,
        options: &ReadOptions,
    ) -> Result<Found, StoreError> {
        let key = name_key(prefix::META, name);
        let sealed = match self.db.get_pinned_cf_opt(&place.handle, key, options) {
            Ok(Some(sealed)) => sealed,
            Ok(None) => return Ok(Found::Absent),
            Err(error) if error.kind() == rocksdb::ErrorKind::Corruption => {
                self.note_damage("metadata", error);
                return Ok(Found::Unreadable);
            }
            Err(error) => return Err(failed("reading metadata", error)),
        };
        match record::open::<BlobMeta>(keyring, &place.family.name, &key, &sealed) {
            Ok(meta) => Ok(Found::Here(Arc::new(meta))),
            Err(error @ RecordError::Newer { .. }) => Err(failed("reading metadata", error)),
            Err(error) => {
                self.note_damage("metadata", error);
                Ok(Found::Unreadable)
            }
        }
    }

    /// Counts and logs damage, naming the file where the database does.
    pub(crate) fn note_damage(&self, what: &'static str, cause: impl fmt::Display) {
        self.stats.damaged_reads.fetch_add(1, Ordering::Relaxed);
        tracing::error!(what, %cause, "stored bytes are damaged");
    }

    /// Whether anything was deleted here that is still remembered.
    pub(crate) fn may_have_tombstones(&self) -> bool {
        self.tombstones.load(Ordering::Relaxed)
    }

    /// Whether a deletion of this content is remembered; while there are none, nobody looks.
    pub(crate) fn has_tombstone(&self, name: &SealedName) -> Result<bool, StoreError> {
        if !self.may_have_tombstones() {
            return Ok(false);
        }
        self.db
            .get_pinned(name_key(prefix::TOMBSTONE, name))
            .map(|found| found.is_some())
            .map_err(|error| failed("reading a tombstone", error))
    }

    /// Why nothing can be written now.
    pub(crate) fn refusal(&self) -> Option<StoreError> {
        self.health.refusal().map(|error| self.with_figures(error))
    }

    /// The error with what is known of the disk.
    pub(crate) fn with_figures(&self, error: StoreError) -> StoreError {
        if !matches!(error, StoreError::DiskFull { .. }) {
            return error;
        }
        let space = self.space.snapshot();
        StoreError::DiskFull {
            free_bytes: space.disk_free,
            reserve_bytes: space.disk_reserve,
        }
    }

    /// The counters of all shards.
    pub(crate) fn lock_counters(&self) -> MutexGuard<'_, Vec<Counters>> {
        lock(&self.counters)
    }

    /// Dead bytes of a family that lie in files of large blobs: these go without a compaction.
    pub(crate) fn dead_in_files(&self, family: &str) -> u64 {
        lock(&self.drops)
            .values()
            .filter(|run| run.family == family)
            .map(|run| run.sealed_size)
            .sum()
    }
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Engine({})", self.options.db_dir.display())
    }
}

/// What callers see of metadata.
pub(crate) fn info(meta: &BlobMeta, shard: ShardId) -> BlobInfo {
    BlobInfo {
        cid: BlobCid::from_digest(meta.digest),
        shard,
        size: meta.size,
        sealed_size: meta.sealed_size,
        content_type: meta.content_type.clone(),
        file_name: meta.file_name.clone(),
        created_ms: meta.created_ms,
        blob_root: meta.blob_root,
        pinned: meta.pinned,
        quarantined: meta.quarantined,
    }
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|since| u64::try_from(since.as_millis()).ok())
        .unwrap_or_default()
}

/// Every lock of the engine guards values that are changed in one step, so poison means nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Something failed that no caller can do anything about.
pub(crate) fn failed(operation: &'static str, cause: impl fmt::Display) -> StoreError {
    StoreError::Failed {
        operation,
        cause: cause.to_string(),
    }
}

/// A pool's answer as the store's error.
pub(crate) fn stopped(error: PoolError) -> StoreError {
    match error {
        PoolError::Closed => StoreError::Unavailable,
        PoolError::Panicked => failed("a job", error),
    }
}

/// Sealing fails only where the system does.
pub(crate) fn seal_failed(error: SealError) -> StoreError {
    failed("sealing", error)
}

/// The same for a record.
pub(crate) fn record_failed(error: RecordError) -> StoreError {
    failed("sealing a record", error)
}
