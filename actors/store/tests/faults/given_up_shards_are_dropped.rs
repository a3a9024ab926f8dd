//! Families of shards that the configuration no longer names: nothing comes to them, and what is in
//! them is dropped only when told to.

use bytecave_core::{BlobCid, ShardRange, ShardSet};
use bytecave_messages::store::StoreError;
use bytecave_store::offline::{OfflineError, drop_shards};

use crate::harness::{LARGE, Store, content, expect_whole};

fn shards(store: &Store, start: u64, end: u64) -> ShardSet {
    let count = store.options.shards.count();
    ShardSet::from_ranges(count, &[ShardRange { start, end }]).unwrap()
}

#[test]
fn only_shards_that_are_not_ours_go_and_they_go_whole() {
    let mut store = Store::new();
    let engine = store.open();
    let kept = store.contents_of(2, 5000, 3);
    let given_up = store.contents_of(12, 5000, 2);
    let large = (0..1000)
        .map(|seed| content(seed, LARGE))
        .find(|content| store.shard_of(content).get() >= 8)
        .unwrap();
    for content in kept.iter().chain(&given_up).chain([&large]) {
        store.put(&engine, content);
    }
    drop(engine);
    let all = shards(&store, 8, 15);

    let refused = drop_shards(&store.options, &all, &mut |_| ()).unwrap_err();
    assert!(matches!(refused, OfflineError::Owned { .. }), "{refused}");
    assert!(refused.to_string().contains("NODE_SHARDS"), "{refused}");

    store.options.shards = shards(&store, 0, 7);
    let engine = store.open();
    expect_whole(&engine, &given_up[0]);
    let cid = BlobCid::of(&given_up[0]);
    assert!(matches!(
        store.delete(&engine, cid),
        Err(StoreError::NotOurShard { .. })
    ));
    drop(engine);

    let mut heard = 0;
    let report = drop_shards(&store.options, &all, &mut |_| heard += 1).unwrap();
    assert_eq!((report.dropped.len(), heard), (8, 8));
    assert!(report.absent.is_empty());
    let blobs: u64 = report
        .dropped
        .iter()
        .map(|shard| shard.blobs.unwrap())
        .sum();
    assert_eq!(blobs, 3);
    let again = drop_shards(&store.options, &all, &mut |_| ()).unwrap();
    assert_eq!((again.dropped.len(), again.absent.len()), (0, 8));

    let engine = store.open();
    assert_eq!(engine.snapshot().blobs, 3);
    assert!(matches!(
        crate::harness::get(&engine, cid),
        Err(StoreError::NotFound { .. })
    ));
    for content in &kept {
        expect_whole(&engine, content);
    }
    drop(engine);
    assert_eq!(store.verified_clean(), 3);
    // Owned again, they are empty.
    store.options.shards = shards(&store, 0, 15);
    assert_eq!(store.open().snapshot().blobs, 3);
}

#[test]
fn what_was_deleted_or_blocked_in_them_counts_no_more_and_stays_blocked() {
    let mut store = Store::new();
    let engine = store.open();
    for shard in [2, 12] {
        for (at, content) in store.contents_of(shard, 5000, 3).iter().enumerate() {
            let cid = store.put(&engine, content);
            match at {
                0 => store.delete(&engine, cid).unwrap(),
                1 => assert!(store.set_blocked(&engine, cid, true)),
                _ => {}
            }
        }
    }
    assert_eq!(store.expect_even(&engine), 4);
    drop(engine);
    store.options.shards = shards(&store, 0, 7);
    drop(store.open());
    drop_shards(&store.options, &shards(&store, 8, 15), &mut |_| ()).unwrap();
    store.options.shards = shards(&store, 0, 15);
    let engine = store.open();
    assert_eq!(store.expect_even(&engine), 2, "those of shard 2 are left");
    for shard in [2, 12] {
        let content = &store.contents_of(shard, 5000, 3)[1];
        let cid = BlobCid::of(content);
        let refused = store.try_put(&engine, content).unwrap_err();
        assert_eq!(refused, StoreError::Blocked { cid });
        assert!(store.set_blocked(&engine, cid, false));
    }
    store.expect_even(&engine);
    drop(engine);
    assert_eq!(store.verified_clean(), 1);
}
