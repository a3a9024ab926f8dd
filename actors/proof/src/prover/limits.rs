//! How many challenges are answered in a time: token buckets, kept as the moment at which each is full again
//! (GCRA). One for all, of which peers leave half to clients, one for clients, who leave a quarter to peers, and
//! one for each peer. A challenge for more leaves than usual counts as several: it has that much more read.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytecave_core::PeerId;
use bytecave_core::proof::ChallengeCount;
use tokio::time::Instant;

/// What a full bucket holds, in the time in which that much comes.
const BURST: Duration = Duration::from_secs(1);
/// What is left in the bucket of all when peers are sent away: they never use up what clients need.
const LEFT_TO_CLIENTS: Duration = Duration::from_millis(500);
/// Leaves that count as one challenge.
const LEAVES_PER_CHALLENGE: u8 = 4;
/// Peers that are counted each for itself, about 400 KiB. Beyond that, while all of them are at work, further ones
/// share one bucket.
const PEERS_MAX: usize = 4096;
/// Time between two sweeps of a full table.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The limits.
#[derive(Debug)]
pub(crate) struct Limits {
    /// Time that one challenge costs, of all and of one peer.
    interval: Duration,
    peer_interval: Duration,
    buckets: Mutex<Buckets>,
}

/// When each bucket is full again.
#[derive(Debug, Default)]
struct Buckets {
    all: Option<Instant>,
    clients: Option<Instant>,
    peers: HashMap<PeerId, Instant>,
    others: Option<Instant>,
    swept: Option<Instant>,
}

impl Limits {
    /// So many in a second of all, and of one peer.
    pub(crate) fn new(per_second: u32, per_second_per_peer: u32) -> Self {
        let interval = |per_second: u32| Duration::from_secs(1) / per_second.max(1);
        Self {
            interval: interval(per_second),
            peer_interval: interval(per_second_per_peer),
            buckets: Mutex::default(),
        }
    }

    /// Counts a challenge of a client; an error says how long to wait.
    pub(crate) fn admit_client(&self, count: ChallengeCount, now: Instant) -> Result<(), Duration> {
        let mut buckets = self.lock();
        let costs = self.interval * challenges(count);
        let clients = take(buckets.clients, now, costs + costs / 3, BURST);
        let (clients, all) = both(clients, take(buckets.all, now, costs, BURST))?;
        buckets.clients = Some(clients);
        buckets.all = Some(all);
        Ok(())
    }

