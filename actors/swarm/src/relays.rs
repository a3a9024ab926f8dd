//! Reservations at the configured relays: made, kept, and made again when they are lost.
//!
//! Pure: the event loop tells what happened and does what is due. A reservation is asked for only
//! when the relay has said by identify that it relays: before that it knows nothing of us, and its
//! refusal would say nothing. The connection itself is made and kept by the dialling of members.

use std::time::{Duration, Instant};

use bytecave_messages::swarm::{RelayState, RelayView};
use libp2p::core::transport::ListenerId;
use libp2p::{Multiaddr, PeerId};

use crate::addresses::{circuit, is_websocket, peer_of, with_peer};

/// The protocol a relay says that it speaks when it relays.
pub(crate) const HOP_PROTOCOL: &str = "/libp2p/circuit/relay/0.2.0/hop";
/// First pause after a reservation was refused or lost; it doubles with each.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// Longest pause.
const RETRY_MAX: Duration = Duration::from_mins(1);
/// A reservation that lasted this long makes good for the failures before it.
const STABLE_AFTER: Duration = Duration::from_mins(1);

/// All configured relays.
#[derive(Debug)]
pub(crate) struct Relays {
    all: Vec<Relay>,
    /// Addresses in the order of the settings, each with the relay it is of.
    configured: Vec<(Multiaddr, usize)>,
    enabled: bool,
}

#[derive(Debug)]
struct Relay {
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    connected: bool,
    offers: bool,
    phase: Phase,
    failures: u32,
    problem: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Nothing is reserved; not tried before that time.
    Idle(Option<Instant>),
    Reserving(ListenerId),
    Reserved(ListenerId, Instant),
}

/// What became of a listener.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Of which relay.
    pub(crate) relay: PeerId,
    /// Whether a reservation stood.
    pub(crate) stood: bool,
    /// Whether this is the first failure in a row: worth a line in the log.
    pub(crate) first: bool,
}

impl Relays {
    /// The relays of the settings; each address ends in the relay's id.
    pub(crate) fn new(addresses: &[Multiaddr], enabled: bool) -> Self {
        let mut relays: Vec<Relay> = Vec::new();
        let mut configured = Vec::new();
        for address in addresses {
            let Some(peer) = peer_of(address) else {
                continue;
            };
            let at = relays.iter().position(|relay| relay.peer == peer);
            let at = at.unwrap_or_else(|| {
                relays.push(Relay::new(peer));
                relays.len() - 1
            });
            if let Some(relay) = relays.get_mut(at) {
                relay.addresses.push(address.clone());
                // What the reservation is named after is what others dial, browsers among them.
                relay
                    .addresses
                    .sort_by_key(|address| !is_websocket(address));
            }
            configured.push((address.clone(), at));
        }
        Self {
            all: relays,
            configured,
            enabled,
        }
    }

