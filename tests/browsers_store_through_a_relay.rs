//! What a browser stores through the relay's storage link, or over a WebSocket of its own, is taken when its
//! account signed for it, once, and comes back; each refusal says why, and every request is answered.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::js::{Js, hex_cid, told};
use crate::harness::network::{Met, Over, home, meet};
use crate::harness::{Home, Running, content, free_port, wait_for};

fn now_ms() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

/// A relay, and a node with a storage link to it.
struct Linked {
    relay: Js,
    node: Running,
    id: String,
}

fn at(relay: &Js) -> Home {
    home()
        .env("P2P_RELAY_PEERS", relay.tcp())
        .env("BYTECAVE__P2P__STORAGE_LINKS", relay.link())
        .env("BYTECAVE__P2P__STORAGE_LINK_PORT", "0")
}

fn link(home: &Home, relay: Js) -> Linked {
    let node = home.start();
    let id = node.peer_id();
    relay.ask("registered", json!({"peer": id}));
    Linked { relay, node, id }
}

/// Some content of the relay's.
fn which(seed: u64) -> Value {
    json!({"seed": seed, "size": 2000})
}

impl Linked {
    fn authorize(&self, content: &Value, how: Value) -> Value {
        authorize(&self.relay, content, how)
    }

    fn store(&self, content: &Value, authorization: &Value) -> Value {
        let answer = self.relay.ask(
            "link_store",
            json!({"peer": self.id, "content": content, "authorization": authorization}),
        );
        assert_eq!(answer["type"], "storage-response");
        answer
    }

    fn stored(&self, content: &Value) -> String {
        let answer = self.store(content, &self.authorize(content, json!({})));
        assert_eq!(answer["success"], true, "{answer}");
        answer["cid"].as_str().unwrap().to_owned()
    }

    fn retrieve(&self, cid: &str) -> Value {
        let answer = self
            .relay
            .ask("link_retrieve", json!({"peer": self.id, "cid": cid}));
        assert_eq!(answer["type"], "retrieve-response");
        answer
    }
}

fn authorize(by: &Js, content: &Value, mut how: Value) -> Value {
    how["content"] = content.clone();
    by.ask("authorize", how)
}

#[track_caller]
fn refused(answer: &Value, words: &[&str]) {
    assert_eq!(answer["success"], false, "{answer}");
    let error = answer["error"].as_str().unwrap().to_lowercase();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error:?}");
    }
}

#[test]
fn a_blob_goes_in_and_comes_out_through_the_link() {
    let relay = Js::relay(json!({}));
    let home = at(&relay);
    let linked = link(&home, relay);
    let registration = linked.relay.ask("registered", json!({"peer": linked.id}));
    assert_eq!(registration["peerId"], linked.id);
    assert_eq!(
        registration["nodeId"],
        format!("node-{}", &linked.id[linked.id.len() - 8..])
    );
    // The relay of the existing network sends nothing to such a node; this one does.
    assert_eq!(registration["isRegistered"], false, "{registration}");

    let hex = linked.stored(&which(1));
    assert_eq!(
        json!(hex),
        linked.relay.ask("cid", json!({"content": which(1)}))
    );
    let got = linked.node.client().retrieve(&hex);
    assert_eq!((got.status, hex_cid(&got.body)), (200, hex.clone()));
    let back = linked.retrieve(&hex);
    assert_eq!(back["success"], true, "{back}");
    assert_eq!(back["data"], told(&got.body));
    assert_eq!(back["mimeType"], "application/octet-stream");

    // What came in by another door, in another type, under its other names.
    let blob = content::bytes(1, 3 << 20);
    let stored = linked
        .node
        .client()
        .ask(Request::store(&blob).header("Content-Type", "image/png"));
    assert_eq!(stored.status, 201, "{stored:?}");
    for cid in [
        hex_cid(&blob),
        hex_cid(&blob).to_uppercase(),
        content::cid(&blob),
    ] {
        let back = linked.retrieve(&cid);
        assert_eq!(back["data"], told(&blob), "{cid}");
        assert_eq!(back["mimeType"], "image/png", "{cid}");
    }
    refused(&linked.retrieve(&hex_cid(b"not here")), &["blob not found"]);
    refused(&linked.retrieve("xyz"), &["invalid request"]);

    // The same again, newly signed, is no error; a large one goes through as well.
    assert_eq!(linked.stored(&which(1)), hex);
    linked.stored(&json!({"seed": 3, "size": 10 << 20}));
    linked.node.client().holds(3);
}

