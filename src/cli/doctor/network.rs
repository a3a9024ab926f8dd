//! The network: ports, peers, relays, storage links, and whether others can reach the node.
//!
//! Of a running node its own view is asked (`GET /peers`); without one, whether its ports are free.

use std::fmt::Display;
use std::io;
use std::net::{IpAddr, TcpListener, UdpSocket};

use bytecave_config::{Config, ListenAddress, P2p, SecretFile};
use reqwest::Method;
use serde_json::Value;

use super::Finding;
use super::node::Port;
use crate::cli::client::{Client, Patience};
use crate::cli::context::{Context, block_on};
use crate::cli::error::CliError;
use crate::cli::network::{Link, Network, Reachability, Relay, Snapshot};
use crate::cli::output::printable;
use crate::cli::target::{Token, own_url};

pub(super) fn network(
    context: &Context,
    config: &Config,
    port: Port,
) -> Result<Vec<Finding>, CliError> {
    let p2p = &config.p2p;
    if !p2p.enabled {
        return Ok(vec![Finding::off(
            "network",
            "switched off (p2p.enabled = false)",
            "nothing to do for a node that stores and serves alone; P2P_ENABLED=true joins others",
        )]);
    }
    let mut findings = certificate(p2p);
    match port {
        Port::Ours => findings.extend(running(context, config)?),
        Port::Free | Port::Taken => findings.extend(ports(p2p, true)),
        Port::Unknown => findings.extend(ports(p2p, false)),
    }
    Ok(findings)
}

/// The files of `/tls/ws` addresses.
fn certificate(p2p: &P2p) -> Vec<Finding> {
    let certificate = p2p.tls_certificate_file.as_deref();
    let key = p2p.tls_key_file.as_ref().map(SecretFile::path);
    let named = [
        ("p2p.tls_certificate_file", certificate),
        ("p2p.tls_key_file", key),
    ];
    named
        .into_iter()
        .filter_map(|(setting, path)| {
            let path = path?;
            let error = std::fs::File::open(path).err()?;
            Some(Finding::problem(
                "TLS",
                format_args!("{setting} {}: {error}", path.display()),
                "name a file that this user can read, or leave the /tls/ws address out",
            ))
        })
        .collect()
}

/// Where a listen address binds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Socket {
    ip: IpAddr,
    udp: bool,
    port: u16,
}

impl Socket {
    /// `None` for what this check does not understand, such as names; the node judges those at its start.
    fn of(address: &ListenAddress) -> Option<Self> {
        let mut parts = address.as_str().split('/').skip(1);
        let ip = match parts.next()? {
            "ip4" | "ip6" => parts.next()?.parse().ok()?,
            _ => return None,
        };
        let udp = match parts.next()? {
            "tcp" => false,
            "udp" => true,
            _ => return None,
        };
        let port = parts.next()?.parse().ok()?;
        Some(Self { ip, udp, port })
    }

    fn try_bind(self) -> io::Result<()> {
        if self.udp {
            UdpSocket::bind((self.ip, self.port)).map(drop)
        } else {
            TcpListener::bind((self.ip, self.port)).map(drop)
        }
    }
}

impl Display for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if self.udp { "UDP" } else { "TCP" };
        write!(f, "{kind} {}", self.port)
    }
}

/// Whether the node could listen. `alone`: it is certain that this node does not run, so that whoever has a
/// port is somebody else.
fn ports(p2p: &P2p, alone: bool) -> Vec<Finding> {
    let check = "P2P port";
    if p2p.listen_addresses.is_empty() {
        return vec![Finding::off(
            check,
            "p2p.listen_addresses is empty: the node dials others and cannot be dialled",
            "set P2P_LISTEN_ADDRESSES to listen",
        )];
    }
    let sockets = p2p.listen_addresses.iter().filter_map(Socket::of);
    sockets
        .map(|socket| {
            let Socket { ip, udp, port } = socket;
            if port == 0 {
                return Finding::ok(check, format_args!("{socket} on {ip}: chosen by the system"));
            }
            let Err(error) = socket.try_bind() else {
                return Finding::ok(check, format_args!("{socket} on {ip} is free"));
            };
            let flag = if udp { 'u' } else { 't' };
            let names = format!("ss -ln{flag}p 'sport = :{port}' names it");
            match error.kind() {
                io::ErrorKind::AddrInUse if alone => Finding::problem(
                    check,
                    format_args!("{socket} on {ip} is in use by another program"),
                    format_args!("stop that program ({names}), or change P2P_LISTEN_ADDRESSES"),
                ),
                io::ErrorKind::AddrInUse => Finding::warning(
                    check,
                    format_args!("{socket} on {ip} is in use, by this node or another program"),
                    names,
                ),
                io::ErrorKind::PermissionDenied => Finding::problem(
                    check,
                    format_args!("this user may not listen on {socket}"),
                    "choose a port from 1024 up in P2P_LISTEN_ADDRESSES",
                ),
                io::ErrorKind::AddrNotAvailable => Finding::problem(
                    check,
                    format_args!("{ip} is not an address of this machine"),
                    "listen on 0.0.0.0 or [::], and name the address that others see in p2p.external_addresses",
                ),
                _ => Finding::problem(
                    check,
                    format_args!("{socket} on {ip}: {error}"),
                    "change P2P_LISTEN_ADDRESSES",
                ),
            }
        })
        .collect()
}

