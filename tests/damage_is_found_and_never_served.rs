//! A bit that flips on the disk is noticed when it is read: the blob is never served, it is named, reads
//! elsewhere go on, and storing the same bytes again heals it.

use std::fs;

use crate::harness::client::Request;
use crate::harness::{Home, Running, content, disk, wait_for};

const MIB: usize = 1024 * 1024;

/// A node with some blobs, all in tables and blob files after the stop.
fn filled(home: &Home) -> Vec<Vec<u8>> {
    let node = home.start();
    let client = node.client();
    let mut blobs: Vec<Vec<u8>> = (0..24).map(|n| content::bytes(n, 60_000)).collect();
    blobs.push(content::bytes(100, 9 * MIB));
    blobs.push(content::bytes(101, 6 * MIB));
    for blob in &blobs {
        client.keep(blob);
    }
    node.stop();
    blobs
}

/// Reads all; gives which were refused as damaged. Nothing wrong is ever served.
fn damaged(node: &Running, blobs: &[Vec<u8>]) -> Vec<String> {
    let client = node.client();
    let mut damaged = Vec::new();
    for blob in blobs {
        let cid = content::cid(blob);
        // A large one may break off in the middle: an error of the connection, never a short body.
        match client.send(Request::get(format!("/retrieve/{cid}"))) {
            Ok(answer) if answer.status == 200 => {
                assert_eq!(answer.body, *blob, "wrong bytes were served");
            }
            Ok(answer) => {
                assert_eq!(answer.problem(500), "damaged", "{answer:?}");
                assert!(
                    answer.json().to_string().contains(&cid),
                    "it is named: {answer:?}"
                );
                damaged.push(cid);
            }
            Err(_) => damaged.push(cid),
        }
    }
    damaged
}

/// One blob is found damaged; verify names it; healing brings it back.
fn found_and_healed(home: &Home, blobs: &[Vec<u8>], what: &str) {
    let node = home.start();
    let found = damaged(&node, blobs);
    assert_eq!(found.len(), 1, "{what}: one bit, one blob: {found:?}");
    let cid = &found[0];
    // Known from now on: refused at once, listed as such, and told by health.
    assert_eq!(node.client().retrieve(cid).problem(500), "damaged");
    wait_for("health to say so", || {
        (node.client().health()["status"] == "degraded").then_some(())
    });
    assert_eq!(
        node.client().store(b"others can be stored").status,
        201,
        "{what}"
    );
    node.stop();
    let ended = home.cli(&["verify"]);
    assert_ne!(ended.code, Some(0), "{what}: {ended:?}");
    assert!(
        ended.text().contains(cid.as_str()),
        "{what}: verify names {cid}: {}",
        ended.text()
    );

    let node = home.start();
    let blob = blobs
        .iter()
        .find(|blob| content::cid(blob) == *cid)
        .unwrap();
    let again = node.client().store(blob);
    assert!(matches!(again.status, 200 | 201), "{what}: {again:?}");
    assert_eq!(node.client().retrieve(cid).body, *blob, "{what}: healed");
    assert_eq!(damaged(&node, blobs), Vec::<String>::new(), "{what}");
    node.client().holds(blobs.len() + 1);
    wait_for("health to be whole", || {
        (node.client().health()["status"] == "healthy").then_some(())
    });
    node.stop();
    home.cli(&["verify"]).well();
}

#[test]
fn a_bit_in_an_ingested_table() {
    let home = Home::new();
    let blobs = filled(&home);
    let table = &disk::largest(&home.data().join("db"), "sst")[0];
    assert!(
        fs::metadata(table).unwrap().len() > 8 << 20,
        "{} is the largest table",
        table.display()
    );
    disk::flip(table, 4 << 20);
    found_and_healed(&home, &blobs, "an ingested table");
}

#[test]
fn a_bit_in_a_blob_file() {
    // Small buffers, so that small blobs come to lie in blob files.
    let home = Home::new().env("BYTECAVE__STORE__MAX_TOTAL_WAL_SIZE", "1MiB");
    let node = home.start();
    let client = node.client();
    let blobs: Vec<Vec<u8>> = (0..120).map(|n| content::bytes(n, 200_000)).collect();
    for blob in &blobs {
        client.keep(blob);
    }
    wait_for("a blob file", || {
        disk::largest(&home.data().join("db"), "blob")
            .first()
            .cloned()
    });
    node.stop();
    let file = disk::largest(&home.data().join("db"), "blob")[0].clone();
    let length = fs::metadata(&file).unwrap().len();
    assert!(length > 100_000, "{} has {length} bytes", file.display());
    disk::flip(&file, length / 2);
    found_and_healed(&home, &blobs, "a blob file");
}

