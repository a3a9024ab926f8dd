//! Blobs by lot.

use std::collections::HashMap;

use bytecave_core::{Digest, ShardId};

use super::damage::{flip, meta};
use super::*;
use crate::engine::layout::{name_key, prefix};

/// A database with one shard, so that all blobs are neighbours.
fn one_shard() -> (Cave, ShardId) {
    let count = ShardCount::new(1).unwrap();
    let cave = Cave::with(|options| options.shards = ShardSet::all(count));
    (cave, count.shard(0).unwrap())
}

/// How often each blob comes in so many draws.
async fn draws(cave: &Cave, shard: ShardId, count: u64) -> HashMap<BlobCid, u64> {
    let mut drawn = HashMap::new();
    for draw in 0..count {
        let random = Digest::of(&draw.to_be_bytes());
        let pick = u64::from_be_bytes(*random.as_bytes().first_chunk().unwrap());
        let point = *Digest::of(random.as_bytes()).as_bytes();
        let blob = cave.engine().sample(shard, point, pick).await.unwrap();
        *drawn.entry(blob.unwrap().cid).or_default() += 1;
    }
    drawn
}

// Sealed names are random in each database: bounds are five standard deviations away, or more.

#[tokio::test(flavor = "multi_thread")]
async fn every_blob_comes() {
    let (cave, shard) = one_shard();
    assert_eq!(cave.engine().sample(shard, [0; 32], 0).await, Ok(None));
    for seed in 0..60 {
        cave.put(&content(10_000, seed)).await.unwrap();
    }
    assert_eq!(draws(&cave, shard, 3000).await.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_ones_come_more_often() {
    let (cave, shard) = one_shard();
    let mut large = Vec::new();
    for seed in 0..400 {
        let size = if seed % 5 == 0 { 8000 } else { 2000 };
        let cid = cave.put(&content(size, seed)).await.unwrap().cid;
        if seed % 5 == 0 {
            large.push(cid);
        }
    }
    let drawn = draws(&cave, shard, 3000).await;
    let of_large: u64 = large.iter().filter_map(|cid| drawn.get(cid)).sum();
    // They have half of all bytes, and are a fifth of all blobs.
    assert!((1050..1850).contains(&of_large), "{of_large} of 3000");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_blob_comes_when_it_is_alone_and_a_point_behind_all_wraps_around() {
    let (cave, shard) = one_shard();
    let cid = cave.put(&[]).await.unwrap().cid;
    for point in [[0; 32], [0xff; 32]] {
        let drawn = cave.engine().sample(shard, point, u64::MAX).await;
        assert_eq!(drawn.unwrap().unwrap().cid, cid);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_blocked_or_deleted_never_comes() {
    let (cave, shard) = one_shard();
    let mut sound = Vec::new();
    for seed in 0..20 {
        let cid = cave.put(&content(3000, seed)).await.unwrap().cid;
        match seed % 4 {
            0 => {
                let (_, name, _) = meta(&cave, cid);
                flip(&cave, shard, &name_key(prefix::DATA, &name));
                assert!(cave.read(cid, None).await.is_err());
            }
            1 => drop(cave.engine().set_blocked(cid, true).await.unwrap()),
            2 => cave.engine().delete(cid).await.unwrap(),
            _ => sound.push(cid),
        }
    }
    cave.until(|snapshot| snapshot.quarantined == 5).await;
    let drawn = draws(&cave, shard, 300).await;
    assert_eq!(drawn.len(), sound.len());
    assert!(sound.iter().all(|cid| drawn.contains_key(cid)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_few_that_are_left_among_many_deleted_still_come() {
    let (cave, shard) = one_shard();
    let puts: Vec<_> = (0..3000_u64)
        .map(|seed| {
            let engine = cave.engine().clone();
            tokio::spawn(async move { engine.put(whole(&seed.to_be_bytes())).await.unwrap() })
        })
        .collect();
    let mut cids = Vec::new();
    for put in puts {
        cids.push(put.await.unwrap().cid);
    }
    let left = cids.split_off(cids.len() - 3);
    for deletions in cids.chunks(500) {
        let deletions: Vec<_> = deletions
            .iter()
            .map(|cid| {
                let (engine, cid) = (cave.engine().clone(), *cid);
                tokio::spawn(async move { engine.delete(cid).await.unwrap() })
            })
            .collect();
        for deletion in deletions {
            deletion.await.unwrap();
        }
    }
    let drawn = draws(&cave, shard, 400).await;
    assert!(left.iter().all(|cid| drawn.contains_key(cid)), "{drawn:?}");
}
