//! A node keeps blobs of its own shards and no others; how many shards there are is settled at its first
//! start; and a shard's blobs go only when its owner says so in so many words.

use std::fs;

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::{Home, content, disk};

const MIB: usize = 1024 * 1024;

fn row(shards: &Value, shard: u64) -> Value {
    let rows = shards["shards"]
        .as_array()
        .unwrap_or_else(|| panic!("no shards in {shards}"));
    rows.iter()
        .find(|row| row["shard"] == shard)
        .unwrap_or_else(|| panic!("no shard {shard} in {shards}"))
        .clone()
}

#[test]
fn blobs_of_other_nodes_shards_are_421() {
    let home = Home::new().env("NODE_SHARDS", r#"[{"start":0,"end":7}]"#);
    let node = home.start();
    let client = node.client();
    let mut kept = 0;
    for size in [10, 100_000, 5 * MIB] {
        let ours = content::in_shard(1, size, 16, |shard| shard <= 7);
        let theirs = content::in_shard(2, size, 16, |shard| shard > 7);
        assert_eq!(client.store(&ours).status, 201);
        kept += 1;
        for chunked in [false, true] {
            let request = Request::store(&theirs);
            let answer = client.ask(if chunked { request.chunked() } else { request });
            answer.problem(421);
            let json = answer.json();
            assert_eq!(json["shard"], content::shard(&theirs, 16), "{json}");
        }
        // With the CID stated the answer needs no body.
        let stated =
            client.ask(Request::store(&theirs).header("X-Content-CID", &content::cid(&theirs)));
        stated.problem(421);
        client.retrieve(&content::cid(&theirs)).problem(404);
        client.holds(kept);
    }
    assert!(disk::files(&home.data().join("tmp")).is_empty());
    assert_eq!(
        client.get("/info").json()["shards"],
        json!([{"start":0,"end":7}])
    );
}

#[test]
fn the_number_of_shards_is_fixed_at_first_start() {
    let mut home = Home::new();
    let node = home.start();
    let blob = content::bytes(1, 100);
    let cid = node.client().keep(&blob);
    node.stop();
    home.set("SHARD_COUNT", "32");
    home.refused().naming(&["SHARD_COUNT", "16", "32"]);
    home.unset("SHARD_COUNT");
    home.refused().naming(&["SHARD_COUNT", "16", "1024"]);
    home.set("SHARD_COUNT", "16");
    let node = home.start();
    assert_eq!(node.client().retrieve(&cid).body, blob);
}

#[test]
fn shards_given_up_are_read_until_they_are_dropped() {
    let mut home = Home::new();
    let node = home.start();
    let client = node.client();
    let kept = content::in_shard(1, 3000, 16, |shard| shard == 3);
    let small = content::in_shard(2, 200_000, 16, |shard| shard == 12);
    let large = content::in_shard(3, 12 * MIB, 16, |shard| shard == 12);
    for blob in [&kept, &small, &large] {
        client.keep(blob);
    }
    client.holds(3);
    let shards = client.get("/shards").json();
    assert_eq!(row(&shards, 12)["blobs"], 2, "{shards}");
    assert_eq!(
        row(&shards, 12)["bytes"],
        small.len() + large.len(),
        "{shards}"
    );
    assert_eq!(row(&shards, 3)["blobs"], 1, "{shards}");
    node.stop();

    home.set("NODE_SHARDS", r#"[{"start":0,"end":7}]"#);
    let node = home.start();
    let client = node.client();
    for blob in [&kept, &small, &large] {
        assert_eq!(
            client.retrieve(&content::cid(blob)).body,
            **blob,
            "what is here is served"
        );
    }
    let other = content::in_shard(4, 100, 16, |shard| shard == 12);
    client.store(&other).problem(421);
    let shards = client.get("/shards").json();
    assert_eq!(row(&shards, 12)["owned"], false, "{shards}");
    assert_eq!(row(&shards, 3)["owned"], true, "{shards}");

    // Not while a node runs, not without --yes.
    let ended = home.cli(&["shards", "drop", "8-15", "--yes"]);
    assert_ne!(ended.code, Some(0), "{ended:?}");
    assert_eq!(client.retrieve(&content::cid(&small)).body, small);
    node.stop();
    let ended = home.cli(&["shards", "drop", "8-15"]);
    assert_ne!(ended.code, Some(0), "{ended:?}");
    assert!(ended.text().contains("--yes"), "{ended:?}");

    let before = disk::used(&home.data());
    home.cli(&["shards", "drop", "8-15", "--yes"]).well();
    let node = home.start();
    let client = node.client();
    for blob in [&small, &large] {
        client.retrieve(&content::cid(blob)).problem(404);
    }
    assert_eq!(client.retrieve(&content::cid(&kept)).body, kept);
    assert_eq!(client.holds(1), kept.len() as u64);
    node.stop();
    let after = disk::used(&home.data());
    assert!(
        after + (8 << 20) < before,
        "the space came back: {before} before, {after} after"
    );
    home.cli(&["verify"]).well();

    for bad in ["16", "5-3", "8-", "x", "-1"] {
        assert_ne!(
            home.cli(&["shards", "drop", "--yes", "--", bad]).code,
            Some(0),
            "{bad}"
        );
    }
}

#[test]
fn all_1024_shards_open_and_serve() {
    let home = Home::bare().env("PORT", "0").env("P2P_ENABLED", "false");
    let node = home.start();
    let client = node.client();
    let blobs: Vec<Vec<u8>> = (0..40).map(|n| content::bytes(n, 700)).collect();
    for blob in &blobs {
        let answer = client.store(blob);
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json()["shard"], content::shard(blob, 1024));
    }
    node.kill();
    let node = home.start();
    for blob in &blobs {
        assert_eq!(node.client().retrieve(&content::cid(blob)).body, *blob);
    }
    assert_eq!(node.client().get("/info").json()["shardCount"], 1024);
    node.stop();
    assert!(fs::exists(home.data().join("db")).unwrap());
}
