//! Counters, orphans and flags: what a check reports and a repair puts right.

use bytecave_core::BlobCid;
use bytecave_messages::store::StoreError;
use bytecave_store::engine::OpenError;
use bytecave_store::offline::Mode;

use crate::harness::{LARGE, Store, content, expect_damaged, expect_whole, get};

/// The first row of a family whose key begins so.
fn first_row(db: &rocksdb::DB, family: &str, kind: u8) -> (Vec<u8>, Vec<u8>) {
    let handle = db.cf_handle(family).unwrap();
    let mut rows = db.raw_iterator_cf(&handle);
    rows.seek([kind]);
    let (key, value) = rows.item().unwrap();
    assert_eq!(key[0], kind);
    (key.to_vec(), value.to_vec())
}

#[test]
fn unreadable_counters_refuse_the_start_until_they_are_made_anew() {
    let store = Store::new();
    let engine = store.open();
    for content in store.contents_of(3, 2000, 5) {
        store.put(&engine, &content);
    }
    let before = engine.snapshot().shards;
    drop(engine);
    let db = store.raw();
    db.put_cf(&db.cf_handle("shard-0003").unwrap(), "s", [1; 80])
        .unwrap();
    drop(db);

    let error = store.refusal();
    assert!(matches!(error, OpenError::Record { .. }), "{error}");
    assert!(error.to_string().contains("verify --repair"), "{error}");
    let found = store.verify(Mode::Check);
    assert_eq!(found.bad_records.total, 1);
    assert_eq!(found.wrong_counters.listed[0].counted.blobs, 5);
    assert!(store.try_open().is_err(), "a check changed something");
    let report = store.verify(Mode::Repair);
    assert_eq!(report.repaired.unwrap().counters, 1);
    assert_eq!(store.open().snapshot().shards, before);
    assert_eq!(store.verified_clean(), 5);
}

#[test]
fn unreadable_notes_of_what_is_under_way_refuse_the_start_until_they_are_removed() {
    let store = Store::new();
    let engine = store.open();
    let kept = content(1, 3000);
    store.put(&engine, &kept);
    drop(engine);
    let db = store.raw();
    for (kind, len) in [(b'i', 16), (b'x', 16), (b't', 32)] {
        db.put([&[kind], &vec![9; len][..]].concat(), [1; 90])
            .unwrap();
    }
    // Counters of a family without a blob.
    let empty = (0..16).find(|shard| *shard != u64::from(store.shard_of(&kept).get()));
    let family = format!("shard-{:04}", empty.unwrap());
    db.put_cf(&db.cf_handle(&family).unwrap(), "s", [1; 90])
        .unwrap();
    drop(db);

    let error = store.refusal();
    assert!(error.to_string().contains("verify --repair"), "{error}");
    let report = store.verify(Mode::Repair);
    assert_eq!(report.bad_records.total, 4, "{report:#?}");
    let repaired = report.repaired.unwrap();
    assert_eq!((repaired.rows_removed, repaired.counters), (3, 1));
    assert_eq!(store.verified_clean(), 1);
    expect_whole(&store.open(), &kept);
}

