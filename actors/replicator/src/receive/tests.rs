#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use bytecave_config::{P2p, P2pStoreAccess};
use bytecave_core::{Digest, StoreAuthorization, tree};
use bytecave_messages::store::Durability;
use bytecave_messages::store::{StoreCondition, StoreError};
use bytecave_messages::swarm::{
    Answer, Offer, Origin, PeerView, RefusalKind, ReplicaBody, StatedBlob,
};
use bytes::Bytes;
use k256::ecdsa::SigningKey;
use sha3::{Digest as _, Keccak256};

use super::*;
use crate::fakes::{
    FakeStore, FakeSwarm, Takes, content_of_shard, facts, holders, keeper, peer, permit, settings,
    snapshot,
};

mod restored;

const NOW: u64 = 1_700_000_000_000;

fn receiver(store: &FakeStore, settings: &P2p) -> Receiver {
    receiver_among(
        store,
        settings,
        &FakeSwarm::start(),
        vec![keeper(1), keeper(2)],
    )
}

fn receiver_among(
    store: &FakeStore,
    settings: &P2p,
    swarm: &FakeSwarm,
    peers: Vec<PeerView>,
) -> Receiver {
    let holders = holders(3, peers);
    let conduct = Conduct::new(|| NOW);
    Receiver {
        store: store.port(),
        placer: Placer::new(store.port(), swarm.port(), holders.clone(), conduct.clone()),
        facts: facts(),
        admission: policy::admission(settings, false),
        policy: StorePolicy::new(settings),
        holders,
        conduct,
        strangers: Strangers::new(0.1),
        now_ms: || NOW,
    }
}

/// Content of a shard of ours.
fn content() -> Vec<u8> {
    content_of_shard(2)
}

/// An authorization as a wallet makes it.
fn authorization(content: &[u8], nonce: &str) -> StoreAuthorization {
    let key = SigningKey::from_slice(&[0x11; 32]).unwrap();
    let point = key.verifying_key().to_encoded_point(false);
    let address = Keccak256::digest(&point.as_bytes()[1..]);
    let digest = Digest::of(content);
    let mut authorization = StoreAuthorization {
        sender: format!("0x{}", hex::encode(&address[12..])),
        signature: String::new(),
        timestamp_ms: NOW - 1000,
        nonce: nonce.to_owned(),
        content_hash: digest.to_hex(),
        app_id: "photos".to_owned(),
    };
    let text = authorization.text(&digest);
    let hash = Keccak256::digest(format!(
        "\x19Ethereum Signed Message:\n{}{text}",
        text.len()
    ));
    let (signature, recovery) = key.sign_prehash_recoverable(&hash).unwrap();
    let v = 27 + recovery.to_byte();
    authorization.signature = format!("0x{}{v:02x}", hex::encode(signature.to_bytes()));
    authorization
}

fn kept_type(store: &FakeStore, content: &[u8]) -> Option<String> {
    store.kept(&BlobCid::of(content)).unwrap().content_type
}

struct Store {
    cid: Option<BlobCid>,
    content: Vec<u8>,
    content_type: Option<&'static str>,
    app_id: Option<&'static str>,
    authorization: Option<StoreAuthorization>,
}

impl Store {
    fn signed(nonce: &str) -> Self {
        let content = content();
        Self {
            cid: None,
            content_type: Some("image/png"),
            app_id: Some("photos"),
            authorization: Some(authorization(&content, nonce)),
            content,
        }
    }

    async fn send(self, receiver: &Receiver) -> Result<Kept, String> {
        let (answer, given) = Answer::new();
        let request = InboundStore {
            from: Origin::Link(Arc::from("ws://relay")),
            cid: self.cid,
            content_type: self.content_type.map(str::to_owned),
            app_id: self.app_id.map(str::to_owned),
            body: Bytes::from(self.content),
            authorization: self.authorization,
            answer,
            permit: permit(),
        };
        receiver.clone().store(request).await;
        given.await.unwrap().map_err(|refusal| refusal.to_string())
    }
}

