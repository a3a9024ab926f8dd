//! What the replicator asks: digests, standings, tombstones that stay.

use std::sync::Arc;

use bytecave_core::{Digest, Fingerprint, ShardId};
use bytecave_messages::store::{LIST_LIMIT, Standing};
use bytecave_messages::sync::ListedDigest;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::damage::{flip, meta};
use super::*;
use crate::engine::commit::Op;
use crate::engine::commit::tombstones::Forget;
use crate::engine::keyring::SealedName;
use crate::engine::layout::{DEFAULT_FAMILY, name_key, parse_name_key, prefix};
use crate::engine::record::{self, Tombstone};
use crate::engine::state::now_ms;
use crate::engine::verify::{Mode, verify};

fn shards() -> impl Iterator<Item = ShardId> {
    let count = ShardCount::new(SHARDS).unwrap();
    (0..SHARDS).map(move |shard| count.shard(shard).unwrap())
}

/// The list of the blob's shard.
pub(super) async fn list(cave: &Cave, cid: BlobCid) -> Arc<[ListedDigest]> {
    let shard = cave.engine().inner.shard_of(&cid.digest());
    cave.engine().list_digests(shard).await.unwrap()
}

/// Every list is in order, and sums up to the fingerprint of its shard.
pub(super) async fn expect_even(cave: &Cave) {
    let snapshot = cave.snapshot();
    for shard in snapshot.shards {
        let listed = cave.engine().list_digests(shard.shard).await.unwrap();
        assert!(listed.is_sorted_by(|one, other| one.digest < other.digest));
        let mut sum = Fingerprint::EMPTY;
        listed.iter().for_each(|listed| sum.add(&listed.digest));
        assert_eq!(sum, shard.fingerprint, "shard {}", shard.shard);
    }
    assert_eq!(gauge(&cave.snapshot(), "uneven_lists_total"), 0);
}

fn names(cave: &Cave) -> Vec<SealedName> {
    let kind = prefix::TOMBSTONE;
    let inner = &cave.engine().inner;
    let rows = inner.rows(DEFAULT_FAMILY, vec![kind], vec![kind + 1]);
    rows.unwrap()
        .map(|row| parse_name_key(kind, &row.unwrap().0).unwrap())
        .collect()
}

fn tombstone(cave: &Cave, digest: &Digest) -> Option<Tombstone> {
    let inner = &cave.engine().inner;
    let keyring = inner.keyring();
    let key = name_key(prefix::TOMBSTONE, &keyring.sealed_name(digest));
    let sealed = inner.db.get(key).unwrap()?;
    Some(record::open(&keyring, DEFAULT_FAMILY, &key, &sealed).unwrap())
}

/// Makes a tombstone this much older than it is.
fn age(cave: &Cave, digest: &Digest, by: Duration) {
    let inner = &cave.engine().inner;
    let keyring = inner.keyring();
    let key = name_key(prefix::TOMBSTONE, &keyring.sealed_name(digest));
    let mut tombstone = tombstone(cave, digest).unwrap();
    tombstone.deleted_ms -= u64::try_from(by.as_millis()).unwrap();
    let sealed = record::seal(&keyring, DEFAULT_FAMILY, &key, &tombstone).unwrap();
    inner.db.put(key, sealed).unwrap();
}

