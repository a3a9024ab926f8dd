//! Which connections stay open though nothing uses them: those of relays and of live members.
//!
//! A connection lives as long as a handler on it says so, or a stream is open, or until the idle
//! timeout; ping and identify do not count. The handler here says so for the peers it is told.

use std::collections::{HashSet, VecDeque};
use std::convert::Infallible;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::core::upgrade::DeniedUpgrade;
use libp2p::swarm::handler::ConnectionEvent;
use libp2p::swarm::{
    ConnectionDenied, ConnectionHandler, ConnectionHandlerEvent, ConnectionId, FromSwarm,
    NetworkBehaviour, NotifyHandler, SubstreamProtocol, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm,
};
use libp2p::{Multiaddr, PeerId};

/// Keeps the connections of some peers.
#[derive(Debug, Default)]
pub(crate) struct Keep {
    kept: HashSet<PeerId>,
    connections: HashSet<(PeerId, ConnectionId)>,
    orders: VecDeque<(PeerId, ConnectionId, bool)>,
}

impl Keep {
    /// From now on the connections of exactly these peers are kept.
    pub(crate) fn set(&mut self, kept: HashSet<PeerId>) {
        for (peer, connection) in &self.connections {
            let keep = kept.contains(peer);
            if keep != self.kept.contains(peer) {
                self.orders.push_back((*peer, *connection, keep));
            }
        }
        self.kept = kept;
    }
}

impl NetworkBehaviour for Keep {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler(self.kept.contains(&peer)))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        Ok(Handler(self.kept.contains(&peer)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(made) => {
                let id = (made.peer_id, made.connection_id);
                self.connections.insert(id);
                // The set may have changed since the handler was made.
                let keep = self.kept.contains(&made.peer_id);
                self.orders.push_back((id.0, id.1, keep));
            }
            FromSwarm::ConnectionClosed(closed) => {
                self.connections
                    .remove(&(closed.peer_id, closed.connection_id));
            }
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: PeerId,
        _: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {}
    }

    // Whoever fills the queue is polled right after: the swarm polls its behaviour in each round.
    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        while let Some((peer_id, connection, keep)) = self.orders.pop_front() {
            if self.connections.contains(&(peer_id, connection)) {
                return Poll::Ready(ToSwarm::NotifyHandler {
                    peer_id,
                    handler: NotifyHandler::One(connection),
                    event: keep,
                });
            }
        }
        Poll::Pending
    }
}

/// Says whether one connection is kept.
#[derive(Debug)]
pub(crate) struct Handler(bool);

impl ConnectionHandler for Handler {
    type FromBehaviour = bool;
    type ToBehaviour = Infallible;
    type InboundProtocol = DeniedUpgrade;
    type OutboundProtocol = DeniedUpgrade;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Infallible;

    fn listen_protocol(&self) -> SubstreamProtocol<Self::InboundProtocol> {
        SubstreamProtocol::new(DeniedUpgrade, ())
    }

    fn connection_keep_alive(&self) -> bool {
        self.0
    }

    fn on_behaviour_event(&mut self, keep: bool) {
        self.0 = keep;
    }

    fn poll(
        &mut self,
        _: &mut Context<'_>,
    ) -> Poll<
        ConnectionHandlerEvent<Self::OutboundProtocol, Self::OutboundOpenInfo, Self::ToBehaviour>,
    > {
        Poll::Pending
    }

    fn on_connection_event(
        &mut self,
        _: ConnectionEvent<'_, Self::InboundProtocol, Self::OutboundProtocol, (), Infallible>,
    ) {
    }
}
