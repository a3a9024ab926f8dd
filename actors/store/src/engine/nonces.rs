//! Nonces: what was authorized once is not authorized again, also after a crash.
//!
//! A row of `default` for each nonce, written once by the commit thread, which is the only writer:
//! of two who use one nonce at once exactly one is told that it was unused, and is told so when the
//! row is on disk, whatever the durability of blobs is. The upkeep thread removes rows that have
//! expired. The key is a sealed name, so the disk does not tell who stored; the value says nothing
//! but when the row may go, and stands in the open, so that a rotation of keys has nothing to do.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytecave_core::Digest;
use bytecave_messages::store::StoreError;
use rocksdb::DB;

use super::Engine;
use super::commit::Op;
use super::commit::nonces::{ForgetNonces, UseNonce};
use super::keyring::SealedName;
use super::layout::{DEFAULT_FAMILY, parse_name_key, prefix};
use super::open::{self, OpenError};
use super::rocks::range_read_options;
use super::state::{Inner, now_ms};

/// Format of a nonce's row.
const FORMAT: u16 = 1;
/// So many rows at a time.
const FORGET_ROWS: usize = 500;
/// Looking through the rows takes at most one part of the time in so many.
const PAUSE_PARTS: u32 = 50;

/// How many nonces are remembered, and when the first of them may go.
#[derive(Debug)]
pub(crate) struct Nonces {
    live: AtomicU64,
    /// No row expires earlier; milliseconds since 1970.
    due_ms: AtomicU64,
}

impl Nonces {
    /// Counts what an earlier process left; there are never more than the limit of then.
    pub(crate) fn read(db: &DB) -> Result<Self, OpenError> {
        let options = range_read_options(vec![prefix::NONCE], vec![prefix::NONCE + 1]);
        let mut live = 0;
        let mut due_ms = u64::MAX;
        for row in db.iterator_opt(rocksdb::IteratorMode::Start, options) {
            let (_, value) = row.map_err(|error| open::refusal(&error, db.path()))?;
            live += 1;
            due_ms = due_ms.min(expires(&value));
        }
        Ok(Self {
            live: AtomicU64::new(live),
            due_ms: AtomicU64::new(due_ms),
        })
    }

    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    /// A row was written.
    pub(crate) fn note_used(&self, expires_ms: u64) {
        self.live.fetch_add(1, Ordering::Relaxed);
        self.due_ms.fetch_min(expires_ms, Ordering::Relaxed);
    }

    /// So many rows were removed.
    pub(crate) fn note_forgotten(&self, rows: u64) {
        self.live.fetch_sub(rows, Ordering::Relaxed);
    }
}

/// The value of a row.
pub(crate) fn row(expires_ms: u64) -> Vec<u8> {
    [&FORMAT.to_be_bytes()[..], &expires_ms.to_be_bytes()].concat()
}

/// When a row may go. One that cannot be read, or that a newer version wrote, never does.
fn expires(value: &[u8]) -> u64 {
    value
        .strip_prefix(&FORMAT.to_be_bytes())
        .and_then(|rest| rest.try_into().ok())
        .map_or(u64::MAX, u64::from_be_bytes)
}

impl Engine {
    /// Uses up a nonce; whether it was unused. On disk before the answer. Full when
    /// [`EngineOptions::max_nonces`](super::EngineOptions::max_nonces) are remembered.
    pub async fn use_nonce(&self, key: Digest, expires_ms: u64) -> Result<bool, StoreError> {
        let name = self.inner.keyring().sealed_name(&key);
        let answer = self.inner.queue.submit(|reply| {
            Op::UseNonce(UseNonce {
                name,
                expires_ms,
                reply,
            })
        });
        answer.await.map_err(|_| StoreError::Unavailable)?
    }
}

/// When the upkeep thread looks for expired nonces again.
#[derive(Debug)]
pub(crate) struct Watch {
    again_at: Instant,
}

impl Watch {
    pub(crate) fn new(now: Instant) -> Self {
        Self { again_at: now }
    }

    /// Removes what has expired, if anything has.
    pub(crate) fn round(&mut self, inner: &Arc<Inner>) {
        let began = Instant::now();
        let due_ms = inner.nonces.due_ms.load(Ordering::Relaxed);
        if began < self.again_at || due_ms >= now_ms() {
            return;
        }
        // Reset before the look: what is written meanwhile lowers it again.
        inner.nonces.due_ms.store(u64::MAX, Ordering::Relaxed);
        match forget(inner) {
            Ok(next_ms) => {
                inner.nonces.due_ms.fetch_min(next_ms, Ordering::Relaxed);
            }
            Err(error) => {
                inner.nonces.due_ms.fetch_min(due_ms, Ordering::Relaxed);
                tracing::debug!(%error, "expired nonces stay for another round");
            }
        }
        let pause = began.elapsed().saturating_mul(PAUSE_PARTS);
        self.again_at = Instant::now() + pause.min(Duration::from_mins(1));
    }
}

/// Removes expired rows; gives when the next expires.
fn forget(inner: &Inner) -> Result<u64, StoreError> {
    let now_ms = now_ms();
    let mut next_ms = u64::MAX;
    let mut from = vec![prefix::NONCE];
    loop {
        let rows = inner.rows(DEFAULT_FAMILY, from, vec![prefix::NONCE + 1])?;
        let mut expired: Vec<SealedName> = Vec::new();
        let mut last = None;
        for row in rows.take(FORGET_ROWS) {
            let (key, value) = row?;
            let expires_ms = expires(&value);
            if expires_ms < now_ms {
                expired.extend(parse_name_key(prefix::NONCE, &key));
            } else {
                next_ms = next_ms.min(expires_ms);
            }
            last = Some(key);
        }
        let Some(last) = last else {
            return Ok(next_ms);
        };
        from = [&last[..], &[0]].concat();
        if !expired.is_empty() {
            let names = expired;
            let answer = inner
                .queue
                .submit(|reply| Op::ForgetNonces(ForgetNonces { names, reply }));
            answer
                .blocking_recv()
                .map_err(|_| StoreError::Unavailable)??;
        }
    }
}

/// Copies the rows to another database, as far as they can be read: what is lost lets an authorization
/// of the last minutes be used again, for the same bytes.
pub(crate) fn copy(source: &DB, target: &DB) -> Result<(), rocksdb::Error> {
    let options = range_read_options(vec![prefix::NONCE], vec![prefix::NONCE + 1]);
    for row in source.iterator_opt(rocksdb::IteratorMode::Start, options) {
        let (key, value) = match row {
            Ok(row) => row,
            Err(error) => {
                tracing::warn!(%error, "nonces of the last minutes are lost");
                break;
            }
        };
        target.put(key, value)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_not_understood_is_kept() {
        assert_eq!(expires(&row(7)), 7);
        assert_eq!(expires(&row(u64::MAX)), u64::MAX);
        for other in [&b""[..], b"\0\x01", b"\0\x02\0\0\0\0\0\0\0\x07", &[0; 11]] {
            assert_eq!(expires(other), u64::MAX);
        }
    }
}
