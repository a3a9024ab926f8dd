//! Blobs of others' shards that were fetched for a part of them, kept for a short while: whoever wants
//! one part, as a video player does, soon wants the next.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytecave_core::BlobCid;
use bytecave_messages::store::TransitHold;
use tokio::time::{Instant, sleep_until};

/// How long a blob is kept after it was last read. Too short: a player that pauses has all of it
/// fetched again. Too long: the quota is used for what nobody reads.
const KEPT: Duration = Duration::from_mins(1);
/// Most blobs kept; the one that was read longest ago makes room.
const KEPT_AT_MOST: usize = 4;

/// A blob in transit.
#[derive(Debug, Clone)]
pub(super) struct Transit {
    pub(super) hold: TransitHold,
    pub(super) content_type: Option<String>,
}

/// Blobs in transit. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Transits(Arc<Mutex<Vec<Held>>>);

#[derive(Debug)]
struct Held {
    cid: BlobCid,
    transit: Transit,
    read: Instant,
}

impl Transits {
    /// A blob that is kept; it is read now.
    pub(super) fn read(&self, cid: &BlobCid) -> Option<Transit> {
        let mut all = lock(&self.0);
        let held = all.iter_mut().find(|held| held.cid == *cid)?;
        held.read = Instant::now();
        Some(held.transit.clone())
    }

    /// Keeps a blob for a while.
    pub(super) fn keep(&self, cid: BlobCid, transit: Transit) {
        let mut all = lock(&self.0);
        all.retain(|held| held.cid != cid);
        if all.len() >= KEPT_AT_MOST {
            let ages = all.iter().enumerate();
            if let Some((oldest, _)) = ages.min_by_key(|(_, held)| held.read) {
                all.swap_remove(oldest);
            }
        }
        let read = Instant::now();
        all.push(Held { cid, transit, read });
        tokio::spawn(forget(Arc::downgrade(&self.0), cid));
    }
}

/// Lets go of a blob when nobody has read it for a while.
async fn forget(all: Weak<Mutex<Vec<Held>>>, cid: BlobCid) {
    while let Some(all) = all.upgrade() {
        let until = {
            let mut all = lock(&all);
            let Some(held) = all.iter().find(|held| held.cid == cid) else {
                return;
            };
            let until = held.read + KEPT;
            if until <= Instant::now() {
                all.retain(|held| held.cid != cid);
                return;
            }
            until
        };
        drop(all);
        sleep_until(until).await;
    }
}

fn lock(all: &Mutex<Vec<Held>>) -> MutexGuard<'_, Vec<Held>> {
    all.lock().unwrap_or_else(PoisonError::into_inner)
}
