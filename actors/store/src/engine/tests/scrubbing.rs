//! Everything is read again: all damage is found, and nothing else is taken for damage.

use std::sync::Arc;

use bytecave_messages::store::{ListCursor, Scrubbed};
use tokio::time::Instant as Virtual;

use super::damage::{Harm, harm, meta};
use super::*;
use crate::engine::layout::{chunk_key, name_key, prefix};
use crate::engine::record::{self, Layout};
use crate::engine::scrub::Pass;
use crate::engine::seal::{SEGMENT_BYTES, page_chunk};

const MIB: usize = 1 << 20;
/// Fast enough never to wait.
const FAST: u64 = u64::MAX;

/// Scrubs everything in calls of `enough_bytes`.
async fn scrub_all(cave: &Cave, enough_bytes: u64) -> (Scrubbed, usize) {
    let mut all = Scrubbed {
        blobs: 0,
        bytes: 0,
        damaged: Vec::new(),
        next: None,
    };
    let mut after: Option<ListCursor> = None;
    for calls in 1.. {
        let some = cave.engine().scrub(after, enough_bytes, FAST).await;
        let some = some.unwrap();
        all.blobs += some.blobs;
        all.bytes += some.bytes;
        all.damaged.extend(some.damaged);
        after = some.next;
        if after.is_none() {
            return (all, calls);
        }
    }
    unreachable!()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pass_reads_every_blob_once_in_calls_of_any_size() {
    let mut cave = Cave::new();
    let mut bytes = 0;
    for seed in 0..60 {
        let size = 1000 * usize::try_from(seed).unwrap();
        cave.put(&content(size, seed)).await.unwrap();
        bytes += size as u64;
    }
    for seed in 0..2 {
        cave.put(&content(5 * MIB, seed)).await.unwrap();
        bytes += 5 * MIB as u64;
    }
    cave.reopen();
    for enough in [0, 1, 100_000, u64::MAX] {
        let (all, calls) = scrub_all(&cave, enough).await;
        assert_eq!((all.blobs, all.bytes), (62, bytes), "{enough}");
        assert_eq!(all.damaged, []);
        match enough {
            // The empty blob alone is never enough, if one byte is asked for.
            0 | 1 => assert!((62..=63).contains(&calls), "{calls}"),
            u64::MAX => assert_eq!(calls, 1),
            _ => assert!((10..63).contains(&calls), "{calls}"),
        }
    }
    assert_eq!(gauge(&cave.snapshot(), "damaged_reads_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_looks_at_no_more_than_a_thousand_blobs() {
    let cave = Cave::new();
    let puts: Vec<_> = (0..1500_u64)
        .map(|seed| {
            let engine = cave.engine().clone();
            tokio::spawn(async move { engine.put(whole(&seed.to_be_bytes())).await.unwrap() })
        })
        .collect();
    for put in puts {
        put.await.unwrap();
    }
    let first = cave.engine().scrub(None, u64::MAX, FAST).await.unwrap();
    assert_eq!(first.blobs, 1000);
    let second = cave.engine().scrub(first.next, u64::MAX, FAST).await;
    let second = second.unwrap();
    assert_eq!((second.blobs, second.next), (500, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn all_damage_is_found_quarantined_and_said_again_until_it_is_healed() {
    let mut cave = Cave::new();
    let mut damaged = Vec::new();
    let mut blobs = Vec::new();
    let hows = [Harm::Flip, Harm::Truncate, Harm::Remove];
    for (seed, how) in (0..).zip(hows) {
        for (at, size) in [3000, 600_000, 5 * MIB, 5 * MIB].into_iter().enumerate() {
            let blob = content(size, 10 * seed + at as u64);
            let cid = cave.put(&blob).await.unwrap().cid;
            let (shard, name, meta) = meta(&cave, cid);
            let key = match meta.layout {
                Layout::Small => name_key(prefix::DATA, &name).to_vec(),
                Layout::Large if at == 2 => chunk_key(meta.blob_id, 7).to_vec(),
                Layout::Large => {
                    let page = page_chunk(meta.size, 0).unwrap();
                    chunk_key(meta.blob_id, page).to_vec()
                }
            };
            harm(&cave, shard, &key, how);
            damaged.push(cid);
            blobs.push(blob);
            cave.put(&content(size, 100 + seed)).await.unwrap();
        }
    }
    // A hash in the metadata that is not the content's.
    let blob = content(5 * MIB, 77);
    let cid = cave.put(&blob).await.unwrap().cid;
    let (shard, name, mut forged) = meta(&cave, cid);
    forged.page_roots[0][9] ^= 1;
    let inner = &cave.engine().inner;
    let place = inner.place(shard).unwrap();
    let key = name_key(prefix::META, &name);
    let sealed = record::seal(&inner.keyring(), &place.family.name, &key, &forged).unwrap();
    inner.db.put_cf(&place.handle, key, sealed).unwrap();
    drop(place);
    damaged.push(cid);
    blobs.push(blob);
    cave.reopen();
    damaged.sort_by_key(BlobCid::digest);
    let total = cave.snapshot().blobs;
    let count = damaged.len() as u64;
    let (mut first, _) = scrub_all(&cave, 1 << 20).await;
    first.damaged.sort_by_key(BlobCid::digest);
    assert_eq!((first.damaged, first.blobs), (damaged.clone(), total));
    // Flagged before the answer.
    assert_eq!(cave.snapshot().quarantined, count);
    for cid in &damaged {
        let refused = Err(StoreError::Damaged { cid: *cid });
        assert_eq!(cave.read(*cid, None).await, refused);
    }
    let (mut again, _) = scrub_all(&cave, 1 << 20).await;
    again.damaged.sort_by_key(BlobCid::digest);
    assert_eq!(again.damaged, damaged);
    assert_eq!(again.blobs, total - count, "the damaged are not read again");
    for blob in &blobs {
        cave.put(blob).await.unwrap();
    }
    let (healed, _) = scrub_all(&cave, 1 << 20).await;
    assert_eq!((healed.damaged, healed.blobs), (Vec::new(), total));
    assert_eq!(cave.snapshot().quarantined, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn families_that_are_not_ours_are_scrubbed_too() {
    let mut cave = Cave::new();
    let count = ShardCount::new(SHARDS).unwrap();
    let mut cids = Vec::new();
    for seed in 0..40 {
        cids.push(cave.put(&content(3000, seed)).await.unwrap().cid);
    }
    let foreign = cids
        .iter()
        .find(|cid| count.shard_of(&cid.digest()).get() >= 8)
        .unwrap();
    let (shard, name, _) = meta(&cave, *foreign);
    harm(&cave, shard, &name_key(prefix::DATA, &name), Harm::Flip);
    let half = [bytecave_core::ShardRange { start: 0, end: 7 }];
    let half = ShardSet::from_ranges(count, &half).unwrap();
    cave.reopen_with(|options| options.shards = half).unwrap();
    let (all, _) = scrub_all(&cave, u64::MAX).await;
    assert_eq!((all.blobs, all.damaged), (40, vec![*foreign]));
    assert_eq!(cave.snapshot().quarantined, 1);
    assert_eq!(cave.engine().list_damaged(10).await, Ok(vec![*foreign]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_comes_and_goes_meanwhile_is_not_damage() {
    let cave = Cave::new();
    let blobs = [content(5 * MIB, 1), content(5 * MIB, 2), content(3000, 3)];
    for blob in &blobs {
        cave.put(blob).await.unwrap();
    }
    let busy = {
        let (engine, blobs) = (cave.engine().clone(), blobs.clone());
        tokio::spawn(async move {
            for round in 0..30 {
                let blob = &blobs[round % 3];
                engine.delete(BlobCid::of(blob)).await.unwrap();
                engine.put(whole(blob)).await.unwrap();
            }
        })
    };
    while !busy.is_finished() {
        let (all, _) = scrub_all(&cave, u64::MAX).await;
        assert_eq!(all.damaged, []);
    }
    busy.await.unwrap();
    assert_eq!(scrub_all(&cave, u64::MAX).await.0.blobs, 3);
    assert_eq!(cave.snapshot().quarantined, 0);
}

// No other timer may stand beside the one under test: virtual time would jump to it while a piece is read.
#[tokio::test(start_paused = true)]
async fn reading_is_spread_over_time() {
    let cave = Cave::new();
    for size in [9 * MIB, 3 * MIB] {
        cave.put(&content(size, 1)).await.unwrap();
    }
    let second = MIB as u64;
    let began = Virtual::now();
    let scrubbed = cave.engine().scrub(None, u64::MAX, second).await.unwrap();
    assert_eq!((scrubbed.blobs, scrubbed.bytes), (2, 12 * second));
    let took = began.elapsed();
    let expected = Duration::from_secs(12);
    assert!(
        (expected..expected + Duration::from_millis(100)).contains(&took),
        "{took:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_blob_is_read_in_pieces_with_a_pause_after_each() {
    let cave = Cave::new();
    cave.put(&content(9 * MIB, 1)).await.unwrap();
    let inner = &cave.engine().inner;
    for (piece, pauses) in [(1, 36), (SEGMENT_BYTES as u64, 36), (MIB as u64, 9)] {
        let mut pass = Pass::new(Arc::clone(inner), None, u64::MAX, piece);
        let mut pieces = Vec::new();
        while !pass.is_over() {
            let read = pass.step().unwrap();
            assert!(read <= piece.max(SEGMENT_BYTES as u64));
            pieces.push(read);
        }
        pieces.retain(|read| *read > 0);
        assert_eq!(pieces.len(), pauses, "{piece}");
        assert_eq!(pieces.iter().sum::<u64>(), 9 * MIB as u64);
    }
}

#[tokio::test(start_paused = true)]
async fn closing_ends_the_waiting_at_once() {
    let cave = Cave::new();
    cave.put(&content(600_000, 1)).await.unwrap();
    let began = Virtual::now();
    let engine = cave.engine().clone();
    // A byte in a second: it would wait for a week.
    let scrub = tokio::spawn(async move { engine.scrub(None, u64::MAX, 1).await });
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(!scrub.is_finished());
    cave.engine().close();
    assert_eq!(scrub.await.unwrap(), Err(StoreError::Unavailable));
    assert!(began.elapsed() < Duration::from_mins(2));
}
