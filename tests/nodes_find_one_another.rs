//! Five nodes that know one address between them come to know each other, and do so again after
//! they were all stopped. What it costs them to stay acquainted is little.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::harness::network::{Over, home};
use crate::harness::{Home, Running, free_port, soak, wait_for};

/// Nodes of a small network.
const NODES: usize = 5;

/// Nodes, each at an address that it keeps over restarts.
struct Network {
    homes: Vec<Home>,
    nodes: Vec<Running>,
}

impl Network {
    /// Starts a node, and four more that know its address and nothing else.
    fn by_bootstrap() -> Self {
        let homes: Vec<Home> = (0..NODES).map(|_| settled()).collect();
        let first = homes[0].start();
        let known = first.multiaddr(Over::Tcp);
        let mut nodes = vec![first];
        let mut all = Vec::new();
        for (at, home) in homes.into_iter().enumerate() {
            let home = if at == 0 {
                home
            } else {
                home.env("P2P_BOOTSTRAP_PEERS", &known)
            };
            all.push(home);
        }
        nodes.extend(all[1..].iter().map(Home::start));
        Self { homes: all, nodes }
    }

    fn ids(&self) -> Vec<String> {
        self.nodes.iter().map(Running::peer_id).collect()
    }

    /// Waits until every node is connected to every other.
    fn wait_acquainted(&self) {
        let ids = self.ids();
        for (node, own) in self.nodes.iter().zip(&ids) {
            for other in ids.iter().filter(|id| *id != own) {
                node.wait_acquainted(other);
            }
        }
    }

    fn stop(self) -> Vec<Home> {
        self.nodes.into_iter().for_each(Running::stop);
        self.homes
    }
}

/// A node whose address on the network stays the same.
fn settled() -> Home {
    let address = format!("/ip4/127.0.0.1/tcp/{}", free_port());
    home().env("P2P_LISTEN_ADDRESSES", &address)
}

/// Waits until what a node says of a peer is so.
fn wait_view(node: &Running, peer: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("{peer}: {what}"), || {
        node.view_of(peer).filter(|view| is(view))
    })
}

#[test]
fn five_nodes_find_one_another_through_one_of_them() {
    let network = Network::by_bootstrap();
    network.wait_acquainted();
    let ids = network.ids();
    for (node, own) in network.nodes.iter().zip(&ids) {
        for other in ids.iter().filter(|id| *id != own) {
            let view = wait_view(node, other, "announced", |view| {
                view["announced"].is_object() && view["rttMs"].is_u64()
            });
            assert_eq!(view["live"], true, "{view}");
            assert_eq!(view["connection"], "direct", "{view}");
            assert!(
                view["agent"].as_str().unwrap().starts_with("bytecave/"),
                "{view}"
            );
            assert_eq!(view["info"]["shardCount"], 16, "{view}");
            let addresses = view["multiaddrs"].as_array().unwrap();
            assert!(!addresses.is_empty() && addresses.len() <= 16, "{view}");
        }
        let peers = node.network()["peers"].clone();
        let told: Vec<&Value> = peers.as_array().unwrap().iter().collect();
        assert_eq!(told.len(), NODES - 1, "itself is none of them: {peers}");
        assert_eq!(node.client().health()["peers"], NODES - 1);
    }
    // A node that goes in order is heard of as gone, and no longer counts as connected.
    let Network { homes, mut nodes } = network;
    let (gone, left) = (nodes.pop().unwrap(), &nodes[0]);
    let id = gone.peer_id();
    gone.stop();
    left.wait_disconnected(&id);
    let view = left.view_of(&id).expect("it is remembered");
    assert!(view["lastSeenMs"].as_u64().unwrap() > 0, "{view}");
    drop(homes);
}

