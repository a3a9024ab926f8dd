//! Blobs that come from peers as they are fetched.

use bytecave_messages::store::ByteRange;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{End, Request};
use crate::fake_store::{content_of_len, content_of_shard};
use crate::node::{Node, until};

const LARGE: usize = 9_000_000;

#[actix::test]
async fn a_large_blob_comes_as_it_is_fetched() {
    let node = Node::up().await;
    let content = content_of_len(LARGE);
    let cid = node.replicator.seed(&content, Some("video/mp4"));
    let answer = node.get(format!("/retrieve/{cid}")).await;
    assert_eq!((answer.status, answer.end), (200, End::Whole));
    assert!(answer.body == content);
    assert_eq!(answer.header("content-length"), Some("9000000"));
    assert_eq!(answer.header("content-type"), Some("video/mp4"));
    assert_eq!(node.replicator.fetched(), [(cid, None)]);
    until("the permits are back", || {
        node.http_budget.snapshot().depth + node.replicator_budget.snapshot().depth == 0
    })
    .await;
}

#[actix::test]
async fn what_turns_out_wrong_half_way_ends_in_a_reset() {
    let node = Node::up().await;
    let cid = node.replicator.seed(&content_of_len(LARGE), None);
    node.replicator.break_after(5_000_000);
    for range in [None, Some("bytes=0-8000000")] {
        let request = Request::get(format!("/retrieve/{cid}"));
        let request = match range {
            Some(range) => request.header("Range", range),
            None => request,
        };
        let answer = node.send(request).await;
        assert_eq!(answer.end, End::Reset);
        assert!(answer.body.len() < LARGE);
    }
    until("the permits are back", || {
        node.http_budget.snapshot().depth == 0
    })
    .await;
}

#[actix::test]
async fn a_range_is_asked_of_peers_as_it_is() {
    let node = Node::up().await;
    let content = content_of_len(1000);
    let cid = node.replicator.seed(&content, None);
    let ask = |range: &str| Request::get(format!("/retrieve/{cid}")).header("Range", range);
    for (header, range, first, last) in [
        ("bytes=10-19", ByteRange::FromTo(10, 19), 10, 19),
        ("bytes=990-", ByteRange::From(990), 990, 999),
        ("bytes=-3", ByteRange::Last(3), 997, 999),
    ] {
        let answer = node.send(ask(header)).await;
        assert_eq!(answer.status, 206);
        assert_eq!(answer.body, &content[first..=last]);
        assert_eq!(
            answer.header("content-range"),
            Some(format!("bytes {first}-{last}/1000").as_str())
        );
        assert_eq!(node.replicator.fetched().pop(), Some((cid, Some(range))));
    }
    let answer = node.send(ask("bytes=1000-")).await;
    assert_eq!(answer.problem(416, "range_not_satisfiable")["size"], 1000);
    assert_eq!(answer.header("content-range"), Some("bytes */1000"));
    let before = node.replicator.asked();
    assert_eq!(node.send(ask("bytes=9-5")).await.status, 416);
    assert_eq!(
        node.replicator.fetched()[before..],
        [(cid, None)],
        "for the size alone"
    );
}

#[actix::test]
async fn who_wants_only_the_head_lets_the_bytes_go() {
    let node = Node::up().await;
    let cid = node.replicator.seed(&content_of_len(LARGE), None);
    let head = node
        .send(Request::new("HEAD", format!("/retrieve/{cid}")))
        .await;
    assert_eq!(head.header("content-length"), Some("9000000"));
    until("the fetch is over", || node.replicator.let_go() == 1).await;
    let request =
        Request::get(format!("/retrieve/{cid}")).header("If-None-Match", format!("\"{cid}\""));
    assert_eq!(node.send(request).await.status, 304);
    until("the fetch is over", || node.replicator.let_go() == 2).await;
}

#[actix::test]
async fn a_client_that_leaves_takes_the_fetch_with_it() {
    let node = Node::up().await;
    let cid = node.replicator.seed(&content_of_len(3 * LARGE), None);
    let request = Request::get(format!("/retrieve/{cid}"));
    let mut leaving = TcpStream::connect(node.address).await.unwrap();
    leaving
        .write_all(&request.head(node.address))
        .await
        .unwrap();
    leaving.read_exact(&mut [0; 10_000]).await.unwrap();
    assert_eq!(node.replicator.let_go(), 0);
    // With bytes unread, closing resets.
    drop(leaving);
    until("the fetch is over", || node.replicator.let_go() == 1).await;
    until("the permits are back", || {
        node.http_budget.snapshot().depth + node.replicator_budget.snapshot().depth == 0
    })
    .await;
}

#[actix::test]
async fn a_client_that_is_cut_off_before_the_first_byte_takes_the_fetch_with_it() {
    let node = Node::up().await;
    let cid = node.replicator.seed(&content_of_shard(false), None);
    node.replicator.hold(true);
    let request = Request::get(format!("/retrieve/{cid}"));
    let mut leaving = TcpStream::connect(node.address).await.unwrap();
    // No time to linger: closing resets.
    leaving.set_zero_linger().unwrap();
    leaving
        .write_all(&request.head(node.address))
        .await
        .unwrap();
    until("it is asked for", || node.replicator.asked() == 1).await;
    drop(leaving);
    until("nobody waits any more", || node.replicator.cancelled() == 1).await;
    until("the permits are back", || {
        node.http_budget.snapshot().depth + node.replicator_budget.snapshot().depth == 0
    })
    .await;
}

#[actix::test]
async fn a_blocked_blob_is_asked_of_nobody() {
    let node = Node::up().await;
    let cid = node.replicator.seed(b"x", None);
    let block = Request::new("PUT", format!("/admin/blocked/{cid}")).token(crate::node::TOKEN);
    assert_eq!(node.send(block).await.status, 200);
    let path = format!("/retrieve/{cid}");
    let problem = node.get(&path).await.problem(451, "blocked");
    assert_eq!(problem["cid"], cid.to_string());
    assert_eq!(node.send(Request::new("HEAD", path)).await.status, 451);
    node.get(format!("/blobs/{cid}"))
        .await
        .problem(451, "blocked");
    assert_eq!(node.replicator.asked(), 0);
}
