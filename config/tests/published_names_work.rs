use bytecave_config::{Config, Layer};

use crate::world::World;

/// The example file as it was published, placeholders and all.
const PUBLISHED: &str = r#"# Node
PORT=5001
DATA_DIR=./data

# P2P
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
NODE_SHARDS=[{"start":0,"end":1023}]

# Chain
OWNER_ADDRESS=0x...
VAULT_REGISTRY_ADDRESS=0x...
RPC_URL=https://...
"#;

const PEER: &str =
    "/ip4/203.0.113.7/tcp/4001/p2p/12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
const ADDRESS: &str = "0x52908400098527886E0F7030069857D2E4169EE7";

#[test]
fn the_published_file_pasted_whole_gives_one_message_for_its_four_placeholders() {
    let (message, count) = World::new().dotenv(PUBLISHED).refusal();
    assert_eq!(count, 4, "{message}");
    assert!(message.starts_with("the configuration has 4 problems:"));
    for (name, belongs) in [
        ("P2P_RELAY_PEERS", "multiaddress"),
        ("OWNER_ADDRESS", "40 hex digits"),
        ("VAULT_REGISTRY_ADDRESS", "40 hex digits"),
        ("RPC_URL", "JSON-RPC endpoint"),
    ] {
        let line = message
            .lines()
            .find(|line| line.contains(&format!("({name} in .env")));
        let line = line.unwrap_or_else(|| panic!("no {name} in {message}"));
        assert!(
            line.contains("placeholder") && line.contains(belongs),
            "{line}"
        );
        assert!(line.contains("take it out to start without"), "{line}");
    }
}

#[test]
fn the_published_file_filled_in_starts_and_is_the_default_elsewhere() {
    let filled = PUBLISHED
        .replace("/dns4/relay.example.com/tcp/4001/p2p/12D3KooW...", PEER)
        .replace("0x...", ADDRESS)
        .replace(
            "https://...",
            "https://rpc.bytecave.net, http://127.0.0.1:8545",
        );
    let loaded = World::new().dotenv(&filled).loaded();
    let config = &loaded.config;
    assert_eq!(config.p2p.relay_peers[0].as_str(), PEER);
    assert_eq!(
        config.registry.contract_address.as_ref().unwrap().as_str(),
        ADDRESS
    );
    assert_eq!(config.registry.rpc_url.len(), 2);
    let defaults = Config::built_in().unwrap();
    assert_eq!(config.http, defaults.http);
    assert_eq!(config.node, defaults.node);
    assert_eq!(config.p2p.listen_addresses, defaults.p2p.listen_addresses);
    assert_eq!(
        config.store.shard_set().unwrap(),
        defaults.store.shard_set().unwrap()
    );
    let origin = loaded.provenance.origin("store.node_shards").unwrap();
    assert_eq!((origin.layer, origin.line), (Layer::DotEnv, Some(17)));
}

/// Short name, long name, a value that is not the default, key.
const NAMES: [[&str; 4]; 17] = [
    ["PORT", "BYTECAVE__HTTP__PORT", "6001", "http.port"],
    ["HOST", "BYTECAVE__HTTP__HOST", "0.0.0.0", "http.host"],
    [
        "DATA_DIR",
        "BYTECAVE__NODE__DATA_DIR",
        "/data",
        "node.data_dir",
    ],
    [
        "P2P_ENABLED",
        "BYTECAVE__P2P__ENABLED",
        "false",
        "p2p.enabled",
    ],
    [
        "P2P_LISTEN_ADDRESSES",
        "BYTECAVE__P2P__LISTEN_ADDRESSES",
        "/ip4/0.0.0.0/udp/1/quic-v1",
        "p2p.listen_addresses",
    ],
    [
        "P2P_RELAY_PEERS",
        "BYTECAVE__P2P__RELAY_PEERS",
        PEER,
        "p2p.relay_peers",
    ],
    [
        "P2P_BOOTSTRAP_PEERS",
        "BYTECAVE__P2P__BOOTSTRAP_PEERS",
        PEER,
        "p2p.bootstrap_peers",
    ],
    [
        "P2P_ENABLE_RELAY",
        "BYTECAVE__P2P__ENABLE_RELAY",
        "no",
        "p2p.enable_relay",
    ],
    [
        "P2P_ENABLE_DHT",
        "BYTECAVE__P2P__ENABLE_DHT",
        "0",
        "p2p.enable_dht",
    ],
    [
        "P2P_ENABLE_MDNS",
        "BYTECAVE__P2P__ENABLE_MDNS",
        "on",
        "p2p.enable_mdns",
    ],
    [
        "MAX_STORAGE_MB",
        "BYTECAVE__STORE__MAX_STORAGE_MB",
        "64",
        "store.max_storage_mb",
    ],
    [
        "SHARD_COUNT",
        "BYTECAVE__STORE__SHARD_COUNT",
        "16",
        "store.shard_count",
    ],
    [
        "NODE_SHARDS",
        "BYTECAVE__STORE__NODE_SHARDS",
        r#"[{"start":3,"end":3}]"#,
        "store.node_shards",
    ],
    [
        "OWNER_ADDRESS",
        "BYTECAVE__REGISTRY__OWNER_ADDRESS",
        ADDRESS,
        "registry.owner_address",
    ],
    [
        "VAULT_REGISTRY_ADDRESS",
        "BYTECAVE__REGISTRY__CONTRACT_ADDRESS",
        ADDRESS,
        "registry.contract_address",
    ],
    [
        "RPC_URL",
        "BYTECAVE__REGISTRY__RPC_URL",
        "http://127.0.0.1:8545",
        "registry.rpc_url",
    ],
    [
        "OWNER_PRIVATE_KEY_FILE",
        "BYTECAVE__REGISTRY__OWNER_PRIVATE_KEY_FILE",
        "/run/secrets/owner",
        "registry.owner_private_key_file",
    ],
];

