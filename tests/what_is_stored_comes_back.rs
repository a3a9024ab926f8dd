//! Bytes that were stored come back the same, under the name that anyone can compute from them, now and
//! after a restart.

use std::process::Command;

use crate::harness::client::Request;
use crate::harness::{Home, content};

const KIB: usize = 1024;
const MIB: usize = 1024 * 1024;

/// Each size at which something changes, with its neighbours: leaf, chunk, and the way of writing.
fn sizes() -> Vec<usize> {
    let edges = [KIB, 256 * KIB, 4 * MIB];
    let mut sizes = vec![0, 1];
    sizes.extend(edges.iter().flat_map(|&edge| [edge - 1, edge, edge + 1]));
    sizes.push(9 * MIB + 17);
    sizes
}

#[test]
fn every_size_comes_back_also_after_a_restart() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let blobs: Vec<Vec<u8>> = sizes()
        .into_iter()
        .map(|size| content::bytes(size as u64, size))
        .collect();

    for blob in &blobs {
        let answer = client.store(blob);
        assert_eq!(answer.status, 201, "{answer:?}");
        assert!(
            answer
                .header("content-type")
                .unwrap()
                .starts_with("application/json")
        );
        let json = answer.json();
        let cid = content::cid(blob);
        assert_eq!(json["cid"], cid.as_str(), "{json}");
        assert!(cid.starts_with("bafkrei"));
        assert_eq!(json["size"], blob.len(), "{json}");
        assert_eq!(json["encrypted"], true, "{json}");
        assert_eq!(json["shard"], content::shard(blob, 16), "{json}");
        assert_eq!(
            json["blobRoot"],
            content::hex(&content::blob_root(blob)).as_str(),
            "{} bytes",
            blob.len()
        );
        assert_eq!(
            json["commitment"],
            content::hex(&content::commitment(blob)).as_str(),
            "{} bytes",
            blob.len()
        );
        assert_eq!(json["durability"], "strict", "{json}");
        assert_eq!(json["replicas"]["confirmed"], 1, "{json}");
        assert_eq!(client.retrieve(&cid).body, *blob, "{} bytes", blob.len());
    }
    let total: usize = blobs.iter().map(Vec::len).sum();
    assert_eq!(client.holds(blobs.len()), total as u64);
    let before = client.health();

    // In the form without a length, twice: it is the same blob.
    for blob in &blobs {
        let answer = client.ask(Request::store(blob).chunked());
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["cid"], content::cid(blob).as_str());
    }
    assert_eq!(
        client.holds(blobs.len()),
        total as u64,
        "duplicates are counted once"
    );

    node.stop();
    let node = home.start();
    let client = node.client();
    for blob in &blobs {
        let answer = client.retrieve(&content::cid(blob));
        assert_eq!(answer.status, 200);
        assert_eq!(answer.body, *blob, "{} bytes after a restart", blob.len());
    }
    client.holds(blobs.len());
    let after = client.health();
    for name in ["storedBlobs", "totalSize", "peerId", "publicKey"] {
        assert_eq!(before[name], after[name], "{name} changed with the restart");
    }
}

#[test]
fn the_cid_is_that_of_an_independent_tool() {
    let home = Home::new();
    let node = home.start();
    let blob = content::bytes(77, 300_000);
    let file = home.path().join("blob");
    std::fs::write(&file, &blob).unwrap();
    let cid = node.client().keep(&blob);

    let script = "import sys,hashlib,base64\n\
        d=hashlib.sha256(open(sys.argv[1],'rb').read()).digest()\n\
        print('b'+base64.b32encode(bytes([1,0x55,0x12,0x20])+d).decode().lower().rstrip('='))";
    match Command::new("python3")
        .args(["-c", script])
        .arg(&file)
        .output()
    {
        Ok(output) if output.status.success() => {
            assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), cid);
        }
        other => eprintln!("skipped beside python3, which does not run here: {other:?}"),
    }
    let sum = Command::new("sha256sum").arg(&file).output().unwrap();
    let digest = String::from_utf8(sum.stdout).unwrap()[..64].to_owned();
    for digits in [digest.clone(), digest.to_uppercase()] {
        assert_eq!(node.client().retrieve(&digits).body, blob, "by {digits}");
    }
}

