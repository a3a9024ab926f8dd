//! What the commit thread does for blobs that the operator refuses for good.
//!
//! A block and the end of what is here of the blob are one batch. Whether the content counts in its
//! shard's fingerprint does not change with it: holders who compare fingerprints shall not take it
//! for lost and offer it again and again. So the block takes the place of the tombstone, and remembers
//! whether the content counts.

use bytecave_core::Digest;
use bytecave_messages::store::{StoreError, Word};

use super::{Group, Reply, cid};
use crate::engine::blocks::BLOCKED_LIMIT;
use crate::engine::keyring::SealedName;
use crate::engine::layout::{DEFAULT_FAMILY, name_key, prefix};
use crate::engine::record::{self, BlockRecord, RecordError};
use crate::engine::state::{Found, failed, now_ms, record_failed};

/// Refuse this blob for good, or stop.
#[derive(Debug)]
pub(crate) struct SetBlock {
    pub(crate) name: SealedName,
    pub(crate) digest: Digest,
    pub(crate) blocked: bool,
    /// Answered with whether that changed anything.
    pub(crate) reply: Reply<bool>,
}

/// Whether a blob counts in the fingerprint of its shard.
fn counts(found: &Found) -> bool {
    match found {
        Found::Here(meta) => !meta.is_retired(),
        Found::Absent => false,
        Found::Unreadable => true,
    }
}

impl Group<'_> {
    /// Whether this content is refused, this group's changes included.
    pub(super) fn is_blocked(&self, name: &SealedName) -> bool {
        match self.blocks.get(name) {
            Some(known) => known.is_some(),
            None => self.inner.blocked.contains(name),
        }
    }

    pub(super) fn set_block(&mut self, set: SetBlock) {
        let SetBlock {
            name,
            digest,
            blocked,
            reply,
        } = set;
        let done = if self.is_blocked(&name) == blocked {
            Ok(false)
        } else if blocked {
            self.block(&name, &digest)
        } else {
            self.unblock(&name, &digest)
        };
        // Also when nothing changed: it may have been blocked in this very group.
        self.must_sync |= done.is_ok();
        self.answer(reply, done);
    }

    fn block(&mut self, name: &SealedName, digest: &Digest) -> Result<bool, StoreError> {
        let inner = self.inner;
        let known = inner.blocked.len() as u64 + self.blocks.len() as u64;
        if known >= BLOCKED_LIMIT {
            let cause = format!("{known} blobs are blocked, which is all that there may be");
            return Err(failed("blocking a blob", cause));
        }
        let place = inner.place(inner.shard_of(digest));
        let found = match &place {
            Some(place) => self.find(place, name)?,
            None => Found::Absent,
        };
        let tombstone = self.read_tombstone(name)?;
        let deleted = self.has_tombstone(name)?;
        let size = match (&found, &tombstone) {
            (Found::Here(meta), _) => meta.size,
            (_, Some(tombstone)) => tombstone.size,
            _ => 0,
        };
        let record = BlockRecord {
            digest: *digest,
            size,
            blocked_ms: now_ms(),
            counted: place.is_some() && (deleted || counts(&found)),
        };
        let key = name_key(prefix::BLOCK, name);
        let sealed =
            record::seal(&self.keyring, DEFAULT_FAMILY, &key, &record).map_err(record_failed)?;
        if let (Some(place), Found::Here(meta)) = (&place, &found) {
            self.remove(place, name, meta)?;
        }
        if deleted {
            self.delete_tombstone(name);
        }
        self.batch.put(key, sealed);
        self.blocks.insert(*name, Some(record));
        Ok(true)
    }

    /// Lifts a block. What counts in the fingerprint goes on as a deleted blob: peers do not bring it
    /// back, a client does.
    fn unblock(&mut self, name: &SealedName, digest: &Digest) -> Result<bool, StoreError> {
        let inner = self.inner;
        let key = name_key(prefix::BLOCK, name);
        let record = match self.blocks.get(name) {
            Some(known) => known.clone(),
            None => self.read_block(&key)?,
        };
        let place = inner.place(inner.shard_of(digest));
        let mut counted = record.as_ref().is_some_and(|record| record.counted);
        let mut size = record.map_or(0, |record| record.size);
        // An earlier version left what stood in a family that was not ours.
        if let Some(place) = &place
            && let Found::Here(meta) = self.find(place, name)?
        {
            counted |= !meta.is_retired();
            size = meta.size;
            self.remove(place, name, &meta)?;
        }
        if counted && place.is_some() {
            self.put_tombstone(name, digest, size)?;
        }
        self.batch.delete(key);
        self.blocks.insert(*name, None);
        Ok(true)
    }

    /// The block as it is stored; none if it does not open.
    fn read_block(&self, key: &[u8]) -> Result<Option<BlockRecord>, StoreError> {
        let sealed = self
            .inner
            .db
            .get_pinned(key)
            .map_err(|error| failed("reading a block", error))?;
        let Some(sealed) = sealed else {
            return Ok(None);
        };
        match record::open(&self.keyring, DEFAULT_FAMILY, key, &sealed) {
            Ok(record) => Ok(Some(record)),
            Err(error @ RecordError::Newer { .. }) => Err(failed("reading a block", error)),
            Err(error) => {
                self.inner.note_damage("a block", error);
                Ok(None)
            }
        }
    }

    /// Refuses what is blocked, and on a peer's word what was deleted.
    pub(super) fn expect_wanted(
        &self,
        name: &SealedName,
        digest: &Digest,
        word: Word,
    ) -> Result<(), StoreError> {
        let cid = cid(digest);
        if self.is_blocked(name) {
            Err(StoreError::Blocked { cid })
        } else if word == Word::Peer && self.has_tombstone(name)? {
            Err(StoreError::Deleted { cid })
        } else {
            Ok(())
        }
    }
}
