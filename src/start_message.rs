//! What the start says of the network: where the node listens, whom it joins, and what is off.

use bytecave_config::P2p;

/// One or more lines, without indentation.
pub(crate) fn network(p2p: &P2p) -> Vec<String> {
    if !p2p.enabled {
        return vec!["off (P2P_ENABLED=false): this node stores and serves alone".to_owned()];
    }
    let mut lines = vec![listening(p2p), joining(p2p)];
    let off: Vec<&str> = [
        (p2p.enable_relay, "relays (P2P_ENABLE_RELAY)"),
        (p2p.enable_dht, "DHT (P2P_ENABLE_DHT)"),
        (p2p.enable_quic, "QUIC (p2p.enable_quic)"),
        (
            p2p.enable_hole_punching,
            "hole punching (p2p.enable_hole_punching)",
        ),
    ]
    .into_iter()
    .filter_map(|(on, name)| (!on).then_some(name))
    .collect();
    if !off.is_empty() {
        lines.push(format!("switched off: {}", off.join(", ")));
    }
    lines
}

fn listening(p2p: &P2p) -> String {
    let addresses: Vec<&str> = p2p
        .listen_addresses
        .iter()
        .map(bytecave_config::ListenAddress::as_str)
        .collect();
    if addresses.is_empty() {
        return "dials others and listens nowhere (P2P_LISTEN_ADDRESSES)".to_owned();
    }
    format!("listens on {}", addresses.join(" and "))
}

fn joining(p2p: &P2p) -> String {
    let (relays, peers) = (p2p.relay_peers.len(), p2p.bootstrap_peers.len());
    let local = if p2p.enable_mdns {
        "looks for peers in the local network"
    } else {
        "waits to be dialled"
    };
    match (relays, peers) {
        (0, 0) => format!(
            "no relay or bootstrap peer is set (P2P_RELAY_PEERS, P2P_BOOTSTRAP_PEERS): it {local}, and dials whom it remembers"
        ),
        (0, _) => format!(
            "joins through {}; no relay is set (P2P_RELAY_PEERS): behind a NAT nobody reaches it",
            counted(peers, "peer")
        ),
        (_, 0) => format!("joins through {}", counted(relays, "relay")),
        _ => format!(
            "joins through {} and {}",
            counted(relays, "relay"),
            counted(peers, "peer")
        ),
    }
}

fn counted(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_config::Config;

    use super::*;

    const ADDRESS: &str =
        "/ip4/203.0.113.7/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn said(change: impl FnOnce(&mut P2p)) -> String {
        let mut p2p = Config::built_in().unwrap().p2p;
        change(&mut p2p);
        network(&p2p).join("\n")
    }

    #[test]
    fn a_start_says_what_is_off_and_what_would_switch_it_on() {
        let alone = said(|_| {});
        for part in [
            "listens on /ip4/0.0.0.0/tcp/5011 and /ip4/0.0.0.0/tcp/5012/ws",
            "P2P_RELAY_PEERS",
            "P2P_BOOTSTRAP_PEERS",
            "waits to be dialled",
        ] {
            assert!(alone.contains(part), "no {part:?} in {alone}");
        }
        assert!(!alone.contains("switched off"), "{alone}");
        let off = said(|p2p| p2p.enabled = false);
        assert_eq!(off.lines().count(), 1);
        assert!(off.contains("P2P_ENABLED=false"), "{off}");
        let less = said(|p2p| {
            p2p.enable_dht = false;
            p2p.enable_relay = false;
        });
        assert!(
            less.ends_with("switched off: relays (P2P_ENABLE_RELAY), DHT (P2P_ENABLE_DHT)"),
            "{less}"
        );
    }

    #[test]
    fn whom_it_joins_is_counted() {
        let relayed = said(|p2p| p2p.relay_peers = vec![ADDRESS.parse().unwrap()]);
        assert!(relayed.ends_with("joins through 1 relay"), "{relayed}");
        let both = said(|p2p| {
            p2p.relay_peers = vec![ADDRESS.parse().unwrap()];
            p2p.bootstrap_peers = vec![ADDRESS.parse().unwrap(); 2];
        });
        assert!(both.ends_with("1 relay and 2 peers"), "{both}");
        let peers = said(|p2p| p2p.bootstrap_peers = vec![ADDRESS.parse().unwrap()]);
        assert!(peers.contains("behind a NAT"), "{peers}");
        let local = said(|p2p| p2p.enable_mdns = true);
        assert!(local.contains("local network"), "{local}");
        let deaf = said(|p2p| p2p.listen_addresses.clear());
        assert!(deaf.contains("listens nowhere"), "{deaf}");
    }
}
