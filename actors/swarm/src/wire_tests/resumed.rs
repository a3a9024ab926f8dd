//! `/bytecave/retrieve/2.0.0` between real swarms: blobs from any byte on, given up in the middle, and
//! from peers that lie.

use std::time::Duration;

use bytecave_core::{BlobCid, BlobRoot};
use bytecave_messages::body::{BlobBody, BodyError, BodyStream};
use bytecave_messages::budget::{ActorName, Budget, Share};
use bytecave_messages::cancel::cancellation;
use bytecave_messages::store::ByteRange;
use bytecave_messages::swarm::{RefusalKind, RemoteBlob, SwarmError};
use bytes::Bytes;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;

use super::clients::{client, collect, permit};
use super::host::{Host, limits, two};
use super::replicator::{LONG, Node, until};
use crate::wire::counters::TurnedAway;
use crate::wire::frame;
use crate::wire::v2::header::{HEADER_BYTES, Header};
use crate::wire::v2::{BLOB_BYTES_MAX, Kind};

fn stream(blob: RemoteBlob) -> BodyStream {
    match blob.body {
        BlobBody::Stream(stream) => stream,
        BlobBody::Whole(_) => panic!("it came whole"),
    }
}

fn content(len: usize) -> Vec<u8> {
    (0..len)
        .map(|at| (at / 251 + at).to_le_bytes()[0])
        .collect()
}

/// Answers each stream with these bytes after it has read the question, and then stays as it is until
/// the asker is gone.
fn says(host: &Host, bytes: Vec<u8>, closes: bool) {
    let mut incoming = host.control.accept(Kind::Retrieve.protocol());
    tokio::spawn(async move {
        while let Some(mut inbound) = incoming.next().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let _ = Header::read_within(&mut inbound.stream, LONG).await;
                let _ = inbound.stream.write_all(&bytes).await;
                let _ = inbound.stream.flush().await;
                if closes {
                    let _ = inbound.stream.close().await;
                }
                let _ = inbound.stream.read(&mut [0; 1]).await;
            });
        }
    });
}

fn head(from: u64, len: u64, size: u64) -> Header {
    Header {
        from: Some(from),
        len: Some(len),
        size: Some(size),
        blob_root: Some(BlobRoot::new([7; 32])),
        ..Header::default()
    }
}

fn piece(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&length, bytes].concat()
}

#[actix::test]
async fn a_blob_comes_whole_or_from_any_byte_on() {
    let node = Node::new().await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    // Larger than the first version carries.
    let bytes = content(40 << 20);
    let cid = node.has(&bytes, Some("text/plain"));
    for from in [0, 1, 262_144, 30 << 20, (40 << 20) - 1, 40 << 20] {
        let blob = client.retrieve(peer, cid, from, permit()).await.unwrap();
        assert_eq!((blob.size, blob.offset), (40 << 20, from));
        assert_eq!(blob.content_type.as_deref(), Some("text/plain"));
        assert_eq!(blob.blob_root, Some(bytecave_core::tree::blob_root(&bytes)));
        let stream = stream(blob);
        assert_eq!(stream.stated_len(), Some((40 << 20) - from));
        let came = collect(stream).await.unwrap();
        assert!(
            came == bytes[usize::try_from(from).unwrap()..],
            "from {from}"
        );
    }
    let ranges = std::mem::take(&mut node.kitchen.lock().unwrap().ranges);
    assert_eq!(ranges[..2], [None, Some(ByteRange::From(1))]);
    let empty = node.has(b"", None);
    let blob = client.retrieve(peer, empty, 0, permit()).await.unwrap();
    assert_eq!(collect(stream(blob)).await, Ok(Bytes::new()));
    until(|| node.budget.snapshot().depth == 0).await;
    assert_eq!(node.memory.used_bytes(), 0, "no memory of whole bodies");
}

