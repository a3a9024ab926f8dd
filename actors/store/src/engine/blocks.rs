//! Blobs that the operator refuses: neither kept nor given, by nobody and to nobody, until he lifts it.
//!
//! A block stands in `default` under the blob's sealed name, never expires, and is synced before it is
//! answered. The names of all of them are in memory too, so that no read or write asks the disk.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use bytecave_core::BlobCid;
use bytecave_messages::store::{BlockedPage, LIST_LIMIT, StoreError, Word};
use rocksdb::DB;

use super::Engine;
use super::commit::Op;
use super::commit::blocks::SetBlock;
use super::failpoint::failpoint;
use super::keyring::SealedName;
use super::layout::{DEFAULT_FAMILY, parse_name_key, prefix};
use super::open::{self, OpenError};
use super::record::{self, BlockRecord};
use super::rocks::range_read_options;
use super::state::{Inner, stopped};

/// Most blobs that are blocked at once: each takes about 70 bytes of memory, and the start reads them
/// all. Too low: further ones cannot be blocked. Too high: a slow start.
pub(crate) const BLOCKED_LIMIT: u64 = 1 << 20;

/// The names of all blobs that are blocked. Changed by the commit thread only, once it is durable.
#[derive(Default)]
pub(crate) struct Blocked(RwLock<HashSet<SealedName>>);

impl Blocked {
    /// Reads what an earlier process left.
    pub(crate) fn read(db: &DB) -> Result<Self, OpenError> {
        let options = range_read_options(vec![prefix::BLOCK], vec![prefix::BLOCK + 1]);
        let mut names = HashSet::new();
        for row in db.iterator_opt(rocksdb::IteratorMode::Start, options) {
            let (key, _) = row.map_err(|error| open::refusal(&error, db.path()))?;
            // By its name alone: one whose record is damaged still holds.
            names.extend(parse_name_key(prefix::BLOCK, &key));
        }
        Ok(Self(RwLock::new(names)))
    }

    pub(crate) fn contains(&self, name: &SealedName) -> bool {
        self.names().contains(name)
    }

    pub(crate) fn len(&self) -> usize {
        self.names().len()
    }

    /// The commit thread has written or lifted a block.
    pub(crate) fn set(&self, name: &SealedName, blocked: bool) {
        let mut names = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if blocked {
            names.insert(*name);
        } else {
            names.remove(name);
        }
    }

    fn names(&self) -> impl std::ops::Deref<Target = HashSet<SealedName>> + '_ {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blocked({})", self.len())
    }
}

impl Engine {
    /// Refuses a blob for good, deleting what is here of it, pinned or not; or lifts that. Whether that
    /// changed anything. Durable before the answer.
    pub async fn set_blocked(&self, cid: BlobCid, blocked: bool) -> Result<bool, StoreError> {
        failpoint!("block::before-commit");
        let digest = cid.digest();
        let name = self.inner.keyring().sealed_name(&digest);
        let answer = self.inner.queue.submit(|reply| {
            Op::Block(SetBlock {
                name,
                digest,
                blocked,
                reply,
            })
        });
        answer.await.map_err(|_| StoreError::Unavailable)?
    }

    /// The next page of blocked blobs, in the order of their sealed names. One whose record is damaged
    /// is blocked all the same and cannot be named.
    pub async fn list_blocked(
        &self,
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> Result<BlockedPage, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .readers
            .run(move || list(&inner, after, limit))
            .await
            .map_err(stopped)?
    }
}

fn list(inner: &Inner, after: Option<[u8; 32]>, limit: usize) -> Result<BlockedPage, StoreError> {
    let limit = limit.clamp(1, LIST_LIMIT);
    let mut from = vec![prefix::BLOCK];
    if let Some(after) = after {
        from.extend(after);
        // The least key behind it.
        from.push(0);
    }
    let keyring = inner.keyring();
    let mut page = BlockedPage {
        cids: Vec::new(),
        next: None,
    };
    let mut last = None;
    let rows = inner.rows(DEFAULT_FAMILY, from, vec![prefix::BLOCK + 1])?;
    for (at, row) in rows.take(limit + 1).enumerate() {
        let (key, sealed) = row?;
        if at == limit {
            // One more is there, so there is a next page.
            page.next = last;
            break;
        }
        last = parse_name_key(prefix::BLOCK, &key).or(last);
        match record::open::<BlockRecord>(&keyring, DEFAULT_FAMILY, &key, &sealed) {
            Ok(record) => page.cids.push(BlobCid::from_digest(record.digest)),
            Err(error) => inner.note_damage("a block", error),
        }
    }
    Ok(page)
}

impl Inner {
    /// Refuses what is blocked, and on a peer's word what was deleted. The commit thread looks again.
    pub(crate) fn expect_wanted(
        &self,
        name: &SealedName,
        cid: BlobCid,
        word: Word,
    ) -> Result<(), StoreError> {
        if self.blocked.contains(name) {
            Err(StoreError::Blocked { cid })
        } else if word == Word::Peer && self.has_tombstone(name)? {
            Err(StoreError::Deleted { cid })
        } else {
            Ok(())
        }
    }
}
