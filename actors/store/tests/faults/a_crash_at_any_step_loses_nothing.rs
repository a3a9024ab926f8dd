//! The process dies between any two steps of put, ingest, delete and what follows them. A child of
//! this test stores and deletes until the crash point aborts it, and writes down what was answered.
//! Then a new start must find all of that and nothing that nobody owns.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{self, Command, Stdio};

use bytecave_core::{BlobCid, Digest};
use bytecave_messages::store::StoreError;
use bytecave_store::engine::Engine;
use bytecave_store::offline::Mode;

use crate::harness::{LARGE, Store, content, expect_whole, get, wait_until, wait_until_freed};

/// In the child's working directory: what it was answered, a line for each.
const ANSWERS: &str = "answers";
/// The same, of a child that uses nonces up and stores nothing.
const NONCES: &str = "nonces";
/// Signal of `abort`.
const SIGABRT: i32 = 6;

/// What the child does, in this order; the number names the content.
#[derive(Debug, Clone, Copy)]
enum Step {
    Put(u64),
    Delete(u64),
    Collect,
    Nonce(u64),
}

/// Sizes of the contents: around every boundary, and beyond the one to a file of its own.
fn content_of(number: u64) -> Vec<u8> {
    const SIZES: [usize; 9] = [0, 1, 1000, 2047, 50_000, 262_144, 262_145, LARGE, LARGE + 7];
    let number_of_size = usize::try_from(number).unwrap();
    let (round, at) = (number_of_size / SIZES.len(), number_of_size % SIZES.len());
    content(number, SIZES[at] + 3 * round)
}

fn steps() -> Vec<Step> {
    let puts = (0..18).map(Step::Put);
    // Small and large ones, and one that comes back.
    let deletes = [4, 7, 13, 16].map(Step::Delete);
    puts.chain(deletes)
        .chain([Step::Put(4), Step::Put(16), Step::Collect])
        .collect()
}

/// The child: not a test of its own, and only meant to be run in a directory made for it.
#[test]
#[ignore = "the child process of the tests of this module"]
fn child() {
    let dir = std::env::current_dir().unwrap();
    let (name, steps) = if dir.join(NONCES).exists() {
        (NONCES, (0..12).map(Step::Nonce).collect())
    } else {
        (ANSWERS, steps())
    };
    let Ok(mut answers) = File::options().append(true).open(dir.join(name)) else {
        return;
    };
    let store = Store::at(&dir);
    let engine = store.open();
    for step in steps {
        // What was asked for may or may not have happened when the process dies.
        writeln!(answers, "ask {step:?}").unwrap();
        match step {
            Step::Put(number) => {
                store.put(&engine, &content_of(number));
            }
            Step::Delete(number) => {
                let cid = BlobCid::of(&content_of(number));
                store.delete(&engine, cid).unwrap();
                wait_until_freed(&engine);
            }
            Step::Collect => store.collect_garbage(&engine).unwrap(),
            Step::Nonce(number) => assert!(store.use_nonce(&engine, nonce(number))),
        }
        writeln!(answers, "done {step:?}").unwrap();
    }
}

/// Whether each content must be there: `None` where the crash fell between question and answer.
fn expected(answers: &str) -> BTreeMap<u64, Option<bool>> {
    let mut expected = BTreeMap::new();
    for line in answers.lines() {
        let (word, step) = line.split_once(' ').unwrap();
        let (kind, number) = step
            .trim_end_matches(')')
            .split_once('(')
            .unwrap_or_default();
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        let there = (word == "done").then_some(kind == "Put");
        expected.insert(number, there);
    }
    expected
}

/// The digest of a nonce.
fn nonce(number: u64) -> Digest {
    Digest::of(&number.to_be_bytes())
}

/// Runs the child with a crash point set; it must die of it.
fn crash(dir: &Path, answers: &str, point: &str, after: usize) {
    let child = concat!(module_path!(), "::child").trim_start_matches("faults::");
    crash_child(child, dir, answers, point, after);
}

/// The same for the child that is the test `child`.
pub(crate) fn crash_child(child: &str, dir: &Path, answers: &str, point: &str, after: usize) {
    fs::write(dir.join(answers), "").unwrap();
    let setting = if after == 0 {
        format!("{point}=return")
    } else {
        format!("{point}={after}*off->return")
    };
    let log = dir.join("child.log");
    let output = File::create(&log).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .arg(child)
        .env("FAILPOINTS", &setting)
        .current_dir(dir)
        .stdout(Stdio::null())
        .stderr(output)
        .spawn()
        .unwrap();
    let mut child = Child(child);
    wait_until("the child ends", || child.0.try_wait().unwrap().is_some());
    assert_eq!(
        child.0.wait().unwrap().signal(),
        Some(SIGABRT),
        "{setting} did not crash it: {}",
        fs::read_to_string(log).unwrap_or_default()
    );
}