pub(super) async fn forget_all(cave: &Cave) -> u64 {
    let names = names(cave);
    let answer = cave.engine().inner.queue.submit(|reply| {
        Op::Forget(Forget {
            names,
            before_ms: u64::MAX,
            reply,
        })
    });
    answer.await.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_many_pages_is_complete_and_in_order() {
    let cave = Cave::with(|options| options.shards = ShardSet::all(ShardCount::new(1).unwrap()));
    let puts: Vec<_> = (0..2500_u64)
        .map(|seed| {
            let engine = cave.engine().clone();
            tokio::spawn(async move { engine.put(whole(&seed.to_be_bytes())).await.unwrap() })
        })
        .collect();
    let mut digests = Vec::new();
    for put in puts {
        digests.push(put.await.unwrap().cid.digest());
    }
    let mut declined = Vec::new();
    for (at, digest) in digests.iter().enumerate().take(1200) {
        let cid = BlobCid::from_digest(*digest);
        match at % 10 {
            0 => drop(cave.engine().set_blocked(cid, true).await.unwrap()),
            _ => cave.engine().delete(cid).await.unwrap(),
        }
        declined.push(*digest);
    }
    digests.sort_unstable();
    let shard = cave.options.shards.count().shard(0).unwrap();
    let listed = cave.engine().list_digests(shard).await.unwrap();
    let all: Vec<Digest> = listed.iter().map(|listed| listed.digest).collect();
    assert_eq!(all, digests);
    for listed in listed.iter() {
        assert_eq!(listed.declined, declined.contains(&listed.digest));
    }
    expect_even(&cave).await;
    // A list that would be too long is none.
    for (limit, fits) in [(2500, true), (2499, false), (1299, false)] {
        let listed = cave.engine().list_digests_up_to(shard, limit).await;
        match listed {
            Ok(listed) => assert!(fits && listed.len() == 2500),
            Err(error) => {
                assert!(!fits);
                assert!(error.to_string().contains("shard 0"), "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_without_a_family_has_an_empty_list() {
    let range = [bytecave_core::ShardRange { start: 0, end: 7 }];
    let count = ShardCount::new(SHARDS).unwrap();
    let cave = Cave::with(|options| options.shards = ShardSet::from_ranges(count, &range).unwrap());
    for shard in shards() {
        assert!(cave.engine().list_digests(shard).await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_even_while_blobs_come_and_go() {
    let cave = Cave::new();
    let busy: Vec<_> = (0..6_u64)
        .map(|task| {
            let engine = cave.engine().clone();
            tokio::spawn(async move {
                // Tasks share contents, so that they meet.
                for round in 0..60 {
                    let blob = content(300, (task / 2 + round) % 20);
                    let cid = BlobCid::of(&blob);
                    match (task + round) % 5 {
                        0 => drop(engine.delete(cid).await),
                        1 => drop(engine.set_blocked(cid, round % 2 == 0).await.unwrap()),
                        2 => {
                            let word = Word::Peer;
                            let new = NewBlob {
                                word,
                                ..whole(&blob)
                            };
                            drop(engine.put(new).await);
                        }
                        _ => drop(engine.put(whole(&blob)).await),
                    }
                }
            })
        })
        .collect();
    while !busy.iter().all(tokio::task::JoinHandle::is_finished) {
        for shard in shards() {
            let listed = cave.engine().list_digests(shard).await.unwrap();
            assert!(listed.is_sorted_by(|one, other| one.digest < other.digest));
        }
        // Each was compared with the fingerprint of its moment.
        assert_eq!(gauge(&cave.snapshot(), "uneven_lists_total"), 0);
    }
    for task in busy {
        task.await.unwrap();
    }
    expect_even(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_are_read_under_any_key_while_keys_rotate() {
    let cave = Cave::new();
    let mut stored = Vec::new();
    for seed in 0..300 {
        stored.push(cave.put(&content(100, seed)).await.unwrap().cid.digest());
    }
    stored.sort_unstable();
    let rotating = {
        let engine = cave.engine().clone();
        tokio::spawn(async move {
            for _ in 0..3 {
                engine.rotate_keys().await.unwrap();
            }
        })
    };
    loop {
        let over = rotating.is_finished();
        let mut listed = Vec::new();
        for shard in shards() {
            let list = cave.engine().list_digests(shard).await.unwrap();
            listed.extend(list.iter().map(|listed| listed.digest));
        }
        listed.sort_unstable();
        assert_eq!(listed, stored);
        if over {
            break;
        }
    }
    rotating.await.unwrap();
    assert_eq!(gauge(&cave.snapshot(), "damaged_reads_total"), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_standing_is_told_in_the_order_asked() {
    let cave = Cave::new();
    let blobs: Vec<_> = (0..5).map(|seed| content(3000, seed)).collect();
    let digests: Vec<_> = blobs
        .iter()
        .map(|blob| BlobCid::of(blob).digest())
        .collect();
    for blob in &blobs[..4] {
        cave.put(blob).await.unwrap();
    }
    let cid = |at: usize| BlobCid::from_digest(digests[at]);
    cave.engine().delete(cid(1)).await.unwrap();
    cave.engine().set_blocked(cid(2), true).await.unwrap();
    let (shard, name, _) = meta(&cave, cid(3));
    flip(&cave, shard, &name_key(prefix::DATA, &name));
    assert!(cave.read(cid(3), None).await.is_err());
    cave.until(|snapshot| snapshot.quarantined == 1).await;
    let mut asked = digests.clone();
    asked.reverse();
    let standings = cave.engine().check(asked).await.unwrap();
    assert_eq!(
        standings,
        [
            Standing::Absent,
            Standing::Damaged,
            Standing::Blocked,
            Standing::Deleted,
            Standing::Here
        ]
    );
    assert_eq!(cave.engine().check(Vec::new()).await, Ok(Vec::new()));
    let many = vec![digests[0]; LIST_LIMIT];
    assert_eq!(cave.engine().check(many).await.unwrap().len(), LIST_LIMIT);
    let too_many = vec![digests[0]; LIST_LIMIT + 1];
    let refused = cave.engine().check(too_many.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("1001"), "{refused}");
    let refused = cave.engine().renew_tombstones(too_many).await;
    assert!(matches!(refused, Err(StoreError::Failed { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn tombstones_are_renewed_and_not_again_within_the_hour() {
    let cave = Cave::new();
    let mut digests = Vec::new();
    for seed in 0..4 {
        let cid = cave.put(&content(100, seed)).await.unwrap().cid;
        digests.push(cid.digest());
        if seed > 0 {
            cave.engine().delete(cid).await.unwrap();
        }
    }
    let [here, fresh, old, older] = digests[..] else {
        panic!("four were stored");
    };
    age(&cave, &fresh, Duration::from_mins(59));
    age(&cave, &old, Duration::from_mins(61));
    age(&cave, &older, Duration::from_hours(24 * 29));
    let kept = tombstone(&cave, &fresh).unwrap();
    let began = now_ms();
    let sequence = || cave.engine().inner.db.latest_sequence_number();
    let before = sequence();
    let absent = Digest::of(b"never stored");
    let all = vec![here, fresh, old, older, absent];
    cave.engine().renew_tombstones(all.clone()).await.unwrap();
    assert_eq!(sequence(), before + 2);
    assert_eq!(tombstone(&cave, &fresh), Some(kept));
    for digest in [old, older] {
        assert!(tombstone(&cave, &digest).unwrap().deleted_ms >= began);
    }
    assert_eq!(tombstone(&cave, &here), None);
    assert_eq!(tombstone(&cave, &absent), None);
    cave.engine().renew_tombstones(all).await.unwrap();
    assert_eq!(sequence(), before + 2, "repeated calls write nothing");
    expect_even(&cave).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deletion_in_a_shard_that_is_not_ours_is_forgotten_too() {
    let mut cave = Cave::new();
    let count = ShardCount::new(SHARDS).unwrap();
    for seed in 0..20 {
        let cid = cave.put(&content(100, seed)).await.unwrap().cid;
        cave.engine().delete(cid).await.unwrap();
    }
    let range = [bytecave_core::ShardRange { start: 0, end: 7 }];
    let half = ShardSet::from_ranges(count, &range).unwrap();
    cave.reopen_with(|options| options.shards = half).unwrap();
    assert_eq!(forget_all(&cave).await, 20);
    expect_even(&cave).await;
    cave.reopen_with(|options| options.shards = ShardSet::all(count))
        .unwrap();
    expect_even(&cave).await;
    let shards = cave.snapshot().shards;
    assert!(
        shards
            .iter()
            .all(|shard| shard.fingerprint == Fingerprint::EMPTY)
    );
}

/// What is done to one of a few contents.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Put(Word),
    Delete,
    Block,
    Unblock,
    /// All tombstones are forgotten.
    Expire,
    Rotate,
    Reopen,
}

/// How a content must stand then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Absent,
    Here,
    Deleted,
    Blocked { counted: bool },
}

/// Contents of the property: the last one has a file of its own.
const CONTENTS: usize = 6;

fn content_of(which: usize) -> Vec<u8> {
    let size = if which + 1 == CONTENTS { 4 << 20 } else { 100 };
    content(size + which, which as u64)
}

fn any_deed() -> impl Strategy<Value = (Deed, usize)> {
    let deed = prop_oneof![
        5 => Just(Deed::Put(Word::Client)),
        4 => Just(Deed::Put(Word::Peer)),
        5 => Just(Deed::Delete),
        4 => Just(Deed::Block),
        4 => Just(Deed::Unblock),
        2 => Just(Deed::Expire),
        1 => Just(Deed::Rotate),
        1 => Just(Deed::Reopen),
    ];
    (deed, 0..CONTENTS)
}

/// Does it, and checks the answer against what must stand.
async fn act(cave: &mut Cave, stands: &mut [Stand], deed: Deed, which: usize) {
    let blob = content_of(which);
    let cid = BlobCid::of(&blob);
    let stand = stands[which];
    match deed {
        Deed::Put(word) => {
            let new = NewBlob {
                word,
                ..whole(&blob)
            };
            let answer = cave.engine().put(new).await.map(|stored| stored.new);
            let expected = match stand {
                Stand::Absent => Ok(true),
                Stand::Here => Ok(false),
                Stand::Deleted if word == Word::Client => Ok(true),
                Stand::Deleted => Err(StoreError::Deleted { cid }),
                Stand::Blocked { .. } => Err(StoreError::Blocked { cid }),
            };
            assert_eq!(answer, expected);
            if answer.is_ok() {
                stands[which] = Stand::Here;
            }
        }
        Deed::Delete => {
            let answer = cave.engine().delete(cid).await;
            if stand == Stand::Here {
                assert_eq!(answer, Ok(()));
                stands[which] = Stand::Deleted;
            } else {
                assert_eq!(answer, Err(StoreError::NotFound { cid }));
            }
        }
        Deed::Block => {
            let changed = cave.engine().set_blocked(cid, true).await.unwrap();
            let blocked = matches!(stand, Stand::Blocked { .. });
            assert_eq!(changed, !blocked);
            if !blocked {
                let counted = stand != Stand::Absent;
                stands[which] = Stand::Blocked { counted };
            }
        }
        Deed::Unblock => {
            let changed = cave.engine().set_blocked(cid, false).await.unwrap();
            let (expected, next) = match stand {
                Stand::Blocked { counted: true } => (true, Stand::Deleted),
                Stand::Blocked { counted: false } => (true, Stand::Absent),
                other => (false, other),
            };
            assert_eq!(changed, expected);
            stands[which] = next;
        }
        Deed::Expire => {
            let deleted = stands.iter_mut().filter(|stand| **stand == Stand::Deleted);
            let mut expected = 0;
            deleted.for_each(|stand| {
                *stand = Stand::Absent;
                expected += 1;
            });
            assert_eq!(forget_all(cave).await, expected);
        }
        Deed::Rotate => drop(cave.engine().rotate_keys().await.unwrap()),
        Deed::Reopen => cave.reopen(),
    }
}

async fn expect_stands(cave: &Cave, stands: &[Stand]) {
    let digests: Vec<Digest> = (0..CONTENTS)
        .map(|which| BlobCid::of(&content_of(which)).digest())
        .collect();
    let told = cave.engine().check(digests.clone()).await.unwrap();
    for ((stand, told), digest) in stands.iter().zip(told).zip(digests) {
        let (expected, declined) = match stand {
            Stand::Absent => (Standing::Absent, None),
            Stand::Here => (Standing::Here, Some(false)),
            Stand::Deleted => (Standing::Deleted, Some(true)),
            Stand::Blocked { counted } => (Standing::Blocked, counted.then_some(true)),
        };
        assert_eq!(told, expected);
        let listed = list(cave, BlobCid::from_digest(digest)).await;
        let found = listed.iter().find(|listed| listed.digest == digest);
        assert_eq!(found.map(|listed| listed.declined), declined, "{stand:?}");
    }
    let here = stands.iter().filter(|stand| **stand == Stand::Here);
    assert_eq!(cave.snapshot().blobs, here.count() as u64);
    expect_even(cave).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn what_is_listed_is_what_the_fingerprint_sums_up(deeds in prop::collection::vec(any_deed(), 1..40)) {
        Runtime::new().unwrap().block_on(async {
            let mut cave = Cave::new();
            let mut stands = [Stand::Absent; CONTENTS];
            for (deed, which) in deeds {
                act(&mut cave, &mut stands, deed, which).await;
            }
            expect_stands(&cave, &stands).await;
            cave.reopen();
            expect_stands(&cave, &stands).await;
            cave.until(|snapshot| gauge(snapshot, "files_to_free") == 0).await;
            cave.close();
            let report = verify(&cave.options, Mode::Check, &mut |_| ()).unwrap();
            assert!(report.is_clean(), "{report:#?}");
        });
    }
}