#[actix::test]
async fn a_part_is_given_to_whoever_states_its_length() {
    let node = Node::new().await;
    let cid = node.has(b"0123456789", None);
    let ask = async |from, len| {
        let mut stream = node.open_ours(Kind::Retrieve).await;
        let question = Header {
            cid: Some(cid),
            from,
            len,
            ..Header::default()
        };
        stream.write_all(&question.frame()).await.unwrap();
        stream.flush().await.unwrap();
        let head = Header::read_within(&mut stream, LONG).await.unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).await.unwrap();
        (head, rest)
    };
    let (head, rest) = ask(Some(2), Some(3)).await;
    assert_eq!(
        (head.from, head.len, head.size),
        (Some(2), Some(3), Some(10))
    );
    assert_eq!(rest, piece(b"234"));
    let (head, rest) = ask(None, Some(100)).await;
    assert_eq!((head.from, head.len), (Some(0), Some(10)));
    assert_eq!(rest, piece(b"0123456789"));
    for (from, len) in [(None, Some(0)), (Some(u64::MAX), Some(2)), (Some(11), None)] {
        let (head, rest) = ask(from, len).await;
        let refused = head.refused.unwrap();
        assert_eq!((refused.kind, rest.len()), (RefusalKind::Invalid, 0));
    }
}

#[actix::test]
async fn a_question_in_single_bytes_is_understood() {
    let node = Node::new().await;
    let cid = node.has(b"hello", None);
    let mut stream = node.open_ours(Kind::Retrieve).await;
    let question = Header {
        cid: Some(cid),
        ..Header::default()
    };
    for byte in question.frame() {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    let head = Header::read_within(&mut stream, LONG).await.unwrap();
    assert_eq!(head.len, Some(5));
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, piece(b"hello"));
}

#[actix::test]
async fn every_refusal_keeps_its_kind() {
    let node = Node::new().await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let cid = node.has(b"hello", None);
    let unknown = client.retrieve(peer, BlobCid::of(b"x"), 0, permit()).await;
    assert_eq!(unknown.unwrap_err(), SwarmError::NotFound { peer });
    let behind = client.retrieve(peer, cid, 6, permit()).await.unwrap_err();
    let SwarmError::Refused { kind, reason, .. } = behind else {
        panic!("{behind}");
    };
    assert_eq!(kind, RefusalKind::Invalid);
    assert!(reason.starts_with("Invalid request"), "{reason}");
    node.kitchen.lock().unwrap().deaf = true;
    let busy = client.retrieve(peer, cid, 0, permit()).await;
    assert_eq!(busy.unwrap_err(), SwarmError::Busy { peer });
}

#[actix::test]
async fn nonsense_and_silence_are_answered_in_the_form_of_the_protocol() {
    let node = Node::with(|setup| {
        setup.settings.request_timeout = Duration::from_secs(1);
    })
    .await;
    let long = u32::try_from(HEADER_BYTES + 1).unwrap().to_be_bytes();
    for kind in [Kind::Retrieve, Kind::Replicate] {
        for said in [&b""[..], &[0, 0, 0, 1, 0xff], &[0, 0, 0, 1, 0xa0], &long] {
            let mut stream = node.open_ours(kind).await;
            stream.write_all(said).await.unwrap();
            stream.flush().await.unwrap();
            let head = Header::read_within(&mut stream, LONG).await.unwrap();
            assert_eq!(head.refused.unwrap().kind, RefusalKind::Invalid, "{said:?}");
        }
    }
    until(|| node.budget.snapshot().depth == 0).await;
}

#[actix::test]
async fn who_asks_too_often_is_told_to_wait() {
    let node = Node::with(|setup| {
        setup.settings.requests_per_second_per_peer = 1;
        setup.settings.request_burst_per_peer = 2;
    })
    .await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let cid = node.has(b"hello", None);
    // Ten of these count as one.
    let mut outcomes = Vec::new();
    for _ in 0..100 {
        outcomes.push(client.retrieve(peer, cid, 0, permit()).await.err());
    }
    assert!(outcomes[..20].iter().all(Option::is_none));
    assert!(outcomes.contains(&Some(SwarmError::Busy { peer })));
}