#[test]
fn nodes_that_nobody_can_dial_find_one_another_through_a_relay() {
    let address = format!("/ip4/127.0.0.1/tcp/{}", free_port());
    let relay_home = home()
        .env("P2P_LISTEN_ADDRESSES", &address)
        .env("BYTECAVE__P2P__EXTERNAL_ADDRESSES", &address)
        .env("BYTECAVE__P2P__RELAY_SERVER", "true");
    let relay = relay_home.start();
    let known = format!("{address}/p2p/{}", relay.peer_id());
    let homes: Vec<Home> = (0..NODES)
        .map(|_| {
            home()
                .env("P2P_LISTEN_ADDRESSES", "[]")
                .env("P2P_RELAY_PEERS", &known)
                .env("BYTECAVE__P2P__STORAGE_LINK_PORT", "0")
                // So that they stay on the relay.
                .env("BYTECAVE__P2P__ENABLE_HOLE_PUNCHING", "false")
        })
        .collect();
    let nodes: Vec<Running> = homes.iter().map(Home::start).collect();
    for node in &nodes {
        wait_for("a reservation", || {
            (node.network()["relays"][0]["state"] == "reserved").then_some(())
        });
    }
    let ids: Vec<String> = nodes.iter().map(Running::peer_id).collect();
    for (node, own) in nodes.iter().zip(&ids) {
        for other in ids.iter().filter(|id| *id != own) {
            let view = wait_view(node, other, "connected through the relay", |view| {
                view["connection"] == "relayed" && view["announced"].is_object()
            });
            let addresses = view["multiaddrs"].as_array().unwrap();
            let circuit = format!("/p2p-circuit/p2p/{other}");
            assert!(
                addresses
                    .iter()
                    .any(|address| address.as_str().unwrap().ends_with(&circuit)),
                "{view}"
            );
        }
        let own_addresses = node.network()["multiaddrs"].clone();
        assert!(
            own_addresses.to_string().contains("/p2p-circuit/p2p/"),
            "{own_addresses}"
        );
    }
}

#[test]
fn nodes_find_one_another_in_the_local_network() {
    if let Err(why) = multicast() {
        eprintln!("SKIPPED: there is no multicast here ({why}), so mDNS cannot be tested");
        return;
    }
    let homes: Vec<Home> = (0..NODES)
        .map(|_| {
            home()
                .env("P2P_LISTEN_ADDRESSES", "/ip4/0.0.0.0/tcp/0")
                .env("P2P_ENABLE_MDNS", "true")
        })
        .collect();
    let nodes: Vec<Running> = homes.iter().map(Home::start).collect();
    let ids: Vec<String> = nodes.iter().map(Running::peer_id).collect();
    for (node, own) in nodes.iter().zip(&ids) {
        for other in ids.iter().filter(|id| *id != own) {
            node.wait_acquainted(other);
        }
    }
}

/// Whether a datagram to the group of mDNS comes back to this machine.
fn multicast() -> std::io::Result<()> {
    const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Sends nothing; asks which address would be used to leave the machine.
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
    let interface = match socket.local_addr()?.ip() {
        std::net::IpAddr::V4(ip) if !ip.is_loopback() => ip,
        ip => return Err(std::io::Error::other(format!("no network but {ip}"))),
    };
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.join_multicast_v4(&GROUP, &interface)?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let port = socket.local_addr()?.port();
    socket.send_to(b"?", (GROUP, port))?;
    socket.recv_from(&mut [0; 8]).map(|_| ())
}

#[test]
fn nodes_find_one_another_again_by_what_they_remember() {
    let network = Network::by_bootstrap();
    network.wait_acquainted();
    let ids = network.ids();
    let mut homes = network.stop();
    for home in &homes {
        let file = home.data().join("p2p/members.json");
        let mode = fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
        let text = fs::read_to_string(&file).unwrap();
        let others = ids.iter().filter(|id| text.contains(*id)).count();
        assert!(others >= NODES - 1, "{text}");
    }
    // The one that the others were told of never comes back.
    homes.remove(0);
    for home in &mut homes {
        home.unset("P2P_BOOTSTRAP_PEERS");
    }
    let nodes: Vec<Running> = homes.iter().map(Home::start).collect();
    for (node, own) in nodes.iter().zip(&ids[1..]) {
        assert_eq!(node.peer_id(), *own);
        for other in ids[1..].iter().filter(|id| *id != own) {
            node.wait_acquainted(other);
        }
        let lost = node.view_of(&ids[0]).expect("it is remembered");
        assert!(lost["connection"].is_null(), "{lost}");
    }
}

