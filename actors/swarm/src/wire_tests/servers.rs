//! The 1.0.0 protocols as a peer meets them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytecave_core::BlobCid;
use bytecave_messages::swarm::{Admission, HAVE_LIST_LIMIT};
use futures_util::AsyncWriteExt;
use serde_json::{Value, json};

use super::replicator::{Node, read};
use crate::wire::frame::{self, MAX_BLOB_BYTES};
use crate::wire::v1::{BUSY, Kind};
use crate::wire::v2;

fn keys(value: &Value) -> Vec<&str> {
    let mut keys: Vec<_> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    keys.sort_unstable();
    keys
}

fn upload(bytes: &[u8]) -> Value {
    json!({
        "cid": BlobCid::of(bytes).digest().to_hex(),
        "mimeType": "text/plain",
        "ciphertext": STANDARD.encode(bytes),
    })
}

fn error(answer: &Value) -> &str {
    answer["error"].as_str().unwrap()
}

#[actix::test]
async fn health_has_the_published_fields() {
    let node = Node::new().await;
    node.ask(Kind::Info, json!({})).await;
    node.ask(Kind::Blob, json!({"cid": "none"})).await;
    let health = node.ask(Kind::Health, json!({})).await;
    assert_eq!(
        keys(&health),
        [
            "blobCount",
            "metrics",
            "multiaddrs",
            "nodeId",
            "ownerAddress",
            "peerId",
            "publicKey",
            "status",
            "storageMax",
            "storageUsed",
            "uptime",
            "version",
        ]
    );
    assert_eq!(health["status"], "healthy");
    assert_eq!(
        (&health["blobCount"], &health["storageUsed"]),
        (&json!(42), &json!(500))
    );
    assert_eq!(
        (&health["storageMax"], &health["version"]),
        (&json!(1000), &json!("1.2.3"))
    );
    assert_eq!(
        (&health["nodeId"], &health["ownerAddress"]),
        (&json!("node-7"), &json!("0xowner"))
    );
    assert_eq!(health["peerId"], node.facts.peer_id.to_string());
    let key = health["publicKey"].as_str().unwrap();
    assert!(key.starts_with("0x") && key.len() == 66, "{key}");
    assert!(health["uptime"].is_u64() && health["multiaddrs"].is_array());
    let metrics = &health["metrics"];
    assert_eq!(
        keys(metrics),
        ["avgResponseTime", "requestsLastHour", "successRate"]
    );
    assert_eq!(metrics["requestsLastHour"], 2);
    assert_eq!(metrics["successRate"], 0.5);
}

#[actix::test]
async fn info_tells_what_the_node_keeps_and_speaks() {
    let node = Node::new().await;
    let info = node.ask(Kind::Info, json!({})).await;
    assert_eq!(
        keys(&info),
        [
            "accepting",
            "capacity",
            "ownerAddress",
            "peerId",
            "protocols",
            "publicKey",
            "shardCount",
            "shards",
            "version",
        ]
    );
    assert_eq!(info["shards"], json!([{"start": 0, "end": 15}]));
    assert_eq!(
        (&info["shardCount"], &info["accepting"]),
        (&json!(16), &json!(true))
    );
    let protocols = info["protocols"].as_array().unwrap();
    assert_eq!(protocols.len(), Kind::ALL.len() + v2::Kind::ALL.len());
    assert!(protocols.contains(&json!("/bytecave/replicate/2.0.0")));
    assert!(protocols.contains(&json!("/bytecave/have-list/1.0.0")));
}

#[actix::test]
async fn health_and_info_are_told_whatever_the_request_says() {
    let node = Node::new().await;
    let framed = frame::seal(b"\0\0\0\0no json".to_vec());
    let silence: &[u8] = b"";
    for said in [
        silence,
        b"{}",
        b"x",
        b"\xff\xff\xff\xff{}",
        b"\0\0\0\x09{",
        &framed,
    ] {
        for kind in [Kind::Health, Kind::Info] {
            let answer = node.say(kind, said).await;
            assert_eq!(answer["version"], "1.2.3", "{said:?}");
        }
    }
    // Nothing said, and not even the end of it.
    let mut stream = node.open(Kind::Info).await;
    assert_eq!(read(&mut stream).await["version"], "1.2.3");
}

