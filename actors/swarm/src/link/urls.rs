//! Where the storage links go: a port at each relay, and what is configured beside them.

use bytecave_config::P2p;
use libp2p::Multiaddr;
use libp2p::multiaddr::Protocol;

/// The addresses of all links, each once: those at the relays first, then those of `storage_links`.
pub(crate) fn urls(settings: &P2p) -> Vec<String> {
    let port = settings.storage_link_port;
    let at_relays = settings
        .relay_peers
        .iter()
        .filter_map(|relay| at_relay(relay.as_str(), port));
    let named = settings.storage_links.iter().map(ToString::to_string);
    let mut urls = Vec::new();
    for url in at_relays.chain(named) {
        if !urls.contains(&url) {
            urls.push(url);
        }
    }
    urls
}

/// The link at `port` of the host that this multiaddress names; none when it names no host, or one
/// that is itself behind a relay, or when the port is 0. It is encrypted where the relay's own
/// WebSocket is.
fn at_relay(multiaddr: &str, port: u16) -> Option<String> {
    if port == 0 {
        return None;
    }
    let multiaddr: Multiaddr = multiaddr.parse().ok()?;
    let host = match multiaddr.iter().next()? {
        Protocol::Ip4(ip) => ip.to_string(),
        Protocol::Ip6(ip) => format!("[{ip}]"),
        Protocol::Dns(name) | Protocol::Dns4(name) | Protocol::Dns6(name) => name.into_owned(),
        _ => return None,
    };
    let mut encrypted = false;
    for protocol in &multiaddr {
        match protocol {
            Protocol::Tls | Protocol::Wss(_) => encrypted = true,
            Protocol::P2pCircuit => return None,
            _ => {}
        }
    }
    let scheme = if encrypted { "wss" } else { "ws" };
    Some(format!("{scheme}://{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    #[test]
    fn a_link_goes_to_the_host_of_the_relay() {
        for (relay, url) in [
            ("/ip4/203.0.113.7/tcp/4001", Some("ws://203.0.113.7:4003")),
            ("/ip6/2001:db8::1/tcp/4001", Some("ws://[2001:db8::1]:4003")),
            ("/dns/relay.test/tcp/4001/ws", Some("ws://relay.test:4003")),
            (
                "/dns4/relay.test/udp/1/quic-v1",
                Some("ws://relay.test:4003"),
            ),
            (
                "/dns6/relay.test/tcp/443/wss",
                Some("wss://relay.test:4003"),
            ),
            (
                "/dns4/relay.test/tcp/443/tls/ws",
                Some("wss://relay.test:4003"),
            ),
            ("/dnsaddr/relay.test", None),
            ("/memory/1", None),
            ("relay.test", None),
        ] {
            let relay = format!("{relay}/p2p/{PEER}");
            assert_eq!(at_relay(&relay, 4003).as_deref(), url, "{relay}");
            assert_eq!(at_relay(&relay, 0), None, "{relay}");
        }
        let behind = format!("/ip4/203.0.113.7/tcp/1/p2p/{PEER}/p2p-circuit/p2p/{PEER}");
        assert_eq!(at_relay(&behind, 4003), None);
    }
}
