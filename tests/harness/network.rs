//! Nodes with networking on, on loopback addresses that the system chooses.

use serde_json::{Value, json};

use super::js::Js;
use super::{Home, Running, wait_for};

/// A node that talks to others over TCP and WebSocket, found by nobody and finding nobody by itself.
pub(crate) fn home() -> Home {
    Home::new()
        .env("P2P_ENABLED", "true")
        .env(
            "P2P_LISTEN_ADDRESSES",
            "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0/ws",
        )
        .env("P2P_ENABLE_MDNS", "false")
}

/// How a peer reaches a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Ws,
}

impl Over {
    pub(crate) const BOTH: [Self; 2] = [Self::Tcp, Self::Ws];
}

impl Running {
    pub(crate) fn peer_id(&self) -> String {
        self.client().health()["peerId"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// A multiaddress on which it listens, peer id included.
    pub(crate) fn multiaddr(&self, over: Over) -> String {
        let client = self.client();
        let id = self.peer_id();
        wait_for(&format!("an address for {over:?}"), || {
            let health = client.health();
            let address = health["multiaddrs"]
                .as_array()?
                .iter()
                .filter_map(Value::as_str)
                .filter(|address| address.starts_with("/ip4/127.0.0.1/tcp/"))
                .filter(|address| !address.contains("p2p-circuit"))
                .find(|address| address.contains("/ws") == (over == Over::Ws))?;
            assert!(
                address.ends_with(&format!("/p2p/{id}")),
                "an address without the peer id: {address}"
            );
            Some(address.to_owned())
        })
    }

    /// What `GET /peers` says.
    pub(crate) fn network(&self) -> Value {
        let answer = self.client().get("/peers");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// What it knows of a peer.
    pub(crate) fn view_of(&self, peer: &str) -> Option<Value> {
        let network = self.network();
        let peers = network["peers"].as_array().unwrap_or_else(|| {
            panic!("GET /peers has no list of peers: {network}");
        });
        peers.iter().find(|view| view["peerId"] == peer).cloned()
    }

    /// Waits until it is connected to a peer and was told by it who it is.
    pub(crate) fn wait_acquainted(&self, peer: &str) {
        wait_for(&format!("a connection with {peer} and its info"), || {
            let view = self.view_of(peer)?;
            (view["connection"].is_string() && view["info"].is_object()).then_some(())
        });
    }

    /// Waits until it is not connected to a peer any more.
    pub(crate) fn wait_disconnected(&self, peer: &str) {
        wait_for(&format!("the end of the connection with {peer}"), || {
            let gone = self
                .view_of(peer)
                .is_none_or(|view| view["connection"].is_null());
            gone.then_some(())
        });
    }
}

/// A node, and a peer of the existing network connected to it.
pub(crate) struct Met {
    pub(crate) peer: Js,
    pub(crate) node: Running,
    // The node's directory lives as long as it does.
    _home: Home,
    /// The node's peer id.
    pub(crate) id: String,
}

/// Starts a node in `home` and a peer, and connects the peer to it.
pub(crate) fn meet(home: Home, over: Over) -> Met {
    meet_with(home, over, Js::peer(json!({})))
}

/// Starts a node in `home` and connects this peer to it.
pub(crate) fn meet_with(home: Home, over: Over, peer: Js) -> Met {
    let node = home.start();
    peer.connect(&node.multiaddr(over));
    let id = node.peer_id();
    Met {
        peer,
        node,
        _home: home,
        id,
    }
}

impl Met {
    /// One request and its answer, and the stream closed after it.
    #[track_caller]
    pub(crate) fn call(&self, protocol: &str, request: Value) -> Value {
        self.peer.call(&self.id, protocol, request)
    }

    /// A command of the peer about the node.
    #[track_caller]
    pub(crate) fn ask(&self, command: &str, mut args: Value) -> Value {
        args["peer"] = json!(self.id);
        self.peer.ask(command, args)
    }

    /// Asserts that the connection between them is the first and only one.
    #[track_caller]
    pub(crate) fn still_connected(&self) {
        let connections = self.ask("connections", json!({}));
        assert_eq!(
            connections["open"].as_array().unwrap().len(),
            1,
            "{connections}"
        );
        assert_eq!(connections["lost"], json!([]), "{connections}");
    }
}
