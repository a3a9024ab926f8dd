//! `GET /retrieve` gives a blob that only a peer has, verified before the first byte; a peer that lies is not
//! believed, and `?local=1` asks nobody.

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::js::{Js, hex_cid};
use crate::harness::network::{Over, home};
use crate::harness::{Home, Running, content, wait_for};

/// A peer that is none of those here.
const SOMEBODY: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

fn joined(addresses: &[&str]) -> Home {
    home().env("P2P_BOOTSTRAP_PEERS", &addresses.join(","))
}

/// A node that knows these peers.
fn among(home: &Home, peers: &[&Js]) -> Running {
    let node = home.start();
    for peer in peers {
        node.wait_acquainted(peer.peer_id());
    }
    node
}

fn hold(peer: &Js, seed: u64, size: usize, more: Value) -> String {
    let mut args = json!({"content": {"seed": seed, "size": size}});
    args.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    peer.ask("hold", args)["cid"].as_str().unwrap().to_owned()
}

/// How often a blob was asked of a peer.
fn asked(peer: &Js, cid: &str) -> usize {
    let all = peer.ask("asked", json!({}));
    all.as_array()
        .unwrap()
        .iter()
        .filter(|one| one["name"] == "blob" || one["name"] == "retrieve")
        .filter(|one| one["request"]["cid"] == cid)
        .count()
}

#[test]
fn of_an_existing_peer() {
    let peer = Js::serving();
    let home = joined(&[peer.tcp()]);
    let node = among(&home, &[&peer]);
    let client = node.client();
    for (seed, size) in [(1, 2000), (2, 5 << 20)] {
        let cid = hold(&peer, seed, size, json!({"mimeType": "image/png"}));
        assert_eq!(client.get(&format!("/retrieve/{cid}?local=1")).status, 404);
        assert_eq!(asked(&peer, &cid), 0, "?local=1 asks nobody");
        let got = client.retrieve(&cid);
        assert_eq!(got.status, 200, "{got:?}");
        assert_eq!((got.body.len(), hex_cid(&got.body)), (size, cid.clone()));
        assert_eq!(got.header("content-type"), Some("image/png"));
        // Its shard is ours: it is kept, and nobody is asked again.
        assert_eq!(asked(&peer, &cid), 1);
        // Keeping it does not hold up the answer.
        wait_for("the blob to be kept", || {
            let local = client.get(&format!("/retrieve/{cid}?local=1"));
            (local.status == 200).then_some(())
        });
        assert_eq!(client.retrieve(&cid).status, 200);
        assert_eq!(asked(&peer, &cid), 1);
    }
}

