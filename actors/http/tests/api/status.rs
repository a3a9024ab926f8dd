//! How the node is.

use std::sync::Arc;

use bytecave_core::{Fingerprint, NodeIdentity};
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::PartState;
use bytecave_messages::store::{ShardCounters, StoreChanged, StoreCondition, StoreSnapshot};

use crate::client::Request;
use crate::fake_store::{Asked, content_of_shard, count};
use crate::node::{Node, TOKEN};

impl Node {
    async fn tell(&self, change: impl FnOnce(&mut StoreSnapshot)) {
        let mut snapshot = self.store.snapshot();
        change(&mut snapshot);
        self.actor
            .send(StoreChanged(Arc::new(snapshot)))
            .await
            .unwrap();
    }
}

#[actix::test]
async fn health_keeps_the_published_fields_and_asks_nobody() {
    let node = Node::up().await;
    node.store.seed(b"12345", None);
    node.tell_snapshot().await;
    let health = node.get("/health").await.json();
    let key = NodeIdentity::from_seed([7; 32]).unwrap().public_key();
    assert_eq!(health["status"], "healthy");
    assert!(health["uptime"].is_u64());
    assert_eq!(health["storedBlobs"], 1);
    assert_eq!(health["totalSize"], 5);
    assert_eq!(health["peerId"], key.peer_id().to_string());
    assert_eq!(health["publicKey"], key.to_string());
    assert_eq!(health["publicKey"].as_str().unwrap().len(), 66);
    assert_eq!(health["multiaddrs"], serde_json::json!([]));
    assert_eq!(health["peers"], 0);
    assert!(node.store.asked().is_empty());
}

#[actix::test]
async fn health_is_degraded_or_unhealthy_for_a_reason_and_still_200() {
    let node = Node::up().await;
    let expect = async |status: &str, reason: &str| {
        let answer = node.get("/health").await;
        assert_eq!(answer.status, 200);
        let health = answer.json();
        assert_eq!(health["status"], status);
        assert!(
            health["reasons"][0].as_str().unwrap().contains(reason),
            "{health}"
        );
    };
    node.tell(|store| store.quarantined = 2).await;
    expect("degraded", "2 blobs are damaged").await;
    node.tell(|store| store.condition = StoreCondition::Full)
        .await;
    expect("degraded", "limit").await;
    node.tell(|store| store.condition = StoreCondition::ReadOnly("000007.sst".to_owned()))
        .await;
    expect("degraded", "000007.sst").await;
    node.tell_snapshot().await;
    node.tell_part(ActorName::Store, PartState::Stopping).await;
    expect("unhealthy", "cannot answer").await;
}

#[actix::test]
async fn info_keeps_the_published_fields() {
    let node = Node::up().await;
    let info = node.get("/info").await.json();
    assert_eq!(info["nodeId"], "node-test");
    assert_eq!(info["ownerAddress"], serde_json::Value::Null);
    assert_eq!(info["shards"], serde_json::json!([{"start": 0, "end": 11}]));
    assert_eq!(info["shardCount"], 16);
    assert_eq!(info["durability"], "strict");
    assert_eq!(info["multiaddrs"], serde_json::json!([]));
    assert_eq!(info["version"], "0.0.0-test");
    assert!(info["peerId"].as_str().unwrap().starts_with("12D3KooW"));
}

#[actix::test]
async fn shards_are_listed_with_their_counters() {
    let node = Node::up().await;
    node.tell(|store| {
        store.shards = vec![ShardCounters {
            shard: count().shard(3).unwrap(),
            owned: true,
            blobs: 1,
            bytes: 2,
            sealed_bytes: 3,
            dead_bytes: 4,
            retired: 5,
            retired_bytes: 6,
            fingerprint: Fingerprint::new([0xab; 32]),
        }];
    })
    .await;
    let shards = node.get("/shards").await.json();
    assert_eq!(shards["shardCount"], 16);
    assert_eq!(
        shards["shards"],
        serde_json::json!([{
            "shard": 3, "owned": true, "blobs": 1, "bytes": 2, "sealedBytes": 3, "deadBytes": 4,
            "retired": 5, "retiredBytes": 6, "holders": [], "fingerprint": "ab".repeat(32),
        }])
    );
}

#[actix::test]
async fn blobs_are_listed_page_by_page() {
    let node = Node::up().await;
    let mut all: Vec<String> = (0..25_u8)
        .map(|n| node.store.seed(&[n], None).to_string())
        .collect();
    let mut listed = Vec::new();
    let mut path = "/blobs?limit=10".to_owned();
    loop {
        let page = node.get(path).await.json();
        let blobs = page["blobs"].as_array().unwrap();
        assert!(blobs.len() <= 10);
        listed.extend(
            blobs
                .iter()
                .map(|blob| blob["cid"].as_str().unwrap().to_owned()),
        );
        match page["next"].as_str() {
            Some(next) => path = format!("/blobs?limit=10&after={next}"),
            None => break,
        }
    }
    all.sort();
    listed.sort();
    assert_eq!(listed, all);
    node.get("/blobs?shard=3").await;
    assert_eq!(
        node.store.asked().pop(),
        Some(Asked::List(Some(count().shard(3).unwrap()), 100))
    );
}

