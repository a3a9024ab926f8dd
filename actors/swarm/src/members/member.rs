//! One peer: its addresses, its connections, and what it said of itself.

use std::time::Duration;

use bytecave_core::PeerId;
use bytecave_messages::swarm::{Announced, ConnectionKind, PeerInfo, PeerView};
use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;
use libp2p::{Multiaddr, PeerId as WirePeerId};

use super::address::{Clean, Scope, clean, scope_of};
use super::{
    ADDRESSES_LIMIT, BACKOFF_CONFIGURED_MAX, BACKOFF_MAX, BACKOFF_MIN, CONNECTIONS_LIMIT,
    FAILURES_LIMIT, OURS, RememberedPeer, STABLE_AFTER, Teller,
};
use crate::addresses::is_relayed;

/// How a peer came to be a member, which decides when it is forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The settings name it. Never forgotten.
    Configured,
    /// It was connected and spoke a protocol of this network.
    Proven,
    /// Only told of, by this one.
    Stranger(Teller),
}

impl Standing {
    /// In which order members are dialled, and kept when places are short: low ones longest.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Configured => 0,
            Self::Proven => 1,
            Self::Stranger(_) => 2,
        }
    }
}

/// Where a peer may be reached.
#[derive(Debug, Clone)]
struct Known {
    address: Multiaddr,
    relayed: bool,
    /// From the settings: stays.
    configured: bool,
    /// A connection through it was made; the latest time, 0 if never.
    worked_ms: u64,
    /// Attempts in vain since it worked.
    failures: u32,
}

#[derive(Debug, Clone)]
struct Connection {
    id: ConnectionId,
    address: Multiaddr,
    kind: ConnectionKind,
    since_ms: u64,
}

/// One peer.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) id: PeerId,
    wire_id: WirePeerId,
    /// Whether it was ever connected and spoke a protocol of this network.
    pub(super) proven: bool,
    pub(super) standing: Standing,
    known: Vec<Known>,
    connections: Vec<Connection>,
    pub(super) agent: Option<String>,
    pub(super) protocols: Vec<String>,
    pub(super) rtt_ms: Option<u64>,
    /// When a word of its own came last: over a connection, or signed by it. 0: never.
    pub(super) heard_ms: u64,
    /// When the first such word came. 0: never.
    first_seen_ms: u64,
    /// When it said goodbye; none after it was connected, announced itself or told of itself again.
    /// What still comes over a connection that is being closed does not count.
    pub(super) left_ms: Option<u64>,
    pub(super) announced: Option<Announced>,
    pub(super) info: Option<PeerInfo>,
    failures: u32,
    dial_not_before_ms: u64,
    dialled_ms: u64,
}

impl Member {
    pub(super) fn new(id: PeerId, standing: Standing) -> Self {
        Self {
            id,
            wire_id: crate::ids::to_wire(&id),
            proven: standing == Standing::Proven,
            standing,
            known: Vec::new(),
            connections: Vec::new(),
            agent: None,
            protocols: Vec::new(),
            rtt_ms: None,
            heard_ms: 0,
            first_seen_ms: 0,
            left_ms: None,
            announced: None,
            info: None,
            failures: 0,
            dial_not_before_ms: 0,
            dialled_ms: 0,
        }
    }

    pub(super) fn is_connected(&self) -> bool {
        !self.connections.is_empty()
    }

    pub(super) fn is_configured(&self) -> bool {
        self.standing == Standing::Configured
    }

    /// It spoke a protocol of this network over a connection.
    pub(super) fn prove(&mut self) {
        self.proven = true;
        if !self.is_configured() {
            self.standing = Standing::Proven;
        }
    }

    /// A word of its own came.
    pub(super) fn heard(&mut self, now_ms: u64) {
        self.heard_ms = self.heard_ms.max(now_ms);
        if self.first_seen_ms == 0 {
            self.first_seen_ms = now_ms;
        }
    }

    pub(super) fn is_live(&self, now_ms: u64, timeout_ms: u64) -> bool {
        let lately = self.heard_ms != 0 && now_ms.saturating_sub(self.heard_ms) < timeout_ms;
        self.left_ms.is_none() && (self.is_connected() || lately)
    }

    /// Directly, if any connection is direct.
    pub(super) fn connection(&self) -> Option<ConnectionKind> {
        let direct = self
            .connections
            .iter()
            .any(|connection| connection.kind == ConnectionKind::Direct);
        match (self.is_connected(), direct) {
            (false, _) => None,
            (true, true) => Some(ConnectionKind::Direct),
            (true, false) => Some(ConnectionKind::Relayed),
        }
    }

