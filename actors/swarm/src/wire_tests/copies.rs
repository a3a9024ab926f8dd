//! `/bytecave/replicate/2.0.0` between real swarms: copies that are refused before a byte flows, or
//! in the middle, and senders that do not send what they state.

use std::time::Duration;

use bytecave_core::tree::blob_root;
use bytecave_core::{BlobCid, BlobRoot, ShardCount};
use bytecave_messages::body::{self, BlobBody, BodyError};
use bytecave_messages::replicator::BlobFacts;
use bytecave_messages::swarm::{Admission, Refusal, RefusalKind, ReplicaSent, SwarmError};
use bytes::Bytes;
use futures_util::{AsyncReadExt, AsyncWriteExt};
use libp2p::Stream;

use super::clients::client;
use super::host::{limits, two};
use super::replicator::{LONG, Node, until};
use crate::wire::slow::SLOW_TRANSFERS_PER_PEER;
use crate::wire::v2::header::{Header, Word};
use crate::wire::v2::{BLOB_BYTES_MAX, Kind};

fn facts(bytes: &[u8]) -> BlobFacts {
    BlobFacts {
        cid: BlobCid::of(bytes),
        size: bytes.len() as u64,
        blob_root: blob_root(bytes),
        content_type: Some("text/plain".to_owned()),
    }
}

fn whole(bytes: &[u8]) -> BlobBody {
    BlobBody::Whole(Bytes::copy_from_slice(bytes))
}

/// A body that must not be asked for anything.
fn untouched() -> BlobBody {
    let (sender, stream) = body::stream(None);
    sender.fail(BodyError::StoreFailed);
    BlobBody::Stream(stream)
}

fn sent(already_stored: bool) -> ReplicaSent {
    ReplicaSent {
        already_stored,
        counted: true,
    }
}

#[actix::test]
async fn a_copy_is_brought_and_counted_and_not_brought_twice() {
    let node = Node::new().await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    // Larger than the first version carries, one piece, a part of one, and nothing.
    for size in [40 << 20, 262_144, 5, 0] {
        let bytes: Vec<u8> = (0..size).map(|at: usize| at.to_le_bytes()[1]).collect();
        let facts = facts(&bytes);
        let brought = client.send_replica(peer, &facts, whole(&bytes)).await;
        assert_eq!(brought, Ok(sent(false)));
        let stored = node.kitchen.lock().unwrap().blobs[&facts.cid].clone();
        assert!(stored.0 == bytes);
        assert_eq!(stored.1.as_deref(), Some("text/plain"));
        let again = client.send_replica(peer, &facts, untouched()).await;
        assert_eq!(again, Ok(sent(true)));
    }
    let offers = std::mem::take(&mut node.kitchen.lock().unwrap().offers);
    assert_eq!(offers.len(), 4);
    assert!(offers[0].0.blob_root.is_some());
    until(|| node.budget.snapshot().depth == 0).await;
    assert_eq!(node.memory.used_bytes(), 0, "no memory of whole bodies");
}

#[actix::test]
async fn a_refusal_comes_before_the_bytes_and_keeps_its_kind() {
    let shard = ShardCount::new(16).unwrap().shard(3).unwrap();
    for (refusal, kind) in [
        (Refusal::NotOurShard(shard), RefusalKind::NotOurShard),
        (Refusal::Full, RefusalKind::Full),
        (Refusal::Declined, RefusalKind::Declined),
        (Refusal::Blocked, RefusalKind::Blocked),
    ] {
        let node = Node::new().await;
        node.kitchen.lock().unwrap().refuses = Some((refusal.clone(), None));
        let client = client(&node.asker, LONG);
        let refused = client
            .send_replica(node.host.id, &facts(b"x"), untouched())
            .await;
        let expected = SwarmError::Refused {
            peer: node.host.id,
            kind,
            reason: refusal.to_string(),
        };
        assert_eq!(refused, Err(expected));
    }
}

#[actix::test]
async fn who_is_not_admitted_or_comes_to_a_busy_node_hears_so() {
    let why = "this node takes no replicas";
    let node = Node::with(|setup| setup.admission = Admission::Nobody(why)).await;
    let client = client(&node.asker, LONG);
    let refused = client
        .send_replica(node.host.id, &facts(b"x"), untouched())
        .await;
    assert!(
        matches!(
            refused,
            Err(SwarmError::Refused {
                kind: RefusalKind::NotAdmitted,
                ..
            })
        ),
        "{refused:?}"
    );
    let node = Node::new().await;
    node.kitchen.lock().unwrap().deaf = true;
    let client = super::clients::client(&node.asker, LONG);
    let peer = node.host.id;
    let busy = client.send_replica(peer, &facts(b"x"), untouched()).await;
    assert_eq!(busy, Err(SwarmError::Busy { peer }));
}

