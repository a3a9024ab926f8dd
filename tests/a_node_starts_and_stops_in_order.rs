//! A node says when it is up, stops in order when told to, and does not touch a data directory that is
//! another's, in use, or damaged.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::client::{Client, Request, Response};
use crate::harness::{Home, content, disk, free_port, wait_for};

const MIB: usize = 1024 * 1024;

/// The stop's own deadline, and the time a busy machine may add.
const STOP: Duration = Duration::from_secs(8 + 12);

#[test]
fn sigterm_and_sigint_end_an_idle_node_with_code_0() {
    let home = Home::new();
    let node = home.start();
    let cid = node.client().keep(b"still here");
    node.stop();
    let node = home.start();
    assert_eq!(node.client().retrieve(&cid).body, b"still here");
    node.interrupt();
    assert_eq!(node.end().code(), Some(0));
}

#[test]
fn sigterm_during_uploads_finishes_or_fails_them_cleanly() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let whole = content::bytes(1, 8 * MIB);
    let half = content::bytes(2, 8 * MIB);
    // One will get its last bytes after the signal, one never.
    let mut going_on = client.begin_upload(whole.len(), &whole[..6 * MIB]);
    let silent = client.begin_upload(half.len(), &half[..6 * MIB]);
    wait_for("both uploads to be under way", || {
        // Large bodies are written as they come.
        (!disk::files(&home.data().join("tmp")).is_empty()).then_some(())
    });
    let told = Instant::now();
    node.terminate();
    let finished = going_on
        .write_all(&whole[6 * MIB..])
        .ok()
        .and_then(|()| Response::read(going_on, false).ok())
        .is_some_and(|answer| answer.status == 201);
    let status = node.end();
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(told.elapsed() < STOP, "it took {:?}", told.elapsed());
    assert!(Response::read(silent, false).map_or(true, |answer| answer.status >= 400));

    let node = home.start();
    let client = node.client();
    let answer = client.retrieve(&content::cid(&whole));
    if finished {
        assert_eq!(answer.body, whole, "what was acknowledged is there");
    }
    client.retrieve(&content::cid(&half)).problem(404);
    assert!(disk::files(&home.data().join("tmp")).is_empty());
    node.stop();
    home.cli(&["verify"]).well();
}

#[test]
fn a_stopping_node_takes_nothing_new() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let _held = client.begin_upload(8 * MIB, &content::bytes(1, 5 * MIB));
    node.terminate();
    wait_for("the end of new work", || {
        match client.send(Request::store(b"too late")) {
            // The listener is closed, or says that it stops.
            Err(_) => Some(()),
            Ok(answer) if answer.status == 503 => Some(()),
            Ok(_) => None,
        }
    });
    assert_eq!(node.end().code(), Some(0));
}

#[test]
fn a_second_process_on_the_same_directory_is_refused() {
    let home = Home::new();
    let node = home.start();
    let cid = node.client().keep(b"mine");
    home.refused().naming(&["data", "in use"]);
    for offline in [&["verify"][..], &["shards", "drop", "0", "--yes"]] {
        assert_ne!(
            home.cli(offline).code,
            Some(0),
            "{offline:?} while a node runs"
        );
    }
    assert_eq!(
        node.client().retrieve(&cid).body,
        b"mine",
        "the first goes on"
    );
    node.kill();
    // A lock outlives no process.
    home.start().stop();
}

#[test]
fn a_taken_port_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    Home::new().env("PORT", &port).refused().naming(&[&port]);
}

#[test]
fn foreign_directories_are_left_alone() {
    let home = Home::new();
    fs::create_dir_all(home.data().join("photos")).unwrap();
    fs::write(home.data().join("photos/one.jpg"), "jpeg").unwrap();
    home.refused().naming(&["photos"]);
    assert_eq!(disk::files(&home.data()).len(), 1, "nothing was added");

    // The first ByteCave's.
    let home = Home::new();
    fs::create_dir_all(home.data().join("blobs/bafybei")).unwrap();
    home.refused().naming(&["blobs"]);

    // A database of something else.
    let home = Home::new();
    fs::create_dir_all(home.data().join("db")).unwrap();
    fs::write(home.data().join("db/CURRENT"), "nonsense").unwrap();
    home.refused();
    assert_eq!(
        fs::read_to_string(home.data().join("db/CURRENT")).unwrap(),
        "nonsense"
    );
}

/// Something done to a database.
type Damage = fn(&Path);

/// A home whose database was damaged while no node ran.
fn damaged(damage: Damage) -> Home {
    let home = Home::new();
    let node = home.start();
    for n in 0..20 {
        node.client().keep(&content::bytes(n, 5000));
    }
    node.client().keep(&content::bytes(99, 5 * MIB));
    node.stop();
    damage(&home.data().join("db"));
    home
}

