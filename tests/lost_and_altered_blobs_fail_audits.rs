//! A node whose blobs were altered, cut off or removed behind its database's back fails its peers' audits and its
//! own scrub. What is damaged is quarantined and comes back from a replica, and the history says what happened.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::cluster::{Blob, Cluster};
use crate::harness::{Running, disk, wait_for};

const SHARDS: u64 = 4;
/// The node whose disk is bad.
const BAD: usize = 2;
/// More would take an audit longer to find the one that is damaged.
const BLOBS: u64 = 16;
const BLOB_BYTES: usize = 200_000;

/// Three nodes that keep everything, with the blobs of the bad one in files of their own, so that these can be
/// damaged. Other nodes are audited `per_day` times.
fn cluster(per_day: &str) -> (Cluster, BTreeSet<Blob>) {
    let ranges = vec![String::new(); 3];
    let cluster = Cluster::start(SHARDS, &ranges, |home| {
        home.env("BYTECAVE__PROOF__AUDITS_PER_DAY", per_day)
            // Small buffers, so that small blobs come to lie in blob files.
            .env("BYTECAVE__STORE__MAX_TOTAL_WAL_SIZE", "1MiB")
    });
    let blobs: BTreeSet<Blob> = (0..BLOBS)
        .map(|seed| Blob::new(seed, BLOB_BYTES, SHARDS))
        .collect();
    for blob in &blobs {
        cluster.node(0).client().keep(&blob.bytes());
    }
    cluster.wait_copied(&blobs);
    let data = cluster.homes[BAD].data();
    wait_for("a blob file", || blob_files(&data).pop());
    (cluster, blobs)
}

fn blob_files(data: &Path) -> Vec<PathBuf> {
    disk::largest(&data.join("db"), "blob")
}

/// Stops the bad node, does this to its largest blob file, and starts it again.
fn damage(cluster: &mut Cluster, how: impl Fn(&Path)) {
    cluster.nodes[BAD].take().unwrap().stop();
    let files = blob_files(&cluster.homes[BAD].data());
    how(files.first().expect("a blob file"));
    cluster.start_again(BAD);
}

fn flip(file: &Path) {
    let length = fs::metadata(file).unwrap().len();
    disk::flip(file, length / 2);
}

fn cut(file: &Path) {
    let length = fs::metadata(file).unwrap().len();
    let open = fs::OpenOptions::new().write(true).open(file).unwrap();
    open.set_len(length / 2).unwrap();
    open.sync_all().unwrap();
}

fn remove(file: &Path) {
    fs::remove_file(file).unwrap();
}

/// The audits of `peer` with this outcome that this node remembers, the newest first.
fn audits(node: &Running, peer: &str, outcome: &str) -> Vec<Value> {
    let path = format!("/audits?peer={peer}&outcome={outcome}&limit=1000");
    let answer = node.client().get(&path);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["audits"].as_array().unwrap().clone()
}

/// Waits until the bad node gives every blob of its own again, and says that nothing is damaged.
fn wait_healed(cluster: &Cluster, blobs: &BTreeSet<Blob>) {
    let bad = cluster.node(BAD);
    for blob in blobs {
        let path = format!("/retrieve/{}?local=1", blob.cid);
        // It may be damaged and not yet known to be: this asks for it as well.
        let healed = || {
            let got = bad.client().get(&path);
            (got.status == 200).then_some(got.body)
        };
        let got = wait_for("what was damaged to come back", healed);
        assert!(got == blob.bytes(), "{blob:?} came wrong");
    }
    wait_for("the node to know that all is sound", || {
        (bad.metric("bytecave_store_quarantined_blobs") < 1.0).then_some(())
    });
}

/// The bad node fails an audit of each of the others, and proves the same blob once it has it back.
fn found_by_peers(how: impl Fn(&Path), what: &str) {
    let (mut cluster, blobs) = cluster("1000000");
    let peer = cluster.node(BAD).peer_id();
    wait_for("an audit to be passed before", || {
        audits(cluster.node(0), &peer, "passed").pop()
    });
    let before = audits(cluster.node(0), &peer, "failed");
    assert_eq!(before, Vec::<Value>::new(), "{what}: sound so far");
    damage(&mut cluster, how);
    let failed = wait_for("an audit to fail", || {
        [0, 1]
            .iter()
            .find_map(|&at| Some((at, audits(cluster.node(at), &peer, "failed").pop()?)))
    });
    let (auditor, failed) = failed;
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("damaged"), "{what}: {failed}");
    let cid = failed["cid"].as_str().unwrap().to_owned();
    assert!(blobs.iter().any(|blob| blob.cid == cid), "{failed}");
    wait_healed(&cluster, &blobs);
    // It is asked again, and proves it.
    wait_for("the blob to be proved again", || {
        let path = format!("/audits?peer={peer}&cid={cid}&limit=1");
        let newest = cluster.node(auditor).client().get(&path).json();
        let newest = newest["audits"].as_array()?.first()?.clone();
        let later = newest["sequence"].as_u64()? > failed["sequence"].as_u64()?;
        (later && newest["outcome"] == "passed").then_some(())
    });
    let told = audits(cluster.node(auditor), &peer, "failed");
    assert!(
        told.iter().any(|audit| audit["cid"] == cid.as_str()),
        "{what}: the history still says so: {told:?}"
    );
}

#[test]
fn slow_a_flipped_bit_fails_audits_and_is_repaired() {
    found_by_peers(flip, "a flipped bit");
}

#[test]
fn slow_a_truncated_file_fails_audits_and_is_repaired() {
    found_by_peers(cut, "a truncated file");
}

#[test]
fn slow_a_removed_file_fails_audits_and_is_repaired() {
    found_by_peers(remove, "a removed file");
}

#[test]
fn the_scrub_finds_damage_that_nobody_asks_about() {
    for (how, what) in [
        (flip as fn(&Path), "a flipped bit"),
        (cut, "a truncated file"),
        (remove, "a removed file"),
    ] {
        let (mut cluster, blobs) = cluster("0");
        damage(&mut cluster, how);
        let home = &cluster.homes[BAD];
        let url = cluster.node(BAD).url();
        home.cli(&["--url", &url, "scrub", "--wait"]).well();
        let scrub = cluster.node(BAD).client().get("/audits").json()["scrub"].clone();
        assert!(
            scrub["damaged"].as_u64().unwrap() >= 1,
            "{what}: found: {scrub}"
        );
        wait_healed(&cluster, &blobs);
        home.cli(&["--url", &url, "scrub", "--wait"]).well();
        let scrub = cluster.node(BAD).client().get("/audits").json()["scrub"].clone();
        assert_eq!(scrub["damaged"], 0, "{what}: healed: {scrub}");
        assert!(scrub["blobs"].as_u64().unwrap() >= BLOBS, "{what}: {scrub}");
    }
}
