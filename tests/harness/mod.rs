//! Starts nodes in directories of their own, waits on conditions (never on time alone), and cleans
//! up when a test ends, also by a panic, showing what the node said last.

pub(crate) mod client;
pub(crate) mod cluster;
pub(crate) mod content;
pub(crate) mod disk;
pub(crate) mod js;
pub(crate) mod network;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use client::{Client, Request};

/// Longest that anything a node does may take on a slow, busy machine. Only hangs reach it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

/// Whether the long form of slow tests is asked for.
pub(crate) fn soak() -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "a switch of the tests, not a setting of the node"
    )]
    let value = std::env::var_os("BYTECAVE_SOAK");
    value.is_some_and(|value| value == "1")
}

fn inherited(name: &str) -> Option<std::ffi::OsString> {
    #[expect(
        clippy::disallowed_methods,
        reason = "what the child needs of the tester's environment"
    )]
    std::env::var_os(name)
}

/// Asks `probe` until it gives something.
pub(crate) fn wait_for<T>(what: &str, mut probe: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(begun.elapsed() < PATIENCE, "gave up waiting for {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port nobody listens on at this moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// The repository.
pub(crate) fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A directory in which a node lives, with its settings. The node sees nothing of the tester's
/// environment but what a program needs to run.
pub(crate) struct Home {
    dir: TempDir,
    env: BTreeMap<String, String>,
    runs: AtomicU32,
}

impl Home {
    /// A node alone, 16 shards, on a port the system chooses, with a small reserve of free disk.
    pub(crate) fn new() -> Self {
        Self::bare()
            .env("PORT", "0")
            .env("SHARD_COUNT", "16")
            .env("P2P_ENABLED", "false")
            .env("BYTECAVE__STORE__DISK_RESERVE", "16MiB")
    }

    /// Without any setting.
    pub(crate) fn bare() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("bytecave-node-")
            .tempdir()
            .unwrap();
        Self {
            dir,
            env: BTreeMap::new(),
            runs: AtomicU32::new(0),
        }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.set(name, value);
        self
    }

    pub(crate) fn toml(self, text: &str) -> Self {
        fs::write(self.path().join("bytecave.toml"), text).unwrap();
        self
    }

    /// Changes a setting for the next start.
    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.env.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.env.remove(name);
    }

    /// The working directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The data directory.
    pub(crate) fn data(&self) -> PathBuf {
        match self.env.get("DATA_DIR") {
            Some(dir) => self.path().join(dir),
            None => self.path().join("data"),
        }
    }

    /// The API token, made at first start.
    pub(crate) fn token(&self) -> String {
        let file = self.data().join("keys/api-token");
        fs::read_to_string(&file)
            .unwrap_or_else(|e| panic!("{}: {e}", file.display()))
            .trim()
            .to_owned()
    }

    /// The program with these arguments, in this home.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bytecave"));
        command
            .args(args)
            .current_dir(self.path())
            .env_clear()
            .envs(&self.env);
        for name in ["PATH", "HOME", "TMPDIR", "LLVM_PROFILE_FILE"] {
            if let Some(value) = inherited(name) {
                command.env(name, value);
            }
        }
        command.stdin(Stdio::null());
        command
    }

    /// Runs a command of the program to its end.
    pub(crate) fn cli(&self, args: &[&str]) -> Ended {
        let mut child = self
            .command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let out = std::thread::spawn(move || read_all(out));
        let err = std::thread::spawn(move || read_all(err));
        let status = wait_for_end(&mut child, &format!("`bytecave {}`", args.join(" ")));
        Ended::from(Output {
            status,
            stdout: out.join().unwrap(),
            stderr: err.join().unwrap(),
        })
    }

    /// Starts a node and does not wait for anything.
    pub(crate) fn launch(&self) -> Running {
        let run = self.runs.fetch_add(1, Ordering::Relaxed);
        let said = self.path().join(format!("said-{run}.txt"));
        let file = File::create(&said).unwrap();
        let child = self
            .command(&["run"])
            .stdout(Stdio::from(file.try_clone().unwrap()))
            .stderr(Stdio::from(file))
            .spawn()
            .unwrap();
        Running {
            child: Some(child),
            said,
            data: self.data(),
            address: None,
        }
    }

    /// Starts a node and waits until it is ready.
    pub(crate) fn start(&self) -> Running {
        let mut node = self.launch();
        node.wait_ready();
        node
    }

    /// Starts a node that must not start, and gives how it ended.
    pub(crate) fn refused(&self) -> Ended {
        let ended = self.cli(&["run"]);
        assert_ne!(
            ended.code,
            Some(0),
            "the node started and stopped without an error: {}",
            ended.text()
        );
        assert!(
            ended.code.is_some(),
            "it died of a signal: {}",
            ended.text()
        );
        assert!(
            !ended.text().contains("panicked at"),
            "a refusal is no panic: {}",
            ended.text()
        );
        ended
    }
}

/// How a run of the program ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit code; none after a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// Standard output as it came.
    pub(crate) bytes: Vec<u8>,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            bytes: output.stdout,
        }
    }
}