    /// The widest inward scope that its connections came from: what it may tell of its own
    /// addresses beyond the global ones.
    pub(super) fn nearness(&self) -> Scope {
        let direct = self
            .connections
            .iter()
            .filter(|connection| connection.kind == ConnectionKind::Direct);
        direct
            .filter_map(|connection| scope_of(&connection.address))
            .max()
            .unwrap_or(Scope::Global)
    }

    /// Keeps an address that `clean` let pass; whether it is new.
    pub(super) fn learn(&mut self, clean: Clean) -> bool {
        if self
            .known
            .iter()
            .any(|known| known.address == clean.address)
        {
            return false;
        }
        if self.known.len() >= ADDRESSES_LIMIT && !self.drop_worst() {
            return false;
        }
        self.known.push(Known {
            address: clean.address,
            relayed: clean.relay.is_some(),
            configured: false,
            worked_ms: 0,
            failures: 0,
        });
        true
    }

    /// Keeps an address of the settings, whatever its form: the transport judges it.
    pub(super) fn configure(&mut self, address: Multiaddr) {
        self.standing = Standing::Configured;
        let relayed = is_relayed(&address);
        self.known.retain(|known| known.address != address);
        if self.known.len() >= ADDRESSES_LIMIT {
            self.drop_worst();
        }
        if self.known.len() < ADDRESSES_LIMIT {
            self.known.push(Known {
                address,
                relayed,
                configured: true,
                worked_ms: 0,
                failures: 0,
            });
        }
    }

    /// Makes room: the address that never worked and failed most, else the one that worked longest
    /// ago. Of equals the oldest, so that an address that changed replaces its forerunner.
    fn drop_worst(&mut self) -> bool {
        let worst = self
            .known
            .iter()
            .enumerate()
            .filter(|(_, known)| !known.configured)
            .min_by_key(|(_, known)| (known.worked_ms, u32::MAX - known.failures))
            .map(|(at, _)| at);
        worst.map(|at| self.known.remove(at)).is_some()
    }

    /// A connection stands. `false`: there are too many to keep account of.
    pub(super) fn connected(
        &mut self,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
        now_ms: u64,
    ) -> bool {
        self.heard(now_ms);
        self.left_ms = None;
        let kind = if endpoint.is_relayed() {
            ConnectionKind::Relayed
        } else {
            ConnectionKind::Direct
        };
        if let ConnectedPoint::Dialer { address, .. } = endpoint {
            self.worked(address, now_ms);
        }
        if self.connections.len() >= CONNECTIONS_LIMIT {
            return false;
        }
        self.connections.push(Connection {
            id,
            address: endpoint.get_remote_address().clone(),
            kind,
            since_ms: now_ms,
        });
        true
    }

    /// A dialled address led to the peer: proof enough to keep it, wherever it came from.
    fn worked(&mut self, address: &Multiaddr, now_ms: u64) {
        let cleaned = clean(address, &self.wire_id);
        let spelled = cleaned
            .as_ref()
            .map_or(address, |clean| &clean.address)
            .clone();
        if let Some(cleaned) = cleaned {
            self.learn(cleaned);
        }
        let known = self
            .known
            .iter_mut()
            .find(|known| known.address == spelled || known.address == *address);
        if let Some(known) = known {
            known.worked_ms = now_ms;
            known.failures = 0;
        }
    }

    /// A connection is gone. One that lasted makes good for failures before it; one that did not
    /// counts as one, so that a peer that accepts and hangs up is not dialled without end.
    pub(super) fn disconnected(&mut self, id: ConnectionId, now_ms: u64) {
        let Some(at) = self.connections.iter().position(|c| c.id == id) else {
            return;
        };
        let gone = self.connections.remove(at);
        self.heard(now_ms);
        if self.is_connected() {
            return;
        }
        self.rtt_ms = None;
        if now_ms.saturating_sub(gone.since_ms) >= millis(STABLE_AFTER) {
            self.failures = 0;
        } else {
            self.failures = (self.failures + 1).min(FAILURES_LIMIT);
        }
        self.dialled_ms = now_ms;
        self.dial_not_before_ms = now_ms.saturating_add(self.backoff_ms());
    }

