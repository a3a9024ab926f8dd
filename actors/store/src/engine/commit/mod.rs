//! The commit thread: the one writer of all small batches.
//!
//! Whatever changes a record passes through here: puts, deletes, pins, intents, the last batches of
//! large uploads, the outbox, key rotation. What waits becomes one [`Group`]: one batch, one write,
//! one sync, then all its callers are answered. Since there is one writer, what it reads before it
//! writes cannot change under it: no blob is counted twice, however many clients store it at once,
//! and no lock by digest is needed. Within a group, later operations see earlier ones.
//!
//! A group that the database refuses changes nothing: counters in memory are replaced only after
//! the write.

pub(crate) mod blobs;
pub(crate) mod blocks;
pub(crate) mod large;
mod memtables;
pub(crate) mod nonces;
mod op;
pub(crate) mod queue;
pub(crate) mod retired;
pub(crate) mod tombstones;
pub(crate) mod upkeep;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use bytecave_core::Digest;
use bytecave_messages::store::{Durability, StoreError};
use rocksdb::WriteBatch;
use tokio::sync::oneshot;

use self::large::Begin;
use self::memtables::Memtables;
pub(crate) use self::op::Op;
use self::queue::{Company, Next};
use super::failpoint::failpoint;
use super::keyring::{Keyring, SealedName};
use super::layout::{COUNTERS_KEY, name_key, prefix};
use super::record::{self, BlobMeta, BlockRecord, Counters};
use super::rocks::write_options;
use super::seal::BlobId;
use super::state::{Found, Inner, Place, record_failed};

/// A group waits for company for this part of the time that the last sync took …
const COMPANY_PART: u32 = 4;
/// … and never longer than this.
const COMPANY_AT_MOST: Duration = Duration::from_millis(1);

/// Where an operation's answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Called when the group is written, or was refused.
type Completion = Box<dyn FnOnce(&Inner, Result<(), StoreError>) + Send>;

/// What the commit thread remembers from group to group.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Large blobs between their intent and their end, and who waits to store the same.
    pub(crate) begun: HashMap<SealedName, Vec<Begin>>,
    pub(crate) memtables: Memtables,
}

/// Operations that become one batch.
pub(crate) struct Group<'a> {
    pub(crate) inner: &'a Arc<Inner>,
    pub(crate) memory: &'a mut Memory,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) batch: WriteBatch,
    /// Counters that the group changes, as they will be.
    counters: BTreeMap<u16, Counters>,
    /// Metadata that the group changes, as it will be; `None` where it is deleted.
    metas: HashMap<SealedName, Option<Arc<BlobMeta>>>,
    /// Tombstones that the group changes: whether there is one.
    pub(crate) tombstones: HashMap<SealedName, bool>,
    /// Blocks that the group changes; `None` where it is lifted.
    blocks: HashMap<SealedName, Option<BlockRecord>>,
    /// Nonces that the group uses up.
    nonces: HashSet<SealedName>,
    /// Drop records that the group ends.
    pub(crate) freed: Vec<BlobId>,
    /// Somebody waits until it is as durable as configured.
    awaited: bool,
    /// Synced whatever the durability is.
    pub(crate) must_sync: bool,
    completions: Vec<Completion>,
}

/// Starts the commit thread.
pub(crate) fn start(inner: Arc<Inner>) -> io::Result<JoinHandle<()>> {
    thread::Builder::new()
        .name("store-commit".to_owned())
        .spawn(move || {
            let ran = catch_unwind(AssertUnwindSafe(|| run(&inner)));
            if ran.is_err() {
                inner.queue.close();
                inner
                    .health
                    .note_dead("the commit thread died, see the log; a restart is the remedy");
            }
        })
}

