//! The process dies while a blob of others' shard is in transit, or while blobs are blocked. A new
//! start finds nothing of the one, and every block that was answered.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use bytecave_core::{BlobCid, ShardRange, ShardSet};
use bytecave_messages::store::StoreError;
use bytecave_store::offline::Mode;

use crate::a_crash_at_any_step_loses_nothing::crash_child;
use crate::harness::{
    LARGE, Store, content, expect_whole, gauge, get, wait_until, wait_until_freed,
};

/// In the child's working directory: what it was answered, of transit and of blocks.
const TRANSIT: &str = "transit";
const BLOCKS: &str = "blocks";

/// A store of the lower half of the shards.
fn half(dir: &Path) -> Store {
    let mut store = Store::at(dir);
    let range = [ShardRange { start: 0, end: 7 }];
    let count = store.options.shards.count();
    store.options.shards = ShardSet::from_ranges(count, &range).unwrap();
    store
}

/// A large blob of a shard that the half does not keep.
fn foreign(store: &Store) -> Vec<u8> {
    store.contents_of(12, LARGE, 1).remove(0)
}

/// Blobs that the half keeps.
fn kept(store: &Store) -> Vec<Vec<u8>> {
    let mut kept = store.contents_of(3, 5000, 2);
    kept.extend(store.contents_of(4, LARGE, 1));
    kept
}

/// Blobs that are blocked: small ones, one with a file of its own, and one that is not here.
fn blocked() -> Vec<Vec<u8>> {
    [500, 50_000, LARGE, 700]
        .iter()
        .zip(100..)
        .map(|(size, seed)| content(seed, *size))
        .collect()
}

/// The child: not a test of its own, and only meant to be run in a directory made for it.
#[test]
#[ignore = "the child process of the tests of this module"]
fn child() {
    let dir = std::env::current_dir().unwrap();
    if dir.join(TRANSIT).exists() {
        pass_until_it_dies(&dir);
    } else if let Ok(answers) = File::options().append(true).open(dir.join(BLOCKS)) {
        block_until_it_dies(&dir, answers);
    }
}

fn pass_until_it_dies(dir: &Path) {
    let store = half(dir);
    let engine = store.open();
    for content in kept(&store) {
        store.put(&engine, &content);
    }
    fs::write(dir.join(TRANSIT), "kept").unwrap();
    let content = foreign(&store);
    let held = store.pass(&engine, &content);
    for _ in 0..3 {
        drop(store.pass(&engine, &content));
        wait_until("one is gone", || gauge(&engine, "transit_blobs") == 1);
    }
    drop(held);
}

fn block_until_it_dies(dir: &Path, mut answers: File) {
    let store = Store::at(dir);
    let engine = store.open();
    let blocked = blocked();
    for content in &blocked[..3] {
        store.put(&engine, content);
    }
    for (at, content) in blocked.iter().enumerate() {
        writeln!(answers, "ask {at}").unwrap();
        assert!(store.set_blocked(&engine, BlobCid::of(content), true));
        writeln!(answers, "done {at}").unwrap();
    }
    // Lifted again, which must hold as well.
    writeln!(answers, "ask 0").unwrap();
    assert!(store.set_blocked(&engine, BlobCid::of(&blocked[0]), false));
    writeln!(answers, "lifted 0").unwrap();
    wait_until_freed(&engine);
    store.put(&engine, &content(999, 10));
}

fn crash(dir: &Path, answers: &str, point: &str, after: usize) {
    let child = concat!(module_path!(), "::child").trim_start_matches("faults::");
    crash_child(child, dir, answers, point, after);
}

#[test]
fn in_transit() {
    for (point, after, in_transit) in [
        // The first large blob is kept.
        ("large::before-finish", 1, 0),
        ("large::before-finish", 2, 1),
        ("transit::before-ingest", 0, 0),
        ("transit::before-ingest", 2, 1),
        ("transit::after-ingest", 0, 1),
        ("transit::after-ingest", 1, 2),
        ("transit::before-free", 0, 2),
        ("transit::before-free", 2, 2),
    ] {
        let dir = tempfile::tempdir().unwrap();
        crash(dir.path(), TRANSIT, point, after);
        let store = half(dir.path());
        assert_eq!(fs::read(dir.path().join(TRANSIT)).unwrap(), b"kept");
        let report = store.verify(Mode::Check);
        assert!(report.is_clean(), "{point} after {after}: {report:#?}");
        let found = (report.unfinished.transit, report.unfinished.intents);
        assert_eq!(found, (in_transit, 0), "{point} after {after}");

        let engine = store.open();
        for content in kept(&store) {
            expect_whole(&engine, &content);
        }
        let snapshot = engine.snapshot();
        assert_eq!((snapshot.blobs, snapshot.reserved_bytes), (3, 0));
        assert_eq!(gauge(&engine, "transit_blobs"), 0);
        assert_eq!(fs::read_dir(&store.options.tmp_dir).unwrap().count(), 0);
        // And it goes on.
        let hold = store.pass(&engine, &foreign(&store));
        assert_eq!(gauge(&engine, "transit_blobs"), 1);
        drop(hold);
        wait_until("it is gone", || gauge(&engine, "transit_blobs") == 0);
        drop(engine);
        assert!(store.tables("transit", b'c').is_empty());
        assert_eq!(store.verified_clean(), 3);
    }
}

#[test]
fn while_blobs_are_blocked() {
    let mut points = vec![("block::before-commit", 0), ("block::before-commit", 2)];
    // Three puts, of which one takes two groups; then blocks, and the ends of drops between them.
    points.extend((4..10).map(|after| ("commit::before-write", after)));
    points.extend((4..10).map(|after| ("commit::after-write", after)));
    points.push(("drop::before-unlink", 0));
    for (point, after) in points {
        let dir = tempfile::tempdir().unwrap();
        crash(dir.path(), BLOCKS, point, after);
        let answers = fs::read_to_string(dir.path().join(BLOCKS)).unwrap();
        let store = Store::at(dir.path());
        let engine = store.open();
        for (at, content) in blocked().iter().enumerate() {
            let cid = BlobCid::of(content);
            let found = get(&engine, cid).map(|read| read == *content);
            let is_blocked = found == Err(StoreError::Blocked { cid });
            let last = answers
                .lines()
                .rfind(|line| line.ends_with(&format!(" {at}")));
            match last.and_then(|line| line.split_once(' ')) {
                Some(("done", _)) => assert!(is_blocked, "{point} after {after}: {at}"),
                Some(("lifted", _)) => assert_eq!(found, Err(StoreError::NotFound { cid })),
                // Between question and answer it may be either; before it, it is as it was stored.
                Some(_) if is_blocked => {}
                Some(_) | None => assert!(
                    found == Ok(true) || found == Err(StoreError::NotFound { cid }),
                    "{point} after {after}: {at}: {found:?}"
                ),
            }
        }
        store.expect_even(&engine);
        wait_until_freed(&engine);
        let blobs = engine.snapshot().blobs;
        drop(engine);
        assert_eq!(store.verified_clean(), blobs, "{point} after {after}");
        let engine = store.open();
        for content in blocked() {
            store.set_blocked(&engine, BlobCid::of(&content), false);
            store.put(&engine, &content);
            expect_whole(&engine, &content);
        }
        store.expect_even(&engine);
    }
}
