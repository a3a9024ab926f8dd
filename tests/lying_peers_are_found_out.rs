//! Peers of the current version that give wrong bytes, sizes, roots, endless streams or lists of what they
//! do not have: no wrong blob reaches a client or the disk, another peer serves, and the liar loses its
//! standing. What a peer asks for or sends is answered from here alone and goes no further.

use serde_json::{Value, json};

use crate::harness::client::Request;
use crate::harness::js::Js;
use crate::harness::network::{Over, home};
use crate::harness::{Home, Running, content, wait_for};

/// A kind of refusal as it travels.
const NOT_FOUND: u64 = 1;
const NOT_ADMITTED: u64 = 3;
const NOT_OUR_SHARD: u64 = 4;
const MISMATCH: u64 = 5;

/// Blobs up to this size are verified before their first byte goes out.
const VERIFIED_FIRST: usize = 4 << 20;

/// A peer that says it keeps these shards of 16, with so much room that it ranks first or last.
fn keeper(start: u64, end: u64, capacity: u64) -> Js {
    Js::peer(json!({"serve": {
        "current": true,
        "shards": [{"start": start, "end": end}],
        "shardCount": 16,
        "capacity": capacity,
        "accepting": true,
    }}))
}

fn liar() -> Js {
    keeper(0, 15, 1 << 44)
}

fn honest() -> Js {
    keeper(0, 15, 1 << 20)
}

fn knowing(peers: &[&Js]) -> Home {
    let addresses: Vec<&str> = peers.iter().map(|peer| peer.tcp()).collect();
    home()
        .env("P2P_BOOTSTRAP_PEERS", &addresses.join(","))
        .env("BYTECAVE__P2P__REQUEST_TIMEOUT", "2s")
        .env("BYTECAVE__REPLICATION__RECONCILE_INTERVAL", "1h")
}

fn among(home: &Home, peers: &[&Js]) -> Running {
    let node = home.start();
    for peer in peers {
        node.wait_acquainted(peer.peer_id());
    }
    node
}

fn hold(peer: &Js, seed: u64, size: usize, lie: Option<&str>) -> String {
    let args = json!({"content": {"seed": seed, "size": size}, "lie": lie});
    peer.ask("hold", args)["cid"].as_str().unwrap().to_owned()
}

/// How often a peer was asked by a stream of this name.
fn asked(peer: &Js, name: &str) -> usize {
    peer.ask("asked", json!({"name": name}))
        .as_array()
        .unwrap()
        .len()
}

fn score(node: &Running, peer: &str) -> f64 {
    let report = node.replication();
    let peers = report["peers"].as_array().unwrap();
    let found = peers.iter().find(|row| row["peerId"] == peer);
    found.map_or(0.0, |row| row["score"].as_f64().unwrap())
}

/// Asks until the blob comes; whatever comes before that is an error or a broken connection. What is verified
/// before its first byte goes out comes the first time.
#[track_caller]
fn retrieve(node: &Running, cid: &str, tries: usize, case: &str) {
    for _ in 0..tries {
        let Ok(got) = node.client().send(Request::get(format!("/retrieve/{cid}"))) else {
            continue;
        };
        if got.status == 200 {
            assert_eq!(content::hex(&content::sha256(&got.body)), cid, "{case}");
            return;
        }
        assert!(matches!(got.status, 404 | 504), "{case}: {got:?}");
    }
    panic!("{case}: the blob did not come, tried {tries} times");
}

/// A part is never given before the whole is known to be right, so it comes the first time, whatever the
/// blob's size.
#[track_caller]
fn retrieve_part(node: &Running, cid: &str, case: &str) {
    let range = Request::get(format!("/retrieve/{cid}")).header("Range", "bytes=1000-1999");
    let part = node.client().ask(range);
    assert_eq!(part.status, 206, "{case}: {part:?}");
    let whole = node.client().retrieve(cid);
    assert_eq!(content::hex(&content::sha256(&whole.body)), cid, "{case}");
    assert!(part.body == whole.body[1000..2000], "{case}");
}

