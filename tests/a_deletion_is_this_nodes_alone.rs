//! What is deleted on one node stays on the others and does not come back by itself; a client brings it
//! back. What an operator blocks is neither taken nor given, whatever way it is asked for.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::client::{Request, Response};
use crate::harness::cluster::{Blob, Cluster};
use crate::harness::js::{Js, answered, hex_cid};
use crate::harness::network::Over;
use crate::harness::{Running, content, wait_for};

const SHARDS: u64 = 16;

/// Three nodes that keep everything, and so hold everything.
fn three() -> Cluster {
    let all = r#"[{"start":0,"end":15}]"#.to_owned();
    Cluster::start(SHARDS, &vec![all; 3], |home| home)
}

fn blob(seed: u64, size: usize) -> Blob {
    Blob::new(seed, size, SHARDS)
}

fn keep_everywhere(cluster: &Cluster, at: usize, blob: &Blob) {
    let stored = cluster.node(at).store_copies(&blob.bytes(), 3);
    assert_eq!(stored.status, 201, "{stored:?}");
    assert_eq!(stored.json()["replicas"]["confirmed"], 3, "{stored:?}");
}

impl Running {
    /// Waits until it has compared with others this many times more.
    fn wait_rounds(&self, more: f64) {
        let rounds = || self.metric("bytecave_replicator_reconcile_rounds_total");
        let before = rounds();
        wait_for("rounds of reconciliation", || {
            (rounds() >= before + more).then_some(())
        });
    }
}

#[test]
fn what_is_deleted_here_stays_elsewhere_and_does_not_come_back() {
    let mut cluster = three();
    let (small, large) = (blob(1, 2000), blob(2, 6 << 20));
    for blob in [&small, &large] {
        keep_everywhere(&cluster, 0, blob);
        let path = format!("/blobs/{}", blob.cid);
        let delete = Request::new("DELETE", path);
        let deleted = cluster.node(1).client().ask(delete);
        assert_eq!(deleted.status, 204, "{deleted:?}");
    }
    for at in [1, 0, 2] {
        cluster.node(at).wait_rounds(4.0);
    }
    for blob in [&small, &large] {
        assert!(!cluster.node(1).has(&blob.cid), "{blob:?} came back");
        assert!(cluster.node(0).has(&blob.cid) && cluster.node(2).has(&blob.cid));
        // A client that asks for it, or for a part of it, is given what the others have, and nothing is kept of it.
        let range =
            Request::get(format!("/retrieve/{}", blob.cid)).header("Range", "bytes=500-1499");
        let part = cluster.node(1).client().ask(range);
        assert_eq!(part.status, 206, "{part:?}");
        assert!(part.body == blob.bytes()[500..1500], "{part:?}");
        assert!(!cluster.node(1).has(&blob.cid));
        let got = cluster.node(1).client().retrieve(&blob.cid);
        assert!(got.status == 200 && got.body == blob.bytes(), "{got:?}");
        assert!(!cluster.node(1).has(&blob.cid));
    }
    // Nor does it come back after a restart, or with a copy that another client causes.
    cluster.kill(1);
    cluster.start_again(1);
    cluster.wait_agreed();
    let again = cluster.node(2).store_copies(&small.bytes(), 2);
    assert!(matches!(again.status, 200 | 201), "{again:?}");
    cluster.node(1).wait_rounds(4.0);
    assert!(!cluster.node(1).has(&small.cid));
    // A client of this node brings it back.
    for blob in [&small, &large] {
        let stored = cluster.node(1).client().store(&blob.bytes());
        assert_eq!(stored.status, 201, "{stored:?}");
        assert!(cluster.node(1).has(&blob.cid));
    }
    cluster.wait_copied(&BTreeSet::from([small, large]));
}

#[test]
fn what_is_blocked_is_neither_taken_nor_given() {
    let cluster = three();
    let blob = blob(3, 5000);
    keep_everywhere(&cluster, 0, &blob);
    let node = cluster.node(2);
    let home = &cluster.homes[2];
    let port = node.address().port().to_string();
    let url = format!("http://127.0.0.1:{port}");
    home.cli(&["--url", &url, "block", &blob.cid]).well();
    let blocked = |status: u16, answer: Response| {
        assert_eq!(answer.problem(status), "blocked", "{answer:?}");
    };
    blocked(451, node.client().retrieve(&blob.cid));
    blocked(
        451,
        node.client()
            .get(&format!("/retrieve/{}?local=1", blob.cid)),
    );
    blocked(451, node.client().store(&blob.bytes()));
    blocked(451, node.store_copies(&blob.bytes(), 2));

    // Over the 1.0.0 protocols.
    let peer = Js::peer(json!({}));
    peer.connect(&node.multiaddr(Over::Tcp));
    let id = node.peer_id();
    let hex = hex_cid(&blob.bytes());
    for protocol in ["retrieve", "blob"] {
        let answer = peer.call(&id, protocol, json!({"cid": hex}));
        assert_eq!(answer["success"], false, "{answer}");
        assert!(
            answer["error"].as_str().unwrap().contains("blocked"),
            "{answer}"
        );
    }
    let which = json!({"seed": 9, "size": 1000});
    let own = peer.ask("cid", json!({"content": which}));
    home.cli(&["--url", &url, "block", own.as_str().unwrap()])
        .well();
    let pushed = answered(peer.ask("push", json!({"peer": id, "content": which})));
    assert_eq!(pushed["success"], false, "{pushed}");
    assert!(
        pushed["error"].as_str().unwrap().contains("blocked"),
        "{pushed}"
    );

    // The other nodes keep theirs, and bring it here neither by a copy nor by repair.
    let again = cluster.node(0).store_copies(&blob.bytes(), 3);
    assert_eq!(again.status, 202, "{again:?}");
    assert_eq!(again.json()["replicas"]["confirmed"], 2, "{again:?}");
    node.wait_rounds(4.0);
    assert!(cluster.node(0).has(&blob.cid) && cluster.node(1).has(&blob.cid));
    let listed = node.client().list(1000);
    assert!(
        listed.iter().all(|row| row["cid"] != blob.cid.as_str()),
        "{listed:?}"
    );
    home.cli(&["--url", &url, "unblock", &blob.cid]).well();
    let stored = node.client().store(&blob.bytes());
    assert_eq!(stored.status, 201, "{stored:?}");
    assert_eq!(
        content::cid(&node.client().retrieve(&blob.cid).body),
        blob.cid
    );
}
