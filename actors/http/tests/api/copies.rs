//! Where the copies are: `/replication`, `/shards`, `/blobs` and metrics.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytecave_core::{Fingerprint, NodeIdentity, PeerId};
use bytecave_http::openapi_json;
use bytecave_messages::replicator::{
    HolderView, PeerConduct, ReplicatorSnapshot, ShardReplication,
};
use bytecave_messages::store::{ShardCounters, StoreChanged};
use serde_json::{Value, json};

use crate::client::Request;
use crate::fake_store::{content_of_shard, count};
use crate::node::Node;

fn peer_id(number: u8) -> PeerId {
    let identity = NodeIdentity::from_seed([number; 32]).unwrap();
    identity.public_key().peer_id()
}

fn holder(number: u8, accepting: bool) -> HolderView {
    HolderView {
        peer_id: peer_id(number),
        here: number == 7,
        accepting,
        live: true,
        alike_ms: (number == 7).then_some(5),
        differing: (number == 8).then_some(2),
    }
}

fn shard(number: u64, missing: u32) -> ShardReplication {
    ShardReplication {
        shard: count().shard(number).unwrap(),
        blobs: 1,
        holders: vec![holder(7, true), holder(8, true), holder(9, false)],
        live: 3 - missing,
        missing,
        reason: (missing > 0).then(|| "a holder is silent".to_owned()),
    }
}

fn snapshot(shards: Vec<ShardReplication>) -> ReplicatorSnapshot {
    let conduct = |number, score, blocked| PeerConduct {
        peer_id: peer_id(number),
        score,
        blocked,
    };
    ReplicatorSnapshot {
        factor: 3,
        outbox: 4,
        repairs_waiting: 5,
        repairs_running: 2,
        shards: shards.into(),
        peers: [conduct(8, 1.5, false), conduct(9, -60.0, true)].into(),
        counters: vec![("repaired_blobs", 11)],
    }
}

#[actix::test]
async fn copies_are_told_as_the_replicator_sees_them() {
    let node = Node::up().await;
    node.tell_copies(snapshot(vec![shard(1, 0), shard(2, 1), shard(9, 2)]))
        .await;
    let answer = node.get("/replication").await.json();
    assert_eq!(
        answer["shards"][1],
        json!({
            "shard": 2, "blobs": 1, "live": 2, "missing": 1, "reason": "a holder is silent",
            "holders": [
                {"peerId": peer_id(7).to_string(), "here": true, "accepting": true, "live": true, "alikeMs": 5},
                {"peerId": peer_id(8).to_string(), "here": false, "accepting": true, "live": true, "differing": 2},
                {"peerId": peer_id(9).to_string(), "here": false, "accepting": false, "live": true},
            ],
        })
    );
    assert_eq!(answer["shards"][0].get("reason"), None);
    for (field, value) in [
        ("enabled", json!(true)),
        ("factor", json!(3)),
        ("outbox", json!(4)),
        ("repairsWaiting", json!(5)),
        ("repairsRunning", json!(2)),
        ("total", json!(3)),
        ("missing", json!(2)),
        ("next", json!(null)),
        (
            "peers",
            json!([
                {"peerId": peer_id(8).to_string(), "score": 1.5, "blocked": false},
                {"peerId": peer_id(9).to_string(), "score": -60.0, "blocked": true},
            ]),
        ),
    ] {
        assert_eq!(answer[field], value, "{field}");
    }
}

fn numbers(answer: &Value) -> Vec<u64> {
    let shards = answer["shards"].as_array().unwrap();
    shards
        .iter()
        .map(|shard| shard["shard"].as_u64().unwrap())
        .collect()
}

#[actix::test]
async fn shards_are_chosen_and_paged() {
    let node = Node::up().await;
    let shards = (0..10).map(|number| shard(number, u32::from(number % 3 == 0)));
    node.tell_copies(snapshot(shards.collect())).await;
    for (query, listed, next) in [
        ("", (0..10).collect::<Vec<u64>>(), None),
        ("?missing=0", (0..10).collect(), None),
        ("?missing=1", vec![0, 3, 6, 9], None),
        ("?missing=true&limit=3", vec![0, 3, 6], Some(6)),
        ("?missing=1&limit=4", vec![0, 3, 6, 9], None),
        ("?missing=1&limit=3&after=6", vec![9], None),
        ("?limit=4&after=3", vec![4, 5, 6, 7], Some(7)),
        ("?after=9", vec![], None),
        ("?after=65535", vec![], None),
    ] {
        let answer = node.get(format!("/replication{query}")).await.json();
        assert_eq!(numbers(&answer), listed, "{query}");
        assert_eq!(answer["next"], json!(next), "{query}");
        assert_eq!(
            (&answer["total"], &answer["missing"]),
            (&json!(10), &json!(4))
        );
    }
}

#[actix::test]
async fn before_anything_is_known_it_says_so() {
    let node = Node::up().await;
    let answer = node.get("/replication").await.json();
    assert_eq!(answer["enabled"], true);
    assert_eq!(answer["factor"], 3);
    assert_eq!(answer["shards"], json!([]));
    node.without_network().await;
    assert_eq!(node.get("/replication").await.json()["enabled"], false);
}