#[test]
fn counters_of_another_time_are_wrong_and_put_right() {
    let store = Store::new();
    let contents = store.contents_of(3, 2000, 4);
    let engine = store.open();
    store.put(&engine, &contents[0]);
    drop(engine);
    let (_, old) = first_row(&store.raw(), "shard-0003", b's');
    let engine = store.open();
    for content in &contents[1..] {
        store.put(&engine, content);
    }
    // A deleted blob still counts in the fingerprint.
    store.delete(&engine, BlobCid::of(&contents[3])).unwrap();
    let before = engine.snapshot().shards;
    drop(engine);
    assert_eq!(store.verified_clean(), 3);
    let db = store.raw();
    db.put_cf(&db.cf_handle("shard-0003").unwrap(), "s", old)
        .unwrap();
    drop(db);

    let found = store.verify(Mode::Check);
    let [wrong] = &found.wrong_counters.listed[..] else {
        panic!("one family is wrong: {found:#?}");
    };
    assert_eq!(wrong.shard.get(), 3);
    assert_eq!(wrong.stored.unwrap().blobs, 1);
    assert_eq!(wrong.counted.blobs, 3);
    store.verify(Mode::Repair);
    assert_eq!(store.verified_clean(), 3);
    let engine = store.open();
    for (now, before) in engine.snapshot().shards.iter().zip(before) {
        assert_eq!(now.fingerprint, before.fingerprint);
        assert_eq!((now.blobs, now.bytes), (before.blobs, before.bytes));
    }
    // The outbox goes on behind what is in it.
    let shard = wrong.shard;
    store.put(&engine, &contents[3]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let entries = runtime.block_on(engine.read_outbox(shard, 100)).unwrap();
    let sequences: Vec<u64> = entries.iter().map(|entry| entry.sequence).collect();
    assert_eq!(sequences, [0, 1, 2, 3, 4]);
}

#[test]
fn bytes_that_belong_to_nothing_are_found_and_removed() {
    let store = Store::new();
    let engine = store.open();
    let small = store.contents_of(5, 3000, 2);
    let large = store.contents_of(6, LARGE, 1).remove(0);
    for content in small.iter().chain([&large]) {
        store.put(&engine, content);
    }
    drop(engine);
    let db = store.raw();
    // Metadata gone as no crash can leave it: one small blob, one large.
    let small_family = db.cf_handle("shard-0005").unwrap();
    let (key, _) = first_row(&db, "shard-0005", b'm');
    db.delete_cf(&small_family, key).unwrap();
    let (key, _) = first_row(&db, "shard-0006", b'm');
    db.delete_cf(&db.cf_handle("shard-0006").unwrap(), key)
        .unwrap();
    drop(small_family);
    drop(db);

    let found = store.verify(Mode::Check);
    assert_eq!(found.orphans.small, 1, "{found:#?}");
    assert_eq!(found.orphans.small_bytes, 3016);
    // 20 chunks and a page.
    assert_eq!(found.orphans.chunks, 21, "{found:#?}");
    assert_eq!(found.wrong_counters.total, 2);
    let repaired = store.verify(Mode::Repair).repaired.unwrap();
    assert_eq!((repaired.rows_removed, repaired.files_removed), (1, 1));
    assert_eq!(store.verified_clean(), 1);
    assert!(store.tables("shard-0006", b'c').is_empty());
}

#[test]
fn a_blob_without_its_bytes_is_flagged_and_healed_by_storing_it_again() {
    let store = Store::new();
    let engine = store.open();
    let contents = store.contents_of(5, 3000, 2);
    for content in &contents {
        store.put(&engine, content);
    }
    drop(engine);
    let db = store.raw();
    let (key, _) = first_row(&db, "shard-0005", b'd');
    db.delete_cf(&db.cf_handle("shard-0005").unwrap(), key)
        .unwrap();
    drop(db);

    let report = store.verify(Mode::Repair);
    assert_eq!(report.damaged.total, 1);
    assert!(report.damaged.listed[0].reason.contains("missing"));
    let lost = report.damaged.listed[0].cid.unwrap();
    let engine = store.open();
    for content in &contents {
        if BlobCid::of(content) == lost {
            expect_damaged(&engine, content);
            store.put(&engine, content);
        }
        expect_whole(&engine, content);
    }
    drop(engine);
    assert_eq!(store.verified_clean(), 2);
}

#[test]
fn swapped_rows_are_not_served() {
    let store = Store::new();
    let engine = store.open();
    let contents = store.contents_of(5, 3000, 2);
    for content in &contents {
        store.put(&engine, content);
    }
    drop(engine);
    // The bytes of one blob in the place of the other, with all checksums right.
    let db = store.raw();
    let handle = db.cf_handle("shard-0005").unwrap();
    let mut rows = db.raw_iterator_cf(&handle);
    rows.seek(b"d");
    let first = rows.key().unwrap().to_vec();
    rows.next();
    let (second, value) = rows.item().unwrap();
    assert_eq!(second[0], b'd');
    db.put_cf(&handle, first, value).unwrap();
    drop(rows);
    drop(handle);
    drop(db);

    let report = store.verify(Mode::Check);
    assert_eq!(report.damaged.total, 1);
    let swapped = report.damaged.listed[0].cid.unwrap();
    let engine = store.open();
    for content in &contents {
        let cid = BlobCid::of(content);
        let expected = if cid == swapped {
            Err(StoreError::Damaged { cid })
        } else {
            Ok(content.clone())
        };
        assert!(get(&engine, cid) == expected);
    }
}

#[test]
fn a_block_whose_record_is_damaged_is_said_and_goes_on_holding() {
    let store = Store::new();
    let engine = store.open();
    let refused = content(1, 3000);
    let kept = content(2, 3000);
    let cid = store.put(&engine, &refused);
    store.put(&engine, &kept);
    assert!(store.set_blocked(&engine, cid, true));
    drop(engine);
    let db = store.raw();
    let (key, mut value) = first_row(&db, "default", b'b');
    let middle = value.len() / 2;
    value[middle] ^= 1;
    db.put(&key, value).unwrap();
    drop(db);

    let report = store.verify(Mode::Repair);
    let [bad] = &report.bad_records.listed[..] else {
        panic!("one record is damaged: {report:#?}");
    };
    assert_eq!((bad.family.as_str(), bad.what), ("default", "blocks"));
    assert_eq!(report.repaired.unwrap().rows_removed, 0);
    assert_eq!(first_row(&store.raw(), "default", b'b').0, key);
    let engine = store.open();
    let blocked = StoreError::Blocked { cid };
    assert_eq!(store.try_put(&engine, &refused).unwrap_err(), blocked);
    assert_eq!(get(&engine, cid), Err(blocked));
    expect_whole(&engine, &kept);
    // Lifted and set again it is whole.
    assert!(store.set_blocked(&engine, cid, false));
    assert!(store.set_blocked(&engine, cid, true));
    drop(engine);
    assert_eq!(store.verify(Mode::Check).bad_records.total, 0);
}
