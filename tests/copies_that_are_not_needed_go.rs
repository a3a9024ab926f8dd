//! A copy that is not needed where it is goes, once as many better-placed nodes as there shall be copies have proved
//! that they have it: extra copies by themselves, whole shards on the operator's word. What was let go is still given
//! for a while, and nothing is lost when the node dies in between.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::cluster::{Blob, Cluster};
use crate::harness::js::Js;
use crate::harness::network::home;
use crate::harness::{Home, Running, content, wait_for};

const SHARDS: u64 = 4;
const BLOB_BYTES: usize = 20_000;

fn blobs(from: u64, count: u64) -> BTreeSet<Blob> {
    (from..from + count)
        .map(|seed| Blob::new(seed, BLOB_BYTES, SHARDS))
        .collect()
}

fn settle(home: Home) -> Home {
    home.env("BYTECAVE__PROOF__AUDITS_PER_DAY", "0")
        .env("BYTECAVE__PROOF__CHALLENGES_PER_SECOND_PER_PEER", "1000")
        .env("BYTECAVE__REPLICATION__RECONCILE_INTERVAL", "2s")
}

/// Blobs that count as here, and blobs that were let go and stand on disk.
fn counts(node: &Running) -> (u64, u64) {
    let shards = node.shards();
    let rows = shards["shards"].as_array().unwrap();
    let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum();
    (sum("blobs"), sum("retired"))
}

/// The blobs of those shards of which a node is no holder.
fn extra(cluster: &Cluster, at: usize, blobs: &BTreeSet<Blob>) -> BTreeSet<Blob> {
    let (holders, id) = (cluster.wait_agreed(), cluster.node(at).peer_id());
    let not_held = |blob: &&Blob| !holders[&blob.shard].contains(&id);
    blobs.iter().filter(not_held).cloned().collect()
}

