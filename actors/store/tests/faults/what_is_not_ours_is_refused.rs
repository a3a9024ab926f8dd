//! A start that cannot be right is refused, says what is wrong and what helps, and changes nothing.

use std::fs;

use bytecave_core::{ShardCount, ShardSet};
use bytecave_store::engine::keyring::KeyringError;
use bytecave_store::engine::{OpenError, UnlockSecret};
use bytecave_store::offline::{Mode, OfflineError, verify};
use rocksdb::DB;

use crate::harness::{Store, content, expect_whole};

#[test]
fn a_wrong_unlock_key_is_said_and_the_right_one_still_works() {
    let mut store = Store::new();
    let engine = store.open();
    store.put(&engine, b"kept");
    drop(engine);
    let right = store.options.unlock.clone();
    for wrong in [
        UnlockSecret::from_key([8; 32]),
        UnlockSecret::from_passphrase("open sesame".to_owned()),
    ] {
        store.options.unlock = wrong;
        let error = store.refusal();
        assert!(
            matches!(
                error,
                OpenError::Keyring(KeyringError::WrongUnlockKey | KeyringError::WrongKind { .. })
            ),
            "{error}"
        );
        let offline = verify(&store.options, Mode::Salvage, &mut |_| ()).unwrap_err();
        assert!(matches!(
            offline,
            OfflineError::Keyring(KeyringError::WrongUnlockKey | KeyringError::WrongKind { .. })
        ));
    }
    store.options.unlock = right;
    expect_whole(&store.open(), b"kept");
}

#[test]
fn a_missing_keyring_is_damage_and_no_new_one_is_made() {
    let store = Store::new();
    drop(store.open());
    store.raw().delete("keyring").unwrap();
    for _ in 0..2 {
        let error = store.refusal();
        assert!(
            matches!(error, OpenError::Keyring(KeyringError::Damaged { .. })),
            "{error}"
        );
        assert!(error.to_string().contains("missing"), "{error}");
    }
}

#[test]
fn a_damaged_keyring_is_told_apart_from_a_wrong_key() {
    let store = Store::new();
    drop(store.open());
    let db = store.raw();
    let mut record = db.get("keyring").unwrap().unwrap();
    let middle = record.len() / 2;
    record[middle] ^= 1;
    db.put("keyring", record).unwrap();
    drop(db);
    let error = store.refusal();
    assert!(
        matches!(error, OpenError::Keyring(KeyringError::Damaged { .. })),
        "{error}"
    );
}

#[test]
fn somebody_elses_files_are_not_touched() {
    let store = Store::new();
    fs::create_dir_all(&store.options.db_dir).unwrap();
    let letter = store.options.db_dir.join("letter.txt");
    fs::write(&letter, "dear all").unwrap();
    let error = store.refusal();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    assert!(error.to_string().contains("letter.txt"), "{error}");
    assert_eq!(fs::read_to_string(letter).unwrap(), "dear all");
    assert_eq!(fs::read_dir(&store.options.db_dir).unwrap().count(), 1);
}

#[test]
fn somebody_elses_database_is_not_touched() {
    let store = Store::new();
    let db = DB::open_default(&store.options.db_dir).unwrap();
    db.put("their", "row").unwrap();
    drop(db);
    let error = store.refusal();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    let db = DB::open_default(&store.options.db_dir).unwrap();
    assert_eq!(db.get("their").unwrap().unwrap(), b"row");
}

#[test]
fn a_newer_format_is_refused_by_name() {
    let store = Store::new();
    drop(store.open());
    store.raw().put("format", [0, 2, 0, 16]).unwrap();
    let error = store.refusal();
    assert!(
        matches!(error, OpenError::NewerFormat { found: 2 }),
        "{error}"
    );
    assert!(error.to_string().contains("newer"), "{error}");
    let offline = verify(&store.options, Mode::Repair, &mut |_| ()).unwrap_err();
    assert!(matches!(
        offline,
        OfflineError::Open(OpenError::NewerFormat { found: 2 })
    ));
}

#[test]
fn another_shard_count_names_both() {
    let mut store = Store::new();
    drop(store.open());
    for count in [8, 32] {
        store.options.shards = ShardSet::all(ShardCount::new(count).unwrap());
        let error = store.refusal().to_string();
        assert!(
            error.contains("SHARD_COUNT=16") && error.contains(&count.to_string()),
            "{error}"
        );
    }
    store.options.shards = ShardSet::all(ShardCount::new(16).unwrap());
    store.open();
}

#[test]
fn a_second_process_is_kept_out() {
    let store = Store::new();
    let engine = store.open();
    assert!(matches!(store.refusal(), OpenError::InUse { .. }));
    let offline = verify(&store.options, Mode::Check, &mut |_| ()).unwrap_err();
    assert!(
        matches!(offline, OfflineError::Open(OpenError::InUse { .. })),
        "{offline}"
    );
    store.put(&engine, &content(1, 100));
}

#[test]
fn nothing_is_made_where_there_is_no_database() {
    let store = Store::new();
    for mode in [Mode::Check, Mode::Repair, Mode::Salvage] {
        let error = verify(&store.options, mode, &mut |_| ()).unwrap_err();
        assert!(matches!(error, OfflineError::NoDatabase { .. }), "{error}");
    }
    assert!(!store.options.db_dir.exists());
}
