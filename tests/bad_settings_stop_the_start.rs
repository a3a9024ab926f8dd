//! A setting that cannot be meant stops the start, names the setting, and says what would be right.

use std::fs;

use crate::harness::{Home, content};

#[test]
fn unknown_and_mistyped_keys_name_the_nearest() {
    Home::new()
        .toml("[store]\nmax_storage_mbb = 5\n")
        .refused()
        .naming(&["max_storage_mbb", "max_storage_mb"]);
    Home::new()
        .toml("[stoer]\nmax_storage_mb = 5\n")
        .refused()
        .naming(&["stoer", "store"]);
    Home::new()
        .toml("[actors.store]\nmailbx = 5\n")
        .refused()
        .naming(&["mailbx", "actors.store.mailbox"]);
    Home::new()
        .env("BYTECAVE__STORE__DURABILTY", "strict")
        .refused()
        .naming(&["BYTECAVE__STORE__DURABILTY"]);
    Home::new()
        .toml("this is no toml")
        .refused()
        .naming(&["bytecave.toml"]);
}

#[test]
fn values_of_the_wrong_kind_are_named() {
    let by_env = [
        ("PORT", "notaport"),
        ("PORT", "70000"),
        ("SHARD_COUNT", "0"),
        ("SHARD_COUNT", "4097"),
        ("SHARD_COUNT", "-3"),
        ("MAX_STORAGE_MB", "lots"),
        ("P2P_ENABLED", "perhaps"),
        ("HOST", "no host at all"),
        ("OWNER_ADDRESS", "0x123"),
        ("P2P_RELAY_PEERS", "relay.example.com"),
        ("RPC_URL", "ftp://example.com"),
        ("BYTECAVE__P2P__BLOCK_PEERS", "12D3KooW..."),
        ("BYTECAVE__P2P__STORE_ACCESS", "sometimes"),
        ("BYTECAVE__P2P__STORAGE_LINKS", "http://relay:4003"),
        ("BYTECAVE__P2P__MAX_BODY_MEMORY", "76MiB"),
    ];
    for (name, value) in by_env {
        Home::new().env(name, value).refused().naming(&[name]);
    }
    let by_file = [
        ("[actors.store]\nmailbox = \"many\"\n", "mailbox"),
        ("[actors.http]\nmailbox = 0\n", "mailbox"),
        ("[http]\nheader_timeout = 5\n", "header_timeout"),
        ("[http]\nheader_timeout = \"5 parsecs\"\n", "header_timeout"),
        ("[store]\ndurability = \"sometimes\"\n", "durability"),
        ("[store]\ndisk_reserve = \"12 apples\"\n", "disk_reserve"),
        ("[http]\nstore_access = \"maybe\"\n", "store_access"),
        (
            "[http]\ntrusted_proxies = [\"not an address\"]\n",
            "trusted_proxies",
        ),
        (
            "[store]\nmax_total_wal_size = \"1GiB\"\n",
            "max_total_wal_size",
        ),
    ];
    for (text, name) in by_file {
        Home::new().toml(text).refused().naming(&[name]);
    }
}

#[test]
fn settings_of_the_network_that_contradict_are_both_named() {
    const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
    let relay = format!("/ip4/192.0.2.7/tcp/4001/p2p/{PEER}");
    let cases = [
        (
            "listen_addresses = \"/ip4/127.0.0.1/tcp/0/tls/ws\"".to_owned(),
            ["p2p.listen_addresses", "p2p.tls_certificate_file"],
        ),
        (
            "tls_certificate_file = \"chain.pem\"".to_owned(),
            ["p2p.tls_certificate_file", "p2p.tls_key_file"],
        ),
        (
            "replicate_access = \"allowlist\"".to_owned(),
            ["p2p.replicate_access", "p2p.replicate_allowlist"],
        ),
        (
            format!("allow_peers = \"{PEER}\"\nblock_peers = \"{PEER}\""),
            ["p2p.allow_peers", "p2p.block_peers"],
        ),
        (
            format!("relay_peers = \"{relay}\"\nblock_peers = \"{PEER}\""),
            ["p2p.relay_peers", "p2p.block_peers"],
        ),
        (
            "relay_server = true\nenable_relay = false".to_owned(),
            ["p2p.relay_server", "p2p.enable_relay"],
        ),
    ];
    for (text, names) in cases {
        Home::new()
            .toml(&format!("[p2p]\n{text}\n"))
            .refused()
            .naming(&names);
    }
}