/// A process that does not outlive the test.
struct Child(process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        // It has ended, but for a test that gave it up.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Crashes at `point` when it is reached for the `after + 1`st time, and looks at what is left.
fn expect_nothing_lost(point: &str, after: usize) {
    let dir = tempfile::tempdir().unwrap();
    crash(dir.path(), ANSWERS, point, after);
    let answers = fs::read_to_string(dir.path().join(ANSWERS)).unwrap();
    let expected = expected(&answers);
    let store = Store::at(dir.path());

    // As the crash left it: whole, but for what the next start knows that it has to clear up.
    let left = store.verify(Mode::Check);
    assert!(left.is_clean(), "{point} after {after}: {left:#?}");

    let engine = store.open();
    assert_eq!(fs::read_dir(&store.options.tmp_dir).unwrap().count(), 0);
    let there = expect_answers(&engine, &expected, &format!("{point} after {after}"));
    let listed = store.list(&engine);
    for info in &listed {
        let read = get(&engine, info.cid).unwrap();
        assert_eq!(BlobCid::of(&read), info.cid);
    }
    let listed: BTreeSet<BlobCid> = listed.into_iter().map(|info| info.cid).collect();
    assert_eq!(listed, there, "{point} after {after}");
    // What was cut short is cleared up without being asked for. The start queued it, so once this
    // is answered it is under way.
    let never = BlobCid::of(b"never stored");
    let answer = store.delete(&engine, never).unwrap_err();
    assert_eq!(answer, StoreError::NotFound { cid: never });
    wait_until_freed(&engine);
    drop(engine);
    let blobs = store.verified_clean();
    assert_eq!(blobs, there.len() as u64, "{point} after {after}");

    // And it goes on: everything can be stored, and nothing twice.
    let engine = store.open();
    for number in 0..18 {
        store.put(&engine, &content_of(number));
    }
    for number in 0..18 {
        expect_whole(&engine, &content_of(number));
    }
    assert_eq!(engine.snapshot().blobs, 18);
    drop(engine);
    assert_eq!(store.verified_clean(), 18);
}

/// Compares what is there with what was answered; gives what is there.
fn expect_answers(
    engine: &Engine,
    expected: &BTreeMap<u64, Option<bool>>,
    what: &str,
) -> BTreeSet<BlobCid> {
    let mut there = BTreeSet::new();
    for (number, expected) in expected {
        let content = content_of(*number);
        let cid = BlobCid::of(&content);
        let found = match get(engine, cid) {
            Ok(read) => {
                assert!(read == content, "{what}: content {number} is another");
                there.insert(cid);
                true
            }
            Err(StoreError::NotFound { .. }) => false,
            Err(error) => panic!("{what}: content {number}: {error}"),
        };
        if let Some(expected) = expected {
            assert_eq!(found, *expected, "{what}: content {number}");
        }
    }
    there
}

#[test]
fn while_nonces_are_used_up() {
    for point in ["commit::before-write", "commit::after-write"] {
        for after in [0, 5] {
            let dir = tempfile::tempdir().unwrap();
            crash(dir.path(), NONCES, point, after);
            let answers = fs::read_to_string(dir.path().join(NONCES)).unwrap();
            let store = Store::at(dir.path());
            let engine = store.open();
            let answered = answers.matches("done").count() as u64;
            assert_eq!(answers.matches("ask").count() as u64, answered + 1);
            for number in 0..answered {
                assert!(!store.use_nonce(&engine, nonce(number)), "{number}");
            }
            // The one between question and answer may be either; those never asked for are unused.
            assert!(store.use_nonce(&engine, nonce(answered + 1)));
        }
    }
}

#[test]
fn while_small_blobs_are_put() {
    for after in [0, 3, 8] {
        expect_nothing_lost("put::before-commit", after);
    }
    for point in ["commit::before-write", "commit::after-write"] {
        for after in 0..4 {
            expect_nothing_lost(point, after);
        }
    }
}

#[test]
fn while_a_large_blob_is_put() {
    for point in [
        "large::before-finish",
        "large::before-intent",
        "ingest::before",
        "ingest::after",
        "large::before-answer",
    ] {
        for after in [0, 2] {
            expect_nothing_lost(point, after);
        }
    }
    // The groups of the first large blob: seven small ones come before its intent and its end.
    for point in ["commit::before-write", "commit::after-write"] {
        for after in [7, 8] {
            expect_nothing_lost(point, after);
        }
    }
}

#[test]
fn while_blobs_are_deleted() {
    for after in 0..3 {
        expect_nothing_lost("delete::before-commit", after);
    }
    for point in ["drop::before-unlink", "drop::after-unlink"] {
        for after in [0, 1] {
            expect_nothing_lost(point, after);
        }
    }
    // 18 puts, of which 4 are large and take two groups; then deletes, and the ends of drops.
    for point in ["commit::before-write", "commit::after-write"] {
        for after in 22..28 {
            expect_nothing_lost(point, after);
        }
    }
}

#[test]
fn while_deleted_blobs_are_collected() {
    expect_nothing_lost("gc::before-off", 0);
}
