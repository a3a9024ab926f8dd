#![allow(clippy::unwrap_used)]

mod relay;
mod replicator;

use std::net::SocketAddr;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytecave_core::{BlobCid, NodeIdentity, ShardCount, ShardSet};
use bytecave_messages::budget::{ActorName, Budget};
use bytecave_messages::swarm::{LinkView, Refusal};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::relay::Relay;
use self::replicator::{Heard, Replicator, Way};
use super::*;
use crate::facts::FixedFacts;

/// Far above what any of these takes on a busy machine: a test that hits it hangs.
const HANG: Duration = Duration::from_mins(1);
const PLENTY: u64 = 128 << 20;

/// A node that consists of links and a replicator.
struct Node {
    replicator: Replicator,
    views: watch::Receiver<Vec<LinkView>>,
    shutdown: CancellationToken,
    budget: Budget,
    peer_id: String,
}

fn hurried() -> LinkLimits {
    LinkLimits {
        first_retry: Duration::from_millis(5),
        last_retry: Duration::from_millis(20),
        ..LinkLimits::default()
    }
}

impl Node {
    fn new(urls: Vec<String>, way: Way, memory: u64, limits: LinkLimits) -> Self {
        let identity = NodeIdentity::from_seed([7; 32]).unwrap();
        let facts = Facts::new(FixedFacts {
            public_key: identity.public_key(),
            node_id: "node-under-test".to_owned(),
            owner_address: None,
            version: "0",
            shards: ShardSet::all(ShardCount::new(16).unwrap()),
            quota_bytes: 1 << 30,
        });
        let peer_id = facts.peer_id.to_string();
        let (replicator, events) = Replicator::start(way);
        let shutdown = CancellationToken::new();
        let budget = Budget::new(ActorName::Swarm, 256);
        let views = spawn(LinkOptions {
            urls,
            facts,
            events,
            budget: budget.clone(),
            memory: BodyMemory::new(memory),
            shutdown: shutdown.clone(),
            limits,
        });
        Self {
            replicator,
            views,
            shutdown,
            budget,
            peer_id,
        }
    }

    /// With one relay, registered there.
    async fn registered(way: Way, memory: u64, limits: LinkLimits) -> (Self, Relay) {
        let mut relay = Relay::listen().await;
        let mut node = Self::new(vec![relay.url()], way, memory, limits);
        relay.register(&node.peer_id).await;
        node.until(|view| view.registered).await;
        (node, relay)
    }

