//! Which of our supposed addresses are worth asking others to try: a sieve before `AutoNAT`.
//!
//! A peer says at which address it sees us, and `AutoNAT` asks another to dial that. Left alone it
//! keeps every such address for ever, "confirms" circuits, and lets a peer have others knock at
//! addresses of its choice. Here only direct addresses pass whose port is one we listen on, and only
//! so many.

use std::collections::HashSet;
use std::task::{Context, Poll};

use libp2p::Multiaddr;
use libp2p::autonat::v2::client;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::behaviour::ListenAddresses;
use libp2p::swarm::{FromSwarm, NetworkBehaviour, THandlerInEvent, ToSwarm};

use crate::addresses::is_relayed;
use crate::members::scope_of;

/// Addresses tried with the same listeners. A machine has a handful of listeners, and its address
/// changes now and then.
const CANDIDATES_MAX: usize = 64;

/// `AutoNAT`'s client behind the sieve.
pub(crate) struct Candidates {
    inner: client::Behaviour,
    listening: ListenAddresses,
    passed: HashSet<Multiaddr>,
}

impl Candidates {
    pub(crate) fn new(inner: client::Behaviour) -> Self {
        Self {
            inner,
            listening: ListenAddresses::default(),
            passed: HashSet::new(),
        }
    }

    fn passes(&mut self, address: &Multiaddr) -> bool {
        let ours = self
            .listening
            .iter()
            .any(|own| port_of(own).is_some() && port_of(own) == port_of(address));
        let sensible = ours && !is_relayed(address) && scope_of(address).is_some();
        if !sensible || self.passed.contains(address) {
            return sensible;
        }
        self.passed.len() < CANDIDATES_MAX && self.passed.insert(address.clone())
    }
}

/// The port an address names, and of which kind.
fn port_of(address: &Multiaddr) -> Option<(bool, u16)> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some((true, port)),
        Protocol::Udp(port) => Some((false, port)),
        _ => None,
    })
}

impl NetworkBehaviour for Candidates {
    type ConnectionHandler = <client::Behaviour as NetworkBehaviour>::ConnectionHandler;
    type ToSwarm = client::Event;

    crate::delegate::connections_of_inner!();

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        // With other listeners others are sensible; and no peer can bring that about.
        if self.listening.on_swarm_event(&event) {
            self.passed.clear();
        }
        if let FromSwarm::NewExternalAddrCandidate(candidate) = &event
            && !self.passes(candidate.addr)
        {
            return;
        }
        self.inner.on_swarm_event(event);
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner.poll(context)
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::transport::ListenerId;
    use libp2p::swarm::{NewExternalAddrCandidate, NewListenAddr};

    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    fn sieve() -> Candidates {
        let mut candidates = Candidates::new(client::Behaviour::default());
        candidates.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr {
            listener_id: ListenerId::next(),
            addr: &address("/ip4/192.168.1.5/tcp/5011"),
        }));
        candidates
    }

    #[test]
    fn only_what_we_might_really_have_is_tried() {
        let mut sieve = sieve();
        assert!(sieve.passes(&address("/ip4/8.8.8.8/tcp/5011")));
        for nonsense in [
            "/ip4/8.8.8.8/tcp/22",
            "/ip4/8.8.8.8/udp/5011/quic-v1",
            "/ip4/0.0.0.0/tcp/5011",
            "/ip4/8.8.8.8/tcp/5011/p2p-circuit",
            "/p2p-circuit",
        ] {
            assert!(!sieve.passes(&address(nonsense)), "{nonsense}");
        }
    }

    #[test]
    fn what_peers_make_up_does_not_add_up() {
        let mut sieve = sieve();
        for host in 0..1000u32 {
            let ip = std::net::Ipv4Addr::from_bits(0x0800_0000 + host);
            let addr = address(&format!("/ip4/{ip}/tcp/5011"));
            sieve.on_swarm_event(FromSwarm::NewExternalAddrCandidate(
                NewExternalAddrCandidate { addr: &addr },
            ));
        }
        assert_eq!(sieve.passed.len(), CANDIDATES_MAX);
        let another = address("/ip4/9.9.9.9/tcp/5011");
        assert!(!sieve.passes(&another));
        sieve.on_swarm_event(FromSwarm::NewListenAddr(NewListenAddr {
            listener_id: ListenerId::next(),
            addr: &address("/ip4/192.168.1.6/tcp/5011"),
        }));
        assert!(sieve.passes(&another), "the machine has moved");
    }
}
