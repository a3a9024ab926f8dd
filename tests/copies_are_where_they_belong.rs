//! Every blob comes to have its copies on the nodes that hold its shard, is read from every node, and
//! has its copies again after nodes were lost for good. What was acknowledged survives nodes that die
//! and come back.

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::harness::client::Request;
use crate::harness::cluster::{Blob, Cluster, FACTOR, all_but_two, log_uniform};
use crate::harness::{Home, content, soak, wait_for};

const SHARDS: u64 = 64;
const NODES: u64 = 7;
/// Bytes that are left for each blob that is still to be drawn.
const SPARED: usize = 16 << 10;

fn seven() -> Cluster {
    Cluster::start(SHARDS, &all_but_two(NODES, SHARDS), |home| home)
}

/// Stores blobs at random nodes, several at once, while all nodes run.
fn store(cluster: &Cluster, blobs: &[Blob]) {
    let next = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some(blob) = blobs.get(usize::try_from(at).unwrap()) else {
                        return;
                    };
                    let node = usize::from(content::bytes(at, 1)[0]) % cluster.nodes.len();
                    let node = cluster.node(node);
                    let answer = wait_for("a store that is not shed", || {
                        let answer = node.client().store(&blob.bytes());
                        (answer.status != 503).then_some(answer)
                    });
                    assert_eq!(answer.status, 201, "{blob:?} at {}: {answer:?}", node.url());
                    assert_eq!(answer.json()["cid"], blob.cid.as_str());
                }
            });
        }
    });
}

/// So many blobs of 1 KiB to 8 MiB, drawn log-uniformly, of at most so many bytes in all: one that would leave
/// less than [`SPARED`] for each of those to come is drawn again.
fn within(most: usize, number: usize) -> Vec<Blob> {
    let mut blobs: Vec<Blob> = Vec::new();
    let mut left = most;
    for seed in 0.. {
        let Some(behind) = (number - blobs.len()).checked_sub(1) else {
            break;
        };
        let size = log_uniform(seed, 1024.0, 8.0 * 1024.0 * 1024.0);
        if size + behind * SPARED <= left {
            left -= size;
            blobs.push(Blob::new(seed, size, SHARDS));
        }
    }
    blobs
}

#[test]
fn slow_seven_nodes_two_of_which_are_lost() {
    let number = if soak() { 2000 } else { 80 };
    let blobs = within(400 << 20, number);
    let bytes: usize = blobs.iter().map(Blob::size).sum();
    let mut cluster = seven();
    for holders in cluster.wait_agreed().values() {
        assert_eq!(holders.len(), FACTOR);
    }
    let begun = Instant::now();
    store(&cluster, &blobs);
    println!(
        "{} blobs, {} MiB, stored in {:.1} s",
        blobs.len(),
        bytes >> 20,
        begun.elapsed().as_secs_f64()
    );
    let blobs: BTreeSet<Blob> = blobs.into_iter().collect();
    let copied = cluster.wait_copied(&blobs);
    println!("copied {:.1} s after the last store", copied.as_secs_f64());
    let begun = Instant::now();
    cluster.assert_readable(&blobs);
    println!(
        "read from every node in {:.1} s",
        begun.elapsed().as_secs_f64()
    );

    cluster.kill(2);
    cluster.kill(5);
    let begun = Instant::now();
    cluster.assert_readable(&blobs);
    println!(
        "with two nodes lost, read from every node in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
    let repaired = cluster.wait_copied(&blobs);
    println!(
        "back at {FACTOR} copies after {:.1} s more",
        repaired.as_secs_f64()
    );
}

#[test]
fn slow_nodes_that_die_and_come_back_lose_nothing() {
    let length = Duration::from_secs(if soak() { 120 } else { 9 });
    let mut cluster = seven();
    let over = AtomicBool::new(false);
    let kept: Mutex<BTreeSet<Blob>> = Mutex::default();
    let tokens: Vec<String> = cluster.homes.iter().map(Home::token).collect();
    let mut rounds = 0;
    // The port changes with each start, so each turn asks anew where the nodes are.
    let begun = Instant::now();
    let seeds = AtomicU64::new(1_000_000);
    while begun.elapsed() < length {
        let victim = usize::from(content::bytes(rounds, 1)[0]) % cluster.nodes.len();
        let clients: Vec<_> = cluster
            .running()
            .zip(&tokens)
            .map(|(node, token)| node.stranger().with_token(token))
            .collect();
        over.store(false, Ordering::Relaxed);
        std::thread::scope(|scope| {
            for client in &clients {
                scope.spawn(|| {
                    while !over.load(Ordering::Relaxed) {
                        let seed = seeds.fetch_add(1, Ordering::Relaxed);
                        let size = log_uniform(seed, 1024.0, 1024.0 * 1024.0);
                        let blob = Blob::new(seed, size, SHARDS);
                        let replicas = 1 + seed % 2;
                        let bytes = blob.bytes();
                        let path = format!("/store?replicas={replicas}");
                        let request = Request::new("POST", path).body(&bytes);
                        // Whoever is killed in the middle of it promised nothing.
                        if let Ok(answer) = client.send(request)
                            && answer.status == 201
                        {
                            kept.lock().unwrap().insert(blob);
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(1500));
            cluster.kill(victim);
            std::thread::sleep(Duration::from_millis(1500));
            over.store(true, Ordering::Relaxed);
        });
        cluster.start_again(victim);
        rounds += 1;
    }
    let kept = kept.into_inner().unwrap();
    assert!(kept.len() > 20, "{} blobs were stored", kept.len());
    println!("{} blobs acknowledged in {rounds} rounds", kept.len());
    // All came back, so nothing that was acknowledged may be missing anywhere.
    let copied = cluster.wait_copied(&kept);
    println!("all copied {:.1} s after the last", copied.as_secs_f64());
    cluster.assert_readable(&kept);
}
