//! What the commit thread does for copies that are needed no longer.
//!
//! A retired blob leaves counts, bytes and fingerprint of its shard and is there all the same, until its
//! end: a note in `default` says when. Note, metadata and counters change in one batch. This works in
//! every family, whether its shard is still ours or not: it is how those that are not become empty.

use bytecave_core::{Digest, ShardId};
use bytecave_messages::store::{StoreError, Word};

use super::blobs::Kept;
use super::{Group, Reply, cid, subtract};
use crate::engine::keyring::SealedName;
use crate::engine::layout::{END_VALUE, End};
use crate::engine::record::BlobMeta;
use crate::engine::state::{Found, Place};

/// A blob is needed no longer.
#[derive(Debug)]
pub(crate) struct Retire {
    pub(crate) name: SealedName,
    pub(crate) digest: Digest,
    pub(crate) shard: ShardId,
    /// When it goes for good.
    pub(crate) until_ms: u64,
    /// Answered with whether it counted as here.
    pub(crate) reply: Reply<bool>,
}

/// A retired blob is needed after all.
#[derive(Debug)]
pub(crate) struct Restore {
    pub(crate) name: SealedName,
    pub(crate) digest: Digest,
    pub(crate) shard: ShardId,
    /// Answered with whether there was one.
    pub(crate) reply: Reply<bool>,
}

/// Delete these for good: their time is up.
#[derive(Debug)]
pub(crate) struct Expire {
    pub(crate) ends: Vec<End>,
    /// Answered with how many were still retired.
    pub(crate) reply: Reply<u64>,
}

