//! A client that stops half way, or falls silent, leaves nothing: no blob, no file, no reserved quota.

use std::io::Write;
use std::net::{Shutdown, TcpStream};

use crate::harness::client::{Client, Response};
use crate::harness::{Home, content, disk, wait_for};

const MIB: usize = 1024 * 1024;

/// Waits until the node has let go of a broken upload, then shows that the quota is whole again.
fn nothing_is_left(home: &Home, client: &Client, seed: u64) {
    wait_for("an empty temporary directory", || {
        disk::files(&home.data().join("tmp"))
            .is_empty()
            .then_some(())
    });
    client.holds(0);
    // Fits only when nothing else is reserved; the release may take a moment.
    let blob = content::bytes(seed, 12 * MIB);
    let cid = wait_for("the quota of the broken upload", || {
        let answer = client.store(&blob);
        assert!(matches!(answer.status, 201 | 507), "{answer:?}");
        (answer.status == 201).then(|| content::cid(&blob))
    });
    assert_eq!(client.retrieve(&cid).body, blob);
}

fn reset(stream: TcpStream) {
    // Unread answers or a plain close: the node sees the end of the connection either way.
    let _ = stream.shutdown(Shutdown::Both);
}

/// Lets one client break off against a node of its own, whose quota has room for little more than that.
fn broken_off(seed: u64, act: impl Fn(&Client, &[u8])) {
    let home = Home::new().env("MAX_STORAGE_MB", "20");
    let node = home.start();
    let client = node.client();
    let blob = content::bytes(1, 16 * MIB);
    act(&client, &blob);
    nothing_is_left(&home, &client, seed);
    client.retrieve(&content::cid(&blob)).problem(404);
}

#[test]
fn of_a_client_that_stops_half_way() {
    for (n, sent) in [0, 10, 3 * MIB, 10 * MIB].into_iter().enumerate() {
        broken_off(100 + n as u64, |client, blob| {
            reset(client.begin_upload(blob.len(), &blob[..sent]));
        });
    }
}

#[test]
fn of_a_client_that_closes_its_half_only() {
    broken_off(200, |client, blob| {
        let stream = client.begin_upload(blob.len(), &blob[..6 * MIB]);
        stream.shutdown(Shutdown::Write).unwrap();
        if let Ok(answer) = Response::read(stream, false) {
            assert!((400..500).contains(&answer.status), "{answer:?}");
        }
    });
}

#[test]
fn of_a_client_that_stops_in_a_chunk() {
    broken_off(300, |client, blob| {
        let mut stream = client.connect().unwrap();
        let host = client.address();
        let head =
            format!("POST /store HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        stream
            .write_all(format!("{:x}\r\n", 8 * MIB).as_bytes())
            .unwrap();
        stream.write_all(&blob[..5 * MIB]).unwrap();
        reset(stream);
    });
}

#[test]
fn of_a_client_that_falls_silent() {
    let home = Home::new()
        .env("MAX_STORAGE_MB", "20")
        .toml("[http]\nbody_idle_timeout = \"1s\"\nheader_timeout = \"1s\"\n");
    let node = home.start();
    let client = node.client();
    let blob = content::bytes(1, 16 * MIB);
    for sent in [0, 1000, 9 * MIB] {
        let stream = client.begin_upload(blob.len(), &blob[..sent]);
        // It is cut off: an answer, or the end of the connection. A hang would end in an error of the kind
        // "would block" after the client's own patience.
        match Response::read(stream, false) {
            Ok(answer) => assert!(matches!(answer.status, 400 | 408), "{answer:?}"),
            Err(e) => assert!(
                !matches!(
                    e.kind(),
                    std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
                ),
                "a silent client was kept for good: {e}"
            ),
        }
    }
    nothing_is_left(&home, &client, 400);

    // Silent already in the head.
    let mut stream = client.connect().unwrap();
    stream
        .write_all(b"POST /store HTTP/1.1\r\nHost: loc")
        .unwrap();
    match Response::read(stream, false) {
        Ok(answer) => assert_eq!(answer.status, 408, "{answer:?}"),
        Err(e) => assert!(
            !matches!(
                e.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            ),
            "{e}"
        ),
    }
}

#[test]
fn slow_of_a_client_that_trickles() {
    let home = Home::new()
        .env("MAX_STORAGE_MB", "20")
        .toml("[http]\nmin_upload_bytes_per_second = \"64KiB\"\n");
    let node = home.start();
    let client = node.client();
    let mut stream = client.begin_upload(16 * MIB, &[7; 1000]);
    // Never silent, and far below the rate: the node ends it, and writing into the end fails.
    wait_for("the end of a trickling upload", || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        stream.write_all(&[7; 10]).is_err().then_some(())
    });
    nothing_is_left(&home, &client, 500);
}

#[test]
fn a_slow_but_honest_client_is_served() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let blob = content::bytes(8, 5 * MIB);
    let mut stream = client.begin_upload(blob.len(), b"");
    let mut quick = 0;
    for part in blob.chunks(300_000) {
        stream.write_all(part).unwrap();
        // Others are served meanwhile.
        quick += 1;
        assert_eq!(client.store(&content::bytes(quick, 100)).status, 201);
    }
    let answer = Response::read(stream, false).unwrap();
    assert_eq!(answer.status, 201, "{answer:?}");
    assert_eq!(answer.json()["cid"], content::cid(&blob).as_str());
}
