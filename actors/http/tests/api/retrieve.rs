//! `GET` and `HEAD /retrieve/{cid}`.

use bytecave_core::BlobCid;
use bytecave_messages::body::BodyError;
use bytecave_messages::store::ByteRange;

use crate::client::{End, Request};
use crate::fake_store::{Asked, content_of_len, content_of_shard, content_that_begins_with};
use crate::node::{Node, until};

#[actix::test]
async fn the_bytes_come_with_all_their_headers() {
    let node = Node::up().await;
    let cid = node.store.seed(b"hello world\n", Some("text/plain"));
    let answer = node.get(format!("/retrieve/{cid}")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.body, b"hello world\n");
    for (name, value) in [
        ("content-length", "12"),
        ("content-type", "text/plain"),
        (
            "etag",
            "\"bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4\"",
        ),
        ("cache-control", "public, max-age=31536000, immutable"),
        (
            "repr-digest",
            "sha-256=:qUiQTy8PR5uPgZdpSzAYSw0u0cHNKh7A+4XSmaGSpEc=:",
        ),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(answer.header(name), Some(value), "{name}");
    }
    assert_eq!(
        answer.header("content-disposition"),
        None,
        "text may be shown"
    );
    assert_eq!(answer.header("content-encoding"), None);
}

#[actix::test]
async fn an_uploaded_page_runs_nothing() {
    let node = Node::up().await;
    for content_type in [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "image/svg+xml",
        "application/xhtml+xml",
        "application/xml",
        "text/javascript",
        "application/pdf",
    ] {
        let page = format!("<!-- {content_type} --><script>fetch('/blobs')</script>");
        let page = content_that_begins_with(&page);
        let request = Request::post("/store", page.clone()).header("Content-Type", content_type);
        assert_eq!(node.send(request).await.status, 201);
        let answer = node.get(format!("/retrieve/{}", BlobCid::of(&page))).await;
        assert_eq!(answer.body, page);
        for (name, value) in [
            ("content-type", content_type),
            ("content-security-policy", "sandbox; default-src 'none'"),
            ("content-disposition", "attachment"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{content_type}");
        }
    }
}

#[actix::test]
async fn a_cid_in_any_form_finds_the_blob_and_others_are_400() {
    let node = Node::up().await;
    let cid = node.store.seed(b"x", None);
    let hex = cid.digest().to_hex();
    for name in [
        cid.to_string(),
        cid.to_string().to_uppercase(),
        hex.to_uppercase(),
        hex,
    ] {
        assert_eq!(
            node.get(format!("/retrieve/{name}")).await.status,
            200,
            "{name}"
        );
    }
    for name in [
        "nonsense",
        "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o",
        "..%2f..%2fetc",
        "bafkrei",
    ] {
        node.get(format!("/retrieve/{name}"))
            .await
            .problem(400, "bad_cid");
    }
}

#[actix::test]
async fn a_blob_that_is_not_here_is_404_whatever_its_shard() {
    let node = Node::up().await;
    for ours in [true, false] {
        let cid = BlobCid::of(&content_of_shard(ours));
        node.get(format!("/retrieve/{cid}?local=1"))
            .await
            .problem(404, "blob_not_found");
        let request =
            Request::get(format!("/retrieve/{cid}")).header("If-None-Match", format!("\"{cid}\""));
        node.send(request).await.problem(404, "blob_not_found");
    }
}

#[actix::test]
async fn ranges() {
    let node = Node::up().await;
    let content = content_of_len(1000);
    let cid = node.store.seed(&content, None);
    let whole = |answer: &[u8]| answer == content;
    for (range, first, last) in [
        ("bytes=0-0", 0, 0),
        ("bytes=0-999", 0, 999),
        ("bytes=10-19", 10, 19),
        ("bytes=990-", 990, 999),
        ("bytes=990-2000", 990, 999),
        ("bytes=0-18446744073709551615", 0, 999),
        ("bytes=-1", 999, 999),
        ("bytes=-5000", 0, 999),
    ] {
        let request = Request::get(format!("/retrieve/{cid}")).header("Range", range);
        let answer = node.send(request).await;
        assert_eq!(answer.status, 206, "{range}");
        assert_eq!(
            answer.header("content-range"),
            Some(format!("bytes {first}-{last}/1000").as_str())
        );
        assert_eq!(answer.body, &content[first..=last], "{range}");
    }
    for range in ["bytes=0-1,5-6", "pages=1-2"] {
        let request = Request::get(format!("/retrieve/{cid}")).header("Range", range);
        let answer = node.send(request).await;
        assert_eq!(answer.status, 200, "{range}");
        assert!(whole(&answer.body));
    }
    for range in [
        "bytes=1000-",
        "bytes=1000-1001",
        "bytes=9-5",
        "bytes=-0",
        "bytes=x",
        "bytes=",
        "nonsense",
    ] {
        let request = Request::get(format!("/retrieve/{cid}")).header("Range", range);
        let answer = node.send(request).await;
        answer.problem(416, "range_not_satisfiable");
        assert_eq!(
            answer.header("content-range"),
            Some("bytes */1000"),
            "{range}"
        );
    }
}

#[actix::test]
async fn an_empty_blob_has_no_ranges() {
    let node = Node::up().await;
    let cid = node.store.seed(b"", None);
    let answer = node.get(format!("/retrieve/{cid}")).await;
    assert_eq!(
        (answer.status, answer.header("content-length")),
        (200, Some("0"))
    );
    let request = Request::get(format!("/retrieve/{cid}")).header("Range", "bytes=0-0");
    let answer = node.send(request).await;
    answer.problem(416, "range_not_satisfiable");
    assert_eq!(answer.header("content-range"), Some("bytes */0"));
}

#[actix::test]
async fn a_range_holds_only_for_the_tag_it_was_meant_for() {
    let node = Node::up().await;
    let cid = node.store.seed(b"0123456789", None);
    for (tag, status) in [
        (format!("\"{cid}\""), 206),
        (format!("W/\"{cid}\""), 200),
        ("\"other\"".to_owned(), 200),
        ("Wed, 21 Oct 2015 07:28:00 GMT".to_owned(), 200),
    ] {
        let request = Request::get(format!("/retrieve/{cid}"))
            .header("Range", "bytes=2-3")
            .header("If-Range", tag);
        assert_eq!(node.send(request).await.status, status);
    }
}

#[actix::test]
async fn what_the_client_has_is_not_sent_again() {
    let node = Node::up().await;
    let cid = node.store.seed(b"x", None);
    for (tags, status) in [
        (format!("\"{cid}\""), 304),
        (format!("\"a\", W/\"{cid}\""), 304),
        ("*".to_owned(), 304),
        ("\"a\"".to_owned(), 200),
    ] {
        let request = Request::get(format!("/retrieve/{cid}")).header("If-None-Match", tags);
        let answer = node.send(request).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("etag"), Some(format!("\"{cid}\"").as_str()));
        assert!(
            answer
                .header("cache-control")
                .unwrap()
                .contains("immutable")
        );
    }
    let gets = node
        .store
        .asked()
        .into_iter()
        .filter(|asked| matches!(asked, Asked::Get(_)));
    assert_eq!(gets.count(), 1, "only the last was read");
}

