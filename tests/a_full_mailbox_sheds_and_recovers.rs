//! A mailbox size in the settings is the work an actor takes on at once: more is shed with 503 and
//! Retry-After, counted by kind, and taken again as soon as there is room; /health answers throughout.

use std::time::Duration;

use serde_json::Value;

use crate::harness::client::{Client, Download, Request};
use crate::harness::{Home, content, wait_for};

/// More than the sockets between two processes hold, so that an unread answer stays unfinished.
const LONG: usize = 48 << 20;

/// Downloads that were admitted and are not read, until one is shed; that one's code.
fn fill(client: &Client, path: &str) -> (Vec<Download>, String) {
    let mut held = Vec::new();
    loop {
        let download = client.begin_download(path).unwrap();
        if download.status != 200 {
            let answer = download.finish().unwrap();
            let seconds: u64 = answer
                .header("retry-after")
                .expect("Retry-After")
                .parse()
                .unwrap();
            assert!((1..=60).contains(&seconds), "{answer:?}");
            assert_eq!(answer.json()["retryable"], true, "{answer:?}");
            return (held, answer.problem(503));
        }
        held.push(download);
        assert!(held.len() <= 64, "the mailbox has no end");
    }
}

/// Sum of the counters of shed messages in the metrics.
fn shed_in_metrics(client: &Client, actor: &str) -> f64 {
    let answer = client.get("/metrics");
    assert_eq!(answer.status, 200);
    let text = String::from_utf8(answer.body).unwrap();
    text.lines()
        .filter(|line| !line.starts_with('#') && line.contains("shed") && line.contains(actor))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap())
        .sum()
}

/// What `/actors` says of one actor.
fn actor(client: &Client, name: &str) -> Value {
    let answer = client.get("/actors");
    assert_eq!(answer.status, 200, "{answer:?}");
    let json = answer.json();
    let list = json["actors"]
        .as_array()
        .unwrap_or_else(|| panic!("no actors in {json}"));
    list.iter()
        .find(|row| row["name"] == name || row["actor"] == name)
        .unwrap_or_else(|| panic!("no actor {name} in {json}"))
        .clone()
}

/// Every number below a key that speaks of shedding.
fn shed_in(value: &Value) -> u64 {
    fn sum(value: &Value) -> u64 {
        match value {
            Value::Number(n) => n.as_u64().unwrap_or_default(),
            Value::Object(map) => map.values().map(sum).sum(),
            Value::Array(list) => list.iter().map(sum).sum(),
            _ => 0,
        }
    }
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                if key.contains("shed") {
                    sum(value)
                } else {
                    shed_in(value)
                }
            })
            .sum(),
        Value::Array(list) => list.iter().map(shed_in).sum(),
        _ => 0,
    }
}

#[test]
fn of_the_store_with_room_for_one_to_four() {
    let mut admitted = Vec::new();
    for mailbox in 1..=4 {
        let home = Home::new().toml(&format!("[actors.store]\nmailbox = {mailbox}\n"));
        let node = home.start();
        let client = node.client();
        let blob = content::bytes(7, LONG);
        let path = format!("/retrieve/{}", client.keep(&blob));
        assert_eq!(
            shed_in_metrics(&client, "store").to_bits(),
            0f64.to_bits(),
            "nothing was shed yet"
        );

        let (mut held, _) = fill(&client, &path);
        assert!(
            !held.is_empty() && held.len() <= mailbox,
            "{} of {mailbox} admitted",
            held.len()
        );
        admitted.push(held.len());
        // Stores are shed as well, and what needs no mailbox goes on.
        client.store(b"no room").problem(503);
        assert_eq!(client.health()["status"], "healthy");
        assert_eq!(client.get("/live").status, 200);
        assert_eq!(client.get("/ready").status, 200);
        assert!(shed_in_metrics(&client, "store") >= 2.0);
        let row = actor(&client, "store");
        assert!(shed_in(&row) >= 2, "{row}");

        // Room is made: the next is taken, without waiting for anything else.
        let back = held.pop().unwrap().finish().unwrap();
        assert_eq!(back.body, blob);
        wait_for("room in the mailbox", || {
            (client.store(b"room again").status == 201).then_some(())
        });
        for download in held {
            assert_eq!(
                download.finish().unwrap().body,
                blob,
                "those that were admitted come to their end"
            );
        }
        assert_eq!(
            client.retrieve(&content::cid(b"room again")).body,
            b"room again"
        );
    }
    assert!(
        admitted.is_sorted() && admitted[3] > admitted[0],
        "the setting has an effect: {admitted:?}"
    );
}

#[test]
fn of_http_too() {
    let home = Home::new().toml("[actors.http]\nmailbox = 2\n");
    let node = home.start();
    let client = node.client();
    let blob = content::bytes(7, LONG);
    let path = format!("/retrieve/{}", client.keep(&blob));
    let (held, _) = fill(&client, &path);
    assert!((1..=2).contains(&held.len()), "{}", held.len());
    client.get("/info").problem(503);
    for open in ["/live", "/ready", "/health", "/metrics"] {
        assert_eq!(client.get(open).status, 200, "{open}");
    }
    assert!(shed_in_metrics(&client, "http") >= 1.0);
    drop(held);
    wait_for("room after clients went away", || {
        (client.get("/info").status == 200).then_some(())
    });
}

#[test]
fn under_a_crowd_and_never_deadlocks() {
    let home = Home::new().toml("[actors.store]\nmailbox = 1\n");
    let node = home.start();
    let client = node.client();
    let (mut kept, mut shed) = (Vec::new(), 0);
    std::thread::scope(|scope| {
        let crowd: Vec<_> = (0..24u64)
            .map(|n| {
                let client = client.clone();
                scope.spawn(move || {
                    let (mut kept, mut shed) = (Vec::new(), 0);
                    for round in 0..8 {
                        let blob = content::bytes(n * 1000 + round, 200_000);
                        let answer = client.store(&blob);
                        if answer.status == 201 {
                            kept.push(blob);
                        } else {
                            answer.problem(503);
                            shed += 1;
                        }
                        assert_eq!(client.get("/health").status, 200);
                    }
                    (kept, shed)
                })
            })
            .collect();
        for one in crowd {
            let (k, s) = one.join().unwrap();
            kept.extend(k);
            shed += s;
        }
    });
    assert!(!kept.is_empty(), "some are served under any load");
    assert!(shed > 0, "24 clients fit into a mailbox of one");
    let counted = shed_in_metrics(&client, "store");
    assert!(counted >= f64::from(shed), "{counted} counted, {shed} seen");
    for blob in &kept {
        let back = wait_for("an answer", || {
            let answer = client.retrieve(&content::cid(blob));
            if answer.status == 503 {
                std::thread::sleep(Duration::from_millis(5));
                return None;
            }
            Some(answer)
        });
        assert_eq!(back.body, *blob);
    }
    client.holds(kept.len());
    // By kind: the puts are told apart.
    let row = actor(&client, "store").to_string().to_lowercase();
    assert!(row.contains("put"), "{row}");
    assert_eq!(client.ask(Request::store(b"after")).status, 201);
}