fn run(inner: &Arc<Inner>) {
    let mut memory = Memory::default();
    let batched = inner.options.durability == Durability::Batched;
    // When the oldest write that is not synced yet has to be.
    let mut due: Option<Instant> = None;
    let mut company = Company::default();
    loop {
        let patience = due.map(|due| due.saturating_duration_since(Instant::now()));
        let next = inner.queue.next(patience, company);
        if let Next::Group(ops) = next {
            let answered = ops.iter().filter(|op| op.is_awaited()).count();
            let began = Instant::now();
            let synced = commit(inner, &mut memory, ops);
            company = Company::default();
            if synced {
                due = None;
                company = Company {
                    expected: answered + inner.queue.awaited(),
                    wait: COMPANY_AT_MOST.min(began.elapsed() / COMPANY_PART),
                };
            } else if batched && due.is_none() {
                due = Some(Instant::now() + inner.options.batch_sync_interval);
            }
        } else if matches!(next, Next::Closed) {
            // What goes wrong is noted, and nobody waits for it.
            let _ = sync_log(inner);
            return;
        }
        if due.is_some_and(|due| due <= Instant::now()) {
            let _ = sync_log(inner);
            due = None;
        }
    }
}

fn sync_log(inner: &Inner) -> Result<(), StoreError> {
    match inner.db.flush_wal(true) {
        Ok(()) => {
            inner.stats.syncs.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
        Err(error) => {
            let error = inner.health.note_failure(&error);
            Err(inner.with_figures(error))
        }
    }
}

/// Commits `ops` as one group; says whether it was synced.
fn commit(inner: &Arc<Inner>, memory: &mut Memory, ops: Vec<Op>) -> bool {
    let count = ops.len() as u64;
    let mut group = Group::new(inner, memory);
    for op in ops {
        group.awaited |= op.is_awaited();
        group.apply(op);
    }
    let waited = group.memory.memtables.make_room(inner);
    let waited = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
    inner.stats.paced_ms.fetch_add(waited, Ordering::Relaxed);
    inner.stats.groups.fetch_add(1, Ordering::Relaxed);
    inner.stats.operations.fetch_add(count, Ordering::Relaxed);
    group.write()
}

impl<'a> Group<'a> {
    fn new(inner: &'a Arc<Inner>, memory: &'a mut Memory) -> Self {
        Self {
            inner,
            memory,
            keyring: inner.keyring(),
            batch: WriteBatch::default(),
            counters: BTreeMap::new(),
            metas: HashMap::new(),
            tombstones: HashMap::new(),
            blocks: HashMap::new(),
            nonces: HashSet::new(),
            freed: Vec::new(),
            awaited: false,
            must_sync: false,
            completions: Vec::new(),
        }
    }

    /// Answers once the group is written: `value`, or why it was refused.
    pub(crate) fn answer<T: Send + 'static>(
        &mut self,
        reply: Reply<T>,
        value: Result<T, StoreError>,
    ) {
        self.when_written(move |_, written| {
            // The caller may have gone away.
            let _ = reply.send(written.and(value));
        });
    }

    /// Does `completion` once the group is written or refused.
    pub(crate) fn when_written(
        &mut self,
        completion: impl FnOnce(&Inner, Result<(), StoreError>) + Send + 'static,
    ) {
        self.completions.push(Box::new(completion));
    }

    /// What is known of a blob, this group's changes included.
    pub(crate) fn find(&self, place: &Place<'_>, name: &SealedName) -> Result<Found, StoreError> {
        match self.metas.get(name) {
            Some(Some(meta)) => Ok(Found::Here(Arc::clone(meta))),
            Some(None) => Ok(Found::Absent),
            None => self.inner.find(place, &self.keyring, name),
        }
    }

    /// Whether the group has changed a blob's metadata.
    pub(crate) fn changed(&self, name: &SealedName) -> bool {
        self.metas.contains_key(name)
    }

    /// Writes a blob's metadata.
    pub(crate) fn put_meta(
        &mut self,
        place: &Place<'_>,
        name: &SealedName,
        meta: BlobMeta,
    ) -> Result<(), StoreError> {
        let key = name_key(prefix::META, name);
        let sealed =
            record::seal(&self.keyring, &place.family.name, &key, &meta).map_err(record_failed)?;
        self.put_sealed_meta(place, name, &sealed, meta);
        Ok(())
    }

    /// The same when it is sealed already.
    pub(crate) fn put_sealed_meta(
        &mut self,
        place: &Place<'_>,
        name: &SealedName,
        sealed: &[u8],
        meta: BlobMeta,
    ) {
        self.batch
            .put_cf(&place.handle, name_key(prefix::META, name), sealed);
        self.metas.insert(*name, Some(Arc::new(meta)));
    }

    /// Removes a blob's metadata.
    pub(crate) fn delete_meta(&mut self, place: &Place<'_>, name: &SealedName) {
        self.batch
            .delete_cf(&place.handle, name_key(prefix::META, name));
        self.metas.insert(*name, None);
    }

    /// The counters of a shard, to be changed with the group.
    pub(crate) fn counters(&mut self, place: &Place<'_>) -> &mut Counters {
        let shard = place.family.shard.get();
        let inner = self.inner;
        self.counters.entry(shard).or_insert_with(|| {
            inner
                .lock_counters()
                .get(usize::from(shard))
                .cloned()
                .unwrap_or_default()
        })
    }

    fn write(mut self) -> bool {
        let result = self.seal_counters().and_then(|()| self.write_batch());
        let synced = matches!(result, Ok(true));
        let result = result.map(|_| ());
        if result.is_ok() {
            self.publish();
        }
        failpoint!("commit::after-write");
        for completion in self.completions {
            completion(self.inner, result.clone());
        }
        synced
    }

    fn seal_counters(&mut self) -> Result<(), StoreError> {
        for (shard, counters) in &self.counters {
            let Some(place) = self
                .inner
                .families
                .get(usize::from(*shard))
                .and_then(Option::as_ref)
                .and_then(|family| self.inner.place(family.shard))
            else {
                continue;
            };
            let sealed = record::seal(&self.keyring, &place.family.name, COUNTERS_KEY, counters)
                .map_err(record_failed)?;
            self.batch.put_cf(&place.handle, COUNTERS_KEY, sealed);
        }
        Ok(())
    }

    /// Writes the batch; says whether it was synced.
    fn write_batch(&mut self) -> Result<bool, StoreError> {
        failpoint!("commit::before-write");
        let batch = std::mem::take(&mut self.batch);
        let strict = self.inner.options.durability == Durability::Strict;
        if batch.is_empty() {
            // What somebody wants to be certain of was written before, and is synced if strict.
            let needed = self.must_sync && !strict;
            if needed {
                sync_log(self.inner)?;
            }
            return Ok(needed);
        }
        let bytes = batch.size_in_bytes() as u64;
        let sync = self.must_sync || strict && self.awaited;
        match self.inner.db.write_opt(batch, &write_options(sync)) {
            Ok(()) => {
                self.inner.health.note_written();
                self.inner
                    .stats
                    .group_bytes
                    .fetch_add(bytes, Ordering::Relaxed);
                self.inner
                    .stats
                    .syncs
                    .fetch_add(u64::from(sync), Ordering::Relaxed);
                Ok(sync)
            }
            Err(error) => {
                let error = self.inner.health.note_failure(&error);
                Err(self.inner.with_figures(error))
            }
        }
    }

    /// Makes the new counters and metadata the ones that everybody sees.
    fn publish(&mut self) {
        for (name, block) in &self.blocks {
            self.inner.blocked.set(name, block.is_some());
        }
        for (name, meta) in &self.metas {
            self.inner.cache.change(name, meta.as_ref());
        }
        let changed = std::mem::take(&mut self.counters);
        let mut all = self.inner.lock_counters();
        for (shard, counters) in changed {
            if let Some(current) = all.get_mut(usize::from(shard)) {
                self.inner.space.book(
                    current.sealed_bytes + current.dead_bytes,
                    counters.sealed_bytes + counters.dead_bytes,
                );
                *current = counters;
            }
        }
    }

    fn probe(&mut self) {
        // Rewrites a record as it is: any write tells what there is to know.
        let format = [
            super::layout::FORMAT.to_be_bytes(),
            self.inner.options.shards.count().get().to_be_bytes(),
        ];
        self.batch.put(super::layout::FORMAT_KEY, format.concat());
        self.must_sync = true;
    }
}

/// A count that cannot fall below zero: after a repair, stored counters may be behind.
pub(crate) fn subtract(count: &mut u64, by: u64) {
    *count = count.saturating_sub(by);
}

/// Whose content a name stands for, for errors.
pub(crate) fn cid(digest: &Digest) -> bytecave_core::BlobCid {
    bytecave_core::BlobCid::from_digest(*digest)
}
