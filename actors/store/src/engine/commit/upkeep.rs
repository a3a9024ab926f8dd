//! What the engine's own jobs write: freed files, collected families, new keys.

use std::sync::{Arc, PoisonError};

use bytecave_core::ShardId;
use bytecave_messages::store::StoreError;

use super::{Group, Reply, subtract};
use crate::engine::keyring::{Keyring, Purpose, record_key_id};
use crate::engine::layout::{
    COUNTERS_KEY, DEFAULT_FAMILY, KEYRING_KEY, ROTATION_KEY, id_key, parse_id_key, parse_name_key,
    parse_outbox_key, prefix,
};
use crate::engine::record::{self, ChunkRun};
use crate::engine::rotate::Rotation;
use crate::engine::state::{Place, failed, lock, record_failed};

/// The file of a deleted large blob is gone.
#[derive(Debug)]
pub(crate) struct Freed {
    pub(crate) shard: Option<ShardId>,
    pub(crate) run: ChunkRun,
}

/// A family was collected: so many of its dead bytes are gone.
#[derive(Debug)]
pub(crate) struct Collected {
    pub(crate) shard: ShardId,
    pub(crate) bytes: u64,
    pub(crate) reply: Reply<()>,
}

/// Seal these records under the current key, and note how far the rotation is.
#[derive(Debug)]
pub(crate) struct Reseal {
    /// The family; `default` if `None`.
    pub(crate) shard: Option<ShardId>,
    pub(crate) keys: Vec<Box<[u8]>>,
    pub(crate) rotation: Rotation,
    pub(crate) reply: Reply<u64>,
}

/// Use this keyring from here on.
#[derive(Debug)]
pub(crate) struct InstallKeyring {
    pub(crate) keyring: Keyring,
    /// Where the rotation stands then; `None` when it is over.
    pub(crate) rotation: Option<Rotation>,
    pub(crate) reply: Reply<()>,
}

impl Group<'_> {
    pub(super) fn free(&mut self, freed: Freed) {
        let Freed { shard, run } = freed;
        let inner = self.inner;
        // A run that is freed twice must not be counted twice.
        if self.freed.contains(&run.blob_id) || !lock(&inner.drops).contains_key(&run.blob_id) {
            return;
        }
        self.freed.push(run.blob_id);
        self.batch.delete(id_key(prefix::DROP, run.blob_id));
        if let Some(place) = shard.and_then(|shard| inner.place(shard)) {
            subtract(&mut self.counters(&place).dead_bytes, run.sealed_size);
        }
        self.when_written(move |inner, written| {
            if written.is_ok() {
                lock(&inner.drops).remove(&run.blob_id);
            }
        });
    }

    pub(super) fn collected(&mut self, collected: Collected) {
        let Collected {
            shard,
            bytes,
            reply,
        } = collected;
        let inner = self.inner;
        if let Some(place) = inner.place(shard) {
            subtract(&mut self.counters(&place).dead_bytes, bytes);
        }
        self.answer(reply, Ok(()));
    }

    pub(super) fn reseal(&mut self, reseal: Reseal) {
        let done = self.try_reseal(&reseal);
        self.answer(reseal.reply, done);
    }

    fn try_reseal(&mut self, reseal: &Reseal) -> Result<u64, StoreError> {
        let inner = self.inner;
        let mut resealed = 0;
        let place = reseal.shard.and_then(|shard| inner.place(shard));
        for key in &reseal.keys {
            let (family, handle) = match &place {
                Some(place) => (place.family.name.as_str(), Arc::clone(&place.handle)),
                None => (DEFAULT_FAMILY, inner.default_family()?),
            };
            // What this group has written is under the current key, or gone.
            let Some(purpose) = self.untouched(place.as_ref(), key) else {
                continue;
            };
            let Some(sealed) = inner
                .db
                .get_pinned_cf(&handle, key)
                .map_err(|error| failed("reading a record", error))?
            else {
                continue;
            };
            if record_key_id(&sealed).is_ok_and(|id| id == self.keyring.current_key()) {
                continue;
            }
            let again = self
                .keyring
                .open_record(family, key, purpose, &sealed)
                .and_then(|plain| self.keyring.seal_record(family, key, purpose, &plain));
            match again {
                Ok(again) => {
                    self.batch.put_cf(&handle, key, again);
                    resealed += 1;
                }
                Err(error) => inner.note_damage("a record under rotation", error),
            }
        }
        self.put_rotation(&reseal.rotation)?;
        Ok(resealed)
    }

    /// What the record under `key` is sealed for, unless this group has changed it.
    fn untouched(&mut self, place: Option<&Place<'_>>, key: &[u8]) -> Option<Purpose> {
        let kind = key.first()?;
        match (place, *kind) {
            (Some(_), prefix::META) => {
                let name = parse_name_key(prefix::META, key)?;
                (!self.changed(&name)).then_some(Purpose::Meta)
            }
            (Some(place), prefix::OUTBOX) => {
                let sequence = parse_outbox_key(key)?;
                (sequence >= self.counters(place).outbox_cursor).then_some(Purpose::Outbox)
            }
            // Touched counters are sealed with the group.
            (Some(place), _) if key == COUNTERS_KEY => {
                self.counters(place);
                None
            }
            (None, prefix::TOMBSTONE) => {
                let name = parse_name_key(prefix::TOMBSTONE, key)?;
                (!self.tombstones.contains_key(&name)).then_some(Purpose::Tombstone)
            }
            (None, prefix::BLOCK) => {
                let name = parse_name_key(prefix::BLOCK, key)?;
                (!self.blocks.contains_key(&name)).then_some(Purpose::Block)
            }
            (None, prefix::DROP) => {
                let id = parse_id_key(prefix::DROP, key)?;
                (!self.freed.contains(&id)).then_some(Purpose::Drop)
            }
            _ => None,
        }
    }

    fn put_rotation(&mut self, rotation: &Rotation) -> Result<(), StoreError> {
        let sealed = record::seal(&self.keyring, DEFAULT_FAMILY, ROTATION_KEY, rotation)
            .map_err(record_failed)?;
        self.batch.put(ROTATION_KEY, sealed);
        Ok(())
    }

    pub(super) fn install_keyring(&mut self, install: InstallKeyring) {
        let InstallKeyring {
            keyring,
            rotation,
            reply,
        } = install;
        let prepared = keyring
            .to_record()
            .map_err(|error| failed("sealing the keyring", error))
            .and_then(|record| {
                match &rotation {
                    Some(rotation) => self.put_rotation(rotation)?,
                    None => self.batch.delete(ROTATION_KEY),
                }
                Ok(record)
            });
        match prepared {
            Ok(record) => {
                self.batch.put(KEYRING_KEY, record);
                self.must_sync = true;
                let keyring = Arc::new(keyring);
                self.when_written(move |inner, written| {
                    if written.is_ok() {
                        *inner
                            .keyring
                            .write()
                            .unwrap_or_else(PoisonError::into_inner) = keyring;
                    }
                });
                self.answer(reply, Ok(()));
            }
            Err(error) => self.answer(reply, Err(error)),
        }
    }
}
