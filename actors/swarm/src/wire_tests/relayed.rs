//! Over a relay nothing but what keeps the connection up.

use libp2p::StreamProtocol;
use libp2p::multiaddr::Protocol;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::oneshot;

use super::clients::client;
use super::host::{Host, limits};
use super::proofs::{challenge, proof};
use super::replicator::{LONG, Node};
use crate::wire::counters::TurnedAway;
use crate::wire::frame;
use crate::wire::handler::OpenRequest;
use crate::wire::streams::OpenError;
use crate::wire::v2;

const NAME: StreamProtocol = StreamProtocol::new("/bytecave/retrieve/1.0.0");

#[tokio::test]
async fn streams_over_a_relay_are_neither_opened_nor_served() {
    let (relay, one, other) = (
        Host::relay().await,
        Host::new(limits()).await,
        Host::new(limits()).await,
    );
    let _incoming = other.control.accept(NAME);
    let circuit = relay.address.clone().with(Protocol::P2pCircuit);
    assert!(other.listen(&circuit).await, "no reservation");
    let through = circuit.with_p2p(crate::ids::to_wire(&other.id)).unwrap();
    assert!(one.dial(&through).await);

    let refused = one.control.open(&other.id, &[NAME]).await.unwrap_err();
    assert!(
        matches!(&refused, OpenError::Unreachable(why) if why.contains("relay")),
        "{refused}"
    );

    // Whoever opens one all the same is told why it is not served.
    let (reply, opened) = oneshot::channel();
    let request = OpenRequest {
        protocols: vec![NAME],
        relayed: true,
        patience: Duration::from_mins(1),
        connected: None,
        reply,
    };
    one.force(&other.id, request).await;
    let mut stream = opened.await.unwrap().unwrap().stream;
    let answer = frame::read(&mut stream, 1000, Duration::from_mins(1))
        .await
        .unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        answer,
        json!({"success": false, "error": "not over a relayed connection: connect directly"})
    );
    assert_eq!(other.counters.turned_away_so_far(TurnedAway::Relayed), 1);

    // A direct connection beside it is used at once.
    assert!(one.dial(&other.address).await);
    assert!(one.control.open(&other.id, &[NAME]).await.is_ok());
}

#[actix::test]
async fn a_proof_is_small_enough_for_a_relay() {
    let (relay, node, one) = (
        Host::relay().await,
        Node::new().await,
        Host::new(limits()).await,
    );
    let circuit = relay.address.clone().with(Protocol::P2pCircuit);
    assert!(node.host.listen(&circuit).await, "no reservation");
    let peer = node.host.id;
    let through = circuit.with_p2p(crate::ids::to_wire(&peer)).unwrap();
    let bytes = vec![7; 100_000];
    let asked = challenge(node.has(&bytes, None), 32);
    let client = client(&one, LONG);

    // Dialled for the first, there for the second.
    one.learn(&peer, &through);
    for _ in 0..2 {
        let proven = client.challenge(peer, &asked, LONG).await;
        assert_eq!(proven, Ok(proof(&asked, &bytes)));
    }
    let streamed = v2::Kind::Retrieve.protocol();
    let refused = one.control.open(&peer, &[streamed]).await.unwrap_err();
    assert!(matches!(refused, OpenError::Unreachable(_)), "{refused}");
}
