//! Announcements and broadcasts as honest programs write them, and as others do.

use bytecave_core::{NodeIdentity, PeerId, ShardCount, ShardRange, ShardSet};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::facts::{Facts, FixedFacts};

const NOW: u64 = 1_800_000_000_000;

fn identity(seed: u8) -> NodeIdentity {
    NodeIdentity::from_seed([seed; 32]).unwrap()
}

fn source() -> PeerId {
    identity(1).peer_id()
}

/// As the first node announces itself.
fn published() -> Value {
    json!({
        "peerId": source().to_string(),
        "nodeId": "node-1",
        "availableStorage": 1_073_741_824_u64,
        "blobCount": 42,
        "timestamp": NOW,
        "relayAddrs": [],
        "multiaddrs": [format!("/ip4/192.0.2.1/tcp/5011/p2p/{}", source())],
        "isRegistered": true,
        "onChainNodeId": "0xabc",
    })
}

fn with(changes: &[(&str, Value)]) -> Vec<u8> {
    let mut message = published();
    for (key, value) in changes {
        message[key] = value.clone();
    }
    message.to_string().into_bytes()
}

fn judge(message: &[u8]) -> Verdict<Announcement> {
    Announcements::new().announce(source(), message, NOW)
}

fn accepted(message: &[u8]) -> Announcement {
    match judge(message) {
        Verdict::Accept(announcement) => announcement,
        other => panic!("{other:?}: {}", String::from_utf8_lossy(message)),
    }
}

#[test]
fn the_published_form_is_read() {
    let heard = accepted(&with(&[]));
    assert_eq!(heard.peer, source());
    assert_eq!(
        heard.announced,
        Announced {
            node_id: "node-1".to_owned(),
            available_storage: 1_073_741_824,
            blob_count: 42,
            is_registered: true,
            timestamp_ms: NOW,
        }
    );
    assert_eq!(heard.addresses.len(), 1);
}

#[test]
fn what_honest_programs_leave_out_or_write_otherwise_is_understood() {
    let least = json!({ "peerId": source().to_string(), "timestamp": NOW });
    let heard = accepted(least.to_string().as_bytes());
    assert_eq!((heard.announced.blob_count, heard.addresses.len()), (0, 0));
    let heard = accepted(&with(&[
        ("nodeId", Value::Null),
        ("availableStorage", json!(-1.5)),
        ("blobCount", json!(2.9)),
        ("multiaddrs", Value::Null),
        ("relayAddrs", Value::Null),
        ("publicKey", Value::Null),
        ("isRegistered", Value::Null),
        ("timestamp", json!(1_800_000_000_000.0)),
        ("more", json!({ "of": ["something"] })),
    ]));
    let announced = heard.announced;
    assert_eq!((announced.available_storage, announced.blob_count), (0, 2));
    assert!(!announced.is_registered);
    let heard = accepted(&with(&[("availableStorage", json!(1e300))]));
    assert_eq!(heard.announced.available_storage, u64::MAX);
}

#[test]
fn a_message_for_another_peer_or_key_is_refused() {
    let other = identity(2);
    let verdict = judge(&with(&[("peerId", json!(other.peer_id().to_string()))]));
    assert_eq!(verdict, Verdict::Reject(Rejected::NotItsOwn));

    let protobuf = |id: &NodeIdentity| [&[8, 1, 18, 32][..], id.public_key().as_bytes()].concat();
    let forms = |id: &NodeIdentity| {
        use base64::Engine as _;
        let base64 = base64::prelude::BASE64_STANDARD;
        [
            id.public_key().to_string(),
            hex::encode(id.public_key().as_bytes()),
            hex::encode(protobuf(id)),
            base64.encode(protobuf(id)),
            base64.encode(id.public_key().as_bytes()),
        ]
    };
    for form in forms(&other) {
        let verdict = judge(&with(&[("publicKey", json!(form))]));
        assert_eq!(verdict, Verdict::Reject(Rejected::WrongKey), "{form}");
    }
    for form in forms(&identity(1)) {
        accepted(&with(&[("publicKey", json!(form))]));
    }
    for unknown in ["", "0x", "0x04ab", "a key"] {
        accepted(&with(&[("publicKey", json!(unknown))]));
    }
}

