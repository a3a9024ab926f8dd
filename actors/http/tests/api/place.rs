//! `POST /store`: copies on other nodes, and blobs of other nodes' shards.

use std::time::Duration;

use bytecave_core::{BlobCid, NodeIdentity, PeerId, ShardRange};
use bytecave_messages::budget::{ActorName, Full};
use bytecave_messages::replicator::PlaceError;
use bytecave_messages::store::{Foreign, Word};
use bytecave_messages::swarm::{PeerInfo, PeerView, Reachability, SwarmSnapshot};
use bytes::Bytes;
use serde_json::json;

use crate::client::Request;
use crate::fake_replicator::{PlaceAsked, Source};
use crate::fake_store::{
    SHARD_COUNT, TRANSIT_IN_MEMORY, Terms, content_of_len, content_of_shard, count, foreign_of_len,
};
use crate::node::{Node, until};

fn store(content: &[u8], query: &str) -> Request {
    Request::post(format!("/store{query}"), content).header("Content-Type", "text/plain")
}

fn peer_id(number: u8) -> PeerId {
    let identity = NodeIdentity::from_seed([number; 32]).unwrap();
    identity.public_key().peer_id()
}

/// A peer that says it keeps the shards 12 to 15 of the fake network, which the fake store does not.
fn keeper(number: u8) -> PeerView {
    PeerView {
        peer_id: peer_id(number),
        connection: None,
        multiaddrs: Vec::new(),
        agent: None,
        rtt_ms: None,
        last_seen_ms: 1,
        first_seen_ms: 1,
        live: true,
        left_ms: None,
        announced: None,
        info: Some(PeerInfo {
            version: "2".to_owned(),
            owner_address: None,
            shards: Some(vec![ShardRange { start: 12, end: 15 }]),
            shard_count: Some(count()),
            capacity: Some(1 << 30),
            accepting: Some(true),
            protocols: Vec::new(),
        }),
    }
}

fn network(peers: Vec<PeerView>) -> SwarmSnapshot {
    SwarmSnapshot {
        multiaddrs: Vec::new(),
        connected: 0,
        peers,
        relays: Vec::new(),
        links: Vec::new(),
        reachability: Reachability::Unknown,
    }
}

#[actix::test]
async fn one_copy_is_not_waited_for() {
    let node = Node::up().await;
    let content = content_of_shard(true);
    for (query, status) in [("", 201), ("?replicas=1", 200)] {
        let answer = node.send(store(&content, query)).await;
        assert_eq!(answer.status, status);
        let answer = answer.json();
        assert_eq!(answer["replicas"], json!({"target": 1, "confirmed": 1}));
        assert_eq!(answer["durability"], "batched", "as the store is set up");
        let terms = Terms {
            word: Word::Client,
            durable: false,
            foreign: Foreign::Transit,
        };
        assert_eq!(node.store.terms(), Some(terms));
    }
    assert!(node.replicator.placed().is_empty());
}

#[actix::test]
async fn copies_are_waited_for_and_told() {
    let node = Node::with(|setup| setup.settings.place_timeout = Duration::from_secs(7)).await;
    let content = content_of_shard(true);
    for (query, wanted, confirmed, status) in [
        ("?replicas=2", 2, 2, 201),
        ("?replicas=2", 2, 3, 200),
        ("?replicas=3", 3, 3, 200),
        ("?replicas=3", 3, 2, 202),
        ("?replicas=2", 2, 1, 202),
    ] {
        node.replicator.place_ends(Ok((confirmed, 3)));
        let answer = node.send(store(&content, query)).await;
        assert_eq!(answer.status, status, "{query} {confirmed}");
        let cid = BlobCid::of(&content);
        assert_eq!(
            answer.header("location"),
            Some(format!("/retrieve/{cid}").as_str())
        );
        let answer = answer.json();
        assert_eq!(
            answer["replicas"],
            json!({"target": 3, "confirmed": confirmed})
        );
        assert_eq!(answer["durability"], "strict");
        assert!(node.store.terms().unwrap().durable, "what counts is synced");
        let asked = node.replicator.placed().pop().unwrap();
        let PlaceAsked {
            blob,
            from,
            wanted: asked,
            patience,
        } = asked;
        assert_eq!((blob.cid, blob.size), (cid, content.len() as u64));
        assert_eq!(blob.content_type.as_deref(), Some("text/plain"));
        assert_eq!(hex::encode(blob.blob_root.as_bytes()), answer["blobRoot"]);
        assert_eq!(
            (from, asked, patience),
            (Source::Store, wanted, Duration::from_secs(7))
        );
    }
}