#[test]
fn a_damaged_directory_is_refused_with_the_remedy() {
    let damages: [(&str, Damage, &str); 3] = [
        (
            "a bit in the manifest",
            |db| disk::flip(&manifest(db), 600),
            "verify",
        ),
        (
            "a missing manifest",
            |db| fs::remove_file(manifest(db)).unwrap(),
            "verify",
        ),
        (
            "a missing CURRENT",
            |db| fs::remove_file(db.join("CURRENT")).unwrap(),
            "verify --salvage",
        ),
    ];
    for (what, damage, remedy) in damages {
        let home = damaged(damage);
        let key = fs::read(home.data().join("keys/unlock.key")).unwrap();
        let files = disk::largest(&home.data().join("db"), "sst");
        // A damaged database is no reason to begin a new one, also not at the second try.
        for _ in 0..2 {
            let ended = home.refused();
            assert!(ended.text().contains(remedy), "{what}: {}", ended.text());
        }
        assert_eq!(
            fs::read(home.data().join("keys/unlock.key")).unwrap(),
            key,
            "{what}: keys stay"
        );
        assert_eq!(
            disk::largest(&home.data().join("db"), "sst"),
            files,
            "{what}: what is there stays"
        );
    }
}

#[test]
fn a_manifest_that_was_cut_short_is_refused() {
    let home = damaged(|db| {
        let manifest = manifest(db);
        let length = fs::metadata(&manifest).unwrap().len();
        let file = fs::OpenOptions::new().write(true).open(&manifest).unwrap();
        file.set_len(length / 2).unwrap();
    });
    home.refused().naming(&["verify"]);
}

fn manifest(db: &Path) -> PathBuf {
    disk::files(db)
        .into_iter()
        .find(|file| {
            file.file_name()
                .unwrap()
                .to_str()
                .unwrap()
                .starts_with("MANIFEST-")
        })
        .expect("a manifest")
}

#[test]
fn it_lives_while_it_recovers() {
    let port = free_port();
    let home = Home::bare()
        .env("PORT", &port.to_string())
        .env("P2P_ENABLED", "false");
    let node = home.start();
    let client = node.client();
    for n in 0..200 {
        client.keep(&content::bytes(n, 3000));
    }
    let token = home.token();
    node.kill();

    let mut node = home.launch();
    let client = Client::new(([127, 0, 0, 1], port).into()).with_token(&token);
    wait_for("an answer of /live", || {
        assert!(node.alive(), "{}", node.said());
        client
            .send(Request::get("/live"))
            .ok()
            .map(|answer| assert_eq!(answer.status, 200, "{answer:?}"))
    });
    let cid = content::cid(&content::bytes(0, 3000));
    let mut recovering = 0;
    wait_for("readiness", || {
        assert_eq!(client.get("/live").status, 200, "it lives throughout");
        let ready = client.get("/ready");
        // Asked after /ready: when this is still refused, so must /ready have been.
        let answer = client.retrieve(&cid);
        if answer.status == 503 {
            assert_eq!(answer.problem(503), "recovering");
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            assert_eq!(ready.status, 503, "{ready:?}");
            recovering += 1;
            return None;
        }
        assert_eq!(answer.status, 200, "{answer:?}");
        (ready.status == 200).then_some(())
    });
    eprintln!("{recovering} requests were answered 503 recovering");
    assert_eq!(client.get("/health").status, 200);
}

#[test]
fn the_start_says_who_and_where_and_the_log_keeps_it() {
    let home = Home::new().env("BYTECAVE__LOG__FILE", "logs/bytecave.log");
    let node = home.start();
    let peer = node.client().health()["peerId"]
        .as_str()
        .unwrap()
        .to_owned();
    wait_for("the start message", || {
        let said = node.said();
        (said.contains(&peer) && said.contains(&node.url()) && said.contains("curl")).then_some(())
    });
    let log = home.path().join("logs");
    wait_for("a log file", || {
        let text: String = disk::files(&log)
            .iter()
            .filter_map(|file| fs::read_to_string(file).ok())
            .collect();
        text.contains(&peer).then_some(())
    });
    node.stop();
    assert!(
        log.join("bytecave.log").exists(),
        "logs/bytecave.log: {:?}",
        disk::files(&log)
    );

    let off = Home::new().env("BYTECAVE__LOG__FILE", "off");
    off.start().stop();
    assert!(!off.path().join("logs").exists());

    // Left to itself it writes one, but not in a container, whose engine keeps the terminal's words.
    let contained = Home::new().env("container", "docker");
    contained.start().stop();
    assert!(!contained.path().join("logs").exists());
    let marks = ["/.dockerenv", "/run/.containerenv"];
    if !marks.iter().any(|mark| Path::new(mark).exists()) {
        let free = Home::new();
        free.start().stop();
        assert!(free.path().join("logs/bytecave.log").exists());
    }
}

#[test]
fn keys_are_made_once_and_for_the_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let home = Home::new();
    let node = home.start();
    let first = node.client().get("/info").json();
    node.stop();
    let keys = home.data().join("keys");
    let before: Vec<Vec<u8>> = disk::files(&keys)
        .iter()
        .map(|file| fs::read(file).unwrap())
        .collect();
    for name in ["private.key", "unlock.key", "api-token"] {
        let mode = fs::metadata(keys.join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} is {mode:o}");
    }
    assert!(keys.join("public.key").exists());
    let node = home.start();
    let second = node.client().get("/info").json();
    for name in ["peerId", "publicKey", "nodeId"] {
        assert_eq!(first[name], second[name], "{name}");
        assert!(
            first[name].as_str().is_some_and(|text| !text.is_empty()),
            "{first}"
        );
    }
    let after: Vec<Vec<u8>> = disk::files(&keys)
        .iter()
        .map(|file| fs::read(file).unwrap())
        .collect();
    assert_eq!(before, after);
}
