//! Every error is a problem document, whoever made it.

use bytecave_core::BlobCid;
use bytecave_http::Code;
use bytecave_messages::body::BodyError;
use bytecave_messages::store::StoreError;

use crate::client::Request;
use crate::fake_store::content_of_shard;
use crate::node::{Node, TOKEN};

#[actix::test]
async fn unknown_routes_are_404() {
    let node = Node::up().await;
    for path in [
        "/",
        "/docs",
        "/proofs/x",
        "/admin/backup",
        "/store/x",
        "/retrieve",
        "/retrieve/",
        "/retrieve/a/b",
        "/health/",
        "//live",
        "/%00",
        "/admin",
        "/LIVE",
    ] {
        node.get(path).await.problem(404, "route_not_found");
    }
}

#[actix::test]
async fn a_method_that_is_not_answered_is_405_with_those_that_are() {
    let node = Node::up().await;
    for (method, path, allow) in [
        ("GET", "/store", "POST, OPTIONS"),
        ("PUT", "/store", "POST, OPTIONS"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("DELETE", "/retrieve/x", "GET, HEAD, OPTIONS"),
        ("GET", "/pins/x", "PUT, DELETE, OPTIONS"),
        ("POST", "/blobs/x", "GET, HEAD, DELETE, OPTIONS"),
        ("GET", "/admin/gc", "POST, OPTIONS"),
        ("PUT", "/admin/blocked", "GET, HEAD, OPTIONS"),
        ("GET", "/admin/blocked/x", "PUT, DELETE, OPTIONS"),
        ("POST", "/replication", "GET, HEAD, OPTIONS"),
        ("GET", "/proofs", "POST, OPTIONS"),
        ("GET", "/proofs/verify", "POST, OPTIONS"),
        ("POST", "/audits", "GET, HEAD, OPTIONS"),
        ("GET", "/admin/scrub", "POST, OPTIONS"),
        ("TRACE", "/live", "GET, HEAD, OPTIONS"),
        ("BREW", "/live", "GET, HEAD, OPTIONS"),
    ] {
        let answer = node.send(Request::new(method, path)).await;
        answer.problem(405, "method_not_allowed");
        assert_eq!(answer.header("allow"), Some(allow), "{method} {path}");
    }
}

#[actix::test]
async fn head_is_answered_wherever_get_is() {
    let node = Node::up().await;
    let cid = node.store.seed(b"x", None);
    for path in [
        "/live".to_owned(),
        "/ready".to_owned(),
        "/health".to_owned(),
        "/info".to_owned(),
        "/metrics".to_owned(),
        "/blobs".to_owned(),
        "/shards".to_owned(),
        "/replication".to_owned(),
        "/audits".to_owned(),
        "/actors".to_owned(),
        "/openapi.json".to_owned(),
        format!("/blobs/{cid}"),
        format!("/retrieve/{cid}"),
    ] {
        let answer = node.send(Request::new("HEAD", path.as_str())).await;
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.body.is_empty());
    }
}

#[actix::test]
async fn json_that_cannot_be_read() {
    let node = Node::up().await;
    let ask = |body: &str| {
        Request::new("PUT", "/admin/log-level")
            .token(TOKEN)
            .body(body)
    };
    let json = |body: &str| ask(body).header("Content-Type", "application/json");
    node.send(json("{")).await.problem(400, "bad_body");
    node.send(json("{}")).await.problem(400, "bad_body");
    node.send(json("{\"level\":\"info\",\"x\":1}"))
        .await
        .problem(400, "bad_body");
    let refused = node.send(json("{\"level\":\"nonsense\"}")).await;
    assert!(
        refused.problem(400, "bad_body")["detail"]
            .as_str()
            .unwrap()
            .contains("\"nonsense\" is no level")
    );
    node.send(ask("{\"level\":\"info\"}"))
        .await
        .problem(415, "unsupported_media_type");
    let large = format!("{{\"level\":\"{}\"}}", "x".repeat(5000));
    node.send(json(&large)).await.problem(413, "body_too_large");
    node.send(json(&large).chunked())
        .await
        .problem(413, "body_too_large");
    assert!(node.levels.lock().unwrap().is_empty());
    assert_eq!(node.send(json("{\"level\":\"debug\"}")).await.status, 200);
    assert_eq!(*node.levels.lock().unwrap(), ["debug"]);
}

#[actix::test]
async fn query_and_path_that_cannot_be_read() {
    let node = Node::up().await;
    for path in [
        "/blobs?limit=0",
        "/blobs?limit=1001",
        "/blobs?limit=x",
        "/blobs?shard=16",
        "/blobs?shard=-1",
        "/blobs?after=x",
        "/blobs?unknown=1",
        "/replication?limit=0",
        "/replication?limit=4097",
        "/replication?after=-1",
        "/replication?missing=maybe",
        "/replication?unknown=1",
    ] {
        node.get(path).await.problem(400, "bad_query");
    }
    node.get("/blobs/x").await.problem(400, "bad_cid");
    node.send(Request::new("DELETE", "/blobs/x").token(TOKEN))
        .await
        .problem(400, "bad_cid");
    node.send(Request::new("PUT", "/pins/x").token(TOKEN))
        .await
        .problem(400, "bad_cid");
    assert!(node.store.asked().is_empty());
}

