//! Copies that are needed no longer: they count nowhere but in the quota, are there all the same, and go
//! for good after their time.

mod recount;

use bytecave_core::ShardRange;
use bytecave_core::proof::{Challenge, ChallengeCount, Nonce};
use bytecave_messages::store::Standing;

use super::copies::{expect_even, forget_all, list};
use super::damage::{flip, meta};
use super::*;
use crate::engine::commit::Op;
use crate::engine::commit::retired::Expire;
use crate::engine::layout::{DEFAULT_FAMILY, End, name_key, prefix};
use crate::engine::verify::{Mode, Orphans, VerifyReport, verify};

const MIB: usize = 1 << 20;
/// After the restart: what is over before it waits for some minutes.
const SOON: Duration = Duration::from_secs(3);
const LONG: Duration = Duration::from_hours(24);
const SIZES: [usize; 3] = [0, 30_000, 5 * MIB];

/// Retired blobs in all shards, and their bytes.
fn retired(snapshot: &StoreSnapshot) -> (u64, u64) {
    let shards = snapshot.shards.iter();
    let blobs = shards.clone().map(|shard| shard.retired).sum();
    (blobs, shards.map(|shard| shard.retired_bytes).sum())
}

async fn standing(cave: &Cave, cid: BlobCid) -> Standing {
    cave.engine().check(vec![cid.digest()]).await.unwrap()[0]
}

fn challenge(cid: BlobCid) -> Challenge {
    Challenge {
        cid,
        nonce: Nonce::new([1; 32]),
        count: ChallengeCount::default(),
    }
}

fn peers(content: &[u8]) -> NewBlob {
    NewBlob {
        word: Word::Peer,
        ..whole(content)
    }
}

async fn outbox(cave: &Cave, cid: BlobCid) -> usize {
    let shard = cave.engine().inner.shard_of(&cid.digest());
    let entries = cave.engine().read_outbox(shard, 100).await;
    entries.unwrap().len()
}

/// When which blobs go.
fn ends(cave: &Cave) -> Vec<End> {
    let kind = prefix::END;
    let inner = &cave.engine().inner;
    let rows = inner.rows(DEFAULT_FAMILY, vec![kind], vec![kind + 1]);
    rows.unwrap()
        .map(|row| End::parse(&row.unwrap().0).unwrap())
        .collect()
}

/// The time of all retired blobs is up.
async fn expire_all(cave: &Cave) -> u64 {
    let ends = ends(cave);
    let queue = &cave.engine().inner.queue;
    let answer = queue.submit(|reply| Op::Expire(Expire { ends, reply }));
    answer.await.unwrap().unwrap()
}

