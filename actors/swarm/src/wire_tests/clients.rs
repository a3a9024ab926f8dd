//! Our questions, to honest peers and to others.

use std::time::Duration;

use bytecave_core::{BlobCid, PeerId, ShardRange};
use bytecave_messages::body::{BlobBody, BodyError, BodyStream};
use bytecave_messages::budget::{ActorName, Budget, Permit, Share};
use bytecave_messages::swarm::SwarmError;
use bytes::Bytes;
use futures_util::AsyncWriteExt;
use libp2p::StreamProtocol;

use super::host::{Host, limits, two};
use super::replicator::{LONG, Node};
use crate::memory::BodyMemory;
use crate::wire::client::Client;
use crate::wire::frame::{self, BLOB_FRAME_BYTES, MAX_BLOB_BYTES, SMALL_FRAME_BYTES};
use crate::wire::v1::{Kind, RELAY_PEERS, refusal};
use crate::wire::v2;

pub(super) fn client(host: &Host, patience: Duration) -> Client {
    let memory = BodyMemory::new(128 * 1024 * 1024);
    let budget = Budget::new(ActorName::Swarm, 64);
    Client::new(host.control.clone(), memory, budget, patience)
}

/// A blob whole, however it comes.
pub(super) struct Fetched {
    pub(super) bytes: Bytes,
    pub(super) content_type: Option<String>,
}

/// Fetches all of a blob.
pub(super) async fn fetch(
    client: &Client,
    peer: PeerId,
    cid: BlobCid,
) -> Result<Fetched, SwarmError> {
    let blob = client.retrieve(peer, cid, 0, permit()).await?;
    let content_type = blob.content_type;
    let bytes = match blob.body {
        BlobBody::Whole(bytes) => bytes,
        BlobBody::Stream(stream) => collect(stream).await.unwrap(),
    };
    assert_eq!((blob.offset, blob.size), (0, bytes.len() as u64));
    Ok(Fetched {
        bytes,
        content_type,
    })
}

/// The bytes of a stream, or why they end.
pub(super) async fn collect(mut stream: BodyStream) -> Result<Bytes, BodyError> {
    let mut bytes = Vec::new();
    while let Some(piece) = stream.next().await {
        bytes.extend_from_slice(&piece?);
    }
    Ok(bytes.into())
}

/// One of a budget that nobody looks at.
pub(super) fn permit() -> Permit {
    let budget = Budget::new(ActorName::Swarm, 64);
    budget.try_acquire(Share::Client, "retrieve").unwrap()
}

/// Answers each stream of the protocol with these bytes, after it has read a frame.
pub(super) fn says(host: &Host, protocol: StreamProtocol, bytes: Vec<u8>) {
    let mut incoming = host.control.accept(protocol);
    tokio::spawn(async move {
        while let Some(mut inbound) = incoming.next().await {
            if inbound.protocol != RELAY_PEERS {
                let _ = frame::read(&mut inbound.stream, SMALL_FRAME_BYTES, LONG).await;
            }
            let _ = inbound.stream.write_all(&bytes).await;
            frame::finish(inbound.stream).await;
        }
    });
}

#[actix::test]
async fn an_honest_peer_tells_and_gives() {
    let node = Node::new().await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let info = client.info(peer).await.unwrap();
    assert_eq!(info.version, "1.2.3");
    assert_eq!(info.shards, Some(vec![ShardRange { start: 0, end: 15 }]));
    assert_eq!((info.capacity, info.accepting), (Some(1000), Some(true)));
    assert_eq!(info.protocols.len(), Kind::ALL.len() + v2::Kind::ALL.len());

    let bytes = vec![0x5a; usize::try_from(MAX_BLOB_BYTES).unwrap()];
    for content in [b"hello".as_slice(), &bytes, b""] {
        let cid = node.has(content, Some("text/plain"));
        let blob = fetch(&client, peer, cid).await.unwrap();
        assert!(blob.bytes == content);
        assert_eq!(blob.content_type.as_deref(), Some("text/plain"));
    }
    let unknown = fetch(&client, peer, BlobCid::of(b"unknown")).await;
    assert_eq!(unknown.err(), Some(SwarmError::NotFound { peer }));
    node.kitchen.lock().unwrap().deaf = true;
    let busy = fetch(&client, peer, BlobCid::of(b"hello")).await;
    assert_eq!(busy.err(), Some(SwarmError::Busy { peer }));
}

#[actix::test]
async fn a_peer_that_knows_only_the_first_name_of_the_protocol_is_understood() {
    let (asker, peer) = two(limits()).await;
    let answer = b"{\"success\":true,\"ciphertext\":\"aGVsbG8=\",\"mimeType\":\"a/b\"}";
    let answer = frame::seal([b"\0\0\0\0".as_slice(), answer].concat());
    says(&peer, Kind::Blob.protocol(), answer);
    let client = client(&asker, LONG);
    let blob = fetch(&client, peer.id, BlobCid::of(b"hello")).await;
    assert_eq!(blob.unwrap().bytes, "hello");
}

