//! Families of shards that are not ours any more go by themselves once they are empty: when every copy in
//! them was retired and is gone, and every deletion is forgotten.

use std::collections::HashSet;

use bytecave_core::Fingerprint;
use rocksdb::{DB, IteratorMode};

use super::layout::{COUNTERS_KEY, prefix};
use super::record::Counters;
use super::rocks::range_read_options;
use super::state::Family;

/// Families that one start drops: each costs about a tenth of a second when there are many.
const DROPPED_AT_ONCE: usize = 16;

/// Drops families that are not ours and have become empty, some of them if there are many. Those in
/// `under_way` wait for their files to be freed. Each is gone or there, whatever happens: the outbox,
/// which nobody reads any more, is all that goes with it.
pub(crate) fn drop_families(
    db: &DB,
    families: &mut [Option<Family>],
    counters: &mut [Counters],
    under_way: &HashSet<&str>,
) {
    let mut dropped = 0;
    for (slot, counters) in families.iter_mut().zip(counters) {
        let Some(family) = slot else { continue };
        if dropped == DROPPED_AT_ONCE {
            return;
        }
        if family.owned
            || under_way.contains(family.name.as_str())
            || !counts_nothing(counters)
            || !has_become_empty(db, &family.name)
        {
            continue;
        }
        if let Err(error) = db.drop_cf(&family.name) {
            tracing::warn!(shard = %family.shard, %error, "an empty family is left to the next start");
            continue;
        }
        tracing::info!(shard = %family.shard, "nothing was left of a shard that is not ours");
        dropped += 1;
        *counters = Counters::default();
        *slot = None;
    }
}

/// Deletions and blocks count in the fingerprint.
fn counts_nothing(counters: &Counters) -> bool {
    let nothing = Counters {
        dead_bytes: counters.dead_bytes,
        next_sequence: counters.next_sequence,
        outbox_cursor: counters.outbox_cursor,
        fingerprint: Fingerprint::EMPTY,
        ..Counters::default()
    };
    *counters == nothing
}

/// Whether something was here, and nothing of a blob is left. One that was never written to costs nothing.
fn has_become_empty(db: &DB, family: &str) -> bool {
    let Some(handle) = db.cf_handle(family) else {
        return false;
    };
    if !matches!(db.get_pinned_cf(&handle, COUNTERS_KEY), Ok(Some(_))) {
        return false;
    }
    // Chunks, data and metadata; what cannot be read is left as it is.
    let options = range_read_options(vec![prefix::CHUNK], vec![prefix::META + 1]);
    let mut rows = db.iterator_cf_opt(&handle, options, IteratorMode::Start);
    rows.next().is_none()
}
