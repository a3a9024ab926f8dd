//! The process dies while copies are retired, restored and deleted for good: what was answered stands,
//! and counters are those of a recount.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::time::Duration;

use bytecave_core::BlobCid;
use bytecave_messages::store::Standing;
use bytecave_store::engine::Engine;
use bytecave_store::offline::Mode;

use crate::a_crash_at_any_step_loses_nothing::crash_child;
use crate::harness::{LARGE, Store, content, expect_whole, get, wait_until, wait_until_freed};

/// In the child's working directory: what it was answered, a line for each.
const ANSWERS: &str = "answers-of-retired";
const LONG: Duration = Duration::from_hours(24);
const BLOBS: u64 = 4;

/// What the child does, in this order; the number names the content.
#[derive(Debug, Clone, Copy)]
enum Step {
    Put(u64),
    Retire(u64),
    Restore(u64),
    /// Retired for no time: gone when it is answered.
    Go(u64),
}

fn content_of(number: u64) -> Vec<u8> {
    let size = if number == 3 { LARGE } else { 20_000 };
    content(number, size)
}

fn cid_of(number: u64) -> BlobCid {
    BlobCid::of(&content_of(number))
}

fn steps() -> Vec<Step> {
    let puts = (0..BLOBS).map(Step::Put);
    puts.chain((0..BLOBS).map(Step::Retire))
        .chain([Step::Restore(1), Step::Restore(3), Step::Put(2)])
        .chain([Step::Go(1), Step::Go(3), Step::Put(3)])
        .collect()
}

fn is_gone(engine: &Engine, number: u64) -> bool {
    get(engine, cid_of(number)).is_err()
}

/// The child: not a test of its own, and only meant to be run in a directory made for it.
#[test]
#[ignore = "the child process of the tests of this module"]
fn child() {
    let dir = std::env::current_dir().unwrap();
    let Ok(mut answers) = File::options().append(true).open(dir.join(ANSWERS)) else {
        return;
    };
    let store = Store::at(&dir);
    let engine = store.open();
    for step in steps() {
        writeln!(answers, "ask {step:?}").unwrap();
        match step {
            Step::Put(number) => drop(store.put(&engine, &content_of(number))),
            Step::Retire(number) => assert!(store.retire(&engine, cid_of(number), LONG)),
            Step::Restore(number) => assert!(store.restore(&engine, cid_of(number))),
            Step::Go(number) => {
                assert!(store.retire(&engine, cid_of(number), Duration::ZERO));
                wait_until("it is gone", || is_gone(&engine, number));
                wait_until_freed(&engine);
            }
        }
        writeln!(answers, "done {step:?}").unwrap();
    }
}

/// The last step of each content; `None` where the crash fell between question and answer.
fn last_steps(answers: &str) -> BTreeMap<u64, Option<&str>> {
    let steps = answers.lines().map(|line| {
        let (word, step) = line.split_once(' ').unwrap();
        let (kind, number) = step.trim_end_matches(')').split_once('(').unwrap();
        let done = (word == "done").then_some(kind);
        (number.parse().unwrap(), done)
    });
    steps.collect()
}

fn expect_answers_kept(point: &str, after: usize) {
    let what = format!("{point} after {after}");
    let dir = tempfile::tempdir().unwrap();
    let child = concat!(module_path!(), "::child").trim_start_matches("faults::");
    crash_child(child, dir.path(), ANSWERS, point, after);
    let answers = fs::read_to_string(dir.path().join(ANSWERS)).unwrap();
    let store = Store::at(dir.path());
    let left = store.verify(Mode::Check);
    assert!(left.is_clean(), "{what}: {left:#?}");

    let engine = store.open();
    for (number, step) in last_steps(&answers) {
        let standing = store.standing(&engine, cid_of(number));
        match step {
            Some("Put" | "Restore") => assert_eq!(standing, Standing::Here, "{what}: {number}"),
            Some("Retire") => assert_eq!(standing, Standing::Absent, "{what}: {number}"),
            Some(_) => assert!(is_gone(&engine, number), "{what}: {number}"),
            None => {}
        }
        if step.is_some_and(|step| step != "Go") {
            expect_whole(&engine, &content_of(number));
        }
    }
    store.expect_even(&engine);
    // What was cut short goes on, and everything can be stored again.
    for number in 0..BLOBS {
        store.put(&engine, &content_of(number));
        assert_eq!(store.standing(&engine, cid_of(number)), Standing::Here);
    }
    wait_until_freed(&engine);
    let snapshot = engine.snapshot();
    let retired: u64 = snapshot.shards.iter().map(|shard| shard.retired).sum();
    assert_eq!((snapshot.blobs, retired), (BLOBS, 0), "{what}");
    drop(engine);
    assert_eq!(store.verified_clean(), BLOBS, "{what}");
}

#[test]
fn whichever_group_it_dies_at() {
    // Five groups store them; then one for each step, and those of the upkeep.
    for point in ["commit::before-write", "commit::after-write"] {
        for after in 5..16 {
            expect_answers_kept(point, after);
        }
    }
}

#[test]
fn while_the_file_of_one_that_goes_is_freed() {
    for point in ["drop::before-unlink", "drop::after-unlink"] {
        expect_answers_kept(point, 0);
    }
}