#[actix::test]
async fn each_error_of_the_store_has_its_code() {
    let node = Node::up().await;
    let cid = BlobCid::of(b"x");
    let failed = StoreError::Failed {
        operation: "read",
        cause: "IO error: /secret/path/000123.sst".to_owned(),
    };
    for (error, status, code) in [
        (StoreError::NotFound { cid }, 404, "blob_not_found"),
        (StoreError::Unavailable, 503, "store_unavailable"),
        (StoreError::Pinned { cid }, 409, "pinned"),
        (StoreError::Blocked { cid }, 451, "blocked"),
        (StoreError::Deleted { cid }, 404, "blob_not_found"),
        (StoreError::Damaged { cid }, 500, "damaged"),
        (
            StoreError::ReadOnly {
                reason: "MANIFEST".to_owned(),
            },
            503,
            "read_only",
        ),
        (
            StoreError::DiskFull {
                free_bytes: 1,
                reserve_bytes: 2,
            },
            507,
            "disk_full",
        ),
        (
            StoreError::QuotaReached {
                quota_bytes: 3,
                free_bytes: 1,
                needed_bytes: 2,
            },
            507,
            "quota_reached",
        ),
        (
            StoreError::TooLarge { limit_bytes: 1 },
            413,
            "blob_too_large",
        ),
        (failed, 500, "store_failed"),
        (
            StoreError::Body(BodyError::StoreFailed),
            500,
            "store_failed",
        ),
        (
            StoreError::Body(BodyError::Malformed {
                reason: "so".to_owned(),
            }),
            400,
            "bad_body",
        ),
    ] {
        node.store.fail_with(Some(error));
        let stored = node
            .send(Request::post("/store", content_of_shard(true)))
            .await;
        stored.problem(status, code);
        let answer = node.get(format!("/retrieve/{cid}")).await;
        answer.problem(status, code);
        assert!(
            !answer.text().contains("/secret/path"),
            "files of the node are not told"
        );
        assert_eq!(
            answer.header("retry-after").is_some(),
            code == "store_unavailable"
        );
    }
}

#[actix::test]
async fn a_pinned_blob_is_not_deleted() {
    let node = Node::up().await;
    let cid = node.store.seed(b"x", None);
    let ask = |method, path: String| Request::new(method, path).token(TOKEN);
    assert_eq!(
        node.send(ask("PUT", format!("/pins/{cid}"))).await.status,
        204
    );
    assert_eq!(
        node.get(format!("/blobs/{cid}")).await.json()["pinned"],
        true
    );
    node.send(ask("DELETE", format!("/blobs/{cid}")))
        .await
        .problem(409, "pinned");
    assert_eq!(
        node.send(ask("DELETE", format!("/pins/{cid}")))
            .await
            .status,
        204
    );
    assert_eq!(
        node.send(ask("DELETE", format!("/blobs/{cid}")))
            .await
            .status,
        204
    );
    node.send(ask("DELETE", format!("/blobs/{cid}")))
        .await
        .problem(404, "blob_not_found");
    node.send(ask("PUT", format!("/pins/{cid}")))
        .await
        .problem(404, "blob_not_found");
}

#[actix::test]
async fn request_ids_are_kept_or_made() {
    let node = Node::up().await;
    let answer = node
        .send(Request::get("/live").header("X-Request-Id", "mine-1"))
        .await;
    assert_eq!(answer.header("x-request-id"), Some("mine-1"));
    let refused = node
        .send(Request::get("/nowhere").header("X-Request-Id", "mine-2"))
        .await;
    assert_eq!(
        refused.problem(404, "route_not_found")["requestId"],
        "mine-2"
    );
    let mut seen = std::collections::BTreeSet::new();
    for bad in ["", "with space", &"x".repeat(129), "quo\"te"] {
        let answer = node
            .send(Request::get("/live").header("X-Request-Id", bad))
            .await;
        let id = answer.header("x-request-id").unwrap().to_owned();
        assert_eq!(id.len(), 16, "{id}");
        assert!(seen.insert(id));
    }
}

#[test]
fn the_codes_and_their_document_agree() {
    let document = include_str!("../../../../docs/errors.md");
    let mut documented: Vec<(String, u16, bool)> = document
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let retryable = match cells[3] {
                "yes" => true,
                "no" => false,
                other => panic!("{other}"),
            };
            (
                cells[1].trim_matches('`').to_owned(),
                cells[2].parse().unwrap(),
                retryable,
            )
        })
        .collect();
    let mut known: Vec<(String, u16, bool)> = Code::ALL
        .iter()
        .map(|code| (code.name().to_owned(), code.status(), code.retryable()))
        .collect();
    documented.sort();
    known.sort();
    assert_eq!(documented, known);
}
