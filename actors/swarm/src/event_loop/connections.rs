//! Connections: which there are, what the operator hears of them, and which are superfluous.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bytecave_messages::swarm::ConnectionKind;
use libp2p::PeerId;
use libp2p::core::ConnectedPoint;
use libp2p::core::transport::ListenerId;
use libp2p::swarm::{ConnectionError, ConnectionId};

use super::{EventLoop, now_ms};
use crate::addresses::remote_of;
use crate::ids;

/// Pings in a row that may fail before a connection counts as dead.
const PINGS_LOST: u32 = 2;
/// Time in which a peer that comes and goes is not told of again: a circuit ends after minutes by
/// its relay's limits and is made anew.
const SAID_AGAIN: Duration = Duration::from_hours(1);
/// Peers of which is remembered what was said.
const SAID_MAX: usize = 4096;

/// The open connections.
#[derive(Debug)]
pub(super) struct Connections {
    peers: HashMap<PeerId, Vec<Connection>>,
    listeners: Vec<ListenerId>,
}

#[derive(Debug)]
struct Connection {
    id: ConnectionId,
    relayed: bool,
    lost_pings: u32,
}

impl Connections {
    /// None yet; `listeners` are those of the node's own addresses.
    pub(super) fn new(listeners: Vec<ListenerId>) -> Self {
        Self {
            peers: HashMap::new(),
            listeners,
        }
    }

    pub(super) fn is_listener(&self, listener: ListenerId) -> bool {
        self.listeners.contains(&listener)
    }

    pub(super) fn take_listeners(&mut self) -> Vec<ListenerId> {
        std::mem::take(&mut self.listeners)
    }

    /// How many peers are connected.
    pub(super) fn count(&self) -> usize {
        self.peers.len()
    }

    pub(super) fn peers(&self) -> impl Iterator<Item = PeerId> + '_ {
        self.peers.keys().copied()
    }

    pub(super) fn contains(&self, peer: &PeerId) -> bool {
        self.peers.contains_key(peer)
    }

    pub(super) fn kind(&self, peer: &PeerId) -> Option<ConnectionKind> {
        let connections = self.peers.get(peer)?;
        Some(if connections.iter().any(|one| !one.relayed) {
            ConnectionKind::Direct
        } else {
            ConnectionKind::Relayed
        })
    }

    fn relayed(&self, peer: &PeerId) -> Vec<ConnectionId> {
        let connections = self.peers.get(peer).into_iter().flatten();
        connections
            .filter(|one| one.relayed)
            .map(|one| one.id)
            .collect()
    }

    fn add(&mut self, peer: PeerId, id: ConnectionId, relayed: bool) {
        self.peers.entry(peer).or_default().push(Connection {
            id,
            relayed,
            lost_pings: 0,
        });
    }

    fn remove(&mut self, peer: &PeerId, id: ConnectionId) {
        if let Some(connections) = self.peers.get_mut(peer) {
            connections.retain(|one| one.id != id);
            if connections.is_empty() {
                self.peers.remove(peer);
            }
        }
    }

    /// A ping came back or did not. Whether the connection is dead.
    fn pinged(&mut self, peer: &PeerId, id: ConnectionId, back: bool) -> bool {
        let connections = self.peers.get_mut(peer).into_iter().flatten();
        let Some(one) = { connections }.find(|one| one.id == id) else {
            return false;
        };
        one.lost_pings = if back { 0 } else { one.lost_pings + 1 };
        one.lost_pings >= PINGS_LOST
    }
}

/// What the log said of peers, so that it does not say it over and over.
#[derive(Debug, Default)]
pub(super) struct Said(HashMap<PeerId, Word>);

#[derive(Debug)]
struct Word {
    kind: ConnectionKind,
    at: Instant,
    /// Whether it was said of the connection that stands now.
    stands: bool,
}

impl Said {
    /// Whether it is worth a line that `peer` is connected in this way.
    fn is_news(&mut self, peer: PeerId, kind: ConnectionKind, now: Instant) -> bool {
        let recent = |word: &Word| now.saturating_duration_since(word.at) < SAID_AGAIN;
        let known = self.0.get(&peer);
        if known.is_some_and(|word| word.kind == kind && recent(word)) {
            return false;
        }
        if self.0.len() >= SAID_MAX {
            self.0.retain(|_, word| word.stands || recent(word));
        }
        if self.0.len() < SAID_MAX {
            let word = Word {
                kind,
                at: now,
                stands: true,
            };
            self.0.insert(peer, word);
        }
        true
    }

    /// The peer is gone. Whether that is worth a line: if its coming was.
    fn is_loss(&mut self, peer: &PeerId) -> bool {
        let word = self.0.get_mut(peer);
        word.is_some_and(|word| std::mem::take(&mut word.stands))
    }
}

