//! Whom the node dials, and when.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use libp2p::swarm::DialError;
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId};

use super::{EventLoop, KEPT_PEERS, jitter, now_ms};
use crate::addresses::{is_relayed, without_peer};
use crate::ids;

/// Dials begun in one tick. Too low: a node that starts finds its peers slowly. Too high: a burst of
/// handshakes.
const DIALS_PER_TICK: usize = 8;
/// How long direct addresses are tried before circuits are, too.
const DIRECT_FIRST: Duration = Duration::from_secs(2);
/// Peers whose circuits wait for their turn.
const WAITING_MAX: usize = 256;
/// Characters kept of the reason of a failed dial.
const REASON_CHARS: usize = 240;

/// Circuit addresses of peers whose direct ones are being tried.
#[derive(Debug, Default)]
pub(super) struct Circuits(HashMap<PeerId, (Instant, Vec<Multiaddr>)>);

impl Circuits {
    fn wait(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        if !addresses.is_empty() && self.0.len() < WAITING_MAX {
            let at = Instant::now() + DIRECT_FIRST;
            self.0.insert(peer, (at, addresses));
        }
    }

    /// A connection stands: they are not needed.
    pub(super) fn forget(&mut self, peer: &PeerId) {
        self.0.remove(peer);
    }

    fn take(&mut self, peer: &PeerId) -> Option<Vec<Multiaddr>> {
        self.0.remove(peer).map(|(_, addresses)| addresses)
    }

    fn due(&mut self) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let now = Instant::now();
        let due: Vec<PeerId> = self
            .0
            .iter()
            .filter(|(_, (at, _))| *at <= now)
            .map(|(peer, _)| *peer)
            .collect();
        due.into_iter()
            .filter_map(|peer| Some((peer, self.take(&peer)?)))
            .collect()
    }
}

impl EventLoop {
    /// Dials whoever is due: relays and configured peers always, others while there are too few.
    pub(super) fn dial(&mut self) {
        for (peer, addresses) in self.circuits.due() {
            self.dial_at(peer, addresses);
        }
        let enough = self.connections.count() >= KEPT_PEERS;
        let due = self
            .members
            .lock()
            .dial_candidates(now_ms(), DIALS_PER_TICK);
        for candidate in due {
            if enough && !candidate.configured {
                continue;
            }
            let peer = ids::to_wire(&candidate.peer);
            let (circuits, direct): (Vec<_>, Vec<_>) = candidate
                .addresses
                .into_iter()
                .filter(|address| self.settings.enable_relay || !is_relayed(address))
                .partition(is_relayed);
            if direct.is_empty() {
                self.dial_at(peer, circuits);
            } else {
                self.circuits.wait(peer, circuits);
                self.dial_at(peer, direct);
            }
        }
    }

    fn dial_at(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        if addresses.is_empty() {
            return;
        }
        let opts = DialOpts::peer_id(peer)
            .condition(PeerCondition::Disconnected)
            .addresses(addresses)
            .build();
        if let Err(error) = self.swarm.dial(opts) {
            tracing::debug!(%peer, %error, "not dialled");
        }
    }

    pub(super) fn on_dial_failed(&mut self, peer: PeerId, error: &DialError) {
        let failed: Vec<&Multiaddr> = match error {
            DialError::DialPeerConditionFalse(_) => return,
            DialError::Transport(tried) => tried.iter().map(|(address, _)| address).collect(),
            DialError::WrongPeerId { address, .. } | DialError::LocalPeerId { address } => {
                vec![address]
            }
            DialError::NoAddresses | DialError::Aborted | DialError::Denied { .. } => Vec::new(),
        };
        if let Some(member) = ids::from_wire(&peer) {
            let mut members = self.members.lock();
            members.dial_failed(member, failed.iter().copied(), now_ms());
        }
        if self.connections.contains(&peer) {
            return;
        }
        if let Some(circuits) = self.circuits.take(&peer) {
            self.dial_at(peer, circuits);
            return;
        }
        let reason = reason(error);
        let configured =
            ids::from_wire(&peer).is_some_and(|member| self.members.lock().is_configured(&member));
        let relay = self.relays.contains(&peer);
        if relay {
            self.news |= self.relays.unreachable(&peer, &reason);
        }
        // What the operator named is complained of once, until it was reached.
        if configured && self.complained.insert(peer) {
            if relay {
                tracing::warn!(%peer, reason, "Relay cannot be reached; trying again");
            } else {
                tracing::warn!(%peer, reason, "Bootstrap peer cannot be reached; trying again");
            }
        } else {
            tracing::debug!(%peer, reason, "peer cannot be reached");
        }
    }

    /// Asks for reservations where they are due.
    pub(super) fn reserve(&mut self, now: Instant) {
        for (relay, address) in self.relays.due(now) {
            match self.swarm.listen_on(address) {
                Ok(listener) => self.relays.reserving(&relay, listener),
                Err(error) => {
                    self.relays
                        .refused(&relay, error.to_string(), now, jitter());
                }
            }
            self.news = true;
        }
    }
}

/// The reason of a failed dial in one line: what each address said, without libp2p's wrapping.
fn reason(error: &DialError) -> String {
    let text = match error {
        DialError::Transport(tried) => tried
            .iter()
            .map(|(address, error)| format!("{}: {}", without_peer(address), innermost(error)))
            .collect::<Vec<_>>()
            .join("; "),
        DialError::WrongPeerId { obtained, address } => {
            let address = without_peer(address);
            format!("{address}: another peer is there: {obtained}")
        }
        DialError::NoAddresses => "no address of it is known".to_owned(),
        other => other.to_string(),
    };
    text.chars().take(REASON_CHARS).collect()
}

/// What an error is about in the end; those around it say only where it passed through.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    // libp2p's resolver makes a list of several lines of even one error.
    let text = error.to_string();
    let lines = text.lines().map(|line| line.trim_start_matches([' ', '-']));
    let told = lines.filter(|line| !line.starts_with("Multiple dial errors"));
    told.collect::<Vec<_>>().join(", ")
}
