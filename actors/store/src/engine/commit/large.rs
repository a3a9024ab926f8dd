//! The commit thread's part in storing large blobs: intent, end, and what was given up.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytecave_core::ShardId;
use bytecave_messages::store::{StoreError, Word};

use super::blobs::Kept;
use super::{Group, Op, Reply, cid};
use crate::engine::keyring::SealedName;
use crate::engine::layout::{DEFAULT_FAMILY, id_key, prefix};
use crate::engine::record::{self, BlobMeta, ChunkRun, Intent};
use crate::engine::space::Reservation;
use crate::engine::state::{Found, Inner, record_failed};

/// A large blob's file is written and about to be ingested.
#[derive(Debug)]
pub(crate) struct Begin {
    pub(crate) name: SealedName,
    pub(crate) shard: ShardId,
    pub(crate) meta: BlobMeta,
    pub(crate) run: ChunkRun,
    pub(crate) word: Word,
    pub(crate) reply: Reply<Begun>,
}

/// What to do with the file.
#[derive(Debug)]
pub(crate) enum Begun {
    /// Ingest it: the intent is durable.
    Go(IntentGuard),
    /// Nothing: the blob is here already.
    Here(Box<Kept>),
}

/// A durable intent. Dropped armed, its chunks are cleared away.
#[derive(Debug)]
pub(crate) struct IntentGuard {
    inner: Arc<Inner>,
    name: SealedName,
    shard: ShardId,
    run: ChunkRun,
    word: Word,
    armed: bool,
}

/// A large blob was ingested: make it visible.
#[derive(Debug)]
pub(crate) struct Finish {
    pub(crate) meta: BlobMeta,
    pub(crate) intent: IntentGuard,
    pub(crate) space: Reservation,
    pub(crate) reply: Reply<Kept>,
}

/// A large blob will not be finished; whatever is there of it has to go.
#[derive(Debug)]
pub(crate) struct Abandon {
    /// `None` when a start found the intent.
    pub(crate) name: Option<SealedName>,
    pub(crate) shard: ShardId,
    pub(crate) run: ChunkRun,
}

impl IntentGuard {
    /// Whose file it is for.
    pub(crate) fn run(&self) -> &ChunkRun {
        &self.run
    }

    fn disarm(mut self) -> (SealedName, ShardId, ChunkRun) {
        self.armed = false;
        (self.name, self.shard, self.run.clone())
    }
}

impl Drop for IntentGuard {
    fn drop(&mut self) {
        if self.armed {
            self.inner.queue.submit_cleanup(Op::Abandon(Abandon {
                name: Some(self.name),
                shard: self.shard,
                run: self.run.clone(),
            }));
        }
    }
}

impl Group<'_> {
    pub(super) fn begin(&mut self, begin: Begin) {
        match self.try_begin(&begin) {
            Ok(Some(begun)) => self.answer(begin.reply, Ok(begun)),
            // The same content is being ingested: wait for what becomes of it.
            Ok(None) => self.memory.begun.entry(begin.name).or_default().push(begin),
            Err(error) => self.answer(begin.reply, Err(error)),
        }
    }

    fn try_begin(&mut self, begin: &Begin) -> Result<Option<Begun>, StoreError> {
        let inner = self.inner;
        let place = inner.owned_place(begin.shard, cid(&begin.meta.digest))?;
        self.expect_wanted(&begin.name, &begin.meta.digest, begin.word)?;
        if let Found::Here(old) = self.find(&place, &begin.name)?
            && !old.quarantined
        {
            // Large blobs are always durable.
            self.must_sync |= old.is_retired();
            let kept = self.keep(&place, &begin.name, &old, begin.word)?;
            return Ok(Some(Begun::Here(Box::new(kept))));
        }
        if self.memory.begun.contains_key(&begin.name) {
            return Ok(None);
        }
        let key = id_key(prefix::INTENT, begin.run.blob_id);
        let intent = Intent(begin.run.clone());
        let sealed =
            record::seal(&self.keyring, DEFAULT_FAMILY, &key, &intent).map_err(record_failed)?;
        self.batch.put(key, sealed);
        self.must_sync = true;
        self.memory.begun.insert(begin.name, Vec::new());
        Ok(Some(Begun::Go(IntentGuard {
            inner: Arc::clone(self.inner),
            name: begin.name,
            shard: begin.shard,
            run: begin.run.clone(),
            word: begin.word,
            armed: true,
        })))
    }

    pub(super) fn finish(&mut self, finish: Finish) {
        let Finish {
            meta,
            intent,
            space,
            reply,
        } = finish;
        let kept = self.try_finish(&intent, meta);
        // Held until the bytes are in the counters.
        self.when_written(move |_, _| drop(space));
        if kept.is_err() {
            // Dropped armed, which queues the clearing up.
            self.answer(reply, kept);
            return;
        }
        self.when_written(move |inner, written| match written {
            Ok(()) => {
                intent.disarm();
                inner.stats.ingested.fetch_add(1, Ordering::Relaxed);
                let _ = reply.send(kept);
            }
            Err(error) => {
                let _ = reply.send(Err(error));
            }
        });
    }

    fn try_finish(&mut self, intent: &IntentGuard, meta: BlobMeta) -> Result<Kept, StoreError> {
        let inner = self.inner;
        let IntentGuard {
            name,
            shard,
            run,
            word,
            ..
        } = intent;
        let place = inner.owned_place(*shard, cid(&meta.digest))?;
        // It may have been deleted or blocked since the intent.
        self.expect_wanted(name, &meta.digest, *word)?;
        let found = self.find(&place, name)?;
        let kept = match found {
            // Nobody else may finish while this intent stands.
            Found::Here(old) if !old.quarantined => {
                return Err(StoreError::Failed {
                    operation: "finishing a large blob",
                    cause: "its metadata is there before its end".to_owned(),
                });
            }
            Found::Absent => {
                self.count_in(&place, name, &meta, *word)?;
                self.put_meta(&place, name, meta.clone())?;
                Kept { meta, new: true }
            }
            damaged => self.heal(&place, name, meta, &damaged, *word)?,
        };
        self.batch.delete(id_key(prefix::INTENT, run.blob_id));
        self.must_sync = true;
        self.wake_waiters(name);
        Ok(kept)
    }

    pub(super) fn abandon(&mut self, abandon: Abandon) {
        let Abandon { name, shard, run } = abandon;
        let written = self.write_drop(&run);
        if let Err(error) = written {
            tracing::error!(%error, "an unfinished upload is left to the next start");
        } else {
            self.batch.delete(id_key(prefix::INTENT, run.blob_id));
            // Whether it was ingested or not, its bytes count until the file is known to be gone.
            let inner = self.inner;
            if let Some(place) = inner.place(shard) {
                self.counters(&place).dead_bytes += run.sealed_size;
            }
            self.note_drop(run);
        }
        if let Some(name) = name {
            self.wake_waiters(&name);
        }
    }

    /// Lets the next one in line begin, or learn that the blob is here.
    fn wake_waiters(&mut self, name: &SealedName) {
        for begin in self.memory.begun.remove(name).unwrap_or_default() {
            self.begin(begin);
        }
    }
}
