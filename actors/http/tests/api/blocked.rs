//! `/admin/blocked`.

use std::collections::BTreeSet;

use bytecave_core::BlobCid;
use serde_json::{Value, json};

use crate::client::{Answer, Request};
use crate::fake_store::{Asked, content_of_len, content_of_shard};
use crate::node::{Node, TOKEN};

async fn set(node: &Node, method: &'static str, name: impl std::fmt::Display) -> Answer {
    let request = Request::new(method, format!("/admin/blocked/{name}"));
    node.send(request.token(TOKEN)).await
}

async fn list(node: &Node, query: &str) -> Value {
    let request = Request::get(format!("/admin/blocked{query}")).token(TOKEN);
    node.send(request).await.json()
}

#[actix::test]
async fn what_is_blocked_is_refused_until_it_is_not() {
    let node = Node::up().await;
    let content = content_of_shard(true);
    let cid = node.store.seed(&content, None);
    let answer = |blocked: bool, changed: bool| json!({"cid": cid.to_string(), "blocked": blocked, "changed": changed});
    let blocked = set(&node, "PUT", cid.digest().to_hex()).await;
    assert_eq!(blocked.status, 200);
    assert_eq!(blocked.json(), answer(true, true));
    assert_eq!(set(&node, "PUT", cid).await.json(), answer(true, false));
    node.get(format!("/retrieve/{cid}"))
        .await
        .problem(451, "blocked");
    let large = content_of_len(5_000_000);
    set(&node, "PUT", BlobCid::of(&large)).await;
    for content in [&content, &large] {
        let problem = node
            .send(Request::post("/store", content.clone()))
            .await
            .problem(451, "blocked");
        assert_eq!(problem["cid"], BlobCid::of(content).to_string());
        assert_eq!(problem["retryable"], false);
    }
    assert_eq!(set(&node, "DELETE", cid).await.json(), answer(false, true));
    assert_eq!(set(&node, "DELETE", cid).await.json(), answer(false, false));
    let stored = node.send(Request::post("/store", content)).await;
    assert_eq!(stored.status, 201, "what was here of it had gone");
}

#[actix::test]
async fn the_list_goes_on_page_by_page() {
    let node = Node::up().await;
    assert_eq!(list(&node, "").await, json!({"cids": [], "next": null}));
    let mut all = BTreeSet::new();
    for number in 0..7_u8 {
        let cid = BlobCid::of(&[number]);
        set(&node, "PUT", cid).await;
        all.insert(cid.to_string());
    }
    let mut listed = BTreeSet::new();
    let mut query = "?limit=3".to_owned();
    let mut pages = 0;
    loop {
        let page = list(&node, &query).await;
        for cid in page["cids"].as_array().unwrap() {
            assert!(listed.insert(cid.as_str().unwrap().to_owned()));
        }
        pages += 1;
        let Some(next) = page["next"].as_str() else {
            break;
        };
        query = format!("?limit=3&after={next}");
    }
    assert_eq!((listed, pages), (all, 3));
    assert_eq!(list(&node, "").await["next"], json!(null));
    assert_eq!(node.store.asked().pop(), Some(Asked::Blocked(100)));
}

#[actix::test]
async fn what_cannot_be_read_blocks_nothing() {
    let node = Node::up().await;
    for name in ["x", "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o"] {
        for method in ["PUT", "DELETE"] {
            set(&node, method, name).await.problem(400, "bad_cid");
        }
    }
    for query in ["?limit=0", "?limit=1001", "?after=x", "?after=", "?x=1"] {
        let request = Request::get(format!("/admin/blocked{query}")).token(TOKEN);
        node.send(request).await.problem(400, "bad_query");
    }
    assert!(node.store.asked().is_empty());
}
