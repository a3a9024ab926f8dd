//! How often one host may knock: a limit on new connections by remote IP, before any handshake.
//!
//! libp2p bounds how many connections are open or pending, not how fast they come; a host that
//! opens and drops connections costs a key exchange each time.

use std::collections::HashSet;
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::time::Instant;

use bytecave_messages::rate::HostRates;
use libp2p::Multiaddr;
use libp2p::swarm::{ConnectionDenied, ConnectionId, NetworkBehaviour, dummy};

use crate::addresses::ip_of;

/// New connections of one host in a second, on average. Too low: many nodes behind one NAT are
/// turned away when this node starts. Too high: one host can keep a core busy with handshakes.
const PER_SECOND: u32 = 10;
/// New connections of one host at once.
const BURST: u32 = 50;

/// A connection was turned away before its handshake.
#[derive(Debug)]
pub(crate) struct TooOften(IpAddr);

impl fmt::Display for TooOften {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} opens connections too often", self.0)
    }
}

impl std::error::Error for TooOften {}

/// The gate. Loopback and the hosts of configured peers go through as they like.
pub(crate) struct Gate {
    hosts: Option<HostRates>,
    exempt: HashSet<IpAddr>,
}

impl Gate {
    /// A gate that counts everyone but loopback and `exempt`.
    pub(crate) fn new(exempt: HashSet<IpAddr>) -> Self {
        Self {
            hosts: HostRates::new(PER_SECOND, BURST),
            exempt,
        }
    }

    fn admits(&self, ip: IpAddr, now: Instant) -> bool {
        let ip = ip.to_canonical();
        ip.is_loopback()
            || self.exempt.contains(&ip)
            || self
                .hosts
                .as_ref()
                .is_none_or(|hosts| hosts.admit(ip, now).is_ok())
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

    crate::delegate::no_handlers!();
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// How many of `tries` are admitted at one moment.
    fn admitted(gate: &Gate, from: &str, now: Instant, tries: usize) -> usize {
        (0..tries).filter(|_| gate.admits(ip(from), now)).count()
    }

    #[test]
    fn a_host_that_knocks_too_often_is_turned_away_and_others_are_not() {
        let gate = Gate::new(HashSet::new());
        let now = Instant::now();
        assert_eq!(admitted(&gate, "192.0.2.1", now, 100), 50);
        assert_eq!(admitted(&gate, "192.0.2.2", now, 100), 50);
        let later = now + Duration::from_secs(2);
        assert_eq!(admitted(&gate, "192.0.2.1", later, 100), 20);
    }

    #[test]
    fn loopback_and_configured_hosts_go_through() {
        let gate = Gate::new(HashSet::from([ip("192.0.2.9")]));
        let now = Instant::now();
        for free in ["127.0.0.1", "::1", "::ffff:127.0.0.1", "192.0.2.9"] {
            assert_eq!(admitted(&gate, free, now, 500), 500, "{free}");
        }
    }
}