    /// Counts a challenge of `peer`; an error says how long to wait.
    pub(crate) fn admit_peer(
        &self,
        peer: &PeerId,
        count: ChallengeCount,
        now: Instant,
    ) -> Result<(), Duration> {
        let mut buckets = self.lock();
        let known = buckets.has_room(peer, now);
        let before = if known {
            buckets.peers.get(peer).copied()
        } else {
            buckets.others
        };
        let many = challenges(count);
        let own = take(before, now, self.peer_interval * many, BURST);
        let most = BURST.saturating_sub(LEFT_TO_CLIENTS);
        let (own, all) = both(own, take(buckets.all, now, self.interval * many, most))?;
        buckets.all = Some(all);
        if known {
            buckets.peers.insert(*peer, own);
        } else {
            buckets.others = Some(own);
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Buckets> {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Buckets {
    /// Whether this peer has a bucket of its own, or can have one.
    fn has_room(&mut self, peer: &PeerId, now: Instant) -> bool {
        let known = self.peers.contains_key(peer);
        let due = self.swept.is_none_or(|at| now >= at + SWEEP_EVERY);
        if !known && self.peers.len() >= PEERS_MAX && due {
            self.swept = Some(now);
            self.peers.retain(|_, full_at| *full_at > now);
        }
        known || self.peers.len() < PEERS_MAX
    }
}

/// What two buckets say together: the longer wait, if there is one.
fn both(
    one: Result<Instant, Duration>,
    other: Result<Instant, Duration>,
) -> Result<(Instant, Instant), Duration> {
    match (one, other) {
        (Ok(one), Ok(other)) => Ok((one, other)),
        (Err(one), Err(other)) => Err(one.max(other)),
        (Err(wait), Ok(_)) | (Ok(_), Err(wait)) => Err(wait),
    }
}

/// How many a challenge for so many leaves counts as.
fn challenges(count: ChallengeCount) -> u32 {
    count.get().div_ceil(LEAVES_PER_CHALLENGE).into()
}

/// When the bucket is full again after one more is taken; an error says how long to wait for it.
fn take(
    full_at: Option<Instant>,
    now: Instant,
    interval: Duration,
    burst: Duration,
) -> Result<Instant, Duration> {
    let next = full_at.map_or(now, |at| at.max(now)) + interval;
    // One may always be taken of a bucket that is full.
    let most = burst.max(interval);
    match next.saturating_duration_since(now).checked_sub(most) {
        None | Some(Duration::ZERO) => Ok(next),
        Some(wait) => Err(wait),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_core::PublicKey;

    use super::*;
    use crate::fakes::peer;

    fn usual() -> ChallengeCount {
        ChallengeCount::default()
    }

    fn admitted(many: u32, mut admit: impl FnMut() -> Result<(), Duration>) -> u32 {
        (0..many).map(|_| u32::from(admit().is_ok())).sum()
    }

    #[test]
    fn each_peer_has_its_own_and_the_wait_is_true() {
        let limits = Limits::new(1000, 20);
        let now = Instant::now();
        for number in 1..4 {
            let peer = peer(number);
            assert_eq!(admitted(100, || limits.admit_peer(&peer, usual(), now)), 20);
        }
        let wait = limits.admit_peer(&peer(1), usual(), now).unwrap_err();
        assert!(limits.admit_peer(&peer(1), usual(), now + wait).is_ok());
        assert!(limits.admit_peer(&peer(1), usual(), now + wait).is_err());
        let later = now + Duration::from_mins(1);
        assert_eq!(
            admitted(100, || limits.admit_peer(&peer(1), usual(), later)),
            20
        );
    }

    #[test]
    fn many_peers_leave_half_to_clients() {
        let limits = Limits::new(100, 20);
        let start = Instant::now();
        let (mut peers, mut clients) = (0, 0);
        for millis in 0..10_000 {
            let now = start + Duration::from_millis(millis);
            let number = u8::try_from(millis % 100).unwrap();
            peers += admitted(5, || limits.admit_peer(&peer(number), usual(), now));
            if millis >= 5000 && millis % 20 == 0 {
                clients += admitted(1, || limits.admit_client(usual(), now));
            }
        }
        assert_eq!(clients, 250, "all of them");
        assert!((700..=850).contains(&peers), "{peers}");
        let now = start + Duration::from_mins(1);
        assert_eq!(admitted(500, || limits.admit_client(usual(), now)), 75);
    }

    #[test]
    fn many_clients_leave_a_quarter_to_peers() {
        let limits = Limits::new(100, 100);
        let start = Instant::now();
        let (mut peers, mut clients) = (0, 0);
        for millis in 0..10_000 {
            let now = start + Duration::from_millis(millis);
            clients += admitted(5, || limits.admit_client(usual(), now));
            peers += admitted(5, || limits.admit_peer(&peer(1), usual(), now));
        }
        assert!((750..=850).contains(&clients), "{clients}");
        assert!((200..=300).contains(&peers), "{peers}");
    }

    #[test]
    fn what_reads_more_counts_for_more() {
        let limits = Limits::new(1000, 20);
        let now = Instant::now();
        let many = |number, leaves| {
            let count = ChallengeCount::new(leaves).unwrap();
            admitted(100, || limits.admit_peer(&peer(number), count, now))
        };
        assert_eq!(
            (many(1, 1), many(2, 4), many(3, 5), many(4, 32)),
            (20, 20, 10, 2)
        );
    }

    #[test]
    fn one_in_a_second_is_one_and_not_none() {
        let limits = Limits::new(1, 1);
        let now = Instant::now();
        assert_eq!(admitted(5, || limits.admit_peer(&peer(1), usual(), now)), 1);
        let later = now + Duration::from_secs(2);
        assert_eq!(admitted(5, || limits.admit_client(usual(), later)), 1);
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_idle() {
        let limits = Limits::new(1_000_000, 1);
        let stranger = |number: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&number.to_be_bytes());
            PublicKey::new(key).peer_id()
        };
        let now = Instant::now();
        for number in 0..20_000 {
            let _ = limits.admit_peer(&stranger(number), usual(), now);
        }
        assert_eq!(limits.lock().peers.len(), PEERS_MAX);
        assert!(
            limits.admit_peer(&stranger(90_000), usual(), now).is_err(),
            "shared"
        );
        let later = now + Duration::from_secs(10);
        for number in 30_000..30_010 {
            assert!(limits.admit_peer(&stranger(number), usual(), later).is_ok());
        }
        assert_eq!(limits.lock().peers.len(), 10);
    }
}