#[test]
fn of_another_shard_without_keeping_it() {
    let peer = Js::serving();
    let cid = hold(&peer, 1, 2000, json!({}));
    let shard = u64::from_str_radix(&cid[..12], 16).unwrap() % 16;
    let other = (shard + 1) % 16;
    let home = joined(&[peer.ws()]).env(
        "NODE_SHARDS",
        &format!(r#"[{{"start":{other},"end":{other}}}]"#),
    );
    let node = among(&home, &[&peer]);
    for times in 1..=2 {
        let got = node.client().retrieve(&cid);
        assert_eq!((got.status, hex_cid(&got.body)), (200, cid.clone()));
        assert_eq!(asked(&peer, &cid), times);
    }
    let local = node.client().get(&format!("/retrieve/{cid}?local=1"));
    assert_eq!(local.status, 404);
    assert_eq!(node.client().health()["storedBlobs"], 0);
}

#[test]
fn of_another_node() {
    let home_a = home();
    let a = home_a.start();
    let small = content::bytes(1, 2000);
    let large = content::bytes(2, 12 << 20);
    for blob in [&small, &large] {
        let stored = a
            .client()
            .ask(Request::store(blob).header("Content-Type", "text/plain"));
        assert_eq!(stored.status, 201, "{stored:?}");
    }
    for over in Over::BOTH {
        // It takes no copies from the other, which would bring it both.
        let home_b = joined(&[&a.multiaddr(over)]).toml(&format!(
            "[p2p]\nreplicate_access = \"allowlist\"\nreplicate_allowlist = [\"{SOMEBODY}\"]\n"
        ));
        let b = home_b.start();
        b.wait_acquainted(&a.peer_id());
        for blob in [&small, &large] {
            let cid = content::cid(blob);
            let local = b.client().get(&format!("/retrieve/{cid}?local=1"));
            assert_eq!(local.status, 404);
            let got = b.client().retrieve(&cid);
            assert_eq!(got.status, 200, "{got:?}");
            assert!(got.body == *blob, "{} bytes came", got.body.len());
            assert!(
                got.header("content-type")
                    .unwrap()
                    .starts_with("text/plain")
            );
        }
        // And back: what the second stores, the first finds, over the connection that stands.
        a.wait_acquainted(&b.peer_id());
        let back = content::bytes(100 + u64::from(over == Over::Ws), 3000);
        let cid = b.client().keep(&back);
        assert!(a.client().retrieve(&cid).body == back);
        b.stop();
    }
}

#[test]
fn a_lying_peer_is_not_believed() {
    let liar = Js::serving();
    let home = joined(&[liar.tcp()]).env("BYTECAVE__P2P__REQUEST_TIMEOUT", "2s");
    let node = among(&home, &[&liar]);
    let lies = [
        "wrong bytes",
        "short",
        "long",
        "refused",
        "no base64",
        "nonsense",
        "cut off",
        "too long",
        "silent",
    ];
    for (seed, lie) in (10..).zip(lies) {
        let cid = hold(&liar, seed, 2000, json!({"lie": lie}));
        let got = node.client().retrieve(&cid);
        assert!(matches!(got.status, 404 | 504), "{lie}: {got:?}");
        let type_ = got.header("content-type");
        assert_eq!(type_, Some("application/problem+json"), "{lie}");
        let local = node.client().get(&format!("/retrieve/{cid}?local=1"));
        assert_eq!(local.status, 404, "{lie} was kept");
    }
    assert_eq!(node.client().health()["storedBlobs"], 0);
}

#[test]
fn an_endless_answer_is_cut_off() {
    let liar = Js::serving();
    let home = joined(&[liar.tcp()]).env("BYTECAVE__P2P__REQUEST_TIMEOUT", "2s");
    let node = among(&home, &[&liar]);
    let cid = hold(&liar, 1, 2000, json!({"lie": "endless"}));
    let got = node.client().retrieve(&cid);
    assert!(matches!(got.status, 404 | 504), "{got:?}");
    // The node goes on, and so does what else it asks for.
    assert_eq!(node.client().get("/ready").status, 200);
}

#[test]
fn an_honest_peer_makes_good_for_a_liar() {
    let (liar, honest) = (Js::serving(), Js::serving());
    let home = joined(&[liar.tcp(), honest.tcp()]).env("BYTECAVE__P2P__REQUEST_TIMEOUT", "5s");
    let node = among(&home, &[&liar, &honest]);
    for (seed, lie) in (1..).zip(["wrong bytes", "short", "nonsense", "refused", "silent"]) {
        let cid = hold(&liar, seed, 3000, json!({"lie": lie}));
        assert_eq!(hold(&honest, seed, 3000, json!({})), cid);
        let got = node.client().retrieve(&cid);
        assert_eq!(got.status, 200, "{lie}: {got:?}");
        assert_eq!(hex_cid(&got.body), cid, "{lie}");
    }
}

#[test]
fn what_nobody_has_is_not_found_and_local_asks_nobody() {
    let peer = Js::serving();
    let home = joined(&[peer.tcp()]);
    let node = among(&home, &[&peer]);
    let cid = hex_cid(b"nobody has this");
    let local = node.client().get(&format!("/retrieve/{cid}?local=1"));
    assert_eq!(local.status, 404);
    assert_eq!(asked(&peer, &cid), 0);
    let got = node.client().retrieve(&cid);
    assert_eq!(got.status, 404, "{got:?}");
    assert!(got.json()["detail"].is_string(), "{got:?}");
    assert!(asked(&peer, &cid) <= 1);
    // A peer's question is answered from here alone: no question goes on to another peer.
    let asker = Js::peer(json!({}));
    asker.connect(&node.multiaddr(Over::Tcp));
    let only_there = hold(&peer, 7, 1000, json!({}));
    let answer = asker.call(&node.peer_id(), "blob", json!({"cid": only_there}));
    assert_eq!(answer["error"], "Blob not found", "{answer}");
    assert_eq!(asked(&peer, &only_there), 0);
}
