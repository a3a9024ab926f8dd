use bytecave_core::PublicKey;

use bytecave_messages::body::BlobBody;
use bytecave_messages::swarm::RemoteBlob;

use super::retrieve::retrieved;
use super::*;

fn peer() -> PeerId {
    PublicKey::new([7; 32]).peer_id()
}

fn got(json: &str) -> Result<RemoteBlob, SwarmError> {
    let memory = BodyMemory::new(1024 * 1024).for_frame(1).unwrap();
    retrieved(peer(), json.as_bytes(), memory)
}

#[test]
fn a_blob_and_every_refusal_are_understood() {
    let blob = got(r#"{"success":true,"ciphertext":"aGVsbG8=","mimeType":"a/b"}"#).unwrap();
    assert!(matches!(blob.body, BlobBody::Whole(bytes) if bytes == "hello"));
    assert_eq!((blob.size, blob.offset, blob.blob_root), (5, 0, None));
    assert_eq!(blob.content_type.as_deref(), Some("a/b"));
    let peer = peer();
    let refused =
        |text: &str| got(&format!(r#"{{"success":false,"error":"{text}"}}"#)).unwrap_err();
    assert_eq!(refused("Blob not found"), SwarmError::NotFound { peer });
    assert_eq!(
        refused("the blob is damaged here"),
        SwarmError::NotFound { peer }
    );
    assert_eq!(refused("busy: try again later"), SwarmError::Busy { peer });
    assert!(matches!(
        refused("Invalid request: x"),
        SwarmError::BadAnswer { .. }
    ));
    assert_eq!(
        got(r#"{"error":"busy: try again later"}"#).unwrap_err(),
        SwarmError::Busy { peer }
    );
}

#[test]
fn nonsense_is_a_bad_answer() {
    for json in [
        "",
        "{",
        "[]",
        "7",
        "{}",
        r#"{"success":true}"#,
        r#"{"success":false}"#,
        r#"{"success":"yes","ciphertext":"aGVsbG8="}"#,
        r#"{"success":true,"ciphertext":"aGVsbG8"}"#,
        r#"{"success":true,"ciphertext":["a"]}"#,
    ] {
        assert!(
            matches!(got(json), Err(SwarmError::BadAnswer { .. })),
            "{json}"
        );
    }
}

#[test]
fn what_a_peer_says_of_itself_is_cut_and_checked() {
    let long = "v".repeat(10_000);
    let read = |value: Value| info(peer(), value.to_string().as_bytes());
    let info = read(serde_json::json!({
        "version": long, "ownerAddress": "0xabc\u{7}", "shardCount": 16,
        "shards": [{"start": 4, "end": 7, "note": 1}, {"start": 0, "end": 3}],
        "capacity": 5, "accepting": true,
        "protocols": vec!["/bytecave/x/1.0.0"; 500],
    }))
    .unwrap();
    assert_eq!(info.version.len(), TEXT_BYTES);
    assert_eq!(info.owner_address.as_deref(), Some("0xabc"));
    assert_eq!(info.shards, Some(vec![ShardRange { start: 0, end: 7 }]));
    assert_eq!((info.capacity, info.accepting), (Some(5), Some(true)));
    assert_eq!(info.protocols.len(), LISTED);
    // A program of the first network says less.
    let old =
        read(serde_json::json!({"peerId": "x", "publicKey": "y", "version": "1.0.0"})).unwrap();
    assert_eq!(
        (old.shards, old.shard_count, old.accepting),
        (None, None, None)
    );
    for shards in [
        serde_json::json!([{"start": 0, "end": 16}]),
        serde_json::json!([{"start": 3, "end": 1}]),
        serde_json::json!([{"start": 0, "end": 3}, {"start": 2, "end": 5}]),
        serde_json::json!(vec![serde_json::json!({"start": 0, "end": 1}); 65]),
        serde_json::json!("all"),
    ] {
        let info = read(serde_json::json!({"shardCount": 16, "shards": shards})).unwrap();
        assert_eq!(info.shards, None);
    }
    for nonsense in [serde_json::json!([]), serde_json::json!("x"), Value::Null] {
        assert!(matches!(read(nonsense), Err(SwarmError::BadAnswer { .. })));
    }
}
