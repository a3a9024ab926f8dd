//! Several nodes of one network, each keeping some of the shards, quick to notice what happens.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Request;
use super::network::home;
use super::{Home, PATIENCE, Running, content, free_port, wait_for};

/// Copies that a blob shall have.
pub(crate) const FACTOR: usize = 3;

/// Nodes, each at an address that it keeps over restarts. A node that was killed leaves its place empty.
pub(crate) struct Cluster {
    pub(crate) homes: Vec<Home>,
    pub(crate) nodes: Vec<Option<Running>>,
    shards: u64,
}

/// A blob that was stored somewhere; its content follows from seed and size.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Blob {
    pub(crate) cid: String,
    pub(crate) shard: u64,
    seed: u64,
    size: usize,
}

impl Blob {
    pub(crate) fn new(seed: u64, size: usize, shards: u64) -> Self {
        let bytes = content::bytes(seed, size);
        Self {
            cid: content::cid(&bytes),
            shard: content::shard(&bytes, shards),
            seed,
            size,
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        content::bytes(self.seed, self.size)
    }

    pub(crate) fn size(&self) -> usize {
        self.size
    }
}

/// Sizes whose logarithms are evenly spread between these two, the same for the same seed.
pub(crate) fn log_uniform(seed: u64, least: f64, most: f64) -> usize {
    let bytes = content::bytes(seed ^ 0x5eed, 8);
    let drawn = u32::from_le_bytes(bytes[..4].try_into().unwrap());
    let part = f64::from(drawn) / f64::from(u32::MAX);
    let size = (least.ln() + part * (most.ln() - least.ln())).exp();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between two sizes"
    )]
    let size = size as usize;
    size
}

