//! What the network counts, in a registry of its own that `/metrics` writes out with the others.
//!
//! No label has values that a stranger chooses. libp2p's own metrics name the form of addresses;
//! so of its events only those are recorded whose addresses are this node's or have a usual form.

mod events;

use std::fmt;
use std::sync::Arc;

use bytecave_messages::swarm::{RelayState, SwarmSnapshot};
use libp2p::metrics::{Metrics as Libp2pMetrics, Registry};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use crate::members::Counts;
use crate::traffic::Traffic;
use crate::wire::counters::WireCounters;

/// The swarm's metrics. Clones share them.
#[derive(Clone)]
pub struct NetworkMetrics {
    registry: Arc<Registry>,
    counters: Arc<Counters>,
}

/// All that is counted.
struct Counters {
    libp2p: Libp2pMetrics,
    connected: Family<KindLabel, Gauge>,
    members: Family<StateLabel, Gauge>,
    reservations: Gauge,
    dials: Family<OutcomeLabel, Counter>,
    announcements: Family<OutcomeLabel, Counter>,
    broadcasts: Family<OutcomeLabel, Counter>,
    identified: Counter,
    traffic: Traffic,
    wire: WireCounters,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

impl NetworkMetrics {
    /// All counters at zero, and all of them registered.
    pub fn new() -> Self {
        let mut registry = Registry::default();
        let counters = Counters {
            libp2p: Libp2pMetrics::new(&mut registry),
            connected: Family::default(),
            members: Family::default(),
            reservations: Gauge::default(),
            dials: Family::default(),
            announcements: Family::default(),
            broadcasts: Family::default(),
            identified: Counter::default(),
            traffic: Traffic::default(),
            wire: WireCounters::default(),
        };
        counters.register(&mut registry);
        Self {
            registry: Arc::new(registry),
            counters: Arc::new(counters),
        }
    }

    /// For whoever writes metrics out.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }

    /// Counts bytes in the transports.
    pub(crate) fn traffic(&self) -> Traffic {
        self.counters.traffic.clone()
    }

    /// The counters of requests.
    pub(crate) fn wire(&self) -> WireCounters {
        self.counters.wire.clone()
    }

    /// How the network is; the number of members comes beside it, since a snapshot tells of a
    /// bounded number of them.
    pub(crate) fn observe(&self, snapshot: &SwarmSnapshot, counts: Counts) {
        for (state, value) in [("known", counts.known), ("live", counts.live)] {
            let members = self.counters.members.get_or_create(&StateLabel { state });
            members.set(gauge(value));
        }
        for (kind, value) in [("direct", counts.direct), ("relayed", counts.relayed)] {
            let connected = self.counters.connected.get_or_create(&KindLabel { kind });
            connected.set(gauge(value));
        }
        let relays = snapshot.relays.iter();
        let reserved = relays.filter(|relay| relay.state == RelayState::Reserved);
        self.counters.reservations.set(gauge(reserved.count()));
    }

    /// An announcement was judged; `outcome` is [`Verdict::label`](crate::announce::Verdict::label),
    /// or `no_place` when it was good and there was no place for the peer.
    pub(crate) fn announcement(&self, outcome: &'static str) {
        inc(&self.counters.announcements, outcome);
    }

    /// A broadcast was judged.
    pub(crate) fn broadcast(&self, outcome: &'static str) {
        inc(&self.counters.broadcasts, outcome);
    }
}

impl Counters {
    fn register(&self, registry: &mut Registry) {
        registry.register(
            "bytecave_swarm_peers_connected",
            "Connected peers, direct or relayed only",
            self.connected.clone(),
        );
        registry.register(
            "bytecave_swarm_members",
            "Members that are known, and those of them that are live",
            self.members.clone(),
        );
        registry.register(
            "bytecave_swarm_reservations",
            "Relays that hold a reservation for this node",
            self.reservations.clone(),
        );
        registry.register(
            "bytecave_swarm_dials",
            "Dials by outcome",
            self.dials.clone(),
        );
        registry.register(
            "bytecave_swarm_announcements",
            "Announcements of other nodes by outcome",
            self.announcements.clone(),
        );
        registry.register(
            "bytecave_swarm_broadcasts",
            "Broadcasts of other nodes by outcome",
            self.broadcasts.clone(),
        );
        registry.register(
            "bytecave_swarm_identified",
            "Times a peer said by identify what it speaks",
            self.identified.clone(),
        );
        self.traffic.register(registry);
        self.wire.register(registry);
    }
}

fn inc(family: &Family<OutcomeLabel, Counter>, outcome: &'static str) {
    family.get_or_create(&OutcomeLabel { outcome }).inc();
}

fn gauge(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

impl Default for NetworkMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for NetworkMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkMetrics")
    }
}
