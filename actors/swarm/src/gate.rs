//! How often one host may knock: a limit on new connections by remote IP, before any handshake.
//!
//! libp2p bounds how many connections are open or pending, not how fast they come; a host that
//! opens and drops connections costs a key exchange each time.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, Ipv6Addr};
use std::task::{Context, Poll};
use std::time::Instant;

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::addresses::ip_of;

/// New connections of one host in a second, on average. Too low: many nodes behind one NAT are
/// turned away when this node starts. Too high: one host can keep a core busy with handshakes.
const PER_SECOND: f64 = 10.0;
/// New connections of one host at once.
const BURST: f64 = 50.0;
/// Hosts that are counted one by one; what more there are share one account.
const HOSTS_MAX: usize = 4096;

/// A connection was turned away before its handshake.
#[derive(Debug)]
pub(crate) struct TooOften(IpAddr);

impl fmt::Display for TooOften {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} opens connections too often", self.0)
    }
}

impl std::error::Error for TooOften {}

/// A host's account of connections.
#[derive(Debug, Clone, Copy)]
struct Account {
    tokens: f64,
    filled: Instant,
}

impl Account {
    const fn full(now: Instant) -> Self {
        Self {
            tokens: BURST,
            filled: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let seconds = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + seconds * PER_SECOND).min(BURST);
        self.filled = now;
    }

    fn take(&mut self, now: Instant) -> bool {
        self.fill(now);
        let left = self.tokens >= 1.0;
        if left {
            self.tokens -= 1.0;
        }
        left
    }
}

/// The gate. Loopback and the hosts of configured peers go through as they like.
#[derive(Debug)]
pub(crate) struct Gate {
    hosts: HashMap<IpAddr, Account>,
    others: Account,
    exempt: HashSet<IpAddr>,
}

impl Gate {
    /// A gate that counts everyone but loopback and `exempt`.
    pub(crate) fn new(exempt: HashSet<IpAddr>) -> Self {
        Self {
            hosts: HashMap::new(),
            others: Account::full(Instant::now()),
            exempt,
        }
    }

    fn admits(&mut self, ip: IpAddr, now: Instant) -> bool {
        let ip = ip.to_canonical();
        if ip.is_loopback() || self.exempt.contains(&ip) {
            return true;
        }
        let host = match ip {
            IpAddr::V4(_) => ip,
            // A single customer has at least a /64 to choose addresses from.
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        };
        if !self.hosts.contains_key(&host) && self.hosts.len() >= HOSTS_MAX {
            // A full account is as good as none.
            self.hosts.retain(|_, account| {
                account.fill(now);
                account.tokens < BURST
            });
            if self.hosts.len() >= HOSTS_MAX {
                return self.others.take(now);
            }
        }
        self.hosts
            .entry(host)
            .or_insert_with(|| Account::full(now))
            .take(now)
    }
}

impl NetworkBehaviour for Gate {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<(), ConnectionDenied> {
        // A circuit has no IP of its own; the relay answers for it.
        match ip_of(remote) {
            Some(ip) if !self.admits(ip, Instant::now()) => {
                Err(ConnectionDenied::new(TooOften(ip)))
            }
            _ => Ok(()),
        }
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of `tries` are admitted at one moment.
    fn admitted(gate: &mut Gate, from: &str, now: Instant, tries: usize) -> usize {
        (0..tries).filter(|_| gate.admits(ip(from), now)).count()
    }

    #[test]
    fn a_host_that_knocks_too_often_is_turned_away_and_others_are_not() {
        let mut gate = Gate::new(HashSet::new());
        let now = Instant::now();
        assert_eq!(admitted(&mut gate, "192.0.2.1", now, 100), 50);
        assert_eq!(admitted(&mut gate, "192.0.2.2", now, 100), 50);
        let later = now + Duration::from_secs(2);
        assert_eq!(admitted(&mut gate, "192.0.2.1", later, 100), 20);
    }

    #[test]
    fn one_network_of_ipv6_is_one_host() {
        let mut gate = Gate::new(HashSet::new());
        let now = Instant::now();
        assert_eq!(admitted(&mut gate, "2001:db8::1", now, 30), 30);
        assert_eq!(admitted(&mut gate, "2001:db8::2", now, 30), 20);
        assert_eq!(admitted(&mut gate, "2001:db8:0:1::2", now, 30), 30);
    }

    #[test]
    fn loopback_and_configured_hosts_go_through() {
        let mut gate = Gate::new(HashSet::from([ip("192.0.2.9")]));
        let now = Instant::now();
        for free in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.9"] {
            assert_eq!(admitted(&mut gate, free, now, 500), 500, "{free}");
        }
    }

    #[test]
    fn what_is_kept_of_strangers_is_bounded_and_they_are_limited_all_the_same() {
        let mut gate = Gate::new(HashSet::new());
        let now = Instant::now();
        let mut through = 0;
        for host in 0..20_000u32 {
            let from = std::net::Ipv4Addr::from_bits(0xC612_0000 + host).into();
            through += usize::from(gate.admits(from, now));
        }
        assert_eq!(gate.hosts.len(), HOSTS_MAX);
        assert_eq!(through, HOSTS_MAX + 50);
        // Once their accounts have filled up again they are forgotten.
        assert!(gate.admits(ip("192.0.2.1"), now + Duration::from_mins(1)));
        assert_eq!(gate.hosts.len(), 1);
    }
}
