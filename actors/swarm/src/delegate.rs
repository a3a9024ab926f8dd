//! What a `NetworkBehaviour` has to say though it has nothing to say: of one around another the parts
//! that are passed on as they come, and of one without handlers all about handlers.

/// For a behaviour around `self.inner` whose connections and handlers are those of the inner one.
macro_rules! connections_of_inner {
    () => {
        fn handle_established_inbound_connection(
            &mut self,
            connection: libp2p::swarm::ConnectionId,
            peer: libp2p::PeerId,
            local: &libp2p::Multiaddr,
            remote: &libp2p::Multiaddr,
        ) -> Result<libp2p::swarm::THandler<Self>, libp2p::swarm::ConnectionDenied> {
            self.inner
                .handle_established_inbound_connection(connection, peer, local, remote)
        }

        fn handle_established_outbound_connection(
            &mut self,
            connection: libp2p::swarm::ConnectionId,
            peer: libp2p::PeerId,
            address: &libp2p::Multiaddr,
            role: libp2p::core::Endpoint,
            port: libp2p::core::transport::PortUse,
        ) -> Result<libp2p::swarm::THandler<Self>, libp2p::swarm::ConnectionDenied> {
            self.inner
                .handle_established_outbound_connection(connection, peer, address, role, port)
        }

        fn on_connection_handler_event(
            &mut self,
            peer: libp2p::PeerId,
            connection: libp2p::swarm::ConnectionId,
            event: libp2p::swarm::THandlerOutEvent<Self>,
        ) {
            self.inner
                .on_connection_handler_event(peer, connection, event);
        }
    };
}
pub(crate) use connections_of_inner;

/// For a behaviour that only hears of connections about to be made, and does nothing on them.
macro_rules! no_handlers {
    () => {
        fn handle_established_inbound_connection(
            &mut self,
            _: libp2p::swarm::ConnectionId,
            _: libp2p::PeerId,
            _: &libp2p::Multiaddr,
            _: &libp2p::Multiaddr,
        ) -> Result<libp2p::swarm::THandler<Self>, libp2p::swarm::ConnectionDenied> {
            Ok(libp2p::swarm::dummy::ConnectionHandler)
        }

        fn handle_established_outbound_connection(
            &mut self,
            _: libp2p::swarm::ConnectionId,
            _: libp2p::PeerId,
            _: &libp2p::Multiaddr,
            _: libp2p::core::Endpoint,
            _: libp2p::core::transport::PortUse,
        ) -> Result<libp2p::swarm::THandler<Self>, libp2p::swarm::ConnectionDenied> {
            Ok(libp2p::swarm::dummy::ConnectionHandler)
        }

        fn on_swarm_event(&mut self, _: libp2p::swarm::FromSwarm<'_>) {}

        fn on_connection_handler_event(
            &mut self,
            _: libp2p::PeerId,
            _: libp2p::swarm::ConnectionId,
            event: libp2p::swarm::THandlerOutEvent<Self>,
        ) {
            match event {}
        }

        fn poll(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<
            libp2p::swarm::ToSwarm<Self::ToSwarm, libp2p::swarm::THandlerInEvent<Self>>,
        > {
            std::task::Poll::Pending
        }
    };
}
pub(crate) use no_handlers;
