//! Storing, reading, deleting.

use bytecave_core::{Commitment, tree};
use bytecave_messages::store::Durability;

use super::*;
use crate::engine::seal::SEGMENT_BYTES;

const MIB: usize = 1 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_every_size_read_back_before_and_after_a_restart() {
    let mut cave = Cave::new();
    let sizes = [
        0,
        1,
        SEGMENT_BYTES - 1,
        SEGMENT_BYTES,
        SEGMENT_BYTES + 1,
        2 * SEGMENT_BYTES,
        4 * MIB - 1,
        4 * MIB,
        4 * MIB + 1,
        5 * MIB,
        9 * MIB,
    ];
    let blobs: Vec<_> = sizes.map(|size| content(size, size as u64)).into();
    for blob in &blobs {
        let stored = cave.put(blob).await.unwrap();
        let root = tree::blob_root(blob);
        assert_eq!(stored.cid, BlobCid::of(blob));
        assert_eq!(stored.size, blob.len() as u64);
        assert_eq!(stored.blob_root, root);
        assert_eq!(stored.commitment, Commitment::of(stored.size, &root));
        assert_eq!(stored.durability, Durability::Strict);
        assert!(stored.new);
        assert!(!cave.put(blob).await.unwrap().new, "{} again", blob.len());
    }
    for restarted in [false, true] {
        for blob in &blobs {
            let read = cave.read(BlobCid::of(blob), None).await.unwrap();
            assert!(read == *blob, "{} bytes, restarted {restarted}", blob.len());
        }
        let snapshot = cave.snapshot();
        assert_eq!(snapshot.blobs, sizes.len() as u64);
        assert_eq!(snapshot.bytes, sizes.iter().sum::<usize>() as u64);
        assert_eq!((snapshot.dead_bytes, snapshot.reserved_bytes), (0, 0));
        cave.reopen();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ranges_are_the_bytes_they_name() {
    let cave = Cave::new();
    for size in [1000, 3 * SEGMENT_BYTES + 17, 6 * MIB + 5] {
        let blob = content(size, 1);
        let cid = cave.put(&blob).await.unwrap().cid;
        let end = size as u64;
        let segment = SEGMENT_BYTES as u64;
        let ranges = [
            (ByteRange::FromTo(0, 0), 0..1),
            (ByteRange::FromTo(5, 9), 5..10),
            (ByteRange::From(end - 1), end - 1..end),
            (ByteRange::Last(7), end - 7..end),
            (ByteRange::Last(end * 2), 0..end),
            (ByteRange::FromTo(10, u64::MAX), 10..end),
            (
                ByteRange::FromTo(segment - 1, segment),
                segment - 1..segment + 1,
            ),
            (
                ByteRange::FromTo(segment, 2 * segment - 1),
                segment..2 * segment,
            ),
        ];
        for (range, wanted) in ranges {
            if wanted.start >= end {
                continue;
            }
            let wanted = usize::try_from(wanted.start).unwrap()
                ..usize::try_from(wanted.end.min(end)).unwrap();
            let read = cave.read(cid, Some(range)).await.unwrap();
            assert!(read == blob[wanted], "{range:?} of {size}");
        }
        assert_eq!(
            cave.read(cid, Some(ByteRange::From(end))).await,
            Err(StoreError::RangeNotSatisfiable { size: end })
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_at_once_are_counted_once() {
    let cave = Cave::new();
    for size in [0, 5000, 5 * MIB] {
        let blob = content(size, 77);
        let puts: Vec<_> = (0..32)
            .map(|_| {
                let engine = cave.engine().clone();
                let body = streamed(&blob, 100_000, false);
                tokio::spawn(async move { engine.put(super::blob(body)).await.unwrap().new })
            })
            .collect();
        let mut new = 0;
        for put in puts {
            new += usize::from(put.await.unwrap());
        }
        assert_eq!(new, 1, "{size} bytes");
        assert!(cave.read(BlobCid::of(&blob), None).await.unwrap() == blob);
    }
    // What lost the race leaves nothing behind.
    let snapshot = cave.until(|snapshot| snapshot.dead_bytes == 0).await;
    assert_eq!(snapshot.blobs, 3);
    assert_eq!(snapshot.reserved_bytes, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_said_at_the_first_store_stays() {
    let mut cave = Cave::new();
    for size in [10, 5 * MIB] {
        let blob = content(size, 3);
        let named = |name: &str| NewBlob {
            expected: Some(BlobCid::of(&blob)),
            content_type: Some(format!("text/{name}")),
            file_name: Some(format!("{name}.txt")),
            ..super::blob(BlobBody::Whole(Bytes::from(blob.clone())))
        };
        let stored = cave.engine().put(named("first")).await.unwrap();
        assert!(stored.new);
        assert!(!cave.engine().put(named("second")).await.unwrap().new);
        cave.reopen();
        let info = cave.engine().info(stored.cid).await.unwrap();
        assert_eq!(info.content_type.as_deref(), Some("text/first"));
        assert_eq!(info.file_name.as_deref(), Some("first.txt"));
        assert_eq!(info.size, size as u64);
        assert_eq!(info.shard, stored.shard);
        assert_eq!(info.blob_root, stored.blob_root);
        assert!(info.sealed_size > info.size);
        assert!(info.created_ms > 1_600_000_000_000);
        assert!(!info.pinned && !info.quarantined);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_of_other_shards_are_refused_and_old_families_only_read() {
    let mut cave = Cave::new();
    let blobs: Vec<_> = (0..64).map(|seed| content(3000, seed)).collect();
    for blob in &blobs {
        cave.put(blob).await.unwrap();
    }
    let before = cave.snapshot();
    let half = [bytecave_core::ShardRange { start: 0, end: 7 }];
    let count = ShardCount::new(SHARDS).unwrap();
    cave.reopen_with(|options| {
        options.shards = ShardSet::from_ranges(count, &half).unwrap();
    })
    .unwrap();
    let after = cave.snapshot();
    assert_eq!(after.blobs, before.blobs, "left families are reported");
    assert_eq!(after.shards.iter().filter(|shard| shard.owned).count(), 8);
    let large = (0..1000)
        .map(|seed| content(5 * MIB, seed))
        .find(|blob| count.shard_of(&BlobCid::of(blob).digest()).get() >= 8)
        .unwrap();
    for blob in blobs.iter().chain([&large]) {
        let cid = BlobCid::of(blob);
        let shard = count.shard_of(&cid.digest());
        if shard.get() < 8 {
            assert!(!cave.put(blob).await.unwrap().new);
            continue;
        }
        let refused = StoreError::NotOurShard { cid, shard };
        assert_eq!(cave.put(blob).await.unwrap_err(), refused);
        let stated = NewBlob {
            // Refused before the body is read: this one would never end.
            expected: Some(cid),
            ..super::blob(BlobBody::Stream(body::stream(None).1))
        };
        assert_eq!(cave.engine().put(stated).await.unwrap_err(), refused);
        if blob.len() < MIB {
            assert!(cave.read(cid, None).await.unwrap() == *blob, "still read");
            assert_eq!(cave.engine().delete(cid).await, Err(refused.clone()));
            assert_eq!(cave.engine().set_pin(cid, true).await, Err(refused));
        }
    }
    let snapshot = cave.snapshot();
    assert_eq!((snapshot.blobs, snapshot.reserved_bytes), (64, 0));
}

#[test]
fn the_blocking_forms_do_the_same() {
    let cave = Cave::new();
    let blob = content(70_000, 9);
    let stored = cave
        .engine()
        .put_blocking(Bytes::from(blob.clone()), crate::engine::Details::default())
        .unwrap();
    let opened = cave.engine().open_blocking(stored.cid, None).unwrap();
    assert!(matches!(opened, crate::engine::Opened::Whole { bytes, .. } if bytes == blob));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_durability_keeps_what_it_answered_over_an_orderly_end() {
    for durability in [Durability::Strict, Durability::Batched, Durability::Relaxed] {
        let mut cave = Cave::with(|options| options.durability = durability);
        let blob = content(9000, 5);
        let stored = cave.put(&blob).await.unwrap();
        assert_eq!(stored.durability, durability);
        let large = cave.put(&content(5 * MIB, 5)).await.unwrap();
        assert_eq!(large.durability, Durability::Strict, "always");
        cave.reopen();
        assert!(cave.read(stored.cid, None).await.unwrap() == blob);
        assert_eq!(cave.snapshot().durability, durability);
    }
}
