//! Small questions about multiaddresses. Which addresses of others are worth keeping is decided in
//! [`members`](crate::members).

use std::net::IpAddr;

use libp2p::core::ConnectedPoint;
use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

use crate::options::StartError;

/// Whether the address leads through a relay.
pub(crate) fn is_relayed(address: &Multiaddr) -> bool {
    address.iter().any(|part| part == Protocol::P2pCircuit)
}

/// The peer an address leads to, if it ends in one.
pub(crate) fn peer_of(address: &Multiaddr) -> Option<PeerId> {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => Some(peer),
        _ => None,
    }
}

/// The address with `/p2p/<peer>` at its end, once.
pub(crate) fn with_peer(address: &Multiaddr, peer: PeerId) -> Multiaddr {
    let address = address.clone();
    if peer_of(&address) == Some(peer) {
        address
    } else {
        address.with(Protocol::P2p(peer))
    }
}

/// The address without the peer it ends in.
pub(crate) fn without_peer(address: &Multiaddr) -> Multiaddr {
    let mut address = address.clone();
    if peer_of(&address).is_some() {
        address.pop();
    }
    address
}

/// The address of a circuit through the relay at `relay`, which ends in the relay's id.
pub(crate) fn circuit(relay: &Multiaddr) -> Multiaddr {
    relay.clone().with(Protocol::P2pCircuit)
}

/// The IP address an address begins with.
pub(crate) fn ip_of(address: &Multiaddr) -> Option<IpAddr> {
    match address.iter().next()? {
        Protocol::Ip4(ip) => Some(ip.into()),
        Protocol::Ip6(ip) => Some(ip.into()),
        _ => None,
    }
}

/// Whether the address is a WebSocket's, which is what browsers can dial.
pub(crate) fn is_websocket(address: &Multiaddr) -> bool {
    address
        .iter()
        .any(|part| matches!(part, Protocol::Ws(_) | Protocol::Wss(_)))
}

/// The remote side of a connection, for a log: where it was dialled, or from where it came.
pub(crate) fn remote_of(endpoint: &ConnectedPoint) -> &Multiaddr {
    match endpoint {
        ConnectedPoint::Dialer { address, .. } => address,
        // Of a circuit that came in, the other's own address is just its peer id; the relay's, by
        // which it came, says more.
        ConnectedPoint::Listener { local_addr, .. } if endpoint.is_relayed() => local_addr,
        ConnectedPoint::Listener { send_back_addr, .. } => send_back_addr,
    }
}

/// The addresses that a setting names.
pub(crate) fn parse<'a>(
    setting: &'static str,
    texts: impl Iterator<Item = &'a str>,
) -> Result<Vec<Multiaddr>, StartError> {
    let parsed = texts.map(|text| {
        text.parse()
            .map_err(|e: libp2p::multiaddr::Error| StartError::Address {
                setting,
                address: text.to_owned(),
                cause: e.to_string(),
            })
    });
    parsed.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_id_is_added_once() {
        let peer = PeerId::random();
        let plain: Multiaddr = "/ip4/192.0.2.1/tcp/1/ws".parse().unwrap();
        let full = with_peer(&plain, peer);
        assert_eq!(full.to_string(), format!("{plain}/p2p/{peer}"));
        assert_eq!(with_peer(&full, peer), full);
        assert_eq!(
            (without_peer(&full), without_peer(&plain)),
            (plain.clone(), plain.clone())
        );
        assert_eq!((peer_of(&plain), peer_of(&full)), (None, Some(peer)));
        assert!(is_websocket(&full) && !is_relayed(&full));
        assert!(is_relayed(&circuit(&full)));
        assert_eq!(ip_of(&full), Some([192, 0, 2, 1].into()));
    }
}
