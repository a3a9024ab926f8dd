//! Peers of the JavaScript network and nodes hear of each other: by announcements, of which only true ones
//! count, and by asking.

use serde_json::{Value, json};

use crate::harness::js::Js;
use crate::harness::network::{Over, home, meet};
use crate::harness::wait_for;

#[test]
fn announcements_are_exchanged_and_false_ones_bounded() {
    let home = home().env("BYTECAVE__P2P__ANNOUNCE_INTERVAL", "1s");
    let met = meet(home, Over::Tcp);
    let heard = met.peer.ask("heard", json!({"from": met.id}));
    let ours = &heard[0]["message"];
    assert_eq!(ours["peerId"], met.id, "{heard}");
    assert_eq!(
        ours["nodeId"],
        format!("node-{}", &met.id[met.id.len() - 8..])
    );
    for name in ["availableStorage", "blobCount", "timestamp"] {
        assert!(ours[name].is_u64(), "{name} in {ours}");
    }
    for name in ["relayAddrs", "multiaddrs"] {
        assert!(ours[name].is_array(), "{name} in {ours}");
    }
    assert_eq!(ours["publicKey"], met.node.client().health()["publicKey"]);
    assert_eq!(ours["isRegistered"], false);
    assert_eq!(ours["shards"], json!([{"start": 0, "end": 15}]));
    assert_eq!(ours["shardCount"], 16);

    met.ask("subscribed", json!({}));
    let id = met.peer.peer_id();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_millis();
    let now = u64::try_from(now).unwrap();
    let announce = |node_id: &str, timestamp: u64| {
        json!({
            "peerId": id, "nodeId": node_id, "availableStorage": 5, "blobCount": 7, "timestamp": timestamp,
            "relayAddrs": [], "multiaddrs": [], "isRegistered": false
        })
    };
    let publish = |message: &Value, times: usize| {
        met.peer
            .ask("publish", json!({"message": message, "times": times}))
    };
    let announced = || met.node.view_of(id).map(|view| view["announced"].clone());
    // Stale, and from the future.
    publish(&announce("stale", now - 3_600_000), 1);
    publish(&announce("future", now + 3_600_000), 1);
    publish(&announce("honest", now), 1);
    wait_for("the announcement to be known", || {
        let announced = announced()?;
        for wrong in ["stale", "future"] {
            assert_ne!(announced["nodeId"], wrong);
        }
        (announced["nodeId"] == "honest").then_some(())
    });
    assert_eq!(announced().unwrap()["blobCount"], 7);

    // A thousand peers that do not exist, messages beyond all measure, and what is no announcement.
    let mut fake = announce("fake-{n}", now);
    fake["peerId"] = json!("12D3KooWFakeFakeFake{n}");
    publish(&fake, 1000);
    met.peer
        .ask("publish", json!({"size": 60_000, "times": 20}));
    met.peer.ask("publish", json!({"size": 10, "times": 20}));
    publish(&json!({"peerId": {"a": []}, "timestamp": "x"}), 20);
    met.peer.ask(
        "publish",
        json!({"topic": "bytecave-broadcast", "message": {"from": id, "message": "x".repeat(5000), "timestamp": now}}),
    );
    // Whoever goes on so is let go, and others are served.
    met.node.wait_disconnected(id);
    let other = Js::peer(json!({}));
    other.connect(&met.node.multiaddr(Over::Tcp));
    other.call(&met.id, "health", json!({}));
    let peers = met.node.network();
    assert!(peers["peers"].as_array().unwrap().len() <= 2, "{peers}");
}

#[test]
fn peers_are_asked_who_they_are_and_logged_once() {
    let peer = Js::serving();
    let home = home().env("P2P_BOOTSTRAP_PEERS", peer.tcp());
    let node = home.start();
    node.wait_acquainted(peer.peer_id());
    let view = node.view_of(peer.peer_id()).unwrap();
    assert_eq!(view["connection"], "direct", "{view}");
    assert_eq!(view["info"]["version"], "1.0.0", "{view}");
    assert!(
        view["agent"].as_str().unwrap().starts_with("bytecave-js"),
        "{view}"
    );
    assert_eq!(node.client().health()["peers"], 1);
    assert!(
        !peer
            .ask("asked", json!({"name": "info"}))
            .as_array()
            .unwrap()
            .is_empty()
    );
    let said = node.said();
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("Peer connected") && line.contains(peer.peer_id()))
        .collect();
    assert_eq!(lines.len(), 1, "{said}");
    assert!(
        lines[0].contains("/ip4/127.0.0.1/tcp/") && lines[0].contains("direct"),
        "{lines:?}"
    );
}
