//! Which addresses of others are worth keeping. Whoever tells one decides where this node dials, so
//! only forms that it can dial are kept, in one spelling, and none that leads back into its own
//! machine or network, unless the peer is there too.

use std::net::{Ipv4Addr, Ipv6Addr};

use libp2p::multiaddr::Protocol;
use libp2p::{Multiaddr, PeerId};

/// Longest address kept, in bytes of its binary form and in characters of its text.
const ADDRESS_LIMIT_BYTES: usize = 256;
/// Longest DNS name (RFC 1035).
const NAME_LIMIT: usize = 253;

/// From where an address can be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// From anywhere.
    Global,
    /// From the same private network.
    Private,
    /// From the same machine.
    Loopback,
}

/// An address in its one spelling: dialable, ending in `/p2p/` and the peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Clean {
    /// The address.
    pub(crate) address: Multiaddr,
    /// From where it can be reached; of a circuit, from where its relay can.
    pub(crate) scope: Scope,
    /// The relay that it leads through, if it does.
    pub(crate) relay: Option<PeerId>,
}

/// Reads an address of `peer` that somebody wrote down.
pub(crate) fn parse(text: &str, peer: &PeerId) -> Option<Clean> {
    if text.len() > ADDRESS_LIMIT_BYTES {
        return None;
    }
    clean(&text.parse().ok()?, peer)
}

/// An address of `peer`, or none when it has a form that this node cannot dial, names another peer,
/// or leads nowhere. `/dnsaddr` is not among the forms: one name would stand for any number of
/// addresses.
pub(crate) fn clean(address: &Multiaddr, peer: &PeerId) -> Option<Clean> {
    if address.len() > ADDRESS_LIMIT_BYTES {
        return None;
    }
    let mut parts = address.iter().peekable();
    let scope = host_scope(&parts.next()?)?;
    match parts.next()? {
        Protocol::Tcp(port) if port != 0 => match parts.peek() {
            Some(Protocol::Ws(path) | Protocol::Wss(path)) if path == "/" => {
                parts.next();
            }
            Some(Protocol::Tls) => {
                parts.next();
                let Protocol::Ws(path) = parts.next()? else {
                    return None;
                };
                (path == "/").then_some(())?;
            }
            _ => {}
        },
        Protocol::Udp(port) if port != 0 => {
            (parts.next()? == Protocol::QuicV1).then_some(())?;
        }
        _ => return None,
    }
    let mut address = address.clone();
    let (first, second, third) = (parts.next(), parts.next(), parts.next());
    let relay = match (first, second, third) {
        (None, _, _) => {
            address.push(Protocol::P2p(*peer));
            None
        }
        (Some(Protocol::P2p(named)), None, _) if named == *peer => None,
        (Some(Protocol::P2p(relay)), Some(Protocol::P2pCircuit), None) if relay != *peer => {
            address.push(Protocol::P2p(*peer));
            Some(relay)
        }
        (Some(Protocol::P2p(relay)), Some(Protocol::P2pCircuit), Some(Protocol::P2p(named)))
            if relay != *peer && named == *peer =>
        {
            Some(relay)
        }

        _ => return None,
    };
    (parts.next().is_none() && address.len() <= ADDRESS_LIMIT_BYTES).then_some(Clean {
        address,
        scope,
        relay,
    })
}

/// Whether an address that ends in a peer has one of the few forms that are kept.
pub(crate) fn has_form(address: &Multiaddr) -> bool {
    match address.iter().last() {
        Some(Protocol::P2p(peer)) => clean(address, &peer).is_some(),
        _ => false,
    }
}

/// From where the first part of an address can be reached; none if from nowhere.
pub(crate) fn host_scope(host: &Protocol<'_>) -> Option<Scope> {
    match host {
        Protocol::Ip4(ip) => ip4_scope(*ip),
        Protocol::Ip6(ip) => ip6_scope(*ip),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => name_scope(name),
        _ => None,
    }
}

/// From where the host of `address` can be reached.
pub(crate) fn scope_of(address: &Multiaddr) -> Option<Scope> {
    host_scope(&address.iter().next()?)
}

fn ip4_scope(ip: Ipv4Addr) -> Option<Scope> {
    let [first, second, ..] = ip.octets();
    if ip.is_loopback() {
        Some(Scope::Loopback)
    } else if first == 0 || ip.is_multicast() || first >= 240 {
        // This network, multicast, reserved, broadcast.
        None
    } else if ip.is_private() || ip.is_link_local() || (first == 100 && second & 0xc0 == 64) {
        // The last is the shared space between a carrier and its customers (RFC 6598).
        Some(Scope::Private)
    } else {
        Some(Scope::Global)
    }
}

fn ip6_scope(ip: Ipv6Addr) -> Option<Scope> {
    if let Some(ip) = ip.to_ipv4_mapped() {
        return ip4_scope(ip);
    }
    if ip.is_loopback() {
        Some(Scope::Loopback)
    } else if ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local() {
        // A link-local address means nothing without the name of an interface of this machine.
        None
    } else if ip.is_unique_local() {
        Some(Scope::Private)
    } else {
        Some(Scope::Global)
    }
}

