//! A database that does not open any more: the start says so and names the remedy, and the remedy
//! brings back everything but what was hit.

use std::fs;

use bytecave_core::{BlobCid, Digest, ShardRange, ShardSet};
use bytecave_messages::store::StoreError;
use bytecave_store::engine::OpenError;
use bytecave_store::offline::{Mode, OfflineError, verify};

use crate::harness::{LARGE, Store, content, expect_whole, flip_middle, get};

#[test]
fn a_flipped_bit_in_the_middle_of_the_log_refuses_the_start_until_it_is_salvaged() {
    let store = Store::new();
    let engine = store.open();
    let contents: Vec<Vec<u8>> = (0..60).map(|seed| content(seed, 20_000)).collect();
    for content in &contents {
        store.put(&engine, content);
    }
    let deleted = BlobCid::of(&contents[59]);
    store.delete(&engine, deleted).unwrap();
    drop(engine);
    let log = store
        .files(".log")
        .into_iter()
        .max_by_key(|log| fs::metadata(log).unwrap().len())
        .unwrap();
    flip_middle(&log);

    let error = store.refusal();
    assert!(matches!(error, OpenError::LogDamaged { .. }), "{error}");
    assert!(error.to_string().contains("verify --salvage"), "{error}");
    let check = verify(&store.options, Mode::Check, &mut |_| ()).unwrap_err();
    assert!(
        matches!(check, OfflineError::Open(OpenError::LogDamaged { .. })),
        "{check}"
    );

    let report = store.verify(Mode::Salvage);
    let cause = &report.unreadable.listed[0].cause;
    assert!(cause.contains("checksum"), "{cause}");
    let salvaged = report.salvaged.unwrap();
    assert!(salvaged.blobs >= 50, "{salvaged:?}");
    assert!(salvaged.damaged_dir.join("CURRENT").exists());

    let engine = store.open();
    let mut missing = 0;
    for content in &contents[..59] {
        let cid = BlobCid::of(content);
        match get(&engine, cid) {
            Ok(read) => assert!(read == *content),
            Err(error) => {
                assert_eq!(error, StoreError::NotFound { cid });
                missing += 1;
            }
        }
    }
    assert!((1..10).contains(&missing), "{missing} blobs are gone");
    assert_eq!(salvaged.blobs, 59 - missing);
    assert_eq!(
        get(&engine, deleted).unwrap_err(),
        StoreError::NotFound { cid: deleted }
    );
    for content in &contents[..59] {
        store.put(&engine, content);
    }
    drop(engine);
    assert_eq!(store.verified_clean(), 59);
}

#[test]
fn a_torn_tail_of_the_log_is_no_damage() {
    let store = Store::new();
    let engine = store.open();
    store.put(&engine, b"acknowledged");
    drop(engine);
    let log = store.files(".log").pop().unwrap();
    let mut bytes = fs::read(&log).unwrap();
    // As a crash in the middle of an append leaves it: a head that promises more than there is.
    bytes.extend_from_slice(&[0x12, 0x34, 0x56, 0x78, 0xff, 0x01, 0x01, 0, 0]);
    fs::write(&log, bytes).unwrap();
    expect_whole(&store.open(), b"acknowledged");
}

#[test]
fn a_table_that_is_gone_costs_its_own_blobs() {
    let store = Store::new();
    let engine = store.open();
    let contents = [content(1, LARGE), content(2, LARGE), content(3, 1000)];
    for content in &contents {
        store.put(&engine, content);
    }
    drop(engine);
    let family = format!("shard-{:04}", store.shard_of(&contents[0]).get());
    let table = store.tables(&family, b'c').remove(0);
    fs::remove_file(&table).unwrap();

    let error = store.refusal();
    assert!(matches!(error, OpenError::Damaged { .. }), "{error}");
    let name = table.file_name().unwrap().to_str().unwrap();
    assert!(error.to_string().contains(name), "{error}");
    assert!(error.to_string().contains("--salvage"), "{error}");

    let report = store.verify(Mode::Salvage);
    let salvaged = report.salvaged.unwrap();
    assert_eq!((salvaged.blobs, salvaged.lost_blobs), (2, 1));
    let lost = report.damaged.listed[0].cid.unwrap();
    let engine = store.open();
    for content in &contents {
        let cid = BlobCid::of(content);
        if cid == lost {
            let error = get(&engine, cid).unwrap_err();
            assert_eq!(error, StoreError::NotFound { cid });
        } else {
            expect_whole(&engine, content);
        }
    }
    drop(engine);
    assert_eq!(store.verified_clean(), 2);
}

#[test]
fn a_whole_database_is_salvaged_without_loss() {
    let store = Store::new();
    let engine = store.open();
    let contents: Vec<Vec<u8>> = [0, 1, 5000, 300_000, LARGE, LARGE + 1]
        .into_iter()
        .zip(0..)
        .map(|(size, seed)| content(seed, size))
        .collect();
    for content in &contents {
        store.put(&engine, content);
    }
    let nonce = Digest::of(b"nonce");
    assert!(store.use_nonce(&engine, nonce));
    let before = engine.snapshot();
    let outbox = engine.outbox_shards();
    drop(engine);

    let report = store.verify(Mode::Salvage);
    assert!(report.is_clean(), "{report:#?}");
    assert_eq!(report.salvaged.unwrap().lost_blobs, 0);
    let engine = store.open();
    for content in &contents {
        expect_whole(&engine, content);
    }
    assert_eq!(engine.snapshot().shards, before.shards);
    assert_eq!(engine.outbox_shards(), outbox);
    assert!(!store.use_nonce(&engine, nonce));
    drop(engine);
    assert_eq!(store.verified_clean(), 6);
}

#[test]
fn deletions_and_blocks_are_salvaged_and_what_was_in_transit_is_not() {
    let mut store = Store::new();
    let range = [ShardRange { start: 0, end: 7 }];
    let count = store.options.shards.count();
    store.options.shards = ShardSet::from_ranges(count, &range).unwrap();
    let engine = store.open();
    let contents = store.contents_of(3, 5000, 4);
    let cids: Vec<BlobCid> = contents[..3]
        .iter()
        .map(|content| store.put(&engine, content))
        .collect();
    store.delete(&engine, cids[1]).unwrap();
    let never_here = BlobCid::of(&contents[3]);
    for cid in [cids[2], never_here] {
        assert!(store.set_blocked(&engine, cid, true));
    }
    let passing = store.contents_of(12, LARGE, 1).remove(0);
    let hold = store.pass(&engine, &passing);
    drop(engine);
    drop(hold);
    let table = store.tables("transit", b'c').remove(0);
    fs::remove_file(table).unwrap();
    assert!(matches!(store.refusal(), OpenError::Damaged { .. }));

    let salvaged = store.verify(Mode::Salvage).salvaged.unwrap();
    assert_eq!((salvaged.blobs, salvaged.lost_blobs), (1, 0));
    assert!(store.tables("transit", b'c').is_empty());
    assert_eq!(store.verified_clean(), 1);
    let engine = store.open();
    expect_whole(&engine, &contents[0]);
    assert_eq!(store.expect_even(&engine), 2);
    for cid in [cids[2], never_here] {
        let blocked = StoreError::Blocked { cid };
        assert_eq!(get(&engine, cid).unwrap_err(), blocked);
        assert!(store.set_blocked(&engine, cid, false));
    }
    assert_eq!(store.expect_even(&engine), 2);
    drop(store.pass(&engine, &passing));
}