    /// Their peers.
    pub(crate) fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.all.iter().map(|relay| relay.peer)
    }

    /// Whether a peer is one of them.
    pub(crate) fn contains(&self, peer: &PeerId) -> bool {
        self.peers().any(|relay| relay == *peer)
    }

    /// At how many a reservation stands.
    pub(crate) fn reserved(&self) -> usize {
        self.all.iter().filter(|relay| relay.is_reserved()).count()
    }

    /// The circuit addresses at which others reach `local`, one for each configured address of a
    /// relay whose reservation stands.
    pub(crate) fn circuits(&self, local: PeerId) -> Vec<Multiaddr> {
        self.all
            .iter()
            .filter(|relay| relay.is_reserved())
            .flat_map(|relay| &relay.addresses)
            .map(|address| with_peer(&circuit(address), local))
            .collect()
    }

    /// A peer said by identify whether it relays.
    pub(crate) fn identified(&mut self, peer: &PeerId, offers: bool) {
        let Some(relay) = self.get_mut(peer) else {
            return;
        };
        relay.connected = true;
        relay.offers = offers;
        if !offers && !relay.is_reserved() {
            relay.problem = Some("the peer does not relay (circuit relay v2)".to_owned());
        }
    }

    /// The last connection to a peer is gone.
    pub(crate) fn disconnected(&mut self, peer: &PeerId) {
        if let Some(relay) = self.get_mut(peer) {
            relay.connected = false;
            relay.offers = false;
            relay
                .problem
                .get_or_insert_with(|| "the connection was lost".to_owned());
        }
    }

    /// A relay could not be dialled. Whether this is news.
    pub(crate) fn unreachable(&mut self, peer: &PeerId, reason: &str) -> bool {
        let Some(relay) = self.get_mut(peer).filter(|relay| !relay.connected) else {
            return false;
        };
        relay.problem.replace(reason.to_owned()).is_none()
    }

    /// Where reservations are to be asked for now: each as the address to listen on.
    pub(crate) fn due(&self, now: Instant) -> Vec<(PeerId, Multiaddr)> {
        let due = |relay: &&Relay| {
            let Phase::Idle(after) = relay.phase else {
                return false;
            };
            relay.connected && relay.offers && after.is_none_or(|after| after <= now)
        };
        self.all
            .iter()
            .filter(|_| self.enabled)
            .filter(due)
            .filter_map(|relay| Some((relay.peer, circuit(relay.addresses.first()?))))
            .collect()
    }

    /// A reservation is asked for, through this listener.
    pub(crate) fn reserving(&mut self, peer: &PeerId, listener: ListenerId) {
        if let Some(relay) = self.get_mut(peer) {
            relay.phase = Phase::Reserving(listener);
        }
    }

    /// A reservation could not even be asked for.
    pub(crate) fn refused(&mut self, peer: &PeerId, reason: String, now: Instant, jitter: f64) {
        if let Some(relay) = self.get_mut(peer) {
            relay.fail(reason, now, jitter);
        }
    }

    /// A relay accepted. Whether this is news: renewals are not.
    pub(crate) fn accepted(&mut self, peer: &PeerId, now: Instant) -> bool {
        let Some(relay) = self.get_mut(peer) else {
            return false;
        };
        let Phase::Reserving(listener) = relay.phase else {
            return false;
        };
        relay.phase = Phase::Reserved(listener, now);
        relay.problem = None;
        true
    }

    /// A listener closed; none if it was no relay's.
    pub(crate) fn closed(
        &mut self,
        listener: ListenerId,
        reason: Option<String>,
        now: Instant,
        jitter: f64,
    ) -> Option<Lost> {
        let relay = self.all.iter_mut().find(|relay| match relay.phase {
            Phase::Reserving(of) | Phase::Reserved(of, _) => of == listener,
            Phase::Idle(_) => false,
        })?;
        let stood = relay.is_reserved();
        if let Phase::Reserved(_, since) = relay.phase
            && now.saturating_duration_since(since) >= STABLE_AFTER
        {
            relay.failures = 0;
        }
        let first = relay.failures == 0;
        let reason = reason.unwrap_or_else(|| {
            if stood {
                "the reservation was lost".to_owned()
            } else {
                "the relay did not give a reservation".to_owned()
            }
        });
        relay.fail(reason, now, jitter);
        Some(Lost {
            relay: relay.peer,
            stood,
            first,
        })
    }

    /// How they are, in the order of the settings.
    pub(crate) fn views(&self) -> Vec<RelayView> {
        self.configured
            .iter()
            .filter_map(|(address, at)| {
                let relay = self.all.get(*at)?;
                let state = if self.enabled {
                    relay.state()
                } else {
                    RelayState::Off
                };
                Some(RelayView {
                    multiaddr: address.to_string(),
                    state,
                })
            })
            .collect()
    }

    fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Relay> {
        self.all.iter_mut().find(|relay| relay.peer == *peer)
    }
}

impl Relay {
    const fn new(peer: PeerId) -> Self {
        Self {
            peer,
            addresses: Vec::new(),
            connected: false,
            offers: false,
            phase: Phase::Idle(None),
            failures: 0,
            problem: None,
        }
    }

    const fn is_reserved(&self) -> bool {
        matches!(self.phase, Phase::Reserved(..))
    }

    fn state(&self) -> RelayState {
        match (self.phase, &self.problem) {
            (Phase::Reserved(..), _) => RelayState::Reserved,
            (_, Some(reason)) => RelayState::Failed {
                reason: reason.clone(),
            },
            (_, None) => RelayState::Connecting,
        }
    }

