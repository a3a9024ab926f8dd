use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use bytecave_config::Problem;
use proptest::prelude::*;

use crate::world::World;

#[test]
fn an_unknown_key_names_the_nearest_one() {
    for (toml, line, nearest) in [
        ("[http]\nprot = 1", "line 2", "http.port"),
        ("[htpp]\nport = 1", "line 2", "http.port"),
        ("port = 1", "line 1", "http.port"),
        ("[store]\nport = 1", "line 2", "http.port"),
        ("MAX_STORAGE_MB = 1", "line 1", "store.max_storage_mb"),
        ("[store]\nshards = []", "line 2", "store.node_shards"),
        (
            "[actors.stroe]\nmailbox = 1",
            "line 2",
            "actors.store.mailbox",
        ),
        (
            "[actors.store]\nmail_box = 1",
            "line 2",
            "actors.store.mailbox",
        ),
        ("\"http.port\" = 1", "line 1", "http.port"),
        ("[loging]", "line 1", "log."),
        (
            "[registry]\nowner_private_key = \"0xsecret\"",
            "line 2",
            "registry.owner_private_key_file",
        ),
    ] {
        let world = World::new().toml(toml);
        world.refused_with(&[
            "unknown key",
            "bytecave.toml",
            line,
            &format!("did you mean {nearest}"),
        ]);
        assert!(!world.refusal().0.contains("secret"));
    }
}

#[test]
fn an_unknown_variable_with_our_prefix_names_the_nearest_one() {
    for (name, nearest) in [
        ("BYTECAVE__HTTP__PROT", "BYTECAVE__HTTP__PORT"),
        ("BYTECAVE__PORT", "BYTECAVE__HTTP__PORT"),
        (
            "BYTECAVE__ACTOR__STORE__MAILBOX",
            "BYTECAVE__ACTORS__STORE__MAILBOX",
        ),
        ("bytecave__http__port", "BYTECAVE__HTTP__PORT"),
        (
            "BYTECAVE__HTTP__API_TOKEN",
            "BYTECAVE__HTTP__API_TOKEN_FILE",
        ),
    ] {
        let parts = [
            "unknown variable",
            name,
            &format!("did you mean {nearest}?"),
        ];
        World::new().var(name, "1").refused_with(&parts);
        World::new()
            .dotenv(&format!("{name}=1"))
            .refused_with(&parts);
    }
    World::new()
        .flag("--set", "http.prot", "1")
        .refused_with(&["unknown key http.prot (flag --set)", "http.port"]);
}

#[test]
fn a_wrong_type_names_key_value_place_and_what_is_right() {
    for (toml, parts) in [
        (
            "http.port = \"abc\"",
            [
                "http.port = \"abc\"",
                "a text",
                "an integer from 0 to 65535",
            ],
        ),
        (
            "http.port = 1.5",
            ["http.port = 1.5", "fraction", "an integer"],
        ),
        (
            "http.port = 99999999999999999999",
            ["http.port", "out of range", "65535"],
        ),
        (
            "p2p.enabled = \"yes\"",
            ["p2p.enabled = \"yes\"", "a text", "true or false"],
        ),
        (
            "p2p.enabled = 1",
            ["p2p.enabled = 1", "an integer", "true or false"],
        ),
        (
            "node.data_dir = 5",
            ["node.data_dir = 5", "an integer", "a path"],
        ),
        ("node.data_dir = \"\"", ["node.data_dir", "empty", "a path"]),
        (
            "node.shutdown_timeout = 8",
            ["node.shutdown_timeout = 8", "no unit", "30s"],
        ),
        (
            "store.block_cache = \"128MB\"",
            ["store.block_cache = \"128MB\"", "unit", "256MiB"],
        ),
        (
            "store.block_cache = -1",
            ["store.block_cache = -1", "out of range", "256MiB"],
        ),
        (
            "store.durability = \"lax\"",
            ["\"lax\"", "none of the words", "strict, batched, relaxed"],
        ),
        (
            "store.gc_dead_ratio = nan",
            ["store.gc_dead_ratio", "finite", "0.05 to 0.95"],
        ),
        (
            "http.allowed_hosts = [\"ok.org\", 5]",
            ["http.allowed_hosts", "entry 2", "an integer"],
        ),
        (
            "http.trusted_proxies = [\"10.0.0.0/8\", \"10.0.0.0/40\"]",
            ["entry 2 (10.0.0.0/40)", "network", "10.0.0.0/8"],
        ),
        (
            "http.host = \"my-machine\"",
            ["my-machine", "not an IP address", "127.0.0.1"],
        ),
        ("log.level = \"inof\"", ["inof", "no level", "info"]),
        (
            "store.node_shards = [{ start = 0 }]",
            ["store.node_shards", "missing", "both ends inclusive"],
        ),
        (
            "store.node_shards = [{ start = 0, end = 1, to = 2 }]",
            ["store.node_shards", "more than start and end", "inclusive"],
        ),
        (
            "http = 5",
            ["http is a section", "bytecave.toml line 1", "[http]"],
        ),
    ] {
        let world = World::new().toml(toml);
        world.refused_with(&parts);
        world.refused_with(&["bytecave.toml line 1"]);
    }
}

