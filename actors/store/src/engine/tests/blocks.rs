//! Blobs that the operator refuses.

use bytecave_core::ShardRange;
use bytecave_messages::store::Standing;

use super::copies::{expect_even, list};
use super::damage::{flip, meta};
use super::*;
use crate::engine::layout::{name_key, prefix};
use crate::engine::verify::{Mode, verify};

const MIB: usize = 1 << 20;
const SIZES: [usize; 2] = [3000, 5 * MIB];

async fn block(cave: &Cave, cid: BlobCid) -> bool {
    cave.engine().set_blocked(cid, true).await.unwrap()
}

async fn unblock(cave: &Cave, cid: BlobCid) -> bool {
    cave.engine().set_blocked(cid, false).await.unwrap()
}

async fn standing(cave: &Cave, cid: BlobCid) -> Standing {
    cave.engine().check(vec![cid.digest()]).await.unwrap()[0]
}

/// Neither kept nor given, by whatever way it is asked for.
async fn expect_refused(cave: &Cave, blob: &[u8]) {
    let cid = BlobCid::of(blob);
    let blocked = StoreError::Blocked { cid };
    assert_eq!(cave.read(cid, None).await, Err(blocked.clone()));
    assert_eq!(cave.engine().info(cid).await, Err(blocked.clone()));
    for word in [Word::Client, Word::Peer] {
        let new = NewBlob {
            word,
            ..whole(blob)
        };
        assert_eq!(cave.engine().put(new).await.unwrap_err(), blocked);
        let stated = NewBlob {
            // Refused before the body is read: this one never ends.
            body: BlobBody::Stream(body::stream(None).1),
            expected: Some(cid),
            word,
            ..whole(b"")
        };
        assert_eq!(cave.engine().put(stated).await.unwrap_err(), blocked);
    }
    let gone = StoreError::NotFound { cid };
    assert_eq!(cave.engine().delete(cid).await, Err(gone));
    assert_eq!(standing(cave, cid).await, Standing::Blocked);
    let page = cave.engine().list(None, None, 100).await.unwrap();
    assert!(page.blobs.iter().all(|info| info.cid != cid));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_blocked_is_deleted_and_neither_kept_nor_given() {
    let mut cave = Cave::new();
    for size in SIZES {
        let blob = content(size, 1);
        let cid = cave.put(&blob).await.unwrap().cid;
        cave.engine().set_pin(cid, true).await.unwrap();
        // Into the cache.
        assert!(cave.read(cid, None).await.unwrap() == blob);
        assert!(block(&cave, cid).await);
        assert!(!block(&cave, cid).await, "it is already");
        for restarted in [false, true] {
            expect_refused(&cave, &blob).await;
            expect_even(&cave).await;
            let listed = list(&cave, cid).await;
            assert!(listed.iter().all(|listed| listed.declined), "{restarted}");
            assert!(listed.iter().any(|listed| listed.digest == cid.digest()));
            cave.reopen();
        }
        assert_eq!(cave.snapshot().blobs, 0);
        assert_eq!(cave.snapshot().reserved_bytes, 0);
    }
    assert_eq!(gauge(&cave.snapshot(), "blocked_blobs"), 2);
    cave.until(|snapshot| gauge(snapshot, "files_to_free") == 0)
        .await;
    cave.close();
    let report = verify(&cave.options, Mode::Check, &mut |_| ()).unwrap();
    assert!(report.is_clean(), "{report:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lifted_block_leaves_a_deleted_blob_or_nothing() {
    let mut cave = Cave::new();
    for size in SIZES {
        let (here, deleted, absent) = (content(size, 1), content(size, 2), content(size, 3));
        cave.put(&here).await.unwrap();
        cave.put(&deleted).await.unwrap();
        cave.engine().delete(BlobCid::of(&deleted)).await.unwrap();
        for blob in [&here, &deleted, &absent] {
            assert!(block(&cave, BlobCid::of(blob)).await);
            expect_refused(&cave, blob).await;
        }
        expect_even(&cave).await;
        cave.reopen();
        for (blob, left) in [
            (&here, Standing::Deleted),
            (&deleted, Standing::Deleted),
            (&absent, Standing::Absent),
        ] {
            let cid = BlobCid::of(blob);
            assert!(unblock(&cave, cid).await);
            assert!(!unblock(&cave, cid).await, "it is not any more");
            assert_eq!(standing(&cave, cid).await, left);
            let gone = StoreError::NotFound { cid };
            assert_eq!(cave.read(cid, None).await, Err(gone));
            let by_peer = NewBlob {
                word: Word::Peer,
                ..whole(blob)
            };
            let by_peer = cave.engine().put(by_peer).await.map(|stored| stored.new);
            match left {
                Standing::Deleted => assert_eq!(by_peer, Err(StoreError::Deleted { cid })),
                _ => assert_eq!(by_peer, Ok(true)),
            }
            cave.put(blob).await.unwrap();
            assert!(cave.read(cid, None).await.unwrap() == *blob);
        }
        expect_even(&cave).await;
    }
    assert_eq!(gauge(&cave.snapshot(), "blocked_blobs"), 0);
    assert_eq!(cave.snapshot().blobs, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_under_way_when_its_content_is_blocked_is_refused() {
    let cave = Cave::new();
    for size in SIZES {
        let blob = content(size, 9);
        let cid = BlobCid::of(&blob);
        let (mut sender, stream) = body::stream(None);
        let engine = cave.engine().clone();
        let put =
            tokio::spawn(async move { engine.put(super::blob(BlobBody::Stream(stream))).await });
        let (head, tail) = blob.split_at(size / 2);
        sender.send(Bytes::copy_from_slice(head)).await.unwrap();
        assert!(block(&cave, cid).await);
        sender.send(Bytes::copy_from_slice(tail)).await.unwrap();
        sender.finish();
        let refused = put.await.unwrap().unwrap_err();
        assert_eq!(refused, StoreError::Blocked { cid });
    }
    cave.until(|snapshot| snapshot.reserved_bytes == 0).await;
    assert_eq!(cave.snapshot().blobs, 0);
    expect_even(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn puts_and_blocks_at_once_end_in_a_block() {
    let cave = Cave::new();
    for size in SIZES {
        let blob = content(size, 4);
        let cid = BlobCid::of(&blob);
        let puts: Vec<_> = (0..12)
            .map(|_| {
                let engine = cave.engine().clone();
                let new = super::blob(streamed(&blob, 1 << 18, false));
                tokio::spawn(async move { engine.put(new).await })
            })
            .collect();
        assert!(block(&cave, cid).await);
        for put in puts {
            if let Err(error) = put.await.unwrap() {
                assert_eq!(error, StoreError::Blocked { cid });
            }
        }
        expect_refused(&cave, &blob).await;
    }
    let snapshot = cave
        .until(|snapshot| gauge(snapshot, "files_to_free") == 0)
        .await;
    assert_eq!((snapshot.blobs, snapshot.reserved_bytes), (0, 0));
    expect_even(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_overtaken_by_a_block_is_told_that_it_is_gone() {
    let cave = Cave::new();
    let cid = cave.put(&content(40 * MIB, 1)).await.unwrap().cid;
    let read = cave.engine().get(cid, None, ()).await.unwrap();
    block(&cave, cid).await;
    cave.until(|snapshot| snapshot.dead_bytes == 0).await;
    let broken = collect(read.body).await.unwrap_err();
    assert_eq!(broken, StoreError::Body(body::BodyError::Deleted));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_blocked_blobs_are_listed_in_pages() {
    let cave = Cave::new();
    let mut blocked: Vec<_> = (0..25).map(|seed| BlobCid::of(&content(9, seed))).collect();
    for cid in &blocked {
        assert!(block(&cave, *cid).await);
    }
    let mut listed = Vec::new();
    let mut after = None;
    loop {
        let page = cave.engine().list_blocked(after, 10).await.unwrap();
        assert!(page.cids.len() <= 10);
        listed.extend(page.cids);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    listed.sort_unstable_by_key(BlobCid::digest);
    blocked.sort_unstable_by_key(BlobCid::digest);
    assert_eq!(listed, blocked);
    let all = cave.engine().list_blocked(None, 25).await.unwrap();
    assert_eq!((all.cids.len(), all.next), (25, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_outlive_a_rotation_of_keys_and_the_forgetting_of_deletions() {
    let mut cave = Cave::with(|options| options.tombstone_keep = Duration::from_secs(1));
    let blob = content(3000, 1);
    let cid = cave.put(&blob).await.unwrap().cid;
    let forgotten = cave.put(&content(3000, 2)).await.unwrap().cid;
    cave.engine().delete(forgotten).await.unwrap();
    block(&cave, cid).await;
    cave.engine().rotate_keys().await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while standing(&cave, forgotten).await == Standing::Deleted {
        assert!(Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    cave.reopen();
    let keys: Vec<u32> = cave.engine().inner.keyring().key_ids().collect();
    assert_eq!(keys, [2], "nothing is left under the older key");
    expect_refused(&cave, &blob).await;
    expect_even(&cave).await;
    let page = cave.engine().list_blocked(None, 10).await.unwrap();
    assert_eq!(page.cids, [cid]);
    assert!(unblock(&cave, cid).await);
    expect_even(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_that_cannot_be_read_is_blocked_all_the_same() {
    let mut cave = Cave::new();
    let blob = content(3000, 1);
    let cid = cave.put(&blob).await.unwrap().cid;
    let (shard, name, _) = meta(&cave, cid);
    flip(&cave, shard, &name_key(prefix::META, &name));
    cave.reopen();
    assert_eq!(standing(&cave, cid).await, Standing::Damaged);
    assert!(block(&cave, cid).await);
    expect_refused(&cave, &blob).await;
    expect_even(&cave).await;
    assert!(unblock(&cave, cid).await);
    assert_eq!(standing(&cave, cid).await, Standing::Deleted);
    assert!(!cave.put(&blob).await.unwrap().new, "it was counted before");
    assert!(cave.read(cid, None).await.unwrap() == blob);
    assert_eq!(standing(&cave, cid).await, Standing::Here);
    expect_even(&cave).await;
    // Blocked again and repaired: the row goes, and the content counts as before.
    flip(&cave, shard, &name_key(prefix::META, &name));
    cave.reopen();
    block(&cave, cid).await;
    cave.close();
    verify(&cave.options, Mode::Repair, &mut |_| ()).unwrap();
    let report = verify(&cave.options, Mode::Check, &mut |_| ()).unwrap();
    assert!(report.is_clean(), "{report:#?}");
    cave.reopen();
    expect_refused(&cave, &blob).await;
    expect_even(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stands_in_a_family_that_is_not_ours_is_not_given_either() {
    let mut cave = Cave::new();
    let count = ShardCount::new(SHARDS).unwrap();
    let blob = (0..1000)
        .map(|seed| content(3000, seed))
        .find(|blob| count.shard_of(&BlobCid::of(blob).digest()).get() >= 8)
        .unwrap();
    let cid = cave.put(&blob).await.unwrap().cid;
    let half = ShardSet::from_ranges(count, &[ShardRange { start: 0, end: 7 }]).unwrap();
    cave.reopen_with(|options| options.shards = half).unwrap();
    assert!(cave.read(cid, None).await.unwrap() == blob);
    assert!(block(&cave, cid).await);
    let blocked = Err(StoreError::Blocked { cid });
    assert_eq!(cave.read(cid, None).await, blocked);
    let page = cave.engine().list(None, None, 10).await.unwrap();
    assert!(page.blobs.is_empty() && page.next.is_none());
    // Ours again, it is still there and still refused.
    cave.reopen_with(|options| options.shards = ShardSet::all(count))
        .unwrap();
    expect_refused(&cave, &blob).await;
    assert!(list(&cave, cid).await[0].declined);
    expect_even(&cave).await;
    // What is lifted is as good as deleted.
    assert!(unblock(&cave, cid).await);
    assert_eq!(standing(&cave, cid).await, Standing::Deleted);
    assert_eq!(cave.snapshot().blobs, 0);
    expect_even(&cave).await;
    assert!(cave.put(&blob).await.unwrap().new);
    expect_even(&cave).await;
}