#[actix::test]
async fn of_too_many_peers_the_worst_are_told() {
    let node = Node::up().await;
    let mut copies = snapshot(Vec::new());
    copies.peers = (0..1200_u32)
        .map(|number| {
            let mut seed = [1; 32];
            seed[..4].copy_from_slice(&number.to_be_bytes());
            PeerConduct {
                peer_id: NodeIdentity::from_seed(seed)
                    .unwrap()
                    .public_key()
                    .peer_id(),
                score: f64::from(number % 100),
                blocked: number == 99,
            }
        })
        .collect();
    let blocked = copies.peers[99].peer_id.to_string();
    node.tell_copies(copies).await;
    let answer = node.get("/replication").await.json();
    let peers = answer["peers"].as_array().unwrap();
    assert_eq!(peers.len(), 1000);
    let scores = peers.iter().filter(|peer| peer["blocked"] == false);
    let best = scores.map(|peer| peer["score"].as_f64().unwrap());
    assert!(best.fold(0.0, f64::max) <= 84.0);
    assert!(peers.iter().any(|peer| peer["peerId"] == blocked));
}

#[actix::test]
async fn shards_and_blobs_name_their_holders() {
    let node = Node::up().await;
    let content = content_of_shard(true);
    let cid = node.store.seed(&content, None);
    let of = count().shard_of(&cid.digest());
    let mut stored = node.store.snapshot();
    stored.shards = vec![ShardCounters {
        shard: of,
        owned: true,
        blobs: 1,
        bytes: 1,
        sealed_bytes: 1,
        dead_bytes: 0,
        retired: 0,
        retired_bytes: 0,
        fingerprint: Fingerprint::new([0; 32]),
    }];
    let stored = StoreChanged(Arc::new(stored));
    node.actor.send(stored).await.unwrap();
    let blob = node.get(format!("/blobs/{cid}")).await.json();
    assert_eq!(blob["replicas"], json!({"target": 1, "confirmed": 1}));
    let shards = node.get("/shards").await.json();
    assert_eq!(shards["shards"][0]["holders"], json!([]));

    node.tell_copies(snapshot(vec![shard(of.get().into(), 1)]))
        .await;
    let holders = node.get("/shards").await.json()["shards"][0]["holders"].clone();
    assert_eq!(
        holders,
        json!([
            {"peerId": peer_id(7).to_string(), "here": true, "accepting": true, "live": true},
            {"peerId": peer_id(8).to_string(), "here": false, "accepting": true, "live": true},
            {"peerId": peer_id(9).to_string(), "here": false, "accepting": false, "live": true},
        ])
    );
    // Two of the holders take blobs.
    let known = json!({"target": 2, "confirmed": 2});
    let blob = node.get(format!("/blobs/{cid}")).await.json();
    assert_eq!(blob["replicas"], known);
    let listed = node.get("/blobs").await.json();
    assert_eq!(listed["blobs"][0]["replicas"], known);
    let stored = node.send(Request::post("/store", content)).await.json();
    assert_eq!(stored["cid"], cid.to_string());
    assert_eq!(
        stored["replicas"],
        json!({"target": 2, "confirmed": 1}),
        "the others are told of it in the background"
    );
}

#[actix::test]
async fn metrics_tell_of_copies() {
    let node = Node::up().await;
    let text = node.get("/metrics").await.text();
    assert!(!text.contains("bytecave_replicator_factor"));
    node.tell_copies(snapshot(vec![shard(1, 0), shard(2, 1), shard(9, 2)]))
        .await;
    for (name, value) in [
        ("bytecave_replicator_factor", 3.0),
        ("bytecave_replicator_outbox_blobs", 4.0),
        ("bytecave_replicator_repairs_waiting", 5.0),
        ("bytecave_replicator_repairs_running", 2.0),
        ("bytecave_replicator_shards ", 3.0),
        ("bytecave_replicator_shards_missing_copies", 2.0),
        ("bytecave_replicator_peers_blocked", 1.0),
        ("bytecave_replicator_repaired_blobs_total", 11.0),
    ] {
        assert_eq!(node.metric(name).await, Some(value), "{name}");
    }
}

/// The shapes in the OpenAPI document are written by hand; the answers are not.
#[test]
fn the_documented_shapes_have_every_field() {
    let document: Value = serde_json::from_str(openapi_json()).unwrap();
    let mut full = shard(1, 1);
    full.holders[0].differing = Some(0);
    let conduct = snapshot(Vec::new()).peers[0].clone();
    for (name, value) in [
        ("ShardReplication", serde_json::to_value(&full).unwrap()),
        (
            "ShardHolder",
            serde_json::to_value(&full.holders[0]).unwrap(),
        ),
        ("PeerConduct", serde_json::to_value(conduct).unwrap()),
    ] {
        let documented = &document["components"]["schemas"][name]["properties"];
        let documented: BTreeSet<&String> = documented.as_object().unwrap().keys().collect();
        let told: BTreeSet<&String> = value.as_object().unwrap().keys().collect();
        assert_eq!(documented, told, "{name}");
    }
}