#[test]
fn a_wrong_variable_names_itself() {
    World::new().var("PORT", "eighty").refused_with(&[
        "http.port = eighty (environment variable PORT)",
        "not a whole number",
        "expected an integer from 0 to 65535",
    ]);
    World::new().var("PORT", "").refused_with(&[
        "environment variable PORT",
        "empty",
        "an integer",
    ]);
    World::new()
        .dotenv("P2P_LISTEN_ADDRESSES=/ip4/0.0.0.0/tcp/1,tcp:5\n")
        .refused_with(&[
            "P2P_LISTEN_ADDRESSES in .env line 1",
            "entry 2 (tcp:5)",
            "multiaddress",
        ]);
    World::new().var("NODE_SHARDS", "0-511").refused_with(&[
        "NODE_SHARDS",
        "JSON",
        r#"[{"start":0,"end":511}]"#,
    ]);
    let mut world = World::new();
    let bytes = OsString::from_vec(vec![b'/', 0xff]);
    world.inputs().environment.insert("DATA_DIR".into(), bytes);
    world.refused_with(&["DATA_DIR", "UTF-8"]);
}

#[test]
fn a_secret_that_landed_in_the_wrong_place_is_not_repeated() {
    let key = "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318";
    let world = World::new()
        .var("OWNER_PRIVATE_KEY_FILE", key)
        .toml("registry.rpc_url = [\"wss://rpc.net/s3cr3t\"]");
    let (message, count) = world.refusal();
    assert_eq!(count, 2, "{message}");
    assert!(
        message.contains("looks like the secret itself"),
        "{message}"
    );
    assert!(
        message.contains("entry 1: it does not begin with http"),
        "{message}"
    );
    assert!(
        !message.contains("4c0883") && !message.contains("s3cr3t"),
        "{message}"
    );
}

#[test]
fn shard_ranges_that_overlap_are_reversed_or_do_not_exist_are_each_named() {
    let with = |ranges: &str| {
        World::new()
            .var("SHARD_COUNT", "16")
            .var("NODE_SHARDS", ranges)
    };
    with(r#"[{"start":0,"end":8},{"start":8,"end":15}]"#).refused_with(&[
        "store.node_shards",
        "environment variable NODE_SHARDS",
        "0-8 and 8-15 overlap",
    ]);
    with(r#"[{"start":9,"end":3}]"#).refused_with(&["NODE_SHARDS", "9-3 is reversed"]);
    with(r#"[{"start":0,"end":16}]"#).refused_with(&[
        "store.node_shards",
        "store.shard_count = 16 (environment variable SHARD_COUNT)",
        "0-16 reaches past the last shard",
    ]);
    with("[]").refused_with(&["NODE_SHARDS", "no shard range"]);
    let (message, count) = with(r#"[{"start":9,"end":3},{"start":0,"end":16}]"#).refusal();
    assert_eq!(count, 2, "{message}");
}