fn plan(node: &Running) -> Value {
    let answer = node.client().get("/admin/shards/plan");
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

/// Five nodes keep everything and three hold each shard: what the first took for others goes from it.
#[test]
fn extra_copies_go_once_others_have_proved_them() {
    let cluster = Cluster::start(SHARDS, &vec![String::new(); 5], settle);
    let blobs = blobs(0, 40);
    let first = cluster.node(0);
    let mut pinned = None;
    for blob in &blobs {
        first.client().keep(&blob.bytes());
    }
    let extra = extra(&cluster, 0, &blobs);
    if let Some(blob) = extra.first() {
        let path = format!("/pins/{}", blob.cid);
        let request = crate::harness::client::Request::new("PUT", path);
        assert!(matches!(first.client().ask(request).status, 200 | 204));
        pinned = Some(blob.clone());
    }
    cluster.wait_copied(&blobs);
    let stays = u64::from(pinned.is_some());
    let left = u64::try_from(blobs.len() - extra.len()).unwrap() + stays;
    let retired = u64::try_from(extra.len()).unwrap() - stays;
    wait_for("what is not needed here to go", || {
        (counts(first) == (left, retired)).then_some(())
    });
    println!("{retired} of {} blobs let go", blobs.len());
    cluster.wait_copied(&blobs);
    cluster.assert_readable(&blobs);
    let listed = first.client().list(1000);
    let listed: BTreeSet<&str> = listed
        .iter()
        .filter_map(|row| row["cid"].as_str())
        .collect();
    for blob in &extra {
        let stays = pinned.as_ref() == Some(blob);
        assert_eq!(listed.contains(blob.cid.as_str()), stays, "{blob:?}");
        assert!(first.has(&blob.cid), "it is still given: {blob:?}");
    }
}

/// A node that keeps nothing any more hands everything over; killed again and again meanwhile, it goes on.
#[test]
fn slow_shards_are_handed_over_also_when_the_node_is_killed() {
    let mut cluster = Cluster::start(SHARDS, &vec![String::new(); 4], |home| {
        settle(home).env("BYTECAVE__REPLICATION__HOLD", "1h")
    });
    let blobs = blobs(100, 60);
    for blob in &blobs {
        cluster.node(0).client().keep(&blob.bytes());
    }
    cluster.wait_copied(&blobs);
    cluster.nodes[0].take().unwrap().stop();
    // One shard stays, so that the node is still one of the network.
    cluster.homes[0].set("NODE_SHARDS", r#"[{"start":3,"end":3}]"#);
    cluster.start_again(0);
    let gone = |blob: &&Blob| blob.shard != 3;
    let moved = blobs.iter().filter(gone).count();
    wait_for("the plan to name the shards", || {
        let plan = plan(cluster.node(0));
        let rows = plan["shards"].as_array().unwrap();
        let foreign = rows.iter().filter(|row| row["owned"] == false);
        (foreign.count() == 3).then_some(())
    });
    std::thread::sleep(Duration::from_secs(3));
    let (_, retired) = counts(cluster.node(0));
    assert_eq!(retired, 0, "nothing goes without the word");
    let url = cluster.node(0).url();
    let home = &cluster.homes[0];
    home.cli(&["--url", &url, "shards", "plan"])
        .well()
        .naming(&["not ordered"]);
    home.cli(&["--url", &url, "shards", "apply", "--all"])
        .well();
    // At moments that differ from run to run.
    for pause in [700, 2500, 4000] {
        std::thread::sleep(Duration::from_millis(pause));
        cluster.kill(0);
        cluster.start_again(0);
    }
    wait_for("everything to be handed over", || {
        let (_, retired) = counts(cluster.node(0));
        (retired >= u64::try_from(moved).unwrap()).then_some(())
    });
    for blob in blobs.iter().filter(gone) {
        for at in 1..4 {
            assert!(cluster.node(at).has(&blob.cid), "{blob:?} at {at}");
        }
        assert!(
            cluster.node(0).has(&blob.cid),
            "it is still given: {blob:?}"
        );
    }
    cluster.assert_readable(&blobs);
    let url = cluster.node(0).url();
    let done = cluster.homes[0].cli(&["--url", &url, "shards", "apply", "--all", "--wait"]);
    done.well();
}

/// A peer of the current version that keeps all shards and ranks before any node.
fn keeper() -> Js {
    Js::peer(json!({"serve": {
        "current": true,
        "shards": [{"start": 0, "end": 15}],
        "shardCount": 16,
        "capacity": 1_u64 << 44,
        "accepting": true,
    }}))
}

/// A peer that only says that it keeps copies, and answers challenges with what it asks of this very node at that
/// moment, is believed, since nothing tells it from one that has them. Within the hold time nothing is lost by that.
#[test]
fn a_peer_that_proves_what_it_fetches_from_us_takes_nothing_with_it() {
    let peer = keeper();
    let home = settle(home())
        .env("SHARD_COUNT", "16")
        .env("BYTECAVE__REPLICATION__FACTOR", "1")
        .env("P2P_BOOTSTRAP_PEERS", peer.tcp());
    let node = home.start();
    peer.ask("passOn", json!({"url": node.url()}));
    node.wait_acquainted(peer.peer_id());
    let stored: Vec<Vec<u8>> = (0..8)
        .map(|seed| content::bytes(seed, BLOB_BYTES))
        .collect();
    for bytes in &stored {
        node.client().keep(bytes);
    }
    wait_for("the copies to be let go", || {
        (counts(&node) == (0, 8)).then_some(())
    });
    // It has none of them: whoever asks for them gets them from here all the same.
    for bytes in &stored {
        let got = node.client().retrieve(&content::cid(bytes));
        assert_eq!(got.status, 200, "{got:?}");
        assert!(got.body == *bytes);
    }
    node.stop();
    let node = home.start();
    assert_eq!(counts(&node).1, 8);
    for bytes in &stored {
        assert!(node.has(&content::cid(bytes)), "also after a restart");
    }
}
