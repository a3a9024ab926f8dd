use bytecave_config::{Layer, StoreAccess, keys};
use proptest::prelude::*;
use serde_json::json;

use crate::world::World;

#[test]
fn each_layer_wins_over_the_ones_before_it() {
    let mut world = World::new();
    let expect = |world: &World, port: u16, layer: Layer, shown: &str| {
        let loaded = world.loaded();
        assert_eq!(loaded.config.http.port, port);
        let origin = loaded.provenance.origin("http.port").unwrap();
        assert_eq!(origin.layer, layer);
        assert_eq!(origin.to_string(), shown);
    };
    expect(&world, 5001, Layer::Default, "built-in default");
    world = world.toml("# mine\n[http]\nhost = \"0.0.0.0\"\nport = 1\n");
    expect(&world, 1, Layer::File, "bytecave.toml line 4");
    world = world.file("config/local.toml", "http.port = 2");
    expect(&world, 2, Layer::File, "config/local.toml line 1");
    world = world.dotenv("# mine\nPORT=3\n");
    expect(&world, 3, Layer::DotEnv, "PORT in .env line 2");
    world = world.var("BYTECAVE__HTTP__PORT", "4");
    expect(
        &world,
        4,
        Layer::Environment,
        "environment variable BYTECAVE__HTTP__PORT",
    );
    world = world.flag("--port", "http.port", "5");
    expect(&world, 5, Layer::Flag, "flag --port");
    // What only a lower layer set is still there.
    let loaded = world.loaded();
    assert_eq!(loaded.config.http.host.to_string(), "0.0.0.0");
    assert_eq!(
        loaded.provenance.origin("http.host").unwrap().to_string(),
        "bytecave.toml line 3"
    );
}

#[test]
fn a_named_file_is_read_instead_of_the_usual_ones() {
    let mut world = World::new()
        .toml("http.port = 1")
        .file("config/local.toml", "http.port = 2")
        .file("mine.toml", "log.level = \"debug\"");
    world.inputs().config_file = Some("mine.toml".into());
    let loaded = world.loaded();
    assert_eq!(loaded.config.http.port, 5001);
    assert_eq!(loaded.config.log.level.as_str(), "debug");
    world.inputs().config_file = Some("missing.toml".into());
    let missing = world.dir().join("missing.toml");
    world.refused_with(&["cannot read", missing.to_str().unwrap()]);
}

#[test]
fn an_empty_variable_of_an_optional_key_leaves_what_the_file_says() {
    let address = "0x52908400098527886E0F7030069857D2E4169EE7";
    let toml = format!("registry.owner_address = \"{address}\"\np2p.relay_peers = []\n");
    let world = World::new()
        .toml(&toml)
        .var("OWNER_ADDRESS", "")
        .var("RPC_URL", " ")
        .var("P2P_RELAY_PEERS", "");
    let loaded = world.loaded();
    assert_eq!(
        loaded.config.registry.owner_address.unwrap().as_str(),
        address
    );
    let origin = loaded.provenance.origin("registry.owner_address").unwrap();
    assert_eq!(origin.layer, Layer::File);
}

#[test]
fn an_empty_text_in_a_file_unsets_and_an_empty_json_list_empties() {
    let world = World::new()
        .toml("[http]\nmax_blob_size = \"1GiB\"\n")
        .file("config/local.toml", "[http]\nmax_blob_size = \"\"\n")
        .var("P2P_LISTEN_ADDRESSES", "[]");
    let loaded = world.loaded();
    assert_eq!(loaded.config.http.max_blob_size, None);
    assert!(loaded.config.p2p.listen_addresses.is_empty());
    let shown = loaded.provenance.to_json();
    assert_eq!(shown["http.max_blob_size"]["value"], json!(null));
    assert_eq!(
        shown["http.max_blob_size"]["source"]["name"],
        "config/local.toml"
    );
}

#[test]
fn what_is_shown_names_every_key_and_its_origin() {
    let loaded = World::new()
        .toml("[http]\nstore_access = \"token\"\n")
        .var("PORT", "5002")
        .var("NODE_SHARDS", r#"[{"start":0,"end":15}]"#)
        .loaded();
    assert_eq!(loaded.config.http.store_access, StoreAccess::Token);
    let text = loaded.provenance.to_text();
    let line = |key: &str| {
        let start = format!("{key} = ");
        text.lines().find(|line| line.starts_with(&start)).unwrap()
    };
    for info in keys() {
        line(&info.key);
    }
    assert!(line("http.port").ends_with("# environment variable PORT"));
    assert!(line("http.store_access").starts_with("http.store_access = \"token\""));
    assert!(line("store.node_shards").contains("[{ start = 0, end = 15 }]"));
    assert!(line("node.data_dir").ends_with("# built-in default"));
    let json = loaded.provenance.to_json();
    assert_eq!(
        json["http.port"],
        json!({ "value": 5002, "source": { "layer": "environment", "name": "PORT" } })
    );
}

#[test]
fn what_is_shown_can_be_used_as_a_file() {
    let first = World::new()
        .var(
            "NODE_SHARDS",
            r#"[{"start":0,"end":15},{"start":20,"end":20}]"#,
        )
        .var("BYTECAVE__HTTP__TRUSTED_PROXIES", "10.0.0.0/8, ::1")
        .var("BYTECAVE__STORE__DISK_RESERVE", "2 GiB")
        .var("BYTECAVE__LOG__LEVEL", "info,bytecave_store=debug")
        .loaded();
    let second = World::new().toml(&first.provenance.to_text()).loaded();
    assert_eq!(first.config, second.config);
}

#[test]
fn a_secret_in_a_url_is_not_shown() {
    let loaded = World::new()
        .var(
            "RPC_URL",
            "https://mainnet.rpc.net/v3/s3cr3t,http://me:s3cr3t@127.0.0.1:8545",
        )
        .loaded();
    assert_eq!(loaded.config.registry.rpc_url.len(), 2);
    assert!(
        loaded.config.registry.rpc_url[0]
            .expose()
            .contains("s3cr3t")
    );
    for shown in [
        loaded.provenance.to_text(),
        loaded.provenance.to_json().to_string(),
        format!("{loaded:?}"),
    ] {
        assert!(shown.contains("mainnet.rpc.net"));
        assert!(!shown.contains("s3cr3t"), "{shown}");
    }
}

/// Layers in the order in which later ones win.
fn with_port(world: World, layer: usize, port: u16) -> World {
    match layer {
        0 => world.toml(&format!("http.port = {port}")),
        1 => world.file("config/local.toml", &format!("[http]\nport = {port}")),
        2 => world.dotenv(&format!("PORT={port}")),
        3 => world.var("PORT", &port.to_string()),
        _ => world.flag("--port", "http.port", &port.to_string()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_last_layer_that_sets_a_key_wins(ports in proptest::collection::vec(proptest::option::of(any::<u16>()), 5)) {
        let mut world = World::new();
        let mut expected = 5001;
        for (layer, port) in ports.into_iter().enumerate() {
            if let Some(port) = port {
                world = with_port(world, layer, port);
                expected = port;
            }
        }
        prop_assert_eq!(world.loaded().config.http.port, expected);
    }
}
