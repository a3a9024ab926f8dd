//! What peers hear that ask.

use bytecave_messages::sync::{RangeAnswer, RangeSketch, SYNC_DIGESTS_MAX};

use super::*;

fn ids(numbers: impl IntoIterator<Item = u64>) -> Vec<ShardId> {
    numbers
        .into_iter()
        .map(|number| count().shard(number).unwrap())
        .collect()
}

fn everything() -> RangeSketch {
    RangeSketch {
        from: Digest::new([0; 32]),
        to: None,
        count: 7,
        hash: [7; 16],
    }
}

/// What node 1 answers node 2.
async fn ask(node: &Node, request: SyncRequest) -> Answered {
    put(&node.reconciler, peer(2), peer(1), request).await
}

fn kind(answered: Answered) -> RefusalKind {
    match answered {
        Err(SwarmError::Refused { kind, .. }) => kind,
        Err(SwarmError::Busy { .. }) => RefusalKind::Busy,
        other => panic!("{other:?}"),
    }
}

#[actix::test]
async fn a_shard_that_is_not_kept_is_answered_as_such() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let node = world.node(1, &[2], settings(), dir.path()).await;
    let mut sums: Vec<_> = ids(0..8)
        .into_iter()
        .map(|shard| (shard, Fingerprint::EMPTY))
        .collect();
    let hash = compare::hash_of_sums(&sums);
    let all = |shards, hash| SyncRequest::CompareAll { shards, hash };
    assert_eq!(
        ask(&node, all(ids(0..8), hash)).await,
        Ok(SyncAnswer::Alike(true))
    );
    sums.push((count().shard(8).unwrap(), Fingerprint::EMPTY));
    let hash = compare::hash_of_sums(&sums);
    assert_eq!(
        ask(&node, all(ids(0..9), hash)).await,
        Ok(SyncAnswer::Alike(false))
    );
    sums[3].1 = Fingerprint::new([1; 32]);
    sums[8].1 = Fingerprint::new([1; 32]);
    let compare = SyncRequest::Compare { shards: sums };
    assert_eq!(
        ask(&node, compare).await,
        Ok(SyncAnswer::Differing(ids([3, 8]))),
        "what is not kept is not alike"
    );
    let nonce = [1; 32];
    let keyed = SyncRequest::Keyed {
        nonce,
        shards: ids([7, 8]),
    };
    let of_nothing = ranges::keyed(&nonce, &[]);
    assert_eq!(
        ask(&node, keyed).await,
        Ok(SyncAnswer::Hashes(vec![Some(of_nothing), None]))
    );
    let [kept, not_kept] = [3, 8].map(|shard| SyncRequest::Ranges {
        shard: count().shard(shard).unwrap(),
        nonce,
        ranges: vec![everything()],
    });
    let listed = vec![RangeAnswer::Listed(Vec::new())];
    assert_eq!(ask(&node, kept).await, Ok(SyncAnswer::Ranges(listed)));
    assert_eq!(kind(ask(&node, not_kept).await), RefusalKind::NotOurShard);
}

#[actix::test]
async fn senseless_questions_are_refused() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let node = world.node(1, &[2], settings(), dir.path()).await;
    let hash = Digest::new([0; 32]);
    let nonce = [0; 32];
    let shard = count().shard(3).unwrap();
    let shards = || ids([3, 2]);
    for senseless in [
        SyncRequest::CompareAll {
            shards: shards(),
            hash,
        },
        SyncRequest::CompareAll {
            shards: ids([3, 3]),
            hash,
        },
        SyncRequest::Compare {
            shards: shards()
                .into_iter()
                .map(|shard| (shard, Fingerprint::EMPTY))
                .collect(),
        },
        SyncRequest::Keyed {
            nonce,
            shards: shards(),
        },
        SyncRequest::Ranges {
            shard,
            nonce,
            ranges: vec![everything(); 2],
        },
    ] {
        assert_eq!(kind(ask(&node, senseless).await), RefusalKind::Invalid);
    }
    assert!(!node.conduct.is_blocked(&peer(2)));
    let of_others = SyncRequest::Offer {
        shard,
        digests: vec![Digest::new([0; 32])],
    };
    assert_eq!(kind(ask(&node, of_others).await), RefusalKind::Invalid);
    assert!(node.conduct.is_blocked(&peer(2)));
    assert_eq!(node.counter("reconcile_refused"), 6);
}

#[actix::test]
async fn one_question_of_a_peer_at_a_time() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let node = world.node(1, &[2], settings(), dir.path()).await;
    let keyed = || SyncRequest::Keyed {
        nonce: [0; 32],
        shards: ids(0..8),
    };
    let other = put(&node.reconciler, peer(3), peer(1), keyed());
    let asked = futures_util::future::join3(ask(&node, keyed()), ask(&node, keyed()), other);
    let (first, second, other) = asked.await;
    assert!(first.is_ok() && other.is_ok());
    assert_eq!(kind(second), RefusalKind::Busy);
    assert!(ask(&node, keyed()).await.is_ok(), "it is over");
}