    /// `jitter` between 0 and 1 spreads the nodes that lost the same relay at the same moment.
    fn fail(&mut self, reason: String, now: Instant, jitter: f64) {
        let doubled = RETRY_MIN.saturating_mul(1 << self.failures.min(16));
        let pause = doubled
            .min(RETRY_MAX)
            .mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0);
        self.failures = self.failures.saturating_add(1);
        self.problem = Some(reason);
        self.phase = Phase::Idle(Some(now + pause));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn relay_at(peer: PeerId, text: &str) -> Multiaddr {
        with_peer(&text.parse().unwrap(), peer)
    }

    fn one() -> (Relays, PeerId) {
        let peer = PeerId::random();
        let addresses = [
            relay_at(peer, "/ip4/192.0.2.1/tcp/4001"),
            relay_at(peer, "/ip4/192.0.2.1/tcp/4002/ws"),
        ];
        (Relays::new(&addresses, true), peer)
    }

    #[test]
    fn a_reservation_waits_for_identify_and_is_named_after_what_browsers_dial() {
        let (mut relays, peer) = one();
        let now = Instant::now();
        assert!(relays.due(now).is_empty());
        relays.identified(&peer, false);
        assert!(relays.due(now).is_empty(), "it does not relay");
        relays.identified(&peer, true);
        let due = relays.due(now);
        let address = format!("/ip4/192.0.2.1/tcp/4002/ws/p2p/{peer}/p2p-circuit");
        assert_eq!(due, [(peer, address.parse().unwrap())]);
        relays.reserving(&peer, ListenerId::next());
        assert!(relays.due(now).is_empty(), "one at a time");
        assert_eq!(relays.reserved(), 0);
        assert!(relays.accepted(&peer, now));
        assert!(!relays.accepted(&peer, now), "a renewal is no news");
        let local = PeerId::random();
        let circuits = relays.circuits(local);
        assert_eq!(circuits.len(), 2);
        assert!(
            circuits
                .iter()
                .all(|address| peer_of(address) == Some(local))
        );
        assert!(
            relays
                .views()
                .iter()
                .all(|view| view.state == RelayState::Reserved)
        );
    }

    #[test]
    fn what_is_lost_is_asked_for_again_later_each_time() {
        let (mut relays, peer) = one();
        let mut now = Instant::now();
        let mut pauses = Vec::new();
        relays.identified(&peer, true);
        for round in 0..9 {
            let listener = ListenerId::next();
            relays.reserving(&peer, listener);
            let lost = relays.closed(listener, None, now, 1.0).unwrap();
            assert_eq!((lost.stood, lost.first), (false, round == 0));
            let asked = now;
            while relays.due(now).is_empty() {
                now += Duration::from_millis(500);
            }
            pauses.push((now - asked).as_secs());
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }

    #[test]
    fn a_reservation_that_lasted_makes_good_for_what_failed_before() {
        let (mut relays, peer) = one();
        let now = Instant::now();
        relays.identified(&peer, true);
        for _ in 0..5 {
            let listener = ListenerId::next();
            relays.reserving(&peer, listener);
            relays.closed(listener, None, now, 0.0);
        }
        let listener = ListenerId::next();
        relays.reserving(&peer, listener);
        relays.accepted(&peer, now);
        let later = now + STABLE_AFTER;
        let lost = relays.closed(listener, None, later, 0.0).unwrap();
        assert!(lost.stood && lost.first);
        assert_eq!(relays.due(later + RETRY_MIN).len(), 1);
    }

    #[test]
    fn without_a_connection_nothing_is_asked_for_and_the_reason_is_told_once() {
        let (mut relays, peer) = one();
        let now = Instant::now();
        assert!(relays.unreachable(&peer, "connection refused"));
        assert!(!relays.unreachable(&peer, "connection refused"));
        let failed = RelayState::Failed {
            reason: "connection refused".to_owned(),
        };
        assert_eq!(relays.views()[0].state, failed);
        relays.identified(&peer, true);
        relays.disconnected(&peer);
        assert!(relays.due(now).is_empty());
        assert_eq!(relays.closed(ListenerId::next(), None, now, 0.0), None);
    }

    #[test]
    fn circuits_that_are_switched_off_are_never_reserved() {
        let peer = PeerId::random();
        let mut relays = Relays::new(&[relay_at(peer, "/ip4/192.0.2.1/tcp/1")], false);
        relays.identified(&peer, true);
        assert!(relays.due(Instant::now()).is_empty());
        assert_eq!(relays.views()[0].state, RelayState::Off);
        assert!(relays.contains(&peer));
    }
}
