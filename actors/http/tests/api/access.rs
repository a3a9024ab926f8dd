//! Who may ask.

use bytecave_config::StoreAccess;
use bytecave_core::BlobCid;
use serde_json::json;

use crate::client::Request;
use crate::fake_proof::proof_of;
use crate::fake_store::content_of_shard;
use crate::node::{Node, Setup, TOKEN};

/// A node that counts as reachable by others, without being so.
fn exposed(setup: &mut Setup) {
    setup.settings.allowed_hosts = vec!["node.example.org".to_owned()];
}

struct Case {
    request: Request,
    /// Whether it needs the token on loopback and elsewhere.
    on_loopback: bool,
    elsewhere: bool,
}

fn cases(cid: &str) -> Vec<Case> {
    let case = |method, path: &str, on_loopback, elsewhere| Case {
        request: Request::new(method, path),
        on_loopback,
        elsewhere,
    };
    let mut cases = vec![
        case("GET", "/live", false, false),
        case("GET", "/ready", false, false),
        case("GET", "/health", false, false),
        case("GET", "/info", false, false),
        case("GET", "/openapi.json", false, false),
        case("GET", &format!("/retrieve/{cid}"), false, false),
        case("HEAD", &format!("/retrieve/{cid}"), false, false),
        case("GET", "/metrics", false, true),
        case("GET", "/blobs", false, true),
        case("GET", &format!("/blobs/{cid}"), false, true),
        case("GET", "/shards", false, true),
        case("GET", "/actors", false, true),
        case("GET", "/replication", false, true),
        case("GET", "/audits", false, true),
        case("POST", "/admin/scrub", true, true),
        case("GET", "/admin/blocked", true, true),
        case(
            "PUT",
            &format!("/admin/blocked/{}", BlobCid::of(b"blocked")),
            true,
            true,
        ),
        case(
            "DELETE",
            &format!("/admin/blocked/{}", BlobCid::of(b"blocked")),
            true,
            true,
        ),
        case("PUT", &format!("/pins/{cid}"), true, true),
        case("DELETE", &format!("/pins/{cid}"), true, true),
        case("POST", "/admin/gc", true, true),
        case("POST", "/admin/keys/rotate", true, true),
        case("DELETE", &format!("/blobs/{cid}"), true, true),
    ];
    for method in ["PUT", "POST"] {
        cases.push(Case {
            request: Request::new(method, "/admin/log-level")
                .header("Content-Type", "application/json")
                .body("{\"level\":\"debug\"}"),
            on_loopback: true,
            elsewhere: true,
        });
    }
    for (path, body) in [
        ("/proofs", json!({"cid": cid, "nonce": "05".repeat(32)})),
        ("/proofs/verify", json!({"proof": proof_of(b"x")})),
    ] {
        cases.push(Case {
            request: Request::post(path, body.to_string())
                .header("Content-Type", "application/json"),
            on_loopback: false,
            elsewhere: false,
        });
    }
    cases.push(Case {
        request: Request::post("/store", content_of_shard(true)),
        on_loopback: false,
        elsewhere: true,
    });
    cases
}

#[actix::test]
async fn each_route_asks_for_the_token_where_it_should() {
    for loopback in [true, false] {
        let node = Node::with(|setup| {
            if !loopback {
                exposed(setup);
            }
        })
        .await;
        let cid = node.store.seed(b"x", None).to_string();
        node.prover.seed(b"x");
        for case in cases(&cid) {
            let needed = if loopback {
                case.on_loopback
            } else {
                case.elsewhere
            };
            if needed {
                let request = case.request.clone();
                let before = node.store.asked().len();
                let bare = node.send(request.clone()).await;
                bare.problem(401, "token_required");
                assert_eq!(
                    bare.header("www-authenticate"),
                    Some("Bearer realm=\"bytecave\"")
                );
                node.send(request.clone().token("wrong"))
                    .await
                    .problem(403, "token_wrong");
                node.send(request.clone().token(&TOKEN[1..]))
                    .await
                    .problem(403, "token_wrong");
                node.send(request.header("Authorization", format!("Basic {TOKEN}")))
                    .await
                    .problem(401, "token_required");
                assert_eq!(node.store.asked().len(), before);
            }
            let request = if needed {
                case.request.token(TOKEN)
            } else {
                case.request
            };
            let answer = node.send(request).await;
            assert!(
                answer.status < 300,
                "{} {:?}",
                answer.status,
                answer.headers
            );
        }
    }
}

#[actix::test]
async fn storing_is_open_or_not_as_the_setting_says() {
    let content = content_of_shard(true);
    for (access, loopback, open) in [
        (StoreAccess::Auto, true, true),
        (StoreAccess::Auto, false, false),
        (StoreAccess::Open, true, true),
        (StoreAccess::Open, false, true),
        (StoreAccess::Token, true, false),
        (StoreAccess::Token, false, false),
    ] {
        let node = Node::with(|setup| {
            setup.settings.store_access = access;
            if !loopback {
                exposed(setup);
            }
        })
        .await;
        let answer = node.send(Request::post("/store", content.clone())).await;
        assert_eq!(
            answer.status,
            if open { 201 } else { 401 },
            "{access:?} {loopback}"
        );
    }
}

#[actix::test]
async fn a_trusted_proxy_or_a_name_of_its_own_makes_a_node_not_loopback() {
    let node = Node::with(|setup| {
        setup.settings.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
    })
    .await;
    node.get("/blobs").await.problem(401, "token_required");
}