#[actix::test]
async fn a_refusal_in_the_middle_ends_the_sending() {
    let node = Node::new().await;
    node.kitchen.lock().unwrap().refuses = Some((Refusal::Full, Some(300_000)));
    let client = client(&node.asker, LONG);
    let peer = node.host.id;
    let bytes = vec![7; 20 << 20];
    let refused = client
        .send_replica(peer, &facts(&bytes), whole(&bytes))
        .await;
    assert!(
        matches!(
            refused,
            Err(SwarmError::Refused {
                kind: RefusalKind::Full,
                ..
            })
        ),
        "{refused:?}"
    );
    until(|| node.budget.snapshot().depth == 0).await;
}

#[actix::test]
async fn what_cannot_be_read_here_is_no_fault_of_the_peer() {
    let node = Node::new().await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let mut shorter = facts(b"hello");
    shorter.size = 4;
    let mut longer = facts(b"hello");
    longer.size = 6;
    for stated in [shorter, longer] {
        let error = client.send_replica(peer, &stated, whole(b"hello")).await;
        assert!(matches!(error, Err(SwarmError::Body(_))), "{error:?}");
    }
    let error = client
        .send_replica(peer, &facts(b"hello"), untouched())
        .await;
    assert_eq!(error, Err(SwarmError::Body(BodyError::StoreFailed)));
    // The other side heard that no more comes.
    until(|| node.kitchen.lock().unwrap().offers.len() == 3).await;
    let offers = std::mem::take(&mut node.kitchen.lock().unwrap().offers);
    assert!(
        offers
            .iter()
            .all(|(_, error)| matches!(error, Some(BodyError::Stopped { .. }))),
        "{offers:?}"
    );
    until(|| node.budget.snapshot().depth == 0).await;
}

/// A stream on which the node has said to go ahead with five bytes; the offer comes in such fragments.
async fn after_go_ahead(node: &Node, fragment: usize) -> Stream {
    let mut stream = node.open_ours(Kind::Replicate).await;
    let offer = Header {
        cid: Some(BlobCid::of(b"hello")),
        size: Some(5),
        blob_root: Some(BlobRoot::new([7; 32])),
        ..Header::default()
    };
    for piece in offer.frame().chunks(fragment) {
        stream.write_all(piece).await.unwrap();
        stream.flush().await.unwrap();
    }
    let answer = Header::read_within(&mut stream, LONG).await.unwrap();
    assert_eq!(answer.word, Some(Word::Send));
    stream
}