#[test]
fn a_memory_that_cannot_be_read_is_set_aside_and_stops_nothing() {
    let network = Network::by_bootstrap();
    network.wait_acquainted();
    let ids = network.ids();
    let mut homes = network.stop();
    let (first, damaged) = (homes.remove(0), homes.remove(0));
    let file = damaged.data().join("p2p/members.json");
    let nonsense = &fs::read(&file).unwrap()[..100];
    fs::write(&file, nonsense).unwrap();
    let first = first.start();
    let node = damaged.start();
    let aside = damaged.data().join("p2p/members.json.damaged");
    assert_eq!(fs::read(&aside).unwrap(), nonsense);
    assert!(
        node.said().contains("members.json.damaged"),
        "{}",
        node.said()
    );
    node.wait_acquainted(&ids[0]);
    first.stop();
    node.stop();
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains(&ids[0]), "it is written anew: {text}");
}

#[test]
fn two_nodes_do_not_share_an_address() {
    let address = format!("/ip4/127.0.0.1/tcp/{}", free_port());
    let first = home().env("P2P_LISTEN_ADDRESSES", &address);
    let _running = first.start();
    for form in [address.clone(), format!("{address}/ws")] {
        let second = home().env("P2P_LISTEN_ADDRESSES", &form);
        second
            .refused()
            .naming(&[&form, "in use", "P2P_LISTEN_ADDRESSES"]);
    }
}

/// The sum of a metric over its labels that contain `part`.
fn metric(node: &Running, name: &str, part: &str) -> f64 {
    let answer = node.client().get("/metrics");
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = String::from_utf8(answer.body).unwrap();
    let lines = text.lines().filter(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(['{', ' ']) && rest.contains(part))
    });
    lines
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

#[test]
fn what_the_network_does_is_counted() {
    let network = Network::by_bootstrap();
    network.wait_acquainted();
    let node = &network.nodes[1];
    for (name, part, least) in [
        ("bytecave_swarm_peers_connected", "direct", 4.0),
        ("bytecave_swarm_members", "live", 4.0),
        ("bytecave_swarm_members", "known", 4.0),
        ("bytecave_swarm_announcements_total", "accepted", 1.0),
        ("bytecave_swarm_traffic_bytes_total", "in", 1000.0),
        ("bytecave_swarm_traffic_bytes_total", "out", 1000.0),
        ("bytecave_swarm_dials_total", "connected", 1.0),
        ("bytecave_swarm_identified_total", "", 4.0),
        ("libp2p_swarm_dial_attempt_total", "", 1.0),
    ] {
        wait_for(&format!("{name} {part} to be at least {least}"), || {
            (metric(node, name, part) >= least).then_some(())
        });
    }
}

/// What five nodes that have nothing to do but to stay acquainted send each other. The long form
/// watches for two minutes; every form fails above 1 KiB/s on a connection.
#[test]
fn slow_idle_connections_cost_little() {
    const LIMIT: f64 = 1024.0;
    let window = Duration::from_secs(if soak() { 180 } else { 65 });
    let network = Network::by_bootstrap();
    network.wait_acquainted();
    // Introductions are over when a whole second passes without much traffic.
    let total = || -> f64 {
        let bytes = |node| metric(node, "bytecave_swarm_traffic_bytes_total", "");
        network.nodes.iter().map(bytes).sum()
    };
    let mut before = total();
    wait_for("the introductions to be over", || {
        std::thread::sleep(Duration::from_secs(1));
        let now = total();
        let quiet = now - before < 10_000.0;
        before = now;
        quiet.then_some(())
    });
    let (begun, first) = (Instant::now(), total());
    std::thread::sleep(window);
    let (bytes, seconds) = (total() - first, begun.elapsed().as_secs_f64());
    // Every byte is counted by its sender and by its receiver.
    let connections = f64::from(u32::try_from(NODES * (NODES - 1) / 2).unwrap());
    let rate = bytes / 2.0 / connections / seconds;
    println!(
        "idle traffic: {rate:.0} bytes/s on each of {connections} connections, both directions together, over {seconds:.0} s"
    );
    for node in &network.nodes {
        let connected = metric(node, "bytecave_swarm_peers_connected", "direct");
        assert!(connected >= 4.0, "they are connected still: {connected}");
    }
    assert!(bytes > 0.0, "pings at least are counted");
    assert!(rate < LIMIT, "{rate:.0} bytes/s");
}
