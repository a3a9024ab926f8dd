//! What peers of the JavaScript network send is kept where it belongs here and the settings allow it, and
//! refused with the reason where not.

use serde_json::{Value, json};

use crate::harness::Home;
use crate::harness::js::{Js, answered, refused};
use crate::harness::network::{Met, Over, home, meet};

const MIB: usize = 1024 * 1024;

/// The shard of a blob of the peer's, from its name.
fn shard(hex: &str, count: u64) -> u64 {
    u64::from_str_radix(&hex[..12], 16).unwrap() % count
}

#[test]
fn replicas_are_taken_when_they_belong_here() {
    let home = home().env("NODE_SHARDS", r#"[{"start":0,"end":7}]"#);
    let met = meet(home, Over::Tcp);
    let which = |seed: u64| json!({"seed": seed, "size": 3000});
    let in_half = |low: bool| {
        (0..1000)
            .find(|&seed| {
                let hex = met.peer.ask("cid", json!({"content": which(seed)}));
                (shard(hex.as_str().unwrap(), 16) < 8) == low
            })
            .unwrap()
    };
    let (ours, others) = (in_half(true), in_half(false));

    let push = |seed: u64, fields: Value| {
        answered(met.ask("push", json!({"content": which(seed), "fields": fields})))
    };
    let first = push(ours, json!({"mimeType": "text/plain"}));
    assert_eq!(first["success"], true, "{first}");
    assert_ne!(first["alreadyStored"], true, "{first}");
    let second = push(ours, json!({}));
    assert_eq!(second["success"], true, "{second}");
    assert_eq!(second["alreadyStored"], true, "{second}");
    let hex = met.peer.ask("cid", json!({"content": which(ours)}));
    let got = met.node.client().retrieve(hex.as_str().unwrap());
    assert_eq!(got.status, 200);
    assert!(
        got.header("content-type")
            .unwrap()
            .starts_with("text/plain"),
        "{got:?}"
    );

    let upper = hex.as_str().unwrap().to_uppercase();
    assert_eq!(push(ours, json!({"cid": upper}))["success"], true);
    refused(&push(others, json!({})), "shard");
    // Its shard is ours, and its bytes are others.
    refused(&push(others, json!({"cid": hex})), "does not match");
    refused(&push(ours, json!({"cid": "xyz"})), "Invalid request");
    met.node.client().holds(1);
    met.still_connected();
}

fn only(access: &str, peer: &str) -> Home {
    home().toml(&format!(
        "[p2p]\nreplicate_access = \"{access}\"\nreplicate_allowlist = [\"{peer}\"]\n"
    ))
}

#[test]
fn replicas_are_taken_from_listed_peers_only() {
    let listed = Js::peer(json!({}));
    let home = only("allowlist", listed.peer_id());
    let met = meet(home, Over::Tcp);
    listed.connect(&met.node.multiaddr(Over::Tcp));
    let push = json!({"peer": met.id, "content": {"seed": 1, "size": 1000}});
    refused(
        &answered(met.peer.ask("push", push.clone())),
        "not admitted",
    );
    // Refused unread: the answer comes, and whoever goes on sending is cut short.
    let large = json!({"peer": met.id, "content": {"seed": 2, "size": 5 * MIB}});
    refused(&met.peer.ask("push", large)["answer"], "not admitted");
    assert_eq!(answered(listed.ask("push", push))["success"], true);
    met.node.client().holds(1);
    met.still_connected();
}

#[test]
fn stores_are_taken_as_the_setting_says() {
    let store = |met: &Met| {
        let push = json!({"protocol": "store", "content": {"seed": 1, "size": 1000}});
        answered(met.ask("push", push))
    };
    let signed = meet(home(), Over::Ws);
    refused(&store(&signed), "not authorized");
    assert_eq!(signed.node.client().health()["storedBlobs"], 0);

    let off = meet(home().env("BYTECAVE__P2P__STORE_ACCESS", "off"), Over::Ws);
    assert_eq!(store(&off)["success"], false);
    let heard = off.ask("browse", json!({"content": {"seed": 1, "size": 1000}}));
    assert_eq!(heard["answer"]["success"], false, "{heard}");

    let open = meet(home().env("BYTECAVE__P2P__STORE_ACCESS", "open"), Over::Ws);
    let answer = store(&open);
    assert_eq!(answer["success"], true, "{answer}");
    let hex = answer["cid"].as_str().unwrap();
    assert_eq!(hex.len(), 64, "{answer}");
    assert_eq!(open.node.client().retrieve(hex).status, 200);
}
