//! Rotating keys while the engine works.

use super::*;
use crate::engine::commit::Op;
use crate::engine::commit::upkeep::InstallKeyring;
use crate::engine::keyring::record_key_id;
use crate::engine::layout::{ROTATION_KEY, prefix};
use crate::engine::put;
use crate::engine::rotate::Rotation;

#[tokio::test(flavor = "multi_thread")]
async fn every_record_comes_under_the_new_key_and_the_old_one_goes() {
    let mut cave = Cave::new();
    let mut blobs: Vec<_> = (0..300).map(|seed| content(500, seed)).collect();
    blobs.push(content(5 << 20, 0));
    for blob in &blobs {
        cave.put(blob).await.unwrap();
    }
    let deleted = cave.put(b"deleted").await.unwrap().cid;
    cave.engine().delete(deleted).await.unwrap();
    let report = cave.engine().rotate_keys().await.unwrap();
    assert_eq!(report.key_id, 2);
    // Metadata and outbox entry of each, the outbox entry of the deleted one, its tombstone.
    assert_eq!(report.resealed, 2 * 301 + 2);
    assert_eq!(keys_of_records(&cave), [2].into());
    assert_eq!(cave.engine().rotate_keys().await.unwrap().key_id, 3);
    cave.reopen();
    let keys: Vec<u32> = cave.engine().inner.keyring().key_ids().collect();
    assert_eq!(keys, [3], "older keys are retired");
    for blob in &blobs {
        assert!(cave.read(BlobCid::of(blob), None).await.unwrap() == *blob);
    }
    assert_eq!(cave.snapshot().blobs, 301);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_put_that_was_sealed_before_a_rotation_is_not_left_under_the_retired_key() {
    let cave = Cave::new();
    let inner = &cave.engine().inner;
    let prepared = put::prepare(
        inner,
        &Bytes::from_static(b"slow to commit"),
        put::Details::default(),
    )
    .unwrap();
    let put::Prepared::Ready(ready) = prepared else {
        panic!("it is not here yet");
    };
    cave.engine().rotate_keys().await.unwrap();
    let answer = inner
        .queue
        .submit(|reply| Op::Put(Box::new(ready.with_reply(None, reply))));
    let outcome = answer.await.unwrap().unwrap();
    assert!(matches!(outcome, put::Outcome::Kept(kept) if kept.new));
    assert_eq!(keys_of_records(&cave), [2].into());
    let cid = BlobCid::of(b"slow to commit");
    assert_eq!(cave.read(cid, None).await.unwrap(), b"slow to commit");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_that_was_cut_short_goes_on_at_the_next_start() {
    let mut cave = Cave::new();
    for seed in 0..100 {
        cave.put(&content(500, seed)).await.unwrap();
    }
    // As far as a crash right after the new key was installed.
    let inner = &cave.engine().inner;
    let keyring = inner.keyring().rotate().unwrap();
    let rotation = Some(Rotation {
        key_id: 2,
        next_shard: 0,
        resealed: 0,
    });
    let installed = inner.queue.submit(|reply| {
        Op::InstallKeyring(Box::new(InstallKeyring {
            keyring,
            rotation,
            reply,
        }))
    });
    installed.await.unwrap().unwrap();
    cave.put(b"under the new key").await.unwrap();
    assert_eq!(keys_of_records(&cave), [1, 2].into());
    cave.reopen();
    let deadline = Instant::now() + PATIENCE;
    while cave.engine().inner.db.get(ROTATION_KEY).unwrap().is_some() {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(keys_of_records(&cave), [2].into());
    assert_eq!(cave.engine().inner.keyring().key_ids().count(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_come_and_go_while_keys_rotate() {
    let cave = Cave::new();
    for seed in 0..400 {
        cave.put(&content(200, seed)).await.unwrap();
    }
    let rotating = {
        let engine = cave.engine().clone();
        tokio::spawn(async move { engine.rotate_keys().await })
    };
    for seed in 0..200 {
        cave.put(&content(200, 1000 + seed)).await.unwrap();
        cave.engine()
            .delete(BlobCid::of(&content(200, seed)))
            .await
            .unwrap();
    }
    rotating.await.unwrap().unwrap();
    assert_eq!(keys_of_records(&cave), [2].into());
    assert_eq!(cave.snapshot().blobs, 400);
    for seed in 200..400 {
        let blob = content(200, seed);
        assert!(cave.read(BlobCid::of(&blob), None).await.unwrap() == blob);
    }
}

/// Keys that records of any kind are sealed under.
fn keys_of_records(cave: &Cave) -> std::collections::BTreeSet<u32> {
    let inner = &cave.engine().inner;
    let mut keys = std::collections::BTreeSet::new();
    let mut add = |family: &str, kind: u8| {
        for row in inner.rows(family, vec![kind], vec![kind + 1]).unwrap() {
            keys.insert(record_key_id(&row.unwrap().1).unwrap());
        }
    };
    for kind in [
        prefix::TOMBSTONE,
        prefix::BLOCK,
        prefix::DROP,
        prefix::INTENT,
    ] {
        add("default", kind);
    }
    for family in inner.all_families() {
        for kind in [prefix::META, prefix::OUTBOX, b's'] {
            add(&family.name, kind);
        }
    }
    keys
}
