//! Killed with signal 9 while sixteen clients write, a node comes back with everything it had
//! acknowledged, lists nothing it cannot read, counts right, and holds no orphan bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::Value;

use crate::harness::client::{Client, Request};
use crate::harness::{Home, Running, content, disk, soak, wait_for};

const CLIENTS: u64 = 16;

/// What the clients were told. Sizes and seeds stand for the bytes.
#[derive(Default)]
struct Told {
    /// Acknowledged as stored: CID → (seed, size).
    stored: BTreeMap<String, (u64, usize)>,
    /// A delete was sent: acknowledged, or cut off, and then either outcome is right.
    deleted: BTreeMap<String, bool>,
}

/// Sizes on all write paths: within a chunk, several chunks, ingested.
fn size(seed: u64) -> usize {
    let spread = usize::try_from(seed % 1009).unwrap();
    match seed % 16 {
        0 => 4 * 1024 * 1024 + 1 + spread * 700,
        1..=3 => 256 * 1024 + spread * 100,
        4 => 0,
        _ => 100 + spread * 20,
    }
}

fn write(
    client: &Client,
    base: u64,
    told: &Mutex<Told>,
    stop: &AtomicBool,
    acknowledged: &AtomicUsize,
) {
    let mut last = None;
    for n in 0.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let seed = base + n;
        let blob = content::bytes(seed, size(seed));
        // The kill ends this in any way it likes; only an answer counts.
        if let Ok(answer) = client.send(Request::store(&blob)) {
            assert!(matches!(answer.status, 200 | 201 | 503), "{answer:?}");
            if answer.status != 503 {
                let cid = content::cid(&blob);
                told.lock()
                    .unwrap()
                    .stored
                    .insert(cid.clone(), (seed, blob.len()));
                acknowledged.fetch_add(1, Ordering::Relaxed);
                if n % 5 == 4 && !blob.is_empty() {
                    last = Some(cid);
                }
            }
        }
        if let Some(cid) = last.take() {
            // Before it is sent: from here on it may be gone.
            told.lock().unwrap().deleted.insert(cid.clone(), false);
            if let Ok(answer) = client.send(Request::new("DELETE", format!("/blobs/{cid}"))) {
                match answer.status {
                    204 => drop(told.lock().unwrap().deleted.insert(cid, true)),
                    503 => drop(told.lock().unwrap().deleted.remove(&cid)),
                    _ => panic!("{answer:?}"),
                }
            }
        }
    }
}

/// Lets sixteen clients write until `enough` stores were acknowledged, then kills the node amid it.
fn write_and_kill(node: Running, round: u64, enough: usize, told: &Mutex<Told>) {
    let client = node.client();
    let (stop, acknowledged) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for n in 0..CLIENTS {
            let (client, stop, acknowledged) = (client.clone(), &stop, &acknowledged);
            scope.spawn(move || {
                write(
                    &client,
                    (round * CLIENTS + n + 1) << 32,
                    told,
                    stop,
                    acknowledged,
                );
            });
        }
        wait_for("acknowledged stores", || {
            (acknowledged.load(Ordering::Relaxed) >= enough).then_some(())
        });
        node.kill();
        stop.store(true, Ordering::Relaxed);
    });
}

/// Everything acknowledged is there, everything listed reads right, counters say what is listed.
fn check(home: &Home, node: &Running, told: &mut Told, from: u64) {
    let client = node.client();
    assert!(
        disk::files(&home.data().join("tmp")).is_empty(),
        "the temporary directory is emptied at start"
    );
    let listed = client.list(500);
    let cids: BTreeSet<&str> = listed
        .iter()
        .map(|row| row["cid"].as_str().unwrap())
        .collect();
    assert_eq!(cids.len(), listed.len(), "a blob is listed twice");

    for (cid, (seed, size)) in &told.stored {
        let here = cids.contains(cid.as_str());
        match told.deleted.get(cid) {
            None => assert!(
                here,
                "acknowledged and not listed: {cid} of {size} bytes, seed {seed}"
            ),
            Some(true) => assert!(!here, "acknowledged as deleted and listed: {cid}"),
            Some(false) => {}
        }
    }
    for row in &listed {
        let cid = row["cid"].as_str().unwrap();
        // Older ones were read in their own round.
        if told.stored.get(cid).is_some_and(|(seed, _)| *seed < from) {
            continue;
        }
        let answer = client.retrieve(cid);
        assert_eq!(answer.status, 200, "{cid}: {answer:?}");
        assert_eq!(
            content::cid(&answer.body),
            cid,
            "the bytes are not those of the CID"
        );
        assert_eq!(row["size"], answer.body.len());
    }
    client.holds(listed.len());

    // Deletes that were cut off have had their outcome now.
    let cut: Vec<String> = told
        .deleted
        .iter()
        .filter(|(_, done)| !**done)
        .map(|(cid, _)| cid.clone())
        .collect();
    for cid in cut {
        told.deleted.remove(&cid);
        if !cids.contains(cid.as_str()) {
            told.stored.remove(&cid);
        }
    }
}

/// `verify` ends with 0: counters and fingerprints agree with a full count, nothing is an orphan.
fn verify(home: &Home) -> Value {
    let ended = home.cli(&["verify", "--json"]).well();
    let last = ended.stdout.trim().lines().last().unwrap_or_default();
    serde_json::from_str(&ended.stdout)
        .or_else(|_| serde_json::from_str(last))
        .unwrap_or_else(|e| panic!("{e}: {}", ended.stdout))
}

#[test]
fn slow_acknowledged_blobs_survive_every_round() {
    let rounds = if soak() { 50 } else { 10 };
    let home = Home::new();
    let told = Mutex::new(Told::default());
    let mut node = home.start();
    for round in 0..rounds {
        let enough = 20 + usize::from(content::bytes(round, 1)[0]) / 2;
        write_and_kill(node, round, enough, &told);
        node = home.start();
        check(
            &home,
            &node,
            &mut told.lock().unwrap(),
            (round * CLIENTS + 1) << 32,
        );
        node.stop();
        let report = verify(&home);
        assert!(report.is_object(), "{report}");
        node = home.start();
    }
    // And at the end all of it once more.
    check(&home, &node, &mut told.lock().unwrap(), 0);
    assert!(told.lock().unwrap().stored.len() >= usize::try_from(rounds).unwrap() * 20);
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_at_once() {
    let home = Home::new();
    let mut kept = Vec::new();
    for round in 0..3u64 {
        let node = home.start();
        let client = node.client();
        for n in 0..4 {
            let blob = content::bytes(round * 10 + n, size(n));
            let cid = client.keep(&blob);
            kept.push((cid, blob));
        }
        node.kill();
    }
    let node = home.start();
    for (cid, blob) in &kept {
        assert_eq!(node.client().retrieve(cid).body, *blob);
    }
}