#[actix::test]
async fn head_says_what_get_would_and_reads_nothing() {
    let node = Node::up().await;
    let content = content_of_len(3_000_000);
    let cid = node.store.seed(&content, Some("image/png"));
    let head = node
        .send(Request::new("HEAD", format!("/retrieve/{cid}")))
        .await;
    assert!(head.body.is_empty());
    assert_eq!(node.store.asked(), [Asked::Info]);
    let get = node.get(format!("/retrieve/{cid}")).await;
    assert_eq!(get.body, content);
    let comparable = |headers: &[(String, String)]| {
        let mut headers: Vec<_> = headers
            .iter()
            .filter(|(name, _)| name != "date" && name != "x-request-id")
            .cloned()
            .collect();
        headers.sort();
        headers
    };
    assert_eq!(comparable(&head.headers), comparable(&get.headers));
}

#[actix::test]
async fn names_to_download_as() {
    let node = Node::up().await;
    let content = content_of_shard(true);
    let cid = BlobCid::of(&content);
    let request = Request::post("/store", content)
        .header("Content-Type", "image/png")
        .header("Content-Disposition", "attachment; filename=\"own.png\"");
    assert_eq!(node.send(request).await.status, 201);
    for (query, disposition) in [
        ("", "inline; filename=\"own.png\""),
        ("?download=a%20b.png", "attachment; filename=\"a b.png\""),
        (
            "?download=gr%C3%BCn.png",
            "attachment; filename=\"gr_n.png\"; filename*=UTF-8''gr%C3%BCn.png",
        ),
        ("?download=..%2F..%2Fx", "attachment; filename=\"x\""),
        (
            "?download=a%0D%0AX-Evil:%201",
            "attachment; filename=\"aX-Evil: 1\"",
        ),
    ] {
        let answer = node.get(format!("/retrieve/{cid}{query}")).await;
        assert_eq!(
            answer.header("content-disposition"),
            Some(disposition),
            "{query}"
        );
        assert_eq!(answer.header("x-evil"), None);
    }
    for query in ["?download=", "?download=%2F", "?unknown=1", "?local=maybe"] {
        node.get(format!("/retrieve/{cid}{query}"))
            .await
            .problem(400, "bad_query");
    }
}