#[test]
fn a_cid_is_taken_in_any_base() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let blob = content::bytes(5, 10_000);
    client.keep(&blob);
    let binary = content::binary_cid(&blob);
    let hex = content::hex(&binary);
    for cid in [
        content::cid(&blob),
        format!("B{}", content::base32(&binary).to_uppercase()),
        format!("f{hex}"),
        format!("F{}", hex.to_uppercase()),
        format!("z{}", content::base58(&binary)),
    ] {
        let answer = client.retrieve(&cid);
        assert_eq!(answer.status, 200, "{cid}: {answer:?}");
        assert_eq!(answer.body, blob);
        assert_eq!(
            answer.header("etag"),
            Some(format!("\"{}\"", content::cid(&blob)).as_str()),
            "by {cid}"
        );
    }
}

#[test]
fn the_same_bytes_from_32_clients_at_once_are_one_blob() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let mut total = 0;
    for (round, size) in [100_000, 5 * MIB].into_iter().enumerate() {
        let blob = content::bytes(900 + round as u64, size);
        let answers: Vec<u16> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..32)
                .map(|_| {
                    scope.spawn(|| {
                        let answer = client.store(&blob);
                        if answer.status != 503 {
                            assert_eq!(
                                answer.json()["cid"],
                                content::cid(&blob).as_str(),
                                "{answer:?}"
                            );
                        }
                        answer.status
                    })
                })
                .collect();
            clients.into_iter().map(|c| c.join().unwrap()).collect()
        });
        let of = |status| answers.iter().filter(|&&s| s == status).count();
        assert_eq!((of(201), of(200)), (1, 31), "{answers:?}");
        total += size;
        assert_eq!(client.holds(round + 1), total as u64);
        assert_eq!(client.retrieve(&content::cid(&blob)).body, blob);
    }
    node.stop();
    let verified = home.cli(&["verify", "--json"]).well();
    assert!(verified.stdout.contains('{'), "{verified:?}");
}

#[test]
fn ranges_give_exactly_what_they_name() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    for size in [1000, 256 * KIB + 5, 4 * MIB + 100] {
        let blob = content::bytes(size as u64, size);
        let path = format!("/retrieve/{}", client.keep(&blob));
        let chunk = 256 * KIB;
        let mut wanted = vec![
            ("bytes=0-0".to_owned(), 0..1),
            ("bytes=-1".to_owned(), size - 1..size),
            ("bytes=10-19".to_owned(), 10..20),
            (format!("bytes={}-", size - 7), size - 7..size),
            ("bytes=0-".to_owned(), 0..size),
            (format!("bytes=5-{}", size + 1000), 5..size),
            (format!("bytes=-{}", size + 1000), 0..size),
        ];
        if size > chunk {
            wanted.push((format!("bytes={}-{chunk}", chunk - 1), chunk - 1..chunk + 1));
            wanted.push((format!("bytes={chunk}-{chunk}"), chunk..chunk + 1));
        }
        for (range, bytes) in wanted {
            let answer = client.ask(Request::get(&path).header("Range", &range));
            assert_eq!(answer.status, 206, "{range} of {size}: {answer:?}");
            assert_eq!(answer.body, blob[bytes.clone()], "{range} of {size}");
            let stated = format!("bytes {}-{}/{size}", bytes.start, bytes.end - 1);
            assert_eq!(answer.header("content-range"), Some(stated.as_str()));
        }
    }
}

#[test]
fn head_conditions_and_headers_serve_caches() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let blob = content::bytes(41, 70_000);
    let answer = client.ask(
        Request::store(&blob)
            .header("Content-Type", "image/png")
            .header("Content-Disposition", "attachment; filename=\"kitten.png\""),
    );
    assert_eq!(answer.status, 201, "{answer:?}");
    let cid = content::cid(&blob);
    let path = format!("/retrieve/{cid}");
    let etag = format!("\"{cid}\"");

    let get = client.get(&path);
    assert_eq!(get.header("etag"), Some(etag.as_str()));
    assert_eq!(
        get.header("cache-control"),
        Some("public, max-age=31536000, immutable")
    );
    assert_eq!(get.header("content-type"), Some("image/png"));
    assert_eq!(get.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(get.header("accept-ranges"), Some("bytes"));
    assert!(
        get.header("repr-digest")
            .is_some_and(|d| d.starts_with("sha-256=:") && d.ends_with(':')),
        "{get:?}"
    );
    assert_eq!(get.body, blob);

    let head = client.ask(Request::new("HEAD", &path));
    assert_eq!(head.status, 200);
    assert_eq!(head.header("content-length"), Some("70000"));
    assert_eq!(head.header("etag"), Some(etag.as_str()));
    assert_eq!(
        client
            .ask(Request::new(
                "HEAD",
                format!("/retrieve/{}", content::cid(b"none"))
            ))
            .status,
        404
    );

    assert_eq!(
        client
            .ask(Request::get(&path).header("If-None-Match", &etag))
            .status,
        304
    );
    assert_eq!(
        client
            .ask(Request::get(&path).header("If-None-Match", "\"other\""))
            .status,
        200
    );
    let ranged = |if_range: &str| {
        client
            .ask(
                Request::get(&path)
                    .header("Range", "bytes=0-9")
                    .header("If-Range", if_range),
            )
            .status
    };
    assert_eq!(ranged(&etag), 206);
    assert_eq!(ranged("\"other\""), 200);

    // The type and the name of the first store stay.
    let again = client.ask(Request::store(&blob).header("Content-Type", "text/plain"));
    assert_eq!(again.status, 200, "{again:?}");
    assert_eq!(client.get(&path).header("content-type"), Some("image/png"));
    let info = client.get(&format!("/blobs/{cid}")).json();
    assert_eq!(info["size"], 70_000, "{info}");
    assert_eq!(info["contentType"], "image/png", "{info}");
    let download = client.get(&format!("{path}?download=cat.png"));
    let disposition = download.header("content-disposition").unwrap_or_default();
    assert!(
        disposition.contains("attachment") && disposition.contains("cat.png"),
        "{disposition}"
    );
}

