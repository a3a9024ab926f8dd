//! What the swarm says, handed to whoever it concerns.

use std::time::Instant;

use libp2p::core::transport::ListenerId;
use libp2p::swarm::{ListenError, SwarmEvent};
use libp2p::{Multiaddr, autonat, mdns, relay, upnp};

use super::{EventLoop, jitter, now_ms};
use crate::addresses::is_relayed;
use crate::behaviour::BehaviourEvent;
use crate::ids;
use crate::members::Teller;
use crate::punch::Punched;

impl EventLoop {
    pub(super) fn on_event(&mut self, event: SwarmEvent<BehaviourEvent>) {
        self.metrics.record(&event);
        match event {
            SwarmEvent::Behaviour(event) => self.on_behaviour(event),
            SwarmEvent::ConnectionEstablished {
                peer_id,
                connection_id,
                endpoint,
                ..
            } => self.on_connected(peer_id, connection_id, &endpoint),
            SwarmEvent::ConnectionClosed {
                peer_id,
                connection_id,
                cause,
                ..
            } => self.on_disconnected(peer_id, connection_id, cause.as_ref()),
            SwarmEvent::OutgoingConnectionError {
                peer_id: Some(peer),
                error,
                ..
            } => self.on_dial_failed(peer, &error),
            SwarmEvent::IncomingConnectionError {
                send_back_addr,
                error,
                ..
            } => on_incoming_failed(&send_back_addr, &error),
            SwarmEvent::NewListenAddr {
                listener_id,
                address,
            } => self.on_listening(listener_id, &address),
            SwarmEvent::ExpiredListenAddr { address, .. } => self.on_not_listening(&address),
            SwarmEvent::ListenerClosed {
                listener_id,
                reason,
                ..
            } => self.on_listener_closed(listener_id, reason.err().map(|e| e.to_string())),
            SwarmEvent::ListenerError { error, .. } => {
                tracing::warn!(%error, "a listener reports an error");
            }
            SwarmEvent::ExternalAddrConfirmed { address } => self.on_confirmed(&address),
            SwarmEvent::ExternalAddrExpired { address } => {
                self.evidence.expired(&address);
                self.news = true;
            }
            _ => {}
        }
    }

