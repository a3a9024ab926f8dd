//! A behaviour that keeps off relayed connections.
//!
//! A circuit carries some 100 KiB in all, and one question of `AutoNAT` may bring as much along, to prove
//! that the asker means it: asked through a circuit, it ends the circuit. The answer would say nothing
//! either: who is asked must be far away, and a peer behind a NAT is not.

use std::collections::HashSet;
use std::task::{Context, Poll};

use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
// The enum that libp2p's own derived behaviours are made of.
use libp2p::swarm::derive_prelude::Either;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, THandler, THandlerInEvent,
    THandlerOutEvent, ToSwarm, dummy,
};
use libp2p::{Multiaddr, PeerId};

use crate::addresses::is_relayed;

/// The behaviour within, and the connections that it does not hear of.
pub(crate) struct DirectOnly<B> {
    inner: B,
    relayed: HashSet<ConnectionId>,
}

impl<B> DirectOnly<B> {
    pub(crate) fn new(inner: B) -> Self {
        Self {
            inner,
            relayed: HashSet::new(),
        }
    }
}

impl<B: NetworkBehaviour> NetworkBehaviour for DirectOnly<B> {
    type ConnectionHandler = Either<THandler<B>, dummy::ConnectionHandler>;
    type ToSwarm = B::ToSwarm;

    fn handle_established_inbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        local: &Multiaddr,
        remote: &Multiaddr,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if is_relayed(local) || is_relayed(remote) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner
            .handle_established_inbound_connection(connection, peer, local, remote)
            .map(Either::Left)
    }

    fn handle_established_outbound_connection(
        &mut self,
        connection: ConnectionId,
        peer: PeerId,
        address: &Multiaddr,
        role: Endpoint,
        port: PortUse,
    ) -> Result<THandler<Self>, ConnectionDenied> {
        if is_relayed(address) {
            return Ok(Either::Right(dummy::ConnectionHandler));
        }
        self.inner
            .handle_established_outbound_connection(connection, peer, address, role, port)
            .map(Either::Left)
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        let hidden = match &event {
            FromSwarm::ConnectionEstablished(made) if made.endpoint.is_relayed() => {
                self.relayed.insert(made.connection_id)
            }
            FromSwarm::ConnectionClosed(closed) => self.relayed.remove(&closed.connection_id),
            FromSwarm::AddressChange(changed) => self.relayed.contains(&changed.connection_id),
            _ => false,
        };
        if !hidden {
            self.inner.on_swarm_event(event);
        }
    }

    fn on_connection_handler_event(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        event: THandlerOutEvent<Self>,
    ) {
        match event {
            Either::Left(event) => self
                .inner
                .on_connection_handler_event(peer, connection, event),
            Either::Right(never) => match never {},
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ToSwarm<Self::ToSwarm, THandlerInEvent<Self>>> {
        self.inner
            .poll(context)
            .map(|said| said.map_in(Either::Left))
    }
}

#[cfg(test)]
mod tests {
    use libp2p::autonat::v2::client;
    use libp2p::core::ConnectedPoint;
    use libp2p::swarm::ConnectionClosed;
    use libp2p::swarm::behaviour::ConnectionEstablished;

    use super::*;

    fn address(text: &str) -> Multiaddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_circuit_gets_a_handler_that_does_nothing_and_is_not_heard_of() {
        let mut direct = DirectOnly::new(client::Behaviour::default());
        let peer = PeerId::random();
        let relay = PeerId::random();
        let there = address("/ip4/8.8.8.8/tcp/1");
        let circuit = address(&format!("/ip4/8.8.8.8/tcp/1/p2p/{relay}/p2p-circuit"));
        let made = |direct: &mut DirectOnly<_>, id, address: &Multiaddr| {
            let port = PortUse::Reuse;
            let role = Endpoint::Dialer;
            direct
                .handle_established_outbound_connection(id, peer, address, role, port)
                .unwrap()
        };
        let [one, other] = [1, 2].map(ConnectionId::new_unchecked);
        assert!(matches!(made(&mut direct, one, &there), Either::Left(_)));
        assert!(matches!(
            made(&mut direct, other, &circuit),
            Either::Right(_)
        ));
        let incoming = direct.handle_established_inbound_connection(other, peer, &circuit, &there);
        assert!(matches!(incoming.unwrap(), Either::Right(_)));

        // AutoNAT panics at the end of a connection whose beginning it has not heard, or twice.
        for (id, address) in [(one, &there), (other, &circuit)] {
            let endpoint = ConnectedPoint::Dialer {
                address: address.clone(),
                role_override: Endpoint::Dialer,
                port_use: PortUse::Reuse,
            };
            direct.on_swarm_event(FromSwarm::ConnectionEstablished(ConnectionEstablished {
                peer_id: peer,
                connection_id: id,
                endpoint: &endpoint,
                failed_addresses: &[],
                other_established: 0,
            }));
            assert_eq!(direct.relayed.contains(&id), id == other);
            direct.on_swarm_event(FromSwarm::ConnectionClosed(ConnectionClosed {
                peer_id: peer,
                connection_id: id,
                endpoint: &endpoint,
                cause: None,
                remaining_established: 0,
            }));
        }
        assert!(direct.relayed.is_empty());
    }
}