#[test]
fn nonsense_is_refused() {
    let long = with(&[("nodeId", json!("n".repeat(MESSAGE_LIMIT_BYTES)))]);
    assert_eq!(judge(&long), Verdict::Reject(Rejected::TooLarge));
    for message in [
        &b""[..],
        b"null",
        b"[]",
        b"{}",
        b"\xff",
        b"{\"peerId\":",
        "[".repeat(5000).as_bytes(),
        &with(&[("timestamp", json!("now"))]),
        &with(&[("multiaddrs", json!("/ip4/192.0.2.1/tcp/1"))]),
        &with(&[("multiaddrs", json!([1]))]),
        &with(&[("nodeId", json!(["node"]))]),
        &with(&[("isRegistered", json!("true"))]),
    ] {
        let text = String::from_utf8_lossy(message);
        assert_eq!(
            judge(message),
            Verdict::Reject(Rejected::Malformed),
            "{text}"
        );
    }
}

#[test]
fn stale_future_and_repeated_ones_are_ignored() {
    let at = |time: u64| with(&[("timestamp", json!(time))]);
    assert_eq!(judge(&at(NOW - 300_001)), Verdict::Ignore(Ignored::Stale));
    assert_eq!(judge(&at(0)), Verdict::Ignore(Ignored::Stale));
    assert_eq!(judge(&at(NOW + 60_001)), Verdict::Ignore(Ignored::Future));
    assert_eq!(
        judge(&with(&[("timestamp", json!(-5))])),
        Verdict::Ignore(Ignored::Stale)
    );
    let mut announcements = Announcements::new();
    let first = announcements.announce(source(), &at(NOW), NOW);
    assert!(matches!(first, Verdict::Accept(_)));
    let again = announcements.announce(source(), &at(NOW), NOW + 10_000);
    assert_eq!(again, Verdict::Ignore(Ignored::NotNewer));
    // A broadcast of the same moment is another matter.
    let text = json!({ "from": source().to_string(), "message": "hello", "timestamp": NOW });
    let text = announcements.broadcast(source(), text.to_string().as_bytes(), NOW);
    assert!(matches!(text, Verdict::Accept(_)));
}

#[test]
fn lists_and_texts_are_cut_to_their_bounds() {
    let many: Vec<String> = (1..100)
        .map(|port| format!("/ip4/192.0.2.1/tcp/{port}"))
        .collect();
    let heard = accepted(&with(&[("multiaddrs", json!(many))]));
    assert_eq!(heard.addresses.len(), ADDRESSES_LIMIT);
    let heard = accepted(&with(&[(
        "multiaddrs",
        json!([
            "",
            "x",
            "/unix/tmp",
            "/ip4/192.0.2.1/tcp/0",
            "/ip4/192.0.2.1/tcp/7"
        ]),
    )]));
    assert_eq!(heard.addresses.len(), 1);
    let name = format!("\u{1b}[2J\u{202e}{}", "é".repeat(500));
    let heard = accepted(&with(&[("nodeId", json!(name))]));
    assert!(heard.announced.node_id.starts_with("[2Jé"));
    assert_eq!(heard.announced.node_id.chars().count(), 128);
}

#[test]
fn broadcasts_are_judged_alike() {
    let judge = |message: Value| {
        let message = message.to_string();
        Announcements::new().broadcast(source(), message.as_bytes(), NOW)
    };
    let from = source().to_string();
    let good = judge(json!({ "from": from, "message": "a\u{7}\u{202e}b", "timestamp": NOW }));
    let Verdict::Accept(good) = good else {
        panic!("{good:?}");
    };
    assert_eq!((good.peer, &*good.message), (source(), "ab"));
    let text = |length| json!({ "from": from, "message": "x".repeat(length), "timestamp": NOW });
    assert!(matches!(judge(text(1000)), Verdict::Accept(_)));
    assert_eq!(judge(text(1001)), Verdict::Reject(Rejected::TooLarge));
    let other = identity(2).peer_id().to_string();
    let forged = json!({ "from": other, "message": "x", "timestamp": NOW });
    assert_eq!(judge(forged), Verdict::Reject(Rejected::NotItsOwn));
    let old = json!({ "from": from, "message": "x", "timestamp": 1 });
    assert_eq!(judge(old), Verdict::Ignore(Ignored::Stale));
    assert_eq!(
        judge(json!({ "from": from })),
        Verdict::Reject(Rejected::Malformed)
    );
}

