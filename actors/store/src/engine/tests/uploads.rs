//! Uploads that come piece by piece, break off, lie or do not fit.

use std::fs;

use bytecave_messages::body::BodyError;
use bytecave_messages::store::StoreCondition;

use super::*;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn pieces_of_any_size_make_the_same_blob() {
    let cave = Cave::new();
    for (size, step) in [
        (0, 1),
        (1, 1),
        (5000, 7),
        (4 * MIB, 64 << 10),
        (9 * MIB + 3, 333_333),
    ] {
        for stated in [false, true] {
            let blob = content(size, (size * 2 + usize::from(stated)) as u64);
            let body = streamed(&blob, step, stated);
            let stored = cave.engine().put(super::blob(body)).await.unwrap();
            assert_eq!(stored.cid, BlobCid::of(&blob), "{size} in {step}");
            assert!(cave.read(stored.cid, None).await.unwrap() == blob);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_breaks_off_leaves_nothing() {
    let cave = Cave::new();
    for (sent, stated) in [(1000, None), (6 * MIB, None), (6 * MIB, Some(100 << 20))] {
        let (mut sender, stream) = body::stream(stated);
        let engine = cave.engine().clone();
        let put = tokio::spawn(async move { engine.put(blob(BlobBody::Stream(stream))).await });
        for piece in content(sent, 1).chunks(1 << 16) {
            sender.send(Bytes::copy_from_slice(piece)).await.unwrap();
        }
        if sent > MIB {
            cave.until(|snapshot| snapshot.reserved_bytes > sent as u64)
                .await;
        }
        drop(sender);
        let error = put.await.unwrap().unwrap_err();
        assert!(
            matches!(error, StoreError::Body(BodyError::Stopped { .. })),
            "{error:?}"
        );
        cave.until(|snapshot| snapshot.reserved_bytes == 0).await;
        nothing_in_tmp(&cave).await;
    }
    assert_eq!(cave.snapshot().blobs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_nobody_awaits_any_more_leaves_nothing() {
    let cave = Cave::new();
    let (mut sender, stream) = body::stream(None);
    let engine = cave.engine().clone();
    let put = tokio::spawn(async move { engine.put(blob(BlobBody::Stream(stream))).await });
    for piece in content(6 * MIB, 1).chunks(1 << 16) {
        sender.send(Bytes::copy_from_slice(piece)).await.unwrap();
    }
    put.abort();
    assert!(put.await.unwrap_err().is_cancelled());
    cave.until(|snapshot| snapshot.reserved_bytes == 0).await;
    nothing_in_tmp(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn content_that_is_not_what_was_stated_is_refused() {
    let cave = Cave::new();
    for size in [10, 5 * MIB] {
        let sent = content(size, 1);
        let stated = BlobCid::of(&content(size, 2));
        let new = NewBlob {
            expected: Some(stated),
            ..blob(streamed(&sent, 1 << 16, true))
        };
        assert_eq!(
            cave.engine().put(new).await.unwrap_err(),
            StoreError::Mismatch {
                expected: stated,
                actual: BlobCid::of(&sent)
            }
        );
    }
    nothing_in_tmp(&cave).await;
    assert_eq!(cave.snapshot().blobs, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn too_large_is_refused_with_and_without_a_stated_length() {
    let limit_bytes = 5 * MIB as u64;
    let cave = Cave::with(|options| options.max_blob_bytes = limit_bytes);
    assert!(
        cave.put(&content(5 * MIB, 1)).await.is_ok(),
        "the limit fits"
    );
    let over = content(5 * MIB + 1, 2);
    let stated = cave.engine().put(blob(streamed(&over, MIB, true))).await;
    assert_eq!(stated.unwrap_err(), StoreError::TooLarge { limit_bytes });
    let unstated = cave.engine().put(blob(streamed(&over, MIB, false))).await;
    assert_eq!(
        unstated.unwrap_err(),
        StoreError::Body(BodyError::TooLarge { limit_bytes })
    );
    assert_eq!(cave.snapshot().blobs, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_quota_counts_sealed_bytes_and_comes_back_with_deletion() {
    let quota = 12 * MIB as u64;
    let mut cave = Cave::with(|options| options.quota_bytes = quota);
    let small = cave.put(&content(3 * MIB, 1)).await.unwrap();
    let large = cave.put(&content(6 * MIB, 2)).await.unwrap();
    for (size, seed) in [(4 * MIB, 3), (8 * MIB, 4)] {
        let refused = cave.put(&content(size, seed)).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::QuotaReached { quota_bytes, .. } if quota_bytes == quota),
            "{refused:?}"
        );
    }
    assert_eq!(cave.snapshot().reserved_bytes, 0);
    cave.put(&content(2 * MIB + 900_000, 5)).await.unwrap();
    cave.until(|snapshot| snapshot.condition == StoreCondition::Writable)
        .await;
    cave.put(&content(80_000, 6)).await.unwrap();
    cave.until(|snapshot| snapshot.condition == StoreCondition::Full)
        .await;
    // It is the same after a restart.
    let before = cave.snapshot();
    cave.reopen();
    assert_eq!(cave.snapshot().sealed_bytes, before.sealed_bytes);
    cave.until(|snapshot| snapshot.condition == StoreCondition::Full)
        .await;
    // A large blob's space comes back with its file …
    cave.engine().delete(large.cid).await.unwrap();
    cave.until(|snapshot| snapshot.dead_bytes == 0).await;
    cave.put(&content(5 * MIB, 7)).await.unwrap();
    // … a small one's when it is collected, which a refused put asks for.
    cave.engine().delete(small.cid).await.unwrap();
    assert!(cave.snapshot().dead_bytes > 3 * MIB as u64);
    assert!(cave.put(&content(3 * MIB, 8)).await.is_err());
    cave.until(|snapshot| snapshot.dead_bytes == 0).await;
    cave.put(&content(3 * MIB, 8)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_disk_reserve_is_left_alone() {
    let cave = Cave::with(|options| options.disk_reserve_bytes = Some(u64::MAX / 4));
    for size in [10, 5 * MIB] {
        let refused = cave.put(&content(size, 1)).await.unwrap_err();
        assert!(
            matches!(refused, StoreError::DiskFull { .. }),
            "{refused:?}"
        );
    }
    assert_eq!(cave.snapshot().condition, StoreCondition::Full);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_empties_the_temporary_directory() {
    let mut cave = Cave::new();
    cave.close();
    let left = cave.dir.path().join("tmp/upload-9.sst");
    fs::write(&left, b"half a blob").unwrap();
    cave.reopen();
    assert!(!left.exists());
}

/// Jobs under way may hold a file for a moment.
async fn nothing_in_tmp(cave: &Cave) {
    let deadline = Instant::now() + PATIENCE;
    let tmp = cave.dir.path().join("tmp");
    while fs::read_dir(&tmp).unwrap().count() > 0 {
        assert!(Instant::now() < deadline, "files are left in {tmp:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
