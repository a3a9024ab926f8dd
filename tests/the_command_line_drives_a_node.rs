//! What a person or a script types: every command against a running node or a stopped one, its JSON, and
//! its exit codes.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use serde_json::Value;

use crate::harness::{Ended, Home, Running, content};

const MIB: usize = 1024 * 1024;

/// A node, and the commands that speak to it.
struct Shell {
    // Dropped before the home.
    node: Running,
    home: Home,
}

impl Shell {
    fn new() -> Self {
        let home = Home::new();
        let node = home.start();
        Self { node, home }
    }

    fn run(&self, args: &[&str]) -> Ended {
        let url = self.node.url();
        self.home.cli(&[&["--url", &url], args].concat())
    }

    fn file(&self, name: &str, content: &[u8]) -> String {
        fs::write(self.home.path().join(name), content).unwrap();
        name.to_owned()
    }
}

/// One JSON value per line.
#[track_caller]
fn lines(ended: &Ended) -> Vec<Value> {
    ended
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e} in {line:?}")))
        .collect()
}

#[test]
fn store_get_stat_pin_rm_and_ls() {
    let shell = Shell::new();
    for size in [0, 1000, 5 * MIB] {
        let blob = content::bytes(size as u64, size);
        let cid = content::cid(&blob);
        let file = shell.file("some file.bin", &blob);

        let stored = shell.run(&["store", "--json", &file]).well();
        assert_eq!(lines(&stored)[0]["cid"], cid.as_str(), "{stored:?}");
        assert!(shell.run(&["store", &file]).well().stdout.contains(&cid));

        let got = shell.run(&["get", &cid]).well();
        assert_eq!(got.bytes, blob, "to standard output");
        shell.run(&["get", &cid, "-o", "copy.bin"]).well();
        assert_eq!(fs::read(shell.home.path().join("copy.bin")).unwrap(), blob);
        fs::remove_file(shell.home.path().join("copy.bin")).unwrap();

        let stat = shell.run(&["stat", "--json", &cid]).well();
        let stat = &lines(&stat)[0];
        assert_eq!(
            (&stat["cid"], &stat["size"]),
            (&cid.clone().into(), &size.into()),
            "{stat}"
        );
        assert!(shell.run(&["ls"]).well().stdout.contains(&cid));
        assert!(shell.run(&["ls", "--json"]).well().stdout.contains(&cid));

        shell.run(&["pin", &cid]).well();
        assert_eq!(shell.run(&["rm", &cid]).code, Some(7), "pinned");
        shell.run(&["pin", "--remove", &cid]).well();
        shell.run(&["rm", &cid]).well();
        assert_eq!(shell.run(&["get", &cid]).code, Some(3), "gone");
        assert_eq!(shell.run(&["stat", &cid]).code, Some(3));
        assert_eq!(shell.run(&["rm", &cid]).code, Some(3));
        assert!(!shell.run(&["ls"]).well().stdout.contains(&cid));
    }
    shell.run(&["gc", "--json"]).well();
}