#[actix::test]
async fn a_copy_has_the_type_of_the_first_store() {
    let node = Node::up().await;
    let content = content_of_shard(true);
    node.store.seed(&content, Some("image/png"));
    node.replicator.place_ends(Ok((2, 3)));
    assert_eq!(node.send(store(&content, "?replicas=2")).await.status, 200);
    let asked = node.replicator.placed().pop().unwrap();
    assert_eq!(asked.blob.content_type.as_deref(), Some("image/png"));
}

#[actix::test]
async fn more_copies_than_there_can_be_are_refused_before_the_body() {
    let node = Node::with(|setup| setup.settings.replication_factor = 4).await;
    let content = content_of_shard(true);
    let problem = node
        .send(store(&content, "?replicas=5"))
        .await
        .problem(400, "replicas_unavailable");
    assert_eq!(problem["factor"], 4);
    let detail = problem["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.contains("expected 1 to 4 (replication.factor)"),
        "{detail}"
    );
    for query in [
        "?replicas=0",
        "?replicas=x",
        "?replicas=-1",
        "?replica=1",
        "?replicas=1&replicas=1",
    ] {
        node.send(store(&content, query))
            .await
            .problem(400, "bad_query");
    }
    node.without_network().await;
    let problem = node
        .send(store(&content, "?replicas=2"))
        .await
        .problem(400, "replicas_unavailable");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains("networking is off"), "{detail}");
    assert!(node.store.asked().is_empty());
    assert_eq!(node.send(store(&content, "?replicas=1")).await.status, 201);
    assert!(node.replicator.placed().is_empty());
}

#[actix::test]
async fn what_is_durable_here_is_not_refused_because_others_cannot_be_waited_for() {
    let node = Node::up().await;
    let full = PlaceError::Full(Full {
        actor: ActorName::Replicator,
        capacity: 8,
        retry_after: Duration::from_secs(1),
    });
    let content = content_of_shard(true);
    for error in [full, PlaceError::Unavailable] {
        node.replicator.place_ends(Err(error));
        let answer = node.send(store(&content, "?replicas=2")).await;
        assert_eq!(answer.status, 202);
        assert_eq!(answer.json()["replicas"]["confirmed"], 1);
    }
    assert!(node.store.content(&BlobCid::of(&content)).is_some());
}

#[actix::test]
async fn a_blob_of_another_shard_is_brought_to_those_who_keep_it() {
    let node = Node::up().await;
    node.replicator.place_ends(Ok((1, 3)));
    let small = foreign_of_len(1000);
    let large = foreign_of_len(TRANSIT_IN_MEMORY + 1);
    for (content, from) in [
        (&small, Source::Memory(Bytes::from(small.clone()))),
        (&large, Source::Disk(Bytes::from(large.clone()))),
    ] {
        let answer = node.send(store(content, "")).await;
        assert_eq!(answer.status, 201, "{}", answer.text());
        let answer = answer.json();
        assert_eq!(answer["cid"], BlobCid::of(content).to_string());
        assert_eq!(answer["replicas"], json!({"target": 3, "confirmed": 1}));
        assert_eq!(
            answer["durability"], "strict",
            "as those who keep it were asked"
        );
        let asked = node.replicator.placed().pop().unwrap();
        assert!(asked.from == from, "where its bytes are");
        assert_eq!(asked.wanted, 1);
        assert_eq!(asked.blob.content_type.as_deref(), Some("text/plain"));
        assert!(node.store.content(&BlobCid::of(content)).is_none());
    }
    // The same again is stored again: nothing of it stayed here.
    assert_eq!(node.send(store(&small, "")).await.status, 201);
    let answer = node.send(store(&small, "?replicas=2")).await;
    assert_eq!(answer.status, 202);
    assert_eq!(answer.json()["replicas"]["confirmed"], 1);
    until("the memory for uploads is back", || {
        node.http_budget.snapshot().depth == 0
    })
    .await;
    assert_eq!(
        node.metric("bytecave_http_upload_bytes_in_flight").await,
        Some(0.0)
    );
}

#[actix::test]
async fn a_form_waits_for_copies_and_finds_other_shards_too() {
    let node = Node::up().await;
    let form = |content: &[u8], query: &str| {
        let mut body = b"--bound\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a.txt\"\r\nContent-Type: text/css\r\n\r\n".to_vec();
        body.extend(content);
        body.extend(b"\r\n--bound--\r\n");
        Request::post(format!("/store{query}"), body)
            .header("Content-Type", "multipart/form-data; boundary=bound")
    };
    node.replicator.place_ends(Ok((2, 3)));
    let ours = content_of_shard(true);
    let answer = node.send(form(&ours, "?replicas=2")).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["replicas"]["confirmed"], 2);
    let theirs = content_of_shard(false);
    assert_eq!(node.send(form(&theirs, "")).await.status, 201);
    for (asked, content) in node.replicator.placed().iter().zip([&ours, &theirs]) {
        assert_eq!(asked.blob.cid, BlobCid::of(content));
        assert_eq!(asked.blob.content_type.as_deref(), Some("text/css"));
    }
    node.replicator.place_ends(Ok((1, 3)));
    assert_eq!(node.send(form(&ours, "?replicas=3")).await.status, 202);
}

