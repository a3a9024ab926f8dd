//! A node of the existing network is served and may be given copies, and is never counted as one.

use serde_json::json;

use crate::harness::js::{Js, hex_cid};
use crate::harness::network::{Over, home};
use crate::harness::{content, wait_for};

#[test]
fn it_is_served_and_not_counted() {
    let peer = Js::serving();
    let home = home()
        .env("P2P_BOOTSTRAP_PEERS", peer.tcp())
        .env("BYTECAVE__REPLICATION__PLACE_TIMEOUT", "3s");
    let node = home.start();
    node.wait_acquainted(peer.peer_id());
    let blob = content::bytes(1, 5000);
    let stored = node.store_copies(&blob, 2);
    assert_eq!(stored.status, 202, "{stored:?}");
    let replicas = stored.json()["replicas"].clone();
    assert_eq!(replicas["confirmed"], 1, "{replicas}");
    // It was given a copy all the same, and keeps it.
    let cid = hex_cid(&blob);
    wait_for("a copy at the node of the first version", || {
        let pushed = peer.ask("asked", json!({"name": "replicate"}));
        let mut pushed = pushed.as_array()?.iter();
        pushed
            .any(|one| one["request"]["cid"] == cid.as_str())
            .then_some(())
    });
    let list = json!({"cids": [cid]});
    peer.connect(&node.multiaddr(Over::Tcp));
    let asker = Js::peer(json!({}));
    asker.connect(peer.tcp());
    let has = asker.call(peer.peer_id(), "have-list", list);
    assert_eq!(has["cids"], json!([cid]), "{has}");
    let shard = content::shard(&blob, 16);
    let row = wait_for("the shard in the report", || {
        let report = node.replication();
        let rows = report["shards"].as_array()?.clone();
        rows.into_iter().find(|row| row["shard"] == shard)
    });
    assert_eq!(row["holders"].as_array().unwrap().len(), 1, "{row}");
    assert_eq!(row["live"], 1, "{row}");
    assert_eq!(row["missing"], 2, "{row}");
    assert!(!row["reason"].as_str().unwrap().is_empty(), "{row}");
    // With that copy there it still is not counted.
    let again = node.store_copies(&blob, 2);
    assert_eq!(again.status, 202, "{again:?}");
    assert_eq!(again.json()["replicas"]["confirmed"], 1, "{again:?}");
    // It is served as well.
    let answer = peer.call(&node.peer_id(), "blob", json!({"cid": cid}));
    assert_eq!(answer["success"], true, "{answer}");
}
