use std::collections::BTreeSet;

use bytecave_config::{Config, DEFAULT_TOML, Layer, json_schema, keys};

use crate::world::World;

/// All paths of `default.toml` that are no tables.
fn leaves(prefix: &str, table: &toml::Table, found: &mut BTreeSet<String>) {
    for (name, value) in table {
        let path = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            toml::Value::Table(table) => leaves(&path, table, found),
            _ => assert!(found.insert(path)),
        }
    }
}

#[test]
fn every_key_of_the_file_is_loaded_shown_and_listed() {
    let mut in_file = BTreeSet::new();
    leaves("", &DEFAULT_TOML.parse().unwrap(), &mut in_file);
    let loaded = World::new().loaded();
    let shown: BTreeSet<String> = loaded.provenance.iter().map(|(key, ..)| key).collect();
    assert_eq!(in_file, shown);
    let listed: BTreeSet<String> = keys().into_iter().map(|info| info.key).collect();
    assert_eq!(in_file, listed);
}

#[test]
fn every_key_is_described_and_comes_from_the_defaults() {
    for info in keys() {
        assert!(info.doc.len() > 20, "{} has no description", info.key);
        assert!(info.doc.ends_with('.'), "{}: {}", info.key, info.doc);
        assert!(!info.expects.is_empty());
    }
    let loaded = World::new().loaded();
    assert!(loaded.warnings.is_empty());
    for (key, _, origin) in loaded.provenance.iter() {
        assert_eq!(origin.layer, Layer::Default, "{key}");
    }
    assert_eq!(loaded.config, Config::built_in().unwrap());
}

#[test]
fn defaults_are_the_ones_decided() {
    let config = Config::built_in().unwrap();
    assert_eq!(config.http.port, 5001);
    assert!(config.http.counts_as_loopback());
    assert!(!config.http.store_needs_token());
    assert_eq!(config.store.shard_count.get(), 1024);
    assert_eq!(config.store.shard_set().unwrap().len(), 1024);
    assert_eq!(config.store.quota().bytes(), 10_240 << 20);
    assert_eq!(config.max_blob_size(), config.store.quota());
    assert_eq!(
        config.api_token_file().to_str(),
        Some("./data/keys/api-token")
    );
    assert_eq!(
        config.unlock_key_file().to_str(),
        Some("./data/keys/unlock.key")
    );
    assert_eq!(config.actors.store.mailbox, 256);
    assert_eq!(config.actors.http.mailbox, 512);
    assert_eq!(config.node.id, None);
    assert_eq!(config.store.disk_reserve, None);
    assert!(config.registry.rpc_url.is_empty());
}

#[test]
fn bounds_are_accepted_and_what_lies_beyond_is_not() {
    for (key, inside, outside) in [
        ("actors.store.mailbox", ["1", "65536"], ["0", "65537"]),
        ("store.shard_count", ["1", "4096"], ["0", "4097"]),
        ("http.port", ["0", "65535"], ["-1", "65536"]),
        ("store.gc_dead_ratio", ["0.05", "0.95"], ["0.04", "1"]),
        ("node.shutdown_timeout", ["100ms", "10m"], ["99ms", "11m"]),
        (
            "store.max_storage_mb",
            ["1", "8796093022207"],
            ["0", "8796093022208"],
        ),
        (
            "http.max_upload_in_flight",
            ["4MiB", "1TiB"],
            ["4095KiB", "1025GiB"],
        ),
        ("http.max_blob_size", ["1B", "10GiB"], ["0", "2TiB"]),
    ] {
        for value in inside {
            World::new().flag("--set", key, value).loaded();
        }
        for value in outside {
            let world = World::new().flag("--set", key, value);
            world.refused_with(&[key, value, "out of range", "expected"]);
        }
    }
}

#[test]
fn the_schema_has_every_key_with_its_default_and_description() {
    let schema = json_schema();
    for info in keys() {
        let property = info.key.split('.').fold(&schema, |schema, part| {
            assert_eq!(schema["additionalProperties"], false);
            &schema["properties"][part]
        });
        assert_eq!(property["description"], info.doc, "{}", info.key);
        assert!(!property["default"].is_null(), "{}", info.key);
    }
    assert_eq!(
        schema["properties"]["http"]["properties"]["port"]["maximum"],
        65535
    );
}