#[test]
fn the_link_is_found_at_the_port_of_the_relay() {
    let relay = Js::relay(json!({}));
    let port = relay.link().rsplit(':').next().unwrap().to_owned();
    let home = home()
        .env("P2P_RELAY_PEERS", relay.tcp())
        .env("BYTECAVE__P2P__STORAGE_LINK_PORT", &port);
    let linked = link(&home, relay);
    linked.stored(&which(1));
    wait_for("the link to be told of", || {
        let network = linked.node.network();
        (network["links"][0]["registered"] == true).then_some(())
    });
}

#[test]
fn the_node_registers_again_after_the_relay_was_away() {
    let (port, link_port) = (free_port(), free_port());
    let options = json!({
        "seed": "a relay that comes back",
        "listen": [format!("/ip4/127.0.0.1/tcp/{port}")],
        "link": link_port,
    });
    let relay = Js::relay(options.clone());
    let home = at(&relay);
    let linked = link(&home, relay);
    // The link alone ends, with a word and without.
    for (times, abruptly) in [(2, false), (3, true)] {
        linked.relay.ask("link_drop", json!({"abruptly": abruptly}));
        linked
            .relay
            .ask("registered", json!({"peer": linked.id, "times": times}));
        linked.stored(&which(times));
    }
    // The whole relay ends.
    let Linked { relay, node, id } = linked;
    drop(relay);
    let relay = Js::relay(options);
    relay.ask("registered", json!({"peer": id}));
    let linked = Linked { relay, node, id };
    let hex = linked.stored(&which(9));
    assert_eq!(linked.retrieve(&hex)["success"], true);
}

/// What is wrong with an authorization, and the words of its refusal. `how` goes to `authorize` in
/// account.mjs; what it claims replaces what was signed.
fn wrongs(
    other_content: &str,
    stranger: &str,
    signer: &str,
) -> Vec<(&'static str, Value, Vec<&'static str>)> {
    let minute = 60_000;
    vec![
        (
            "signed for other content",
            json!({"claim": {"contentHash": other_content}}),
            vec!["not authorized"],
        ),
        (
            "signed six minutes ago",
            json!({"timestamp": now_ms() - 6 * minute}),
            vec!["not authorized", "s ago"],
        ),
        (
            "signed for a time to come",
            json!({"timestamp": now_ms() + 6 * minute}),
            vec!["not authorized", "future"],
        ),
        (
            "a younger time than was signed",
            json!({"timestamp": now_ms() - 6 * minute, "claim": {"timestamp": now_ms()}}),
            vec!["not authorized", "signature"],
        ),
        (
            "another nonce than was signed",
            json!({"claim": {"nonce": "another"}}),
            vec!["not authorized", "signature"],
        ),
        (
            "another app than was signed",
            json!({"appId": "tests", "claim": {"appId": "desktop"}}),
            vec!["not authorized"],
        ),
        (
            "another sender than signed",
            json!({"claim": {signer: stranger}}),
            vec!["not authorized", "signature"],
        ),
        (
            "an app that is not allowed",
            json!({"appId": "other"}),
            vec!["not authorized", "app"],
        ),
        (
            "a signature cut short",
            json!({"claim": {"signature": "0x1234"}}),
            vec!["signature"],
        ),
        (
            "a signature of zeros",
            json!({"claim": {"signature": format!("0x{}", "00".repeat(65))}}),
            vec!["signature"],
        ),
        (
            "a sender that is none",
            json!({"claim": {signer: "nobody"}}),
            vec!["not authorized"],
        ),
        ("a nonce that is none", json!({"nonce": ""}), vec!["nonce"]),
    ]
}