#[test]
fn settings_that_cannot_both_hold_are_both_named() {
    World::new()
        .toml("store.max_total_wal_size = \"256MiB\"")
        .refused_with(&[
            "store.max_total_wal_size = \"256MiB\" (bytecave.toml line 1)",
            "store.write_buffer_total = \"256MiB\" (built-in default)",
        ]);
    World::new()
        .toml("http.max_blob_size = \"1GiB\"")
        .var("MAX_STORAGE_MB", "100")
        .refused_with(&[
            "http.max_blob_size = \"1GiB\" (bytecave.toml line 1)",
            "store.max_storage_mb = 100 (environment variable MAX_STORAGE_MB)",
        ]);
    World::new()
        .toml("[store]\nunlock_key_file = \"/a\"\npassphrase_file = \"/b\"")
        .refused_with(&[
            "store.unlock_key_file",
            "store.passphrase_file",
            "line 2",
            "line 3",
        ]);
}

#[test]
fn everything_that_is_wrong_is_listed_at_once() {
    let world = World::new()
        .toml("[http]\nprot = 1\nport = \"x\"\n[store]\nmax_total_wal_size = \"1GiB\"\n")
        .dotenv("PORT=none\nOWNER_ADDRESS=0x12\nnonsense\n")
        .var("BYTECAVE__LOG__LEVLE", "info")
        .var("SHARD_COUNT", "0")
        .flag("--port", "http.port", "5001");
    let (message, count) = world.refusal();
    assert_eq!(count, 8, "{message}");
    for part in [
        "http.prot",
        "http.port = \"x\" (bytecave.toml line 3)",
        "http.port = none (PORT in .env line 1)",
        "registry.owner_address = 0x12",
        ".env line 3: the line is not NAME=value",
        "BYTECAVE__LOG__LEVEL",
        "store.shard_count = 0",
        "store.max_total_wal_size",
    ] {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

#[test]
fn a_conflict_with_a_value_that_is_wrong_itself_is_not_added_to_it() {
    // The shard count of the default stands in for the wrong one; a clash with that would only mislead.
    World::new()
        .var("SHARD_COUNT", "9999")
        .var("NODE_SHARDS", r#"[{"start":0,"end":2000}]"#)
        .refused_with(&["store.shard_count = 9999"]);
}

#[test]
fn files_that_are_not_toml_or_not_readable_are_named() {
    World::new()
        .toml("[http]\nport = \n")
        .refused_with(&["bytecave.toml line 2", "not valid TOML"]);
    let world = World::new();
    std::fs::create_dir(world.dir().join(".env")).unwrap();
    world.refused_with(&["cannot read", ".env"]);
    let world = World::new();
    std::fs::write(world.dir().join("bytecave.toml"), [0xff, 0xfe]).unwrap();
    let problems = world.load().unwrap_err();
    assert!(
        problems
            .iter()
            .all(|problem| matches!(problem, Problem::Unreadable { .. }))
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_input_panics(
        toml in "(\\[?(http|actors\\.store|x)\\]?\n)?[a-z_\"\\.]{0,12} = [ -~]{0,20}",
        dotenv: String,
        name in "(BYTECAVE__)?[A-Z_]{0,20}",
        value: String,
    ) {
        let world = World::new().toml(&toml).dotenv(&dotenv).var(&name, &value);
        if let Err(problems) = world.load() {
            prop_assert!(problems.iter().count() > 0);
            prop_assert!(!problems.to_string().is_empty());
        }
    }

    #[test]
    fn a_mistyped_key_leads_back_to_itself(at in 0usize..1000, key in 0usize..1000) {
        let all = bytecave_config::keys();
        let key = &all[key % all.len()].key;
        let (table, name) = key.rsplit_once('.').unwrap();
        prop_assume!(name.len() >= 6);
        let at = at % (name.len() - 1);
        let mistyped = format!("{}{}", &name[..at], &name[at + 1..]);
        let world = World::new().toml(&format!("[{table}]\n{mistyped} = 1"));
        let (message, _) = world.refusal();
        prop_assert!(message.contains(&format!("did you mean {key}?")), "{}", message);
    }
}