#[actix::test]
async fn what_a_peer_cannot_do_is_no_fault_of_it() {
    let (asker, host) = two(limits()).await;
    let (client, peer) = (client(&asker, LONG), host.id);
    let cid = BlobCid::of(b"x");
    let error = fetch(&client, peer, cid).await.err().unwrap();
    assert!(matches!(error, SwarmError::Unsupported { .. }), "{error}");
    let error = client.info(peer).await.unwrap_err();
    assert!(matches!(error, SwarmError::Unsupported { .. }), "{error}");
    says(
        &host,
        Kind::Retrieve.protocol(),
        refusal("", "busy: try again later"),
    );
    let error = fetch(&client, peer, cid).await.err();
    assert_eq!(error, Some(SwarmError::Busy { peer }));
    asker.disconnect(&peer).await;
    let error = loop {
        match fetch(&client, peer, cid).await {
            Err(SwarmError::Busy { .. }) => tokio::task::yield_now().await,
            other => break other.err().unwrap(),
        }
    };
    assert!(matches!(error, SwarmError::Unreachable { .. }), "{error}");
}

#[actix::test]
async fn a_peer_that_answers_nonsense_is_known_by_it() {
    let too_long = u32::try_from(BLOB_FRAME_BYTES + 1).unwrap();
    for nonsense in [
        frame::seal(b"\0\0\0\0nonsense".to_vec()),
        frame::seal(b"\0\0\0\0{\"success\":true}".to_vec()),
        frame::seal(b"\0\0\0\0".to_vec()),
        too_long.to_be_bytes().to_vec(),
    ] {
        let (asker, host) = two(limits()).await;
        says(&host, Kind::Retrieve.protocol(), nonsense.clone());
        says(&host, Kind::Info.protocol(), nonsense);
        let client = client(&asker, LONG);
        let error = fetch(&client, host.id, BlobCid::of(b"x")).await;
        let error = error.err().unwrap();
        assert!(matches!(error, SwarmError::BadAnswer { .. }), "{error}");
        // Nothing of an info is needed but its form.
        if let Err(error) = client.info(host.id).await {
            assert!(matches!(error, SwarmError::BadAnswer { .. }), "{error}");
        }
    }
}

#[actix::test]
async fn a_peer_that_breaks_off_or_falls_silent_is_left() {
    let (asker, host) = two(limits()).await;
    says(&host, Kind::Retrieve.protocol(), b"\0\0\0\x09{".to_vec());
    let patient = client(&asker, LONG);
    let error = fetch(&patient, host.id, BlobCid::of(b"x")).await;
    let error = error.err().unwrap();
    assert!(matches!(error, SwarmError::Unreachable { .. }), "{error}");

    // Accepted, and never answered.
    let _silent = host.control.accept(Kind::Info.protocol());
    let hasty = client(&asker, Duration::from_millis(300));
    let error = hasty.info(host.id).await.unwrap_err();
    assert!(matches!(error, SwarmError::TimedOut { .. }), "{error}");
}

async fn first_version() -> Node {
    Node::with(|setup| setup.first_version = true).await
}

#[actix::test]
async fn without_memory_nothing_is_fetched_whole() {
    let node = first_version().await;
    let cid = node.has(&vec![0; 100_000], None);
    let budget = Budget::new(ActorName::Swarm, 64);
    let control = node.asker.control.clone();
    let client = Client::new(control, BodyMemory::new(100_000), budget, LONG);
    let error = fetch(&client, node.host.id, cid).await.err().unwrap();
    assert!(matches!(error, SwarmError::Full(_)), "{error}");
}

#[actix::test]
async fn the_memory_of_a_fetched_blob_is_held_as_long_as_the_blob() {
    let node = first_version().await;
    let cid = node.has(&[0; 10_000], None);
    // For one frame, not for another beside the blob.
    let memory = BodyMemory::new(30_000);
    let budget = Budget::new(ActorName::Swarm, 64);
    let control = node.asker.control.clone();
    let client = Client::new(control, memory, budget, LONG);
    let held = fetch(&client, node.host.id, cid).await.unwrap();
    let error = fetch(&client, node.host.id, cid).await.err().unwrap();
    assert!(matches!(error, SwarmError::Full(_)), "{error}");
    drop(held);
    assert!(fetch(&client, node.host.id, cid).await.is_ok());
}

#[actix::test]
async fn a_relay_is_asked_for_its_peers() {
    let (asker, relay) = two(limits()).await;
    let list = serde_json::json!({
        "peers": [{"peerId": asker.id, "multiaddrs": [asker.address], "isRegistered": false}],
        "timestamp": 1,
    });
    says(&relay, RELAY_PEERS, frame::encode(&list));
    let client = client(&asker, LONG);
    let peers = client.relay_peers(relay.id).await.unwrap();
    assert_eq!(peers.len(), 1);
    assert_eq!(
        (peers[0].peer_id, &peers[0].multiaddrs[0]),
        (asker.id, &asker.address)
    );
    says(&relay, RELAY_PEERS, list.to_string().into_bytes());
    assert_eq!(client.relay_peers(relay.id).await.unwrap(), peers);
    says(&relay, RELAY_PEERS, b"nonsense".to_vec());
    let error = client.relay_peers(relay.id).await.unwrap_err();
    assert!(matches!(error, SwarmError::BadAnswer { .. }), "{error}");
}