const APPS: &str = "tests,desktop";

#[test]
fn a_wrong_authorization_is_refused_with_its_reason_through_the_link() {
    let relay = Js::relay(json!({}));
    let home = at(&relay).env("BYTECAVE__P2P__ALLOWED_APPS", APPS);
    let linked = link(&home, relay);
    let other = hex_cid(b"other content");
    let stranger = linked.relay.ask("account", json!({"by": "stranger"}));
    for (what, how, words) in wrongs(&other, stranger.as_str().unwrap(), "address") {
        let authorization = linked.authorize(&which(1), how);
        let answer = linked.store(&which(1), &authorization);
        println!("{what}: {answer}");
        refused(&answer, &words);
    }
    // The right one for other bytes, and none at all.
    let authorization = linked.authorize(&which(1), json!({}));
    refused(
        &linked.store(&which(2), &authorization),
        &["not authorized", "content"],
    );
    refused(&linked.store(&which(1), &Value::Null), &["not authorized"]);
    assert_eq!(linked.node.client().health()["storedBlobs"], 0);

    // None of that used anything up, and the forms that programs write are understood.
    let answer = linked.store(&which(1), &authorization);
    assert_eq!(answer["success"], true, "{answer}");
    let address = linked.relay.ask("account", json!({"by": "browser"}));
    let hex = linked.relay.ask("cid", json!({"content": which(1)}));
    for claim in [
        json!({"address": address.as_str().unwrap().to_lowercase()}),
        json!({"contentHash": format!("0x{}", hex.as_str().unwrap())}),
    ] {
        let authorization = linked.authorize(&which(1), json!({"claim": claim}));
        let answer = linked.store(&which(1), &authorization);
        assert_eq!(answer["success"], true, "{claim}: {answer}");
    }
}

fn browse(met: &Met, content: &Value, mut how: Value) -> Value {
    how["content"] = content.clone();
    met.ask("browse", how)["answer"].clone()
}

#[test]
fn a_browser_stores_over_a_websocket_of_its_own() {
    let home = home().env("BYTECAVE__P2P__ALLOWED_APPS", APPS);
    let met = meet(home, Over::Ws);
    let other = hex_cid(b"other content");
    let stranger = met.peer.ask("account", json!({"by": "stranger"}));
    for (what, how, words) in wrongs(&other, stranger.as_str().unwrap(), "sender") {
        let answer = browse(&met, &which(1), how);
        println!("{what}: {answer}");
        refused(&answer, &words);
    }
    // The request names other bytes than it brings.
    let answer = browse(&met, &which(1), json!({"fields": {"cid": other}}));
    assert_eq!(answer["success"], false, "{answer}");
    assert_eq!(met.node.client().health()["storedBlobs"], 0);

    // 64 KiB pieces, 10 ms apart.
    for (seed, size) in [(1, 2000), (2, 3 << 20)] {
        let answer = browse(&met, &json!({"seed": seed, "size": size}), json!({}));
        assert_eq!(answer["success"], true, "{answer}");
        let hex = answer["cid"].as_str().unwrap();
        let back = met.call("retrieve", json!({"cid": hex}));
        assert_eq!(back["ciphertext"]["sha256"], hex, "{back}");
        assert_eq!(back["ciphertext"]["size"], size);
    }
    met.still_connected();
}

