//! Whether others can reach this node, from what was seen: who dialled us, what `AutoNAT` found,
//! which relays hold a place for us, and how hole punching went.
//!
//! Pure. In a private network, or on one machine, being reached from there is being reached; as soon
//! as a peer of the wide world is seen, only the wide world counts.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use bytecave_messages::swarm::{HolePunching, Reachability};
use libp2p::Multiaddr;

use crate::addresses::{ip_of, is_relayed};
use crate::members::{Scope, scope_of};

/// Addresses of peers that are remembered as met.
const MET_MAX: usize = 4096;

/// What was seen since the start, or since the addresses of the machine changed.
#[derive(Debug, Default)]
pub(crate) struct Evidence {
    /// From how far away the peers are that are connected directly: the farthest of all.
    world: Option<Scope>,
    /// Whom we have been connected with directly: our NAT may let those in for a while.
    met: HashSet<IpAddr>,
    /// From how far away a peer dialled us: the farthest.
    dialled_from: Option<Scope>,
    /// Our own addresses that another peer reached.
    confirmed: BTreeSet<Multiaddr>,
    /// Whether a peer tried an address of ours and failed.
    failed: bool,
    punched: bool,
    punch_failed: bool,
}

impl Evidence {
    /// A direct connection stands, to or from this address.
    pub(crate) fn met(&mut self, remote: &Multiaddr) {
        self.world = farther(self.world, scope_of(remote));
        if let Some(ip) = ip_of(remote)
            && self.met.len() < MET_MAX
        {
            self.met.insert(ip);
        }
    }

    /// A peer at this address dialled us, without any help of a relay; to be told before it is
    /// [met](Self::met). Somebody we were connected with comes back through the way that our NAT
    /// has kept open for the first time, and proves nothing.
    pub(crate) fn dialled_by(&mut self, remote: &Multiaddr) {
        let scope = scope_of(remote);
        let comes_back = ip_of(remote).is_some_and(|ip| self.met.contains(&ip));
        if scope != Some(Scope::Global) || !comes_back {
            self.dialled_from = farther(self.dialled_from, scope);
        }
    }

    /// An address of ours was confirmed. Circuits are none of ours: they say only that a relay is
    /// reached. Whether it is to be told to others.
    pub(crate) fn confirmed(&mut self, address: &Multiaddr) -> bool {
        let counts = !is_relayed(address) && scope_of(address).is_some();
        if counts {
            self.confirmed.insert(address.clone());
        }
        counts && self.counts(scope_of(address))
    }

    /// An address of ours is no longer confirmed.
    pub(crate) fn expired(&mut self, address: &Multiaddr) {
        self.confirmed.remove(address);
    }

    /// A peer tried an address of ours in vain.
    pub(crate) fn probe_failed(&mut self, address: &Multiaddr) {
        self.failed |= self.counts(scope_of(address));
    }

    /// Hole punching was tried.
    pub(crate) fn punch(&mut self, worked: bool) {
        self.punched |= worked;
        self.punch_failed |= !worked;
    }

    /// The machine is in another network now: what was seen before says nothing.
    pub(crate) fn forget(&mut self) {
        *self = Self::default();
    }

    /// Whether peers from outside the private network were met.
    pub(crate) fn is_public(&self) -> bool {
        self.world == Some(Scope::Global)
    }

    /// What follows. `reserved`: whether a relay holds a place for us.
    pub(crate) fn verdict(&self, reserved: bool) -> Reachability {
        let confirmed = self.confirmed.iter().any(|a| self.counts(scope_of(a)));
        if confirmed || (self.dialled_from.is_some() && self.counts(self.dialled_from)) {
            Reachability::Direct
        } else if reserved {
            let hole_punching = match (self.punched, self.punch_failed) {
                (true, _) => HolePunching::Works,
                (false, true) => HolePunching::Fails,
                (false, false) => HolePunching::Untried,
            };
            Reachability::Relayed { hole_punching }
        } else if self.failed {
            Reachability::Unreachable
        } else {
            Reachability::Unknown
        }
    }

