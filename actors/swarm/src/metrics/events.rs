//! What the events of the swarm count as.

use libp2p::core::ConnectedPoint;
use libp2p::identify;
use libp2p::metrics::Recorder;
use libp2p::swarm::{DialError, SwarmEvent};

use super::{NetworkMetrics, inc};
use crate::behaviour::BehaviourEvent;
use crate::members::has_address_form;
use crate::punch::Punched;

impl NetworkMetrics {
    /// Counts an event.
    pub(crate) fn record(&self, event: &SwarmEvent<BehaviourEvent>) {
        let usual = match event {
            SwarmEvent::Behaviour(event) => {
                self.record_behaviour(event);
                false
            }
            SwarmEvent::ConnectionEstablished { endpoint, .. } => {
                if endpoint.is_dialer() {
                    inc(&self.counters.dials, "connected");
                }
                is_usual(endpoint)
            }
            SwarmEvent::ConnectionClosed { endpoint, .. } => is_usual(endpoint),
            SwarmEvent::OutgoingConnectionError { error, .. } => {
                inc(&self.counters.dials, outcome(error));
                true
            }
            // What others say our address is.
            SwarmEvent::NewExternalAddrCandidate { .. }
            | SwarmEvent::ExternalAddrConfirmed { .. }
            | SwarmEvent::ExternalAddrExpired { .. }
            | SwarmEvent::NewExternalAddrOfPeer { .. } => false,
            _ => true,
        };
        if usual {
            self.counters.libp2p.record(event);
        }
    }

    fn record_behaviour(&self, event: &BehaviourEvent) {
        let libp2p = &self.counters.libp2p;
        match event {
            BehaviourEvent::Ping(event) => libp2p.record(event),
            // libp2p would make labels of the addresses in it.
            BehaviourEvent::Identify(identify::Event::Received { .. }) => {
                self.counters.identified.inc();
            }
            BehaviourEvent::Identify(event) => libp2p.record(event),
            BehaviourEvent::Kad(event) => libp2p.record(event),
            BehaviourEvent::Gossip(event) => libp2p.record(event),
            BehaviourEvent::Punch(Punched::Told(event)) => libp2p.record(event),
            BehaviourEvent::RelayServer(event) => libp2p.record(event),
            _ => {}
        }
    }
}

/// Whether the address, when somebody else may have told it, has one of the few forms that are
/// dialled here: libp2p makes a label of its form.
fn is_usual(endpoint: &ConnectedPoint) -> bool {
    match endpoint {
        ConnectedPoint::Dialer { address, .. } => has_address_form(address),
        // The address is our transport's own, of the socket that was accepted.
        ConnectedPoint::Listener { .. } => true,
    }
}

/// How a dial ended that did not connect.
fn outcome(error: &DialError) -> &'static str {
    match error {
        DialError::WrongPeerId { .. } => "wrong_peer",
        DialError::LocalPeerId { .. } => "itself",
        DialError::Denied { .. } => "denied",
        DialError::NoAddresses => "no_address",
        DialError::DialPeerConditionFalse(_) => "connected_before",
        DialError::Aborted => "aborted",
        DialError::Transport(_) => "unreachable",
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;
    use std::time::Duration;

    use libp2p::core::Endpoint;
    use libp2p::core::transport::PortUse;
    use libp2p::swarm::ConnectionId;
    use libp2p::{Multiaddr, PeerId};
    use prometheus_client::encoding::text::encode;

    use super::*;

    fn text(metrics: &NetworkMetrics) -> String {
        let mut text = String::new();
        encode(&mut text, &metrics.registry()).unwrap();
        text
    }

    fn connected(address: &str) -> SwarmEvent<BehaviourEvent> {
        SwarmEvent::ConnectionEstablished {
            peer_id: PeerId::random(),
            connection_id: ConnectionId::new_unchecked(1),
            endpoint: ConnectedPoint::Dialer {
                address: address.parse().unwrap(),
                role_override: Endpoint::Dialer,
                port_use: PortUse::Reuse,
            },
            num_established: NonZeroU32::MIN,
            concurrent_dial_errors: None,
            established_in: Duration::from_millis(1),
        }
    }

    #[test]
    fn addresses_that_strangers_tell_make_no_labels() {
        let metrics = NetworkMetrics::new();
        let peer = PeerId::random();
        metrics.record(&connected(&format!("/ip4/192.0.2.1/tcp/1/p2p/{peer}")));
        let usual = text(&metrics);
        assert!(usual.contains("\"/ip4/tcp/p2p\""), "{usual}");
        assert!(usual.contains("bytecave_swarm_dials_total{outcome=\"connected\"} 1"));

        let strange = format!("/ip4/192.0.2.1/tcp/1{}", format!("/p2p/{peer}").repeat(3));
        metrics.record(&connected(&strange));
        let address: Multiaddr = strange.parse().unwrap();
        for event in [
            SwarmEvent::NewExternalAddrCandidate {
                address: address.clone(),
            },
            SwarmEvent::ExternalAddrConfirmed {
                address: address.clone(),
            },
            SwarmEvent::ExternalAddrExpired {
                address: address.clone(),
            },
            SwarmEvent::NewExternalAddrOfPeer {
                peer_id: peer,
                address,
            },
        ] {
            metrics.record(&event);
        }
        let after = text(&metrics);
        assert!(!after.contains("p2p/p2p"), "{after}");
        assert!(after.contains("bytecave_swarm_dials_total{outcome=\"connected\"} 2"));
    }

    #[test]
    fn dials_in_vain_are_told_apart() {
        let metrics = NetworkMetrics::new();
        let failed = |error| SwarmEvent::OutgoingConnectionError {
            connection_id: ConnectionId::new_unchecked(1),
            peer_id: None,
            error,
        };
        metrics.record(&failed(DialError::NoAddresses));
        metrics.record(&failed(DialError::Transport(Vec::new())));
        metrics.record(&failed(DialError::Transport(Vec::new())));
        let text = text(&metrics);
        assert!(text.contains("bytecave_swarm_dials_total{outcome=\"no_address\"} 1"));
        assert!(text.contains("bytecave_swarm_dials_total{outcome=\"unreachable\"} 2"));
    }
}
