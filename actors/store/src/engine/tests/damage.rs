//! Bytes that are not what was stored: found, named, never served, healed.

use bytecave_core::ShardId;
use bytecave_messages::body::BodyError;

use super::copies::expect_even;
use super::*;
use crate::engine::layout::{chunk_key, name_key, prefix};
use crate::engine::record::{BlobMeta, Layout};
use crate::engine::state::Found;

const MIB: usize = 1 << 20;

pub(super) fn meta(cave: &Cave, cid: BlobCid) -> (ShardId, [u8; 32], BlobMeta) {
    let inner = &cave.engine().inner;
    let digest = cid.digest();
    let shard = inner.shard_of(&digest);
    let keyring = inner.keyring();
    let name = keyring.sealed_name(&digest);
    match inner
        .find(&inner.place(shard).unwrap(), &keyring, &name)
        .unwrap()
    {
        Found::Here(meta) => (shard, name, (*meta).clone()),
        Found::Absent | Found::Unreadable => panic!("its metadata is there"),
    }
}

/// What becomes of a stored value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Harm {
    /// One bit is another.
    Flip,
    /// Its last byte is gone.
    Truncate,
    /// It is gone.
    Remove,
}

pub(super) fn harm(cave: &Cave, shard: ShardId, key: &[u8], harm: Harm) {
    let inner = &cave.engine().inner;
    let handle = inner.place(shard).unwrap().handle;
    let mut value = inner.db.get_cf(&handle, key).unwrap().unwrap();
    match harm {
        Harm::Flip => {
            let middle = value.len() / 2;
            value[middle] ^= 1;
        }
        Harm::Truncate => drop(value.pop()),
        Harm::Remove => return inner.db.delete_cf(&handle, key).unwrap(),
    }
    inner.db.put_cf(&handle, key, value).unwrap();
}

