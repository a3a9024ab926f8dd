//! What happens when a bound is reached.

use std::time::Duration;

use bytecave_messages::budget::Share;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Request, read_answer};
use crate::fake_store::content_of_len;
use crate::node::{Node, until};

#[actix::test]
async fn a_full_store_sheds_with_503_counts_by_kind_and_recovers_at_once() {
    let node = Node::with(|setup| setup.store_mailbox = 1).await;
    let cid = node.store.seed(b"x", None);
    node.store.hold(true);
    let address = node.address;
    let held = actix::spawn(Request::get(format!("/retrieve/{cid}")).send(address));
    until("the first is in the mailbox", || {
        node.store_budget.snapshot().depth == 1
    })
    .await;
    let shed = node.get(format!("/retrieve/{cid}")).await;
    let problem = shed.problem(503, "mailbox_full");
    assert_eq!(problem["actor"], "store");
    assert_eq!(problem["retryable"], true);
    assert_eq!(shed.header("retry-after"), Some("1"));
    node.send(Request::post("/store", "y"))
        .await
        .problem(503, "mailbox_full");
    let actors = node.get("/actors").await.json();
    let store = &actors["actors"][0];
    assert_eq!(store["actor"], "store");
    assert_eq!(store["state"], "ready");
    assert_eq!(store["capacity"], 1);
    assert_eq!(store["depth"], 1);
    assert_eq!(store["kinds"]["get"]["shed"], 1);
    assert_eq!(store["kinds"]["get"]["depth"], 1);
    assert_eq!(store["kinds"]["put"]["shed"], 1);
    let shed = "bytecave_mailbox_shed_total{actor=\"store\",kind=\"get\"}";
    assert_eq!(node.metric(shed).await, Some(1.0));
    node.store.hold(false);
    assert_eq!(held.await.unwrap().status, 200);
    until("the permit is back", || {
        node.store_budget.snapshot().depth == 0
    })
    .await;
    assert_eq!(node.get(format!("/retrieve/{cid}")).await.status, 200);
}

#[actix::test]
async fn a_full_http_mailbox_sheds_and_still_answers_who_watches() {
    let node = Node::with(|setup| setup.http_mailbox = 1).await;
    let held = node.http_budget.try_acquire(Share::Client, "held").unwrap();
    let problem = node.get("/info").await.problem(503, "mailbox_full");
    assert_eq!(problem["actor"], "http");
    for path in ["/live", "/ready", "/health", "/metrics"] {
        assert_eq!(node.get(path).await.status, 200, "{path}");
    }
    drop(held);
    assert_eq!(node.get("/info").await.status, 200);
}

#[actix::test]
async fn a_request_is_in_flight_until_its_last_byte_is_taken() {
    let node = Node::up().await;
    let cid = node.store.seed(&content_of_len(64_000_000), None);
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let request = Request::get(format!("/retrieve/{cid}"));
    stream.write_all(&request.head(node.address)).await.unwrap();
    stream.read_u8().await.unwrap();
    assert_eq!(node.http_budget.snapshot().depth, 1);
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert!(rest.len() > 64_000_000);
    until("the permit is back", || {
        node.http_budget.snapshot().depth == 0
    })
    .await;
}

#[actix::test]
async fn a_client_that_does_not_take_its_answer_is_cut_off() {
    let node = Node::with(|setup| {
        setup.settings.body_idle_timeout = Duration::from_millis(200);
    })
    .await;
    let cid = node.store.seed(&content_of_len(64_000_000), None);
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let request = Request::get(format!("/retrieve/{cid}"));
    stream.write_all(&request.head(node.address)).await.unwrap();
    stream.read_u8().await.unwrap();
    until("its permits are back", || {
        node.http_budget.snapshot().depth + node.store_budget.snapshot().depth == 0
    })
    .await;
}

#[actix::test]
async fn a_head_that_does_not_end_is_cut_off_on_any_request_of_a_connection() {
    let node = Node::with(|setup| {
        setup.settings.header_timeout = Duration::from_millis(200);
    })
    .await;
    let mut first = TcpStream::connect(node.address).await.unwrap();
    first
        .write_all(b"GET /live HTTP/1.1\r\nHost: loc")
        .await
        .unwrap();
    let mut answer = Vec::new();
    first.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");

    let mut second = TcpStream::connect(node.address).await.unwrap();
    let request = Request::get("/live").header("Connection", "keep-alive");
    second.write_all(&request.head(node.address)).await.unwrap();
    assert_eq!(read_answer(&mut second, false).await.status, 200);
    second
        .write_all(b"GET /live HTTP/1.1\r\nHost: loc")
        .await
        .unwrap();
    let mut rest = Vec::new();
    second.read_to_end(&mut rest).await.unwrap();
}

#[actix::test]
async fn a_connection_serves_many_requests() {
    let node = Node::up().await;
    let cid = node.store.seed(&content_of_len(100_000), None);
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    for round in 0..20 {
        let request = match round % 3 {
            0 => Request::get(format!("/retrieve/{cid}")),
            1 => Request::post("/store", content_of_len(round)),
            _ => Request::get("/nowhere"),
        };
        let request = request.header("Connection", "keep-alive");
        let mut wire = request.head(node.address);
        if round % 3 == 1 {
            wire.extend(content_of_len(round));
        }
        stream.write_all(&wire).await.unwrap();
        let answer = read_answer(&mut stream, false).await;
        assert!(
            matches!(answer.status, 200 | 201 | 404),
            "{}",
            answer.status
        );
    }
}

#[actix::test]
async fn small_answers_leave_in_one_piece() {
    let node = Node::up().await;
    let cid = node.store.seed(&content_of_len(4096), None);
    let mut stream = TcpStream::connect(node.address).await.unwrap();
    let request = Request::get(format!("/retrieve/{cid}"));
    stream.write_all(&request.head(node.address)).await.unwrap();
    let mut buffer = vec![0; 16 * 1024];
    let len = stream.read(&mut buffer).await.unwrap();
    let text = String::from_utf8_lossy(&buffer[..len]).into_owned();
    let head = text.find("\r\n\r\n").unwrap();
    assert!(len > head + 4, "the body came with the head");
}