/// The network as the running node sees it.
fn running(context: &Context, config: &Config) -> Result<Vec<Finding>, CliError> {
    let base = own_url(&config.http)?;
    let token = Token::of_own_node(config, &base);
    let client = Client::new(base, token, Patience::Brief, context.out)?;
    let answer = block_on(async {
        client
            .json::<Value>(client.request(Method::GET, &["peers"], &[]))
            .await
    });
    let read = answer
        .map_err(|error| (error.to_string(), error.hint()))
        .and_then(|value| Network::read(&value).map_err(|error| (error.to_string(), None)));
    Ok(match read {
        Ok(Network::On(snapshot)) => seen(&config.p2p, &snapshot),
        Ok(Network::Off) => vec![Finding::warning(
            "network",
            "the running node has it switched off, and the settings do not",
            "start the node again, so that it reads its settings",
        )],
        Err((error, hint)) => vec![Finding::warning(
            "network",
            format_args!("the running node does not tell of it: {error}"),
            hint.unwrap_or_else(|| "`bytecave status` and the log say how it is".to_owned()),
        )],
    })
}

fn seen(p2p: &P2p, snapshot: &Snapshot) -> Vec<Finding> {
    let mut findings = vec![peers(p2p, snapshot)];
    findings.extend(relays(p2p, &snapshot.relays));
    findings.extend(snapshot.links.iter().map(link));
    findings.push(reachability(p2p, &snapshot.reachability));
    findings
}

fn peers(p2p: &P2p, snapshot: &Snapshot) -> Finding {
    let check = "peers";
    let known = snapshot.total();
    let text = format!("{} connected, {known} known", snapshot.connected);
    if snapshot.connected > 0 {
        return Finding::ok(check, text);
    }
    if p2p.relay_peers.is_empty() && p2p.bootstrap_peers.is_empty() && known == 0 {
        return Finding::off(
            check,
            format_args!("{text}; none is set to join through"),
            "set P2P_BOOTSTRAP_PEERS or P2P_RELAY_PEERS to the address of a running node or relay, or P2P_ENABLE_MDNS=true in a local network",
        );
    }
    Finding::warning(
        check,
        text,
        "see whether the addresses in P2P_BOOTSTRAP_PEERS and P2P_RELAY_PEERS are right, those nodes are up, and a firewall lets this machine connect out; the log says what was tried",
    )
}

fn relays(p2p: &P2p, relays: &[Relay]) -> Vec<Finding> {
    let check = "relay";
    if relays.is_empty() {
        return vec![Finding::off(
            check,
            "none is set",
            "set P2P_RELAY_PEERS to be reached from behind a NAT and by browsers that know only a relay",
        )];
    }
    relays
        .iter()
        .map(|relay| {
            let address = printable(&relay.multiaddr);
            let reason = relay.reason.as_deref().map(printable);
            match relay.state.as_str() {
                "reserved" => Finding::ok(check, format_args!("reserved at {address}")),
                "connecting" => Finding::warning(
                    check,
                    format_args!("no reservation yet at {address}"),
                    "look again in a minute",
                ),
                "off" => Finding::off(
                    check,
                    format_args!("no reservation asked of {address} (p2p.enable_relay = false)"),
                    "set P2P_ENABLE_RELAY=true",
                ),
                state => Finding::warning(
                    check,
                    format_args!(
                        "no reservation at {address}: {}",
                        reason.unwrap_or_else(|| printable(state))
                    ),
                    relay_remedy(p2p),
                ),
            }
        })
        .collect()
}

