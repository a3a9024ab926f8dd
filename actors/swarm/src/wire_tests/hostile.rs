//! Peers that cost no more than was decided beforehand.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytecave_core::BlobCid;
use bytecave_messages::swarm::Refusal;
use futures_util::AsyncWriteExt;
use serde_json::json;

use super::replicator::{Node, read, until};
use crate::wire::frame;
use crate::wire::v1::{Kind, refusal};

/// The time of requests to these nodes.
const SHORT: Duration = Duration::from_millis(400);
const MEMORY: u64 = 100 * 1024 * 1024;

async fn node() -> Node {
    Node::with(|setup| {
        setup.settings.request_timeout = SHORT;
        setup.memory_bytes = MEMORY;
        setup.limits.per_peer = 4;
    })
    .await
}

/// Whether all memory and permits are back.
async fn is_free(node: &Node) {
    until(|| node.memory.for_frame(MEMORY / 9 * 5).is_some()).await;
    until(|| node.budget.snapshot().depth == 0).await;
}

#[actix::test]
async fn who_sends_nothing_is_told_so_and_costs_nothing() {
    let node = node().await;
    for kind in [Kind::Blob, Kind::HaveList, Kind::Replicate, Kind::Store] {
        let mut stream = node.open(kind).await;
        let answer = read(&mut stream).await;
        let error = answer["error"].as_str().unwrap();
        assert!(error.starts_with("Invalid request: too slow"), "{error}");
    }
    is_free(&node).await;
}

#[actix::test]
async fn who_claims_much_and_sends_little_gives_the_memory_back() {
    let node = node().await;
    for _ in 0..3 {
        let mut stream = node.open(Kind::Replicate).await;
        stream
            .write_all(&44_000_000_u32.to_be_bytes())
            .await
            .unwrap();
        stream.write_all(b"{\"cid\":").await.unwrap();
        stream.flush().await.unwrap();
        let answer = read(&mut stream).await;
        assert!(
            answer["error"].as_str().unwrap().contains("too slow"),
            "{answer}"
        );
    }
    is_free(&node).await;
}

#[actix::test]
async fn silent_claimants_keep_nobody_from_storing() {
    let node = Node::with(|setup| {
        setup.memory_bytes = MEMORY;
        setup.mailbox = 1;
    })
    .await;
    let mut silent = Vec::new();
    for kind in [Kind::Replicate, Kind::Store, Kind::Replicate, Kind::Store] {
        let mut stream = node.open(kind).await;
        let claim = 44_000_000_u32.to_be_bytes();
        stream.write_all(&claim).await.unwrap();
        stream.flush().await.unwrap();
        silent.push(stream);
    }
    // Each holds a first step by now.
    until(|| node.memory.used_bytes() > 4 << 20).await;
    let honest = vec![7; 20 << 20];
    let request = json!({
        "cid": BlobCid::of(&honest).to_string(),
        "mimeType": "a/b",
        "ciphertext": STANDARD.encode(&honest),
    });
    let answer = node.ask(Kind::Replicate, request).await;
    assert_eq!(answer["success"], true, "{answer}");
    drop(silent);
}

#[actix::test]
async fn a_drip_is_cut_off() {
    let node = node().await;
    let stream = node.open(Kind::Store).await;
    let (mut reading, mut writing) = futures_util::AsyncReadExt::split(stream);
    let drip = tokio::spawn(async move {
        writing
            .write_all(&1_000_000_u32.to_be_bytes())
            .await
            .unwrap();
        // Until the node has enough of it.
        while writing.write_all(b" ").await.is_ok() && writing.flush().await.is_ok() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    let answer = frame::read(&mut reading, 1000, Duration::from_mins(1))
        .await
        .unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.contains("Invalid request: too slow"), "{answer}");
    drip.await.unwrap();
    is_free(&node).await;
}

#[actix::test]
async fn who_reads_nothing_is_given_up_and_costs_nothing() {
    let node = node().await;
    let blob = node.has(&vec![7; 8 * 1024 * 1024], None);
    let request = frame::encode(&json!({"cid": blob.to_string()}));
    let mut unread = Vec::new();
    for _ in 0..4 {
        let mut stream = node.open(Kind::Retrieve).await;
        stream.write_all(&request).await.unwrap();
        stream.flush().await.unwrap();
        unread.push(stream);
    }
    until(|| node.memory.for_frame(MEMORY / 9 * 5).is_none()).await;
    is_free(&node).await;
    // The places of the peer are free too, although it still holds its ends.
    let cid = json!({"cid": BlobCid::of(b"unknown").to_string()});
    let expected = refusal(Kind::Retrieve.name(), &Refusal::NotFound.to_string());
    let expected: serde_json::Value = serde_json::from_slice(&expected[4..]).unwrap();
    assert_eq!(node.ask(Kind::Retrieve, cid).await, expected);
    drop(unread);
}

#[actix::test]
async fn who_leaves_in_the_middle_leaves_nothing_behind() {
    let node = node().await;
    for kind in [Kind::Replicate, Kind::Store] {
        let mut stream = node.open(kind).await;
        stream
            .write_all(&10_000_000_u32.to_be_bytes())
            .await
            .unwrap();
        stream.write_all(&vec![b' '; 100_000]).await.unwrap();
        stream.flush().await.unwrap();
        drop(stream);
    }
    node.asker.disconnect(&node.host.id).await;
    is_free(&node).await;
    assert!(node.asker.dial(&node.host.address).await);
    assert_eq!(node.ask(Kind::Info, json!({})).await["version"], "1.2.3");
}

#[actix::test]
async fn deep_and_wide_nonsense_is_refused() {
    let node = node().await;
    let deep = [b"\0\0\0\0".as_slice(), &vec![b'['; 60_000]].concat();
    let wide = format!("\0\0\0\0{{\"cid\":[{}1]}}", "1,".repeat(30_000));
    for said in [frame::seal(deep), frame::seal(wide.into_bytes())] {
        for kind in [Kind::Blob, Kind::Replicate, Kind::Store, Kind::HaveList] {
            let answer = node.say(kind, &said).await;
            // A wide request for a list asks for nothing in particular.
            if kind != Kind::HaveList {
                let error = answer["error"].as_str().unwrap();
                assert!(error.starts_with("Invalid request"), "{error}");
            }
        }
    }
}