    /// A dial was in vain at these addresses.
    pub(super) fn dial_failed<'a>(
        &mut self,
        addresses: impl Iterator<Item = &'a Multiaddr>,
        now_ms: u64,
    ) {
        for address in addresses {
            let spelled = clean(address, &self.wire_id);
            let spelled = spelled.as_ref().map_or(address, |clean| &clean.address);
            if let Some(known) = self.known.iter_mut().find(|k| k.address == *spelled) {
                known.failures = (known.failures + 1).min(FAILURES_LIMIT);
            }
        }
        self.failures = (self.failures + 1).min(FAILURES_LIMIT);
        self.put_off(now_ms);
    }

    /// No dial before the pause that the failures ask for.
    pub(super) fn put_off(&mut self, now_ms: u64) {
        self.dialled_ms = now_ms;
        self.dial_not_before_ms = now_ms.saturating_add(self.backoff_ms());
    }

    /// A clock that was set back must not keep a peer undialled until it has caught up.
    pub(super) fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.dial_not_before_ms || now_ms < self.dialled_ms
    }

    /// Doubling with each failure, up to a quarter longer by peer, so that not all are due at once.
    fn backoff_ms(&self) -> u64 {
        let longest = if self.is_configured() {
            BACKOFF_CONFIGURED_MAX
        } else {
            BACKOFF_MAX
        };
        let doubled = millis(BACKOFF_MIN).saturating_mul(1 << self.failures.min(FAILURES_LIMIT));
        let pause = doubled.min(millis(longest));
        let [.., salt] = *self.id.public_key().as_bytes();
        pause + pause / 4 * u64::from(salt) / 255
    }

    /// Where to dial, best first: what worked last, then direct before relayed, then what failed
    /// least.
    pub(super) fn addresses(&self) -> Vec<Multiaddr> {
        let mut known: Vec<&Known> = self.known.iter().collect();
        known.sort_by_key(|k| (u64::MAX - k.worked_ms, k.relayed, k.failures));
        known.into_iter().map(|k| k.address.clone()).collect()
    }

    /// The same without circuits.
    pub(super) fn direct_addresses(&self) -> Vec<Multiaddr> {
        let mut addresses = self.addresses();
        addresses.retain(|address| !is_relayed(address));
        addresses
    }

    pub(super) fn address_count(&self) -> usize {
        self.known.len()
    }

    pub(super) fn remember(&self) -> RememberedPeer {
        RememberedPeer {
            peer: self.id,
            addresses: self.addresses(),
            heard_ms: self.heard_ms,
            first_seen_ms: self.first_seen_ms,
            left_ms: self.left_ms,
            agent: self.agent.clone(),
            announced: self.announced.clone(),
        }
    }

    /// What was remembered; what is known already stands before it.
    pub(super) fn restore(&mut self, remembered: RememberedPeer, now_ms: u64) {
        self.proven = true;
        let heard_ms = remembered.heard_ms.min(now_ms);
        self.heard(heard_ms);
        // Who was heard then was met by then.
        let met_ms = match remembered.first_seen_ms {
            0 => heard_ms,
            met_ms => met_ms.min(heard_ms),
        };
        self.first_seen_ms = self.first_seen_ms.min(met_ms);
        if !self.is_connected() {
            self.left_ms = remembered.left_ms.filter(|left_ms| *left_ms <= now_ms);
        }
        self.agent = self.agent.take().or(remembered.agent);
        let in_time = |said: &Announced| said.timestamp_ms <= now_ms;
        let announced = remembered.announced.filter(in_time);
        self.announced = self.announced.take().or(announced);
        for address in remembered.addresses.iter().take(ADDRESSES_LIMIT) {
            if let Some(clean) = clean(address, &self.wire_id) {
                self.learn(clean);
            }
        }
    }

    pub(super) fn view(&self, now_ms: u64, timeout_ms: u64) -> PeerView {
        let mut multiaddrs: Vec<String> = Vec::with_capacity(ADDRESSES_LIMIT);
        let used = self.connections.iter().map(|c| c.address.clone());
        for address in used.chain(self.addresses()) {
            let text = address.to_string();
            if multiaddrs.len() < ADDRESSES_LIMIT && !multiaddrs.contains(&text) {
                multiaddrs.push(text);
            }
        }
        PeerView {
            peer_id: self.id,
            connection: self.connection(),
            multiaddrs,
            agent: self.agent.clone(),
            rtt_ms: self.rtt_ms,
            last_seen_ms: if self.is_connected() {
                self.heard_ms.max(now_ms)
            } else {
                self.heard_ms
            },
            first_seen_ms: self.first_seen_ms,
            live: self.is_live(now_ms, timeout_ms),
            left_ms: self.left_ms,
            announced: self.announced.clone(),
            info: self.info.clone().map(|info| self.completed(info)),
        }
    }

    /// What it said of itself; the programs of the first network leave the protocols to identify.
    fn completed(&self, mut info: PeerInfo) -> PeerInfo {
        if info.protocols.is_empty() {
            let ours = self.protocols.iter().filter(|name| name.starts_with(OURS));
            info.protocols = ours.cloned().collect();
        }
        info
    }
}

/// Milliseconds of a constant.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