#[test]
fn a_form_with_one_file_stores_that_file() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    for size in [0, 3000, 5 * MIB] {
        let blob = content::bytes(size as u64 + 3, size);
        let mut form =
            b"--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.bin\"\r\n\
            Content-Type: application/x-thing\r\n\r\n"
                .to_vec();
        form.extend_from_slice(&blob);
        form.extend_from_slice(b"\r\n--edge--\r\n");
        let kind = "multipart/form-data; boundary=edge";
        let answer = client.ask(Request::store(&form).header("Content-Type", kind));
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(answer.json()["cid"], content::cid(&blob).as_str());
        let back = client.retrieve(&content::cid(&blob));
        assert_eq!(back.body, blob);
        assert_eq!(back.header("content-type"), Some("application/x-thing"));
    }
    let broken = client.ask(
        Request::store(
            b"--edge\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nabc",
        )
        .header("Content-Type", "multipart/form-data; boundary=edge"),
    );
    broken.problem(400);
    client.holds(3);
}

#[test]
fn deleted_blobs_are_gone_and_pinned_ones_stay() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    for size in [50_000, 5 * MIB] {
        let blob = content::bytes(size as u64 + 9, size);
        let cid = client.keep(&blob);
        let path = format!("/blobs/{cid}");
        let pin = format!("/pins/{cid}");
        let ask = |method, path: &str| client.ask(Request::new(method, path));

        assert!(matches!(ask("PUT", &pin).status, 200 | 201 | 204));
        ask("DELETE", &path).problem(409);
        assert_eq!(client.retrieve(&cid).body, blob, "a pinned blob stays");
        assert!(matches!(ask("DELETE", &pin).status, 200 | 204));
        assert_eq!(ask("DELETE", &path).status, 204);
        client.retrieve(&cid).problem(404);
        client.get(&path).problem(404);
        ask("DELETE", &path).problem(404);
        ask("PUT", &pin).problem(404);
        client.holds(0);
        // A new store lifts the tombstone.
        assert_eq!(client.store(&blob).status, 201);
        assert_eq!(client.retrieve(&cid).body, blob);
        assert_eq!(ask("DELETE", &path).status, 204);
    }
    node.stop();
    let node = home.start();
    node.client().holds(0);
    assert!(node.client().list(100).is_empty());
}

#[test]
fn the_listing_names_every_blob_once() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let blobs: Vec<Vec<u8>> = (0..57)
        .map(|n| content::bytes(n, 100 + usize::try_from(n).unwrap()))
        .collect();
    let mut expected: Vec<String> = blobs.iter().map(|blob| client.keep(blob)).collect();
    expected.sort();
    for page in [1000, 10, 1] {
        let mut listed: Vec<String> = client
            .list(page)
            .iter()
            .map(|row| row["cid"].as_str().unwrap().to_owned())
            .collect();
        listed.sort();
        assert_eq!(listed, expected, "by pages of {page}");
    }
    let mut of_shards = 0;
    for shard in 0..16 {
        let page = client
            .get(&format!("/blobs?shard={shard}&limit=1000"))
            .json();
        for row in page["blobs"].as_array().unwrap() {
            assert_eq!(row["shard"], shard, "{row}");
            of_shards += 1;
        }
    }
    assert_eq!(of_shards, 57);
    for bad in [
        "/blobs?limit=0x",
        "/blobs?shard=16",
        "/blobs?shard=-1",
        "/blobs?after=nonsense",
    ] {
        client.get(bad).problem(400);
    }
}
