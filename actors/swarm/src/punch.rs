//! Hole punching, with a word of failure on both sides.
//!
//! Two peers that met through a relay dial each other at the same moment. libp2p tells of the outcome
//! only on the side that was dialled through the relay: it leads the attempts and counts them. The
//! other side would never know that its NAT is the kind through which no hole goes.

use std::collections::HashMap;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use libp2p::swarm::{
    ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent, ToSwarm,
};
use libp2p::{PeerId, dcutr};

/// Time after a dial for which our NAT may let the peer in on account of it.
const OPEN: Duration = Duration::from_mins(5);
/// Peers of which it is remembered that they were dialled.
const LATELY_MAX: usize = 1024;
/// Attempts that the leading side makes; after as many the other knows that it gave up.
const ATTEMPTS: u8 = 3;

/// How hole punching with a peer went.
#[derive(Debug)]
pub(crate) enum Punched {
    /// What libp2p says of it.
    Told(dcutr::Event),
    /// The dial of this peer came through before ours did.
    ByThem(PeerId),
    /// None of the dials to this peer came through.
    InVain(PeerId),
}

/// libp2p's behaviour, and the dials it began.
pub(crate) struct Punch {
    inner: dcutr::Behaviour,
    dials: HashMap<ConnectionId, PeerId>,
    failed: HashMap<PeerId, u8>,
    lately: HashMap<PeerId, Instant>,
    outcomes: Vec<Punched>,
}

impl Punch {
    pub(crate) fn new(inner: dcutr::Behaviour) -> Self {
        Self {
            inner,
            dials: HashMap::new(),
            failed: HashMap::new(),
            lately: HashMap::new(),
            outcomes: Vec::new(),
        }
    }

    /// Whether the peer was lately dialled to punch a hole: that it reaches us now does not say that
    /// others would.
    pub(crate) fn lately(&self, peer: &PeerId) -> bool {
        self.lately.get(peer).is_some_and(|at| at.elapsed() < OPEN)
    }

    fn dials(&mut self, connection: ConnectionId, peer: PeerId) {
        if self.lately.len() >= LATELY_MAX {
            self.lately.retain(|_, at| at.elapsed() < OPEN);
        }
        if self.lately.len() < LATELY_MAX {
            self.lately.insert(peer, Instant::now());
        }
        self.dials.insert(connection, peer);
    }

    fn note(&mut self, event: &FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(made) if !made.endpoint.is_relayed() => {
                self.connected(made.peer_id, made.connection_id);
            }
            FromSwarm::DialFailure(failure) => {
                if let Some(peer) = self.dials.remove(&failure.connection_id) {
                    self.dial_failed(peer);
                }
            }
            // The next meeting begins anew.
            FromSwarm::ConnectionClosed(closed) if closed.remaining_established == 0 => {
                self.failed.remove(&closed.peer_id);
            }
            _ => {}
        }
    }

    fn connected(&mut self, peer: PeerId, connection: ConnectionId) {
        let ours = self.dials.remove(&connection).is_some();
        let punching = self.dials.values().any(|dialled| *dialled == peer);
        if ours || punching {
            self.failed.remove(&peer);
        }
        // Of ours libp2p tells itself.
        if punching && !ours {
            self.outcomes.push(Punched::ByThem(peer));
        }
    }

    fn dial_failed(&mut self, peer: PeerId) {
        let failed = self.failed.entry(peer).or_default();
        *failed += 1;
        if *failed >= ATTEMPTS {
            self.failed.remove(&peer);
            self.outcomes.push(Punched::InVain(peer));
        }
    }
}

impl NetworkBehaviour for Punch {
    type ConnectionHandler = THandler<dcutr::Behaviour>;
    type ToSwarm = Punched;

    crate::delegate::connections_of_inner!();

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.note(&event);
        self.inner.on_swarm_event(event);
    }

    // Whoever fills the list is polled right after: the swarm polls its behaviour in each round.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(outcome) = self.outcomes.pop() {
            return Poll::Ready(ToSwarm::GenerateEvent(outcome));
        }
        let said = self.inner.poll(context);
        if let Poll::Ready(ToSwarm::Dial { opts }) = &said
            && let Some(peer) = opts.get_peer_id()
        {
            self.dials(opts.connection_id(), peer);
        }
        said.map(|said| said.map_out(Punched::Told))
    }
}

#[cfg(test)]
mod tests {
    use libp2p::core::ConnectedPoint;
    use libp2p::swarm::behaviour::ConnectionEstablished;
    use libp2p::swarm::{DialError, DialFailure};

    use super::*;

    fn dial_fails(punch: &mut Punch, peer: PeerId, id: usize) {
        let connection_id = ConnectionId::new_unchecked(id);
        punch.dials(connection_id, peer);
        punch.on_swarm_event(FromSwarm::DialFailure(DialFailure {
            peer_id: Some(peer),
            error: &DialError::Aborted,
            connection_id,
        }));
    }

    #[test]
    fn after_three_dials_in_vain_it_is_said_once() {
        let mut punch = Punch::new(dcutr::Behaviour::new(PeerId::random()));
        let [peer, other] = [PeerId::random(), PeerId::random()];
        let mut context = Context::from_waker(std::task::Waker::noop());
        for id in 0..2 {
            dial_fails(&mut punch, peer, id);
            dial_fails(&mut punch, other, 10 + id);
        }
        assert!(punch.poll(&mut context).is_pending());
        dial_fails(&mut punch, peer, 2);
        let Poll::Ready(ToSwarm::GenerateEvent(Punched::InVain(of))) = punch.poll(&mut context)
        else {
            panic!("nothing was said");
        };
        assert_eq!(of, peer);
        assert!(punch.poll(&mut context).is_pending());
        // Dials that are not ours are not counted.
        punch.on_swarm_event(FromSwarm::DialFailure(DialFailure {
            peer_id: Some(other),
            error: &DialError::Aborted,
            connection_id: ConnectionId::new_unchecked(99),
        }));
        assert!(punch.poll(&mut context).is_pending());
        assert!(punch.dials.is_empty());
    }

    #[test]
    fn a_connection_from_whom_we_are_dialling_is_a_hole_that_they_punched() {
        let mut punch = Punch::new(dcutr::Behaviour::new(PeerId::random()));
        let [peer, stranger] = [PeerId::random(), PeerId::random()];
        punch.dials(ConnectionId::new_unchecked(1), peer);
        assert!(punch.lately(&peer) && !punch.lately(&stranger));
        let endpoint = ConnectedPoint::Listener {
            local_addr: "/ip4/10.0.0.2/udp/5011/quic-v1".parse().unwrap(),
            send_back_addr: "/ip4/8.8.8.8/udp/5011/quic-v1".parse().unwrap(),
        };
        for (id, peer_id) in [(2, stranger), (3, peer)] {
            punch.note(&FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id,
                connection_id: ConnectionId::new_unchecked(id),
                endpoint: &endpoint,
                failed_addresses: &[],
                other_established: 0,
            }));
        }
        let mut context = Context::from_waker(std::task::Waker::noop());
        let Poll::Ready(ToSwarm::GenerateEvent(Punched::ByThem(of))) = punch.poll(&mut context)
        else {
            panic!("nothing was said");
        };
        assert_eq!(of, peer);
        assert!(punch.poll(&mut context).is_pending());
    }
}