/// Flips a bit of a stored value.
pub(super) fn flip(cave: &Cave, shard: ShardId, key: &[u8]) {
    harm(cave, shard, key, Harm::Flip);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_small_blob_is_quarantined_and_healed() {
    let mut cave = Cave::new();
    let blob = content(600_000, 1);
    let other = content(600_000, 2);
    cave.put(&other).await.unwrap();
    let cid = cave.put(&blob).await.unwrap().cid;
    cave.engine().set_pin(cid, true).await.unwrap();
    let (shard, name, _) = meta(&cave, cid);
    flip(&cave, shard, &name_key(prefix::DATA, &name));
    let damaged = Err(StoreError::Damaged { cid });
    assert_eq!(cave.read(cid, None).await, damaged);
    cave.until(|snapshot| snapshot.quarantined == 1).await;
    assert!(cave.engine().info(cid).await.unwrap().quarantined);
    cave.reopen();
    assert_eq!(cave.snapshot().quarantined, 1);
    assert_eq!(cave.read(cid, Some(ByteRange::Last(1))).await, damaged);
    assert!(cave.read(BlobCid::of(&other), None).await.unwrap() == other);
    let before = cave.snapshot();
    assert!(
        !cave.put(&blob).await.unwrap().new,
        "it was counted already"
    );
    assert!(cave.read(cid, None).await.unwrap() == blob);
    let info = cave.engine().info(cid).await.unwrap();
    assert!(info.pinned && !info.quarantined);
    let after = cave.snapshot();
    assert_eq!((after.quarantined, after.blobs), (0, before.blobs));
    assert_eq!(after.sealed_bytes, before.sealed_bytes);
    assert_eq!(after.shards[0].fingerprint, before.shards[0].fingerprint);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_large_blob_breaks_off_is_quarantined_and_healed() {
    let cave = Cave::new();
    let blob = content(9 * MIB, 1);
    let cid = cave.put(&blob).await.unwrap().cid;
    let (shard, _, before) = meta(&cave, cid);
    // In the middle of the stream, where the head has gone out.
    flip(&cave, shard, &chunk_key(before.blob_id, 20));
    let read = cave.read(cid, None).await;
    assert_eq!(read, Err(StoreError::Body(BodyError::Damaged)));
    cave.until(|snapshot| snapshot.quarantined == 1).await;
    assert_eq!(
        cave.read(cid, Some(ByteRange::FromTo(0, 9))).await,
        Err(StoreError::Damaged { cid }),
        "nothing of it is served any more"
    );
    cave.put(&blob).await.unwrap();
    assert!(cave.read(cid, None).await.unwrap() == blob);
    assert_ne!(meta(&cave, cid).2.blob_id, before.blob_id);
    let snapshot = cave.snapshot();
    assert_eq!((snapshot.quarantined, snapshot.blobs), (0, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_at_the_head_of_a_large_blob_is_an_error_and_no_stream() {
    let cave = Cave::new();
    let cid = cave.put(&content(9 * MIB, 1)).await.unwrap().cid;
    let (shard, _, meta) = meta(&cave, cid);
    flip(&cave, shard, &chunk_key(meta.blob_id, 2));
    let read = cave.engine().get(cid, None, ()).await;
    assert!(matches!(read, Err(StoreError::Damaged { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_whose_metadata_is_damaged_is_healed_too() {
    let cave = Cave::new();
    let blob = content(5000, 1);
    let cid = cave.put(&blob).await.unwrap().cid;
    let (shard, name, _) = meta(&cave, cid);
    flip(&cave, shard, &name_key(prefix::META, &name));
    let damaged = StoreError::Damaged { cid };
    assert_eq!(cave.read(cid, None).await, Err(damaged.clone()));
    assert_eq!(cave.engine().delete(cid).await, Err(damaged));
    assert_eq!(
        cave.engine().list(None, None, 10).await.unwrap().blobs,
        [],
        "it is passed over"
    );
    cave.put(&blob).await.unwrap();
    assert!(cave.read(cid, None).await.unwrap() == blob);
    assert_eq!(cave.snapshot().blobs, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_swapped_value_is_not_served() {
    let cave = Cave::new();
    let one = cave.put(&content(5000, 1)).await.unwrap().cid;
    let (_, _, of_one) = meta(&cave, one);
    let two = (2..1000)
        .map(|seed| content(5000, seed))
        .find(|blob| {
            let shard = cave.engine().inner.shard_of(&BlobCid::of(blob).digest());
            shard == meta(&cave, one).0
        })
        .unwrap();
    let two = cave.put(&two).await.unwrap().cid;
    let (shard, name_one, _) = meta(&cave, one);
    let (_, name_two, of_two) = meta(&cave, two);
    assert_ne!(of_one.data_key, of_two.data_key);
    let inner = &cave.engine().inner;
    let handle = inner.place(shard).unwrap().handle;
    let value = inner
        .db
        .get_cf(&handle, name_key(prefix::DATA, &name_two))
        .unwrap()
        .unwrap();
    inner
        .db
        .put_cf(&handle, name_key(prefix::DATA, &name_one), value)
        .unwrap();
    assert_eq!(
        cave.read(one, None).await,
        Err(StoreError::Damaged { cid: one })
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_heals_as_a_client_does_and_writes_no_outbox() {
    let cave = Cave::new();
    for size in [3000, 5 * MIB] {
        let blob = content(size, 1);
        let stored = cave.put(&blob).await.unwrap();
        let outbox = cave.engine().read_outbox(stored.shard, 10).await.unwrap();
        let cid = stored.cid;
        let (shard, name, before) = meta(&cave, cid);
        let key = match before.layout {
            Layout::Small => name_key(prefix::DATA, &name).to_vec(),
            Layout::Large => chunk_key(before.blob_id, 3).to_vec(),
        };
        flip(&cave, shard, &key);
        assert!(cave.read(cid, None).await.is_err());
        cave.until(|snapshot| snapshot.quarantined == 1).await;
        assert_eq!(cave.engine().list_damaged(10).await, Ok(vec![cid]));
        let counted = cave.snapshot();
        let repair = NewBlob {
            word: Word::Peer,
            ..whole(&blob)
        };
        assert!(!cave.engine().put(repair).await.unwrap().new);
        assert!(cave.read(cid, None).await.unwrap() == blob);
        assert_eq!(cave.engine().list_damaged(10).await, Ok(Vec::new()));
        let after = cave
            .until(|snapshot| gauge(snapshot, "files_to_free") == 0)
            .await;
        assert_eq!(after.quarantined, 0);
        assert_eq!((after.blobs, after.bytes), (counted.blobs, counted.bytes));
        assert_eq!(after.sealed_bytes, counted.sealed_bytes);
        let unchanged = cave.engine().read_outbox(stored.shard, 10).await;
        assert_eq!(unchanged.unwrap(), outbox);
        expect_even(&cave).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_is_listed_up_to_a_limit_and_what_is_blocked_is_not() {
    let cave = Cave::new();
    let mut damaged = Vec::new();
    for seed in 0..12 {
        let cid = cave.put(&content(3000, seed)).await.unwrap().cid;
        if seed % 2 == 0 {
            let (shard, name, _) = meta(&cave, cid);
            harm(&cave, shard, &name_key(prefix::DATA, &name), Harm::Remove);
            assert!(cave.read(cid, None).await.is_err());
            damaged.push(cid);
        }
    }
    cave.until(|snapshot| snapshot.quarantined == 6).await;
    let sorted = |mut cids: Vec<BlobCid>| {
        cids.sort_by_key(BlobCid::digest);
        cids
    };
    let listed = cave.engine().list_damaged(100).await.unwrap();
    assert_eq!(sorted(listed.clone()), sorted(damaged.clone()));
    for limit in [0, 1, 4] {
        let some = cave.engine().list_damaged(limit).await.unwrap();
        assert_eq!(some, listed[..limit]);
    }
    cave.engine().set_blocked(damaged[0], true).await.unwrap();
    let left = cave.engine().list_damaged(100).await.unwrap();
    assert_eq!(sorted(left), sorted(damaged.split_off(1)));
    assert_eq!(cave.snapshot().quarantined, 5);
}
