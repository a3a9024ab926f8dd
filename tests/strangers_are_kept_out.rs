//! Foreign hosts and origins get 403, changes need the token, and beyond loopback so does all but reading.

use crate::harness::Home;
use crate::harness::client::Request;

#[test]
fn foreign_hosts_are_403_and_addresses_are_not() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    for host in [
        "evil.example",
        "evil.example:5001",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "x",
    ] {
        client
            .ask(Request::get("/health").host(host))
            .problem_in(&[400, 403]);
        client
            .ask(Request::store(b"x").host(host))
            .problem_in(&[400, 403]);
    }
    client
        .ask(Request::get("/health").host("evil.example"))
        .problem(403);
    for host in [
        "localhost",
        "localhost:9",
        "127.0.0.1",
        "192.168.7.7:80",
        "[::1]",
        "[2001:db8::1]:5001",
        "LOCALHOST",
    ] {
        assert_eq!(
            client.ask(Request::get("/health").host(host)).status,
            200,
            "{host}"
        );
    }
    client.holds(0);

    let home =
        Home::new().toml("[http]\nallowed_hosts = [\"cave.example\"]\nstore_access = \"open\"\n");
    let node = home.start();
    let client = node.client();
    for host in ["cave.example", "cave.example:443", "Cave.Example"] {
        assert_eq!(
            client.ask(Request::get("/health").host(host)).status,
            200,
            "{host}"
        );
    }
    client
        .ask(Request::get("/health").host("other.example"))
        .problem(403);
}

#[test]
fn foreign_origins_are_403() {
    let home = Home::new().toml("[http]\ncors_origins = [\"https://app.example\"]\n");
    let node = home.start();
    let client = node.client();
    let own = node.url();
    for origin in [
        "https://evil.example",
        "null",
        "http://127.0.0.1:1",
        "https://app.example.evil",
        "http://app.example",
    ] {
        client
            .ask(Request::store(b"x").header("Origin", origin))
            .problem(403);
        client
            .ask(Request::get("/health").header("Origin", origin))
            .problem(403);
    }
    client.holds(0);
    assert_eq!(
        client
            .ask(Request::get("/health").header("Origin", &own))
            .status,
        200
    );
    let allowed = client.ask(Request::store(b"x").header("Origin", "https://app.example"));
    assert_eq!(allowed.status, 201, "{allowed:?}");
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    let preflight = client.ask(
        Request::new("OPTIONS", "/store")
            .header("Origin", "https://app.example")
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type"),
    );
    assert!(matches!(preflight.status, 200 | 204), "{preflight:?}");
    assert_eq!(
        preflight.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    let foreign = client.ask(
        Request::new("OPTIONS", "/store")
            .header("Origin", "https://evil.example")
            .header("Access-Control-Request-Method", "POST"),
    );
    assert_eq!(foreign.status, 403, "{foreign:?}");
    assert_eq!(foreign.header("access-control-allow-origin"), None);
}

#[test]
fn changes_need_the_token_also_on_loopback() {
    let home = Home::new();
    let node = home.start();
    let (stranger, owner) = (node.stranger(), node.client());
    let cid = stranger.keep(b"anyone may store here");
    let changes = [
        ("DELETE", format!("/blobs/{cid}")),
        ("PUT", format!("/pins/{cid}")),
        ("DELETE", format!("/pins/{cid}")),
        ("POST", "/admin/gc".to_owned()),
        ("POST", "/admin/keys/rotate".to_owned()),
    ];
    for (method, path) in &changes {
        stranger
            .ask(Request::new(method, path.as_str()))
            .problem(401);
        for wrong in ["x", "", &home.token()[1..], &format!("{}0", home.token())] {
            let answer = stranger
                .clone()
                .with_token(wrong)
                .ask(Request::new(method, path.as_str()));
            answer.problem_in(&[401, 403]);
        }
    }
    assert_eq!(stranger.retrieve(&cid).body, b"anyone may store here");
    for open in [
        "/health",
        "/info",
        "/live",
        "/ready",
        "/blobs",
        "/shards",
        "/actors",
        "/metrics",
        "/openapi.json",
    ] {
        assert_eq!(stranger.get(open).status, 200, "{open}");
    }
    assert_eq!(
        owner
            .ask(Request::new("DELETE", format!("/blobs/{cid}")))
            .status,
        204
    );
}

#[test]
fn beyond_loopback_only_reading_is_open() {
    let home = Home::new().env("HOST", "0.0.0.0");
    let node = home.start();
    let (stranger, owner) = (node.stranger(), node.client());
    stranger.store(b"no").problem(401);
    owner.holds(0);
    let cid = owner.keep(b"yes");
    assert_eq!(stranger.retrieve(&cid).body, b"yes");
    for open in ["/health", "/info", "/live", "/ready", "/openapi.json"] {
        assert_eq!(stranger.get(open).status, 200, "{open}");
    }
    for closed in [
        "/blobs",
        "/shards",
        "/actors",
        "/metrics",
        &format!("/blobs/{cid}"),
    ] {
        stranger.get(closed).problem(401);
        assert_eq!(owner.get(closed).status, 200, "{closed}");
    }
    assert!(
        node.said().contains("token"),
        "the start says that storing asks for the token: {}",
        node.said()
    );
    node.stop();

    let home = Home::new()
        .env("HOST", "0.0.0.0")
        .toml("[http]\nstore_access = \"open\"\n");
    let node = home.start();
    assert_eq!(node.stranger().store(b"open").status, 201);
    node.stranger().get("/blobs").problem(401);
    node.stop();

    let home = Home::new().toml("[http]\nstore_access = \"token\"\n");
    let node = home.start();
    node.stranger().store(b"no").problem(401);
    assert_eq!(node.client().store(b"yes").status, 201);
    node.stop();

    // A proxy in front makes loopback reachable by others.
    let home = Home::new().toml("[http]\ntrusted_proxies = [\"127.0.0.1\"]\n");
    let node = home.start();
    node.stranger().store(b"no").problem(401);
}

#[test]
fn too_many_requests_of_one_address_are_429() {
    let home = Home::new()
        .env("HOST", "0.0.0.0")
        .toml("[http]\nrate_limit_per_second = 1\nrate_limit_burst = 5\n");
    let node = home.start();
    let client = node.stranger();
    let mut limited = 0;
    for _ in 0..30 {
        let answer = client.get("/info");
        if answer.status == 429 {
            answer.problem(429);
            assert!(answer.header("retry-after").is_some(), "{answer:?}");
            limited += 1;
        }
    }
    assert!(limited >= 10, "{limited} of 30 were limited");
    for exempt in ["/live", "/ready"] {
        assert_eq!(client.get(exempt).status, 200, "{exempt}");
    }
    // On loopback nobody is.
    let home = Home::new().toml("[http]\nrate_limit_per_second = 1\nrate_limit_burst = 5\n");
    let node = home.start();
    for _ in 0..30 {
        assert_eq!(node.client().get("/info").status, 200);
    }
}
