//! A page that somebody uploaded does not run beside the dashboard: the headers of /retrieve forbid it,
//! and a real browser obeys them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::harness::client::Request;
use crate::harness::{Home, wait_for};

#[test]
fn by_its_headers() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let page = b"<!doctype html><script>fetch('/blobs')</script>";
    let kinds = [
        "text/html",
        "TEXT/HTML; charset=utf-8",
        "application/xhtml+xml",
        "image/svg+xml",
        "text/xml",
        "application/pdf",
        "text/javascript",
        "application/x-unknown",
        "nonsense",
    ];
    for (n, kind) in kinds.into_iter().enumerate() {
        let blob = [page.as_slice(), &[u8::try_from(n).unwrap()]].concat();
        let stored = client.ask(
            Request::store(&blob)
                .header("Content-Type", kind)
                .header("Content-Disposition", "inline; filename=\"p.html\""),
        );
        if stored.status == 400 || stored.status == 415 {
            // What is no media type may be refused.
            assert_eq!(kind, "nonsense", "{stored:?}");
            continue;
        }
        let answer = client.retrieve(stored.json()["cid"].as_str().unwrap());
        assert_eq!(answer.body, blob);
        assert!(
            answer
                .header("content-disposition")
                .is_some_and(|d| d.starts_with("attachment")),
            "{kind}: {answer:?}"
        );
        let policy = answer.header("content-security-policy").unwrap_or_default();
        assert!(
            policy.contains("sandbox") && policy.contains("default-src 'none'"),
            "{kind}: {policy}"
        );
        assert!(!policy.contains("allow-scripts"), "{policy}");
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{kind}"
        );
    }
    // A picture is shown, under the same policy.
    let picture =
        client.ask(Request::store(b"\x89PNG not really").header("Content-Type", "image/png"));
    let answer = client.retrieve(picture.json()["cid"].as_str().unwrap());
    assert!(
        !answer
            .header("content-disposition")
            .unwrap_or_default()
            .starts_with("attachment"),
        "{answer:?}"
    );
    assert!(
        answer
            .header("content-security-policy")
            .is_some_and(|p| p.contains("sandbox")),
        "{answer:?}"
    );
}

#[test]
fn names_cannot_smuggle_headers() {
    let home = Home::new();
    let node = home.start();
    let client = node.client();
    let names = [
        "a\\\"; filename=evil.exe; x=\\\"",
        "../../etc/passwd",
        "grüße.html",
        "%0d%0aX-Evil: 1",
        "a;b",
        "\u{202e}gnp.exe",
    ];
    for (n, name) in names.into_iter().enumerate() {
        let disposition = format!("attachment; filename=\"{name}\"");
        let blob = [b'n', u8::try_from(n).unwrap()];
        let stored = client.ask(Request::store(&blob).header("Content-Disposition", &disposition));
        if stored.status == 400 {
            continue;
        }
        assert_eq!(stored.status, 201, "{name}: {stored:?}");
        let answer = client.retrieve(stored.json()["cid"].as_str().unwrap());
        assert_eq!(answer.header("x-evil"), None);
        let given = answer.header("content-disposition").unwrap();
        assert!(!given.contains("../"), "{given}");
        // What stands between quotes is the name, whatever it looks like.
        let outside: String = given.split('"').step_by(2).collect();
        assert_eq!(outside.matches("filename=").count(), 1, "{given}");
        assert!(!given.contains("\\\"") && given.is_ascii(), "{given}");
        let download = client.get(&format!(
            "/retrieve/{}?download=%0d%0aX-Evil:%201",
            stored.json()["cid"].as_str().unwrap()
        ));
        assert_eq!(download.header("x-evil"), None, "{download:?}");
    }
}

/// A listener of the test's own that serves pages and notices whether anyone asks for `/beacon`.
struct Beacon {
    address: String,
    hit: Arc<AtomicBool>,
    asked: Arc<AtomicBool>,
}

impl Beacon {
    /// Serves `page` at `/`, as text/html without any policy.
    fn serving(page: impl FnOnce(&str) -> String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let page = page(&address);
        let (hit, asked) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicBool::new(false)),
        );
        let (hits, asks) = (Arc::clone(&hit), Arc::clone(&asked));
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut request = [0; 4096];
                let read = stream.read(&mut request).unwrap_or(0);
                let head = String::from_utf8_lossy(&request[..read]).into_owned();
                if head.contains(" /beacon") {
                    hits.store(true, Ordering::SeqCst);
                } else if head.starts_with("GET / ") {
                    asks.store(true, Ordering::SeqCst);
                }
                let body = if head.starts_with("GET / ") {
                    page.as_str()
                } else {
                    ""
                };
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nAccess-Control-Allow-Origin: *\r\n\
                     Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self {
            address,
            hit,
            asked,
        }
    }
}

fn browser() -> Option<&'static str> {
    ["chromium", "chromium-browser", "google-chrome"]
        .into_iter()
        .find(|name| {
            Command::new(name)
                .arg("--version")
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|s| s.success())
        })
}

/// Lets the browser load a page and end by itself.
fn visit(browser: &str, home: &Home, url: &str) {
    let profile = home.path().join("profile");
    let mut child = Command::new(browser)
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-extensions",
            "--disable-background-networking",
            "--no-first-run",
            "--virtual-time-budget=3000",
            "--dump-dom",
        ])
        .arg(format!("--user-data-dir={}", profile.display()))
        .arg(url)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    // A navigation that becomes a download has no end of loading: the browser is ended then.
    let begun = Instant::now();
    while child.try_wait().unwrap().is_none() && begun.elapsed() < Duration::from_secs(15) {
        std::thread::sleep(Duration::from_millis(50));
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn in_a_real_browser() {
    let Some(browser) = browser() else {
        eprintln!("skipped: no Chromium on the PATH (Debian: apt-get install chromium)");
        return;
    };
    let script = |address: &str| {
        format!(
            "<!doctype html><script>new Image().src='{address}/beacon';fetch('{address}/beacon?2')</script>"
        )
    };
    let home = Home::new();
    // The measure first: served without the policy, the script runs.
    let open = Beacon::serving(script);
    visit(browser, &home, &open.address);
    if !open.asked.load(Ordering::SeqCst) {
        eprintln!("skipped: {browser} does not run here");
        return;
    }
    wait_for("the script of an open page", || {
        open.hit.load(Ordering::SeqCst).then_some(())
    });

    let node = home.start();
    let client = node.client();
    let target = Beacon::serving(|_| String::new());
    let svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg'><script>new Image().src='{}/beacon'</script></svg>",
        target.address
    );
    let mut urls = Vec::new();
    for (kind, page) in [
        ("text/html", script(&target.address)),
        ("image/svg+xml", svg),
    ] {
        let stored = client.ask(Request::store(page.as_bytes()).header("Content-Type", kind));
        urls.push(format!(
            "{}/retrieve/{}",
            node.url(),
            stored.json()["cid"].as_str().unwrap()
        ));
    }
    // In a frame of another page, where a download cannot hide what would have happened.
    let frames: Vec<String> = urls
        .iter()
        .map(|url| format!("<iframe src='{url}'></iframe><object data='{url}'></object>"))
        .collect();
    let frames = frames.concat();
    let framing = Beacon::serving(|_| format!("<!doctype html>{frames}"));
    visit(browser, &home, &framing.address);
    assert!(
        framing.asked.load(Ordering::SeqCst),
        "the page with the frames was loaded"
    );
    visit(browser, &home, &urls[0]);
    assert!(
        !target.hit.load(Ordering::SeqCst),
        "an uploaded page ran its script"
    );
}