fn against(lies: &[&str], size: usize) {
    let honest = honest();
    let cases = lies.iter().flat_map(|lie| [(lie, false), (lie, true)]);
    for (seed, (lie, ranged)) in (1..).zip(cases) {
        let case = format!("{lie}, {}", if ranged { "a part" } else { "the whole" });
        let liar = liar();
        let home = knowing(&[&liar, &honest]);
        let node = among(&home, &[&liar, &honest]);
        let cid = hold(&liar, seed, size, Some(lie));
        assert_eq!(hold(&honest, seed, size, None), cid);
        if ranged {
            retrieve_part(&node, &cid, &case);
        } else {
            let tries = if size <= VERIFIED_FIRST { 1 } else { 3 };
            retrieve(&node, &cid, tries, &case);
        }
        assert!(
            asked(&liar, "retrieve/2.0.0") > 0,
            "{case}: the liar was not asked"
        );
        // Whoever only lets wait is passed over, and blamed when nobody else was quicker.
        if *lie != "silent" {
            wait_for(&format!("a bad name for the liar: {case}"), || {
                (score(&node, liar.peer_id()) < 0.0).then_some(())
            });
        }
        assert!(score(&node, honest.peer_id()) >= 0.0, "{case}");
    }
}

#[test]
fn small_blobs() {
    against(
        &[
            "wrong bytes",
            "short",
            "long",
            "endless",
            "wrong size",
            "cut off",
            "silent",
        ],
        3000,
    );
}

#[test]
fn large_blobs() {
    against(
        &[
            "wrong bytes",
            "late wrong bytes",
            "long",
            "wrong size",
            "cut off",
            "silent",
        ],
        6 << 20,
    );
}

#[test]
fn a_peer_that_breaks_off_is_replaced_in_the_middle_of_a_blob() {
    let (broken, honest) = (liar(), honest());
    let home = knowing(&[&broken, &honest]);
    let node = among(&home, &[&broken, &honest]);
    let cid = hold(&broken, 1, 9 << 20, Some("cut off"));
    hold(&honest, 1, 9 << 20, None);
    let got = node.client().retrieve(&cid);
    assert_eq!(got.status, 200);
    assert_eq!(content::hex(&content::sha256(&got.body)), cid);
    let requests = honest.ask("asked", json!({"name": "retrieve/2.0.0"}));
    // It may have been asked beside the other one before that began.
    let mut all = requests.as_array().unwrap().iter();
    assert!(
        all.any(|one| one["request"]["from"].as_u64() > Some(0)),
        "it was asked for what had come already: {requests}"
    );
}

#[test]
fn copies_that_are_not_what_is_said_are_not_kept() {
    let home = home().env("BYTECAVE__P2P__REQUEST_TIMEOUT", "2s");
    let node = home.start();
    let id = node.peer_id();
    let address = node.multiaddr(Over::Tcp);
    // Each is another peer: of one that lied nothing more is taken for hours.
    let sender = || {
        let peer = Js::peer(json!({}));
        peer.connect(&address);
        peer
    };
    let give = |peer: &Js, seed: u64, size: usize, lie: Option<&str>| {
        let which = json!({"seed": seed, "size": size});
        peer.ask("give", json!({"peer": id, "content": which, "lie": lie}))
    };
    for size in [3000, 5 << 20] {
        for lie in ["wrong bytes", "wrong size", "short"] {
            let said = give(&sender(), 1, size, Some(lie));
            assert_eq!(said["first"]["word"], 1, "{lie}: {said}");
            assert_ne!(said["last"]["word"], 3, "{lie}: {said}");
            assert_eq!(node.client().list(1000).len(), 0, "{lie} was kept");
        }
    }
    // More than was said is cut off.
    let said = give(&sender(), 1, 3000, Some("endless"));
    assert_ne!(said["last"]["word"], 3, "{said}");
    // The bytes of a CID are its bytes, whatever is said of their tree.
    let liar = sender();
    let said = give(&liar, 2, 3000, Some("wrong root"));
    assert_eq!(said["last"]["refused"], MISMATCH, "{said}");
    wait_for("a bad name for the liar", || {
        (score(&node, liar.peer_id()) < 0.0).then_some(())
    });
    let said = give(&liar, 3, 3000, None);
    assert_eq!(said["first"]["refused"], NOT_ADMITTED, "{said}");
    let honest = sender();
    let said = give(&honest, 3, 3000, None);
    assert_eq!(said["last"]["word"], 3, "{said}");
    let again = give(&honest, 3, 3000, None);
    assert_eq!(
        again["first"]["word"], 2,
        "its bytes were asked for again: {again}"
    );
    assert_eq!(node.client().get("/ready").status, 200);
}