#[test]
fn a_bit_in_the_middle_of_the_log() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let blobs: Vec<Vec<u8>> = (0..40).map(|n| content::bytes(n, 100_000)).collect();
    for blob in &blobs {
        client.keep(blob);
    }
    node.kill();
    let log = disk::largest(&home.data().join("db"), "log")[0].clone();
    let length = fs::metadata(&log).unwrap().len();
    assert!(length > 2_000_000, "{} has {length} bytes", log.display());
    disk::flip(&log, length / 2);
    // Everything behind the damage was acknowledged too: starting without it would lose it in silence.
    home.refused().naming(&["verify"]);
    let ended = home.cli(&["verify", "--salvage"]);
    assert_eq!(ended.code, Some(6), "something is lost: {ended:?}");
    assert!(ended.text().contains("salvaged"), "{ended:?}");
    let node = home.start();
    let client = node.client();
    let listed = client.list(100);
    assert!(!listed.is_empty(), "what stood before the damage was saved");
    assert!(listed.len() < blobs.len(), "and the rest is not claimed");
    for row in &listed {
        let cid = row["cid"].as_str().unwrap();
        assert_eq!(content::cid(&client.retrieve(cid).body), cid);
    }
    client.holds(listed.len());
}

#[test]
fn a_torn_end_of_the_log_is_no_damage() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let blobs: Vec<Vec<u8>> = (0..10).map(|n| content::bytes(n, 50_000)).collect();
    for blob in &blobs {
        client.keep(blob);
    }
    node.kill();
    let log = disk::largest(&home.data().join("db"), "log")[0].clone();
    // A record that was being written when the power went: never acknowledged.
    let mut torn = fs::OpenOptions::new().append(true).open(&log).unwrap();
    std::io::Write::write_all(&mut torn, &content::bytes(1, 3)).unwrap();
    drop(torn);
    let node = home.start();
    assert_eq!(damaged(&node, &blobs), Vec::<String>::new());
}

#[test]
fn a_bit_in_an_index_table_and_then_a_compaction() {
    // One shard, so that all metadata stands in the same few tables.
    let home = Home::new()
        .env("SHARD_COUNT", "1")
        .env("BYTECAVE__STORE__MAX_TOTAL_WAL_SIZE", "1MiB");
    let node = home.start();
    let client = node.client();
    let blobs: Vec<Vec<u8>> = (0..150).map(|n| content::bytes(n, 60_000)).collect();
    for blob in &blobs {
        client.keep(blob);
    }
    let db = home.data().join("db");
    wait_for("a table", || disk::largest(&db, "sst").first().cloned());
    node.stop();
    let table = disk::largest(&db, "sst")[0].clone();
    disk::flip(&table, fs::metadata(&table).unwrap().len() / 4);
    let name = table.file_name().unwrap().to_str().unwrap().to_owned();

    let node = home.start();
    let client = node.client();
    let read = |blob: &[u8]| client.retrieve(&content::cid(blob));
    // Half is deleted and collected: the compaction meets the damage, if no read has before.
    for blob in &blobs[..75] {
        let path = format!("/blobs/{}", content::cid(blob));
        let answer = client.ask(Request::new("DELETE", path));
        assert!(matches!(answer.status, 204 | 500 | 503), "{answer:?}");
    }
    let gc = client.ask(Request::new("POST", "/admin/gc"));
    wait_for("health to say that something is wrong", || {
        let answer = client.get("/health");
        (answer.status != 200 || answer.json()["status"] != "healthy").then_some(())
    });
    let told = format!("{} {} {gc:?}", node.said(), client.get("/health").json());
    assert!(told.contains(&name), "the file {name} is named");
    // Reads elsewhere go on, and none gives wrong bytes.
    let mut right = 0;
    for blob in &blobs[75..] {
        let answer = read(blob);
        match answer.status {
            200 => {
                assert_eq!(answer.body, *blob);
                right += 1;
            }
            500 | 503 => {}
            _ => panic!("{answer:?}"),
        }
    }
    assert!(right > 0, "nothing can be read any more");
    assert_eq!(client.get("/live").status, 200);
    node.stop();
    let ended = home.cli(&["verify"]);
    assert_ne!(ended.code, Some(0), "verify finds it: {ended:?}");
    assert!(!ended.text().contains("panicked"), "{ended:?}");
}
