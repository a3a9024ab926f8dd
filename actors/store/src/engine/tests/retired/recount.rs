//! Whatever is done to a few contents, counters and fingerprints are those of a recount.

use bytecave_core::Digest;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::*;

/// What is done to one of a few contents.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Put(Word),
    Delete,
    Retire,
    Restore,
    /// The time of all that are retired is up.
    Expire,
    Block,
    Unblock,
    /// All tombstones are forgotten.
    Forget,
    /// Its bytes are damaged, and a reader finds out.
    Damage,
    Rotate,
    Reopen,
}

/// How a content must stand then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stand {
    Absent,
    Here { damaged: bool },
    Retired { damaged: bool },
    Deleted,
    Blocked { counted: bool },
}

/// Contents of the property: the last one has a file of its own.
const CONTENTS: usize = 4;

fn content_of(which: usize) -> Vec<u8> {
    // Beyond what is kept sealed in memory, where no damage on disk is noticed.
    let size = if which + 1 == CONTENTS {
        4 << 20
    } else {
        20_000
    };
    content(size + 1 + which, which as u64)
}

fn any_deed() -> impl Strategy<Value = (Deed, usize)> {
    let deed = prop_oneof![
        5 => Just(Deed::Put(Word::Client)),
        5 => Just(Deed::Put(Word::Peer)),
        2 => Just(Deed::Delete),
        6 => Just(Deed::Retire),
        3 => Just(Deed::Restore),
        1 => Just(Deed::Expire),
        1 => Just(Deed::Block),
        2 => Just(Deed::Unblock),
        1 => Just(Deed::Forget),
        2 => Just(Deed::Damage),
        1 => Just(Deed::Rotate),
        1 => Just(Deed::Reopen),
    ];
    (deed, 0..CONTENTS)
}

/// Does it to a content that stands so, and checks the answer; gives how it must stand then.
async fn act(cave: &mut Cave, stand: Stand, deed: Deed, which: usize) -> Stand {
    let blob = content_of(which);
    let cid = BlobCid::of(&blob);
    let here = Stand::Here { damaged: false };
    match deed {
        Deed::Put(word) => {
            let new = NewBlob {
                word,
                ..whole(&blob)
            };
            let (expected, next) = match stand {
                Stand::Here { .. } => (Ok(false), here),
                Stand::Deleted if word == Word::Peer => (Err(StoreError::Deleted { cid }), stand),
                Stand::Absent | Stand::Retired { .. } | Stand::Deleted => (Ok(true), here),
                Stand::Blocked { .. } => (Err(StoreError::Blocked { cid }), stand),
            };
            let answer = cave.engine().put(new).await.map(|stored| stored.new);
            assert_eq!(answer, expected);
            next
        }
        Deed::Delete => {
            let (expected, next) = match stand {
                Stand::Here { .. } | Stand::Retired { .. } => (Ok(()), Stand::Deleted),
                other => (Err(StoreError::NotFound { cid }), other),
            };
            assert_eq!(cave.engine().delete(cid).await, expected);
            next
        }
        Deed::Retire => {
            let (expected, next) = match stand {
                Stand::Here { damaged: true } => (Err(StoreError::Damaged { cid }), stand),
                Stand::Here { .. } => (Ok(true), Stand::Retired { damaged: false }),
                other => (Ok(false), other),
            };
            assert_eq!(cave.engine().retire(cid, LONG).await, expected);
            next
        }
        Deed::Restore => {
            let (expected, next) = match stand {
                Stand::Retired { damaged: true } => (Err(StoreError::Damaged { cid }), stand),
                Stand::Retired { .. } => (Ok(true), here),
                other => (Ok(false), other),
            };
            assert_eq!(cave.engine().restore(cid).await, expected);
            next
        }
        Deed::Block => {
            cave.engine().set_blocked(cid, true).await.unwrap();
            match stand {
                Stand::Blocked { .. } => stand,
                other => Stand::Blocked {
                    counted: matches!(other, Stand::Here { .. } | Stand::Deleted),
                },
            }
        }
        Deed::Unblock => {
            cave.engine().set_blocked(cid, false).await.unwrap();
            match stand {
                Stand::Blocked { counted: true } => Stand::Deleted,
                Stand::Blocked { counted: false } => Stand::Absent,
                other => other,
            }
        }
        Deed::Damage => match stand {
            // A changed chunk would stay behind in a memtable, where no chunk ever is.
            Stand::Here { damaged: false } | Stand::Retired { damaged: false }
                if which + 1 < CONTENTS =>
            {
                let (shard, name, _) = meta(cave, cid);
                flip(cave, shard, &name_key(prefix::DATA, &name));
                let before = cave.snapshot().quarantined;
                assert!(cave.read(cid, None).await.is_err());
                cave.until(|snapshot| snapshot.quarantined == before + 1)
                    .await;
                match stand {
                    Stand::Here { .. } => Stand::Here { damaged: true },
                    _ => Stand::Retired { damaged: true },
                }
            }
            other => other,
        },
        Deed::Rotate => {
            cave.engine().rotate_keys().await.unwrap();
            stand
        }
        Deed::Reopen => {
            cave.reopen();
            stand
        }
        Deed::Expire | Deed::Forget => unreachable!("they are about all contents"),
    }
}