async fn replica(
    receiver: &Receiver,
    cid: BlobCid,
    content: &[u8],
    content_type: Option<&str>,
) -> Result<Kept, Refusal> {
    let blob = StatedBlob {
        cid,
        size: content.len() as u64,
        blob_root: None,
        content_type: content_type.map(str::to_owned),
    };
    let body = ReplicaBody::Here(Bytes::copy_from_slice(content));
    send(receiver, 1, blob, body).await
}

async fn send(
    receiver: &Receiver,
    from: u8,
    blob: StatedBlob,
    body: ReplicaBody,
) -> Result<Kept, Refusal> {
    let (answer, given) = Answer::new();
    let replica = InboundReplica {
        from: peer(from),
        blob,
        body,
        answer,
        permit: permit(),
    };
    receiver.clone().replica(replica).await;
    given.await.unwrap()
}

fn stated(content: &[u8]) -> StatedBlob {
    StatedBlob {
        cid: BlobCid::of(content),
        size: content.len() as u64,
        blob_root: Some(tree::blob_root(content)),
        content_type: None,
    }
}

/// Offers a blob; what came of it, and whether its bytes were wanted.
async fn offer(
    receiver: &Receiver,
    from: u8,
    blob: StatedBlob,
    content: &[u8],
) -> (Result<Kept, Refusal>, bool) {
    let (offer, wanted) = Offer::new(blob.size);
    let content = Bytes::copy_from_slice(content);
    let sending = async move {
        let Ok(mut sender) = wanted.await else {
            return false;
        };
        if sender.send(content).await.is_ok() {
            sender.finish();
        }
        true
    };
    tokio::join!(
        send(receiver, from, blob, ReplicaBody::Offered(offer)),
        sending
    )
}

#[actix::test]
async fn what_is_signed_is_stored_once_for_each_nonce() {
    let store = FakeStore::start();
    let receiver = receiver(&store, &settings());
    let cid = BlobCid::of(&content());
    let kept = Store::signed("one").send(&receiver).await.unwrap();
    let expected = |already_stored| Kept {
        cid,
        already_stored,
    };
    assert_eq!(kept, expected(false));
    assert_eq!(kept_type(&store, &content()).as_deref(), Some("image/png"));
    // The nonce is used up before the bytes are stored, and for as long as the signature holds.
    let until = NOW - 1000 + policy::AUTHORIZATION_WINDOW_MS;
    let size = content().len();
    assert_eq!(
        store.asked(),
        [format!("nonce until {until}"), format!("put {size}")]
    );
    let again = Store::signed("one").send(&receiver).await.unwrap_err();
    assert_eq!(
        again,
        "not authorized: its nonce was used before: sign again with a new one"
    );
    let kept = Store::signed("two").send(&receiver).await.unwrap();
    assert_eq!(kept, expected(true));
}

#[actix::test]
async fn what_is_refused_uses_no_nonce_up() {
    let store = FakeStore::start();
    let receiver = receiver(&store, &settings());
    let foreign = content_of_shard(9);
    let mut late = Store::signed("n");
    late.authorization.as_mut().unwrap().timestamp_ms = NOW - 301_000;
    let mut forged = Store::signed("n");
    forged.authorization.as_mut().unwrap().sender = format!("0x{}", "0".repeat(40));
    let mut misnamed = Store::signed("n");
    misnamed.cid = Some(BlobCid::of(b"other"));
    let mut unsigned = Store::signed("n");
    unsigned.authorization = None;
    let mut other_app = Store::signed("n");
    other_app.app_id = Some("films");
    let mut other_bytes = Store::signed("n");
    other_bytes.content = content_of_shard(3);
    let elsewhere = Store {
        authorization: Some(authorization(&foreign, "n")),
        content: foreign,
        ..Store::signed("n")
    };
    for (request, says) in [
        (late, "it was signed 301 s ago and holds for 300 s"),
        (forged, "the signature is not that of 0x000"),
        (
            misnamed,
            "the content does not match its hash: it is that of ",
        ),
        (unsigned, "sign one with an Ethereum account"),
        (other_app, "its authorization is for app \"photos\""),
        (other_bytes, "not authorized: it is for content "),
        (elsewhere, "shard 9 is not kept by this node"),
    ] {
        let refused = request.send(&receiver).await.unwrap_err();
        assert!(refused.contains(says), "{refused}");
    }
    assert_eq!(store.asked(), [""; 0]);
    receiver.facts.set(&snapshot(0, StoreCondition::Full));
    let full = Store::signed("n").send(&receiver).await.unwrap_err();
    assert_eq!(full, "storage full");
    assert_eq!(store.asked(), [""; 0]);
}

