//! How often one host may ask: a token bucket for each, bounded in number.
//!
//! Whoever listens to strangers counts them so, be it their requests or their connections.

use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Parts of the table of hosts, each behind its own lock.
const PARTS: usize = 16;
/// Hosts remembered in each part: 16 × 4096 of them in all, about 3 MiB. When a part is full of
/// hosts that are still being limited, further ones share one allowance.
const HOSTS_PER_PART: usize = 4096;
/// How often a full part is swept for hosts that may be forgotten.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// A host, as far as its rate is concerned: an IPv4 address, or the /64 of an IPv6 address, which
/// is what one household or server commonly has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Host {
    V4([u8; 4]),
    V6Net([u8; 8]),
    /// All for whom the table had no room.
    Others,
}

impl From<IpAddr> for Host {
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

/// Token buckets by host, kept as the moment at which each would be full again (GCRA).
pub struct HostRates {
    /// Time that one request costs.
    interval: Duration,
    /// Time that a full bucket holds.
    burst: Duration,
    origin: Instant,
    hasher: RandomState,
    parts: [Mutex<Part>; PARTS],
}

struct Part {
    /// When each host's bucket is full again, since `origin`.
    full_at: HashMap<Host, Duration>,
    swept: Duration,
}

impl HostRates {
    /// `per_second` requests on average, `burst` at once; `None` when nothing is limited.
    pub fn new(per_second: u32, burst: u32) -> Option<Self> {
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
    pub fn admit(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let host = Host::from(address);
        let now = now.saturating_duration_since(self.origin);
        // The remainder is below PARTS.
        let at = usize::try_from(self.hasher.hash_one(host) % PARTS as u64).unwrap_or(0);
        let Some(part) = self.parts.get(at) else {
            return Ok(());
        };
        // Counters only: a panic elsewhere leaves nothing half done in them.
        let mut part = part.lock().unwrap_or_else(PoisonError::into_inner);
        let full_at = part.entry(host, now);
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
    fn entry(&mut self, host: Host, now: Duration) -> &mut Duration {
        let known = self.full_at.contains_key(&host);
        if !known && self.full_at.len() >= HOSTS_PER_PART && now >= self.swept + SWEEP_EVERY {
            self.swept = now;
            self.full_at.retain(|_, full_at| *full_at > now);
        }
        let room = known || self.full_at.len() < HOSTS_PER_PART;
        let key = if room { host } else { Host::Others };
        match self.full_at.entry(key) {
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(entry) => entry.insert(now),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

    #[test]
    fn a_burst_passes_then_the_rate_holds_and_the_wait_is_true() {
        let limiter = HostRates::new(10, 5).unwrap();
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
        let limiter = HostRates::new(1, 1).unwrap();
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
        let limiter = HostRates::new(1, 2).unwrap();
        let now = Instant::now() + Duration::from_secs(10);
        for n in 0..200_000_u32 {
            let _ = limiter.admit(IpAddr::V4(n.into()), now);
        }
        let held = |limiter: &HostRates| -> usize {
            limiter
                .parts
                .iter()
                .map(|part| part.lock().unwrap().full_at.len())
                .sum()
        };
        assert!(held(&limiter) <= PARTS * (HOSTS_PER_PART + 1));
        let later = now + Duration::from_secs(100);
        for n in 300_000..300_200_u32 {
            assert!(limiter.admit(IpAddr::V4(n.into()), later).is_ok());
        }
        assert!(held(&limiter) < 1000, "the idle were forgotten");
    }
}
