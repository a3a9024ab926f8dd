use std::time::Duration;

use crate::world::World;

#[test]
fn the_defaults_are_those_of_the_documentation() {
    let replication = World::new().loaded().config.replication;
    assert_eq!(replication.factor, 3);
    assert!(!replication.probation);
    assert_eq!(
        replication.place_timeout.as_duration(),
        Duration::from_secs(30)
    );
    assert_eq!(
        replication.holder_timeout.as_duration(),
        Duration::from_mins(15)
    );
    assert_eq!(
        replication.goodbye_timeout.as_duration(),
        Duration::from_mins(5)
    );
    assert_eq!(replication.repairs_at_once, 3);
    assert_eq!(replication.repair_bytes_per_second.bytes(), 16 << 20);
}

#[test]
fn a_value_out_of_range_is_refused_with_the_range() {
    for (key, value, expected) in [
        ("factor", "0", "from 1 to 16"),
        ("factor", "17", "from 1 to 16"),
        ("factor", "-1", "from 1 to 16"),
        ("factor", "\"three\"", "from 1 to 16"),
        ("probation", "\"yes\"", "true or false"),
        ("place_timeout", "\"99ms\"", "100ms"),
        ("place_timeout", "\"11m\"", "10m"),
        ("place_timeout", "30", "no unit"),
        ("reconcile_interval", "\"0s\"", "1s"),
        ("keyed_interval", "\"59s\"", "1m"),
        ("holder_timeout", "\"31d\"", "30d"),
        ("repairs_at_once", "0", "from 1 to 64"),
        ("repairs_at_once", "65", "from 1 to 64"),
        ("repair_bytes_per_second", "\"63KiB\"", "64KiB"),
        ("stranger_quota", "1.5", "0 to 1"),
        ("stranger_quota", "-0.1", "0 to 1"),
    ] {
        World::new()
            .toml(&format!("[replication]\n{key} = {value}"))
            .refused_with(&[&format!("replication.{key}"), "line 2", expected]);
    }
    World::new()
        .toml("[replication]\nfaktor = 3")
        .refused_with(&["unknown key", "did you mean replication.factor"]);
}

#[test]
fn the_ends_of_the_ranges_are_in_them() {
    for toml in [
        "factor = 1\nrepairs_at_once = 1\nstranger_quota = 0.0\nplace_timeout = \"100ms\"",
        "factor = 16\nrepairs_at_once = 64\nstranger_quota = 1.0\nplace_timeout = \"10m\"",
        "holder_timeout = \"3m\"\ngoodbye_timeout = \"3m\"",
        "keyed_interval = \"15m\"",
    ] {
        let loaded = World::new()
            .toml(&format!("[replication]\n{toml}"))
            .loaded();
        assert!(loaded.warnings.is_empty(), "{toml}: {:?}", loaded.warnings);
    }
}

#[test]
fn who_leaves_in_order_is_not_waited_for_longer_than_who_falls_silent() {
    World::new()
        .toml("[replication]\ngoodbye_timeout = \"901s\"")
        .refused_with(&[
            "replication.goodbye_timeout = \"901s\"",
            "replication.holder_timeout",
            "must not be the longer",
        ]);
    let below = World::new().toml("[replication]\nholder_timeout = \"4m\"");
    below.refused_with(&["replication.goodbye_timeout", "replication.holder_timeout"]);
}

#[test]
fn what_is_seldom_meant_starts_and_is_remarked() {
    for (toml, parts) in [
        (
            "holder_timeout = \"2m\"\ngoodbye_timeout = \"1m\"",
            ["replication.holder_timeout", "p2p.member_timeout"],
        ),
        (
            "keyed_interval = \"10m\"",
            [
                "replication.keyed_interval",
                "replication.reconcile_interval",
            ],
        ),
    ] {
        let warnings = World::new()
            .toml(&format!("[replication]\n{toml}"))
            .loaded()
            .warnings;
        assert_eq!(warnings.len(), 1, "{toml}: {warnings:?}");
        for part in parts {
            assert!(warnings[0].contains(part), "no {part:?} in {warnings:?}");
        }
    }
}

#[test]
fn every_key_is_a_variable_too() {
    let loaded = World::new()
        .var("BYTECAVE__REPLICATION__FACTOR", "2")
        .var("BYTECAVE__REPLICATION__PROBATION", "true")
        .var("BYTECAVE__REPLICATION__STRANGER_QUOTA", "0.25")
        .loaded();
    let replication = loaded.config.replication;
    assert_eq!(replication.factor, 2);
    assert!(replication.probation);
    assert!((replication.stranger_quota.get() - 0.25).abs() < 1e-9);
}
