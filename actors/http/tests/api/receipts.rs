//! The receipt in the answer to `POST /store`.

use std::time::{SystemTime, UNIX_EPOCH};

use bytecave_core::proof::{Receipt, Verdict};
use bytecave_core::{BlobCid, Commitment, NodeIdentity, tree};
use serde_json::Value;

use crate::client::Request;
use crate::fake_store::{content_of_shard, foreign_of_len};
use crate::node::Node;

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(since.as_millis()).unwrap()
}

/// Stores it durably, as a client does that waits for copies; the fake network has one.
async fn store(node: &Node, content: &[u8]) -> Value {
    let answer = node.send(Request::post("/store?replicas=2", content)).await;
    assert_eq!(answer.status, 202);
    answer.json()
}

#[actix::test]
async fn a_durable_blob_has_a_receipt_that_anyone_can_check() {
    let node = Node::up().await;
    let content = content_of_shard(true);
    let size = content.len() as u64;
    let commitment = Commitment::of(size, &tree::blob_root(&content));
    // The second time it is here already.
    for _ in 0..2 {
        let before = now_ms();
        let answer = store(&node, &content).await;
        assert_eq!(answer["durability"], "strict");
        let receipt: Receipt = serde_json::from_value(answer["receipt"].clone()).unwrap();
        assert_eq!(receipt.verify(), Verdict::Valid);
        assert_eq!(receipt.cid, BlobCid::of(&content));
        assert_eq!((receipt.size, receipt.commitment), (size, commitment));
        assert_eq!(receipt.node_id, "node-test");
        let identity = NodeIdentity::from_seed([7; 32]).unwrap();
        assert_eq!(receipt.peer_id, identity.peer_id());
        assert!((before..=now_ms()).contains(&receipt.stored_at_ms));
    }
}

#[actix::test]
async fn what_is_not_durable_here_has_none() {
    let node = Node::up().await;
    let batched = node
        .send(Request::post("/store", content_of_shard(true)))
        .await;
    let batched = batched.json();
    assert_eq!(batched["durability"], "batched");
    assert_eq!(batched.get("receipt"), None);

    node.replicator.place_ends(Ok((1, 1)));
    let elsewhere = node
        .send(Request::post("/store", foreign_of_len(500)))
        .await;
    assert_eq!(elsewhere.status, 201);
    let elsewhere = elsewhere.json();
    assert_eq!(elsewhere["durability"], "strict", "at others");
    assert_eq!(elsewhere.get("receipt"), None, "this node does not keep it");
}
