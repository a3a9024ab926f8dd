//! Blobs that only peers have, and the network as the node tells of it.

use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{BlobCid, NodeIdentity};
use bytecave_messages::budget::{ActorName, Full};
use bytecave_messages::replicator::FetchError;
use bytecave_messages::store::StoreError;
use bytecave_messages::swarm::{
    ConnectionKind, HolePunching, LinkView, PeerView, Reachability, RelayState, RelayView,
    SwarmSnapshot,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use serde_json::json;

use crate::client::{End, Request};
use crate::fake_store::{Asked, content_of_len, content_of_shard};
use crate::node::{Node, TOKEN, until};

/// Headers but for those that name the moment and the request.
fn comparable(headers: &[(String, String)]) -> Vec<(String, String)> {
    let mut headers: Vec<_> = headers
        .iter()
        .filter(|(name, _)| name != "date" && name != "x-request-id")
        .cloned()
        .collect();
    headers.sort();
    headers
}

#[actix::test]
async fn what_a_peer_has_is_given_as_if_it_were_here() {
    let (here, there) = (Node::up().await, Node::up().await);
    for (len, content_type) in [
        (0, None),
        (1000, Some("image/png")),
        (3_000_000, Some("text/html")),
        (5_000_000, Some("video/mp4")),
    ] {
        let content = content_of_len(len);
        let cid = here.store.seed(&content, content_type);
        there.replicator.seed(&content, content_type);
        let asked = |method, range: Option<&str>| {
            let request = Request::new(method, format!("/retrieve/{cid}"));
            match range {
                Some(range) => request.header("Range", range),
                None => request,
            }
        };
        for (method, range) in [
            ("GET", None),
            ("HEAD", None),
            ("GET", Some("bytes=0-0")),
            ("GET", Some("bytes=10-99")),
            ("GET", Some("bytes=990-100000000")),
            ("GET", Some("bytes=-7")),
            ("GET", Some("bytes=5000000-")),
            ("GET", Some("bytes=0-1,4-5")),
            ("GET", Some("bytes=9-5")),
        ] {
            let local = here.send(asked(method, range)).await;
            let fetched = there.send(asked(method, range)).await;
            assert_eq!(fetched.status, local.status, "{len} {method} {range:?}");
            assert_eq!(fetched.end, End::Whole);
            if local.status >= 400 {
                assert_eq!(fetched.json()["code"], local.json()["code"]);
                assert_eq!(fetched.json()["size"], local.json()["size"]);
                assert_eq!(
                    fetched.header("content-range"),
                    local.header("content-range")
                );
                continue;
            }
            assert!(fetched.body == local.body, "{len} {method} {range:?}");
            assert_eq!(comparable(&fetched.headers), comparable(&local.headers));
        }
    }
    assert_eq!(
        here.replicator.asked(),
        0,
        "what is here is asked of nobody"
    );
    until("the permits are back", || {
        there.http_budget.snapshot().depth + there.replicator_budget.snapshot().depth == 0
    })
    .await;
}

#[actix::test]
async fn a_page_of_a_peer_runs_nothing() {
    let node = Node::up().await;
    let cid = node.replicator.seed(b"<script>", Some("text/html"));
    let answer = node.get(format!("/retrieve/{cid}")).await;
    assert_eq!(answer.header("content-disposition"), Some("attachment"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    let answer = node
        .get(format!("/retrieve/{cid}?download=page.html"))
        .await;
    assert_eq!(
        answer.header("content-disposition"),
        Some("attachment; filename=\"page.html\"")
    );
}

#[actix::test]
async fn local_asks_nobody() {
    let node = Node::up().await;
    let cid = node.replicator.seed(b"there", None);
    for query in ["?local=1", "?local=true", "?local="] {
        node.get(format!("/retrieve/{cid}{query}"))
            .await
            .problem(404, "blob_not_found");
    }
    let head = Request::new("HEAD", format!("/retrieve/{cid}?local=1"));
    assert_eq!(node.send(head).await.status, 404);
    assert_eq!(node.replicator.asked(), 0);
    let answer = node.get(format!("/retrieve/{cid}?local=0")).await;
    assert_eq!(answer.body, b"there");
}

#[actix::test]
async fn a_client_that_has_it_is_told_so_when_a_peer_has_it_too() {
    let node = Node::up().await;
    let cid = node.replicator.seed(b"there", None);
    let ask = |cid: BlobCid| {
        Request::get(format!("/retrieve/{cid}")).header("If-None-Match", format!("\"{cid}\""))
    };
    assert_eq!(node.send(ask(cid)).await.status, 304);
    let nowhere = BlobCid::of(b"nowhere");
    node.send(ask(nowhere)).await.problem(404, "blob_not_found");
}

#[actix::test]
async fn what_peers_could_not_do_is_told_with_cause_and_remedy() {
    let node = Node::up().await;
    let cid = BlobCid::of(&content_of_shard(false));
    let path = format!("/retrieve/{cid}");
    let problem = node.get(&path).await.problem(404, "blob_not_found");
    assert_eq!(problem["asked"], 2);
    assert!(
        problem["detail"]
            .as_str()
            .unwrap()
            .contains("none of the 2 peers that were asked has it")
    );
    let full = Full {
        actor: ActorName::Replicator,
        capacity: 8,
        retry_after: Duration::from_secs(5),
    };
    let late = FetchError::TimedOut {
        cid,
        asked: 3,
        silent: 2,
        after: Duration::from_mins(1),
    };
    for (error, status, code, says) in [
        (
            FetchError::NotFound { cid, asked: 0 },
            404,
            "blob_not_found",
            "no peer is known that may have it",
        ),
        (
            late,
            504,
            "peers_timeout",
            "2 of 3 peers did not answer within 60 s",
        ),
        (
            FetchError::RangeNotSatisfiable { size: 7 },
            416,
            "range_not_satisfiable",
            "outside the blob's 7 bytes",
        ),
        (
            FetchError::NoRoom {
                cid,
                cause: "the storage limit is reached".to_owned(),
            },
            507,
            "no_room_to_fetch",
            "the storage limit is reached",
        ),
        (FetchError::Full(full), 503, "mailbox_full", "replicator"),
        (
            FetchError::Unavailable,
            503,
            "peers_unavailable",
            "not running",
        ),
    ] {
        node.replicator.fail_with(error);
        let answer = node.get(&path).await;
        let problem = answer.problem(status, code);
        assert!(
            problem["detail"].as_str().unwrap().contains(says),
            "{problem}"
        );
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert_eq!(answer.header("retry-after").is_some(), status == 503);
    }
}

#[actix::test]
async fn peers_are_asked_only_for_what_is_not_here() {
    let node = Node::up().await;
    let cid = node.store.seed(b"x", None);
    node.replicator.seed(b"x", None);
    node.store.quarantine(&cid);
    node.get(format!("/retrieve/{cid}"))
        .await
        .problem(500, "damaged");
    node.store.fail_with(Some(StoreError::Unavailable));
    node.get(format!("/retrieve/{cid}"))
        .await
        .problem(503, "store_unavailable");
    assert_eq!(node.replicator.asked(), 0);
    assert!(node.store.asked().contains(&Asked::Get(None)));
}

fn peer(number: u8, connection: Option<ConnectionKind>, live: bool) -> PeerView {
    PeerView {
        peer_id: NodeIdentity::from_seed([number; 32])
            .unwrap()
            .public_key()
            .peer_id(),
        connection,
        multiaddrs: vec![format!("/ip4/10.0.0.{number}/tcp/5011")],
        agent: None,
        rtt_ms: connection.map(|_| 12),
        last_seen_ms: 1,
        first_seen_ms: 1,
        live,
        left_ms: None,
        announced: None,
        info: None,
    }
}

fn network() -> SwarmSnapshot {
    SwarmSnapshot {
        multiaddrs: vec!["/ip4/203.0.113.9/tcp/5011/p2p/us".to_owned()],
        connected: 2,
        peers: vec![
            peer(1, Some(ConnectionKind::Direct), true),
            peer(2, Some(ConnectionKind::Relayed), true),
            peer(3, None, true),
            peer(4, None, false),
        ],
        relays: vec![RelayView {
            multiaddr: "/ip4/198.51.100.1/tcp/4001".to_owned(),
            state: RelayState::Failed {
                reason: "refused".to_owned(),
            },
        }],
        links: vec![LinkView {
            url: "ws://198.51.100.1:4003".to_owned(),
            registered: true,
            problem: None,
        }],
        reachability: Reachability::Relayed {
            hole_punching: HolePunching::Works,
        },
    }
}

#[actix::test]
async fn the_network_is_told_as_the_node_sees_it() {
    let node = Node::up().await;
    node.tell_network(network()).await;
    let peers = node.get("/peers").await.json();
    assert_eq!(peers["enabled"], true);
    assert_eq!(
        (&peers["connected"], &peers["total"]),
        (&json!(2), &json!(4))
    );
    assert_eq!(peers["peers"][0]["connection"], "direct");
    assert_eq!(peers["peers"][0]["rttMs"], 12);
    assert_eq!(peers["peers"][2].get("connection"), None);
    assert_eq!(
        peers["relays"],
        json!([{"multiaddr": "/ip4/198.51.100.1/tcp/4001", "state": "failed", "reason": "refused"}])
    );
    assert_eq!(
        peers["links"],
        json!([{"url": "ws://198.51.100.1:4003", "registered": true}])
    );
    let reachability = json!({"verdict": "relayed", "holePunching": "works"});
    assert_eq!(peers["reachability"], reachability);

    let health = node.get("/health").await.json();
    assert_eq!(health["peers"], 2);
    assert_eq!(health["reachability"], reachability);
    let info = node.get("/info").await.json();
    for answer in [&peers, &health, &info] {
        assert_eq!(
            answer["multiaddrs"],
            json!(["/ip4/203.0.113.9/tcp/5011/p2p/us"])
        );
    }
}

#[actix::test]
async fn peers_are_chosen_by_state_and_number() {
    let node = Node::up().await;
    node.tell_network(network()).await;
    for (query, listed, total) in [
        ("?state=all", 4, 4),
        ("?state=live", 3, 3),
        ("?state=connected", 2, 2),
        ("?state=connected&limit=1", 1, 2),
        ("?limit=1000", 4, 4),
    ] {
        let peers = node.get(format!("/peers{query}")).await.json();
        assert_eq!(peers["peers"].as_array().unwrap().len(), listed, "{query}");
        assert_eq!(peers["total"], total, "{query}");
    }
    for query in ["?limit=0", "?limit=1001", "?limit=x", "?state=dead", "?x=1"] {
        node.get(format!("/peers{query}"))
            .await
            .problem(400, "bad_query");
    }
    let mut many = network();
    many.peers = (0..=255_u8)
        .flat_map(|number| vec![peer(number, None, true); 8])
        .collect();
    node.tell_network(many).await;
    let peers = node.get("/peers").await.json();
    assert_eq!(peers["peers"].as_array().unwrap().len(), 1000);
    assert_eq!(peers["total"], 2048);
}

#[actix::test]
async fn without_networking_there_is_nobody_and_it_says_so() {
    let node = Node::up().await;
    let peers = node.get("/peers").await.json();
    assert_eq!(
        (&peers["enabled"], &peers["connected"]),
        (&json!(true), &json!(0))
    );
    node.without_network().await;
    let peers = node.get("/peers").await.json();
    assert_eq!(peers["enabled"], false);
    assert_eq!(peers["peers"], json!([]));
    let health = node.get("/health").await.json();
    assert_eq!(health["status"], "healthy");
    assert_eq!(health["reachability"], json!(null));
}

#[actix::test]
async fn peers_are_for_operators() {
    let node =
        Node::with(|setup| setup.settings.allowed_hosts = vec!["cave.example".to_owned()]).await;
    node.tell_network(network()).await;
    node.get("/peers").await.problem(401, "token_required");
    let request = Request::get("/peers").header("Authorization", format!("Bearer {TOKEN}"));
    assert_eq!(node.send(request).await.status, 200);
}

#[actix::test]
async fn metrics_of_other_actors_are_written_out_too() {
    let mut registry = Registry::default();
    let counter: Counter = Counter::default();
    registry.register("bytecave_swarm_dials", "Dials.", counter.clone());
    counter.inc_by(3);
    let node = Node::with(|setup| setup.registries = vec![Arc::new(registry)]).await;
    let text = node.get("/metrics").await.text();
    assert!(text.contains("bytecave_swarm_dials_total 3\n"), "{text}");
    assert_eq!(text.matches("# EOF").count(), 1);
    assert!(text.ends_with("# EOF\n"));
    assert!(text.contains("bytecave_http_requests"), "ours are there");
}