#[actix::test]
async fn one_blob_is_described() {
    let node = Node::up().await;
    let cid = node.store.seed(b"x", Some("text/plain"));
    let blob = node.get(format!("/blobs/{cid}")).await.json();
    assert_eq!(blob["cid"], cid.to_string());
    assert_eq!(blob["size"], 1);
    assert_eq!(blob["contentType"], "text/plain");
    assert_eq!(blob["createdMs"], 1_700_000_000_000_u64);
    assert_eq!(blob["pinned"], false);
    assert_eq!(blob["blobRoot"].as_str().unwrap().len(), 64);
    assert_eq!(blob["replicas"]["confirmed"], 1);
}

#[actix::test]
async fn admin_reports_what_was_done() {
    let node = Node::up().await;
    let gc = node
        .send(Request::new("POST", "/admin/gc").token(TOKEN))
        .await
        .json();
    assert_eq!(
        gc,
        serde_json::json!({"families": 3, "deadBytesBefore": 1000, "deadBytesAfter": 10})
    );
    let rotated = node
        .send(Request::new("POST", "/admin/keys/rotate").token(TOKEN))
        .await
        .json();
    assert_eq!(rotated, serde_json::json!({"keyId": 2, "resealed": 5}));
    assert_eq!(node.store.asked(), [Asked::Gc, Asked::Rotate]);
}

#[actix::test]
async fn metrics_count_requests_and_show_the_store_and_the_process() {
    let node = Node::up().await;
    let cid = node.store.seed(b"x", None);
    node.tell_snapshot().await;
    for _ in 0..3 {
        node.get(format!("/retrieve/{cid}")).await;
    }
    node.get("/retrieve/x").await;
    node.send(Request::post("/store", content_of_shard(true)))
        .await;
    for (start, value) in [
        (
            "bytecave_http_requests_total{route=\"/retrieve/{cid}\",status=\"2xx\"}",
            3.0,
        ),
        (
            "bytecave_http_requests_total{route=\"/retrieve/{cid}\",status=\"4xx\"}",
            1.0,
        ),
        (
            "bytecave_http_request_seconds_count{route=\"/retrieve/{cid}\"}",
            4.0,
        ),
        (
            "bytecave_http_request_seconds_bucket{le=\"+Inf\",route=\"/retrieve/{cid}\"}",
            4.0,
        ),
        (
            "bytecave_mailbox_handled_total{actor=\"store\",kind=\"get\"}",
            3.0,
        ),
        (
            "bytecave_mailbox_seconds_count{actor=\"store\",kind=\"put\"}",
            1.0,
        ),
        ("bytecave_mailbox_capacity{actor=\"http\"}", 64.0),
        ("bytecave_store_blobs", 1.0),
        ("bytecave_store_wal_bytes", 7.0),
        ("bytecave_part_ready{actor=\"store\"}", 1.0),
    ] {
        assert_eq!(node.metric(start).await, Some(value), "{start}");
    }
    for start in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
    ] {
        assert!(
            node.metric(start).await.is_some_and(|value| value > 0.0),
            "{start}"
        );
    }
}

#[actix::test]
async fn no_stranger_chooses_a_label() {
    let node = Node::up().await;
    node.get("/a-name-of-my-own").await;
    node.send(Request::new("BREW", "/live")).await;
    node.get("/retrieve/another-name-of-my-own").await;
    let text = node.get("/metrics").await.text();
    assert!(!text.contains("of-my-own") && !text.contains("BREW"));
    assert!(text.contains("route=\"unmatched\""));
    assert!(text.ends_with("# EOF\n"));
}

#[actix::test]
async fn answers_about_the_node_are_compressed_and_blobs_are_not() {
    let node = Node::up().await;
    let cid = node.store.seed(&vec![b'a'; 10_000], Some("text/plain"));
    for (path, encoding) in [
        ("/openapi.json".to_owned(), Some("gzip")),
        ("/metrics".to_owned(), Some("gzip")),
        (format!("/retrieve/{cid}"), None),
    ] {
        let answer = node
            .send(Request::get(path).header("Accept-Encoding", "gzip"))
            .await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-encoding"), encoding);
    }
    let plain = node.get("/openapi.json").await;
    assert_eq!(plain.header("content-encoding"), None);
}
