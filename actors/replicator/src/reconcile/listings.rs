//! Lists of digests by shard, made one at a time and kept for a moment, and how much of such work a
//! peer may cause: listing reads and opens the metadata of every blob of a shard.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytecave_core::{PeerId, ShardId};
use bytecave_messages::budget::Share;
use bytecave_messages::ports::StorePort;
use bytecave_messages::store::StoreError;
use bytecave_messages::sync::ListedDigest;
use tokio::time::Instant;

use super::pace::Pace;

/// How old a list is at most that a peer is answered from. Older: peers hear of what changed since.
pub(super) const KEPT: Duration = Duration::from_secs(30);
/// Lists that are kept, and their bytes: a longer one is made anew for each question.
const LISTS_MAX: usize = 8;
const BYTES_MAX: usize = 64 << 20;

/// The lists.
#[derive(Debug)]
pub(super) struct Listings {
    store: StorePort,
    kept: Mutex<Vec<Kept>>,
    /// Held while one is made.
    making: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct Kept {
    shard: ShardId,
    made: Instant,
    list: Arc<[ListedDigest]>,
}

impl Listings {
    pub(super) fn new(store: StorePort) -> Self {
        let (kept, making) = Default::default();
        Self {
            store,
            kept,
            making,
        }
    }

    /// The list of a shard, at most so old. A new one is made if `allowed` says so (`None` if it does
    /// not), and kept if `keep` says so.
    pub(super) async fn get(
        &self,
        share: Share,
        shard: ShardId,
        age: Duration,
        keep: bool,
        allowed: impl FnOnce() -> bool + Send,
    ) -> Result<Option<Arc<[ListedDigest]>>, StoreError> {
        if let Some(list) = self.find(shard, age) {
            return Ok(Some(list));
        }
        let _alone = self.making.lock().await;
        // Whoever was before us may have made it.
        if let Some(list) = self.find(shard, age) {
            return Ok(Some(list));
        }
        if !allowed() {
            return Ok(None);
        }
        let list = self.store.list_digests(share, shard).await?;
        if keep {
            self.keep(shard, &list);
        }
        Ok(Some(list))
    }

    /// Frees what is too old to be of use.
    pub(super) fn forget_old(&self) {
        self.lock().retain(|kept| kept.made.elapsed() <= KEPT);
    }

    fn find(&self, shard: ShardId, age: Duration) -> Option<Arc<[ListedDigest]>> {
        let kept = self.lock();
        let mut of_shard = kept.iter().filter(|kept| kept.shard == shard);
        of_shard
            .find(|kept| kept.made.elapsed() <= age)
            .map(|kept| Arc::clone(&kept.list))
    }

    fn keep(&self, shard: ShardId, list: &Arc<[ListedDigest]>) {
        let bytes = |list: &Arc<[ListedDigest]>| size_of_val(&**list);
        if bytes(list) > BYTES_MAX {
            return;
        }
        let mut kept = self.lock();
        kept.retain(|kept| kept.shard != shard);
        // The oldest stand first.
        while kept.len() >= LISTS_MAX
            || kept.iter().map(|kept| bytes(&kept.list)).sum::<usize>() + bytes(list) > BYTES_MAX
        {
            kept.remove(0);
        }
        let (made, list) = (Instant::now(), Arc::clone(list));
        kept.push(Kept { shard, made, list });
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Digests per second that one peer, and all of them, may have listed or looked up: some hundredths of
/// a processor for the one, and a fifth for all.
const PEER_PER_SECOND: u64 = 10_000;
const ALL_PER_SECOND: u64 = 50_000;
/// What may be listed at once: the longest list, or a daily comparison of a million blobs.
const BURST: u64 = 4 << 20;
/// What a question costs at least, in digests.
const LEAST: u64 = 64;
/// Peers whose rate is remembered. When all of them asked of late, others are told to come later.
const PEERS_MAX: usize = 1024;

/// How many digests peers may have listed or looked up.
#[derive(Debug)]
pub(super) struct Rates {
    peers: Mutex<HashMap<PeerId, Pace>>,
    all: Pace,
}

impl Rates {
    pub(super) fn new() -> Self {
        Self {
            peers: Mutex::default(),
            all: pace(ALL_PER_SECOND),
        }
    }

    /// Whether so many may be listed or looked up for `peer` now; if so, they are counted.
    pub(super) fn allow(&self, peer: &PeerId, digests: u64) -> bool {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        if peers.len() >= PEERS_MAX && !peers.contains_key(peer) {
            peers.retain(|_, pace| !pace.is_idle());
            if peers.len() >= PEERS_MAX {
                return false;
            }
        }
        let own = peers.entry(*peer).or_insert_with(|| pace(PEER_PER_SECOND));
        let cost = digests.max(LEAST);
        // Who is over their own share takes nothing of the common one, and is not charged for what that lacks.
        own.may_spend(cost) && self.all.try_spend(cost) && own.try_spend(cost)
    }
}

fn pace(per_second: u64) -> Pace {
    Pace::new(per_second, Duration::from_secs(BURST / per_second))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fakes::{FakeStore, content_of_shard, count, peer};

    async fn get(listings: &Listings, shard: u64, age: Duration) -> Arc<[ListedDigest]> {
        let shard = count().shard(shard).unwrap();
        let list = listings.get(Share::Peer, shard, age, true, || true).await;
        list.unwrap().unwrap()
    }

    #[actix::test]
    async fn a_list_is_made_once_and_not_for_ever() {
        tokio::time::pause();
        let store = FakeStore::start();
        let listings = Listings::new(store.port());
        store.seed(&content_of_shard(3), None);
        let asked = futures_util::future::join(get(&listings, 3, KEPT), get(&listings, 3, KEPT));
        let (one, other) = asked.await;
        assert_eq!((one.len(), other.len()), (1, 1));
        assert_eq!(store.asked(), ["digests 3"]);
        tokio::time::advance(KEPT + Duration::from_secs(1)).await;
        get(&listings, 3, KEPT).await;
        assert_eq!(store.asked().len(), 2);
        get(&listings, 3, Duration::ZERO).await;
        assert_eq!(store.asked().len(), 2, "it was made in this moment");
        let denied = listings.get(Share::Peer, count().shard(4).unwrap(), KEPT, true, || false);
        assert_eq!(denied.await, Ok(None));
    }

    #[actix::test]
    async fn not_more_lists_are_kept_than_allowed() {
        tokio::time::pause();
        let store = FakeStore::start();
        let listings = Listings::new(store.port());
        for shard in 0..12 {
            get(&listings, shard, KEPT).await;
        }
        assert_eq!(listings.lock().len(), LISTS_MAX);
        tokio::time::advance(KEPT + Duration::from_secs(1)).await;
        listings.forget_old();
        assert_eq!(listings.lock().len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_cannot_have_lists_made_over_and_over() {
        let rates = Rates::new();
        let granted = (0..1000).filter(|_| rates.allow(&peer(1), 100_000)).count();
        assert_eq!(granted, 41);
        assert!(rates.allow(&peer(2), 1000), "others may still");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(rates.allow(&peer(1), 100_000));
    }
}