#[actix::test]
async fn open_needs_no_authorization_and_off_takes_none() {
    let store = FakeStore::start();
    let mut settings = settings();
    settings.store_access = P2pStoreAccess::Open;
    let mut unsigned = Store::signed("n");
    unsigned.authorization = None;
    unsigned.cid = Some(BlobCid::of(&unsigned.content));
    let kept = unsigned.send(&receiver(&store, &settings)).await;
    assert!(kept.is_ok(), "{kept:?}");
    assert_eq!(store.asked().len(), 1, "no nonce is used up");
    settings.store_access = P2pStoreAccess::Off;
    let off = receiver(&store, &settings);
    let refused = Store::signed("n").send(&off).await.unwrap_err();
    assert!(refused.contains("p2p.store_access is off"), "{refused}");
}

#[actix::test]
async fn a_store_that_cannot_is_told_to_the_client() {
    let store = FakeStore::start();
    let receiver = receiver(&store, &settings());
    store.fail_with(StoreError::ReadOnly {
        reason: "/data/db/000001.sst".to_owned(),
    });
    let refused = Store::signed("n").send(&receiver).await.unwrap_err();
    assert_eq!(refused, "unavailable: the store is read-only");
}

#[actix::test]
async fn replicas_are_kept_under_their_name() {
    let store = FakeStore::start();
    let receiver = receiver(&store, &settings());
    let content = content();
    let cid = BlobCid::of(&content);
    let first = replica(&receiver, cid, &content, Some("text/css")).await;
    assert!(!first.unwrap().already_stored);
    assert_eq!(kept_type(&store, &content).as_deref(), Some("text/css"));
    let second = replica(&receiver, cid, &content, None).await;
    assert!(second.unwrap().already_stored);
    let other = content_of_shard(3);
    let evil = Some("text/html\r\nX-Evil: 1");
    replica(&receiver, BlobCid::of(&other), &other, evil)
        .await
        .unwrap();
    assert_eq!(kept_type(&store, &other), None);
}

#[actix::test]
async fn replicas_that_are_not_taken() {
    let store = FakeStore::start();
    let mut settings = settings();
    let open = receiver(&store, &settings);
    let content = content();
    let cid = BlobCid::of(&content);
    let foreign = content_of_shard(9);
    let refused = replica(&open, BlobCid::of(&foreign), &foreign, None).await;
    assert!(matches!(refused, Err(Refusal::NotOurShard(_))));
    settings.replicate_access = Some(bytecave_config::ReplicateAccess::Registered);
    let refused = replica(&receiver(&store, &settings), cid, &content, None).await;
    assert!(matches!(refused, Err(Refusal::NotAdmitted(_))));
    assert_eq!(store.asked(), [""; 0], "refused before the store was asked");
    let refused = replica(&open, cid, b"other bytes", None).await;
    let actual = Digest::of(b"other bytes").to_hex();
    assert_eq!(refused, Err(Refusal::Mismatch { actual }));
    assert_eq!(store.kept(&cid), None);
}