#[test]
fn files_and_addresses_of_the_network_that_cannot_be_used_are_named() {
    const CERTIFIED: &str = "[p2p]\nlisten_addresses = \"/ip4/127.0.0.1/tcp/0/tls/ws\"\n\
        tls_certificate_file = \"chain.pem\"\ntls_key_file = \"key.pem\"\n";
    let joined = || Home::new().env("P2P_ENABLED", "true");
    // Not there, and then not what it should be.
    let home = joined().toml(CERTIFIED);
    home.refused()
        .naming(&["tls_certificate_file", "chain.pem"]);
    fs::write(home.path().join("chain.pem"), "no certificate\n").unwrap();
    home.refused()
        .naming(&["tls_certificate_file", "chain.pem"]);

    joined()
        .toml("[p2p]\nlisten_addresses = \"/ip4/127.0.0.1/pigeon/5\"\n")
        .refused()
        .naming(&["p2p.listen_addresses", "pigeon"]);

    let holder = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    joined()
        .toml(&format!(
            "[p2p]\nlisten_addresses = \"/ip4/127.0.0.1/tcp/{port}\"\n"
        ))
        .refused()
        .naming(&["P2P_LISTEN_ADDRESSES", &port.to_string()]);
}

#[test]
fn two_names_for_one_setting_may_not_differ() {
    Home::new()
        .env("PORT", "5001")
        .env("BYTECAVE__HTTP__PORT", "5002")
        .refused()
        .naming(&["PORT", "BYTECAVE__HTTP__PORT"]);
    let home = Home::new().env("BYTECAVE__HTTP__PORT", "0");
    home.start().stop();
}

#[test]
fn node_shards_must_be_ranges_of_the_network() {
    let bad = [
        r#"[{"start":0,"end":5},{"start":5,"end":9}]"#,
        r#"[{"start":0,"end":5},{"start":2,"end":3}]"#,
        r#"[{"start":9,"end":3}]"#,
        r#"[{"start":0,"end":16}]"#,
        r#"[{"start":16,"end":16}]"#,
        r#"[{"start":-1,"end":3}]"#,
        r#"[{"start":0}]"#,
        r#"[{"start":0,"end":3,"stop":4}]"#,
        r#"[{"start":"0","end":"3"}]"#,
        "[]",
        "0-15",
        "{",
    ];
    for ranges in bad {
        let ended = Home::new().env("NODE_SHARDS", ranges).refused();
        assert!(
            ended.text().contains("NODE_SHARDS") || ended.text().contains("store.node_shards"),
            "{ranges}: {}",
            ended.text()
        );
    }
    let home = Home::new().env(
        "NODE_SHARDS",
        r#"[{"start":8,"end":15},{"start":0,"end":3}]"#,
    );
    let node = home.start();
    let info = node.client().get("/info").json();
    assert_eq!(
        info["shards"],
        serde_json::json!([{"start":0,"end":3},{"start":8,"end":15}]),
        "{info}"
    );
}

#[test]
fn sixteen_shards_alone_are_enough() {
    let home = Home::bare()
        .env("PORT", "0")
        .env("P2P_LISTEN_ADDRESSES", ANY_PORTS)
        .env("SHARD_COUNT", "16");
    let node = home.start();
    let info = node.client().get("/info").json();
    assert_eq!(info["shardCount"], 16, "{info}");
    assert_eq!(
        info["shards"],
        serde_json::json!([{"start":0,"end":15}]),
        "{info}"
    );
    let blob = content::bytes(1, 1000);
    assert_eq!(node.client().store(&blob).status, 201);
}

/// The published transports, beside the other nodes of these tests.
const ANY_PORTS: &str = "/ip4/127.0.0.1/tcp/0,/ip4/127.0.0.1/tcp/0/ws";

const PUBLISHED: &str = "\
# HTTP Server
PORT=5001
DATA_DIR=./data

# P2P Configuration
P2P_ENABLED=true
P2P_LISTEN_ADDRESSES=/ip4/0.0.0.0/tcp/5011,/ip4/0.0.0.0/tcp/5012/ws
P2P_RELAY_PEERS=/dns4/relay.example.com/tcp/4001/p2p/12D3KooW...
P2P_BOOTSTRAP_PEERS=
P2P_ENABLE_RELAY=true
P2P_ENABLE_DHT=true
P2P_ENABLE_MDNS=false