impl Group<'_> {
    pub(super) fn retire(&mut self, retire: Retire) {
        let done = self.try_retire(&retire);
        self.answer(retire.reply, done);
    }

    fn try_retire(&mut self, retire: &Retire) -> Result<bool, StoreError> {
        let Retire {
            name,
            digest,
            shard,
            until_ms,
            ..
        } = retire;
        let inner = self.inner;
        // Nothing is told of what is blocked, be something left of it or not.
        let Some(place) = inner.place(*shard).filter(|_| !self.is_blocked(name)) else {
            return Ok(false);
        };
        let Some(meta) = self.meta(&place, name, digest)? else {
            return Ok(false);
        };
        if meta.is_retired() {
            self.move_end(&place, name, &meta, *until_ms)?;
            return Ok(false);
        }
        if meta.pinned {
            return Err(StoreError::Pinned { cid: cid(digest) });
        }
        if meta.quarantined {
            return Err(StoreError::Damaged { cid: cid(digest) });
        }
        if self.has_tombstone(name)? {
            // An earlier version could leave both; what is retired counts nowhere.
            self.delete_tombstone(name);
        }
        let retired = BlobMeta {
            retired_until_ms: Some(*until_ms),
            ..(*meta).clone()
        };
        if let Some(end) = end(&place, name, &retired) {
            self.batch.put(end.key(), END_VALUE);
        }
        self.put_meta(&place, name, retired)?;
        let counters = self.counters(&place);
        subtract(&mut counters.blobs, 1);
        subtract(&mut counters.bytes, meta.size);
        counters.retired += 1;
        counters.retired_bytes += meta.size;
        counters.fingerprint.remove(digest);
        Ok(true)
    }

    /// Has a retired blob go at another time.
    fn move_end(
        &mut self,
        place: &Place<'_>,
        name: &SealedName,
        retired: &BlobMeta,
        until_ms: u64,
    ) -> Result<(), StoreError> {
        if let Some(before) = end(place, name, retired) {
            self.batch.delete(before.key());
        }
        let moved = BlobMeta {
            retired_until_ms: Some(until_ms),
            ..retired.clone()
        };
        if let Some(end) = end(place, name, &moved) {
            self.batch.put(end.key(), END_VALUE);
        }
        self.put_meta(place, name, moved)
    }

    pub(super) fn restore(&mut self, restore: Restore) {
        let done = self.try_restore(&restore);
        // Whoever asks once more must know that it is on disk.
        self.must_sync |= done.is_ok();
        self.answer(restore.reply, done);
    }

    fn try_restore(&mut self, restore: &Restore) -> Result<bool, StoreError> {
        let Restore {
            name,
            digest,
            shard,
            ..
        } = restore;
        let inner = self.inner;
        let Some(place) = inner.place(*shard).filter(|_| !self.is_blocked(name)) else {
            return Ok(false);
        };
        let found = self.meta(&place, name, digest)?;
        let Some(meta) = found.filter(|meta| meta.is_retired()) else {
            return Ok(false);
        };
        if meta.quarantined {
            return Err(StoreError::Damaged { cid: cid(digest) });
        }
        self.count_again(&place, name, &meta, None)?;
        self.put_meta(&place, name, needed(&meta))?;
        Ok(true)
    }

    /// What a put of a blob does whose sound bytes are here: a retired one is needed again.
    pub(super) fn keep(
        &mut self,
        place: &Place<'_>,
        name: &SealedName,
        old: &BlobMeta,
        word: Word,
    ) -> Result<Kept, StoreError> {
        let meta = needed(old);
        if old.is_retired() {
            self.count_again(place, name, old, Some(word))?;
            self.put_meta(place, name, meta.clone())?;
        }
        let new = old.is_retired();
        Ok(Kept { meta, new })
    }

    /// Counts a retired blob as here again; its metadata is left to the caller. What a client stored
    /// gets its outbox entry.
    pub(super) fn count_again(
        &mut self,
        place: &Place<'_>,
        name: &SealedName,
        retired: &BlobMeta,
        word: Option<Word>,
    ) -> Result<(), StoreError> {
        if word == Some(Word::Client) {
            self.write_outbox(place, &retired.digest)?;
        }
        self.forget_end(place, name, retired);
        // Lost in a crash, it would go for good although somebody needs it and others rely on it.
        self.must_sync = true;
        let counters = self.counters(place);
        subtract(&mut counters.retired, 1);
        subtract(&mut counters.retired_bytes, retired.size);
        counters.blobs += 1;
        counters.bytes += retired.size;
        counters.fingerprint.add(&retired.digest);
        Ok(())
    }

    /// Removes the note of when a blob goes, if it is retired.
    pub(super) fn forget_end(&mut self, place: &Place<'_>, name: &SealedName, meta: &BlobMeta) {
        if let Some(end) = end(place, name, meta) {
            self.batch.delete(end.key());
        }
    }

    pub(super) fn expire(&mut self, expire: Expire) {
        let done = self.try_expire(&expire.ends);
        self.answer(expire.reply, done);
    }

    fn try_expire(&mut self, ends: &[End]) -> Result<u64, StoreError> {
        let inner = self.inner;
        let mut expired = 0;
        for end in ends {
            // Whatever becomes of the blob: a note that stands for nothing goes too.
            self.batch.delete(end.key());
            let shard = inner.options.shards.count().shard(end.shard.into());
            let Some(place) = shard.ok().and_then(|shard| inner.place(shard)) else {
                continue;
            };
            if let Found::Here(meta) = self.find(&place, &end.name)?
                && meta.retired_until_ms == Some(end.at_ms)
            {
                self.remove(&place, &end.name, &meta)?;
                expired += 1;
            }
        }
        Ok(expired)
    }
}

/// When a blob goes for good, if it is retired.
fn end(place: &Place<'_>, name: &SealedName, meta: &BlobMeta) -> Option<End> {
    meta.retired_until_ms.map(|at_ms| End {
        at_ms,
        shard: place.family.shard.get(),
        name: *name,
    })
}

/// The metadata of a blob that is needed.
fn needed(meta: &BlobMeta) -> BlobMeta {
    BlobMeta {
        retired_until_ms: None,
        ..meta.clone()
    }
}