#[actix::test]
async fn an_offered_replica_is_streamed_into_the_store_and_goes_no_further() {
    let store = FakeStore::start();
    let receiver = receiver(&store, &settings());
    let content = content();
    let (kept, wanted) = offer(&receiver, 1, stated(&content), &content).await;
    assert!(wanted && !kept.unwrap().already_stored);
    assert!(store.kept(&BlobCid::of(&content)).is_some());
    assert_eq!(
        store.outbox(),
        0,
        "what a peer sent is not brought to others"
    );
    let (kept, wanted) = offer(&receiver, 2, stated(&content), &content).await;
    assert!(!wanted && kept.unwrap().already_stored);
}

#[actix::test]
async fn what_is_not_surely_on_disk_is_taken_once_more() {
    let store = FakeStore::start();
    let receiver = receiver(&store, &settings());
    let content = content();
    store.seed(&content, None);
    let mut batched = snapshot(1, StoreCondition::Writable);
    batched.durability = Durability::Batched;
    receiver.facts.set(&batched);
    let (kept, wanted) = offer(&receiver, 1, stated(&content), &content).await;
    assert!(wanted && kept.unwrap().already_stored);
}

#[actix::test]
async fn no_byte_is_wanted_of_what_is_refused() {
    let store = FakeStore::start();
    let receiver = receiver(&store, &settings());
    let contents: Vec<_> = [2, 3, 9].map(content_of_shard).into();
    let [deleted, blocked, foreign] = &contents[..] else {
        unreachable!()
    };
    store.deleted(&BlobCid::of(deleted));
    store.blocked(&BlobCid::of(blocked));
    for (content, refusal) in [(deleted, Refusal::Declined), (blocked, Refusal::Blocked)] {
        let refused = offer(&receiver, 1, stated(content), content).await;
        assert_eq!(refused, (Err(refusal), false));
    }
    let (refused, wanted) = offer(&receiver, 1, stated(foreign), foreign).await;
    assert!(matches!(refused, Err(Refusal::NotOurShard(_))) && !wanted);
    receiver.facts.set(&snapshot(0, StoreCondition::Full));
    let other = content_of_shard(4);
    let refused = offer(&receiver, 1, stated(&other), &other).await;
    assert_eq!(refused, (Err(Refusal::Full), false));
}

#[actix::test]
async fn whoever_states_what_is_false_is_refused_and_not_heard_for_a_time() {
    let content = content();
    let cid = BlobCid::of(&content);
    let mut false_root = stated(&content);
    false_root.blob_root = Some(tree::blob_root(b"other"));
    let mut false_size = stated(&content);
    false_size.size += 1;
    let of_root = tree::blob_root(&content).to_string();
    let of_other = Digest::of(b"other").to_hex();
    for (blob, bytes, actual, stays) in [
        (false_root, &content[..], of_root, true),
        (false_size, &content[..], cid.digest().to_hex(), true),
        (stated(&content), b"other", of_other, false),
    ] {
        let store = FakeStore::start();
        let receiver = receiver(&store, &settings());
        let (refused, _) = offer(&receiver, 1, blob, bytes).await;
        assert_eq!(refused, Err(Refusal::Mismatch { actual }));
        assert_eq!(store.kept(&cid).is_some(), stays);
        let (refused, wanted) = offer(&receiver, 1, stated(&content), &content).await;
        assert_eq!(refused, Err(Refusal::NotAdmitted(FALSE_BEFORE)));
        assert!(!wanted);
        let (kept, _) = offer(&receiver, 2, stated(&content), &content).await;
        assert_eq!(kept.unwrap().already_stored, stays, "others are heard");
    }
}

#[actix::test]
async fn a_replica_that_does_not_come_whole_is_held_against_nobody() {
    let store = FakeStore::start();
    let receiver = receiver(&store, &settings());
    let content = content();
    let (offer, wanted) = Offer::new(content.len() as u64);
    let breaking_off = async {
        let mut sender = wanted.await.unwrap();
        sender
            .send(Bytes::copy_from_slice(&content[..3]))
            .await
            .unwrap();
    };
    let body = ReplicaBody::Offered(offer);
    let (refused, ()) = tokio::join!(send(&receiver, 1, stated(&content), body), breaking_off);
    assert!(matches!(refused, Err(Refusal::Invalid(_))), "{refused:?}");
    assert!(!receiver.conduct.is_blocked(&peer(1)));
    assert_eq!(store.kept(&BlobCid::of(&content)), None);
}