# Storage
MAX_STORAGE_MB=10240
SHARD_COUNT=1024
NODE_SHARDS=[{\"start\":0,\"end\":1023}]

# Blockchain
OWNER_ADDRESS=0x...
VAULT_REGISTRY_ADDRESS=0x...
RPC_URL=https://...
";
const PLACEHOLDERS: [&str; 4] = [
    "P2P_RELAY_PEERS",
    "OWNER_ADDRESS",
    "VAULT_REGISTRY_ADDRESS",
    "RPC_URL",
];

#[test]
fn the_published_env_pasted_whole_lists_its_placeholders() {
    let home = Home::bare();
    fs::write(home.path().join(".env"), PUBLISHED).unwrap();
    let ended = home.refused().naming(&PLACEHOLDERS);
    // One message, and it names no setting that is right.
    for name in [
        "DATA_DIR",
        "P2P_LISTEN_ADDRESSES",
        "SHARD_COUNT",
        "NODE_SHARDS",
        "MAX_STORAGE_MB",
    ] {
        assert!(
            !ended.text().contains(name),
            "{name} is as published: {}",
            ended.text()
        );
    }
    assert!(
        !home.data().join("db").exists(),
        "nothing is made by a start that is refused"
    );
}

#[test]
fn the_published_env_without_its_placeholders_starts() {
    let home = Home::bare()
        .env("PORT", "0")
        .env("P2P_LISTEN_ADDRESSES", ANY_PORTS);
    let kept: String = PUBLISHED
        .lines()
        .filter(|line| !PLACEHOLDERS.iter().any(|name| line.starts_with(name)))
        .fold(String::new(), |all, line| all + line + "\n");
    fs::write(home.path().join(".env"), kept).unwrap();
    let node = home.start();
    let info = node.client().get("/info").json();
    assert_eq!(
        info["shards"],
        serde_json::json!([{"start":0,"end":1023}]),
        "{info}"
    );
    let said = node.said();
    for part in [
        "no relay or bootstrap peer is set",
        "P2P_RELAY_PEERS",
        "P2P_BOOTSTRAP_PEERS",
    ] {
        assert!(said.contains(part), "what is off is said: {said}");
    }
    node.stop();
}

#[test]
fn later_layers_win_and_are_named() {
    let home = Home::new().toml("[store]\nmax_storage_mb = 111\n[log]\nlevel = \"warn\"\n");
    fs::write(home.path().join(".env"), "MAX_STORAGE_MB=222\n").unwrap();
    let shown = home.cli(&["config", "show", "--json"]).well();
    assert!(
        shown.stdout.contains("222") && !shown.stdout.contains("111"),
        "{}",
        shown.stdout
    );
    let mut home = home;
    home.set("MAX_STORAGE_MB", "333");
    let shown = home.cli(&["config", "show"]).well();
    let line = shown
        .stdout
        .lines()
        .find(|line| line.contains("max_storage_mb"))
        .unwrap_or_default();
    assert!(
        line.contains("333") && line.to_lowercase().contains("env"),
        "{line}"
    );
    let line = shown
        .stdout
        .lines()
        .find(|line| line.contains("level"))
        .unwrap_or_default();
    assert!(
        line.contains("warn") && line.contains("bytecave.toml"),
        "{line}"
    );
}

#[test]
fn a_data_directory_that_cannot_be_one_is_named() {
    let home = Home::new().env("DATA_DIR", "in/the/way/data");
    fs::create_dir_all(home.path().join("in/the")).unwrap();
    fs::write(home.path().join("in/the/way"), "a file").unwrap();
    home.refused().naming(&["in/the/way"]);

    let home = Home::new().env("DATA_DIR", "/proc/version/data");
    home.refused().naming(&["/proc/version"]);
}

#[test]
fn a_data_directory_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    home.start().stop();
    let set = |mode| fs::set_permissions(home.data(), fs::Permissions::from_mode(mode)).unwrap();
    set(0o000);
    if fs::read_dir(home.data()).is_ok() {
        set(0o700);
        eprintln!("skipped: this user (root) reads everything");
        return;
    }
    let ended = home.cli(&["run"]);
    set(0o700);
    assert_ne!(ended.code, Some(0));
    ended.naming(&["data"]);
}

#[test]
fn a_wrong_unlock_key_is_refused_and_the_right_one_opens_again() {
    let home = Home::new();
    let node = home.start();
    let blob = content::bytes(3, 5000);
    let cid = node.client().keep(&blob);
    node.stop();
    let key = home.data().join("keys/unlock.key");
    let right = fs::read(&key).unwrap();

    let other = Home::new();
    other.start().stop();
    fs::copy(other.data().join("keys/unlock.key"), &key).unwrap();
    home.refused().naming(&["unlock"]);
    fs::write(&key, b"").unwrap();
    home.refused().naming(&["unlock"]);
    fs::write(&key, b"garbage\n").unwrap();
    home.refused().naming(&["unlock"]);
    // A missing key is not replaced by a new one that could open nothing.
    fs::remove_file(&key).unwrap();
    home.refused().naming(&["unlock"]);
    assert!(!key.exists(), "a new key was made over the data of another");

    fs::write(&key, right).unwrap();
    let node = home.start();
    assert_eq!(node.client().retrieve(&cid).body, blob);
}

#[test]
fn a_passphrase_opens_what_it_locked() {
    let home = Home::new().env("BYTECAVE__STORE__PASSPHRASE_FILE", "secret");
    fs::write(home.path().join("secret"), "correct horse battery staple\n").unwrap();
    let node = home.start();
    let blob = content::bytes(3, 5000);
    let cid = node.client().keep(&blob);
    node.stop();
    assert!(
        !home.data().join("keys/unlock.key").exists(),
        "a passphrase needs no key file"
    );
    fs::write(home.path().join("secret"), "wrong\n").unwrap();
    home.refused().naming(&["passphrase"]);
    fs::write(home.path().join("secret"), "correct horse battery staple\n").unwrap();
    let node = home.start();
    assert_eq!(node.client().retrieve(&cid).body, blob);
}