fn relay_remedy(p2p: &P2p) -> String {
    let several = if p2p.relay_peers.len() > 1 {
        ""
    } else {
        "; a second relay in P2P_RELAY_PEERS is there when one is not"
    };
    format!(
        "it is tried again; see whether the multiaddress and its peer id are right, the relay is up, and a firewall lets this machine connect out{several}"
    )
}

fn link(link: &Link) -> Finding {
    let check = "link";
    let url = printable(&link.url);
    if link.registered {
        return Finding::ok(check, format_args!("registered at {url}"));
    }
    let problem = link.problem.as_deref().map(printable);
    Finding::warning(
        check,
        format_args!(
            "browsers do not reach this node through {url}: {}",
            problem.unwrap_or_else(|| "not registered yet".to_owned())
        ),
        "it is tried again; see whether the relay offers storage links there (p2p.storage_link_port, p2p.storage_links; port 0 asks for none)",
    )
}

/// The verdict, and what changes it.
fn reachability(p2p: &P2p, reachability: &Reachability) -> Finding {
    let check = "NAT";
    let words = format!("others reach this node {}", reachability.in_words());
    let forward = format!(
        "forward {} of the router to this machine and name the outer address in p2p.external_addresses",
        ports_in_words(p2p)
    );
    match (
        reachability.verdict.as_str(),
        reachability.hole_punching.as_deref(),
    ) {
        ("relayed", Some("fails")) => Finding::warning(
            check,
            words,
            format_args!(
                "the NAT gives every peer another port (symmetric) or a firewall is in the way: {forward}, or keep relays in P2P_RELAY_PEERS"
            ),
        ),
        ("unreachable", _) => Finding::warning(
            check,
            words,
            format_args!("set P2P_RELAY_PEERS, or {forward}"),
        ),
        ("unknown", _) => Finding::ok(
            check,
            "not known yet whether others can reach this node: a connected peer that speaks AutoNAT tries it, within minutes",
        ),
        _ => Finding::ok(check, words),
    }
}