#[actix::test]
async fn a_blob_is_given_by_every_form_of_its_name() {
    let node = Node::new().await;
    let cid = node.has(b"hello", Some("text/plain"));
    let plain = node.has(b"plain", None);
    let hex = cid.digest().to_hex();
    let expected = json!({"success": true, "ciphertext": "aGVsbG8=", "mimeType": "text/plain"});
    for kind in [Kind::Blob, Kind::Retrieve] {
        for name in [hex.clone(), hex.to_uppercase(), cid.to_string()] {
            assert_eq!(
                node.ask(kind, json!({"cid": name})).await,
                expected,
                "{name}"
            );
        }
        let answer = node
            .ask(kind, json!({"cid": plain.to_string(), "more": 1}))
            .await;
        assert_eq!(answer["mimeType"], "application/octet-stream");
        let unknown = BlobCid::of(b"unknown").to_string();
        let answer = node.ask(kind, json!({"cid": unknown})).await;
        assert_eq!(answer, json!({"success": false, "error": "Blob not found"}));
    }
}

#[actix::test]
async fn a_senseless_request_is_answered_with_the_published_words() {
    let node = Node::new().await;
    let too_long = u32::try_from(frame::BLOB_FRAME_BYTES + 1).unwrap();
    for kind in [
        Kind::Blob,
        Kind::Retrieve,
        Kind::Replicate,
        Kind::Store,
        Kind::HaveList,
    ] {
        for said in [
            frame::encode(&json!({"cid": "nonsense", "ciphertext": "", "cids": vec![0; 2000]})),
            frame::encode(&json!("nonsense")).split_off(1),
            frame::seal(b"\0\0\0\0{\"cid\":".to_vec()),
            frame::seal(b"\0\0\0\0\xff\xfe".to_vec()),
            too_long.to_be_bytes().to_vec(),
            u32::MAX.to_be_bytes().to_vec(),
            b"\0\0".to_vec(),
        ] {
            let answer = node.say(kind, &said).await;
            assert!(
                error(&answer).starts_with("Invalid request"),
                "{kind:?} {answer}"
            );
            let states = answer.get("success");
            assert_eq!(states, (kind != Kind::HaveList).then_some(&json!(false)));
        }
    }
}

#[actix::test]
async fn a_copy_is_kept_once_and_only_as_what_it_is() {
    let node = Node::new().await;
    let mut request = upload(b"hello");
    request["metadata"] = json!({"any": ["thing"]});
    let answer = node.ask(Kind::Replicate, request.clone()).await;
    assert_eq!(answer, json!({"success": true}));
    let answer = node.ask(Kind::Replicate, request).await;
    assert_eq!(answer, json!({"success": true, "alreadyStored": true}));
    let kept = node.kitchen.lock().unwrap().blobs[&BlobCid::of(b"hello")].clone();
    assert_eq!(kept, ("hello".into(), Some("text/plain".to_owned())));

    let mut other = upload(b"hello");
    other["cid"] = json!(BlobCid::of(b"other").to_string());
    let answer = node.ask(Kind::Replicate, other).await;
    assert!(
        error(&answer).contains("does not match its hash"),
        "{answer}"
    );
}

#[actix::test]
async fn what_a_browser_stores_comes_with_its_authorization() {
    let node = Node::new().await;
    let mut request = upload(b"hello");
    request["appId"] = json!("app");
    request["timestamp"] = json!(1_700_000_000_000_u64);
    request["hashIdToken"] = json!("token");
    let answer = node.ask(Kind::Store, request.clone()).await;
    let hex = BlobCid::of(b"hello").digest().to_hex();
    assert_eq!(answer, json!({"success": true, "cid": hex}));
    request["authorization"] = json!({
        "sender": "0xs", "signature": "0xb", "timestamp": "1700000000001", "nonce": "n",
        "contentHash": hex, "appId": "app",
    });
    node.ask(Kind::Store, request).await;
    let kitchen = node.kitchen.lock().unwrap();
    assert_eq!(
        kitchen.apps,
        [Some("app".to_owned()), Some("app".to_owned())]
    );
    assert_eq!(kitchen.authorizations[0], None);
    let authorization = kitchen.authorizations[1].as_ref().unwrap();
    assert_eq!(authorization.timestamp_ms, 1_700_000_000_001);
    assert_eq!(
        (authorization.sender.as_str(), authorization.nonce.as_str()),
        ("0xs", "n")
    );
}

