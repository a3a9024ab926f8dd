//! What the commit thread does for tombstones: writing, renewing, forgetting them.

use std::sync::atomic::Ordering;

use bytecave_core::Digest;
use bytecave_messages::store::StoreError;

use super::{Group, Reply};
use crate::engine::keyring::SealedName;
use crate::engine::layout::{DEFAULT_FAMILY, name_key, prefix};
use crate::engine::record::{self, RecordError, Tombstone};
use crate::engine::state::{Found, failed, now_ms, record_failed};

/// Forget these tombstones if they are older than `before_ms`.
#[derive(Debug)]
pub(crate) struct Forget {
    pub(crate) names: Vec<SealedName>,
    pub(crate) before_ms: u64,
    pub(crate) reply: Reply<u64>,
}

/// Make these tombstones new if they are older than `before_ms`.
#[derive(Debug)]
pub(crate) struct Renew {
    pub(crate) names: Vec<SealedName>,
    pub(crate) before_ms: u64,
    pub(crate) reply: Reply<()>,
}

impl Group<'_> {
    /// Whether a deletion of this content is remembered, this group's changes included.
    pub(super) fn has_tombstone(&self, name: &SealedName) -> Result<bool, StoreError> {
        match self.tombstones.get(name) {
            Some(known) => Ok(*known),
            None => self.inner.has_tombstone(name),
        }
    }

    /// Remembers that this content of `size` bytes was deleted now.
    pub(super) fn put_tombstone(
        &mut self,
        name: &SealedName,
        digest: &Digest,
        size: u64,
    ) -> Result<(), StoreError> {
        let tombstone = Tombstone {
            digest: *digest,
            size,
            deleted_ms: now_ms(),
        };
        let key = name_key(prefix::TOMBSTONE, name);
        let sealed =
            record::seal(&self.keyring, DEFAULT_FAMILY, &key, &tombstone).map_err(record_failed)?;
        self.batch.put(key, sealed);
        self.tombstones.insert(*name, true);
        self.when_written(|inner, _| inner.tombstones.store(true, Ordering::Relaxed));
        Ok(())
    }

    /// Forgets a deletion. The fingerprint is left to the caller.
    pub(super) fn delete_tombstone(&mut self, name: &SealedName) {
        self.batch.delete(name_key(prefix::TOMBSTONE, name));
        self.tombstones.insert(*name, false);
    }

    /// The stored tombstone, unless this group has changed it or it does not open.
    pub(super) fn read_tombstone(
        &self,
        name: &SealedName,
    ) -> Result<Option<Tombstone>, StoreError> {
        if self.tombstones.contains_key(name) {
            return Ok(None);
        }
        let key = name_key(prefix::TOMBSTONE, name);
        let sealed = self
            .inner
            .db
            .get_pinned(key)
            .map_err(|error| failed("reading a tombstone", error))?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        match record::open::<Tombstone>(&self.keyring, DEFAULT_FAMILY, &key, &sealed) {
            Ok(tombstone) => Ok(Some(tombstone)),
            Err(error @ RecordError::Newer { .. }) => Err(failed("reading a tombstone", error)),
            Err(error) => {
                self.inner.note_damage("a tombstone", error);
                Ok(None)
            }
        }
    }

    pub(super) fn forget(&mut self, forget: Forget) {
        let done = self.try_forget(&forget.names, forget.before_ms);
        self.answer(forget.reply, done);
    }

    fn try_forget(&mut self, names: &[SealedName], before_ms: u64) -> Result<u64, StoreError> {
        let inner = self.inner;
        let mut forgotten = 0;
        for name in names {
            let Some(tombstone) = self.read_tombstone(name)? else {
                continue;
            };
            if tombstone.deleted_ms >= before_ms {
                continue;
            }
            if let Some(place) = inner.place(inner.shard_of(&tombstone.digest)) {
                // An earlier version could leave both in a family that was not ours.
                let counts = match self.find(&place, name)? {
                    Found::Here(meta) => !meta.is_retired(),
                    Found::Absent | Found::Unreadable => false,
                };
                if !counts {
                    self.counters(&place).fingerprint.remove(&tombstone.digest);
                }
            }
            self.delete_tombstone(name);
            forgotten += 1;
        }
        Ok(forgotten)
    }

    pub(super) fn renew(&mut self, renew: Renew) {
        let done = self.try_renew(&renew.names, renew.before_ms);
        self.answer(renew.reply, done);
    }

    fn try_renew(&mut self, names: &[SealedName], before_ms: u64) -> Result<(), StoreError> {
        for name in names {
            let Some(tombstone) = self.read_tombstone(name)? else {
                continue;
            };
            if tombstone.deleted_ms < before_ms {
                self.put_tombstone(name, &tombstone.digest, tombstone.size)?;
            }
        }
        Ok(())
    }
}