    /// Waits until the first link is as wanted.
    async fn until(&mut self, wanted: impl Fn(&LinkView) -> bool) -> LinkView {
        let views = self.views.wait_for(|views| wanted(&views[0]));
        let views = tokio::time::timeout(HANG, views).await;
        views.expect("the link did not become as wanted").unwrap()[0].clone()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

fn store(id: &str, content: &[u8]) -> Value {
    json!({"type": "storage-request", "requestId": id, "data": STANDARD.encode(content),
        "contentType": "text/plain", "hashIdToken": "h"})
}

fn retrieve(id: &str, cid: &BlobCid) -> Value {
    json!({"type": "retrieve-request", "requestId": id, "cid": cid.digest().to_hex()})
}

/// Asks as long as the answer is not a success.
async fn until_served(relay: &mut Relay, request: &Value) {
    let served = async { while relay.hear_answer_to(request).await["success"] != true {} };
    tokio::time::timeout(HANG, served)
        .await
        .expect("the node never became less busy");
}

#[actix::test]
async fn a_browser_stores_through_the_relay() {
    let (node, mut relay) = Node::registered(Way::Keep, PLENTY, hurried()).await;
    let content = vec![7; 1 << 20];
    let cid = BlobCid::of(&content).digest().to_hex();
    let mut request = store("r1", &content);
    request["authorization"] = json!({"address": "0xabc", "signature": "0xdef", "timestamp": 7,
        "nonce": "n", "contentHash": cid, "appId": "app"});
    relay.say(&request).await;
    assert_eq!(
        relay.hear().await,
        json!({"type": "storage-response", "requestId": "r1", "success": true, "cid": cid})
    );
    let Heard::Store(stored) = node.replicator.heard().await else {
        panic!("no store")
    };
    assert_eq!(stored.from, relay.url());
    assert_eq!(stored.body, content);
    assert_eq!(stored.content_type.as_deref(), Some("text/plain"));
    assert_eq!(stored.app_id.as_deref(), Some("app"));
    let authorization = stored.authorization.unwrap();
    assert_eq!(authorization.sender, "0xabc");
    assert_eq!(authorization.content_hash, cid);
    assert_eq!(node.budget.snapshot().kinds["inbound_store"].handled, 1);
}

#[actix::test]
async fn a_browser_retrieves_through_the_relay() {
    // More than one piece of a stream, one frame and the first chunk.
    let content: Vec<u8> = (0..3_000_001_u32).map(|n| n.to_le_bytes()[1]).collect();
    let way = Way::Serve(content.clone().into());
    let (node, mut relay) = Node::registered(way, PLENTY, hurried()).await;
    let cid = BlobCid::of(&content);
    relay.say(&retrieve("r2", &cid)).await;
    let answer = relay.hear().await;
    assert_eq!(answer["type"], "retrieve-response");
    assert_eq!(answer["requestId"], "r2");
    assert_eq!(answer["success"], true);
    assert_eq!(answer["mimeType"], "image/png");
    let data = STANDARD.decode(answer["data"].as_str().unwrap()).unwrap();
    assert!(data == content);
    assert!(matches!(node.replicator.heard().await, Heard::Retrieve(asked) if asked == cid));
}

#[actix::test]
async fn a_refusal_reaches_the_browser_with_its_reason() {
    let way = Way::Refuse(Refusal::NotAuthorized("no authorization".to_owned()));
    let (_node, mut relay) = Node::registered(way, PLENTY, hurried()).await;
    relay.say(&store("a", b"x")).await;
    assert_eq!(
        relay.hear().await,
        json!({"type": "storage-response", "requestId": "a", "success": false,
            "error": "not authorized: no authorization"})
    );
    relay.say(&retrieve("b", &BlobCid::of(b"x"))).await;
    let answer = relay.hear().await;
    assert_eq!(
        (answer["requestId"].as_str(), answer["success"].as_bool()),
        (Some("b"), Some(false))
    );
}

#[actix::test]
async fn a_blob_larger_than_the_link_carries_is_declined_unread() {
    let (_node, mut relay) = Node::registered(Way::Oversized, PLENTY, hurried()).await;
    relay.say(&retrieve("r", &BlobCid::of(b"x"))).await;
    let answer = relay.hear().await;
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains("33554432 bytes allowed"), "{error}");
}

#[actix::test]
async fn a_stream_that_lies_about_its_size_is_no_answer() {
    for way in [Way::Short, Way::Long, Way::Broken] {
        let (_node, mut relay) = Node::registered(way, PLENTY, hurried()).await;
        relay.say(&retrieve("r", &BlobCid::of(b"x"))).await;
        assert_eq!(relay.hear().await["success"], false);
    }
}

#[actix::test]
async fn nonsense_is_answered_where_it_can_be_and_survived_where_not() {
    let (_node, mut relay) = Node::registered(Way::Keep, PLENTY, hurried()).await;
    for garbage in [
        "",
        "{",
        "[]",
        "nonsense",
        r#"{"type":"stats"}"#,
        r#"{"type":"storage-request"}"#,
    ] {
        relay.say_text(garbage).await;
    }
    for _ in 0..2_000 {
        relay.say_text(r#"{"type":"peers","peers":[1,2,3]}"#).await;
        relay.say_binary(b"\x00\xff").await;
    }
    relay
        .say(&json!({"type": "error", "error": "the relay is confused\n"}))
        .await;
    for (request, word) in [
        (
            json!({"type": "storage-request", "requestId": "n"}),
            "data is missing",
        ),
        (
            json!({"type": "storage-request", "requestId": "n", "data": "%"}),
            "base64",
        ),
        (
            json!({"type": "storage-request", "requestId": "n", "data": [1]}),
            "invalid type",
        ),
        (
            json!({"type": "retrieve-request", "requestId": "n"}),
            "cid is missing",
        ),
        (
            json!({"type": "retrieve-request", "requestId": "n", "cid": "../x"}),
            "not a CID",
        ),
    ] {
        relay.say(&request).await;
        let answer = relay.hear().await;
        let error = answer["error"].as_str().unwrap();
        assert!(
            error.starts_with("Invalid request") && error.contains(word),
            "{answer}"
        );
        assert_eq!(answer["requestId"], "n");
    }
    relay.say(&store("last", b"x")).await;
    assert_eq!(relay.hear().await["success"], true);
}

#[actix::test]
async fn too_many_requests_at_once_are_answered_busy_and_the_others_served() {
    let limits = LinkLimits {
        served: 2,
        ..hurried()
    };
    let (node, mut relay) = Node::registered(Way::Hoard, PLENTY, limits).await;
    for id in ["a", "b"] {
        relay.say(&store(id, b"x")).await;
        node.replicator.heard().await;
    }
    for id in ["c", "d"] {
        relay.say(&store(id, b"x")).await;
        let answer = relay.hear().await;
        assert_eq!(answer["requestId"], id);
        assert!(answer["error"].as_str().unwrap().contains("busy"));
    }
    node.replicator.release();
    let mut served = [relay.hear().await, relay.hear().await];
    served.sort_by_key(|answer| answer["requestId"].to_string());
    assert_eq!(
        (&served[0]["requestId"], &served[0]["success"]),
        (&json!("a"), &json!(true))
    );
    assert_eq!(
        (&served[1]["requestId"], &served[1]["success"]),
        (&json!("b"), &json!(true))
    );
    // A place is free a moment after its answer has left.
    until_served(&mut relay, &store("e", b"x")).await;
}

#[actix::test]
async fn without_memory_or_permits_a_request_is_answered_busy_undecoded() {
    let (node, mut relay) = Node::registered(Way::Serve("abc".into()), 1024, hurried()).await;
    relay.say(&store("a", &[7; 4096])).await;
    assert!(
        relay.hear().await["error"]
            .as_str()
            .unwrap()
            .contains("busy")
    );
    let mut permits = Vec::new();
    while let Ok(permit) = node
        .budget
        .try_acquire(bytecave_messages::budget::Share::Peer, "other")
    {
        permits.push(permit);
    }
    for request in [store("b", b"x"), retrieve("b", &BlobCid::of(b"x"))] {
        relay.say(&request).await;
        assert!(
            relay.hear().await["error"]
                .as_str()
                .unwrap()
                .contains("busy")
        );
    }
    drop(permits);
    relay.say(&retrieve("c", &BlobCid::of(b"abc"))).await;
    assert_eq!(relay.hear().await["success"], true);
}

#[actix::test]
async fn a_replicator_that_never_answers_leaves_no_browser_waiting() {
    let limits = LinkLimits {
        answer: Duration::from_millis(20),
        served: 2,
        ..hurried()
    };
    // Memory for one blob that is held and one request that is read.
    let content = vec![7; 64 << 10];
    let frame = store("a", &content).to_string().len() as u64;
    let memory = content.len() as u64 + frame * 9 / 5 + 4096;
    let (node, mut relay) = Node::registered(Way::Hoard, memory, limits).await;
    for id in ["a", "b"] {
        relay.say(&store(id, &content)).await;
        let answer = relay.hear().await;
        assert_eq!(answer["requestId"], id);
        assert!(
            answer["error"].as_str().unwrap().starts_with("unavailable"),
            "{answer}"
        );
    }
    // What it holds it still holds, and so the memory is not given out twice.
    relay.say(&store("c", &content)).await;
    assert!(
        relay.hear().await["error"]
            .as_str()
            .unwrap()
            .contains("busy")
    );
    node.replicator.release();
    // What was noted of them holds their bytes, too.
    for _ in ["a", "b"] {
        node.replicator.heard().await;
    }
    until_served(&mut relay, &store("d", &content)).await;
}

#[actix::test]
async fn a_replicator_that_is_gone_leaves_no_browser_waiting() {
    let (_node, mut relay) = Node::registered(Way::Drop, PLENTY, hurried()).await;
    for request in [store("a", b"x"), retrieve("a", &BlobCid::of(b"x"))] {
        relay.say(&request).await;
        assert!(
            relay.hear().await["error"]
                .as_str()
                .unwrap()
                .contains("busy")
        );
    }
}

#[actix::test]
async fn a_frame_that_is_too_long_ends_the_connection_unread() {
    let (mut node, mut relay) = Node::registered(Way::Keep, PLENTY, hurried()).await;
    relay.announce_frame(MAX_MESSAGE_BYTES as u64 + 1).await;
    let view = node.until(|view| !view.registered).await;
    assert!(view.problem.unwrap().contains("too long"));
    relay.register(&node.peer_id).await;
    node.until(|view| view.registered).await;
}

#[actix::test]
async fn a_relay_that_was_restarted_finds_the_node_again() {
    let (mut node, relay) = Node::registered(Way::Keep, PLENTY, hurried()).await;
    let address = relay.address();
    drop(relay);
    let view = node
        .until(|view| !view.registered && view.problem.is_some())
        .await;
    assert_eq!(view.url, format!("ws://{address}"));
    let mut relay = Relay::listen_at(address).await;
    relay.register(&node.peer_id).await;
    let view = node.until(|view| view.registered).await;
    assert_eq!(view.problem, None);
    relay.say(&store("again", b"x")).await;
    assert_eq!(relay.hear().await["success"], true);
}

#[actix::test]
async fn a_relay_that_fell_silent_is_pinged_and_then_given_up() {
    let limits = LinkLimits {
        ping: Duration::from_millis(10),
        silence: Duration::from_millis(300),
        ..hurried()
    };
    let (mut node, mut relay) = Node::registered(Way::Keep, PLENTY, limits).await;
    relay.hear_ping().await;
    relay.fall_silent();
    let view = node.until(|view| !view.registered).await;
    assert!(view.problem.unwrap().contains("nothing was heard"));
    relay.register(&node.peer_id).await;
    node.until(|view| view.registered).await;
}

#[actix::test]
async fn a_relay_that_confirms_nothing_is_given_up_with_what_it_said() {
    let limits = LinkLimits {
        register: Duration::from_millis(200),
        ..hurried()
    };
    let mut relay = Relay::listen().await;
    let mut node = Node::new(vec![relay.url()], Way::Keep, PLENTY, limits);
    relay.hear_register(&node.peer_id).await;
    relay
        .say(&json!({"type": "error", "error": "who are you?"}))
        .await;
    let view = node.until(|view| view.problem.is_some()).await;
    let problem = view.problem.unwrap();
    assert!(
        problem.contains("did not confirm") && problem.contains("who are you?"),
        "{problem}"
    );
    relay.hear_register(&node.peer_id).await;
    // What comes before the confirmation is tolerated, and served.
    relay.say(&json!({"type": "welcome"})).await;
    relay.say(&store("early", b"x")).await;
    assert_eq!(relay.hear().await["success"], true);
    relay
        .say(&json!({"type": "registered", "peerId": node.peer_id}))
        .await;
    node.until(|view| view.registered).await;
}

#[actix::test]
async fn a_relay_that_never_reads_is_cut_off() {
    // More than the buffers of two sockets.
    let content = vec![7; 32 << 20];
    let limits = LinkLimits {
        write: Duration::from_millis(300),
        ..hurried()
    };
    let way = Way::Serve(content.clone().into());
    let (mut node, mut relay) = Node::registered(way, PLENTY, limits).await;
    relay.say(&retrieve("r", &BlobCid::of(&content))).await;
    let view = node.until(|view| !view.registered).await;
    assert!(view.problem.unwrap().contains("did not read"));
    relay.register(&node.peer_id).await;
    node.until(|view| view.registered).await;
    // The memory of the lost answer is free again: there is room for one such blob only.
    relay.say(&retrieve("r", &BlobCid::of(&content))).await;
    assert_eq!(relay.hear().await["success"], true);
}

#[actix::test]
async fn nobody_there_is_a_problem_of_that_link_alone() {
    let nobody: SocketAddr = Relay::listen().await.address();
    let mut relay = Relay::listen().await;
    // The second speaks no TLS.
    let urls = vec![
        relay.url(),
        format!("ws://{nobody}"),
        format!("wss://{}", Relay::listen().await.keep_accepting()),
        "ws://no such host".to_owned(),
    ];
    let mut node = Node::new(urls, Way::Keep, PLENTY, hurried());
    relay.register(&node.peer_id).await;
    let all_told = node.views.wait_for(|views| {
        views[0].registered && views[1..].iter().all(|view| view.problem.is_some())
    });
    let views = tokio::time::timeout(HANG, all_told)
        .await
        .unwrap()
        .unwrap()
        .clone();
    for view in &views[1..] {
        let problem = view.problem.as_deref().unwrap();
        assert!(problem.starts_with("cannot connect"), "{problem}");
    }
}

#[actix::test]
async fn shutdown_says_farewell_and_ends_all_links() {
    let (mut node, mut relay) = Node::registered(Way::Keep, PLENTY, hurried()).await;
    node.shutdown.cancel();
    relay.hear_close().await;
    let closed = async { while node.views.changed().await.is_ok() {} };
    tokio::time::timeout(HANG, closed).await.unwrap();
    assert!(!node.views.borrow()[0].registered);
}

#[actix::test]
async fn without_addresses_there_are_no_links() {
    let mut node = Node::new(Vec::new(), Way::Keep, PLENTY, hurried());
    assert!(node.views.borrow_and_update().is_empty());
    assert!(node.views.changed().await.is_err());
}
