//! What a client may get wrong is answered with the status that fits, in one form, saying what would be
//! right; and nothing of it is left behind.

use std::io::{Read, Write};

use crate::harness::client::{Request, Response};
use crate::harness::{Home, content, disk, repository, wait_for};

const MIB: usize = 1024 * 1024;

#[test]
fn malformed_cids_and_foreign_codecs_are_400() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let digest = content::sha256(b"abc");
    let with =
        |head: &[u8], digest: &[u8]| format!("b{}", content::base32(&[head, digest].concat()));
    let good = content::cid(b"abc");
    let bad = [
        "x".to_owned(),
        "not-a-cid".to_owned(),
        "%00".to_owned(),
        "..%2f..%2fkeys".to_owned(),
        good[..good.len() - 1].to_owned(),
        format!("{good}a"),
        good.replacen('b', "q", 1),
        // dag-pb, dag-cbor; CIDv0.
        with(&[1, 0x70, 0x12, 0x20], &digest),
        with(&[1, 0x71, 0x12, 0x20], &digest),
        content::base58(&[&[0x12, 0x20][..], &digest].concat()),
        // Other hashes: sha2-512, blake3, identity; a digest cut short.
        with(&[1, 0x55, 0x13, 0x40], &[digest, digest].concat()),
        with(&[1, 0x55, 0x1e, 0x20], &digest),
        with(&[1, 0x55, 0x00, 0x03], b"abc"),
        with(&[1, 0x55, 0x12, 0x10], &digest[..16]),
        // Hex digits: one too few, one too many, one that is none.
        content::hex(&digest)[..63].to_owned(),
        format!("{}0", content::hex(&digest)),
        format!("{}g", &content::hex(&digest)[..63]),
        "a".repeat(4000),
    ];
    for cid in &bad {
        for (method, path) in [
            ("GET", "retrieve"),
            ("GET", "blobs"),
            ("DELETE", "blobs"),
            ("PUT", "pins"),
        ] {
            let answer = client.ask(Request::new(method, format!("/{path}/{cid}")));
            answer.problem(400);
        }
        let head = client.ask(Request::new("HEAD", format!("/retrieve/{cid}")));
        assert_eq!(head.status, 400, "HEAD {cid}: {head:?}");
        if !cid.contains('%') {
            client
                .ask(Request::store(b"abc").header("X-Content-CID", cid))
                .problem(400);
        }
    }
    // What is wrong with another codec is said, and so is what would be right.
    let detail = client
        .retrieve(&with(&[1, 0x70, 0x12, 0x20], &digest))
        .json()["detail"]
        .to_string();
    assert!(detail.contains("raw"), "{detail}");
    client.retrieve(&good).problem(404);
    client.holds(0);
}

#[test]
fn content_of_another_cid_is_422_and_not_kept() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    for size in [0, 1000, 5 * MIB] {
        let blob = content::bytes(1, size);
        let other = content::cid(b"something else");
        for chunked in [false, true] {
            let mut request = Request::store(&blob).header("X-Content-CID", &other);
            if chunked {
                request = request.chunked();
            }
            let answer = client.ask(request);
            answer.problem(422);
        }
        client.retrieve(&content::cid(&blob)).problem(404);
        client.retrieve(&other).problem(404);
        client.holds(0);
    }
    wait_for("an empty temporary directory", || {
        disk::files(&home.data().join("tmp"))
            .is_empty()
            .then_some(())
    });
    let blob = content::bytes(1, 5 * MIB);
    let right = client.ask(Request::store(&blob).header("X-Content-CID", &content::cid(&blob)));
    assert_eq!(right.status, 201, "{right:?}");
}

#[test]
fn oversize_is_413_with_and_without_a_length() {
    let home = Home::new().toml("[http]\nmax_blob_size = \"1MiB\"\n");
    let node = home.start();
    let client = node.client();
    let exact = content::bytes(1, MIB);
    let over = content::bytes(2, MIB + 1);
    let far_over = content::bytes(3, 12 * MIB);
    for blob in [&over, &far_over] {
        for chunked in [false, true] {
            let request = Request::store(blob);
            let answer = client.ask(if chunked { request.chunked() } else { request });
            answer.problem(413);
            assert!(
                answer.json()["detail"].to_string().contains("1048576"),
                "the limit is named: {answer:?}"
            );
        }
        client.retrieve(&content::cid(blob)).problem(404);
    }
    // A length alone is enough: no byte of the body is waited for.
    let stream = client.begin_upload(1 << 40, b"");
    Response::read(stream, false).unwrap().problem(413);
    client.holds(0);
    assert_eq!(client.store(&exact).status, 201);
    assert_eq!(client.ask(Request::store(&exact).chunked()).status, 200);
}