/// The shards of each of `nodes` nodes, so that every shard is kept by all but two of them: the shards
/// lie in as many segments as there are nodes, and each node leaves two out.
pub(crate) fn all_but_two(nodes: u64, shards: u64) -> Vec<String> {
    let segment = |number: u64| (number * shards / nodes, (number + 1) * shards / nodes - 1);
    (0..nodes)
        .map(|node| {
            let kept = (0..nodes).filter(|&number| number != node && number != (node + 1) % nodes);
            let ranges: Vec<String> = kept
                .map(segment)
                .map(|(start, end)| format!(r#"{{"start":{start},"end":{end}}}"#))
                .collect();
            format!("[{}]", ranges.join(","))
        })
        .collect()
}

impl Cluster {
    /// Starts a node for each of these lists of ranges (all shards if empty), all of which know the
    /// addresses of the others, and waits until everybody agrees on who holds what.
    pub(crate) fn start(shards: u64, ranges: &[String], settle: impl Fn(Home) -> Home) -> Self {
        let ports: Vec<u16> = ranges.iter().map(|_| free_port()).collect();
        let homes: Vec<Home> = ranges
            .iter()
            .zip(&ports)
            .map(|(ranges, port)| {
                let home = home()
                    .env("SHARD_COUNT", &shards.to_string())
                    .env("NODE_SHARDS", ranges)
                    .env(
                        "P2P_LISTEN_ADDRESSES",
                        &format!("/ip4/127.0.0.1/tcp/{port}"),
                    )
                    .env("BYTECAVE__P2P__ANNOUNCE_INTERVAL", "1s")
                    .env("BYTECAVE__P2P__MEMBER_TIMEOUT", "5s")
                    .env("BYTECAVE__REPLICATION__RECONCILE_INTERVAL", "3s")
                    .env("BYTECAVE__REPLICATION__HOLDER_TIMEOUT", "4s")
                    .env("BYTECAVE__REPLICATION__GOODBYE_TIMEOUT", "2s");
                settle(home)
            })
            .collect();
        let mut cluster = Self {
            nodes: homes.iter().map(|_| None).collect(),
            homes,
            shards,
        };
        // The first is known to all others; each tells them of the rest.
        let first = cluster.homes[0].start();
        let known = format!("/ip4/127.0.0.1/tcp/{}/p2p/{}", ports[0], first.peer_id());
        cluster.nodes[0] = Some(first);
        for at in 1..cluster.homes.len() {
            cluster.homes[at].set("P2P_BOOTSTRAP_PEERS", &known);
            cluster.nodes[at] = Some(cluster.homes[at].start());
        }
        cluster.wait_agreed();
        cluster
    }

    /// The nodes that run.
    pub(crate) fn running(&self) -> impl Iterator<Item = &Running> {
        self.nodes.iter().flatten()
    }

    pub(crate) fn node(&self, at: usize) -> &Running {
        self.nodes[at].as_ref().expect("the node was stopped")
    }

    /// Starts the node of this place again.
    pub(crate) fn start_again(&mut self, at: usize) {
        assert!(self.nodes[at].is_none(), "node {at} runs");
        self.nodes[at] = Some(self.homes[at].start());
    }

    /// Kills the node of this place with signal 9.
    pub(crate) fn kill(&mut self, at: usize) {
        self.nodes[at].take().expect("the node was stopped").kill();
    }

    /// Waits until all nodes that keep a shard name the same holders of it: running nodes, as many as
    /// there shall be copies.
    pub(crate) fn wait_agreed(&self) -> BTreeMap<u64, BTreeSet<String>> {
        let running: BTreeSet<String> = self.running().map(Running::peer_id).collect();
        // Every shard is kept by at least as many of these.
        let wanted = running.len().min(FACTOR);
        wait_for("all nodes to agree on who holds what", || {
            let mut agreed: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
            for node in self.running() {
                for (shard, holders) in holders(&node.shards())? {
                    let right = holders.len() == wanted && holders.is_subset(&running);
                    if !right || *agreed.entry(shard).or_insert_with(|| holders.clone()) != holders
                    {
                        return None;
                    }
                }
            }
            (u64::try_from(agreed.len()).unwrap() == self.shards).then_some(agreed)
        })
    }

    /// Waits until every blob is on every holder of its shard; how long that took.
    pub(crate) fn wait_copied(&self, blobs: &BTreeSet<Blob>) -> Duration {
        let begun = Instant::now();
        let nodes: BTreeMap<String, &Running> =
            self.running().map(|node| (node.peer_id(), node)).collect();
        loop {
            // Both anew each time: who holds what may change meanwhile, and a copy that was seen may go.
            let holders = self.wait_agreed();
            let wanting = wanting(blobs, &nodes, &holders);
            // And those shall have been the holders all the while.
            if wanting.is_empty() && self.wait_agreed() == holders {
                return begun.elapsed();
            }
            if begun.elapsed() > PATIENCE {
                let Some((holder, blob)) = wanting.first() else {
                    panic!("who holds what changes all the time");
                };
                let has: Vec<&&Running> =
                    nodes.values().filter(|node| node.has(&blob.cid)).collect();
                let rows: Vec<Value> = has.iter().map(|node| node.row_of(blob.shard)).collect();
                panic!(
                    "{} copies are wanting, such as that of {blob:?} at {holder}: {}; those that have it say {rows:?}",
                    wanting.len(),
                    nodes[holder].row_of(blob.shard),
                );
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Asserts that every running node gives every one of these blobs, whole and right.
    pub(crate) fn assert_readable(&self, blobs: &BTreeSet<Blob>) {
        for blob in blobs {
            let bytes = blob.bytes();
            for node in self.running() {
                let got = node.client().retrieve(&blob.cid);
                assert_eq!(got.status, 200, "{blob:?} at {}: {got:?}", node.url());
                assert!(got.body == bytes, "{blob:?} at {} came wrong", node.url());
            }
        }
    }
}

/// Which copies are wanting, and at which of the holders.
fn wanting<'a>(
    blobs: &'a BTreeSet<Blob>,
    nodes: &BTreeMap<String, &Running>,
    holders: &BTreeMap<u64, BTreeSet<String>>,
) -> Vec<(String, &'a Blob)> {
    let listed = |node: &Running| -> BTreeSet<String> {
        let rows = node.client().list(1000).into_iter();
        rows.filter_map(|row| row["cid"].as_str().map(str::to_owned))
            .collect()
    };
    let here: BTreeMap<&String, _> = nodes.iter().map(|(id, node)| (id, listed(node))).collect();
    blobs
        .iter()
        .flat_map(|blob| {
            holders[&blob.shard]
                .iter()
                .map(move |holder| (holder, blob))
        })
        .filter(|(holder, blob)| !here[holder].contains(&blob.cid))
        .map(|(holder, blob)| (holder.clone(), blob))
        .collect()
}

impl Running {
    /// A counter or gauge of `/metrics`, without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.client().get("/metrics");
        let text = String::from_utf8(text.body).unwrap();
        let line = text
            .lines()
            .find(|line| line.split(' ').next() == Some(name))
            .unwrap_or_else(|| panic!("no {name} in {text}"));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// What `GET /shards` says.
    pub(crate) fn shards(&self) -> Value {
        let answer = self.client().get("/shards");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// What `GET /replication` says.
    pub(crate) fn replication(&self) -> Value {
        let answer = self.client().get("/replication");
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()
    }

    /// What it says of one shard's copies, and of its work.
    fn row_of(&self, shard: u64) -> Value {
        let mut report = self.replication();
        let rows = report["shards"].as_array().unwrap();
        let row = rows.iter().find(|row| row["shard"] == shard).cloned();
        report["shards"] = row.unwrap_or_default();
        report["node"] = self.peer_id().into();
        report
    }

    /// Stores bytes and waits for so many durable copies.
    pub(crate) fn store_copies(&self, bytes: &[u8], replicas: u32) -> super::client::Response {
        let request = Request::new("POST", format!("/store?replicas={replicas}")).body(bytes);
        self.client().ask(request)
    }

    /// Whether it has a blob itself.
    pub(crate) fn has(&self, cid: &str) -> bool {
        let answer = self.client().get(&format!("/retrieve/{cid}?local=1"));
        assert!(matches!(answer.status, 200 | 404), "{answer:?}");
        answer.status == 200
    }
}

/// Holders by shard, of the shards that a node keeps; none while it does not say.
fn holders(shards: &Value) -> Option<BTreeMap<u64, BTreeSet<String>>> {
    shards["shards"]
        .as_array()?
        .iter()
        .map(|row| {
            let holders = row["holders"].as_array()?;
            let holders = holders
                .iter()
                .map(|holder| holder["peerId"].as_str().map(str::to_owned));
            Some((row["shard"].as_u64()?, holders.collect::<Option<_>>()?))
        })
        .collect()
}