async fn act_on_all(cave: &mut Cave, stands: &mut [Stand], deed: Deed, which: usize) {
    let goes = |stand: &Stand| match deed {
        Deed::Expire => matches!(stand, Stand::Retired { .. }),
        _ => *stand == Stand::Deleted,
    };
    let done = match deed {
        Deed::Expire => expire_all(cave).await,
        Deed::Forget => forget_all(cave).await,
        deed => {
            stands[which] = act(cave, stands[which], deed, which).await;
            return;
        }
    };
    let going = stands.iter_mut().filter(|stand| goes(stand));
    let mut expected = 0;
    for stand in going {
        *stand = Stand::Absent;
        expected += 1;
    }
    assert_eq!(done, expected);
}

async fn expect_stands(cave: &Cave, stands: &[Stand]) {
    let (mut blobs, mut bytes, mut retired_blobs, mut retired_bytes) = (0, 0, 0, 0);
    let (mut quarantined, mut listed) = (0, Vec::new());
    for (which, stand) in stands.iter().enumerate() {
        let blob = content_of(which);
        let cid = BlobCid::of(&blob);
        let size = blob.len() as u64;
        let (expected, declined) = match stand {
            Stand::Absent => (Standing::Absent, None),
            Stand::Here { damaged } => {
                blobs += 1;
                bytes += size;
                quarantined += u64::from(*damaged);
                listed.push(cid.digest());
                let standing = if *damaged {
                    Standing::Damaged
                } else {
                    Standing::Here
                };
                (standing, Some(false))
            }
            Stand::Retired { damaged } => {
                retired_blobs += 1;
                retired_bytes += size;
                quarantined += u64::from(*damaged);
                (Standing::Absent, None)
            }
            Stand::Deleted => (Standing::Deleted, Some(true)),
            Stand::Blocked { counted } => (Standing::Blocked, counted.then_some(true)),
        };
        assert_eq!(standing(cave, cid).await, expected, "{stand:?}");
        let of_shard = list(cave, cid).await;
        let found = of_shard.iter().find(|listed| listed.digest == cid.digest());
        assert_eq!(found.map(|listed| listed.declined), declined, "{stand:?}");
        let whole = matches!(
            stand,
            Stand::Here { damaged: false } | Stand::Retired { damaged: false }
        );
        assert_eq!(cave.read(cid, None).await.ok(), whole.then_some(blob));
    }
    let snapshot = cave.snapshot();
    assert_eq!((snapshot.blobs, snapshot.bytes), (blobs, bytes));
    assert_eq!(retired(&snapshot), (retired_blobs, retired_bytes));
    assert_eq!(snapshot.quarantined, quarantined);
    assert_eq!(ends(cave).len() as u64, retired_blobs);
    let page = cave.engine().list(None, None, 10).await.unwrap();
    let mut digests: Vec<Digest> = page.blobs.iter().map(|blob| blob.cid.digest()).collect();
    digests.sort_unstable();
    listed.sort_unstable();
    assert_eq!(digests, listed);
    expect_even(cave).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn counters_and_fingerprints_are_those_of_a_recount(deeds in prop::collection::vec(any_deed(), 1..40)) {
        Runtime::new().unwrap().block_on(async {
            let mut cave = Cave::new();
            let mut stands = [Stand::Absent; CONTENTS];
            for (deed, which) in deeds {
                act_on_all(&mut cave, &mut stands, deed, which).await;
                expect_even(&cave).await;
            }
            expect_stands(&cave, &stands).await;
            cave.reopen();
            expect_stands(&cave, &stands).await;
            cave.until(|snapshot| gauge(snapshot, "files_to_free") == 0).await;
            let damaged = cave.snapshot().quarantined;
            let report = check(&mut cave, Mode::Check);
            assert_eq!(report.damaged.total, damaged, "{report:#?}");
            assert!(report.wrong_counters.is_empty(), "{report:#?}");
            assert!(report.bad_records.is_empty(), "{report:#?}");
            assert_eq!(report.orphans, Orphans::default());
        });
    }
}