#[actix::test]
async fn a_stream_without_a_place_is_told_busy() {
    let node = Node::with(|setup| setup.limits.per_peer = 1).await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let _idle = node.open_ours(Kind::Replicate).await;
    until_in_service(&node).await;
    let cid = node.has(b"hello", None);
    let busy = client.retrieve(peer, cid, 0, permit()).await;
    assert_eq!(busy.unwrap_err(), SwarmError::Busy { peer });
    let turned_away = node.host.counters.turned_away_so_far(TurnedAway::PeerLimit);
    assert_eq!(turned_away, 1);
}

/// Until the node serves somebody.
async fn until_in_service(node: &Node) {
    let idle = node.tracker.len();
    // Each door has a task; a stream in service is one more.
    let doors = crate::wire::v1::Kind::ALL.len() + Kind::ALL.len();
    assert!(idle >= doors);
    until(|| node.tracker.len() > doors).await;
}

#[actix::test]
async fn damage_on_the_way_is_no_end() {
    let node = Node::new().await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let cid = node.has(&content(1_000_000), None);
    node.kitchen.lock().unwrap().damaged = true;
    let blob = client.retrieve(peer, cid, 0, permit()).await.unwrap();
    let broken = collect(stream(blob)).await;
    assert_eq!(broken, Err(BodyError::Stopped { received: 999_999 }));
    until(|| node.budget.snapshot().depth == 0).await;
}

#[actix::test]
async fn a_peer_that_lies_is_known_by_it() {
    for lie in [
        head(1, 4, 5),
        head(0, 4, 5),
        head(0, 6, 5),
        head(0, BLOB_BYTES_MAX + 1, BLOB_BYTES_MAX + 1),
        head(0, u64::MAX, u64::MAX),
        Header {
            blob_root: None,
            ..head(0, 5, 5)
        },
        Header {
            size: None,
            ..head(0, 5, 5)
        },
        Header::default(),
    ] {
        let (asker, host) = two(limits()).await;
        says(&host, lie.frame(), true);
        let cid = BlobCid::of(b"x");
        let client = client(&asker, LONG);
        let error = client.retrieve(host.id, cid, 0, permit()).await;
        let error = error.unwrap_err();
        assert!(matches!(error, SwarmError::BadAnswer { .. }), "{error}");
    }
}

#[actix::test]
async fn a_body_that_is_not_as_stated_ends_in_an_error() {
    let long = u32::MAX.to_be_bytes().to_vec();
    for (body, malformed) in [
        (piece(b"abcd"), false),
        (Vec::new(), false),
        (piece(b""), false),
        (piece(b"abcdef"), true),
        ([piece(b"abcde"), piece(b"f")].concat(), true),
        (long, true),
    ] {
        let (asker, host) = two(limits()).await;
        says(&host, [head(0, 5, 5).frame(), body].concat(), true);
        let cid = BlobCid::of(b"x");
        let client = client(&asker, LONG);
        let blob = client.retrieve(host.id, cid, 0, permit());
        let ended = collect(stream(blob.await.unwrap())).await.unwrap_err();
        assert_eq!(
            matches!(ended, BodyError::Malformed { .. }),
            malformed,
            "{ended}"
        );
    }
}

#[actix::test]
async fn a_peer_that_stalls_is_left_and_the_permit_comes_back() {
    let (asker, host) = two(limits()).await;
    says(&host, [head(0, 5, 5).frame(), vec![0, 0]].concat(), false);
    let hasty = client(&asker, Duration::from_millis(300));
    let budget = Budget::new(ActorName::Swarm, 64);
    let permit = budget.try_acquire(Share::Client, "retrieve").unwrap();
    let cid = BlobCid::of(b"x");
    let blob = hasty.retrieve(host.id, cid, 0, permit).await.unwrap();
    assert_eq!(budget.snapshot().depth, 1);
    let ended = collect(stream(blob)).await;
    assert_eq!(ended, Err(BodyError::TooSlow { received: 0 }));
    until(|| budget.snapshot().depth == 0).await;
}