#[actix::test]
async fn a_list_has_pages_and_answers_which_of_some_are_here() {
    let node = Node::new().await;
    for number in 0..1100_u32 {
        node.has(&number.to_be_bytes(), None);
    }
    let all: Vec<String> = node
        .kitchen
        .lock()
        .unwrap()
        .blobs
        .keys()
        .map(|cid| cid.digest().to_hex())
        .collect();
    let answer = node.ask(Kind::HaveList, json!({})).await;
    let page = json!({"cids": all[..100], "total": 1100, "hasMore": true});
    assert_eq!(answer, page);
    let answer = node
        .ask(Kind::HaveList, json!({"limit": 5000, "offset": 100}))
        .await;
    let page = json!({"cids": all[100..], "total": 1100, "hasMore": false});
    assert_eq!(answer, page);
    // As many as may be asked for, in the longest usual form.
    let mut asked: Vec<String> = all[..HAVE_LIST_LIMIT - 1].to_vec();
    asked.push(BlobCid::of(b"unknown").digest().to_hex());
    let answer = node.ask(Kind::HaveList, json!({"cids": asked})).await;
    assert_eq!(answer["cids"], json!(all[..HAVE_LIST_LIMIT - 1]));
}

#[actix::test]
async fn requests_arrive_in_any_fragments() {
    let node = Node::new().await;
    let frame = frame::encode(&upload(&[7; 3000]));
    for fragment in [1, 3, 1000] {
        let mut stream = node.open(Kind::Replicate).await;
        for piece in frame.chunks(fragment) {
            stream.write_all(piece).await.unwrap();
            stream.flush().await.unwrap();
        }
        assert_eq!(
            read(&mut stream).await["success"],
            true,
            "fragments of {fragment}"
        );
    }
}

#[actix::test]
async fn whoever_is_not_admitted_is_refused_unread() {
    let node = Node::with(|setup| {
        setup.admission = Admission::Nobody("this node takes no replicas");
        setup.settings.takes_stores = false;
    })
    .await;
    for (kind, why) in [
        (Kind::Replicate, "not admitted: this node takes no replicas"),
        (Kind::Store, "not authorized"),
    ] {
        // Nothing is sent at all, so nothing can have been read.
        let mut stream = node.open(kind).await;
        let answer = read(&mut stream).await;
        assert!(error(&answer).starts_with(why), "{answer}");
    }
}

#[actix::test]
async fn a_long_upload_that_is_refused_does_not_hang() {
    let node = Node::with(|setup| setup.admission = Admission::Nobody("no")).await;
    let frame = frame::encode(&upload(&vec![7; 16 * 1024 * 1024]));
    // As the existing programs do: all of it is sent before the answer is read.
    let mut stream = node.open(Kind::Replicate).await;
    assert!(stream.write_all(&frame).await.is_err(), "it was reset");
    let mut stream = node.open(Kind::Replicate).await;
    let short = frame::encode(&upload(&vec![7; 512 * 1024]));
    stream.write_all(&short).await.unwrap();
    stream.close().await.unwrap();
    assert_eq!(error(&read(&mut stream).await), "not admitted: no");
}

