//! Peers that mean harm cost a node a bounded amount of memory and time, and other peers are served
//! meanwhile.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::json;

use crate::harness::js::Js;
use crate::harness::network::{Over, home};
use crate::harness::{Home, Running, wait_for};

const MIB: u64 = 1024 * 1024;

/// What a node of these tests may grow by, whatever is done to it: its budget for blobs in flight is
/// the largest part.
const GROWTH: u64 = 128 * MIB;

/// A node that gives peers little time, so that the tests see the end of it.
fn impatient() -> Home {
    home()
        .env("BYTECAVE__P2P__REQUEST_TIMEOUT", "2s")
        .env("BYTECAVE__P2P__MAX_BODY_MEMORY", "96MiB")
        .env("BYTECAVE__P2P__MAX_MEMBERS", "64")
        .env("BYTECAVE__P2P__MAX_CONNECTIONS", "64")
}

/// A node under attack, and an honest peer that must notice nothing of it.
struct Besieged {
    node: Running,
    id: String,
    honest: Js,
    before: u64,
    // Removed last.
    _home: Home,
}

impl Besieged {
    fn new(home: Home) -> Self {
        let node = home.start();
        let honest = Js::peer(json!({}));
        honest.connect(&node.multiaddr(Over::Tcp));
        let id = node.peer_id();
        let mut besieged = Self {
            node,
            id,
            honest,
            before: 0,
            _home: home,
        };
        besieged.serves();
        besieged.before = besieged.node.resident_bytes();
        besieged
    }

    /// A hostile peer, connected to the node.
    fn hostile(&self) -> Js {
        let hostile = Js::hostile();
        hostile.connect(&self.node.multiaddr(Over::Tcp));
        hostile
    }

    #[track_caller]
    fn serves(&self) {
        let health = self.honest.call(&self.id, "health", json!({}));
        assert_eq!(health["peerId"], self.id, "{health}");
    }

    /// The honest peer is served on its first connection, HTTP answers, and memory has not run away.
    #[track_caller]
    fn stands(&self, what: &str) {
        self.serves();
        let connections = self.honest.ask("connections", json!({"peer": self.id}));
        assert_eq!(connections["lost"], json!([]), "{what}: {connections}");
        assert_eq!(self.node.client().get("/live").status, 200);
        let grown = self.node.resident_bytes().saturating_sub(self.before);
        eprintln!("{what}: memory grew by {} KiB", grown / 1024);
        assert!(grown < GROWTH, "{what}: memory grew by {grown} bytes");
    }
}

#[test]
fn a_thousand_strangers_push_nobody_out() {
    let besieged = Besieged::new(impatient());
    let hostile = besieged.hostile();
    let sent = hostile.ask("strangers", json!({"peer": besieged.id, "count": 1000}));
    besieged.stands(&format!("a thousand strangers announced: {sent}"));
    let network = besieged.node.network();
    let peers = network["peers"].as_array().unwrap();
    eprintln!("{} peers are known afterwards", peers.len());
    assert!(peers.len() <= 64, "{} peers are known", peers.len());
    let honest = besieged.node.view_of(besieged.honest.peer_id());
    assert!(honest.is_some_and(|view| view["connection"].is_string()));
}

#[test]
fn topics_and_control_messages_without_end_are_bounded() {
    let besieged = Besieged::new(impatient());
    for (command, count) in [("topics", 5000), ("control", 2000), ("endless", 1000)] {
        let hostile = besieged.hostile();
        let sent = hostile.ask(command, json!({"peer": besieged.id, "count": count}));
        besieged.stands(&format!("{count} of {command}: {sent}"));
    }
}

#[test]
fn streams_that_drip_or_never_end_are_cut_off() {
    let besieged = Besieged::new(impatient());
    let peer = Js::peer(json!({}));
    peer.connect(&besieged.node.multiaddr(Over::Tcp));
    let about = |count: u64| json!({"peer": besieged.id, "protocol": "replicate", "count": count});
    // Streams that say nothing, and one that sends a byte each 100 ms of a frame that takes hours so.
    peer.ask("hold_open", about(200));
    let drip = peer.begin(
        "push",
        json!({
            "peer": besieged.id, "content": {"seed": 1, "size": 200_000}, "piece": 1, "pauseMs": 100
        }),
    );
    // A frame that claims 40 MiB and has a few bytes, thirty times: more than the memory for bodies.
    for _ in 0..30 {
        peer.begin(
            "misbehave",
            json!({"peer": besieged.id, "protocol": "replicate", "hex": "02800000", "waitMs": 20_000}),
        );
    }
    besieged.stands("silent, dripping and long streams");
    let held = peer.ask("held", json!({"waitMs": 60_000}));
    assert_eq!(held["open"], 0, "{held}");
    match drip.outcome() {
        Err(_) => {}
        Ok(heard) => assert_ne!(heard["answer"]["success"], true, "{heard}"),
    }
    besieged.stands("after they were cut off");
}

#[test]
fn a_thousand_connections_leave_room_for_others() {
    let home = impatient()
        .env("BYTECAVE__P2P__MAX_PENDING_CONNECTIONS", "32")
        .env("BYTECAVE__P2P__DIAL_TIMEOUT", "2s");
    let besieged = Besieged::new(home);
    let address = socket(&besieged.node.multiaddr(Over::Tcp));
    let mut idle = Vec::new();
    for n in 0..1000 {
        let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(10)) else {
            continue;
        };
        // Some say nothing at all, some begin a handshake that they never go on with.
        if n % 2 == 0 {
            let _ = stream.write_all(b"\x13/multistream/1.0.0\n");
        }
        idle.push(stream);
    }
    eprintln!("{} connections were accepted by the system", idle.len());
    besieged.stands("a thousand idle connections");
    wait_for("the idle connections to be closed", || {
        idle.retain_mut(|stream| !is_closed(stream));
        idle.is_empty().then_some(())
    });
    // There is room again for whoever comes.
    let late = Js::peer(json!({}));
    wait_for("a peer to get in afterwards", || {
        let address = besieged.node.multiaddr(Over::Tcp);
        late.attempt("connect", json!({"to": address})).ok()
    });
    besieged.stands("after the idle connections");
}

/// The socket of a loopback multiaddress over TCP.
fn socket(address: &str) -> SocketAddr {
    let parts: Vec<&str> = address.split('/').collect();
    format!("{}:{}", parts[2], parts[4]).parse().unwrap()
}

fn is_closed(stream: &mut TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let mut some = [0; 256];
    loop {
        match stream.read(&mut some) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}