    fn on_behaviour(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(event) => self.on_identify(event),
            BehaviourEvent::Ping(event) => {
                self.on_ping(event.peer, event.connection, event.result);
            }
            BehaviourEvent::Kad(event) => self.on_kad(event),
            BehaviourEvent::Gossip(event) => self.on_gossip(event),
            BehaviourEvent::Mdns(event) => self.on_mdns(event),
            BehaviourEvent::Relay(event) => self.on_relay(&event),
            BehaviourEvent::Punch(event) => self.on_punched(&event),
            BehaviourEvent::Nat(autonat::v2::client::Event {
                tested_addr,
                server,
                result,
                ..
            }) => match result {
                Ok(()) => tracing::debug!(address = %tested_addr, peer = %server, "reached"),
                Err(error) => {
                    tracing::debug!(address = %tested_addr, peer = %server, %error, "not reached");
                    self.evidence.probe_failed(&tested_addr);
                }
            },
            BehaviourEvent::Upnp(event) => on_upnp(&event),
            BehaviourEvent::RelayServer(event) => {
                tracing::debug!(?event, "relaying for others");
            }
            // These have nothing to say.
            BehaviourEvent::NatServer(_) => {}
            BehaviourEvent::Gate(never)
            | BehaviourEvent::Limits(never)
            | BehaviourEvent::Memory(never)
            | BehaviourEvent::Blocked(never)
            | BehaviourEvent::Allowed(never)
            | BehaviourEvent::Keep(never)
            | BehaviourEvent::Book(never)
            | BehaviourEvent::Streams(never) => match never {},
        }
    }

    fn on_listening(&mut self, listener: ListenerId, address: &Multiaddr) {
        if is_relayed(address) || !self.connections.is_listener(listener) {
            return;
        }
        tracing::info!(%address, "Listening for peers");
        self.listening_changed();
    }

    fn on_not_listening(&mut self, address: &Multiaddr) {
        if is_relayed(address) {
            return;
        }
        tracing::info!(%address, "No longer listening for peers");
        self.evidence.forget();
        self.listening_changed();
    }

    pub(super) fn listening_changed(&mut self) {
        let listening: Vec<Multiaddr> = self.own_listeners().cloned().collect();
        self.state_relay_addresses(&listening);
        // Who listens nowhere is where its relays are.
        let circuits = if listening.is_empty() {
            self.relays.circuits(*self.swarm.local_peer_id())
        } else {
            Vec::new()
        };
        let mut members = self.members.lock();
        members.listening(listening.iter().chain(&circuits));
        drop(members);
        self.news = true;
    }

    /// The addresses this node itself listens on, with their real ports.
    pub(super) fn own_listeners(&self) -> impl Iterator<Item = &Multiaddr> {
        self.swarm
            .listeners()
            .filter(|address| !is_relayed(address))
    }

    fn on_listener_closed(&mut self, listener: ListenerId, reason: Option<String>) {
        self.news = true;
        if self.connections.is_listener(listener) {
            let reason = reason.unwrap_or_default();
            tracing::error!(
                reason,
                "a listener closed; peers reach this node there no longer"
            );
            return;
        }
        let lost = self
            .relays
            .closed(listener, reason.clone(), Instant::now(), jitter());
        let Some(lost) = lost else {
            return;
        };
        let relay = lost.relay;
        let reason = reason.unwrap_or_else(|| "the relay closed it".to_owned());
        if lost.stood || lost.first {
            tracing::warn!(%relay, reason, "No reservation at the relay; trying again");
        } else {
            tracing::debug!(%relay, reason, "no reservation at the relay; trying again");
        }
    }

    fn on_relay(&mut self, event: &relay::client::Event) {
        let relay::client::Event::ReservationReqAccepted { relay_peer_id, .. } = event else {
            tracing::debug!(?event, "circuit");
            return;
        };
        if self.relays.accepted(relay_peer_id, Instant::now()) {
            tracing::info!(relay = %relay_peer_id, "Reservation at the relay stands");
            self.announce_soon();
            self.listening_changed();
        }
    }

    fn on_punched(&mut self, event: &Punched) {
        match event {
            Punched::Told(event) => {
                let peer = event.remote_peer_id;
                self.evidence.punch(event.result.is_ok());
                match &event.result {
                    Ok(_) => tracing::debug!(%peer, "hole punched"),
                    Err(error) => tracing::debug!(%peer, %error, "no hole punched"),
                }
            }
            Punched::ByThem(peer) => {
                self.evidence.punch(true);
                tracing::debug!(%peer, "hole punched by the other side");
            }
            Punched::InVain(peer) => {
                self.evidence.punch(false);
                tracing::debug!(%peer, "no hole punched: no dial came through");
            }
        }
        self.news = true;
    }

    fn on_confirmed(&mut self, address: &Multiaddr) {
        if is_relayed(address) {
            return;
        }
        if self.evidence.confirmed(address) {
            tracing::info!(%address, "Address confirmed: a peer reached this node there");
            self.announce_soon();
        } else if !self.stated.contains(address) {
            self.swarm.remove_external_address(address);
        }
        self.news = true;
    }

    fn on_mdns(&mut self, event: mdns::Event) {
        let mdns::Event::Discovered(found) = event else {
            return;
        };
        let mut members = self.members.lock();
        for (peer, address) in found {
            if let Some(member) = ids::from_wire(&peer) {
                let addresses = std::iter::once(&address);
                members.told(member, addresses, Teller::LocalNetwork, now_ms());
            }
        }
    }
}

fn on_incoming_failed(from: &Multiaddr, error: &ListenError) {
    tracing::debug!(%from, %error, "a connection from outside did not come about");
}

fn on_upnp(event: &upnp::Event) {
    match event {
        upnp::Event::NewExternalAddr { external_addr, .. } => {
            tracing::info!(address = %external_addr, "The router forwards a port");
        }
        upnp::Event::ExpiredExternalAddr { external_addr, .. } => {
            tracing::info!(address = %external_addr, "The router no longer forwards a port");
        }
        upnp::Event::GatewayNotFound => {
            tracing::info!("no router found that forwards ports by UPnP");
        }
        upnp::Event::NonRoutableGateway => {
            tracing::info!("the router is behind another NAT; forwarding its ports is of no use");
        }
    }
}
