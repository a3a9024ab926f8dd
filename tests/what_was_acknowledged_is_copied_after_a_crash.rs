//! A node that dies between its answer and the first copy brings the copies after its restart; nodes
//! that could not see each other took blobs on both sides, and have them all once they can.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::harness::cluster::{Blob, Cluster};
use crate::harness::network::Over;
use crate::harness::{Home, Running, wait_for};

const SHARDS: u64 = 16;

fn keeping_all(nodes: usize, more: impl Fn(Home) -> Home) -> Cluster {
    let all = r#"[{"start":0,"end":15}]"#.to_owned();
    Cluster::start(SHARDS, &vec![all; nodes], more)
}

const ROUNDS: &str = "bytecave_replicator_reconcile_rounds_total";
const REPAIRED: &str = "bytecave_replicator_repaired_blobs_total";

#[test]
fn the_copies_come_after_the_restart() {
    // Nothing but the outbox may bring them: each node has compared with both others, and does not do so
    // again in the time of this test.
    let mut cluster = keeping_all(3, |home| {
        home.env("BYTECAVE__REPLICATION__RECONCILE_INTERVAL", "1d")
            .env("BYTECAVE__REPLICATION__HOLDER_TIMEOUT", "1h")
    });
    for node in cluster.running() {
        wait_for("a comparison with both others", || {
            (node.metric(ROUNDS) >= 2.0).then_some(())
        });
    }
    // The others take nothing in, as nodes would behind a line that is cut.
    for at in [1, 2] {
        cluster.node(at).pause();
    }
    let blobs: BTreeSet<Blob> = (0..20)
        .map(|seed| Blob::new(seed, if seed == 0 { 6 << 20 } else { 3000 }, SHARDS))
        .collect();
    for blob in &blobs {
        let stored = cluster.node(0).client().store(&blob.bytes());
        assert_eq!(stored.status, 201, "{stored:?}");
    }
    cluster.kill(0);
    for at in [1, 2] {
        cluster.node(at).resume();
        let held = cluster.node(at).client().list(1000);
        assert!(
            held.is_empty(),
            "a copy was made before the crash: {held:?}"
        );
    }
    cluster.start_again(0);
    let took = cluster.wait_copied(&blobs);
    println!("copied {:.1} s after the restart", took.as_secs_f64());
    for at in [1, 2] {
        let repaired = cluster.node(at).metric(REPAIRED);
        assert!(repaired < 1.0, "{repaired} blobs were fetched by repair");
    }
}

/// Starts the nodes again so that these speak to each other and to nobody else; everybody, if nobody is named.
fn part(cluster: &mut Cluster, ids: &[String], sides: &[&[usize]]) {
    for at in 0..ids.len() {
        cluster.nodes[at].take().unwrap().stop();
        let side = sides.iter().find(|side| side.contains(&at));
        let strangers = (0..ids.len())
            .filter(|other| side.is_some_and(|side| !side.contains(other)))
            .map(|other| ids[other].as_str());
        let strangers: Vec<&str> = strangers.collect();
        let home = &mut cluster.homes[at];
        if strangers.is_empty() {
            home.unset("BYTECAVE__P2P__BLOCK_PEERS");
        } else {
            home.set("BYTECAVE__P2P__BLOCK_PEERS", &strangers.join(","));
        }
    }
    for at in 0..ids.len() {
        cluster.start_again(at);
    }
}

fn wait_holders(node: &Running, wanted: &BTreeSet<String>) {
    wait_for("holders of this side only", || {
        let shards = node.shards();
        let rows = shards["shards"].as_array()?;
        let all = rows.iter().all(|row| {
            let holders = row["holders"].as_array().cloned().unwrap_or_default();
            let ids = holders
                .iter()
                .filter_map(|holder| holder["peerId"].as_str());
            ids.map(str::to_owned).collect::<BTreeSet<_>>() == *wanted
        });
        all.then_some(())
    });
}

#[test]
fn both_sides_of_a_partition_take_blobs_and_have_all_of_them_when_it_heals() {
    let mut cluster = keeping_all(4, |home| home);
    let ids: Vec<String> = cluster.running().map(Running::peer_id).collect();
    // The first knows nobody of itself: the second's address joins the one side, the fourth's the other.
    let addresses: Vec<String> = cluster
        .running()
        .map(|node| node.multiaddr(Over::Tcp))
        .collect();
    let known_to = |at: usize, other: usize, cluster: &mut Cluster| {
        cluster.homes[at].set("P2P_BOOTSTRAP_PEERS", &addresses[other]);
    };
    for (at, other) in [(0, 1), (1, 0), (2, 3), (3, 2)] {
        known_to(at, other, &mut cluster);
    }
    part(&mut cluster, &ids, &[&[0, 1], &[2, 3]]);
    for side in [[0, 1], [2, 3]] {
        let wanted = side.map(|at| ids[at].clone()).into();
        side.iter()
            .for_each(|at| wait_holders(cluster.node(*at), &wanted));
    }
    let mut blobs = BTreeSet::new();
    for (seed, at) in (0..40).zip([0, 2, 1, 3].into_iter().cycle()) {
        let blob = Blob::new(seed, 4000, SHARDS);
        let stored = cluster.node(at).store_copies(&blob.bytes(), 2);
        assert_eq!(stored.status, 201, "{stored:?}");
        blobs.insert(blob);
    }
    // The same blob may come to both sides.
    let twin = Blob::new(0, 4000, SHARDS);
    let stored = cluster.node(3).store_copies(&twin.bytes(), 2);
    assert_eq!(stored.status, 201, "{stored:?}");

    known_to(1, 2, &mut cluster);
    part(&mut cluster, &ids, &[]);
    cluster.wait_agreed();
    let took = cluster.wait_copied(&blobs);
    println!(
        "both sides have all {:.1} s after they agreed",
        took.as_secs_f64()
    );
    cluster.assert_readable(&blobs);
    // And it is seen that nothing is missing.
    for node in cluster.running() {
        wait_for("a report without missing copies", || {
            let report = node.replication();
            let shards = report["shards"].as_array()?;
            let whole = |row: &Value| row["missing"] == 0;
            (!shards.is_empty() && shards.iter().all(whole)).then_some(())
        });
    }
}