#[actix::test]
async fn what_no_holder_took_is_421_with_those_that_are_known() {
    let node = Node::up().await;
    let content = content_of_shard(false);
    let cid = BlobCid::of(&content);
    let shard = count().shard_of(&cid.digest());
    let known = vec![peer_id(1), peer_id(2)];
    let holders: Vec<String> = known.iter().map(PeerId::to_string).collect();
    node.replicator.place_ends(Err(PlaceError::NoHolder {
        cid,
        shard,
        holders: known,
    }));
    let problem = node
        .send(store(&content, ""))
        .await
        .problem(421, "wrong_shard");
    assert_eq!(problem["shard"], shard.get());
    assert_eq!(problem["holders"], json!(holders));

    // Nobody has it durably: no 2xx, whatever is still under way.
    node.replicator.place_ends(Ok((0, 3)));
    let problem = node
        .send(store(&content, "?replicas=2"))
        .await
        .problem(504, "peers_timeout");
    assert_eq!(problem["shard"], shard.get());
    let full = Full {
        actor: ActorName::Replicator,
        capacity: 8,
        retry_after: Duration::from_secs(1),
    };
    node.replicator.place_ends(Err(PlaceError::Full(full)));
    let answer = node.send(store(&content, "")).await;
    answer.problem(503, "mailbox_full");
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[actix::test]
async fn without_a_network_a_blob_of_another_shard_is_421() {
    let node = Node::up().await;
    node.without_network().await;
    let content = content_of_shard(false);
    let problem = node.send(store(&content, "")).await;
    let problem = problem.problem(421, "wrong_shard");
    assert_eq!(problem["holders"], json!([]));
    assert_eq!(node.store.terms().unwrap().foreign, Foreign::Refuse);
    assert!(node.replicator.placed().is_empty());
}

#[actix::test]
async fn with_a_stated_cid_421_comes_before_the_body_while_no_keeper_is_within_reach() {
    let node = Node::up().await;
    let content = content_of_shard(false);
    let cid = BlobCid::of(&content);
    let stated = || store(&content, "").header("X-Content-CID", cid.to_string());
    let mut silent = keeper(1);
    silent.live = false;
    let mut full = keeper(2);
    full.info.as_mut().unwrap().accepting = Some(false);
    let mut of_other_shards = keeper(3);
    of_other_shards.info.as_mut().unwrap().shards = Some(vec![ShardRange { start: 0, end: 11 }]);
    let mut of_another_network = keeper(4);
    of_another_network.info.as_mut().unwrap().shard_count =
        Some(bytecave_core::ShardCount::new(SHARD_COUNT * 2).unwrap());
    let mut unknown = keeper(5);
    unknown.info = None;
    let away = vec![silent, full, of_other_shards, of_another_network, unknown];
    for (peers, holders) in [(None, vec![]), (Some(away.clone()), vec![1, 2])] {
        if let Some(peers) = peers {
            node.tell_network(network(peers)).await;
        }
        let answer = stated().send_expecting(node.address).await;
        assert!(!answer.continued, "the body is not asked for");
        let problem = answer.problem(421, "wrong_shard");
        let holders: Vec<String> = holders
            .into_iter()
            .map(|number| peer_id(number).to_string())
            .collect();
        assert_eq!(problem["holders"], json!(holders));
        assert_eq!(problem["shard"], count().shard_of(&cid.digest()).get());
    }
    assert!(node.store.asked().is_empty(), "the store was not asked");

    node.tell_network(network([away, vec![keeper(6)]].concat()))
        .await;
    node.replicator.place_ends(Ok((1, 1)));
    let answer = stated().send_expecting(node.address).await;
    assert!(answer.continued);
    assert_eq!(answer.status, 201);
    node.without_network().await;
    let answer = stated().send_expecting(node.address).await;
    assert!(!answer.continued);
    answer.problem(421, "wrong_shard");
}

#[actix::test]
async fn streamed_bodies_reach_others_too() {
    let node = Node::up().await;
    node.replicator.place_ends(Ok((2, 2)));
    let content = content_of_len(TRANSIT_IN_MEMORY + 1);
    let answer = node.send(store(&content, "?replicas=2").chunked()).await;
    assert_eq!(answer.status, 201);
    let asked = node.replicator.placed().pop().unwrap();
    assert_eq!(asked.blob.cid, BlobCid::of(&content));
    assert_eq!(asked.from, Source::Store);
}
