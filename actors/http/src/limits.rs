//! Two bounds: how often one client may ask, and how many bytes of uploads memory may hold.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Parts of the table of clients, each behind its own lock.
const PARTS: usize = 16;
/// Clients remembered in each part: 16 × 4096 clients in all, about 3 MiB. When a part is full of
/// clients that are still being limited, further ones share one allowance.
const CLIENTS_PER_PART: usize = 4096;
/// How often a full part is swept for clients that may be forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A client, as far as its rate is concerned: an IPv4 address, or the /64 of an IPv6 address, which
/// is what one household or server commonly has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Client {
    V4([u8; 4]),
    V6Net([u8; 8]),
    /// All for whom the table had no room.
    Others,
}

impl From<IpAddr> for Client {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6Net([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// Token buckets by client, kept as the moment at which each would be full again (GCRA).
pub(crate) struct RateLimiter {
    /// Time that one request costs.
    interval: Duration,
    /// Time that a full bucket holds.
    burst: Duration,
    origin: Instant,
    hasher: RandomState,
    parts: [Mutex<Part>; PARTS],
}

struct Part {
    /// When each client's bucket is full again, since `origin`.
    full_at: HashMap<Client, Duration>,
    swept: Duration,
}

impl RateLimiter {
    /// `per_second` requests on average, `burst` at once; `None` when nothing is limited.
    pub(crate) fn new(per_second: u32, burst: u32) -> Option<Self> {
        if per_second == 0 {
            return None;
        }
        let interval = Duration::from_secs(1) / per_second;
        Some(Self {
            interval,
            burst: interval.saturating_mul(burst.max(1)),
            origin: Instant::now(),
            hasher: RandomState::new(),
            parts: std::array::from_fn(|_| {
                Mutex::new(Part {
                    full_at: HashMap::new(),
                    swept: Duration::ZERO,
                })
            }),
        })
    }

    /// Counts one request of `address` at `now`; an error says how long to wait.
    pub(crate) fn admit(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let client = Client::from(address);
        let now = now.saturating_duration_since(self.origin);
        // The remainder is below PARTS.
        let at = usize::try_from(self.hasher.hash_one(client) % PARTS as u64).unwrap_or(0);
        let Some(part) = self.parts.get(at) else {
            return Ok(());
        };
        // Counters only: a panic elsewhere leaves nothing half done in them.
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = part.entry(client, now);
        let next = (*full_at).max(now) + self.interval;
        match next.saturating_sub(now).checked_sub(self.burst) {
            None | Some(Duration::ZERO) => {
                *full_at = next;
                Ok(())
            }
            Some(wait) => Err(wait),
        }
    }
}

impl Part {
    fn entry(&mut self, client: Client, now: Duration) -> &mut Duration {
        let known = self.full_at.contains_key(&client);
        if !known && self.full_at.len() >= CLIENTS_PER_PART && now >= self.swept + SWEEP_EVERY {
            self.swept = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let room = known || self.full_at.len() < CLIENTS_PER_PART;
        let key = if room { client } else { Client::Others };
        match self.full_at.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(now),
        }
    }
}

/// Bytes of upload bodies that may be in memory at once. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct UploadMemory {
    free: Arc<AtomicU64>,
    total: u64,
}

/// A share of [`UploadMemory`], given back by drop.
#[derive(Debug)]
pub(crate) struct UploadShare {
    memory: UploadMemory,
    bytes: u64,
}

impl UploadMemory {
    pub(crate) fn new(total_bytes: u64) -> Self {
        Self {
            free: Arc::new(AtomicU64::new(total_bytes)),
            total: total_bytes,
        }
    }

    /// Takes `bytes`, or nothing when so many are not free; never waits.
    pub(crate) fn try_take(&self, bytes: u64) -> Option<UploadShare> {
        self.free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| {
                free.checked_sub(bytes)
            })
            .ok()?;
        Some(UploadShare {
            memory: self.clone(),
            bytes,
        })
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        self.total
    }

    pub(crate) fn used_bytes(&self) -> u64 {
        self.total - self.free.load(Ordering::Acquire)
    }
}

impl Drop for UploadShare {
    fn drop(&mut self) {
        self.memory.free.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_the_wait_is_true() {
        let limiter = RateLimiter::new(10, 5).unwrap();
        let start = Instant::now();
        for _ in 0..5 {
            assert_eq!(limiter.admit(ONE, start), Ok(()));
        }
        let wait = limiter.admit(ONE, start).unwrap_err();
        assert!(wait <= Duration::from_millis(100), "{wait:?}");
        assert_eq!(limiter.admit(ONE, start + wait), Ok(()));
        assert!(limiter.admit(ONE, start + wait).is_err());
        let later = start + Duration::from_mins(1);
        for _ in 0..5 {
            assert_eq!(limiter.admit(ONE, later), Ok(()), "no more than the burst");
        }
        assert!(limiter.admit(ONE, later).is_err());
    }

    #[test]
    fn addresses_of_one_64_share_and_others_do_not() {
        let limiter = RateLimiter::new(1, 1).unwrap();
        let now = Instant::now();
        let address = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(limiter.admit(address("2001:db8::1"), now).is_ok());
        assert!(limiter.admit(address("2001:db8::ffff:1"), now).is_err());
        assert!(limiter.admit(address("2001:db8:0:1::1"), now).is_ok());
        assert!(limiter.admit(address("192.0.2.1"), now).is_ok());
        assert!(limiter.admit(address("::ffff:192.0.2.1"), now).is_err());
    }

    #[test]
    fn the_table_is_bounded_and_forgets_the_idle() {
        let limiter = RateLimiter::new(1, 2).unwrap();
        let now = Instant::now() + Duration::from_secs(10);
        for n in 0..200_000_u32 {
            let _ = limiter.admit(IpAddr::V4(n.into()), now);
        }
        let held = |limiter: &RateLimiter| -> usize {
            limiter
                .parts
                .iter()
                .map(|part| part.lock().unwrap().full_at.len())
                .sum()
        };
        assert!(held(&limiter) <= PARTS * (CLIENTS_PER_PART + 1));
        let later = now + Duration::from_secs(100);
        for n in 300_000..300_200_u32 {
            assert!(limiter.admit(IpAddr::V4(n.into()), later).is_ok());
        }
        assert!(held(&limiter) < 1000, "the idle were forgotten");
    }

    #[test]
    fn shares_of_memory_come_back() {
        let memory = UploadMemory::new(10);
        let first = memory.try_take(6).unwrap();
        assert!(memory.try_take(5).is_none());
        assert_eq!(memory.used_bytes(), 6);
        drop(first);
        assert!(memory.try_take(10).is_some());
    }
}
