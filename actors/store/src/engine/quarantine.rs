//! Blobs whose bytes were found damaged: flagged, so that nothing of them is served, and listed, so that
//! whole copies can be fetched. Storing the same bytes again heals them.

use std::ops::ControlFlow;

use bytecave_core::BlobCid;
use bytecave_messages::store::{LIST_LIMIT, StoreError};
use tokio::sync::oneshot;

use super::Engine;
use super::blob_files;
use super::commit::Op;
use super::commit::blobs::Quarantine;
use super::keyring::SealedName;
use super::layout::{name_key, prefix};
use super::record::{BlobMeta, Layout};
use super::state::{Inner, Place};

impl Engine {
    /// Blobs that are quarantined, at most `limit`. Only families that have some are looked through,
    /// one list at a time.
    pub async fn list_damaged(&self, limit: usize) -> Result<Vec<BlobCid>, StoreError> {
        let limit = limit.min(LIST_LIMIT);
        self.listed_in_turn(move |inner| list(inner, limit)).await
    }
}

fn list(inner: &Inner, limit: usize) -> Result<Vec<BlobCid>, StoreError> {
    let mut damaged = Vec::new();
    for family in inner.all_families() {
        let mut left = {
            let counters = inner.lock_counters();
            let counters = counters.get(usize::from(family.shard.get()));
            counters.map_or(0, |counters| counters.quarantined)
        };
        if left == 0 {
            continue;
        }
        if damaged.len() >= limit {
            break;
        }
        inner.each_meta(family, None, |name, meta| {
            if meta.quarantined {
                left -= 1;
                if !meta.is_retired() && !inner.blocked.contains(&name) {
                    damaged.push(BlobCid::from_digest(meta.digest));
                }
            }
            if left == 0 || damaged.len() >= limit {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        })?;
    }
    Ok(damaged)
}

impl Inner {
    /// Has a blob flagged as damaged; `unreadable` says that its bytes are there. What is given hears
    /// when that is done.
    pub(crate) fn flag_damaged(
        &self,
        place: &Place<'_>,
        name: &SealedName,
        meta: &BlobMeta,
        cause: &str,
        unreadable: bool,
    ) -> oneshot::Receiver<Result<(), StoreError>> {
        self.note_damage("a blob", cause);
        tracing::warn!(blob = ?meta.digest, shard = %place.family.shard, "quarantined");
        if meta.layout == Layout::Small && unreadable {
            // The database does not name its blob files. If all threads are busy, `verify` does.
            let dir = self.options.db_dir.clone();
            let key = name_key(prefix::DATA, name);
            self.movers.try_submit(move || {
                let files = blob_files::holding(&dir, &key);
                tracing::error!(?files, "the damaged blob lies here, if not in a table file");
            });
        }
        self.queue.submit(|reply| {
            Op::Quarantine(Quarantine {
                name: *name,
                digest: meta.digest,
                shard: place.family.shard,
                blob_id: meta.blob_id,
                reply,
            })
        })
    }
}
