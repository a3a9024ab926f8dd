use bytecave_config::{AppId, P2pStoreAccess, ReplicateAccess};

use crate::world::World;

const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const OTHER: &str = "12D3KooWGLCTGUS4zCYunfa3epuL9qKJyqUu5qFWsmCKN6ktwaiq";

fn at(peer: &str) -> String {
    format!("/ip4/203.0.113.7/tcp/4001/p2p/{peer}")
}

#[test]
fn what_contradicts_stops_the_start_and_names_both() {
    let relay = at(PEER);
    let through = format!("{}/p2p-circuit/p2p/{OTHER}", at(PEER));
    let contract = "registry.contract_address = \"0x52908400098527886E0F7030069857D2E4169EE7\"\n";
    let cases = [
        (
            "p2p.tls_certificate_file = \"/c.pem\"".to_owned(),
            ["p2p.tls_certificate_file = \"/c.pem\"", "p2p.tls_key_file"],
        ),
        (
            "p2p.tls_key_file = \"/k.pem\"".to_owned(),
            ["p2p.tls_key_file = \"/k.pem\"", "p2p.tls_certificate_file"],
        ),
        (
            "p2p.listen_addresses = \"/ip4/0.0.0.0/tcp/443/tls/ws\"".to_owned(),
            [
                "/tcp/443/tls/ws needs a certificate",
                "p2p.tls_certificate_file",
            ],
        ),
        (
            "p2p.listen_addresses = [\"/ip4/0.0.0.0/tcp/443/wss\"]".to_owned(),
            ["p2p.listen_addresses", "p2p.tls_certificate_file"],
        ),
        (
            "p2p.enable_quic = false\np2p.listen_addresses = \"/ip4/0.0.0.0/udp/1/quic-v1\""
                .to_owned(),
            ["p2p.listen_addresses", "p2p.enable_quic = false"],
        ),
        (
            "p2p.replicate_access = \"allowlist\"".to_owned(),
            ["p2p.replicate_access", "p2p.replicate_allowlist = []"],
        ),
        (
            format!("p2p.replicate_allowlist = \"{PEER}\""),
            ["p2p.replicate_allowlist", "p2p.replicate_access = \"\""],
        ),
        (
            "p2p.replicate_access = \"registered\"".to_owned(),
            ["p2p.replicate_access", "registry.contract_address"],
        ),
        (
            format!(
                "{contract}p2p.replicate_access = \"allowlist\"\np2p.replicate_allowlist = \"{PEER}\"\np2p.block_peers = \"{PEER}\""
            ),
            ["p2p.replicate_allowlist", "p2p.block_peers"],
        ),
        (
            format!(
                "p2p.replicate_access = \"allowlist\"\np2p.replicate_allowlist = \"{PEER}\"\np2p.allow_peers = \"{OTHER}\""
            ),
            ["p2p.replicate_allowlist", "p2p.allow_peers"],
        ),
        (
            format!("p2p.allow_peers = [\"{OTHER}\", \"{PEER}\"]\np2p.block_peers = \"{PEER}\""),
            ["p2p.allow_peers", "p2p.block_peers"],
        ),
        (
            format!("p2p.relay_peers = \"{relay}\"\np2p.allow_peers = \"{OTHER}\""),
            ["p2p.relay_peers", "p2p.allow_peers"],
        ),
        (
            format!("p2p.bootstrap_peers = \"{relay}\"\np2p.block_peers = \"{PEER}\""),
            ["p2p.bootstrap_peers", "p2p.block_peers"],
        ),
        // The relay on the way must be let in too.
        (
            format!("p2p.bootstrap_peers = \"{through}\"\np2p.allow_peers = \"{OTHER}\""),
            ["p2p.bootstrap_peers", PEER],
        ),
        (
            "p2p.relay_server = true\np2p.enable_relay = false".to_owned(),
            ["p2p.relay_server = true", "p2p.enable_relay = false"],
        ),
        (
            "p2p.external_addresses = [\"/ip4/203.0.113.7/tcp/5011\", \"/ip6/::/tcp/5011\"]"
                .to_owned(),
            ["p2p.external_addresses", "nobody can dial /ip6/::/tcp/5011"],
        ),
        (
            "p2p.max_body_memory = \"76MiB\"".to_owned(),
            ["p2p.max_body_memory", "from 80MiB"],
        ),
    ];
    for (toml, parts) in cases {
        World::new().toml(&toml).refused_with(&parts);
    }
}

