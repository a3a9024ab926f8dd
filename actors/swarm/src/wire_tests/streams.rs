//! Streams between two swarms: none is lost without an answer.

use std::time::Duration;

use futures_util::future::join_all;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use libp2p::{Stream, StreamProtocol};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};

use super::host::{Host, limits, two};
use crate::wire::counters::{TurnedAway, WireCounters};
use crate::wire::frame;
use crate::wire::streams::{InboundStream, Incoming, OpenError, StreamLimits, Streams};
use crate::wire::v1::BUSY;

/// A protocol of these tests; turned away in the form of those that state no success.
const ECHO: StreamProtocol = StreamProtocol::new("/bytecave/echo/1.0.0");
const TIME: Duration = Duration::from_mins(1);

/// Sends `{}` and reads the answer; an error if there is none.
async fn ask(host: &Host, of: &Host) -> Result<Value, String> {
    let opened = host.control.open(&of.id, &[ECHO]).await;
    let mut stream = opened.map_err(|error| error.to_string())?.stream;
    let sent = frame::write(&mut stream, &frame::encode(&json!({})), TIME).await;
    sent.map_err(|error| error.to_string())?;
    let _ = stream.close().await;
    let answer = frame::read(&mut stream, 1000, TIME).await;
    let answer = answer.map_err(|error| error.to_string())?;
    serde_json::from_slice(&answer).map_err(|error| error.to_string())
}

async fn answer(inbound: InboundStream) {
    let InboundStream {
        mut stream, slot, ..
    } = inbound;
    frame::read(&mut stream, 1000, TIME).await.unwrap();
    let answer = frame::encode(&json!({"ok": true}));
    frame::write(&mut stream, &answer, TIME).await.unwrap();
    frame::finish(stream).await;
    drop(slot);
}

fn serve(mut incoming: Incoming) {
    tokio::spawn(async move {
        while let Some(inbound) = incoming.next().await {
            tokio::spawn(answer(inbound));
        }
    });
}

fn roomy() -> StreamLimits {
    StreamLimits {
        accept_queue: 2000,
        per_peer: 2000,
        ..limits()
    }
}

#[tokio::test]
async fn of_many_streams_at_once_none_is_lost() {
    for count in [64, 1000] {
        let (asker, server) = two(roomy()).await;
        serve(server.control.accept(ECHO));
        let answers = join_all((0..count).map(|_| ask(&asker, &server))).await;
        let served = answers
            .iter()
            .filter(|answer| **answer == Ok(json!({"ok": true})));
        assert_eq!(
            served.count(),
            count,
            "{:?}",
            answers.iter().find(|answer| answer.is_err())
        );
        assert_eq!(server.counters.turned_away_so_far(TurnedAway::Reset), 0);
    }
}

#[tokio::test]
async fn those_beyond_the_peers_share_are_told_so_and_the_others_are_served() {
    const COUNT: usize = 1000;
    const SHARE: usize = 16;
    let (asker, server) = two(StreamLimits {
        per_peer: SHARE,
        ..limits()
    })
    .await;
    let mut incoming = server.control.accept(ECHO);
    let (release, released) = oneshot::channel::<()>();
    // Holds what it takes until all others have their answer.
    let hold = tokio::spawn(async move {
        let mut held = Vec::new();
        while held.len() < SHARE {
            held.push(incoming.next().await.unwrap());
        }
        released.await.unwrap();
        join_all(held.into_iter().map(answer)).await;
        incoming
    });
    let (report, mut reports) = mpsc::channel(COUNT);
    let asking = join_all((0..COUNT).map(|_| async {
        let answer = ask(&asker, &server).await;
        report.send(answer.clone()).await.unwrap();
        answer
    }));
    let wait = async {
        for _ in 0..COUNT - SHARE {
            assert_eq!(reports.recv().await.unwrap(), Ok(json!({"error": BUSY})));
        }
        release.send(()).unwrap();
    };
    let (answers, ()) = tokio::join!(asking, wait);
    let served = answers
        .iter()
        .filter(|answer| **answer == Ok(json!({"ok": true})));
    assert_eq!(served.count(), SHARE);
    let counted = |reason| server.counters.turned_away_so_far(reason);
    assert_eq!(counted(TurnedAway::PeerLimit), (COUNT - SHARE) as u64);
    assert_eq!(counted(TurnedAway::Reset), 0);
    // The places are free again.
    serve(hold.await.unwrap());
    assert_eq!(ask(&asker, &server).await, Ok(json!({"ok": true})));
}

#[tokio::test]
async fn a_full_queue_turns_away_and_keeps_what_it_has() {
    let (asker, server) = two(StreamLimits {
        accept_queue: 4,
        ..limits()
    })
    .await;
    let incoming = server.control.accept(ECHO);
    let (report, mut reports) = mpsc::channel(20);
    let asking = join_all((0..20).map(|_| async {
        report.send(ask(&asker, &server).await).await.unwrap();
    }));
    let wait = async {
        for _ in 0..16 {
            assert_eq!(reports.recv().await.unwrap(), Ok(json!({"error": BUSY})));
        }
        serve(incoming);
        for _ in 0..4 {
            assert_eq!(reports.recv().await.unwrap(), Ok(json!({"ok": true})));
        }
    };
    tokio::join!(asking, wait);
    assert_eq!(server.counters.turned_away_so_far(TurnedAway::Full), 16);
}