/// The ports to forward, by the settings.
fn ports_in_words(p2p: &P2p) -> String {
    let mut ports: Vec<String> = p2p
        .listen_addresses
        .iter()
        .filter_map(Socket::of)
        .filter(|socket| socket.port != 0)
        .map(|socket| socket.to_string())
        .collect();
    ports.dedup();
    if ports.is_empty() {
        "a port that p2p.listen_addresses names".to_owned()
    } else {
        ports.join(" and ")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::super::State;
    use super::*;

    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

    fn settings() -> P2p {
        Config::built_in().unwrap().p2p
    }

    fn snapshot(extra: Value) -> Snapshot {
        let mut value = json!({
            "multiaddrs": [], "connected": 0, "peers": [], "relays": [], "links": [],
            "reachability": { "verdict": "unknown" },
        });
        for (key, of) in extra.as_object().unwrap() {
            value[key] = of.clone();
        }
        match Network::read(&value).unwrap() {
            Network::On(snapshot) => *snapshot,
            Network::Off => panic!("it is on"),
        }
    }

    fn of(findings: &[Finding], check: &str) -> Finding {
        let mut found = findings.iter().filter(|finding| finding.check == check);
        let first = found.next().unwrap().clone();
        assert!(found.next().is_none(), "{check} stands twice");
        first
    }

    #[test]
    fn a_free_port_and_a_taken_one_are_told_apart() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut p2p = settings();
        let tcp_port = tcp.local_addr().unwrap().port();
        p2p.listen_addresses = [
            format!("/ip4/127.0.0.1/tcp/{tcp_port}/ws"),
            format!(
                "/ip4/127.0.0.1/udp/{}/quic-v1",
                udp.local_addr().unwrap().port()
            ),
            "/ip4/127.0.0.1/tcp/0".to_owned(),
            "/ip4/192.0.2.1/tcp/5011".to_owned(),
            "/dns4/localhost/tcp/5011".to_owned(),
        ]
        .iter()
        .map(|address| address.parse().unwrap())
        .collect();
        let states: Vec<State> = ports(&p2p, true).iter().map(|f| f.state).collect();
        assert_eq!(
            states,
            [State::Problem, State::Problem, State::Ok, State::Problem]
        );
        assert!(
            ports(&p2p, true)[0]
                .remedy
                .as_ref()
                .unwrap()
                .contains(&tcp_port.to_string())
        );
        // Whoever has the port may be this very node.
        assert_eq!(ports(&p2p, false)[0].state, State::Warning);
        drop(tcp);
        p2p.listen_addresses.truncate(1);
        assert_eq!(ports(&p2p, true)[0].state, State::Ok);
        p2p.listen_addresses.clear();
        assert_eq!(ports(&p2p, true)[0].state, State::Off);
    }

    #[test]
    fn each_verdict_has_its_remedy() {
        let judge = |verdict: Value| {
            let found = seen(&settings(), &snapshot(json!({ "reachability": verdict })));
            of(&found, "NAT")
        };
        assert_eq!(judge(json!({ "verdict": "direct" })).state, State::Ok);
        for punching in ["works", "untried"] {
            let verdict = json!({ "verdict": "relayed", "holePunching": punching });
            assert_eq!(judge(verdict).state, State::Ok);
        }
        let symmetric = judge(json!({ "verdict": "relayed", "holePunching": "fails" }));
        assert_eq!(symmetric.state, State::Warning);
        let remedy = symmetric.remedy.unwrap();
        for part in ["symmetric", "TCP 5011 and TCP 5012", "P2P_RELAY_PEERS"] {
            assert!(remedy.contains(part), "no {part} in {remedy}");
        }
        let unreachable = judge(json!({ "verdict": "unreachable" }));
        assert_eq!(unreachable.state, State::Warning);
        let remedy = unreachable.remedy.unwrap();
        for part in ["P2P_RELAY_PEERS", "5011", "p2p.external_addresses"] {
            assert!(remedy.contains(part), "no {part} in {remedy}");
        }
        let unknown = judge(json!({ "verdict": "unknown" }));
        assert_eq!(unknown.state, State::Ok);
        assert!(unknown.text.contains("AutoNAT"), "{}", unknown.text);
    }

    #[test]
    fn nobody_to_join_and_nobody_who_answers_are_told_apart() {
        let lonely = seen(&settings(), &snapshot(json!({})));
        assert_eq!(of(&lonely, "peers").state, State::Off);
        assert_eq!(of(&lonely, "relay").state, State::Off);
        let mut p2p = settings();
        p2p.bootstrap_peers = vec![format!("/ip4/1.2.3.4/tcp/1/p2p/{PEER}").parse().unwrap()];
        let cut_off = seen(&p2p, &snapshot(json!({})));
        assert_eq!(of(&cut_off, "peers").state, State::Warning);
        let joined = seen(&p2p, &snapshot(json!({ "connected": 3 })));
        assert_eq!(of(&joined, "peers").state, State::Ok);
    }

    #[test]
    fn relays_and_links_are_named_with_what_they_said() {
        for (relay, state) in [
            (json!({ "multiaddr": "/r", "state": "reserved" }), State::Ok),
            (
                json!({ "multiaddr": "/r", "state": "connecting" }),
                State::Warning,
            ),
            (json!({ "multiaddr": "/r", "state": "off" }), State::Off),
            (
                json!({ "multiaddr": "/r", "state": "failed", "reason": "it is full" }),
                State::Warning,
            ),
        ] {
            let found = seen(&settings(), &snapshot(json!({ "relays": [relay] })));
            let found = of(&found, "relay");
            assert_eq!(found.state, state, "{found:?}");
            assert!(found.text.contains("/r"), "{found:?}");
            if relay["state"] == "failed" {
                assert!(found.text.contains("it is full"), "{found:?}");
            }
        }
        let links = json!({ "links": [
            { "url": "ws://a", "registered": true },
            { "url": "ws://b", "registered": false, "problem": "refused" },
        ] });
        let found = seen(&settings(), &snapshot(links));
        let links: Vec<&Finding> = found.iter().filter(|f| f.check == "link").collect();
        assert_eq!(links[0].state, State::Ok);
        assert_eq!(links[1].state, State::Warning);
        assert!(links[1].text.contains("ws://b: refused"), "{:?}", links[1]);
    }

    #[test]
    fn a_certificate_that_cannot_be_read_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let there = temp.path().join("chain.pem");
        std::fs::write(&there, "").unwrap();
        let mut p2p = settings();
        assert!(certificate(&p2p).is_empty());
        p2p.tls_certificate_file = Some(there);
        p2p.tls_key_file = Some("/nowhere/key.pem".parse().unwrap());
        let found = certificate(&p2p);
        assert_eq!(found.len(), 1);
        assert!(found[0].text.contains("/nowhere/key.pem"), "{:?}", found[0]);
    }
}