#[test]
fn every_published_name_sets_its_key_as_does_its_long_form() {
    for [short, long, value, key] in NAMES {
        let by_short = World::new().var(short, value).loaded();
        let by_long = World::new().var(long, value).loaded();
        assert_eq!(by_short.config, by_long.config, "{short}");
        assert_ne!(by_short.config, Config::built_in().unwrap(), "{short}");
        for (loaded, name) in [(by_short, short), (by_long, long)] {
            let origin = loaded.provenance.origin(key).unwrap();
            assert_eq!(origin.name.as_deref(), Some(name));
        }
    }
}

#[test]
fn the_long_form_reaches_nested_sections() {
    let loaded = World::new()
        .var("BYTECAVE__ACTORS__STORE__MAILBOX", "8")
        .loaded();
    assert_eq!(loaded.config.actors.store.mailbox, 8);
    assert_eq!(loaded.config.actors.swarm.mailbox, 256);
}

#[test]
fn a_smaller_shard_count_alone_starts_with_all_its_shards() {
    let config = World::new().var("SHARD_COUNT", "16").loaded().config;
    assert_eq!(config.store.shard_set().unwrap().len(), 16);
}

#[test]
fn both_names_with_one_value_are_fine_and_with_two_are_refused_by_name() {
    let same = World::new()
        .var("MAX_STORAGE_MB", "64")
        .var("BYTECAVE__STORE__MAX_STORAGE_MB", "64");
    assert_eq!(same.loaded().config.store.max_storage_mb, 64);
    World::new()
        .var("MAX_STORAGE_MB", "64")
        .var("BYTECAVE__STORE__MAX_STORAGE_MB", "65")
        .refused_with(&[
            "MAX_STORAGE_MB",
            "BYTECAVE__STORE__MAX_STORAGE_MB",
            "store.max_storage_mb",
        ]);
    World::new()
        .dotenv("PORT=1\nBYTECAVE__HTTP__PORT=2\n")
        .refused_with(&[
            "PORT in .env line 1",
            "BYTECAVE__HTTP__PORT in .env line 2",
            "http.port",
        ]);
    // In different layers the later one wins, as always.
    let apart = World::new()
        .dotenv("PORT=1")
        .var("BYTECAVE__HTTP__PORT", "2");
    assert_eq!(apart.loaded().config.http.port, 2);
}

#[test]
fn variables_of_others_are_left_alone_and_near_misses_are_mentioned() {
    let loaded = World::new()
        .var("PATH", "/bin")
        .var("POST", "x")
        .var("P2P_RELAY_PEER", PEER)
        .dotenv("NODE_ENV=production\nSHARD_COUNTS=3\nPORT=1\nPORT=2\n")
        .loaded();
    assert_eq!(loaded.config.http.port, 2);
    let warnings = loaded.warnings.join("\n");
    assert_eq!(loaded.warnings.len(), 3, "{warnings}");
    assert!(
        warnings.contains(
            "P2P_RELAY_PEER is not a setting and is ignored: did you mean P2P_RELAY_PEERS?"
        )
    );
    assert!(warnings.contains("did you mean SHARD_COUNT?"));
    assert!(warnings.contains("PORT stands twice in .env, in lines 3 and 4"));
}
