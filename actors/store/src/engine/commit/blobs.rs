//! Small puts, deletes, pins, quarantine and the outbox, as the commit thread does them.

use std::sync::Arc;

use bytecave_core::{Digest, ShardId};
use bytecave_messages::store::{StoreError, Word};
use tokio::sync::OwnedSemaphorePermit;

use super::{Group, Reply, cid, subtract};
use crate::engine::keyring::{SealedName, record_key_id};
use crate::engine::layout::{id_key, name_key, outbox_key, prefix};
use crate::engine::put::Outcome;
use crate::engine::record::{
    self, BlobMeta, ChunkRun, Counters, DropRecord, Layout, OutboxItem, OutboxKind,
};
use crate::engine::seal::{BlobId, chunk_count};
use crate::engine::space::Reservation;
use crate::engine::state::{Found, Place, failed, lock, record_failed};

/// From this many outbox entries on, one range deletion removes them.
const RANGE_FROM: u64 = 64;

/// A small blob, hashed and sealed.
#[derive(Debug)]
pub(crate) struct SmallPut {
    pub(crate) name: SealedName,
    pub(crate) shard: ShardId,
    pub(crate) meta: BlobMeta,
    /// The metadata, sealed.
    pub(crate) sealed_meta: Vec<u8>,
    /// The segments in a row, sealed.
    pub(crate) sealed: Vec<u8>,
    pub(crate) space: Reservation,
    /// Its share of the memory for sealed blobs.
    pub(crate) slots: Option<OwnedSemaphorePermit>,
    pub(crate) word: Word,
    /// Synced before the answer, whatever the durability is.
    pub(crate) durable: bool,
    pub(crate) reply: Reply<Outcome>,
}

/// What became of a put: the metadata that now stands, and whether the blob was not here before.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) meta: BlobMeta,
    pub(crate) new: bool,
}

/// Sync before the answer what is here already.
#[derive(Debug)]
pub(crate) struct Settle {
    pub(crate) kept: Kept,
    pub(crate) reply: Reply<Outcome>,
}

/// Delete a blob.
#[derive(Debug)]
pub(crate) struct Delete {
    pub(crate) name: SealedName,
    pub(crate) digest: Digest,
    pub(crate) shard: ShardId,
    pub(crate) reply: Reply<()>,
}

/// Protect a blob, or stop.
#[derive(Debug)]
pub(crate) struct Pin {
    pub(crate) name: SealedName,
    pub(crate) digest: Digest,
    pub(crate) shard: ShardId,
    pub(crate) pinned: bool,
    pub(crate) reply: Reply<()>,
}

/// Flag a blob whose bytes are damaged.
#[derive(Debug)]
pub(crate) struct Quarantine {
    pub(crate) name: SealedName,
    pub(crate) digest: Digest,
    pub(crate) shard: ShardId,
    /// The bytes that were read: they may have been replaced since.
    pub(crate) blob_id: BlobId,
    pub(crate) reply: Reply<()>,
}

/// Remove outbox entries: in each of these shards all up to and including the sequence.
#[derive(Debug)]
pub(crate) struct Advance {
    pub(crate) through: Vec<(ShardId, u64)>,
    pub(crate) reply: Reply<()>,
}

