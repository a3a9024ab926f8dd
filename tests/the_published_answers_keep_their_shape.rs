//! The answers that clients of the first node know keep their fields, and what is new says what it says.

use std::collections::BTreeSet;

use crate::harness::client::Request;
use crate::harness::{Home, content, repository};

#[test]
fn health_and_info() {
    let home = Home::new().env(
        "OWNER_ADDRESS",
        "0x52908400098527886E0F7030069857D2E4169EE7",
    );
    let node = home.start();
    let client = node.client();
    client.holds(0);
    client.keep(&content::bytes(1, 1000));
    client.keep(&content::bytes(2, 500));

    client.holds(2);
    let health = client.health();
    assert_eq!(health["status"], "healthy", "{health}");
    assert!(health["uptime"].is_u64(), "whole seconds: {health}");
    assert_eq!(health["storedBlobs"], 2);
    assert_eq!(health["totalSize"], 1500);
    assert_eq!(health["peers"], 0);
    assert_eq!(health["multiaddrs"], serde_json::json!([]));
    let peer = health["peerId"].as_str().unwrap();
    assert!(peer.starts_with("12D3KooW") && peer.len() == 52, "{peer}");
    let key = health["publicKey"].as_str().unwrap();
    let digits = key.strip_prefix("0x").unwrap();
    assert!(
        digits.len() == 64
            && digits
                .chars()
                .all(|c| c.is_ascii_digit() || ('a'..='f').contains(&c)),
        "{key}"
    );
    // The peer id is that of the key: identity multihash of the libp2p protobuf.
    let mut id = vec![0x00, 0x24, 0x08, 0x01, 0x12, 0x20];
    id.extend(hex::decode(digits).unwrap());
    assert_eq!(content::base58(&id), peer);

    let info = client.get("/info").json();
    assert_eq!(info["peerId"], peer);
    assert_eq!(info["publicKey"], key);
    assert_eq!(
        info["nodeId"],
        format!("node-{}", &peer[peer.len() - 8..]),
        "{info}"
    );
    assert_eq!(
        info["ownerAddress"], "0x52908400098527886E0F7030069857D2E4169EE7",
        "{info}"
    );
    assert_eq!(info["multiaddrs"], serde_json::json!([]));
    assert_eq!(info["shards"], serde_json::json!([{"start":0,"end":15}]));
    assert_eq!(info["shardCount"], 16);
    assert_eq!(info["durability"], "strict");
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    // Fields of what is not there yet are absent, not empty.
    for later in ["onChainNodeId", "reputation", "replication"] {
        assert!(
            info.get(later).is_none() && health.get(later).is_none(),
            "{later}"
        );
    }
    let stored = client.ask(Request::store(b"x")).json();
    assert_eq!(stored["receipt"]["cid"], stored["cid"], "{stored}");
    node.stop();

    let home = home.env("BYTECAVE__NODE__ID", "attic");
    assert_eq!(home.start().client().get("/info").json()["nodeId"], "attic");
}

#[test]
fn live_and_ready() {
    let home = Home::new();
    let node = home.start();
    for path in ["/live", "/ready"] {
        let answer = node.client().get(path);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert!(
            answer
                .header("cache-control")
                .is_some_and(|v| v.contains("no-store")),
            "{answer:?}"
        );
    }
}

#[test]
fn metrics_are_named_by_the_rule_and_count() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let cid = client.keep(&content::bytes(1, 1000));
    client.retrieve(&cid);
    client.retrieve("x");
    let answer = client.get("/metrics");
    assert_eq!(answer.status, 200);
    let text = String::from_utf8(answer.body.clone()).unwrap();
    let mut names = BTreeSet::new();
    for line in text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
    {
        let name = line.split(['{', ' ']).next().unwrap();
        let rest = line.rsplit(' ').next().unwrap();
        assert!(rest.parse::<f64>().is_ok(), "{line}");
        assert!(
            !line.contains(&cid),
            "no label whose values a stranger chooses: {line}"
        );
        names.insert(name.to_owned());
    }
    for name in &names {
        assert!(
            ["bytecave_", "process_", "libp2p_"]
                .iter()
                .any(|of| name.starts_with(of)),
            "{name}"
        );
    }
    let types: Vec<(&str, &str)> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    assert!(!types.is_empty());
    for (name, kind) in types {
        // Names of libp2p's own metrics are not ours to choose.
        if kind == "histogram" && !name.starts_with("libp2p_") {
            assert!(
                name.ends_with("_seconds") || name.ends_with("_bytes"),
                "{name} is a {kind}"
            );
        }
        assert!(!name.ends_with("_total_total"), "{name}");
    }
    for wanted in ["bytecave_store", "bytecave_http"] {
        assert!(
            names.iter().any(|name| name.starts_with(wanted)),
            "nothing of {wanted} in {names:?}"
        );
    }
    assert!(
        names
            .iter()
            .any(|name| name.contains("shed") && name.ends_with("_total")),
        "{names:?}"
    );
}

#[test]
fn the_contract_is_served_and_checked_in() {
    let home = Home::new();
    let node = home.start();
    let answer = node.client().get("/openapi.json");
    assert_eq!(answer.status, 200);
    let served = answer.json();
    assert!(
        served["openapi"]
            .as_str()
            .is_some_and(|v| v.starts_with("3.")),
        "{served}"
    );
    for path in [
        "/store",
        "/retrieve/{cid}",
        "/health",
        "/info",
        "/live",
        "/ready",
        "/metrics",
        "/blobs",
        "/blobs/{cid}",
        "/pins/{cid}",
        "/shards",
        "/actors",
        "/peers",
        "/replication",
        "/admin/blocked",
        "/openapi.json",
        "/proofs",
        "/proofs/verify",
        "/audits",
        "/admin/gc",
        "/admin/scrub",
    ] {
        assert!(
            served["paths"].get(path).is_some(),
            "the contract says nothing of {path}"
        );
    }
    for later in ["/", "/docs"] {
        assert!(
            served["paths"].get(later).is_none(),
            "{later} is not there yet"
        );
        if later != "/" {
            node.client().get(later).problem(404);
        }
    }
    let file = repository().join("docs/openapi.json");
    let text = std::fs::read_to_string(&file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    let checked_in: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        served, checked_in,
        "docs/openapi.json is not what the node serves"
    );
}

#[test]
fn actors_tell_their_depth_and_their_limit() {
    let home = Home::new().toml("[actors.store]\nmailbox = 77\n");
    let node = home.start();
    let answer = node.client().get("/actors").json();
    let rows = answer["actors"]
        .as_array()
        .unwrap_or_else(|| panic!("{answer}"));
    for name in ["store", "swarm", "replicator", "proof", "registry", "http"] {
        let row = rows
            .iter()
            .find(|row| row.to_string().contains(&format!("\"{name}\"")));
        assert!(row.is_some(), "{name} is missing in {answer}");
    }
    assert!(answer.to_string().contains("77"), "{answer}");
}
