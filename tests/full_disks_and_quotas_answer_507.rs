//! When the quota or the disk is used up, stores answer 507, everything stored is still served and can be
//! deleted, and what was freed can be used again.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::harness::client::{Client, Request};
use crate::harness::{Home, content, disk, wait_for};

const MIB: usize = 1024 * 1024;

/// Stores until there is no room; gives what was taken.
fn fill(client: &Client, size: usize) -> Vec<Vec<u8>> {
    let mut kept = Vec::new();
    for n in 0..4096 {
        let blob = content::bytes(n, size);
        let answer = client.store(&blob);
        if answer.status == 507 {
            answer.problem(507);
            client.retrieve(&content::cid(&blob)).problem(404);
            return kept;
        }
        assert!(matches!(answer.status, 200 | 201), "{answer:?}");
        kept.push(blob);
    }
    panic!("there is always room");
}

fn delete(client: &Client, blob: &[u8]) {
    let answer = client.ask(Request::new(
        "DELETE",
        format!("/blobs/{}", content::cid(blob)),
    ));
    assert_eq!(answer.status, 204, "{answer:?}");
}

#[test]
fn of_the_quota_with_small_blobs_and_large() {
    for size in [500_000, 6 * MIB] {
        let home = Home::new().env("MAX_STORAGE_MB", "20");
        let node = home.start();
        let client = node.client();
        let kept = fill(&client, size);
        let bytes = kept.len() * size;
        assert!(bytes <= 20 * MIB, "{bytes} bytes in a quota of 20 MiB");
        assert!(
            bytes + 2 * size >= 20 * MIB - 4 * MIB,
            "only {bytes} bytes fitted"
        );
        // Without a length as well, and with one that can never fit.
        let blob = content::bytes(9999, 8 * MIB);
        client.ask(Request::store(&blob).chunked()).problem(507);
        wait_for("an empty temporary directory", || {
            disk::files(&home.data().join("tmp"))
                .is_empty()
                .then_some(())
        });
        // The rest in ever smaller pieces, until hardly a byte is left.
        let mut all = kept.clone();
        for smaller in [60_000, 5_000, 300] {
            all.extend(fill(&client, smaller));
        }
        client.holds(all.len());
        for blob in &all {
            assert_eq!(client.retrieve(&content::cid(blob)).body, *blob);
        }
        wait_for("health to say so", || {
            (client.health()["status"] == "degraded").then_some(())
        });

        for blob in &all {
            delete(&client, blob);
        }
        let gc = client.ask(Request::new("POST", "/admin/gc").body(b""));
        assert!(matches!(gc.status, 200 | 202), "{gc:?}");
        wait_for("room after the deletes", || {
            (client.store(&kept[0]).status == 201).then_some(())
        });
        wait_for("health to be whole", || {
            (client.health()["status"] == "healthy").then_some(())
        });
        node.stop();
        // The counting of room survives a restart.
        let node = home.start();
        let again = fill(&node.client(), size);
        assert!(
            again.len() + 2 >= kept.len(),
            "{} then, {} now",
            kept.len(),
            again.len()
        );
    }
}

#[test]
fn of_the_reserve_of_the_disk() {
    let mut home = Home::new();
    let node = home.start();
    let blob = content::bytes(1, 10_000);
    let large = content::bytes(2, 6 * MIB);
    let cid = node.client().keep(&blob);
    node.stop();
    home.set("BYTECAVE__STORE__DISK_RESERVE", "1TiB");
    let node = home.start();
    let client = node.client();
    for new in [&content::bytes(3, 100), &large] {
        let answer = client.store(new);
        answer.problem(507);
        assert!(
            answer.json()["detail"].to_string().contains("disk_reserve"),
            "{answer:?}"
        );
    }
    assert_eq!(client.retrieve(&cid).body, blob);
    wait_for("health to say so", || {
        (client.health()["status"] == "degraded").then_some(())
    });
    assert_eq!(client.get("/ready").status, 200, "it still serves");
    delete(&client, &blob);
    node.stop();
    home.set("BYTECAVE__STORE__DISK_RESERVE", "16MiB");
    let node = home.start();
    assert_eq!(node.client().store(&large).status, 201);
}

/// A small file system of its own; gone when dropped.
struct Mount(PathBuf);

impl Mount {
    fn new(at: &Path, megabytes: usize) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let options = format!("size={megabytes}m,mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "bytecave-test"])
            .arg(at)
            .output();
        mounted
            .is_ok_and(|output| output.status.success())
            .then(|| Self(at.to_path_buf()))
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[test]
fn of_a_disk_that_is_really_full() {
    // No reserve to speak of, so that the file system itself says no.
    let home = Home::new()
        .env("BYTECAVE__STORE__DISK_RESERVE", "1")
        .env("DATA_DIR", "small/data");
    let Some(mount) = Mount::new(&home.path().join("small"), 96) else {
        eprintln!("skipped: a file system of its own needs root and the right to mount");
        return;
    };
    let node = home.start();
    let client = node.client();
    let first = content::bytes(1, 300_000);
    let second = content::bytes(2, 6 * MIB);
    client.keep(&first);
    client.keep(&second);

    // The test takes the rest of the disk.
    let filler = mount.0.join("filler");
    let mut taken = fs::File::create(&filler).unwrap();
    let block = vec![1; 64 * 1024];
    while std::io::Write::write_all(&mut taken, &block).is_ok() {}
    for (n, size) in [(3, 6 * MIB), (4, 2 * MIB), (5, 20 * MIB)] {
        let answer = client.store(&content::bytes(n, size));
        answer.problem_in(&[503, 507]);
        client
            .retrieve(&content::cid(&content::bytes(n, size)))
            .problem(404);
    }
    for blob in [&first, &second] {
        assert_eq!(
            client.retrieve(&content::cid(blob)).body,
            *blob,
            "reads go on"
        );
    }
    assert_eq!(client.get("/live").status, 200);

    drop(taken);
    fs::remove_file(&filler).unwrap();
    wait_for("stores to go on when there is room", || {
        let answer = client.store(&content::bytes(6, 2 * MIB));
        assert!(matches!(answer.status, 200 | 201 | 503 | 507), "{answer:?}");
        matches!(answer.status, 200 | 201).then_some(())
    });
    assert_eq!(client.store(&content::bytes(7, 6 * MIB)).status, 201);
    for blob in [&first, &second] {
        assert_eq!(client.retrieve(&content::cid(blob)).body, *blob);
    }
    node.kill();
    let node = home.start();
    for (n, size) in [(6, 2 * MIB), (7, 6 * MIB)] {
        let blob = content::bytes(n, size);
        assert_eq!(node.client().retrieve(&content::cid(&blob)).body, blob);
    }
    node.stop();
    home.cli(&["verify"]).well();
}