impl Group<'_> {
    pub(super) fn put(&mut self, put: SmallPut) {
        let SmallPut {
            name,
            shard,
            meta,
            sealed_meta,
            sealed,
            space,
            slots,
            word,
            durable,
            reply,
        } = put;
        let kept = self.try_put((shard, &name, word), meta, &sealed_meta, &sealed);
        // Also when it was here already: it may have been written a moment ago.
        self.must_sync |= durable && kept.is_ok();
        // Held until the bytes are in the counters.
        self.when_written(move |_, _| drop((space, slots)));
        self.answer(reply, kept.map(Outcome::Kept));
    }

    pub(super) fn settle(&mut self, settle: Settle) {
        self.must_sync = true;
        self.answer(settle.reply, Ok(Outcome::Kept(settle.kept)));
    }

    fn try_put(
        &mut self,
        (shard, name, word): (ShardId, &SealedName, Word),
        meta: BlobMeta,
        sealed_meta: &[u8],
        sealed: &[u8],
    ) -> Result<Kept, StoreError> {
        let inner = self.inner;
        let place = inner.owned_place(shard, cid(&meta.digest))?;
        self.expect_wanted(name, &meta.digest, word)?;
        let found = self.find(&place, name)?;
        let bytes = (sealed.len() + sealed_meta.len()) as u64;
        match found {
            Found::Here(old) if !old.quarantined => self.keep(&place, name, &old, word),
            Found::Absent => {
                self.count_in(&place, name, &meta, word)?;
                self.memory.memtables.count(shard.get(), bytes);
                self.batch
                    .put_cf(&place.handle, name_key(prefix::DATA, name), sealed);
                if record_key_id(sealed_meta).ok() == Some(self.keyring.current_key()) {
                    self.put_sealed_meta(&place, name, sealed_meta, meta.clone());
                } else {
                    // It was sealed before a rotation that may be past this shard by now, and that
                    // retires the older key at its end.
                    self.put_meta(&place, name, meta.clone())?;
                }
                Ok(Kept { meta, new: true })
            }
            damaged => {
                let healed = self.heal(&place, name, meta, &damaged, word)?;
                self.memory.memtables.count(shard.get(), bytes);
                self.batch
                    .put_cf(&place.handle, name_key(prefix::DATA, name), sealed);
                Ok(healed)
            }
        }
    }

    /// Counts a new blob in. What a client stores gets its outbox entry, and its tombstone is lifted.
    pub(super) fn count_in(
        &mut self,
        place: &Place<'_>,
        name: &SealedName,
        meta: &BlobMeta,
        word: Word,
    ) -> Result<(), StoreError> {
        let deleted_before = self.has_tombstone(name)?;
        if word == Word::Client {
            self.write_outbox(place, &meta.digest)?;
        }
        if deleted_before {
            self.delete_tombstone(name);
        }
        let counters = self.counters(place);
        counters.blobs += 1;
        counters.bytes += meta.size;
        counters.sealed_bytes += meta.sealed_size;
        if !deleted_before {
            // A deleted blob still counts in the fingerprint: see `delete`.
            counters.fingerprint.add(&meta.digest);
        }
        Ok(())
    }

    pub(super) fn write_outbox(
        &mut self,
        place: &Place<'_>,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let sequence = self.counters(place).next_sequence;
        let entry = OutboxItem {
            kind: OutboxKind::Stored,
            digest: *digest,
        };
        let key = outbox_key(sequence);
        let sealed =
            record::seal(&self.keyring, &place.family.name, &key, &entry).map_err(record_failed)?;
        self.batch.put_cf(&place.handle, key, sealed);
        self.counters(place).next_sequence = sequence + 1;
        Ok(())
    }

    /// Puts whole bytes in the place of damaged ones; what the first store said of the blob stays.
    pub(super) fn heal(
        &mut self,
        place: &Place<'_>,
        name: &SealedName,
        fresh: BlobMeta,
        damaged: &Found,
        word: Word,
    ) -> Result<Kept, StoreError> {
        let mut new = false;
        let healed = match damaged {
            Found::Here(old) => BlobMeta {
                content_type: old.content_type.clone(),
                file_name: old.file_name.clone(),
                created_ms: old.created_ms,
                pinned: old.pinned,
                ..fresh
            },
            Found::Absent | Found::Unreadable => fresh,
        };
        self.put_meta(place, name, healed.clone())?;
        if let Found::Here(old) = damaged {
            if old.is_retired() {
                self.count_again(place, name, old, Some(word))?;
                new = true;
            }
            self.count_dead(place, old)?;
            let counters = self.counters(place);
            subtract(&mut counters.quarantined, 1);
            counters.sealed_bytes += healed.sealed_size;
        } else if self.has_tombstone(name)? {
            // It was blocked while its metadata could not be read.
            self.delete_tombstone(name);
        }
        tracing::info!(blob = ?healed.digest, "a damaged blob was stored again and is whole");
        Ok(Kept { meta: healed, new })
    }

    /// Counts a blob's bytes as dead, and sees to it that those of a large one go.
    fn count_dead(&mut self, place: &Place<'_>, meta: &BlobMeta) -> Result<(), StoreError> {
        if meta.layout == Layout::Large {
            let run = chunk_run(&place.family.name, meta)?;
            self.write_drop(&run)?;
            self.note_drop(run);
        }
        let counters = self.counters(place);
        subtract(&mut counters.sealed_bytes, meta.sealed_size);
        counters.dead_bytes += meta.sealed_size;
        Ok(())
    }

    /// Writes the record that keeps the chunks' end in mind.
    pub(super) fn write_drop(&mut self, run: &ChunkRun) -> Result<(), StoreError> {
        let key = id_key(prefix::DROP, run.blob_id);
        let record = DropRecord(run.clone());
        let family = crate::engine::layout::DEFAULT_FAMILY;
        let sealed = record::seal(&self.keyring, family, &key, &record).map_err(record_failed)?;
        self.batch.put(key, sealed);
        self.must_sync = true;
        Ok(())
    }

    /// Hands the chunks to the thread that frees them, once their end is certain.
    pub(super) fn note_drop(&mut self, run: ChunkRun) {
        self.when_written(move |inner, written| {
            if written.is_ok() {
                lock(&inner.drops).insert(run.blob_id, run);
                inner.upkeep.wake();
            }
        });
    }

    pub(super) fn delete(&mut self, delete: Delete) {
        let done = self.try_delete(&delete);
        self.answer(delete.reply, done);
    }

    fn try_delete(&mut self, delete: &Delete) -> Result<(), StoreError> {
        let Delete {
            name,
            digest,
            shard,
            ..
        } = delete;
        let inner = self.inner;
        let place = inner.owned_place(*shard, cid(digest))?;
        let meta = match self.find(&place, name)? {
            // Nothing is told of what is blocked, be something left of it or not.
            _ if self.is_blocked(name) => return Err(StoreError::NotFound { cid: cid(digest) }),
            Found::Here(meta) => meta,
            Found::Absent => return Err(StoreError::NotFound { cid: cid(digest) }),
            // Its sizes are unknown, so the counters cannot follow: storing it again comes first.
            Found::Unreadable => return Err(StoreError::Damaged { cid: cid(digest) }),
        };
        if meta.pinned {
            return Err(StoreError::Pinned { cid: cid(digest) });
        }
        self.put_tombstone(name, digest, meta.size)?;
        if meta.is_retired() {
            self.counters(&place).fingerprint.add(digest);
        }
        self.remove(&place, name, &meta)
    }

    /// Removes a blob. Its fingerprint stays: as long as its tombstone or block stands, the content
    /// counts as present in it, so that holders who compare fingerprints do not bring the blob back.
    /// A retired one has none.
    pub(super) fn remove(
        &mut self,
        place: &Place<'_>,
        name: &SealedName,
        meta: &BlobMeta,
    ) -> Result<(), StoreError> {
        self.count_dead(place, meta)?;
        self.delete_meta(place, name);
        if meta.layout == Layout::Small {
            self.batch
                .delete_cf(&place.handle, name_key(prefix::DATA, name));
        }
        self.forget_end(place, name, meta);
        let counters = self.counters(place);
        if meta.is_retired() {
            subtract(&mut counters.retired, 1);
            subtract(&mut counters.retired_bytes, meta.size);
        } else {
            subtract(&mut counters.blobs, 1);
            subtract(&mut counters.bytes, meta.size);
        }
        subtract(&mut counters.quarantined, u64::from(meta.quarantined));
        Ok(())
    }

    pub(super) fn pin(&mut self, pin: Pin) {
        let done = self.try_pin(&pin);
        self.answer(pin.reply, done);
    }

    fn try_pin(&mut self, pin: &Pin) -> Result<(), StoreError> {
        let place = self.inner.owned_place(pin.shard, cid(&pin.digest))?;
        let Some(meta) = self.meta(&place, &pin.name, &pin.digest)? else {
            let cid = cid(&pin.digest);
            return Err(StoreError::NotFound { cid });
        };
        // Whoever protects a blob needs it.
        let again = pin.pinned && meta.is_retired();
        if again {
            self.count_again(&place, &pin.name, &meta, None)?;
        } else if meta.pinned == pin.pinned {
            return Ok(());
        }
        let changed = BlobMeta {
            pinned: pin.pinned,
            retired_until_ms: None,
            ..(*meta).clone()
        };
        self.put_meta(&place, &pin.name, changed)
    }

    pub(super) fn quarantine(&mut self, quarantine: Quarantine) {
        let Quarantine {
            name,
            digest,
            shard,
            blob_id,
            reply,
        } = quarantine;
        let Some(place) = self.inner.place(shard) else {
            return self.answer(reply, Ok(()));
        };
        let done = self.meta(&place, &name, &digest).and_then(|meta| {
            // Deleted, replaced or flagged since it was read.
            let Some(meta) = meta.filter(|meta| meta.blob_id == blob_id && !meta.quarantined)
            else {
                return Ok(());
            };
            let flagged = BlobMeta {
                quarantined: true,
                ..(*meta).clone()
            };
            self.put_meta(&place, &name, flagged)?;
            self.counters(&place).quarantined += 1;
            Ok(())
        });
        self.answer(reply, done);
    }

    /// A blob's metadata; none if it is not here.
    pub(super) fn meta(
        &self,
        place: &Place<'_>,
        name: &SealedName,
        digest: &Digest,
    ) -> Result<Option<Arc<BlobMeta>>, StoreError> {
        match self.find(place, name)? {
            Found::Here(meta) => Ok(Some(meta)),
            Found::Absent => Ok(None),
            Found::Unreadable => Err(StoreError::Damaged { cid: cid(digest) }),
        }
    }

    pub(super) fn advance(&mut self, advance: Advance) {
        let Advance { through, reply } = advance;
        for (shard, through) in through {
            self.advance_shard(shard, through);
        }
        self.answer(reply, Ok(()));
    }

    fn advance_shard(&mut self, shard: ShardId, through: u64) {
        let inner = self.inner;
        // A shard that is not ours has an outbox that nobody reads or writes.
        let Some(place) = inner.place(shard).filter(|place| place.family.owned) else {
            return;
        };
        let Counters {
            next_sequence,
            outbox_cursor,
            ..
        } = *self.counters(&place);
        let end = next_sequence.min(through.saturating_add(1));
        if outbox_cursor >= end {
            return;
        }
        self.counters(&place).outbox_cursor = end;
        if end - outbox_cursor >= RANGE_FROM {
            self.batch
                .delete_range_cf(&place.handle, outbox_key(outbox_cursor), outbox_key(end));
        } else {
            for sequence in outbox_cursor..end {
                self.batch.delete_cf(&place.handle, outbox_key(sequence));
            }
        }
    }
}

/// Where the chunks and pages of a large blob lie.
pub(crate) fn chunk_run(family: &str, meta: &BlobMeta) -> Result<ChunkRun, StoreError> {
    Ok(ChunkRun {
        family: family.to_owned(),
        blob_id: meta.blob_id,
        chunks: chunk_count(meta.size).map_err(|error| failed("counting chunks", error))?,
        sealed_size: meta.sealed_size,
    })
}
