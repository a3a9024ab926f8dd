//! Listing, counters and the outbox.

use std::collections::BTreeSet;

use bytecave_core::{Fingerprint, ShardId};
use bytecave_messages::store::{BlobInfo, ListCursor};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn pages_together_are_every_blob_once() {
    let cave = Cave::new();
    let stored: BTreeSet<BlobCid> = fill(&cave, 50).await;
    for limit in [1, 7, 50, 1000] {
        let listed = list_all(&cave, None, limit).await;
        assert_eq!(listed.len(), 50, "in pages of {limit}");
        assert_eq!(
            listed.iter().map(|blob| blob.cid).collect::<BTreeSet<_>>(),
            stored
        );
    }
    let mut by_shard = 0;
    for shard in &cave.snapshot().shards {
        let listed = list_all(&cave, Some(shard.shard), 3).await;
        assert!(listed.iter().all(|blob| blob.shard == shard.shard));
        assert_eq!(listed.len() as u64, shard.blobs);
        by_shard += listed.len();
    }
    assert_eq!(by_shard, 50);
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_agree_with_a_full_count() {
    let mut cave = Cave::new();
    let stored = fill(&cave, 60).await;
    cave.put(&content(5 << 20, 1)).await.unwrap();
    for cid in stored.iter().take(20) {
        cave.engine().delete(*cid).await.unwrap();
    }
    for _ in 0..2 {
        let listed = list_all(&cave, None, 1000).await;
        let snapshot = cave.snapshot();
        assert_eq!(snapshot.blobs, listed.len() as u64);
        assert_eq!(snapshot.blobs, 41);
        assert_eq!(
            snapshot.bytes,
            listed.iter().map(|blob| blob.size).sum::<u64>()
        );
        assert_eq!(
            snapshot.sealed_bytes,
            listed.iter().map(|blob| blob.sealed_size).sum::<u64>()
        );
        for shard in &snapshot.shards {
            let mut sum = Fingerprint::EMPTY;
            listed
                .iter()
                .map(|blob| blob.cid)
                .chain(stored.iter().take(20).copied())
                .map(|cid| cid.digest())
                .filter(|digest| cave.engine().inner.shard_of(digest) == shard.shard)
                .for_each(|digest| sum.add(&digest));
            assert_eq!(shard.fingerprint, sum, "shard {}", shard.shard);
        }
        cave.reopen();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_names_each_new_blob_until_it_is_dealt_with() {
    let mut cave = Cave::new();
    let stored = fill(&cave, 40).await;
    let again = content(1000, 0);
    assert!(
        !cave.put(&again).await.unwrap().new,
        "a duplicate is no news"
    );
    cave.reopen();
    assert_eq!(outbox(&cave).await, stored);
    // One by one, over a restart.
    let first = cave.engine().outbox_shards()[0];
    let entries = cave.engine().read_outbox(first, 1000).await.unwrap();
    let one = cave.engine().read_outbox(first, 1).await.unwrap();
    assert_eq!(one, entries[..1]);
    cave.engine()
        .advance_outbox(vec![(first, one[0].sequence)])
        .await
        .unwrap();
    cave.reopen();
    assert_eq!(
        cave.engine().read_outbox(first, 1000).await.unwrap(),
        entries[1..]
    );
    // All at once.
    let all = |shards: Vec<ShardId>| shards.into_iter().map(|shard| (shard, u64::MAX)).collect();
    cave.engine()
        .advance_outbox(all(cave.engine().outbox_shards()))
        .await
        .unwrap();
    assert!(cave.engine().outbox_shards().is_empty());
    assert!(outbox(&cave).await.is_empty());
    // What comes now is behind the cursor again, whatever a late answer says.
    let cid = cave.put(b"new").await.unwrap().cid;
    cave.reopen();
    assert_eq!(outbox(&cave).await, BTreeSet::from([cid]));
}

async fn fill(cave: &Cave, count: u64) -> BTreeSet<BlobCid> {
    let mut stored = BTreeSet::new();
    for seed in 0..count {
        stored.insert(cave.put(&content(1000, seed)).await.unwrap().cid);
    }
    stored
}

async fn outbox(cave: &Cave) -> BTreeSet<BlobCid> {
    let mut named = BTreeSet::new();
    for shard in cave.engine().outbox_shards() {
        for entry in cave.engine().read_outbox(shard, 1000).await.unwrap() {
            assert!(named.insert(BlobCid::from_digest(entry.digest)));
        }
    }
    named
}

async fn list_all(cave: &Cave, shard: Option<ShardId>, limit: usize) -> Vec<BlobInfo> {
    let mut after: Option<ListCursor> = None;
    let mut all = Vec::new();
    loop {
        let page = cave.engine().list(shard, after, limit).await.unwrap();
        assert!(page.blobs.len() <= limit);
        all.extend(page.blobs);
        after = page.next;
        if after.is_none() {
            return all;
        }
    }
}