    /// Whether being reached from there means anything to the peers that were met.
    fn counts(&self, scope: Option<Scope>) -> bool {
        match (scope, self.world) {
            (None, _) => false,
            (Some(_), None) => true,
            // The farther is the lesser.
            (Some(scope), Some(world)) => scope <= world,
        }
    }
}

fn farther(one: Option<Scope>, other: Option<Scope>) -> Option<Scope> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn nobody_tried_is_unknown_and_in_vain_is_unreachable() {
        let mut seen = Evidence::default();
        assert_eq!(seen.verdict(false), Reachability::Unknown);
        seen.met(&address("/ip4/8.8.8.8/tcp/1"));
        assert_eq!(seen.verdict(false), Reachability::Unknown);
        seen.probe_failed(&address("/ip4/9.9.9.9/tcp/5011"));
        assert_eq!(seen.verdict(false), Reachability::Unreachable);
        let hole_punching = HolePunching::Untried;
        assert_eq!(seen.verdict(true), Reachability::Relayed { hole_punching });
    }

    #[test]
    fn a_circuit_is_not_a_direct_way() {
        let mut seen = Evidence::default();
        let peer = libp2p::PeerId::random();
        let circuit = address(&format!("/ip4/8.8.8.8/tcp/1/p2p/{peer}/p2p-circuit"));
        assert!(!seen.confirmed(&circuit));
        assert_eq!(seen.verdict(false), Reachability::Unknown);
    }

    #[test]
    fn the_neighbours_do_not_speak_for_the_world() {
        let mut seen = Evidence::default();
        let neighbour = address("/ip4/192.168.0.7/tcp/40000");
        seen.met(&neighbour);
        seen.dialled_by(&neighbour);
        assert!(seen.confirmed(&address("/ip4/192.168.0.2/tcp/5011")));
        assert_eq!(seen.verdict(false), Reachability::Direct);
        seen.met(&address("/ip4/8.8.8.8/tcp/1"));
        assert_eq!(seen.verdict(false), Reachability::Unknown);
        assert!(!seen.confirmed(&address("/ip4/192.168.0.2/tcp/5011")));
        seen.dialled_by(&address("/ip4/9.9.9.9/tcp/40000"));
        assert_eq!(seen.verdict(false), Reachability::Direct);
        assert!(seen.is_public());
    }

    #[test]
    fn who_comes_back_proves_nothing() {
        let mut seen = Evidence::default();
        // We dialled it, and the way through the NAT is open.
        seen.met(&address("/ip4/8.8.8.8/tcp/5011"));
        seen.dialled_by(&address("/ip4/8.8.8.8/tcp/40000"));
        assert_eq!(seen.verdict(false), Reachability::Unknown);
        seen.dialled_by(&address("/ip4/9.9.9.9/tcp/40000"));
        assert_eq!(seen.verdict(false), Reachability::Direct);
    }

    #[test]
    fn a_confirmed_address_counts_until_it_expires() {
        let mut seen = Evidence::default();
        let own = address("/ip4/9.9.9.9/tcp/5011");
        seen.met(&address("/ip4/8.8.8.8/tcp/1"));
        assert!(seen.confirmed(&own));
        assert_eq!(seen.verdict(true), Reachability::Direct);
        seen.expired(&own);
        assert_eq!(seen.verdict(false), Reachability::Unknown);
        seen.confirmed(&own);
        seen.forget();
        assert_eq!(seen.verdict(false), Reachability::Unknown);
    }

    #[test]
    fn one_punched_hole_is_enough() {
        let mut seen = Evidence::default();
        let verdict = |seen: &Evidence| match seen.verdict(true) {
            Reachability::Relayed { hole_punching } => hole_punching,
            other => panic!("{other:?}"),
        };
        seen.punch(false);
        assert_eq!(verdict(&seen), HolePunching::Fails);
        seen.punch(true);
        seen.punch(false);
        assert_eq!(verdict(&seen), HolePunching::Works);
    }
}