impl Ended {
    /// All that it said.
    pub(crate) fn text(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }

    /// Asserts exit code 0.
    #[track_caller]
    pub(crate) fn well(self) -> Self {
        assert_eq!(
            self.code,
            Some(0),
            "stdout: {}\nstderr: {}",
            self.stdout,
            self.stderr
        );
        self
    }

    /// Asserts that it said each of these words.
    #[track_caller]
    pub(crate) fn naming(self, words: &[&str]) -> Self {
        let text = self.text();
        for word in words {
            assert!(text.contains(word), "it does not name {word:?}: {text}");
        }
        self
    }
}

fn read_all(mut from: impl std::io::Read) -> Vec<u8> {
    let mut all = Vec::new();
    from.read_to_end(&mut all).unwrap();
    all
}

fn wait_for_end(child: &mut Child, what: &str) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            panic!("{what} did not end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A node that was started. Dropped, it is killed.
pub(crate) struct Running {
    child: Option<Child>,
    said: PathBuf,
    data: PathBuf,
    address: Option<SocketAddr>,
}

impl Running {
    /// What the node wrote to its terminal so far.
    pub(crate) fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.said).unwrap_or_default()).into_owned()
    }

    /// Whether it still runs.
    pub(crate) fn alive(&mut self) -> bool {
        self.child
            .as_mut()
            .is_some_and(|child| child.try_wait().unwrap().is_none())
    }

    /// Its resident memory.
    pub(crate) fn resident_bytes(&self) -> u64 {
        let id = self.child.as_ref().unwrap().id();
        let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:"));
        let kib = line.unwrap().split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    /// Where it listens, as its start message says.
    pub(crate) fn wait_address(&mut self) -> SocketAddr {
        if let Some(address) = self.address {
            return address;
        }
        let begun = Instant::now();
        loop {
            if let Some(address) = announced(&self.said) {
                self.address = Some(address);
                return address;
            }
            assert!(self.alive(), "the node ended at its start: {}", self.said());
            assert!(
                begun.elapsed() < PATIENCE,
                "the node named no address: {}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until `/ready` answers 200.
    pub(crate) fn wait_ready(&mut self) {
        let client = Client::new(self.wait_address());
        let begun = Instant::now();
        loop {
            if let Ok(answer) = client.send(Request::get("/ready"))
                && answer.status == 200
            {
                return;
            }
            assert!(
                self.alive(),
                "the node ended before it was ready: {}",
                self.said()
            );
            assert!(
                begun.elapsed() < PATIENCE,
                "the node did not become ready: {}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address.expect("the node is not ready yet")
    }

    /// A client that holds the token.
    pub(crate) fn client(&self) -> Client {
        let token = fs::read_to_string(self.data.join("keys/api-token")).unwrap();
        Client::new(self.address()).with_token(token.trim())
    }

    /// A client without the token.
    pub(crate) fn stranger(&self) -> Client {
        Client::new(self.address())
    }

    /// The base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().expect("the node was stopped already");
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    pub(crate) fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Holds it still: it neither reads nor answers, and its connections stay.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    pub(crate) fn interrupt(&self) {
        self.signal(Signal::INT);
    }

    /// Kills it with signal 9 and waits until it is gone.
    pub(crate) fn kill(mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        let status = child.wait().unwrap();
        assert_eq!(
            status.signal(),
            Some(9),
            "it ended before it was killed: {status}; {}",
            self.said()
        );
    }

    /// Waits for its end.
    pub(crate) fn end(mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let status = wait_for_end(&mut child, "the node");
        self.child = None;
        status
    }

    /// Stops it with SIGTERM; the exit code must be 0.
    #[track_caller]
    pub(crate) fn stop(self) {
        self.terminate();
        let said = self.said.clone();
        let status = self.end();
        assert_eq!(
            status.code(),
            Some(0),
            "{status}: {}",
            fs::read_to_string(said).unwrap()
        );
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let said = self.said();
            let lines: Vec<&str> = said.lines().collect();
            let last = lines.len().saturating_sub(40);
            eprintln!(
                "--- last words of the node ---\n{}\n---",
                lines[last..].join("\n")
            );
        }
    }
}

/// The first URL with a real port in what a node said.
fn announced(said: &Path) -> Option<SocketAddr> {
    let file = BufReader::new(File::open(said).ok()?);
    for line in file.split(b'\n') {
        let line = String::from_utf8_lossy(&line.ok()?).into_owned();
        for (at, _) in line.match_indices("http://") {
            let rest = &line[at + "http://".len()..];
            let end = rest
                .find(|c: char| !(c.is_ascii_hexdigit() || ".:[]".contains(c)))
                .unwrap_or(rest.len());
            if let Ok(mut address) = rest[..end].trim_end_matches(['.', ':']).parse::<SocketAddr>()
                && address.port() != 0
                // The port must be whole: a line that is still being written has no end yet.
                && end < rest.len()
            {
                if address.ip().is_unspecified() {
                    address.set_ip([127, 0, 0, 1].into());
                }
                return Some(address);
            }
        }
    }
    None
}
