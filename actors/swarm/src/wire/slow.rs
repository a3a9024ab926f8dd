//! Transfers that go on slowly, and how many of them a peer may have.
//!
//! The pace of a stream only has whoever stalls cut off: at its minimum a blob of a gigabyte takes hours,
//! in which it holds a permit here and one of the store. A peer with a slow line may do that, but not so
//! often that a handful of peers holds all there are.

use std::collections::HashMap;
use std::future::pending;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytecave_core::PeerId;
use tokio::time::sleep;

/// A transfer that has taken longer than it would at this pace, after a grace, is slow: four times the
/// minimum. Too high and peers with a slow line cannot copy.
const SLOW_BYTES_PER_SECOND: u64 = 256 * 1024;
/// Slow transfers of one peer, in and out together. As many as a node of this program has at once to all
/// its peers; too high and few peers hold all permits for hours.
pub(crate) const SLOW_TRANSFERS_PER_PEER: usize = 8;

/// The slow transfers of each peer that has any.
#[derive(Debug, Default)]
pub(crate) struct SlowTransfers(Mutex<HashMap<PeerId, usize>>);

/// A place among the slow transfers of a peer, given back by drop.
#[derive(Debug)]
struct Place {
    all: Arc<SlowTransfers>,
    peer: PeerId,
}

impl SlowTransfers {
    /// Ends when a transfer of `bytes` that begins now has become slow and the peer has no place for
    /// another; never for one that has a place, which it keeps until this is dropped.
    pub(crate) async fn one_too_many(self: &Arc<Self>, peer: PeerId, bytes: u64, grace: Duration) {
        sleep(grace + Duration::from_secs(bytes / SLOW_BYTES_PER_SECOND)).await;
        if let Some(_place) = self.take(peer) {
            pending::<()>().await;
        }
    }

    fn take(self: &Arc<Self>, peer: PeerId) -> Option<Place> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(peer).or_default();
        if *count >= SLOW_TRANSFERS_PER_PEER {
            return None;
        }
        *count += 1;
        let all = Arc::clone(self);
        Some(Place { all, peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let counts = self.all.0.lock();
        let mut counts = counts.unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.peer) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytecave_core::PublicKey;
    use futures_util::future::select_all;
    use tokio::time::{Instant, timeout};

    use super::*;

    const GRACE: Duration = Duration::from_secs(20);
    const MIB: u64 = 1 << 20;

    fn peer(number: u8) -> PeerId {
        PublicKey::new([number; 32]).peer_id()
    }

    #[tokio::test(start_paused = true)]
    async fn one_peer_has_so_many_and_no_more() {
        let slow = Arc::new(SlowTransfers::default());
        let start = |who, bytes| Box::pin(slow.one_too_many(peer(who), bytes, GRACE));
        let begun = Instant::now();
        let mut running: Vec<_> = (0..SLOW_TRANSFERS_PER_PEER)
            .map(|_| start(1, MIB))
            .collect();
        // Larger ones have more time, and another peer has places of its own.
        running.extend([start(1, 10 * MIB), start(2, 20 * MIB)]);
        let ((), ended, others) = select_all(running).await;
        assert_eq!(ended, SLOW_TRANSFERS_PER_PEER, "the one that has none");
        assert_eq!(begun.elapsed(), GRACE + Duration::from_secs(40));
        let none = timeout(Duration::from_hours(10), select_all(others)).await;
        assert!(none.is_err(), "the others go on as long as they like");
        assert!(slow.0.lock().unwrap().is_empty(), "all places are back");
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_free_for_the_next() {
        let slow = Arc::new(SlowTransfers::default());
        let hour = Duration::from_hours(1);
        for _ in 0..3 * SLOW_TRANSFERS_PER_PEER {
            let transfer = slow.one_too_many(peer(1), 0, GRACE);
            assert!(timeout(hour, transfer).await.is_err(), "it may go on");
        }
    }
}