impl EventLoop {
    pub(super) fn on_connected(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        endpoint: &ConnectedPoint,
    ) {
        let relayed = endpoint.is_relayed();
        let before = self.connections.kind(&peer);
        let remote = remote_of(endpoint);
        if !relayed {
            // With another connection beside it, or lately tried, the hole may have been punched.
            let punch = self.swarm.behaviour().punch.as_ref();
            let punched = before.is_some() || punch.is_some_and(|punch| punch.lately(&peer));
            if endpoint.is_listener() && !punched {
                tracing::debug!(%peer, %remote, "dialled from outside");
                self.evidence.dialled_by(remote);
            }
            self.evidence.met(remote);
        }
        self.connections.add(peer, id, relayed);
        if let Some(member) = ids::from_wire(&peer) {
            let mut members = self.members.lock();
            if !members.connected(member, id, endpoint, now_ms()) {
                tracing::debug!(%peer, "no place for the peer among the members");
            }
        }
        self.drop_superfluous(peer);
        self.circuits.forget(&peer);
        self.complained.remove(&peer);
        let kind = self.connections.kind(&peer);
        if kind != before {
            self.say_connected(peer, kind, remote.to_string());
            self.announce_soon();
            self.keep_changed = true;
        }
        self.news = true;
    }

    /// A relayed connection has done its work once a direct one stands: whatever is sent over it
    /// counts against the relay's limits.
    fn drop_superfluous(&mut self, peer: PeerId) {
        if self.connections.kind(&peer) == Some(ConnectionKind::Direct) {
            for id in self.connections.relayed(&peer) {
                self.swarm.close_connection(id);
            }
        }
    }

    fn say_connected(&mut self, peer: PeerId, kind: Option<ConnectionKind>, address: String) {
        let Some(kind) = kind else {
            return;
        };
        let connection = match kind {
            ConnectionKind::Direct => "direct",
            ConnectionKind::Relayed => "relayed",
        };
        if self.said.is_news(peer, kind, Instant::now()) {
            tracing::info!(%peer, %address, connection, "Peer connected");
        } else {
            tracing::debug!(%peer, %address, connection, "Peer connected");
        }
    }

    pub(super) fn on_disconnected(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        cause: Option<&ConnectionError>,
    ) {
        self.connections.remove(&peer, id);
        if let Some(member) = ids::from_wire(&peer) {
            self.members.lock().disconnected(member, id, now_ms());
        }
        self.keep_changed = true;
        self.news = true;
        if self.connections.contains(&peer) {
            return;
        }
        self.questions.forget(&peer);
        let cause = cause.map_or_else(|| "closed".to_owned(), ToString::to_string);
        self.relays.disconnected(&peer);
        if self.said.is_loss(&peer) {
            tracing::info!(%peer, cause, "Peer disconnected");
        } else {
            tracing::debug!(%peer, cause, "Peer disconnected");
        }
    }

    pub(super) fn on_ping(
        &mut self,
        peer: PeerId,
        id: ConnectionId,
        result: Result<Duration, libp2p::ping::Failure>,
    ) {
        use libp2p::ping::Failure;
        let back = match result {
            Ok(round_trip) => {
                if let Some(member) = ids::from_wire(&peer) {
                    self.members.lock().pinged(member, round_trip, now_ms());
                }
                true
            }
            // Not everybody answers pings.
            Err(Failure::Unsupported) => true,
            Err(Failure::Timeout | Failure::Other { .. }) => false,
        };
        // A host that lost its power does not say goodbye, and TCP takes a quarter of an hour to
        // notice.
        if self.connections.pinged(&peer, id, back) {
            tracing::debug!(%peer, "the connection is dead: pings do not come back");
            self.swarm.close_connection(id);
        }
    }

    /// Chooses whose connections are kept, and tells their handlers.
    pub(super) fn update_kept(&mut self) {
        if !std::mem::take(&mut self.keep_changed) {
            return;
        }
        let proven: Vec<PeerId> = {
            let members = self.members.lock();
            let proven = |peer: &PeerId| {
                ids::from_wire(peer).is_some_and(|member| members.is_proven(&member))
            };
            self.connections.peers().filter(proven).collect()
        };
        // Who was kept stays kept: else connections would come and go for no reason.
        let (old, new): (Vec<PeerId>, Vec<PeerId>) = proven
            .into_iter()
            .filter(|peer| !self.relays.contains(peer))
            .partition(|peer| self.kept.contains(peer));
        let members = old.into_iter().chain(new).take(super::KEPT_PEERS);
        let kept = self.relays.peers().chain(members).collect();
        if kept != self.kept {
            self.kept = kept;
            self.swarm.behaviour_mut().keep.set(self.kept.clone());
        }
    }
}