#[actix::test]
async fn bytes_one_by_one_are_a_copy() {
    let node = Node::new().await;
    let mut stream = after_go_ahead(&node, 1).await;
    for byte in b"\0\0\0\x02he\0\0\0\x03llo" {
        stream.write_all(&[*byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    stream.close().await.unwrap();
    let answer = Header::read_within(&mut stream, LONG).await.unwrap();
    assert_eq!(answer.word, Some(Word::Stored));
    assert_eq!(stream.read(&mut [0; 1]).await.unwrap(), 0);
}

#[actix::test]
async fn other_bytes_than_stated_are_no_copy() {
    let node = Node::with(|setup| {
        setup.settings.request_timeout = Duration::from_secs(1);
    })
    .await;
    for (said, closes) in [
        (&b"\0\0\0\x06hello!"[..], true),
        (b"\0\0\0\x05hello\0\0\0\x01!", true),
        (b"\0\0\0\x03hel\0\0\0\0", true),
        (b"\xff\xff\xff\xff", false),
        (b"\0\0\0\x05hel", false),
    ] {
        let mut stream = after_go_ahead(&node, 1000).await;
        stream.write_all(said).await.unwrap();
        stream.flush().await.unwrap();
        if closes {
            let _ = stream.close().await;
        }
        let answer = Header::read_within(&mut stream, LONG).await.unwrap();
        let refused = answer.refused.unwrap();
        assert_eq!(refused.kind, RefusalKind::Invalid, "{}", refused.text);
    }
    // Too few, and gone.
    let mut stream = after_go_ahead(&node, 1000).await;
    stream.write_all(b"\0\0\0\x03hel").await.unwrap();
    stream.close().await.unwrap();
    until(|| node.kitchen.lock().unwrap().offers.len() == 6).await;
    {
        let kitchen = node.kitchen.lock().unwrap();
        assert!(kitchen.offers.iter().all(|(_, error)| error.is_some()));
        assert!(kitchen.blobs.is_empty());
    }
    until(|| node.budget.snapshot().depth == 0).await;
}

#[actix::test]
async fn senseless_offers_are_refused() {
    let node = Node::new().await;
    let sensible = Header {
        cid: Some(BlobCid::of(b"hello")),
        size: Some(5),
        blob_root: Some(BlobRoot::new([7; 32])),
        ..Header::default()
    };
    for (offer, kind) in [
        (
            Header {
                cid: None,
                ..sensible.clone()
            },
            RefusalKind::Invalid,
        ),
        (
            Header {
                size: None,
                ..sensible.clone()
            },
            RefusalKind::Invalid,
        ),
        (
            Header {
                blob_root: None,
                ..sensible.clone()
            },
            RefusalKind::Invalid,
        ),
        (
            Header {
                size: Some(BLOB_BYTES_MAX + 1),
                ..sensible
            },
            RefusalKind::TooLarge,
        ),
    ] {
        let mut stream = node.open_ours(Kind::Replicate).await;
        stream.write_all(&offer.frame()).await.unwrap();
        stream.flush().await.unwrap();
        let answer = Header::read_within(&mut stream, LONG).await.unwrap();
        assert_eq!(answer.refused.unwrap().kind, kind);
    }
    assert!(node.kitchen.lock().unwrap().offers.is_empty());
}

#[actix::test]
async fn a_peer_of_the_first_version_gets_the_copy_in_its_form() {
    let node = Node::with(|setup| setup.first_version = true).await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let uncounted = |already_stored| ReplicaSent {
        already_stored,
        counted: false,
    };
    for size in [1_000_000_usize, 32 << 20] {
        let bytes: Vec<u8> = (0..size).map(|at| at.to_le_bytes()[0]).collect();
        let facts = facts(&bytes);
        let (mut sender, stream) = body::stream(None);
        let produce = async {
            for piece in bytes.chunks(99_999) {
                sender.send(Bytes::copy_from_slice(piece)).await.unwrap();
            }
            sender.finish();
        };
        let body = BlobBody::Stream(stream);
        let (brought, ()) = tokio::join!(client.send_replica(peer, &facts, body), produce);
        assert_eq!(brought, Ok(uncounted(false)));
        let again = client.send_replica(peer, &facts, whole(&bytes)).await;
        assert_eq!(again, Ok(uncounted(true)));
    }
    let mut large = facts(b"");
    large.size = (32 << 20) + 1;
    let error = client.send_replica(peer, &large, untouched()).await;
    assert!(
        matches!(error, Err(SwarmError::Unsupported { .. })),
        "{error:?}"
    );
}

#[actix::test]
async fn a_refusal_of_the_first_version_is_understood() {
    let why = "this node takes no replicas";
    let node = Node::with(|setup| {
        setup.first_version = true;
        setup.admission = Admission::Nobody(why);
    })
    .await;
    let client = client(&node.asker, LONG);
    let bytes = vec![7; 10 << 20];
    let refused = client
        .send_replica(node.host.id, &facts(&bytes), whole(&bytes))
        .await;
    assert!(
        matches!(
            refused,
            Err(SwarmError::Refused {
                kind: RefusalKind::NotAdmitted,
                ..
            })
        ),
        "{refused:?}"
    );
}

#[actix::test]
async fn a_receiver_that_stalls_is_left() {
    let (asker, host) = two(limits()).await;
    let mut incoming = host.control.accept(Kind::Replicate.protocol());
    let stalls = tokio::spawn(async move {
        let mut inbound = incoming.next().await.unwrap();
        let _ = Header::read_within(&mut inbound.stream, LONG).await;
        let go_ahead = Header::word(Word::Send).frame();
        inbound.stream.write_all(&go_ahead).await.unwrap();
        inbound.stream.flush().await.unwrap();
        inbound
    });
    let hasty = client(&asker, Duration::from_millis(300));
    let bytes = vec![7; 40 << 20];
    let error = hasty
        .send_replica(host.id, &facts(&bytes), whole(&bytes))
        .await;
    assert!(
        matches!(error, Err(SwarmError::TimedOut { .. })),
        "{error:?}"
    );
    drop(stalls.await.unwrap());
}

/// A body that comes in small pieces, each a moment after the last: over the minimum pace of a transfer
/// and below the one from which on it is slow.
fn dribble(bytes: &[u8]) -> BlobBody {
    let (mut sender, stream) = body::stream(Some(bytes.len() as u64));
    let pieces: Vec<_> = bytes.chunks(2048).map(Bytes::copy_from_slice).collect();
    actix::spawn(async move {
        for piece in pieces {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if sender.send(piece).await.is_err() {
                return;
            }
        }
        sender.finish();
    });
    BlobBody::Stream(stream)
}

#[actix::test]
async fn of_too_many_slow_copies_one_is_told_to_come_later() {
    let node = Node::with(|setup| setup.settings.request_timeout = Duration::from_secs(1)).await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let sent = futures_util::future::join_all((0..=SLOW_TRANSFERS_PER_PEER).map(|number| {
        let bytes = vec![u8::try_from(number).unwrap(); 200_000];
        let client = &client;
        async move {
            let facts = facts(&bytes);
            client.send_replica(peer, &facts, dribble(&bytes)).await
        }
    }))
    .await;
    let busy = Err(SwarmError::Busy { peer });
    let turned_away = sent.iter().filter(|sent| **sent == busy).count();
    let stored = sent.iter().filter(|sent| sent.is_ok()).count();
    assert_eq!(
        (stored, turned_away),
        (SLOW_TRANSFERS_PER_PEER, 1),
        "{sent:?}"
    );
}
