//! Giving back the space of deleted small blobs.
//!
//! Their bytes lie in blob files, which the database rewrites only when told to. A job switches
//! that on for one family, compacts the family's keys from `d` upward (never chunks), and switches
//! it off again: left on, it moves live blobs all the time.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytecave_core::ShardId;
use bytecave_messages::store::{GcReport, StoreError};

use super::Engine;
use super::commit::Op;
use super::commit::upkeep::Collected;
use super::failpoint::failpoint;
use super::layout::prefix;
use super::rocks::full_compaction;
use super::state::{Family, Inner, failed, stopped};
use super::upkeep::{Claimed, Job};

/// Fewer dead bytes than this are not worth a compaction of their own accord.
const LEAST_DEAD_BYTES: u64 = 4 << 20;

impl Engine {
    /// Gives the space of deleted small blobs back now, one family after the other.
    pub async fn collect_garbage(&self) -> Result<GcReport, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .movers
            .run(move || {
                inner.upkeep.claim_blocking(Job::Collect);
                let _claimed = Claimed(Arc::clone(&inner), Job::Collect);
                collect_all(&inner, |_, dead| dead > 0)
            })
            .await
            .map_err(stopped)?
    }
}

/// Has families collected of which too much is dead; all that have any, when space is needed.
pub(crate) fn collect_where_due(inner: &Arc<Inner>, all: bool) {
    let ratio = inner.options.gc_dead_ratio;
    let due = move |live: u64, dead: u64| {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a ratio need not be exact to the byte"
        )]
        let share = dead as f64 / (live + dead).max(1) as f64;
        dead > 0 && (all || dead >= LEAST_DEAD_BYTES && share > ratio)
    };
    let any = inner.all_families().any(|family| {
        inner
            .dead_share(family)
            .is_some_and(|(live, dead)| due(live, dead))
    });
    if !any || !inner.upkeep.claim(Job::Collect) {
        return;
    }
    let claimed = Claimed(Arc::clone(inner), Job::Collect);
    // Refused, the job is dropped, and the claim with it: the next round tries again.
    inner.movers.try_submit(move || {
        if let Err(error) = collect_all(&claimed.0, due) {
            tracing::warn!(%error, "collecting deleted blobs failed");
        }
    });
}

fn collect_all(inner: &Inner, due: impl Fn(u64, u64) -> bool) -> Result<GcReport, StoreError> {
    let mut report = GcReport {
        families: 0,
        dead_bytes_before: inner.dead_bytes(),
        dead_bytes_after: 0,
    };
    for family in inner.all_families() {
        if inner.upkeep.is_closed() {
            return Err(StoreError::Unavailable);
        }
        let Some((live, dead)) = inner.dead_share(family) else {
            continue;
        };
        if due(live, dead) {
            collect(inner, family, dead)?;
            report.families += 1;
        }
    }
    report.dead_bytes_after = inner.dead_bytes();
    Ok(report)
}

/// Collects one family that had `dead` dead bytes when it began.
fn collect(inner: &Inner, family: &Family, dead: u64) -> Result<(), StoreError> {
    let handle = inner
        .db
        .cf_handle(&family.name)
        .ok_or(StoreError::Unavailable)?;
    let switch = |on: &str| {
        inner
            .db
            .set_options_cf(
                &handle,
                &[
                    ("enable_blob_garbage_collection", on),
                    ("blob_garbage_collection_age_cutoff", "1.0"),
                ],
            )
            .map_err(|error| failed("switching blob collection", error))
    };
    let errors = inner.background_errors();
    switch("true")?;
    inner.db.compact_range_cf_opt(
        &handle,
        Some([prefix::DATA]),
        None::<[u8; 1]>,
        &full_compaction(),
    );
    failpoint!("gc::before-off");
    switch("false")?;
    // The binding tells nothing of how a compaction went.
    if inner.background_errors() > errors || inner.upkeep.is_closed() {
        return Err(failed("compacting", "see the database's log"));
    }
    inner.stats.collected.fetch_add(1, Ordering::Relaxed);
    tracing::debug!(family = family.name, dead, "collected");
    inner.book_collected(family.shard, dead)
}

impl Inner {
    fn book_collected(&self, shard: ShardId, bytes: u64) -> Result<(), StoreError> {
        let answer = self.queue.submit(|reply| {
            Op::Collected(Collected {
                shard,
                bytes,
                reply,
            })
        });
        answer
            .blocking_recv()
            .map_err(|_| StoreError::Unavailable)?
    }

    /// Live and dead bytes of a family's small blobs; `None` where it must not be collected: with a
    /// damaged blob in it, which no compaction could move.
    fn dead_share(&self, family: &Family) -> Option<(u64, u64)> {
        let (live, dead) = {
            let counters = self.lock_counters();
            let counters = counters.get(usize::from(family.shard.get()))?;
            if counters.quarantined > 0 || counters.dead_bytes == 0 {
                return None;
            }
            (counters.sealed_bytes, counters.dead_bytes)
        };
        Some((live, dead.saturating_sub(self.dead_in_files(&family.name))))
    }

    fn dead_bytes(&self) -> u64 {
        self.lock_counters()
            .iter()
            .map(|counters| counters.dead_bytes)
            .sum()
    }
}