#[test]
fn what_agrees_starts_without_a_remark() {
    let relay = at(PEER);
    for toml in [
        "p2p.tls_certificate_file = \"/c.pem\"\np2p.tls_key_file = \"/k.pem\"\np2p.listen_addresses = \"/ip4/0.0.0.0/tcp/443/tls/ws\"".to_owned(),
        "p2p.listen_addresses = \"/ip4/0.0.0.0/udp/5011/quic-v1\"".to_owned(),
        "p2p.enable_quic = false".to_owned(),
        format!("p2p.replicate_access = \"allowlist\"\np2p.replicate_allowlist = \"{PEER}\""),
        format!("p2p.relay_peers = \"{relay}\"\np2p.allow_peers = [\"{OTHER}\", \"{PEER}\"]"),
        format!("p2p.relay_peers = \"{relay}\"\np2p.block_peers = \"{OTHER}\""),
        "p2p.relay_server = true".to_owned(),
        "p2p.member_timeout = \"2m\"".to_owned(),
        "p2p.max_body_memory = \"80MiB\"".to_owned(),
    ] {
        let loaded = World::new().toml(&toml).loaded();
        assert!(loaded.warnings.is_empty(), "{toml}: {:?}", loaded.warnings);
    }
}

#[test]
fn what_is_seldom_meant_starts_and_is_remarked() {
    let relay = at(PEER);
    let cases = [
        (
            format!("p2p.relay_peers = \"{relay}\"\np2p.enable_relay = false"),
            ["p2p.relay_peers", "p2p.enable_relay = false"],
        ),
        (
            "p2p.member_timeout = \"119s\"".to_owned(),
            ["p2p.member_timeout = \"119s\"", "p2p.announce_interval"],
        ),
        (
            "p2p.tls_certificate_file = \"/c.pem\"\np2p.tls_key_file = \"/k.pem\"".to_owned(),
            ["p2p.tls_certificate_file", "p2p.listen_addresses"],
        ),
        (
            "p2p.store_access = \"open\"\np2p.allowed_apps = \"photos\"".to_owned(),
            ["p2p.allowed_apps", "p2p.store_access = \"open\""],
        ),
        (
            format!("p2p.replicate_access = \"open\"\np2p.replicate_allowlist = \"{PEER}\""),
            ["p2p.replicate_allowlist", "p2p.replicate_access = \"open\""],
        ),
    ];
    for (toml, parts) in cases {
        let warnings = World::new().toml(&toml).loaded().warnings;
        assert_eq!(warnings.len(), 1, "{toml}: {warnings:?}");
        for part in parts {
            assert!(
                warnings[0].contains(part),
                "no {part:?} in: {}",
                warnings[0]
            );
        }
    }
}

#[test]
fn placeholders_and_wrong_entries_are_named_by_their_place() {
    for (key, value, expected) in [
        (
            "p2p.block_peers",
            "12D3KooW...",
            "a peer id of an Ed25519 key",
        ),
        (
            "p2p.storage_links",
            "ws://relay.example.com:4003",
            "a WebSocket address",
        ),
        ("p2p.allowed_apps", "your-app-id", "an application id"),
        (
            "p2p.external_addresses",
            "/dns4/node.example.org/tcp/5011",
            "a multiaddress",
        ),
    ] {
        let world = World::new().toml(&format!("{key} = [\"{value}\"]"));
        world.refused_with(&[key, "placeholder", expected, "take it out to start without"]);
    }
    World::new()
        .toml(&format!("p2p.allow_peers = [\"{PEER}\", \"nobody\"]"))
        .refused_with(&["p2p.allow_peers", "entry 2 (nobody)", "not a peer id"]);
    World::new()
        .toml("p2p.replicate_access = \"everyone\"")
        .refused_with(&["none of the words", "registered, open, allowlist"]);
    let world = World::new().toml("p2p.storage_links = [\"ws://me:s3cr3t@relay:4003\"]");
    world.refused_with(&["p2p.storage_links", "entry 1", "a user name or a password"]);
    assert!(!world.refusal().0.contains("s3cr3t"));
}

#[test]
fn every_form_of_a_network_setting_is_read() {
    let loaded = World::new()
        .toml("[p2p]\nreplicate_access = \"\"\ntls_key_file = \"\"\nmax_memory = \"\"\nblock_peers = \"\"\n")
        .var("BYTECAVE__P2P__STORE_ACCESS", "off")
        .var("BYTECAVE__P2P__REPLICATE_ACCESS", "open")
        .var("BYTECAVE__P2P__BLOCK_PEERS", &format!("{PEER}, {OTHER}"))
        .var("BYTECAVE__P2P__ALLOWED_APPS", r#"["a, b","c"]"#)
        .loaded();
    let p2p = loaded.config.p2p;
    assert_eq!(p2p.store_access, P2pStoreAccess::Off);
    assert_eq!(p2p.replicate_access, Some(ReplicateAccess::Open));
    assert_eq!(p2p.tls_key_file, None);
    assert_eq!(p2p.max_memory, None);
    assert_eq!(p2p.block_peers.len(), 2);
    let apps: Vec<&str> = p2p.allowed_apps.iter().map(AppId::as_str).collect();
    assert_eq!(apps, ["a, b", "c"]);
}