#[tokio::test]
async fn the_node_has_a_bound_too() {
    let (asker, server) = two(StreamLimits {
        total: 3,
        ..limits()
    })
    .await;
    let mut incoming = server.control.accept(ECHO);
    let mut held = Vec::new();
    let mut streams = Vec::new();
    for _ in 0..3 {
        streams.push(asker.control.open(&server.id, &[ECHO]).await.unwrap());
        held.push(incoming.next().await.unwrap());
    }
    assert_eq!(ask(&asker, &server).await, Ok(json!({"error": BUSY})));
    held.pop();
    let (answered, ()) = tokio::join!(ask(&asker, &server), async {
        answer(incoming.next().await.unwrap()).await;
    });
    assert_eq!(answered, Ok(json!({"ok": true})));
}

#[tokio::test]
async fn without_a_lane_a_stream_is_reset_and_does_not_hang() {
    let (asker, server) = two(StreamLimits {
        per_peer: 0,
        busy_lane: 0,
        ..limits()
    })
    .await;
    let _incoming = server.control.accept(ECHO);
    assert!(ask(&asker, &server).await.is_err());
    assert_eq!(server.counters.turned_away_so_far(TurnedAway::Reset), 1);
}

#[tokio::test]
async fn a_peer_that_goes_away_takes_its_streams_with_it_and_no_place() {
    let (asker, server) = two(StreamLimits {
        per_peer: 8,
        ..limits()
    })
    .await;
    let mut incoming = server.control.accept(ECHO);
    for _ in 0..3 {
        let mut theirs = Vec::new();
        let mut ours: Vec<Stream> = Vec::new();
        for _ in 0..8 {
            ours.push(
                asker
                    .control
                    .open(&server.id, &[ECHO])
                    .await
                    .unwrap()
                    .stream,
            );
            theirs.push(incoming.next().await.unwrap());
        }
        asker.disconnect(&server.id).await;
        for inbound in &mut theirs {
            let end = inbound.stream.read(&mut [0; 1]).await;
            assert!(!matches!(end, Ok(1..)), "{end:?}");
        }
        for stream in &mut ours {
            let end = stream.read(&mut [0; 1]).await;
            assert!(!matches!(end, Ok(1..)), "{end:?}");
        }
        drop(theirs);
        assert!(asker.dial(&server.address).await);
    }
    serve(incoming);
    assert_eq!(ask(&asker, &server).await, Ok(json!({"ok": true})));
}

#[tokio::test]
async fn the_places_of_a_peer_outlive_its_connection() {
    let (asker, server) = two(StreamLimits {
        per_peer: 2,
        ..limits()
    })
    .await;
    let mut incoming = server.control.accept(ECHO);
    let mut held = Vec::new();
    for _ in 0..2 {
        let _stream = asker.control.open(&server.id, &[ECHO]).await.unwrap();
        held.push(incoming.next().await.unwrap());
    }
    asker.disconnect(&server.id).await;
    for inbound in &mut held {
        let _ = inbound.stream.read(&mut [0; 1]).await;
    }
    assert!(asker.dial(&server.address).await);
    // Still in service, so that nobody doubles his share by coming again.
    assert_eq!(ask(&asker, &server).await, Ok(json!({"error": BUSY})));
}

#[tokio::test]
async fn the_first_protocol_that_both_speak_is_taken() {
    let (asker, server) = two(limits()).await;
    let _incoming = server.control.accept(ECHO);
    let other = StreamProtocol::new("/bytecave/other/1.0.0");
    let opened = asker.control.open(&server.id, &[other.clone(), ECHO]).await;
    assert_eq!(opened.unwrap().protocol, ECHO);
    let opened = asker.control.open(&server.id, &[other]).await;
    assert_eq!(opened.unwrap_err(), OpenError::Unsupported);
}

#[tokio::test]
async fn a_protocol_that_nobody_serves_any_more_is_not_offered() {
    let server = Host::new(limits()).await;
    drop(server.control.accept(ECHO));
    assert!(server.control.protocols().is_empty());
    let older = server.control.accept(ECHO);
    let newer = server.control.accept(ECHO);
    drop(older);
    assert_eq!(*server.control.protocols(), [ECHO]);
    drop(newer);
    assert!(server.control.protocols().is_empty());
}

#[tokio::test]
async fn a_known_peer_is_dialled_once_for_all_who_ask() {
    let (asker, server) = (Host::new(limits()).await, Host::new(roomy()).await);
    serve(server.control.accept(ECHO));
    asker.learn(&server.id, &server.address);
    let answers = join_all((0..100).map(|_| ask(&asker, &server))).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
}

#[tokio::test]
async fn a_peer_that_cannot_be_reached_is_an_error_that_says_why() {
    let (asker, server) = (Host::new(limits()).await, Host::new(limits()).await);
    let unknown = asker.control.open(&server.id, &[ECHO]).await.unwrap_err();
    assert!(
        matches!(&unknown, OpenError::Unreachable(why) if why.contains("no address")),
        "{unknown}"
    );
    // Nobody listens at the port of a listener that was dropped.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let dead = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
    asker.learn(&server.id, &dead);
    let dead = asker.control.open(&server.id, &[ECHO]).await.unwrap_err();
    assert!(matches!(dead, OpenError::Unreachable(_)), "{dead}");
}

#[tokio::test]
async fn when_the_network_is_gone_the_doors_say_so() {
    let (streams, control) = Streams::new(limits(), WireCounters::default());
    let mut incoming = control.accept(ECHO);
    drop(streams);
    assert!(incoming.next().await.is_none());
    let (_, other) = two(limits()).await;
    let error = control.open(&other.id, &[ECHO]).await.unwrap_err();
    assert_eq!(error, OpenError::Stopped);
}