#[test]
fn what_is_listed_and_not_given_costs_the_lister_its_name() {
    let lister = liar();
    let home = knowing(&[&lister]);
    let node = among(&home, &[&lister]);
    lister.connect(&node.multiaddr(Over::Tcp));
    let shard = 3;
    let cids: Vec<String> = (0..40)
        .map(|seed| {
            let blob = content::in_shard(seed, 40, 16, |of| of == shard);
            content::hex(&content::sha256(&blob))
        })
        .collect();
    let said = lister.ask(
        "offer",
        json!({"peer": node.peer_id(), "shard": shard, "cids": cids}),
    );
    assert_eq!(said["wanted"], 40, "{said}");
    wait_for("an end of asking", || {
        let report = node.replication();
        let over = report["repairsWaiting"] == 0 && report["repairsRunning"] == 0;
        (over && score(&node, lister.peer_id()) < 0.0).then_some(())
    });
    assert!(asked(&lister, "retrieve/2.0.0") <= 40);
    assert_eq!(node.client().list(1000).len(), 0);
}

/// Each of these peers says that the next one's shards are its own.
#[test]
fn nothing_goes_round_in_a_ring() {
    let rumoured = keeper(0, 15, 1 << 40);
    let home = knowing(&[&rumoured]).env("NODE_SHARDS", r#"[{"start":0,"end":7}]"#);
    let node = among(&home, &[&rumoured]);
    let id = node.peer_id();
    let other = home_of_the_others(&node);
    let second = other.start();
    rumoured.connect(&second.multiaddr(Over::Tcp));
    for (one, another) in [(&node, &second), (&second, &node)] {
        one.wait_acquainted(&another.peer_id());
        one.wait_acquainted(rumoured.peer_id());
    }
    let asker = Js::peer(json!({}));
    asker.connect(&node.multiaddr(Over::Tcp));

    // What the second node has is not fetched from it for a peer, nor what the rumoured one has: of the second's
    // shards, and of this node's own.
    let there = content::in_shard(1, 3000, 16, |shard| shard > 7);
    let (theirs, ours) = (
        second.client().keep(&there),
        held_of(&rumoured, |shard| shard <= 7),
    );
    assert!(second.has(&theirs));
    for cid in [content::hex(&content::sha256(&there)), ours] {
        let said = asker.ask("take", json!({"peer": id, "cid": cid}));
        assert_eq!(said["refused"], NOT_FOUND, "{said}");
        let said = asker.call(&id, "blob", json!({"cid": cid}));
        assert_eq!(said["error"], "Blob not found", "{said}");
        assert!(!node.has(&cid));
    }
    for name in ["retrieve/2.0.0", "retrieve", "blob"] {
        assert_eq!(asked(&rumoured, name), 0, "the question went on by {name}");
    }
    // Nor is a copy handed on to those whose shard it is.
    let of_others = seed_of(&rumoured, |shard| shard > 7);
    let before = second.client().list(1000).len();
    let said: Value = asker.ask(
        "give",
        json!({"peer": id, "content": {"seed": of_others, "size": 3000}}),
    );
    assert_eq!(said["first"]["refused"], NOT_OUR_SHARD, "{said}");
    assert_eq!(second.client().list(1000).len(), before);
}

/// A seed of 3000 bytes of one of these shards.
fn seed_of(peer: &Js, wanted: impl Fn(u64) -> bool) -> u64 {
    let shard = |seed: u64| {
        let which = json!({"seed": seed, "size": 3000});
        let cid = peer.ask("cid", json!({"content": which}));
        u64::from_str_radix(&cid.as_str().unwrap()[..12], 16).unwrap() % 16
    };
    (0..1000).find(|&seed| wanted(shard(seed))).unwrap()
}

/// The CID of a blob of one of these shards that this peer has and nobody else.
fn held_of(peer: &Js, wanted: impl Fn(u64) -> bool) -> String {
    hold(peer, seed_of(peer, wanted), 3000, None)
}

/// A node of the other shards that knows this one.
fn home_of_the_others(node: &Running) -> Home {
    home()
        .env("P2P_BOOTSTRAP_PEERS", &node.multiaddr(Over::Tcp))
        .env("NODE_SHARDS", r#"[{"start":8,"end":15}]"#)
}