fn facts(shards: ShardSet) -> Arc<Facts> {
    Facts::new(FixedFacts {
        public_key: identity(1).public_key(),
        node_id: "node-1".to_owned(),
        owner_address: None,
        version: "1.0.0",
        shards,
        quota_bytes: 1 << 30,
    })
}

#[test]
fn our_own_announcement_passes_and_has_the_published_fields() {
    let facts = facts(ShardSet::all(ShardCount::new(16).unwrap()));
    let relay = identity(3).peer_id();
    let addresses = [
        format!("/ip4/192.0.2.1/tcp/5011/p2p/{}", source()),
        format!(
            "/ip4/192.0.2.9/tcp/4001/ws/p2p/{relay}/p2p-circuit/p2p/{}",
            source()
        ),
    ];
    let message = announcement(&facts, &addresses, true, false, NOW);
    let said: Value = serde_json::from_slice(&message).unwrap();
    assert_eq!(said["peerId"], json!(source().to_string()));
    assert_eq!(said["nodeId"], json!("node-1"));
    assert_eq!(said["timestamp"], json!(NOW));
    assert_eq!(said["multiaddrs"], json!([addresses[0]]));
    assert_eq!(said["relayAddrs"], json!([addresses[1]]));
    assert_eq!(said["isRegistered"], json!(true));
    assert_eq!(
        said["publicKey"],
        json!(identity(1).public_key().to_string())
    );
    assert_eq!(said["shards"], json!([{ "start": 0, "end": 15 }]));
    assert_eq!(said["shardCount"], json!(16));
    assert_eq!(said["blobCount"], json!(0), "the store has not spoken yet");
    assert_eq!(said.get("leaving"), None);
    let heard = accepted(&message);
    assert_eq!((heard.addresses.len(), heard.leaving), (2, false));
    let goodbye = announcement(&facts, &[], true, true, NOW);
    assert!(accepted(&goodbye).leaving);
}

#[test]
fn no_shards_and_no_addresses_make_it_too_long_to_be_heard() {
    let count = ShardCount::new(4096).unwrap();
    let scattered: Vec<ShardRange> = (0..1365)
        .map(|at| ShardRange {
            start: at * 3,
            end: at * 3,
        })
        .collect();
    let facts = facts(ShardSet::from_ranges(count, &scattered).unwrap());
    let addresses: Vec<String> = (0..1000)
        .map(|port| format!("/dns4/{}.example/tcp/{port}", "n".repeat(200)))
        .collect();
    let message = announcement(&facts, &addresses, false, false, NOW);
    assert!(message.len() <= MESSAGE_LIMIT_BYTES, "{}", message.len());
    accepted(&message);
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut announcements = Announcements::new();
        let _ = announcements.announce(source(), &bytes, NOW);
        let _ = announcements.broadcast(source(), &bytes, NOW);
    }

    #[test]
    fn no_value_in_any_field_panics(
        field in prop::sample::select(vec![
            "peerId", "nodeId", "availableStorage", "blobCount", "timestamp", "relayAddrs",
            "multiaddrs", "publicKey", "isRegistered", "shards", "shardCount", "leaving",
        ]),
        number: f64,
        text: String,
        list in proptest::collection::vec(any::<String>(), 0..20),
    ) {
        for value in [json!(number), json!(text), json!(list), Value::Null] {
            if let Verdict::Accept(heard) = judge(&with(&[(field, value)])) {
                prop_assert_eq!(heard.peer, source());
                prop_assert!(heard.addresses.len() <= ADDRESSES_LIMIT);
                prop_assert!(heard.announced.node_id.chars().count() <= 128);
            }
        }
    }
}
