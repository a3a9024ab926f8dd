//! Hole punching, with a word of failure on both sides.
//!
//! Two peers that met through a relay dial each other at the same moment. libp2p tells of the outcome
//! only on the side that was dialled through the relay: it leads the attempts and counts them. The
//! other side would never know that its NAT is the kind through which no hole goes.

use std::collections::HashMap;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId, dcutr};

/// Attempts that the leading side makes; after as many the other knows that it gave up.
const ATTEMPTS: u8 = 3;

/// How hole punching with a peer went.
#[derive(Debug)]
pub(crate) enum Punched {
    /// What libp2p says of it.
    Told(dcutr::Event),
    /// None of the dials to this peer came through.
    InVain(PeerId),
}

/// libp2p's behaviour, and the dials it began.
pub(crate) struct Punch {
    inner: dcutr::Behaviour,
    dials: HashMap<ConnectionId, PeerId>,
    failed: HashMap<PeerId, u8>,
    given_up: Vec<PeerId>,
}

impl Punch {
    pub(crate) fn new(inner: dcutr::Behaviour) -> Self {
        Self {
            inner,
            dials: HashMap::new(),
            failed: HashMap::new(),
            given_up: Vec::new(),
        }
    }

    fn note(&mut self, event: &FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(made)
                if self.dials.remove(&made.connection_id).is_some() =>
            {
                self.failed.remove(&made.peer_id);
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

    fn dial_failed(&mut self, peer: PeerId) {
        let failed = self.failed.entry(peer).or_default();
        *failed += 1;
        if *failed >= ATTEMPTS {
            self.failed.remove(&peer);
            self.given_up.push(peer);
        }
    }
}

impl NetworkBehaviour for Punch {
    type ConnectionHandler = THandler<dcutr::Behaviour>;
    type ToSwarm = Punched;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_inbound_connection(connection, peer, local, remote)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        self.inner
            .handle_established_outbound_connection(connection, peer, address, role, port)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        self.note(&event);
        self.inner.on_swarm_event(event);
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        self.inner
            .on_connection_handler_event(peer, connection, event);
    }

    // Whoever fills the list is polled right after: the swarm polls its behaviour in each round.
    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        if let Some(peer) = self.given_up.pop() {
            return Poll::Ready(ToSwarm::GenerateEvent(Punched::InVain(peer)));
        }
        let said = self.inner.poll(context);
        if let Poll::Ready(ToSwarm::Dial { opts }) = &said
            && let Some(peer) = opts.get_peer_id()
        {
            self.dials.insert(opts.connection_id(), peer);
        }
        said.map(|said| said.map_out(Punched::Told))
    }
}

#[cfg(test)]
mod tests {
    use libp2p::swarm::{DialError, DialFailure};

    use super::*;

    fn dial_fails(punch: &mut Punch, peer: PeerId, id: usize) {
        let connection_id = ConnectionId::new_unchecked(id);
        punch.dials.insert(connection_id, peer);
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
}
