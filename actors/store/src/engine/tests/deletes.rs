//! Deleting, pins, tombstones, and giving the space back.

use std::collections::BTreeSet;

use bytecave_core::Fingerprint;

use super::*;
use crate::engine::layout::prefix;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_blob_is_gone_and_can_come_back() {
    let mut cave = Cave::new();
    for size in [0, 10_000, 5 * MIB] {
        let blob = content(size, 1);
        let cid = cave.put(&blob).await.unwrap().cid;
        let fingerprint = total(&cave);
        cave.engine().delete(cid).await.unwrap();
        let gone = StoreError::NotFound { cid };
        assert_eq!(cave.read(cid, None).await, Err(gone.clone()));
        assert_eq!(cave.engine().info(cid).await, Err(gone.clone()));
        assert_eq!(cave.engine().delete(cid).await, Err(gone.clone()));
        assert_eq!(cave.snapshot().blobs, 0);
        assert_eq!(cave.snapshot().bytes, 0);
        assert_eq!(total(&cave), fingerprint, "a tombstone counts as present");
        cave.reopen();
        assert_eq!(cave.read(cid, None).await, Err(gone));
        assert!(cave.put(&blob).await.unwrap().new);
        assert_eq!(total(&cave), fingerprint, "and is lifted by a new store");
        assert!(cave.read(cid, None).await.unwrap() == blob);
        cave.engine().delete(cid).await.unwrap();
    }
    let large_only = |snapshot: &StoreSnapshot| snapshot.dead_bytes < MIB as u64;
    cave.until(large_only).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_blob_stays() {
    let mut cave = Cave::new();
    let cid = cave.put(b"precious").await.unwrap().cid;
    cave.engine().set_pin(cid, true).await.unwrap();
    assert_eq!(
        cave.engine().delete(cid).await,
        Err(StoreError::Pinned { cid })
    );
    cave.reopen();
    assert!(cave.engine().info(cid).await.unwrap().pinned);
    cave.engine().set_pin(cid, false).await.unwrap();
    cave.engine().delete(cid).await.unwrap();
    assert_eq!(
        cave.engine().set_pin(cid, true).await,
        Err(StoreError::NotFound { cid })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_overtaken_by_a_delete_is_told() {
    let cave = Cave::new();
    let blob = content(40 * MIB, 1);
    let cid = cave.put(&blob).await.unwrap().cid;
    let read = cave.engine().get(cid, None, ()).await.unwrap();
    let BlobBody::Stream(mut stream) = read.body else {
        panic!("a large blob is streamed");
    };
    assert!(stream.next().await.unwrap().is_ok());
    cave.engine().delete(cid).await.unwrap();
    cave.until(|snapshot| snapshot.dead_bytes == 0).await;
    let mut last = None;
    while let Some(piece) = stream.next().await {
        last = Some(piece);
    }
    assert_eq!(last, Some(Err(body::BodyError::Deleted)));
    assert_eq!(cave.snapshot().quarantined, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn old_tombstones_are_forgotten() {
    let cave = Cave::with(|options| options.tombstone_keep = Duration::from_secs(1));
    for size in [100, 5 * MIB] {
        let cid = cave.put(&content(size, 4)).await.unwrap().cid;
        cave.engine().delete(cid).await.unwrap();
    }
    assert!(total(&cave).iter().any(|sum| *sum != Fingerprint::EMPTY));
    cave.until(|snapshot| {
        snapshot
            .shards
            .iter()
            .all(|shard| shard.fingerprint == Fingerprint::EMPTY)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn collecting_gives_small_bytes_back_and_touches_no_chunk_file() {
    let cave = Cave::new();
    let mut kept = Vec::new();
    let mut deleted = Vec::new();
    for seed in 0..200 {
        let blob = content(60_000, seed);
        let cid = cave.put(&blob).await.unwrap().cid;
        if seed % 4 == 0 {
            kept.push((cid, blob));
        } else {
            deleted.push(cid);
        }
    }
    for seed in 0..3 {
        let blob = content(5 * MIB, seed);
        kept.push((cave.put(&blob).await.unwrap().cid, blob));
    }
    // Into blob files, before they are deleted.
    let db = &cave.engine().inner.db;
    for family in cave.engine().inner.all_families() {
        db.flush_cf(&db.cf_handle(&family.name).unwrap()).unwrap();
    }
    for cid in deleted {
        cave.engine().delete(cid).await.unwrap();
    }
    let chunk_files = files_of_chunks(&cave);
    assert_eq!(chunk_files.len(), 3);
    let blob_bytes = || {
        std::fs::read_dir(cave.dir.path().join("db"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_name().to_string_lossy().ends_with(".blob"))
            .map(|entry| entry.metadata().unwrap().len())
            .sum::<u64>()
    };
    let before = blob_bytes();
    let report = cave.engine().collect_garbage().await.unwrap();
    assert!(report.dead_bytes_before >= 150 * 60_000, "{report:?}");
    assert_eq!(report.dead_bytes_after, 0);
    assert!(report.families > 8);
    assert_eq!(files_of_chunks(&cave), chunk_files);
    // Obsolete files go in the background.
    let deadline = Instant::now() + PATIENCE;
    while blob_bytes() > before / 2 {
        assert!(Instant::now() < deadline, "{} of {before}", blob_bytes());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (cid, blob) in kept {
        assert!(cave.read(cid, None).await.unwrap() == blob);
    }
}

/// Names of the table files that hold chunks.
fn files_of_chunks(cave: &Cave) -> BTreeSet<String> {
    let files = cave.engine().inner.db.live_files().unwrap();
    files
        .into_iter()
        .filter(|file| {
            file.start_key
                .as_ref()
                .is_some_and(|key| key.first() == Some(&prefix::CHUNK))
        })
        .map(|file| file.name)
        .collect()
}

fn total(cave: &Cave) -> Vec<Fingerprint> {
    let snapshot = cave.snapshot();
    snapshot
        .shards
        .iter()
        .map(|shard| shard.fingerprint)
        .collect()
}