#[actix::test]
async fn a_stranger_fills_its_share_and_a_fellow_holder_is_not_counted() {
    let store = FakeStore::start();
    let open = receiver(&store, &settings());
    let contents: Vec<_> = (0..4).map(content_of_shard).collect();
    let mut small = snapshot(0, StoreCondition::Writable);
    // A tenth of it is room for two of these and no third.
    small.quota_bytes = 10 * (contents[0].len() + contents[1].len()) as u64;
    open.facts.set(&small);
    for content in &contents[..2] {
        let (kept, _) = offer(&open, 7, stated(content), content).await;
        assert!(kept.is_ok(), "{kept:?}");
    }
    let third = stated(&contents[2]);
    let refused = offer(&open, 7, third.clone(), &contents[2]).await;
    assert_eq!(refused, (Err(Refusal::Full), false));
    let (again, _) = offer(&open, 7, stated(&contents[0]), &contents[0]).await;
    assert!(again.unwrap().already_stored, "what is here takes no room");
    for content in &contents[2..] {
        let (kept, _) = offer(&open, 1, stated(content), content).await;
        assert!(kept.is_ok(), "{kept:?}");
    }
    let mut settings = settings();
    settings.replicate_access = Some(bytecave_config::ReplicateAccess::Allowlist);
    let mut listed = receiver(&FakeStore::start(), &settings);
    listed.admission = Admission::Only(Arc::new([peer(7)].into()));
    listed.strangers = Strangers::new(0.0);
    let (kept, _) = offer(&listed, 7, third, &contents[2]).await;
    assert!(kept.is_ok(), "the operator listed it: {kept:?}");
}

fn unsigned(content: Vec<u8>) -> Store {
    Store {
        cid: None,
        content_type: None,
        app_id: None,
        authorization: None,
        content,
    }
}

/// A peer that keeps the shards that the fake store does not.
fn keeper_of_the_others(number: u8) -> PeerView {
    let mut view = keeper(number);
    let info = view.info.as_mut().unwrap();
    info.shards = Some(vec![bytecave_core::ShardRange { start: 8, end: 15 }]);
    view
}

#[actix::test]
async fn what_a_client_brings_of_others_shards_is_handed_to_them() {
    let mut settings = settings();
    settings.store_access = P2pStoreAccess::Open;
    let (store, swarm) = (FakeStore::start(), FakeSwarm::start());
    let peers = vec![keeper_of_the_others(1), keeper_of_the_others(2)];
    let receiver = receiver_among(&store, &settings, &swarm, peers);
    let content = content_of_shard(9);
    let kept = unsigned(content.clone()).send(&receiver).await.unwrap();
    assert_eq!(kept.cid, BlobCid::of(&content));
    assert!(store.kept(&kept.cid).is_none(), "it is not kept here");
    tokio::time::timeout(Duration::from_mins(1), async {
        while swarm.sent().len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    assert!(swarm.sent().iter().all(|(_, bytes)| *bytes == content));
    // A copy that a peer sends goes no further.
    let refused = replica(&receiver, kept.cid, &content, None).await;
    assert!(
        matches!(refused, Err(Refusal::NotOurShard(_))),
        "{refused:?}"
    );
    assert_eq!(swarm.sent().len(), 2);
    // Nobody takes it: the client hears whose it is.
    let other = content_of_shard(12);
    for number in [1, 2] {
        swarm.set_takes(number, Takes::Refuses(RefusalKind::Full));
    }
    let refused = unsigned(other).send(&receiver).await.unwrap_err();
    assert_eq!(refused, "shard 12 is not kept by this node");
}
