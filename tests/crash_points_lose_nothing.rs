//! A node that dies between any two steps of a put, an ingest, a delete, a collection or a rotation comes
//! back with what it had acknowledged, without a trace of what it had not.
//!
//! The crash points exist when the program is built with the feature `failpoints`, as the test targets of
//! the Makefile build it.

use crate::harness::client::{Client, Request};
use crate::harness::{Home, Running, content, disk, wait_for};

const SMALL: usize = 50_000;
const LARGE: usize = 6 << 20;

/// What a crash at a point does to the operation that ran into it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Outcome {
    /// As if it had never been asked for.
    Undone,
    /// Done, though nobody was told.
    Done,
}

/// Starts a node that aborts when it comes to `point`, lets `act` run into it, and starts it again.
fn crash(home: &mut Home, point: &str, act: impl Fn(&Client)) -> Running {
    home.set("FAILPOINTS", &format!("{point}=return"));
    let mut node = home.start();
    act(&node.client());
    wait_for(&format!("the crash at {point}"), || {
        (!node.alive()).then_some(())
    });
    assert_eq!(
        node.end().code(),
        None,
        "it ends by a signal at {point}, not in order"
    );
    home.unset("FAILPOINTS");
    home.start()
}

/// Counters agree with the listing, everything listed reads right, and a full count finds no orphan.
fn sound(home: &Home, node: Running, point: &str) {
    let client = node.client();
    assert!(
        disk::files(&home.data().join("tmp")).is_empty(),
        "after {point}"
    );
    let listed = client.list(100);
    for row in &listed {
        let cid = row["cid"].as_str().unwrap();
        let answer = client.retrieve(cid);
        assert_eq!(content::cid(&answer.body), cid, "after {point}");
    }
    client.holds(listed.len());
    node.stop();
    home.cli(&["verify"]).well();
}

#[test]
fn of_a_put() {
    let points = [
        ("put::before-commit", SMALL, Outcome::Undone),
        ("commit::before-write", SMALL, Outcome::Undone),
        ("commit::after-write", SMALL, Outcome::Done),
        ("large::before-finish", LARGE, Outcome::Undone),
        ("large::before-intent", LARGE, Outcome::Undone),
        ("ingest::before", LARGE, Outcome::Undone),
        ("ingest::after", LARGE, Outcome::Undone),
        ("large::before-answer", LARGE, Outcome::Done),
    ];
    for (point, size, outcome) in points {
        let mut home = Home::new();
        let node = home.start();
        let before = [content::bytes(1, SMALL), content::bytes(2, LARGE)];
        for blob in &before {
            node.client().keep(blob);
        }
        node.stop();
        let unpacked = disk::used(&home.data());

        let blob = content::bytes(3, size);
        let node = crash(&mut home, point, |client| {
            assert!(
                client.send(Request::store(&blob)).is_err(),
                "{point} was not reached"
            );
        });
        let client = node.client();
        for blob in &before {
            assert_eq!(
                client.retrieve(&content::cid(blob)).body,
                *blob,
                "after {point}"
            );
        }
        let found = client.retrieve(&content::cid(&blob));
        match outcome {
            Outcome::Done => assert_eq!(found.body, blob, "after {point}"),
            Outcome::Undone => {
                found.problem(404);
                if size == LARGE {
                    wait_for(&format!("the end of orphan bytes after {point}"), || {
                        (disk::used(&home.data()) < unpacked + LARGE as u64).then_some(())
                    });
                }
            }
        }
        // The same bytes can be stored as if nothing had happened.
        let again = client.store(&blob);
        assert_eq!(
            again.status,
            if outcome == Outcome::Done { 200 } else { 201 },
            "after {point}: {again:?}"
        );
        sound(&home, node, point);
    }
}

#[test]
fn of_a_delete() {
    let points = [
        ("delete::before-commit", SMALL, Outcome::Undone),
        ("delete::before-commit", LARGE, Outcome::Undone),
        ("commit::before-write", SMALL, Outcome::Undone),
        ("commit::after-write", SMALL, Outcome::Done),
        ("commit::after-write", LARGE, Outcome::Done),
        ("drop::before-unlink", LARGE, Outcome::Done),
        ("drop::after-unlink", LARGE, Outcome::Done),
    ];
    for (point, size, outcome) in points {
        let mut home = Home::new();
        let node = home.start();
        let blob = content::bytes(4, size);
        let other = content::bytes(5, size);
        let cid = node.client().keep(&blob);
        node.client().keep(&other);
        node.stop();
        let full = disk::used(&home.data());

        let node = crash(&mut home, point, |client| {
            // Told or not: the file may go after the answer.
            let _ = client.send(Request::new("DELETE", format!("/blobs/{cid}")));
        });
        let client = node.client();
        assert_eq!(
            client.retrieve(&content::cid(&other)).body,
            other,
            "after {point}"
        );
        let found = client.retrieve(&cid);
        match outcome {
            Outcome::Undone => assert_eq!(found.body, blob, "after {point}"),
            Outcome::Done => drop(found.problem(404)),
        }
        if outcome == Outcome::Done && size == LARGE {
            wait_for("the space of the deleted blob", || {
                (disk::used(&home.data()) + LARGE as u64 / 2 < full).then_some(())
            });
        }
        sound(&home, node, point);
    }
}

#[test]
fn of_a_collection_and_a_rotation() {
    for (point, path) in [
        ("gc::before-off", "/admin/gc"),
        ("rotate::between-pages", "/admin/keys/rotate"),
    ] {
        let mut home = Home::new();
        let node = home.start();
        let client = node.client();
        let mut kept = Vec::new();
        for n in 0..12 {
            // All in one shard: half of its bytes will be dead.
            let blob = content::in_shard(n, SMALL, 16, |shard| shard == 5);
            let cid = client.keep(&blob);
            if n % 2 == 0 {
                assert_eq!(
                    client
                        .ask(Request::new("DELETE", format!("/blobs/{cid}")))
                        .status,
                    204
                );
            } else {
                kept.push(blob);
            }
        }
        node.stop();
        let node = crash(&mut home, point, |client| {
            let _ = client.send(Request::new("POST", path).body(b""));
        });
        for blob in &kept {
            assert_eq!(
                node.client().retrieve(&content::cid(blob)).body,
                *blob,
                "after {point}"
            );
        }
        // What was interrupted can be done to its end.
        let again = node.client().ask(Request::new("POST", path).body(b""));
        assert!(matches!(again.status, 200 | 202), "{point}: {again:?}");
        sound(&home, node, point);
    }
}

/// Every port would go on pointing at the dead actor: the node stops in order and says to start it again.
#[test]
fn of_an_actor_ends_the_node_in_order() {
    let mut home = Home::new();
    home.set("FAILPOINTS", "actor::put=1*off->1*panic");
    let mut node = home.start();
    let client = node.client();
    let kept = client.keep(&content::bytes(1, SMALL));
    // Whatever the client is told, it is no success.
    let refused = client.send(Request::store(&content::bytes(2, SMALL)));
    assert!(refused.is_ok_and(|answer| answer.status >= 500));
    wait_for("the end of the node", || (!node.alive()).then_some(()));
    let said = node.said();
    assert_eq!(node.end().code(), Some(70), "{said}");
    assert!(said.contains("an actor died"), "{said}");
    home.unset("FAILPOINTS");
    let node = home.start();
    assert_eq!(node.client().retrieve(&kept).body, content::bytes(1, SMALL));
    sound(&home, node, "actor::put");
}
