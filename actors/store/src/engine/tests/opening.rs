//! What is refused at the start, and what is cleared up.

use std::fs::{self, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use super::*;
use crate::engine::keyring::KeyringError;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn another_key_or_shard_count_is_refused_and_changes_nothing() {
    let mut cave = Cave::new();
    cave.put(b"something").await.unwrap();
    let wrong = cave.reopen_with(|options| options.unlock = UnlockSecret::from_key([8; 32]));
    assert!(matches!(
        wrong,
        Err(OpenError::Keyring(KeyringError::WrongUnlockKey))
    ));
    for shards in [8, 17] {
        let other = cave.reopen_with(|options| {
            options.unlock = UnlockSecret::from_key([7; 32]);
            options.shards = ShardSet::all(ShardCount::new(shards).unwrap());
        });
        let Err(OpenError::OtherShardCount { stored, configured }) = other else {
            panic!("{other:?} with {shards} shards");
        };
        assert_eq!((u64::from(stored), u64::from(configured)), (16, shards));
    }
    cave.reopen_with(|options| options.shards = ShardSet::all(ShardCount::new(SHARDS).unwrap()))
        .unwrap();
    assert_eq!(cave.snapshot().shards.len(), 16, "no family was added");
    assert_eq!(cave.snapshot().blobs, 1);
}

#[test]
fn a_foreign_directory_is_refused_and_named() {
    let cave = Cave::new();
    let (options, db) = (cave.options.clone(), cave.options.db_dir.clone());
    drop(cave.engine);
    fs::remove_dir_all(&db).unwrap();
    fs::create_dir(&db).unwrap();
    fs::write(db.join("holiday.jpg"), b"x").unwrap();
    let error = Engine::open(options.clone()).unwrap_err();
    assert!(error.to_string().contains("holiday.jpg"), "{error}");
    assert!(matches!(error, OpenError::Foreign { .. }));
    // A database of somebody else's.
    fs::remove_file(db.join("holiday.jpg")).unwrap();
    let foreign = rocksdb::DB::open_default(&db).unwrap();
    foreign.put(b"key", b"value").unwrap();
    drop(foreign);
    let error = Engine::open(options).unwrap_err();
    assert!(matches!(error, OpenError::Foreign { .. }), "{error}");
    let families = rocksdb::DB::list_cf(&rocksdb::Options::default(), &db).unwrap();
    assert_eq!(families, ["default"], "nothing was made in it");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_format_is_refused() {
    let mut cave = Cave::new();
    let format = cave.engine().inner.db.get(b"format").unwrap().unwrap();
    assert_eq!(format, [0, 1, 0, 16]);
    cave.engine()
        .inner
        .db
        .put(b"format", [0, 2, 0, 16])
        .unwrap();
    let newer = cave.reopen_with(|_| ());
    assert!(matches!(newer, Err(OpenError::NewerFormat { found: 2 })));
}

#[test]
fn a_second_engine_on_the_same_directory_is_refused() {
    let cave = Cave::new();
    let second = Engine::open(cave.options.clone());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
}

#[test]
fn a_directory_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("data");
    fs::write(&file, b"a file").unwrap();
    let count = ShardCount::new(SHARDS).unwrap();
    let options = EngineOptions::new(&file, UnlockSecret::from_key([7; 32]), ShardSet::all(count));
    let error = Engine::open(options).unwrap_err();
    assert!(matches!(error, OpenError::Unusable { .. }), "{error}");
    assert!(error.to_string().contains("data/tmp"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_in_the_middle_of_the_log_is_refused_with_the_remedy() {
    let mut cave = Cave::new();
    for seed in 0..40 {
        cave.put(&content(100_000, seed)).await.unwrap();
    }
    cave.close();
    let log = newest(&cave.options.db_dir, "log");
    let len = fs::metadata(&log).unwrap().len();
    assert!(len > 2_000_000);
    for at in [len / 3, len / 2, len - 200_000] {
        flip(&log, at);
        let error = cave.reopen_with(|_| ()).unwrap_err();
        assert!(matches!(error, OpenError::LogDamaged { .. }), "{error}");
        assert!(error.to_string().contains("bytecave verify --salvage"));
        flip(&log, at);
    }
    cave.reopen();
    assert_eq!(cave.snapshot().blobs, 40);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_torn_end_of_the_log_is_no_damage() {
    let mut cave = Cave::new();
    for seed in 0..10 {
        cave.put(&content(50_000, seed)).await.unwrap();
    }
    cave.close();
    let log = newest(&cave.options.db_dir, "log");
    let file = OpenOptions::new().write(true).open(&log).unwrap();
    file.set_len(fs::metadata(&log).unwrap().len() - 20_000)
        .unwrap();
    cave.reopen();
    let snapshot = cave.snapshot();
    assert_eq!(snapshot.blobs, 9, "only the torn group is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_cut_short_after_its_intent_is_cleared_at_the_next_start() {
    let mut cave = Cave::new();
    let blob = content(6 * MIB, 1);
    let cid = cave.put(&blob).await.unwrap().cid;
    cave.close();
    // As it stands after a crash between ingest and the last batch: the intent is there, the
    // metadata is not.
    cave.engine = Some(Engine::open(cave.options.clone()).unwrap());
    let inner = std::sync::Arc::clone(&cave.engine().inner);
    let digest = cid.digest();
    let place = inner.place(inner.shard_of(&digest)).unwrap();
    let keyring = inner.keyring();
    let name = keyring.sealed_name(&digest);
    let crate::engine::state::Found::Here(meta) = inner.find(&place, &keyring, &name).unwrap()
    else {
        panic!("its metadata is there");
    };
    let run = crate::engine::commit::blobs::chunk_run(&place.family.name, &meta).unwrap();
    let key = crate::engine::layout::id_key(crate::engine::layout::prefix::INTENT, run.blob_id);
    let intent = crate::engine::record::Intent(run);
    let sealed = crate::engine::record::seal(&keyring, "default", &key, &intent).unwrap();
    inner.db.put(key, sealed).unwrap();
    let meta_key = crate::engine::layout::name_key(crate::engine::layout::prefix::META, &name);
    inner.db.delete_cf(&place.handle, meta_key).unwrap();
    inner.db.delete_cf(&place.handle, b"s").unwrap();
    drop(place);
    drop(inner);
    cave.reopen();
    let deadline = Instant::now() + PATIENCE;
    let left = || {
        let db = &cave.engine().inner.db;
        let chunks = db.live_files().unwrap().into_iter().filter(|file| {
            let key = file.start_key.as_ref();
            key.is_some_and(|key| key.first() == Some(&b'c'))
        });
        db.get(key).unwrap().is_some() || chunks.count() > 0
    };
    while left() {
        assert!(Instant::now() < deadline, "bytes that nobody owns are left");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cave.until(|snapshot| snapshot.dead_bytes == 0).await;
    assert!(cave.put(&blob).await.unwrap().new);
    assert!(cave.read(cid, None).await.unwrap() == blob);
}

fn newest(dir: &Path, extension: &str) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .collect();
    files.sort();
    files.pop().unwrap()
}

fn flip(path: &Path, at: u64) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.seek(SeekFrom::Start(at)).unwrap();
    file.read_exact(&mut byte).unwrap();
    byte[0] ^= 1;
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&byte).unwrap();
}
