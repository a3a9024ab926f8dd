//! Where members are reached, for whoever dials one by its id alone.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use libp2p::core::Endpoint;
use libp2p::swarm::{ConnectionDenied, ConnectionId, NetworkBehaviour, dummy};
use libp2p::{Multiaddr, PeerId};

use crate::ids;
use crate::members::Members;

/// The members, shared by the event loop and the behaviour it polls. Never locked across an await.
#[derive(Debug, Clone)]
pub(crate) struct SharedMembers(Arc<Mutex<Members>>);

impl SharedMembers {
    pub(crate) fn new(members: Members) -> Self {
        Self(Arc::new(Mutex::new(members)))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Members> {
        // One task uses them; a panic in it ends the node.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Knows the members' addresses.
#[derive(Debug)]
pub(crate) struct Book(pub(crate) SharedMembers);

impl NetworkBehaviour for Book {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let member = peer.and_then(|peer| ids::from_wire(&peer));
        Ok(member.map_or_else(Vec::new, |member| self.0.lock().addresses(&member)))
    }

    crate::delegate::no_handlers!();
}
