//! From the first answer to the last.

use std::time::Duration;

use bytecave_messages::budget::ActorName;
use bytecave_messages::http::CloseRoutes;
use bytecave_messages::lifecycle::{PartState, Stop};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{Request, read_answer};
use crate::fake_store::content_of_len;
use crate::node::{Node, until};

#[actix::test]
async fn until_the_store_is_open_only_live_answers() {
    let node = Node::starting(|_| ()).unwrap();
    assert_eq!(node.get("/live").await.status, 200);
    for request in [
        Request::get("/ready"),
        Request::get("/health"),
        Request::get("/info"),
        Request::get("/metrics"),
        Request::get("/blobs"),
        Request::get("/nowhere"),
        Request::post("/store", "x"),
    ] {
        let answer = node.send(request).await;
        answer.problem(503, "recovering");
        assert_eq!(answer.header("retry-after"), Some("1"));
    }
    let expecting = Request::post("/store", "x")
        .send_expecting(node.address)
        .await;
    assert!(!expecting.continued);
    expecting.problem(503, "recovering");
    node.open().await;
    assert_eq!(node.get("/ready").await.status, 200);
    assert_eq!(node.get("/health").await.json()["status"], "healthy");
}

#[actix::test]
async fn readiness_names_the_part_that_is_not_ready() {
    let node = Node::up().await;
    let reason = "there are no peers in this version".to_owned();
    node.tell_part(ActorName::Swarm, PartState::Disabled { reason })
        .await;
    let answer = node.get("/ready").await;
    assert_eq!(
        answer.status, 200,
        "what is switched off is as ready as it will be"
    );
    assert_eq!(answer.json()["parts"][0]["actor"], "swarm");
    assert_eq!(answer.json()["parts"][0]["state"], "disabled");
    node.tell_part(ActorName::Proof, PartState::Starting).await;
    let problem = node.get("/ready").await.problem(503, "not_ready");
    assert!(problem["detail"].as_str().unwrap().contains("proof"));
    node.tell_part(ActorName::Proof, PartState::Ready).await;
    assert_eq!(node.get("/ready").await.status, 200);
}

#[actix::test]
async fn closing_turns_readiness_off_and_still_serves() {
    let node = Node::up().await;
    let cid = node.store.seed(b"x", None);
    node.actor.send(CloseRoutes).await.unwrap();
    node.get("/ready").await.problem(503, "not_ready");
    assert_eq!(node.get(format!("/retrieve/{cid}")).await.status, 200);
    assert_eq!(node.get("/live").await.status, 200);
}

#[actix::test]
async fn an_address_that_is_taken_is_told_with_the_remedy() {
    let first = Node::starting(|_| ()).unwrap();
    let port = first.address.port();
    assert_ne!(port, 0, "the port that the system chose");
    let error = Node::starting(|setup| setup.settings.port = port)
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(text.contains(&first.address.to_string()), "{text}");
    assert!(text.contains("choose another PORT"), "{text}");
    let error = Node::starting(|setup| setup.settings.host = "192.0.2.1".parse().unwrap());
    let text = error.err().unwrap().to_string();
    assert!(
        text.contains("192.0.2.1") && text.contains("HOST"),
        "{text}"
    );
}

#[actix::test]
async fn a_stop_lets_requests_in_flight_finish_and_takes_no_new_ones() {
    let mut node = Node::up().await;
    let content = content_of_len(2_000_000);
    let request = Request::post("/store", content.clone());
    let mut uploading = TcpStream::connect(node.address).await.unwrap();
    uploading
        .write_all(&request.head(node.address))
        .await
        .unwrap();
    uploading.write_all(&content[..1000]).await.unwrap();
    let mut idle = TcpStream::connect(node.address).await.unwrap();
    let keep = Request::get("/live").header("Connection", "keep-alive");
    idle.write_all(&keep.head(node.address)).await.unwrap();
    assert_eq!(read_answer(&mut idle, false).await.status, 200);
    until("the upload is in flight", || {
        node.http_budget.snapshot().depth == 1
    })
    .await;

    let actor = node.actor.clone();
    let stopping = actix::spawn(async move { actor.send(Stop).await });
    // An idle connection ends at once; then the listener is known to be closing.
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
    assert!(!stopping.is_finished(), "an upload is in flight");
    uploading.write_all(&content[1000..]).await.unwrap();
    assert_eq!(read_answer(&mut uploading, false).await.status, 201);
    stopping.await.unwrap().unwrap();
    assert!(TcpStream::connect(node.address).await.is_err());
    until("the actor is gone", || !node.actor.connected()).await;
    assert!(node.deaths.try_recv().is_err(), "a stop is no death");
}

#[actix::test]
async fn a_stop_does_not_wait_longer_than_it_may() {
    let node = Node::with(|setup| setup.stop_timeout = Duration::from_secs(1)).await;
    let mut uploading = TcpStream::connect(node.address).await.unwrap();
    let request = Request::post("/store", vec![0; 1000]);
    uploading
        .write_all(&request.head(node.address))
        .await
        .unwrap();
    until("the upload is in flight", || {
        node.http_budget.snapshot().depth == 1
    })
    .await;
    let stopped = tokio::time::timeout(Duration::from_secs(20), node.actor.send(Stop)).await;
    stopped.expect("it stopped").unwrap();
    let mut rest = Vec::new();
    // Closed or reset: in any case no answer that looks whole.
    let _ = uploading.read_to_end(&mut rest).await;
    assert!(rest.is_empty());
}