#[test]
fn several_files_and_standard_input() {
    let shell = Shell::new();
    let blobs: Vec<Vec<u8>> = (0..3).map(|n| content::bytes(n, 2000)).collect();
    let names: Vec<String> = blobs
        .iter()
        .enumerate()
        .map(|(n, blob)| shell.file(&format!("f{n}"), blob))
        .collect();
    let stored = shell
        .run(&["store", "--json", &names[0], &names[1], &names[2]])
        .well();
    let cids: Vec<String> = lines(&stored)
        .iter()
        .map(|row| row["cid"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        cids,
        blobs
            .iter()
            .map(|blob| content::cid(blob))
            .collect::<Vec<_>>()
    );

    let piped = content::bytes(9, 300_000);
    let mut child = shell
        .home
        .command(&["--url", &shell.node.url(), "store", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&piped).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert!(
        String::from_utf8(output.stdout)
            .unwrap()
            .contains(&content::cid(&piped))
    );

    // One that is missing does not keep the others back, and is told by the exit code.
    let other = shell.file("late", b"late");
    let some = shell.run(&["store", "missing-file", &other]);
    assert_ne!(some.code, Some(0), "{some:?}");
    assert!(some.stderr.contains("missing-file"), "{some:?}");
    assert_eq!(
        shell.node.client().retrieve(&content::cid(b"late")).status,
        200
    );
}

#[test]
fn cid_needs_no_node() {
    let home = Home::bare();
    for size in [0, 1, 1024, 1025, 300_000, 5 * MIB + 3] {
        let blob = content::bytes(size as u64, size);
        fs::write(home.path().join("f"), &blob).unwrap();
        let ended = home.cli(&["cid", "--json", "f"]).well();
        let json = &lines(&ended)[0];
        assert_eq!(json["cid"], content::cid(&blob).as_str());
        assert_eq!(json["size"], size);
        assert_eq!(
            json["blobRoot"],
            content::hex(&content::blob_root(&blob)).as_str()
        );
        assert_eq!(
            json["commitment"],
            content::hex(&content::commitment(&blob)).as_str()
        );
    }
    assert!(home.cli(&["cid", "f"]).well().stdout.contains("bafkrei"));
    assert!(!home.data().exists(), "it makes no data directory");
}

#[test]
fn status_tells_by_its_exit_code() {
    let shell = Shell::new();
    let healthy = shell.run(&["status"]);
    assert_eq!(healthy.code, Some(0), "{healthy:?}");
    let json = shell.run(&["status", "--json"]).well();
    assert_eq!(lines(&json)[0]["status"], "healthy", "{json:?}");
    let Shell { node, mut home } = shell;
    node.stop();
    home.set("BYTECAVE__STORE__DISK_RESERVE", "1TiB");
    let node = home.start();
    assert_eq!(
        home.cli(&["--url", &node.url(), "status"]).code,
        Some(1),
        "degraded"
    );
    let url = node.url();
    node.stop();
    assert_eq!(
        home.cli(&["--url", &url, "status"]).code,
        Some(2),
        "nobody answers"
    );
    assert_eq!(home.cli(&["--url", &url, "ls"]).code, Some(4));
}

#[test]
fn tokens_and_wrong_usage_have_their_codes() {
    let shell = Shell::new();
    let cid = shell.node.client().keep(b"kept");
    let wrong = shell.file("wrong-token", b"0000");
    let refused = shell.run(&["--token-file", &wrong, "rm", &cid]);
    assert_eq!(refused.code, Some(5), "{refused:?}");
    assert_eq!(shell.run(&["get", "no-cid"]).code, Some(2));
    assert_eq!(shell.run(&["nonsense"]).code, Some(2));
    assert_eq!(shell.run(&["store"]).code, Some(2));
    shell.file("copy", b"precious");
    assert_eq!(
        shell.run(&["get", &cid, "-o", "copy"]).code,
        Some(7),
        "no file is overwritten unasked"
    );
    assert_eq!(
        fs::read(shell.home.path().join("copy")).unwrap(),
        b"precious"
    );
    for args in [
        &["--help"][..],
        &["--version"],
        &["store", "--help"],
        &["completions", "bash"],
    ] {
        let ended = shell.run(args).well();
        assert!(!ended.stdout.is_empty(), "{args:?}");
    }
    // Errors in JSON where JSON was asked for.
    let ended = shell.run(&["--json", "stat", &content::cid(b"absent")]);
    assert_eq!(ended.code, Some(3));
    assert!(
        ended
            .stderr
            .lines()
            .any(|line| serde_json::from_str::<Value>(line).is_ok()),
        "{ended:?}"
    );
}

#[test]
fn config_shows_checks_and_describes() {
    let home = Home::new();
    let shown = home.cli(&["config", "show"]).well();
    for key in ["http.port", "store.shard_count", "actors.store.mailbox"] {
        assert!(
            shown.stdout.contains(key.rsplit('.').next().unwrap()),
            "{key} in {}",
            shown.stdout
        );
    }
    serde_json::from_str::<Value>(&home.cli(&["config", "show", "--json"]).well().stdout).unwrap();
    home.cli(&["config", "check"]).well();
    let schema: Value =
        serde_json::from_str(&home.cli(&["config", "schema"]).well().stdout).unwrap();
    assert!(schema.is_object() || schema.is_array());
    let home = Home::new().env("PORT", "x");
    assert_eq!(home.cli(&["config", "check"]).code, Some(2));
    assert!(!home.data().exists());
}

#[test]
fn keys_shards_and_verify() {
    let shell = Shell::new();
    let health = shell.node.client().health();
    let blob = content::bytes(3, 5 * MIB);
    let small = content::bytes(4, 5000);
    for blob in [&blob, &small] {
        shell.node.client().keep(blob);
    }
    let keys = shell.run(&["keys", "show"]).well();
    assert!(
        keys.stdout.contains(health["peerId"].as_str().unwrap()),
        "{keys:?}"
    );
    let secret = fs::read_to_string(shell.home.data().join("keys/unlock.key")).unwrap_or_default();
    assert!(
        secret.is_empty() || !keys.text().contains(secret.trim()),
        "keys show shows no secret"
    );
    let shards = shell.run(&["shards", "show", "--json"]).well();
    assert!(!shards.stdout.is_empty());
    shell.run(&["keys", "rotate"]).well();
    for blob in [&blob, &small] {
        assert_eq!(
            shell.node.client().retrieve(&content::cid(blob)).body,
            *blob,
            "after a rotation"
        );
    }
    assert_ne!(
        shell.run(&["verify"]).code,
        Some(0),
        "not while a node runs"
    );

    let Shell { node, home } = shell;
    node.stop();
    let verified = home.cli(&["verify", "--json"]).well();
    assert!(verified.stdout.contains('2'), "{verified:?}");
    let node = home.start();
    assert_eq!(node.client().health()["peerId"], health["peerId"]);
    for blob in [&blob, &small] {
        assert_eq!(
            node.client().retrieve(&content::cid(blob)).body,
            *blob,
            "after a rotation and a restart"
        );
    }
}

#[test]
fn init_makes_what_the_first_start_uses() {
    let home = Home::new();
    let ended = home.cli(&["init"]).well();
    let token = home.token();
    let node = home.start();
    let peer = node.client().health()["peerId"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(ended.text().contains(&peer), "{ended:?}");
    assert_eq!(home.token(), token);
}