#[actix::test]
async fn only_our_own_hosts_are_answered() {
    let node = Node::with(exposed).await;
    for host in [
        "localhost",
        "LOCALHOST:5001",
        "127.0.0.1",
        "192.0.2.7:80",
        "[::1]:5001",
        "[2001:db8::1]",
        "node.example.org",
        "Node.Example.Org:443",
        "node.example.org.",
    ] {
        let answer = node.send(Request::get("/live").header("Host", host)).await;
        assert_eq!(answer.status, 200, "{host}");
    }
    for host in [
        "evil.example",
        "evil.example:5001",
        "localhost.evil.example",
        "node.example.org.evil.example",
        "",
    ] {
        let answer = node.send(Request::get("/live").header("Host", host)).await;
        let problem = answer.problem(403, "host_not_allowed");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("http.allowed_hosts")
        );
    }
    let twice = Request::get("/live")
        .header("Host", "localhost")
        .header("Host", "evil.example");
    let answer = node.send(twice).await;
    assert_eq!(answer.status, 400);
}

#[actix::test]
async fn pages_of_others_may_not_call_and_are_not_answered() {
    let node = Node::with(|setup| {
        setup.settings.cors_origins = vec!["https://app.example.org".to_owned()];
    })
    .await;
    let content = content_of_shard(true);
    for origin in [
        "https://evil.example",
        "null",
        "http://app.example.org",
        "https://app.example.org.evil.example",
        "http://127.0.0.1",
        "",
    ] {
        let request = Request::post("/store", content.clone()).header("Origin", origin);
        let answer = node.send(request).await;
        let problem = answer.problem(403, "origin_not_allowed");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .contains("http.cors_origins")
        );
        assert_eq!(answer.header("access-control-allow-origin"), None);
    }
    assert!(node.store.asked().is_empty());
    let own = format!("http://{}", node.address);
    let answer = node.send(Request::get("/info").header("Origin", own)).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, None)
    );
}

#[actix::test]
async fn allowed_pages_get_cors_headers_with_answers_and_with_errors() {
    let origin = "https://app.example.org";
    let node = Node::with(|setup| setup.settings.cors_origins = vec![origin.to_owned()]).await;
    let cid = node.store.seed(b"x", None);
    for (path, status) in [
        (format!("/retrieve/{cid}"), 200),
        ("/retrieve/x".to_owned(), 400),
    ] {
        let answer = node.send(Request::get(path).header("Origin", origin)).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        assert_eq!(answer.header("vary"), Some("Origin"));
        assert!(
            answer
                .header("access-control-expose-headers")
                .unwrap()
                .contains("ETag")
        );
    }
    let without = node.get(format!("/retrieve/{cid}")).await;
    assert_eq!(without.header("access-control-allow-origin"), None);
    assert_eq!(
        without.header("vary"),
        Some("Origin"),
        "a cache keeps it apart"
    );
    let preflight = Request::new("OPTIONS", format!("/blobs/{cid}"))
        .header("Origin", origin)
        .header("Access-Control-Request-Method", "DELETE")
        .header("Access-Control-Request-Headers", "authorization");
    let answer = node.send(preflight).await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
    assert!(
        answer
            .header("access-control-allow-methods")
            .unwrap()
            .contains("DELETE")
    );
    assert!(
        answer
            .header("access-control-allow-headers")
            .unwrap()
            .contains("Authorization")
    );
    let foreign = Request::new("OPTIONS", "/store")
        .header("Origin", "https://evil.example")
        .header("Access-Control-Request-Method", "POST");
    node.send(foreign).await.problem(403, "origin_not_allowed");
}

#[actix::test]
async fn a_client_that_asks_too_often_is_told_to_wait_and_others_are_not() {
    let node = Node::with(|setup| {
        setup.settings.trusted_proxies = vec!["127.0.0.1".parse().unwrap()];
        setup.settings.rate_limit_per_second = 1;
        setup.settings.rate_limit_burst = 3;
    })
    .await;
    let from = |client: &str| Request::get("/info").header("X-Forwarded-For", client);
    for _ in 0..3 {
        assert_eq!(node.send(from("192.0.2.1")).await.status, 200);
    }
    // The left end is what the client itself claims: it changes nothing.
    let answer = node.send(from("198.51.100.9, 192.0.2.1")).await;
    answer.problem(429, "rate_limited");
    let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=3).contains(&wait));
    assert_eq!(node.send(from("192.0.2.2")).await.status, 200);
    for path in ["/live", "/ready"] {
        let request = Request::get(path).header("X-Forwarded-For", "192.0.2.1");
        assert_eq!(node.send(request).await.status, 200, "{path} is exempt");
    }
}

#[actix::test]
async fn nobody_but_a_trusted_proxy_is_believed_about_addresses() {
    let node = Node::with(|setup| {
        exposed(setup);
        setup.settings.rate_limit_per_second = 1;
        setup.settings.rate_limit_burst = 3;
    })
    .await;
    let mut refused = 0;
    for n in 0..8 {
        let request = Request::get("/info").header("X-Forwarded-For", format!("192.0.2.{n}"));
        refused += u32::from(node.send(request).await.status == 429);
    }
    assert!(refused >= 3, "{refused}");
}

#[actix::test]
async fn loopback_has_no_rate_limit() {
    let node = Node::with(|setup| {
        setup.settings.rate_limit_per_second = 1;
        setup.settings.rate_limit_burst = 1;
    })
    .await;
    for _ in 0..20 {
        assert_eq!(node.get("/info").await.status, 200);
    }
}