#[test]
fn a_nonce_is_used_once_even_over_a_restart() {
    let relay = Js::relay(json!({}));
    let home = at(&relay);
    let linked = link(&home, relay);
    let once = linked.authorize(&which(1), json!({"nonce": "once"}));
    assert_eq!(linked.store(&which(1), &once)["success"], true);
    refused(&linked.store(&which(1), &once), &["nonce"]);
    // Nor for other content, newly signed.
    let again = linked.authorize(&which(2), json!({"nonce": "once"}));
    refused(&linked.store(&which(2), &again), &["nonce"]);
    // It is the sender's own: another account may have the same.
    let other = linked.authorize(&which(2), json!({"nonce": "once", "by": "another"}));
    assert_eq!(linked.store(&which(2), &other)["success"], true);

    // Killed, so that nothing is written on the way out.
    let Linked { relay, node, id } = linked;
    node.kill();
    let node = home.start();
    relay.ask("registered", json!({"peer": id, "times": 2}));
    let linked = Linked { relay, node, id };
    refused(&linked.store(&which(1), &once), &["nonce"]);
    refused(&linked.store(&which(2), &other), &["nonce"]);
    // The same nonce by the other door.
    let browser = Js::peer(json!({}));
    browser.connect(&linked.node.multiaddr(Over::Ws));
    let answer = browser.ask(
        "browse",
        json!({"peer": linked.id, "content": which(1), "nonce": "once"}),
    );
    refused(&answer["answer"], &["nonce"]);
    linked.stored(&which(3));
}

#[test]
fn a_relay_that_talks_nonsense_harms_nothing() {
    let relay = Js::relay(json!({}));
    let home = at(&relay);
    let mut linked = link(&home, relay);
    let text = |text: &str, times: usize| {
        linked.relay.ask(
            "link_text",
            json!({"peer": linked.id, "text": text, "times": times}),
        )
    };
    for nonsense in [
        "",
        "this is no JSON",
        "[]",
        "null",
        "{}",
        r#"{"type":"dance"}"#,
        r#"{"type":7}"#,
        r#"{"type":"error","error":"no"}"#,
        r#"{"type":"registered"}"#,
        r#"{"type":"storage-request"}"#,
        r#"{"type":"retrieve-request","requestId":{}}"#,
    ] {
        text(nonsense, 3);
    }
    // A request of which nothing is right but its number is answered all the same.
    for fields in [
        json!({"data": 7}),
        json!({"data": "%%%"}),
        json!({"authorization": "x"}),
    ] {
        let answer = linked.relay.ask(
            "link_store",
            json!({"peer": linked.id, "content": which(1), "fields": fields}),
        );
        assert_eq!(answer["success"], false, "{answer}");
    }
    let answer = linked.relay.ask(
        "link_retrieve",
        json!({"peer": linked.id, "cid": null, "fields": {"cid": [1]}}),
    );
    assert_eq!(answer["success"], false, "{answer}");
    linked.stored(&which(1));

    // More requests at once than are served at once: each has its answer.
    let hex = hex_cid(&content::bytes(1, 10));
    let pending: Vec<_> = (0..300)
        .map(|_| {
            linked
                .relay
                .begin("link_retrieve", json!({"peer": linked.id, "cid": hex}))
        })
        .collect();
    for one in pending {
        assert_eq!(one.value()["success"], false);
    }
    linked.stored(&which(2));
    assert!(linked.node.alive());
}

#[test]
fn a_node_behind_a_relay_is_reached_through_it() {
    let relay = Js::relay(json!({}));
    let home = at(&relay);
    let linked = link(&home, relay);
    let circuit = format!("{}/p2p-circuit/p2p/{}", linked.relay.tcp(), linked.id);
    wait_for("the reservation", || {
        let health = linked.node.client().health();
        let listed = health["multiaddrs"].as_array()?;
        listed.iter().any(|a| *a == json!(circuit)).then_some(())
    });
    assert_eq!(
        linked.relay.ask("reservations", json!({})),
        json!([linked.id])
    );
    // The relay hears where its nodes are, and tells.
    let heard = linked.relay.ask("heard", json!({"from": linked.id}));
    assert!(heard[0]["message"]["peerId"] == json!(linked.id), "{heard}");
    let stranger = Js::peer(json!({}));
    let met = stranger.ask("connect", json!({"to": circuit}));
    assert_eq!(met["peer"], linked.id, "{met}");
    assert_eq!(met["limited"], true, "{met}");
    let identified = stranger.ask("identified", json!({"peer": linked.id}));
    assert!(
        identified["agent"]
            .as_str()
            .unwrap()
            .starts_with("bytecave/"),
        "{identified}"
    );
}