fn check(cave: &mut Cave, mode: Mode) -> VerifyReport {
    cave.close();
    verify(&cave.options, mode, &mut |_| ()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_blob_counts_as_absent_and_is_given_by_name() {
    for size in SIZES {
        let mut cave = Cave::new();
        let blob = content(size, 1);
        let cid = cave.put(&blob).await.unwrap().cid;
        let shard = cave.engine().inner.shard_of(&cid.digest());
        let before = cave.snapshot();
        assert_eq!(cave.engine().retire(cid, LONG).await, Ok(true));
        for _ in 0..2 {
            assert!(cave.read(cid, None).await.unwrap() == blob);
            assert_eq!(cave.engine().info(cid).await.unwrap().size, size as u64);
            assert_eq!(standing(&cave, cid).await, Standing::Absent);
            assert_eq!(cave.engine().list(None, None, 10).await.unwrap().blobs, []);
            assert!(list(&cave, cid).await.is_empty());
            assert_eq!(cave.engine().sample(shard, [0; 32], 0).await, Ok(None));
            let asked = cave.engine().leaves(challenge(cid)).await;
            assert_eq!(asked, Err(StoreError::NotFound { cid }));
            let scrubbed = cave.engine().scrub(None, u64::MAX, u64::MAX).await;
            assert_eq!(scrubbed.unwrap().blobs, 0);
            let after = cave.snapshot();
            assert_eq!((after.blobs, after.bytes), (0, 0));
            assert_eq!(retired(&after), (1, size as u64));
            assert_eq!(after.sealed_bytes, before.sealed_bytes, "the quota's");
            expect_even(&cave).await;
            assert_eq!(cave.engine().retire(cid, LONG).await, Ok(false));
            cave.reopen();
        }
        assert_eq!(cave.engine().restore(cid).await, Ok(true));
        assert_eq!(cave.engine().restore(cid).await, Ok(false));
        assert_eq!(standing(&cave, cid).await, Standing::Here);
        let after = cave.snapshot();
        assert_eq!(after.shards, before.shards);
        assert_eq!(ends(&cave), []);
        assert!(check(&mut cave, Mode::Check).is_clean());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_protected_damaged_or_not_here_is_not_retired() {
    let cave = Cave::new();
    let blobs: Vec<_> = (0..4).map(|seed| content(30_000, seed)).collect();
    let [pinned, damaged, blocked, absent] = [0, 1, 2, 3].map(|at: usize| BlobCid::of(&blobs[at]));
    for blob in &blobs[..3] {
        cave.put(blob).await.unwrap();
    }
    cave.engine().set_pin(pinned, true).await.unwrap();
    cave.engine().set_blocked(blocked, true).await.unwrap();
    let (shard, name, _) = meta(&cave, damaged);
    flip(&cave, shard, &name_key(prefix::DATA, &name));
    assert!(cave.read(damaged, None).await.is_err());
    cave.until(|snapshot| snapshot.quarantined == 1).await;
    let retire = |cid| cave.engine().retire(cid, LONG);
    let refused = Err(StoreError::Pinned { cid: pinned });
    assert_eq!(retire(pinned).await, refused);
    let refused = Err(StoreError::Damaged { cid: damaged });
    assert_eq!(retire(damaged).await, refused);
    for cid in [blocked, absent] {
        assert_eq!(retire(cid).await, Ok(false));
        assert_eq!(cave.engine().restore(cid).await, Ok(false));
    }
    assert_eq!(retired(&cave.snapshot()), (0, 0));
    // Protected later, it is needed.
    cave.engine().set_pin(pinned, false).await.unwrap();
    assert_eq!(retire(pinned).await, Ok(true));
    cave.engine().set_pin(pinned, false).await.unwrap();
    assert_eq!(standing(&cave, pinned).await, Standing::Absent);
    cave.engine().set_pin(pinned, true).await.unwrap();
    assert_eq!(standing(&cave, pinned).await, Standing::Here);
    assert_eq!(retired(&cave.snapshot()), (0, 0));
    expect_even(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_after_its_time_also_over_a_restart_and_leaves_no_tombstone() {
    let mut cave = Cave::new();
    let mut cids = Vec::new();
    for size in SIZES {
        let cid = cave.put(&content(size, 1)).await.unwrap().cid;
        assert_eq!(cave.engine().retire(cid, SOON).await, Ok(true), "{size}");
        cids.push(cid);
    }
    let kept = cave.put(&content(2000, 9)).await.unwrap().cid;
    assert_eq!(cave.engine().retire(kept, LONG).await, Ok(true));
    cave.reopen();
    let after = cave
        .until(|snapshot| retired(snapshot).0 == 1 && gauge(snapshot, "files_to_free") == 0)
        .await;
    assert_eq!(after.sealed_bytes, 2016, "the one that is kept");
    for (size, cid) in SIZES.into_iter().zip(cids) {
        let gone = Err(StoreError::NotFound { cid });
        assert_eq!(cave.read(cid, None).await, gone);
        assert_eq!(standing(&cave, cid).await, Standing::Absent);
        // What a client had deleted would be refused.
        let brought = cave.engine().put(peers(&content(size, 1))).await;
        assert!(brought.unwrap().new);
    }
    assert_eq!(ends(&cave).len(), 1);
    expect_even(&cave).await;
    assert!(check(&mut cave, Mode::Check).is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn retired_once_more_it_goes_at_the_new_time() {
    let mut cave = Cave::new();
    for size in SIZES {
        let cid = cave.put(&content(size, 1)).await.unwrap().cid;
        assert_eq!(cave.engine().retire(cid, LONG).await, Ok(true));
        assert_eq!(cave.engine().retire(cid, SOON).await, Ok(false), "{size}");
    }
    assert_eq!(ends(&cave).len(), SIZES.len(), "one note for each");
    cave.until(|snapshot| retired(snapshot).0 == 0).await;
    assert_eq!(ends(&cave).len(), 0);
    expect_even(&cave).await;
    assert!(check(&mut cave, Mode::Check).is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn storing_it_again_takes_back_the_bytes_that_are_there() {
    let mut cave = Cave::new();
    for size in SIZES {
        let blob = content(size, 1);
        let cid = cave.put(&blob).await.unwrap().cid;
        let (_, _, first) = meta(&cave, cid);
        let counted = cave.snapshot();
        for (word, entries) in [(Word::Peer, 1), (Word::Client, 2)] {
            assert_eq!(cave.engine().retire(cid, LONG).await, Ok(true));
            let again = NewBlob {
                word,
                ..whole(&blob)
            };
            assert!(cave.engine().put(again).await.unwrap().new);
            let (_, _, now) = meta(&cave, cid);
            assert_eq!(now, first, "no second copy");
            assert_eq!(outbox(&cave, cid).await, entries, "{word:?}");
            assert_eq!(standing(&cave, cid).await, Standing::Here);
            let after = cave.snapshot();
            assert_eq!(after.sealed_bytes, counted.sealed_bytes);
            assert_eq!((after.blobs, after.bytes), (counted.blobs, counted.bytes));
            assert_eq!((after.dead_bytes, retired(&after)), (0, (0, 0)));
        }
        let shard = cave.engine().inner.shard_of(&cid.digest());
        cave.engine()
            .advance_outbox(vec![(shard, u64::MAX)])
            .await
            .unwrap();
    }
    assert_eq!(ends(&cave), []);
    expect_even(&cave).await;
    // No room is needed for what is there.
    let cid = BlobCid::of(&content(SIZES[1], 1));
    let sealed = cave.snapshot().sealed_bytes;
    cave.reopen_with(|options| options.quota_bytes = sealed)
        .unwrap();
    assert_eq!(cave.engine().retire(cid, LONG).await, Ok(true));
    let full = cave.put(&content(3000, 5)).await;
    assert!(matches!(full, Err(StoreError::QuotaReached { .. })));
    assert!(cave.put(&content(SIZES[1], 1)).await.unwrap().new);
    assert!(check(&mut cave, Mode::Check).is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_ours_is_retired_and_its_families_go_when_they_are_empty() {
    let mut cave = Cave::new();
    let count = ShardCount::new(SHARDS).unwrap();
    let mut foreign = Vec::new();
    for seed in 0..60 {
        let cid = cave.put(&content(3000, seed)).await.unwrap().cid;
        if count.shard_of(&cid.digest()).get() >= 8 {
            foreign.push(cid);
        }
    }
    for seed in 0..6 {
        let cid = cave.put(&content(5 * MIB, seed)).await.unwrap().cid;
        if count.shard_of(&cid.digest()).get() >= 8 {
            foreign.push(cid);
        }
    }
    let ours = 66 - foreign.len() as u64;
    // One of them was deleted, and counts in a fingerprint until that is forgotten.
    let deleted = foreign.pop().unwrap();
    cave.engine().delete(deleted).await.unwrap();
    let half = ShardSet::from_ranges(count, &[ShardRange { start: 0, end: 7 }]).unwrap();
    cave.reopen_with(|options| options.shards = half.clone())
        .unwrap();
    let restored = foreign[0];
    for cid in &foreign {
        assert_eq!(cave.engine().retire(*cid, LONG).await, Ok(true));
        assert_eq!(standing(&cave, *cid).await, Standing::Absent);
    }
    assert_eq!(cave.engine().restore(restored).await, Ok(true));
    expect_even(&cave).await;
    cave.reopen();
    assert_eq!(cave.snapshot().shards.len(), 16, "nothing has gone yet");
    assert_eq!(expire_all(&cave).await, foreign.len() as u64 - 1);
    cave.until(|snapshot| gauge(snapshot, "files_to_free") == 0)
        .await;
    cave.engine().collect_garbage().await.unwrap();
    let after = cave.snapshot();
    assert_eq!((after.blobs, after.dead_bytes), (ours + 1, 0));
    expect_even(&cave).await;
    assert!(check(&mut cave, Mode::Check).is_clean());
    let left = |snapshot: &StoreSnapshot| {
        let shards = snapshot.shards.iter().filter(|shard| !shard.owned);
        shards.map(|shard| shard.shard).collect::<Vec<_>>()
    };
    cave.reopen();
    let mut expected = vec![
        count.shard_of(&restored.digest()),
        count.shard_of(&deleted.digest()),
    ];
    expected.sort_unstable();
    expected.dedup();
    assert_eq!(left(&cave.snapshot()), expected);
    assert_eq!(cave.engine().retire(restored, LONG).await, Ok(true));
    assert_eq!(expire_all(&cave).await, 1);
    assert_eq!(forget_all(&cave).await, 1);
    cave.reopen();
    assert_eq!(left(&cave.snapshot()), []);
    assert_eq!(cave.snapshot().blobs, ours);
    // Ours again, they are made anew.
    cave.reopen_with(|options| options.shards = ShardSet::all(count))
        .unwrap();
    assert_eq!(cave.snapshot().shards.len(), 16);
    assert!(cave.engine().put(peers(&content(3000, 0))).await.is_ok());
    expect_even(&cave).await;
    assert!(check(&mut cave, Mode::Check).is_clean());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_look_through_everything_counts_them_and_notes_their_end_again() {
    let mut cave = Cave::new();
    let mut cids = Vec::new();
    for size in SIZES {
        let cid = cave.put(&content(size, 1)).await.unwrap().cid;
        assert_eq!(cave.engine().retire(cid, LONG).await, Ok(true));
        cids.push(cid);
    }
    let noted = ends(&cave);
    let before = cave.snapshot();
    for mode in [Mode::Repair, Mode::Salvage] {
        cave.engine().inner.db.delete(noted[1].key()).unwrap();
        let report = check(&mut cave, mode);
        let [bad] = &report.bad_records.listed[..] else {
            panic!("one note is missing: {report:#?}");
        };
        assert_eq!((bad.what, report.wrong_counters.total), ("ends", 0));
        if let Some(repaired) = report.repaired {
            assert_eq!(repaired.ends_noted, 1);
        }
        cave.reopen();
        assert_eq!(ends(&cave), noted);
        assert_eq!(retired(&cave.snapshot()), retired(&before));
        for (size, cid) in SIZES.into_iter().zip(&cids) {
            assert!(cave.read(*cid, None).await.unwrap() == content(size, 1));
        }
        assert!(check(&mut cave, Mode::Check).is_clean());
        cave.reopen();
    }
    assert_eq!(expire_all(&cave).await, 3);
    assert_eq!(cave.snapshot().sealed_bytes, 0);
}