/// Streams whose other end is watched: whether it is reset.
fn watched(host: &Host, head: Header) -> tokio::sync::mpsc::Receiver<Stream> {
    let mut incoming = host.control.accept(Kind::Retrieve.protocol());
    let (sender, streams) = tokio::sync::mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(mut inbound) = incoming.next().await {
            let _ = Header::read_within(&mut inbound.stream, LONG).await;
            let _ = frame::write_all(&mut inbound.stream, &head.frame()).await;
            let _ = sender.send(inbound.stream).await;
        }
    });
    streams
}

/// Writes until the other end does not want it any more.
async fn until_reset(mut stream: Stream) {
    let write = async {
        let bytes = piece(&[7; 10_000]);
        while stream.write_all(&bytes).await.is_ok() && stream.flush().await.is_ok() {}
    };
    tokio::time::timeout(LONG, write).await.unwrap();
}

#[actix::test]
async fn a_dropped_body_resets_the_stream_and_frees_the_permit() {
    let (asker, host) = two(limits()).await;
    let mut streams = watched(&host, head(0, 1 << 40, 1 << 40));
    let budget = Budget::new(ActorName::Swarm, 64);
    let permit = budget.try_acquire(Share::Client, "retrieve").unwrap();
    let cid = BlobCid::of(b"x");
    let client = client(&asker, LONG);
    let blob = client.retrieve(host.id, cid, 0, permit).await.unwrap();
    let other_end = streams.recv().await.unwrap();
    drop(blob);
    until(|| budget.snapshot().depth == 0).await;
    until_reset(other_end).await;
}

#[actix::test]
async fn a_cancelled_fetch_resets_the_stream_and_frees_the_permit() {
    let (asker, host) = two(limits()).await;
    // Accepted, and not answered.
    let mut incoming = host.control.accept(Kind::Retrieve.protocol());
    let budget = Budget::new(ActorName::Swarm, 64);
    let permit = budget.try_acquire(Share::Client, "retrieve").unwrap();
    let (waiting, cancelled) = cancellation();
    let client = client(&asker, LONG);
    let peer = host.id;
    let asked = tokio::spawn(async move {
        let asked = client.retrieve(peer, BlobCid::of(b"x"), 0, permit);
        cancelled.unless(asked).await.is_none()
    });
    let inbound = incoming.next().await.unwrap();
    drop(waiting);
    assert!(asked.await.unwrap(), "given up");
    until(|| budget.snapshot().depth == 0).await;
    until_reset(inbound.stream).await;
}

#[actix::test]
async fn who_reads_nothing_of_a_blob_is_cut_off() {
    let node = Node::with(|setup| {
        setup.settings.request_timeout = Duration::from_secs(1);
        setup.limits.per_peer = 1;
    })
    .await;
    let bytes = content(40 << 20);
    let cid = node.has(&bytes, None);
    let mut stream = node.open_ours(Kind::Retrieve).await;
    let question = Header {
        cid: Some(cid),
        ..Header::default()
    };
    stream.write_all(&question.frame()).await.unwrap();
    stream.flush().await.unwrap();
    let doors = crate::wire::v1::Kind::ALL.len() + Kind::ALL.len();
    until(|| node.kitchen.lock().unwrap().ranges.len() == 1).await;
    until(|| node.tracker.len() == doors).await;
    // What was in the windows is all that came.
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    assert!(rest.len() < 8 << 20, "{}", rest.len());
    // The place is free for others.
    let client = client(&node.asker, LONG);
    let blob = client.retrieve(node.host.id, cid, 0, permit()).await;
    drop(blob.unwrap());
}