#[test]
fn ranges_that_name_nothing_give_nothing() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    for size in [0, 1000, 5 * MIB] {
        let blob = content::bytes(size as u64, size);
        let path = format!("/retrieve/{}", client.keep(&blob));
        for range in [
            format!("bytes={size}-"),
            format!("bytes={}-{}", size + 5, size + 9),
            "bytes=-0".to_owned(),
        ] {
            let answer = client.ask(Request::get(&path).header("Range", &range));
            answer.problem(416);
            assert_eq!(
                answer.header("content-range"),
                Some(format!("bytes */{size}").as_str()),
                "{range}"
            );
        }
        // RFC 9110 lets a server refuse these or ignore them; never may it make something up.
        for range in [
            "bytes=10-5",
            "bytes=",
            "bytes=-",
            "bytes=a-b",
            "bytes=1",
            "bytes=0x1-2",
            "bytes=1-2-3",
            "bytes=--1",
            "bytes=18446744073709551616-",
            "bytes=0-99999999999999999999",
            "bytes=0-1,3-4",
            "items=0-1",
            "=0-1",
            "1-2",
        ] {
            let answer = client.ask(Request::get(&path).header("Range", range));
            match answer.status {
                200 => assert_eq!(answer.body, blob, "{range}"),
                400 => drop(answer.problem(400)),
                416 => drop(answer.problem(416)),
                // An end beyond what a number holds is still an end beyond the blob.
                206 if range.starts_with("bytes=0-999") => assert_eq!(answer.body, blob),
                _ => panic!("{range} of {size}: {answer:?}"),
            }
        }
    }
}

#[test]
fn unknown_paths_methods_and_parameters_are_problems() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    client.get("/nothing/here").problem(404);
    client.ask(Request::new("DELETE", "/store")).problem(405);
    client.ask(Request::new("PUT", "/health")).problem(405);
    let more = client.ask(Request::new("POST", "/store?replicas=2").body(b"x"));
    more.problem(400);
    for bad in ["0", "-1", "many", ""] {
        client
            .ask(Request::new("POST", format!("/store?replicas={bad}")).body(b"x"))
            .problem(400);
    }
    assert_eq!(
        client
            .ask(Request::new("POST", "/store?replicas=1").body(b"x"))
            .status,
        201
    );
    let kind = client.ask(Request::store(b"x").header("Content-Type", "multipart/form-data"));
    assert!(
        (400..500).contains(&kind.status),
        "a form without a boundary: {kind:?}"
    );
    kind.problem(kind.status);
}

#[test]
fn codes_of_problems_are_in_the_list() {
    let page =
        std::fs::read_to_string(repository().join("docs/errors.md")).expect("docs/errors.md");
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let stranger = node.stranger();
    let codes = [
        client.retrieve("x").problem(400),
        client.retrieve(&content::cid(b"none")).problem(404),
        client.get("/nothing").problem(404),
        client.ask(Request::new("PUT", "/health")).problem(405),
        client
            .ask(Request::store(b"a").header("X-Content-CID", &content::cid(b"b")))
            .problem(422),
        client
            .ask(Request::get("/health").host("evil.example"))
            .problem(403),
        stranger
            .ask(Request::new(
                "DELETE",
                format!("/blobs/{}", content::cid(b"a")),
            ))
            .problem(401),
    ];
    for code in codes {
        assert!(
            page.contains(&format!("`{code}`")),
            "docs/errors.md does not list {code}"
        );
    }
}

#[test]
fn what_is_no_http_ends_in_a_refusal_and_not_in_harm() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "a".repeat(200_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: localhost\r\n{}\r\n",
        "X-A: b\r\n".repeat(5000)
    );
    let bad: [&[u8]; 7] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"POST /store HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /store HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
        b"POST /store HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nab\r\n0\r\n\r\n",
        long.as_bytes(),
        many.as_bytes(),
    ];
    for bytes in bad {
        let mut stream = client.connect().unwrap();
        // It may hang up in the middle.
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        assert!(
            answer.is_empty() || text.starts_with("HTTP/1.1 4"),
            "{text}"
        );
    }
    client.holds(0);
}
