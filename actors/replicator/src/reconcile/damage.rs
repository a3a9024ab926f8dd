//! Blobs that were found damaged here: fetched from others like what is wanting, although a record of them
//! is here. Storing the same bytes heals them.
//!
//! No peer said that it has such a blob, so none is blamed that has not. Whoever refused is asked again
//! after some rounds, and less and less often; what nobody gives is said to the operator, once for each
//! change.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytecave_core::{BlobCid, Digest};
use bytecave_messages::store::LIST_LIMIT;
use tokio::time::Instant;

use super::repair::Sought;
use super::shared::Shared;
use crate::candidates::candidates;

const TICK: Duration = Duration::from_secs(1);
/// Time between two looks at which blobs are damaged, while their number does not rise: at first, since whoever
/// could give them may not be met yet, and at last.
const LIST_SOON: Duration = Duration::from_secs(5);
const LIST_EVERY: Duration = Duration::from_mins(5);
/// Names that are logged of those that nobody gives.
const NAMED: usize = 3;

/// Which blobs are damaged, as far as is known.
#[derive(Debug, Default)]
pub(super) struct Damage(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// Waiting to be fetched, or being fetched.
    sought: BTreeSet<Digest>,
    /// Nobody gave these the last time.
    wanting: BTreeSet<Digest>,
    /// What was last said of that.
    said: BTreeSet<Digest>,
}

impl Damage {
    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is whole, or gone.
    pub(super) fn mended(&self, digest: &Digest) {
        let mut known = self.lock();
        known.sought.remove(digest);
        known.wanting.remove(digest);
    }

    /// Nobody gives it.
    pub(super) fn wanting(&self, digest: &Digest) {
        let mut known = self.lock();
        known.sought.remove(digest);
        known.wanting.insert(*digest);
    }

    /// It is not being fetched any more, whatever came of it.
    pub(super) fn let_go(&self, digest: &Digest) {
        self.lock().sought.remove(digest);
    }
}

/// Looks for what is damaged until it is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let (mut before, mut listed_at, mut wait) = (0, None, LIST_SOON);
    loop {
        let damaged = shared.parts.facts.get().map_or(0, |it| it.quarantined);
        let due = listed_at.is_none_or(|at: Instant| at.elapsed() >= wait);
        if damaged > before || damaged > 0 && due {
            if seek(&shared).await {
                wait = if damaged > before {
                    LIST_SOON
                } else {
                    (2 * wait).min(LIST_EVERY)
                };
                listed_at = Some(Instant::now());
                before = damaged;
            }
        } else if damaged == 0 {
            (before, wait) = (0, LIST_SOON);
            *shared.damage.lock() = Known::default();
        }
        say(&shared.damage);
        tokio::time::sleep(TICK).await;
    }
}

/// Has what is damaged fetched from whoever may have it; whether that could be done.
async fn seek(shared: &Shared) -> bool {
    let (holders, facts) = (&shared.parts.holders, shared.parts.facts.get());
    let (Some(network), Some(placement), Some(facts)) =
        (holders.network(), holders.placement(), facts)
    else {
        return false;
    };
    let damaged = match shared.parts.store.damaged(LIST_LIMIT).await {
        Ok(damaged) => damaged,
        Err(error) => {
            tracing::debug!(%error, "the store does not say what is damaged");
            return false;
        }
    };
    let all: BTreeSet<_> = damaged.iter().map(BlobCid::digest).collect();
    {
        let mut known = shared.damage.lock();
        known.wanting.retain(|digest| all.contains(digest));
        known.sought.retain(|digest| all.contains(digest));
    }
    for cid in damaged {
        let digest = cid.digest();
        // What is of others' shards cannot be stored here once more.
        let is_ours = facts.foreign_shard(&cid).is_none();
        if !is_ours || !shared.damage.lock().sought.insert(digest) {
            continue;
        }
        let conduct = &shared.parts.conduct;
        let peers = candidates(&network, Some(&facts), Some(&placement), conduct, &cid);
        let shard = facts.shard(&cid);
        match shared.repairs.seek(&shared.tallies, shard, digest, &peers) {
            Sought::Will => {}
            Sought::NotNow => shared.damage.let_go(&digest),
            Sought::Nobody => shared.damage.wanting(&digest),
        }
    }
    true
}

/// Says which blobs nobody gives, when the last attempt is over and they are others than before.
fn say(damage: &Damage) {
    let mut known = damage.lock();
    let Known {
        sought,
        wanting,
        said,
    } = &mut *known;
    if !sought.is_empty() || wanting == said {
        return;
    }
    said.clone_from(wanting);
    let cids = wanting.iter().take(NAMED);
    let cids: Vec<_> = cids
        .map(|digest| BlobCid::from_digest(*digest).to_string())
        .collect();
    if cids.is_empty() {
        tracing::info!("no blob is damaged here any more that no other node gives");
    } else {
        tracing::warn!(
            blobs = wanting.len(),
            cids = cids.join(" "),
            "damaged blobs are given by no other node: store the same bytes again, or delete them; \
             other nodes go on being asked"
        );
    }
}
