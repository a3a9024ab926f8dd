//! Copies that are needed no longer: they count as absent, are still given to who asks for them by name,
//! and go for good after a time, unless they are needed after all.

use std::time::Duration;

use bytecave_core::BlobCid;
use bytecave_messages::store::StoreError;

use super::Engine;
use super::commit::Op;
use super::commit::retired::{Expire, Restore, Retire};
use super::layout::{DEFAULT_FAMILY, End, prefix};
use super::state::{Inner, now_ms};

/// Time after a start in which nothing goes whose time was over before: whoever retired it and was cut short
/// by a crash may take it back first.
const BEFORE_THE_OVERDUE: Duration = Duration::from_mins(10);
/// Blobs that one operation deletes: about a millisecond of the commit thread.
const PAGE: usize = 200;

impl Engine {
    /// Has a blob count as absent from now on, and deletes it after `keep_for`. Whether it counted as
    /// here. A pinned one is refused, and a damaged one, whose copies elsewhere may be needed.
    pub async fn retire(&self, cid: BlobCid, keep_for: Duration) -> Result<bool, StoreError> {
        let keep_for = u64::try_from(keep_for.as_millis()).unwrap_or(u64::MAX);
        let until_ms = now_ms().saturating_add(keep_for);
        let digest = cid.digest();
        let shard = self.inner.shard_of(&digest);
        let name = self.inner.keyring().sealed_name(&digest);
        let answer = self.inner.queue.submit(|reply| {
            Op::Retire(Retire {
                name,
                digest,
                shard,
                until_ms,
                reply,
            })
        });
        answer.await.map_err(|_| StoreError::Unavailable)?
    }

    /// Has a retired blob count as here again. Whether there was one. On disk before the answer.
    pub async fn restore(&self, cid: BlobCid) -> Result<bool, StoreError> {
        let digest = cid.digest();
        let shard = self.inner.shard_of(&digest);
        let name = self.inner.keyring().sealed_name(&digest);
        let answer = self.inner.queue.submit(|reply| {
            Op::Restore(Restore {
                name,
                digest,
                shard,
                reply,
            })
        });
        answer.await.map_err(|_| StoreError::Unavailable)?
    }
}

/// Deletes for good what was retired long enough ago, for an engine that began at `started_ms`.
pub(crate) fn expire(inner: &Inner, started_ms: u64) {
    let key = |until_ms: u64| [&[prefix::END][..], &until_ms.to_be_bytes()].concat();
    let since_start = Duration::from_millis(now_ms().saturating_sub(started_ms));
    let oldest = if since_start < BEFORE_THE_OVERDUE {
        key(started_ms)
    } else {
        vec![prefix::END]
    };
    let after_now = key(now_ms().saturating_add(1));
    loop {
        let Ok(rows) = inner.rows(DEFAULT_FAMILY, oldest.clone(), after_now.clone()) else {
            return;
        };
        let ends: Vec<End> = rows
            .take(PAGE)
            .map_while(Result::ok)
            .filter_map(|(key, _)| End::parse(&key))
            .collect();
        if ends.is_empty() {
            return;
        }
        let answer = inner
            .queue
            .submit(|reply| Op::Expire(Expire { ends, reply }));
        // Those that were answered have no note any more, so this comes to an end.
        match answer.blocking_recv() {
            Ok(Ok(expired)) => {
                tracing::debug!(expired, "copies that were needed no longer are gone");
            }
            Ok(Err(_)) | Err(_) => return,
        }
    }
}
