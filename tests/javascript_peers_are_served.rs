//! Peers of the existing JavaScript network find in our node one of theirs: all 1.0.0 protocols, over TCP
//! and WebSocket, in any fragmentation, large blobs both ways; and those that misbehave harm nobody.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::js::{Js, answered, hex_cid, refused, told};
use crate::harness::network::{Over, home, meet, meet_with};
use crate::harness::{content, wait_for};

const MIB: usize = 1024 * 1024;

/// The protocols that a node serves, without their version.
const SERVED: [&str; 7] = [
    "health",
    "info",
    "have-list",
    "blob",
    "retrieve",
    "replicate",
    "store",
];

#[test]
fn identify_tells_who_speaks() {
    let met = meet(home(), Over::Tcp);
    let identified = met.ask("identified", json!({}));
    assert_eq!(
        identified["agent"],
        format!("bytecave/{}", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(identified["version"], "ipfs/0.1.0");
    let protocols: BTreeSet<&str> = identified["protocols"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p.as_str().unwrap())
        .collect();
    for name in SERVED {
        let name = format!("/bytecave/{name}/1.0.0");
        assert!(
            protocols.contains(name.as_str()),
            "{name} is not in {protocols:?}"
        );
    }
    for name in ["/ipfs/ping/1.0.0", "/ipfs/kad/1.0.0", "/floodsub/1.0.0"] {
        assert!(protocols.contains(name), "{name} is not in {protocols:?}");
    }
    assert!(met.ask("ping", json!({})).is_number());
    met.still_connected();
}

#[test]
fn health_and_info_keep_their_published_fields() {
    for over in Over::BOTH {
        let met = meet(home(), over);
        let client = met.node.client();
        client.keep(&content::bytes(1, 1000));
        client.keep(&content::bytes(2, 500));
        client.holds(2);
        let http = client.health();

        let health = met.call("health", json!({}));
        assert_eq!(health["peerId"], met.id);
        assert_eq!(health["status"], "healthy");
        assert_eq!(health["blobCount"], 2, "{health}");
        assert_eq!(health["storageUsed"], http["usedBytes"], "{health}");
        assert!(health["storageMax"].as_u64().unwrap() > 1500, "{health}");
        assert!(health["uptime"].is_u64(), "{health}");
        assert_eq!(health["version"], env!("CARGO_PKG_VERSION"));
        assert!(
            health["multiaddrs"].as_array().unwrap().len() >= 2,
            "{health}"
        );
        assert_eq!(
            health["nodeId"],
            format!("node-{}", &met.id[met.id.len() - 8..])
        );
        assert_eq!(health["publicKey"], http["publicKey"]);
        assert!(health.get("ownerAddress").is_none(), "{health}");
        for name in ["requestsLastHour", "avgResponseTime", "successRate"] {
            assert!(
                health["metrics"][name].is_number(),
                "metrics.{name}: {health}"
            );
        }

        let info = met.call("info", json!({}));
        assert_eq!(info["peerId"], met.id);
        assert_eq!(info["publicKey"], http["publicKey"]);
        assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(info["shards"], json!([{"start": 0, "end": 15}]));
        assert_eq!(info["shardCount"], 16);
        assert_eq!(info["accepting"], true);
        assert_eq!(info["capacity"], health["storageMax"]);
        let protocols = info["protocols"].to_string();
        assert!(protocols.contains("/bytecave/blob/1.0.0"), "{info}");
        met.still_connected();
    }
    let owner = "0x52908400098527886E0F7030069857D2E4169EE7";
    let met = meet(home().env("OWNER_ADDRESS", owner), Over::Tcp);
    for name in ["health", "info"] {
        assert_eq!(
            met.call(name, json!({}))["ownerAddress"],
            owner,
            "in {name}"
        );
    }
}

#[test]
fn have_list_answers_both_forms() {
    for over in Over::BOTH {
        let met = meet(home(), over);
        let client = met.node.client();
        let blobs: Vec<Vec<u8>> = (0..7).map(|n| content::bytes(n, 100)).collect();
        for blob in &blobs {
            client.keep(blob);
        }
        client.holds(7);
        let mut all: Vec<String> = blobs.iter().map(|blob| hex_cid(blob)).collect();
        all.sort();

        let sorted = |list: &Value| {
            let mut cids: Vec<String> = serde_json::from_value(list["cids"].clone()).unwrap();
            cids.sort();
            cids
        };
        let list = met.call("have-list", json!({}));
        assert_eq!(sorted(&list), all);
        assert_eq!(list["total"], 7);
        assert_eq!(list["hasMore"], false);

        // Page by page, nothing twice and nothing left out.
        let mut paged = Vec::new();
        for offset in [0, 3, 6] {
            let page = met.call("have-list", json!({"limit": 3, "offset": offset}));
            assert_eq!(page["total"], 7, "{page}");
            assert_eq!(page["hasMore"], offset < 6, "{page}");
            paged.extend(sorted(&page));
        }
        paged.sort();
        assert_eq!(paged, all);

        // The browser's form. Whatever way a name is written, the answer is in hex.
        let asked = json!({"cids": [
            all[0], hex_cid(b"not here"), all[1].to_uppercase(), content::cid(&blobs[0])
        ]});
        let which = met.call("have-list", asked);
        let found: BTreeSet<String> = sorted(&which).into_iter().collect();
        assert_eq!(
            found,
            BTreeSet::from([all[0].clone(), all[1].clone(), hex_cid(&blobs[0])])
        );
        met.still_connected();
    }
}

#[test]
fn a_blob_comes_whatever_way_its_cid_is_written() {
    for over in Over::BOTH {
        let met = meet(home(), over);
        let blob = content::bytes(1, 70_000);
        let stored = met
            .node
            .client()
            .ask(Request::store(&blob).header("Content-Type", "image/png"));
        assert_eq!(stored.status, 201, "{stored:?}");
        let hex = hex_cid(&blob);
        for protocol in ["blob", "retrieve"] {
            for cid in [
                hex.clone(),
                hex.to_uppercase(),
                content::cid(&blob),
                format!(
                    "f{}",
                    content::hex(&content::binary_cid(&blob)).to_uppercase()
                ),
            ] {
                let answer = met.call(protocol, json!({"cid": cid}));
                assert_eq!(answer["success"], true, "{protocol} of {cid}: {answer}");
                assert_eq!(answer["ciphertext"], told(&blob), "{protocol} of {cid}");
                assert_eq!(answer["mimeType"], "image/png", "{protocol} of {cid}");
            }
            let missing = met.call(protocol, json!({"cid": hex_cid(b"not here")}));
            assert_eq!(
                missing,
                json!({"success": false, "error": "Blob not found"})
            );
            for wrong in [json!({"cid": "xyz"}), json!({}), json!({"cid": 7})] {
                refused(&met.call(protocol, wrong), "Invalid request");
            }
        }
        let empty = met.node.client().keep(b"");
        let answer = met.call("blob", json!({"cid": empty}));
        assert_eq!(answer["ciphertext"], told(b""), "{answer}");
        met.still_connected();
    }
}

#[test]
fn frames_may_come_one_byte_at_a_time() {
    for over in Over::BOTH {
        let met = meet(home(), over);
        let blob = content::bytes(1, 5000);
        met.node.client().keep(&blob);
        for half in [false, true] {
            let heard = met.ask(
                "call",
                json!({"protocol": "blob", "request": {"cid": hex_cid(&blob)}, "piece": 1, "half": half}),
            );
            assert_eq!(answered(heard)["ciphertext"], told(&blob));
        }
        let heard = met.ask(
            "push",
            json!({"content": {"seed": 1, "size": 1000}, "piece": 1}),
        );
        assert_eq!(answered(heard)["success"], true);
        met.still_connected();
    }
}

#[test]
fn a_hundred_calls_run_on_one_connection() {
    let met = meet(home(), Over::Tcp);
    let blob = content::bytes(1, 20_000);
    met.node.client().keep(&blob);
    let request = json!({"protocol": "blob", "request": {"cid": hex_cid(&blob)}, "times": 100});
    let all = met.ask("call", request);
    let all = all.as_array().unwrap();
    assert_eq!(all.len(), 100);
    for heard in all {
        assert_eq!(answered(heard.clone())["ciphertext"], told(&blob));
    }
    met.still_connected();
}

#[test]
fn streams_beyond_the_limit_are_answered_busy_and_the_others_served() {
    let met = meet(home(), Over::Tcp);
    let blob = content::bytes(1, 20_000);
    met.node.client().keep(&blob);
    let mut request = json!({"protocol": "blob", "request": {"cid": hex_cid(&blob)}});
    request["parallel"] = json!(true);
    // The existing programs open no more than 32 at once, and ours serves 64.
    request["times"] = json!(40);
    for heard in met.ask("call", request.clone()).as_array().unwrap() {
        assert_eq!(answered(heard.clone())["ciphertext"], told(&blob));
    }
    request["times"] = json!(100);
    let all = met.ask("call", request);
    let (mut served, mut busy) = (0, 0);
    for heard in all.as_array().unwrap() {
        // None is left without an answer, and none hangs.
        let answer = answered(heard.clone());
        if answer["success"] == true {
            served += 1;
            assert_eq!(answer["ciphertext"], told(&blob));
        } else {
            busy += 1;
            refused(&answer, "busy");
        }
    }
    assert!(served >= 40, "{served} served, {busy} busy");
    met.still_connected();
    wait_for("the peer's allowance to grow again", || {
        let heard = met.ask("call", json!({"protocol": "health"}));
        heard["answer"]["peerId"].is_string().then_some(())
    });
}

#[test]
fn nonsense_is_answered_and_harms_nothing() {
    let met = meet(home().env("BYTECAVE__P2P__STORE_ACCESS", "open"), Over::Tcp);
    let deep = format!("{}1{}", "[".repeat(50_000), "]".repeat(50_000));
    let nonsense = [
        "this is no JSON",
        "",
        "null",
        "[]",
        "7",
        "\"text\"",
        "{\"cid\":",
        "{\"cid\":null,\"cids\":3,\"limit\":-1,\"offset\":\"x\",\"ciphertext\":[]}",
        &deep,
    ];
    for raw in nonsense {
        for name in ["health", "info"] {
            let heard = met.ask("call", json!({"protocol": name, "raw": raw}));
            assert_eq!(answered(heard)["peerId"], met.id, "{name}");
        }
        for name in ["blob", "retrieve", "replicate", "store"] {
            let heard = met.ask("call", json!({"protocol": name, "raw": raw}));
            refused(&answered(heard), "Invalid request");
        }
        // It has no form for an error; an answer it must be.
        let heard = met.ask("call", json!({"protocol": "have-list", "raw": raw}));
        answered(heard);
    }
    // Numbers that are no sensible ones, and more names than may be asked for at once.
    for request in [
        json!({"limit": 1e300, "offset": 1e300}),
        json!({"limit": u64::MAX, "offset": u64::MAX}),
        json!({"cids": vec!["ab"; 5000]}),
    ] {
        let heard = met.ask("call", json!({"protocol": "have-list", "request": request}));
        answered(heard);
    }
    // Bytes that are no text: a frame of three of them.
    for name in SERVED {
        let heard = met.ask(
            "misbehave",
            json!({"protocol": name, "hex": "00000003fffefd"}),
        );
        assert_eq!(heard["ended"], "closed", "{name}: {heard}");
    }
    // Content that is no base64, or in another alphabet.
    for ciphertext in ["%%%", "AA", "A===", "_-_-"] {
        let heard = met.ask(
            "push",
            json!({"content": {"text": "x"}, "fields": {"ciphertext": ciphertext}}),
        );
        refused(&answered(heard), "Invalid request");
    }
    assert_eq!(met.node.client().health()["storedBlobs"], 0);
    met.still_connected();
}

#[test]
fn an_over_long_length_ends_the_stream_at_once() {
    let met = meet(home().env("BYTECAVE__P2P__STORE_ACCESS", "open"), Over::Tcp);
    for name in SERVED {
        for head in ["ffffffff", "7fffffff", "06000000"] {
            let hex = format!("{head}{}", "7b".repeat(1000));
            let heard = met.ask("misbehave", json!({"protocol": name, "hex": hex}));
            assert_ne!(heard["ended"], "open", "{name} of {head}: {heard}");
        }
    }
    met.still_connected();
    met.call("health", json!({}));
}

#[test]
fn a_stream_that_stops_sending_is_ended() {
    let met = meet(
        home().env("BYTECAVE__P2P__REQUEST_TIMEOUT", "1s"),
        Over::Tcp,
    );
    let mut waiting = Vec::new();
    for name in SERVED {
        // Nothing; half a length; a length without its bytes.
        for hex in ["", "0000", "000000ff", "000000ff7b22"] {
            let args = json!({"peer": met.id, "protocol": name, "hex": hex});
            waiting.push((name, hex, met.peer.begin("misbehave", args)));
        }
    }
    // Meanwhile others of its requests are served.
    met.call("health", json!({}));
    for (name, hex, pending) in waiting {
        let heard = pending.value();
        assert_ne!(
            heard["ended"], "open",
            "{name} after {hex:?} sent nothing more: {heard}"
        );
    }
    met.still_connected();
}

#[test]
fn a_peer_that_never_reads_is_let_go() {
    let home = home().env("BYTECAVE__P2P__REQUEST_TIMEOUT", "1s");
    // A blob of more than its window, so that the node cannot be rid of it.
    let peer = Js::peer(json!({"window": 256 * 1024}));
    let met = meet_with(home, Over::Tcp, peer);
    let blob = content::bytes(1, 600_000);
    met.node.client().keep(&blob);
    let request = json!({"cid": hex_cid(&blob)});
    let held = met.ask(
        "hold_open",
        json!({"protocol": "blob", "count": 8, "request": request}),
    );
    assert_eq!(held["opened"], 8, "{held}");
    // Neither the same peer nor another one suffers.
    let other = Js::peer(json!({}));
    other.connect(&met.node.multiaddr(Over::Ws));
    for peer in [&met.peer, &other] {
        let answer = peer.call(&met.id, "blob", request.clone());
        assert_eq!(answer["ciphertext"], told(&blob));
    }
    let held = met.peer.ask("held", json!({"waitMs": 60_000}));
    assert_eq!(held["open"], 0, "{held}");
    met.still_connected();
}

fn bulk(over: Over) {
    let met = meet(home(), over);
    let client = met.node.client();
    for (seed, size) in [(5, 5 * MIB), (20, 20 * MIB)] {
        // From the peer: what arrives is what its hash says.
        let which = json!({"seed": seed, "size": size});
        let mut heard = met.ask("push", json!({"content": which}));
        let hex = heard["cid"].take().as_str().unwrap().to_owned();
        let answer = answered(heard);
        assert_eq!(answer["success"], true, "{answer}");
        let got = client.retrieve(&hex);
        assert_eq!(got.status, 200, "{got:?}");
        assert_eq!(got.body.len(), size);
        assert_eq!(hex_cid(&got.body), hex);
        // To the peer.
        let blob = content::bytes(seed, size);
        client.keep(&blob);
        let answer = met.call("blob", json!({"cid": hex_cid(&blob)}));
        assert_eq!(answer["ciphertext"], told(&blob));
        met.still_connected();
    }
    // Several at once share one connection.
    let pending: Vec<_> = (0..3)
        .map(|n| {
            let which = json!({"seed": 100 + n, "size": 5 * MIB});
            met.peer
                .begin("push", json!({"peer": met.id, "content": which}))
        })
        .collect();
    for one in pending {
        assert_eq!(answered(one.value())["success"], true);
    }
    met.still_connected();
}

#[test]
fn bulk_goes_both_ways_over_tcp() {
    bulk(Over::Tcp);
}

#[test]
fn bulk_goes_both_ways_over_websocket() {
    bulk(Over::Ws);
}

#[test]
fn a_peer_has_no_more_connections_than_it_may() {
    let home = home().env("BYTECAVE__P2P__MAX_CONNECTIONS_PER_PEER", "3");
    let met = meet(home, Over::Tcp);
    let address = met.node.multiaddr(Over::Tcp);
    for _ in 0..12 {
        // Some are refused in the handshake, some are closed after it.
        let _ = met
            .peer
            .attempt("connect", json!({"to": address, "again": true}));
    }
    wait_for("the surplus connections to end", || {
        let open = met.ask("connections", json!({}));
        (open["open"].as_array().unwrap().len() <= 3).then_some(())
    });
    met.call("health", json!({}));
    let other = Js::peer(json!({}));
    other.connect(&address);
    other.call(&met.id, "health", json!({}));
}