#[actix::test]
async fn lists_are_made_for_a_peer_at_a_rate() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let node = world.node(1, &[2], settings(), dir.path()).await;
    let shards: Vec<_> = (0..8).collect();
    let keyed = || SyncRequest::Keyed {
        nonce: [0; 32],
        shards: ids(shards.iter().copied()),
    };
    let mut answered = 0;
    while answered < 100_000 && ask(&node, keyed()).await.is_ok() {
        answered += 1;
    }
    // A list costs at least 64 digests, and some four million are free.
    assert!((8000..=8192).contains(&answered), "{answered}");
    let shard = count().shard(3).unwrap();
    let range = || SyncRequest::Ranges {
        shard,
        nonce: [0; 32],
        ranges: vec![everything()],
    };
    assert_eq!(kind(ask(&node, range()).await), RefusalKind::Busy);
    tokio::time::sleep(Duration::from_secs(1)).await;
    for _ in 0..100 {
        assert!(
            ask(&node, range()).await.is_ok(),
            "the list is kept for a moment"
        );
    }
}

#[actix::test]
async fn offers_are_heard_from_members_about_shards_that_are_held() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let node = world.node(1, &[2], settings(), dir.path()).await;
    let all = contents("blob", 50);
    let shard = shard_of(&all[0]);
    let of_shard: Vec<_> = digests(&all)
        .into_iter()
        .filter(|digest| count().shard_of(digest) == shard)
        .collect();
    let here = all
        .iter()
        .find(|content| Digest::of(content) == of_shard[0])
        .unwrap();
    node.store.seed(here, None);
    let offer = || SyncRequest::Offer {
        shard,
        digests: of_shard.clone(),
    };
    let wanted = u32::try_from(of_shard.len()).unwrap() - 1;
    let stranger = put(&node.reconciler, peer(9), peer(1), offer());
    assert_eq!(kind(stranger.await), RefusalKind::NotAdmitted);
    assert_eq!(ask(&node, offer()).await, Ok(SyncAnswer::Wanted(wanted)));
    assert_eq!(
        ask(&node, offer()).await,
        Ok(SyncAnswer::Wanted(wanted)),
        "it is wanting until it is here"
    );
    assert_eq!(
        node.reconciler.snapshot(0).repairs_waiting,
        u64::from(wanted)
    );

    let mut full = snapshot(0, StoreCondition::Full);
    full.shards.clear();
    node.facts.set(&full);
    node.holders.refresh();
    assert_eq!(kind(ask(&node, offer()).await), RefusalKind::Full);
    node.facts.set(&snapshot(0, StoreCondition::Writable));
    node.holders.refresh();
    let not_kept = contents_of_shard_beyond();
    let foreign = SyncRequest::Offer {
        shard: count().shard_of(&not_kept),
        digests: vec![not_kept],
    };
    assert_eq!(kind(ask(&node, foreign).await), RefusalKind::NotAdmitted);
    let too_many = SyncRequest::Offer {
        shard,
        digests: vec![of_shard[0]; SYNC_DIGESTS_MAX + 1],
    };
    assert_eq!(kind(ask(&node, too_many).await), RefusalKind::Invalid);
}

/// A digest of a shard that no node of the tests keeps.
fn contents_of_shard_beyond() -> Digest {
    (0_u32..1000)
        .map(|at| Digest::of(&at.to_be_bytes()))
        .find(|digest| count().shard_of(digest).get() > 8)
        .unwrap()
}

#[actix::test]
async fn who_does_not_hold_a_shard_brings_only_so_much_of_it() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let mut settings = settings();
    settings.factor = 1;
    let nodes = world.nodes(2, &settings, dir.path()).await;
    let placement = nodes[0].holders.placement().unwrap();
    let held: Vec<_> = contents("blob", 60)
        .into_iter()
        .filter(|content| placement.holds(&peer(1), shard_of(content)))
        .collect();
    let offer = |content: &[u8]| SyncRequest::Offer {
        shard: shard_of(content),
        digests: vec![Digest::of(content)],
    };
    nodes[1].store.seed(&held[0], None);
    assert_eq!(
        ask(&nodes[0], offer(&held[0])).await,
        Ok(SyncAnswer::Wanted(1))
    );
    until("fetched", Duration::from_mins(1), || {
        nodes[0].has(&held[..1])
    })
    .await;
    let brought = nodes[0].reconciler.shared.board().peers[&peer(2)].beyond_bytes;
    assert_eq!(brought, held[0].len() as u64);
    // A tenth of a quota of 1 GiB.
    nodes[0]
        .reconciler
        .shared
        .board()
        .record(peer(2))
        .beyond_bytes = 108 << 20;
    let beyond = ask(&nodes[0], offer(&held[1])).await;
    assert_eq!(kind(beyond), RefusalKind::Full);
}
