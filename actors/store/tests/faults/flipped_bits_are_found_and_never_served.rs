//! One bit of a stored file is another than was written: the blob it belongs to is not served, the
//! file is named, everything else is served as before, and the way back is the one that is told.

use std::fs;

use bytecave_core::BlobCid;
use bytecave_messages::store::{StoreCondition, StoreError};
use bytecave_store::engine::Engine;
use bytecave_store::offline::{Mode, VerifyReport};

use crate::harness::{
    LARGE, Store, content, expect_damaged, expect_whole, flip, flip_middle, wait_until,
    wait_until_freed,
};

/// The one damaged blob of the report, and that its file is named.
fn the_damaged_blob(report: &VerifyReport, suffix: &str) -> BlobCid {
    let [blob] = &report.damaged.listed[..] else {
        panic!("one damaged blob is expected: {report:#?}");
    };
    assert!(
        blob.reason.contains(suffix),
        "no file is named: {}",
        blob.reason
    );
    blob.cid.unwrap()
}

/// Storing the same bytes again makes the blob whole, once and for all.
fn expect_healing(store: &Store, engine: Engine, content: &[u8], blobs: u64) {
    let stored = store.try_put(&engine, content).unwrap();
    assert!(!stored.new, "it was never gone");
    expect_whole(&engine, content);
    wait_until_freed(&engine);
    assert_eq!(engine.snapshot().quarantined, 0);
    assert_eq!(engine.snapshot().blobs, blobs);
    drop(engine);
    assert_eq!(store.verified_clean(), blobs);
    expect_whole(&store.open(), content);
}

#[test]
fn in_a_blob_file() {
    let store = Store::new();
    let engine = store.open();
    let contents: Vec<Vec<u8>> = (0..4)
        .map(|shard| store.contents_of(shard, 100_000, 1).remove(0))
        .collect();
    for content in &contents {
        store.put(&engine, content);
    }
    drop(engine);
    store.flush();
    let files = store.files(".blob");
    assert_eq!(files.len(), contents.len(), "a file for each family");
    flip_middle(&files[2]);

    // Found by a full check, and by the first read.
    let report = store.verify(Mode::Check);
    let damaged = the_damaged_blob(&report, ".blob");
    let engine = store.open();
    let mut bad = None;
    for content in &contents {
        if BlobCid::of(content) == damaged {
            expect_damaged(&engine, content);
            expect_damaged(&engine, content);
            bad = Some(content);
        } else {
            expect_whole(&engine, content);
        }
    }
    let quarantined = || engine.snapshot().quarantined == 1;
    wait_until("the blob is flagged", quarantined);
    assert_eq!(engine.snapshot().condition, StoreCondition::Writable);
    expect_healing(&store, engine, bad.unwrap(), 4);
}

#[test]
fn in_an_ingested_table() {
    let store = Store::new();
    let engine = store.open();
    let contents = [content(1, LARGE), content(2, LARGE), content(3, 1000)];
    for content in &contents {
        store.put(&engine, content);
    }
    drop(engine);
    let shard = format!("shard-{:04}", store.shard_of(&contents[0]).get());
    let tables = store.tables(&shard, b'c');
    flip_middle(&tables[0]);

    let report = store.verify(Mode::Repair);
    let damaged = the_damaged_blob(&report, ".sst");
    assert_eq!(report.repaired.unwrap().quarantined, 1);
    assert!(!report.needs_salvage());
    let engine = store.open();
    let mut bad = None;
    for content in &contents {
        if BlobCid::of(content) == damaged {
            expect_damaged(&engine, content);
            bad = Some(content);
        } else {
            expect_whole(&engine, content);
        }
    }
    assert_eq!(engine.snapshot().quarantined, 1);
    expect_healing(&store, engine, bad.unwrap(), 3);
}

#[test]
fn in_the_middle_of_a_large_blob_that_is_being_read() {
    let store = Store::new();
    let engine = store.open();
    let content = content(1, LARGE);
    store.put(&engine, &content);
    drop(engine);
    let family = format!("shard-{:04}", store.shard_of(&content).get());
    flip_middle(&store.tables(&family, b'c')[0]);
    let engine = store.open();
    // The first chunks are whole and may have gone out; the end is never a clean one.
    expect_damaged(&engine, &content);
    let quarantined = || engine.snapshot().quarantined == 1;
    wait_until("the blob is flagged", quarantined);
    expect_healing(&store, engine, &content, 1);
}

#[test]
fn in_a_table_of_rows_that_is_then_compacted() {
    let store = Store::new();
    let engine = store.open();
    let rows = store.contents_of(0, 100, 400);
    let elsewhere = store.contents_of(1, 100, 10);
    for content in rows.iter().chain(&elsewhere) {
        store.put(&engine, content);
    }
    drop(engine);
    store.flush();
    let engine = store.open();
    store.delete(&engine, BlobCid::of(&rows[0])).unwrap();
    drop(engine);
    let table = store
        .tables("shard-0000", b'd')
        .into_iter()
        .max_by_key(|table| fs::metadata(table).unwrap().len())
        .unwrap();
    let name = table.file_name().unwrap().to_str().unwrap().to_owned();
    // In a block of small blobs, which lie at the beginning.
    flip(&table, 2000);

    let engine = store.open();
    let collected = store.collect_garbage(&engine);
    assert!(collected.is_err(), "the compaction went through");
    // The database gives up writing, and says which file it was.
    let put = || store.try_put(&engine, b"one more");
    wait_until("writes are refused", || put().is_err());
    let Err(StoreError::ReadOnly { reason }) = put() else {
        panic!("another refusal than read-only");
    };
    assert!(reason.contains(&name), "the file is not named: {reason}");
    assert!(reason.contains("verify"), "no remedy is named: {reason}");
    assert!(matches!(
        engine.snapshot().condition,
        StoreCondition::ReadOnly(_)
    ));
    for content in &elsewhere {
        expect_whole(&engine, content);
    }
    let whole = rows[1..]
        .iter()
        .filter(|content| engine.open_blocking(BlobCid::of(content), None).is_ok())
        .count();
    assert!((300..399).contains(&whole), "{whole} of 399 are served");
    drop(engine);

    // What can be read is copied; nothing that is served is another than was stored.
    let report = store.verify(Mode::Salvage);
    let salvaged = report.salvaged.unwrap();
    assert_eq!(salvaged.blobs, 10 + whole as u64);
    assert_eq!(salvaged.lost_blobs, 399 - whole as u64);
    let engine = store.open();
    for content in elsewhere.iter().chain(&rows[1..]) {
        let cid = BlobCid::of(content);
        match crate::harness::get(&engine, cid) {
            Ok(read) => assert!(read == *content),
            Err(error) => assert_eq!(error, StoreError::NotFound { cid }),
        }
    }
    for content in &rows[1..] {
        store.put(&engine, content);
    }
    store.collect_garbage(&engine).unwrap();
    drop(engine);
    assert_eq!(store.verified_clean(), 409);
}