/// A name is not resolved here; those that by convention lead inwards are known by their form.
fn name_scope(name: &str) -> Option<Scope> {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let written = name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if name.is_empty() || name.len() > NAME_LIMIT || !written {
        return None;
    }
    if let Ok(ip) = name.parse::<Ipv4Addr>() {
        return ip4_scope(ip);
    }
    let last = name.rsplit('.').next().unwrap_or(&name);
    if last == "localhost" {
        return Some(Scope::Loopback);
    }
    // A single word is a name of the local network, such as another container's.
    let inward = last.len() == name.len()
        || matches!(
            last,
            "local" | "lan" | "internal" | "home" | "intranet" | "arpa"
        );
    Some(if inward {
        Scope::Private
    } else {
        Scope::Global
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn peer() -> PeerId {
        crate::ids::to_wire(&bytecave_core::PublicKey::new([7; 32]).peer_id())
    }

    fn other() -> PeerId {
        crate::ids::to_wire(&bytecave_core::PublicKey::new([8; 32]).peer_id())
    }

    #[test]
    fn what_can_be_dialled_is_kept_in_one_spelling() {
        let (us, relay) = (peer(), other());
        for (written, relayed) in [
            ("/ip4/8.8.8.8/tcp/5011".to_owned(), false),
            ("/ip4/8.8.8.8/tcp/5012/ws".to_owned(), false),
            ("/dns4/node.example.org/tcp/443/wss".to_owned(), false),
            ("/dns/node.example.org/tcp/443/tls/ws".to_owned(), false),
            (
                "/ip6/2001:4860:4860::8888/udp/5011/quic-v1".to_owned(),
                false,
            ),
            (
                format!("/ip4/8.8.8.8/tcp/4001/p2p/{relay}/p2p-circuit"),
                true,
            ),
        ] {
            let bare = parse(&written, &us).unwrap_or_else(|| panic!("{written} is refused"));
            let full = parse(&format!("{written}/p2p/{us}"), &us).unwrap();
            assert_eq!(bare, full, "{written}");
            assert_eq!(bare.address.to_string(), format!("{written}/p2p/{us}"));
            assert_eq!(bare.scope, Scope::Global);
            assert_eq!(bare.relay, relayed.then_some(relay));
        }
    }

    #[test]
    fn what_cannot_be_dialled_or_names_another_is_dropped() {
        let (us, relay) = (peer(), other());
        for written in [
            String::new(),
            "/ip4/8.8.8.8".to_owned(),
            "/ip4/8.8.8.8/tcp/0".to_owned(),
            "/ip4/0.0.0.0/tcp/1".to_owned(),
            "/ip4/224.0.0.1/tcp/1".to_owned(),
            "/ip4/255.255.255.255/tcp/1".to_owned(),
            "/ip6/::/tcp/1".to_owned(),
            "/ip6/fe80::1/tcp/1".to_owned(),
            "/ip6/ff02::1/tcp/1".to_owned(),
            "/ip6/::ffff:0.0.0.0/tcp/1".to_owned(),
            "/unix/tmp%2Fsocket".to_owned(),
            "/memory/1".to_owned(),
            "/dnsaddr/example.org".to_owned(),
            "/dnsaddr/example.org/tcp/1".to_owned(),
            "/ip4/8.8.8.8/udp/1".to_owned(),
            "/ip4/8.8.8.8/udp/1/quic".to_owned(),
            "/ip4/8.8.8.8/udp/1/webrtc-direct".to_owned(),
            "/ip4/8.8.8.8/tcp/1/http".to_owned(),
            format!("/p2p/{us}"),
            format!("/ip4/8.8.8.8/tcp/1/p2p/{relay}"),
            format!("/ip4/8.8.8.8/tcp/1/p2p/{us}/p2p-circuit"),
            format!("/ip4/8.8.8.8/tcp/1/p2p/{relay}/p2p-circuit/p2p/{relay}"),
            format!("/ip4/8.8.8.8/tcp/1/p2p/{relay}/p2p-circuit/p2p-circuit"),
            format!("/ip4/8.8.8.8/tcp/1/p2p/{us}/tcp/2"),
            format!("/dns4/{}/tcp/1", "a".repeat(254)),
            "/dns4/a b/tcp/1".to_owned(),
            format!("/ip4/8.8.8.8{}", "/tcp/1".repeat(60)),
        ] {
            assert_eq!(parse(&written, &us), None, "{written}");
        }
    }

    #[test]
    fn inward_addresses_are_told_from_others() {
        for (written, scope) in [
            ("/ip4/127.0.0.1/tcp/1", Scope::Loopback),
            ("/ip6/::1/tcp/1", Scope::Loopback),
            ("/ip6/::ffff:127.0.0.1/tcp/1", Scope::Loopback),
            ("/dns4/localhost/tcp/1", Scope::Loopback),
            ("/dns4/a.LOCALHOST./tcp/1", Scope::Loopback),
            ("/dns4/127.0.0.1/tcp/1", Scope::Loopback),
            ("/ip4/10.0.0.1/tcp/1", Scope::Private),
            ("/ip4/172.17.0.2/tcp/1", Scope::Private),
            ("/ip4/192.168.0.1/tcp/1", Scope::Private),
            ("/ip4/169.254.169.254/tcp/1", Scope::Private),
            ("/ip4/100.64.0.1/tcp/1", Scope::Private),
            ("/ip6/fd00::1/tcp/1", Scope::Private),
            ("/dns4/node-2/tcp/1", Scope::Private),
            ("/dns4/printer.local/tcp/1", Scope::Private),
            ("/ip4/100.128.0.1/tcp/1", Scope::Global),
            ("/dns4/example.org/tcp/1", Scope::Global),
        ] {
            assert_eq!(parse(written, &peer()).unwrap().scope, scope, "{written}");
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_kept_is_kept_again(text in "(/(ip4|ip6|dns4|tcp|udp|ws|wss|tls|quic-v1|p2p|p2p-circuit|[a-z0-9.:]{1,12})){0,9}") {
            if let Some(kept) = parse(&text, &peer()) {
                prop_assert_eq!(clean(&kept.address, &peer()), Some(kept));
            }
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(address) = Multiaddr::try_from(bytes) {
                let _ = clean(&address, &peer());
            }
        }
    }
}