#[actix::test]
async fn without_memory_or_permit_a_length_is_enough_to_be_refused() {
    let node = Node::with(|setup| {
        setup.memory_bytes = 1024 * 1024;
        setup.mailbox = 1;
    })
    .await;
    let length = 1_000_000_u32.to_be_bytes();
    for kind in [Kind::Replicate, Kind::Store] {
        let mut stream = node.open(kind).await;
        stream.write_all(&length).await.unwrap();
        stream.flush().await.unwrap();
        assert_eq!(error(&read(&mut stream).await), BUSY);
    }
    let large = node.has(&vec![0; 1_000_000], None);
    let answer = node
        .ask(Kind::Blob, json!({"cid": large.to_string()}))
        .await;
    assert_eq!(error(&answer), BUSY);

    let share = bytecave_messages::budget::Share::Peer;
    let permit = node.budget.try_acquire(share, "test").unwrap();
    let small = upload(b"small");
    assert_eq!(error(&node.ask(Kind::Replicate, small.clone()).await), BUSY);
    assert_eq!(error(&node.ask(Kind::HaveList, json!({})).await), BUSY);
    drop(permit);
    assert_eq!(node.ask(Kind::Replicate, small).await["success"], true);
}

#[actix::test]
async fn a_peer_beyond_its_rate_is_busy() {
    let node = Node::with(|setup| {
        setup.settings.requests_per_second_per_peer = 1;
        setup.settings.request_burst_per_peer = 1;
    })
    .await;
    // All at once: they would have to take more than a minute for none to be too many.
    let ask = || node.ask(Kind::Info, json!({}));
    let answers = futures_util::future::join_all((0..64).map(|_| ask())).await;
    let busy = answers
        .iter()
        .filter(|answer| **answer == json!({"error": BUSY}));
    assert!(busy.count() > 0);
    assert!(answers.iter().any(|answer| answer["version"] == "1.2.3"));
}

#[actix::test]
async fn a_replicator_that_drops_requests_makes_the_node_busy() {
    let node = Node::new().await;
    node.kitchen.lock().unwrap().deaf = true;
    let cid = json!({"cid": BlobCid::of(b"x").to_string()});
    for (kind, request) in [
        (Kind::Blob, cid),
        (Kind::HaveList, json!({})),
        (Kind::Replicate, upload(b"x")),
        (Kind::Store, upload(b"x")),
    ] {
        assert_eq!(error(&node.ask(kind, request).await), BUSY, "{kind:?}");
    }
}

#[actix::test]
async fn a_replicator_without_an_answer_makes_the_node_busy() {
    let node = Node::with(|setup| {
        setup.settings.request_timeout = std::time::Duration::from_millis(300);
    })
    .await;
    node.kitchen.lock().unwrap().slow = true;
    let answer = node.ask(Kind::Replicate, upload(b"x")).await;
    assert_eq!(error(&answer), BUSY);
}

#[actix::test]
async fn a_blob_too_large_for_these_protocols_is_declined_with_its_size() {
    let node = Node::new().await;
    let cid = node.has(b"x", None);
    node.kitchen.lock().unwrap().claimed_size = Some(MAX_BLOB_BYTES + 1);
    let answer = node
        .ask(Kind::Retrieve, json!({"cid": cid.to_string()}))
        .await;
    assert!(error(&answer).contains("33554433 bytes"), "{answer}");
}

#[actix::test]
async fn the_largest_blob_goes_in_and_out_within_the_default_memory() {
    let node = Node::with(|setup| setup.memory_bytes = 128 * 1024 * 1024).await;
    let blob = vec![0xa5; usize::try_from(MAX_BLOB_BYTES).unwrap()];
    let answer = node.ask(Kind::Replicate, upload(&blob)).await;
    assert_eq!(answer, json!({"success": true}));
    let cid = BlobCid::of(&blob).to_string();
    let answer = node.ask(Kind::Retrieve, json!({"cid": cid})).await;
    assert_eq!(
        answer["ciphertext"].as_str().unwrap(),
        STANDARD.encode(&blob)
    );
    let larger = vec![0; blob.len() + 1];
    let answer = node.ask(Kind::Replicate, upload(&larger)).await;
    assert!(error(&answer).contains("33554433 bytes"), "{answer}");
}

#[actix::test]
async fn a_stop_ends_all_tasks() {
    let node = Node::new().await;
    let _idle = node.open(Kind::Replicate).await;
    node.stop.cancel();
    node.tracker.close();
    node.tracker.wait().await;
    assert!(node.host.control.protocols().is_empty());
}