#[actix::test]
async fn large_blobs_are_streamed_with_their_length() {
    let node = Node::up().await;
    let content = content_of_len(9_000_001);
    let cid = node.store.seed(&content, None);
    let answer = node.get(format!("/retrieve/{cid}")).await;
    assert_eq!(answer.end, End::Whole);
    assert_eq!(answer.header("content-length"), Some("9000001"));
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.body, content);
    let request = Request::get(format!("/retrieve/{cid}")).header("Range", "bytes=5-7000004");
    let answer = node.send(request).await;
    assert_eq!(answer.body, &content[5..=7_000_004]);
    until("the permits are back", || {
        node.http_budget.snapshot().depth + node.store_budget.snapshot().depth == 0
    })
    .await;
}

#[actix::test]
async fn a_transfer_that_breaks_off_ends_in_a_reset() {
    let node = Node::up().await;
    let cid = node.store.seed(&content_of_len(9_000_000), None);
    for error in [
        BodyError::Damaged,
        BodyError::Deleted,
        BodyError::StoreFailed,
    ] {
        node.store.break_reads_after(5_000_000, error);
        let answer = node.get(format!("/retrieve/{cid}")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.end, End::Reset);
        assert!(answer.body.len() < 9_000_000);
    }
    until("the permits are back", || {
        node.http_budget.snapshot().depth == 0
    })
    .await;
}

#[actix::test]
async fn a_damaged_blob_is_never_served() {
    let node = Node::up().await;
    let cid = node.store.seed(b"x", None);
    node.store.quarantine(&cid);
    let problem = node
        .get(format!("/retrieve/{cid}"))
        .await
        .problem(500, "damaged");
    assert_eq!(problem["cid"], cid.to_string());
    assert_eq!(
        node.send(Request::new("HEAD", format!("/retrieve/{cid}")))
            .await
            .status,
        500
    );
}

#[actix::test]
async fn a_range_is_asked_of_the_store_as_it_is() {
    let node = Node::up().await;
    let cid = node.store.seed(b"0123456789", None);
    let request = Request::get(format!("/retrieve/{cid}")).header("Range", "bytes=-3");
    assert_eq!(node.send(request).await.body, b"789");
    assert_eq!(node.store.asked(), [Asked::Get(Some(ByteRange::Last(3)))]);
}
