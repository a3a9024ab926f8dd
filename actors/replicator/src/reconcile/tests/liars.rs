//! Peers that give what no honest peer gives.

use bytecave_messages::body::BlobBody;
use bytecave_messages::sync::{ListedDigest, RangeAnswer};

use super::*;

/// Whether node 1 finds out that node 2 lies, with `keyed` comparisons each minute.
async fn is_found_out(
    twist: impl Fn(&SyncRequest, Answered) -> Answered + Send + Sync + 'static,
) -> bool {
    let (world, dir) = (World::default(), dir());
    let mut settings = settings();
    settings.keyed_interval = TimeSpan::from_millis(60_000);
    settings.reconcile_interval = TimeSpan::from_millis(120_000);
    let nodes = world.nodes(2, &settings, dir.path()).await;
    nodes[1].knows(&[]);
    nodes[0].store.seed(&contents("here", 1)[0], None);
    nodes[0]
        .store
        .deleted(&BlobCid::of(&contents("gone", 1)[0]));
    nodes[1].store.seed(&contents("there", 1)[0], None);
    world.twist(2, twist);
    tokio::time::sleep(Duration::from_mins(10)).await;
    nodes[0].conduct.is_blocked(&peer(2))
}

#[actix::test]
async fn the_honest_are_not_taken_for_liars() {
    tokio::time::pause();
    assert!(!is_found_out(|_, answered| answered).await);
}

#[actix::test]
async fn answers_to_other_questions_are_lies() {
    tokio::time::pause();
    for lied_about in 0..5_usize {
        let lie = move |request: &SyncRequest, answered: Answered| {
            let about = match request {
                SyncRequest::CompareAll { .. } => 0,
                SyncRequest::Compare { .. } => 1,
                SyncRequest::Keyed { .. } => 2,
                SyncRequest::Ranges { .. } => 3,
                SyncRequest::Offer { .. } => 4,
            };
            match about {
                about if about != lied_about => answered,
                0 => Ok(SyncAnswer::Wanted(0)),
                _ => Ok(SyncAnswer::Alike(true)),
            }
        };
        assert!(is_found_out(lie).await, "{lied_about}");
    }
}

#[actix::test]
async fn lists_and_numbers_that_cannot_be_are_lies() {
    tokio::time::pause();
    let shard = |number: u64| count().shard(number).unwrap();
    let lies: Vec<(&str, Twist)> = vec![
        (
            "shards that were not asked about",
            Arc::new(move |request: &SyncRequest, answered| match request {
                SyncRequest::Compare { .. } => Ok(SyncAnswer::Differing(vec![shard(15)])),
                _ => answered,
            }),
        ),
        (
            "shards in disorder",
            Arc::new(move |request: &SyncRequest, answered| match request {
                SyncRequest::Compare { .. } => Ok(SyncAnswer::Differing(vec![shard(3), shard(2)])),
                _ => answered,
            }),
        ),
        (
            "too few hashes",
            Arc::new(|request: &SyncRequest, answered| match request {
                SyncRequest::Keyed { .. } => Ok(SyncAnswer::Hashes(Vec::new())),
                _ => answered,
            }),
        ),
        (
            "a digest of another shard",
            Arc::new(|request: &SyncRequest, answered| match request {
                SyncRequest::Ranges { ranges, .. } => {
                    let listed = ListedDigest {
                        digest: Digest::new([0x0f; 32]),
                        declined: false,
                    };
                    let list = RangeAnswer::Listed(vec![listed; 1]);
                    Ok(SyncAnswer::Ranges(vec![list; ranges.len()]))
                }
                _ => answered,
            }),
        ),
        (
            "splitting without end",
            Arc::new(|request: &SyncRequest, answered| match request {
                SyncRequest::Ranges { ranges, .. } => {
                    let splits = ranges.iter().map(|range| RangeAnswer::Split(vec![*range]));
                    Ok(SyncAnswer::Ranges(splits.collect()))
                }
                _ => answered,
            }),
        ),
        (
            "more wanted than offered",
            Arc::new(|request: &SyncRequest, answered| match request {
                SyncRequest::Offer { digests, .. } => Ok(SyncAnswer::Wanted(
                    u32::try_from(digests.len()).unwrap() + 1,
                )),
                _ => answered,
            }),
        ),
    ];
    for (what, lie) in lies {
        assert!(
            is_found_out(move |request, answered| lie(request, answered)).await,
            "{what}"
        );
    }
}

#[actix::test]
async fn wrong_bytes_are_a_lie_and_the_next_source_is_asked() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(3, &settings(), dir.path()).await;
    nodes[1].knows(&[]);
    nodes[2].knows(&[]);
    let all = contents("blob", 1);
    nodes[2].store.seed(&all[0], None);
    world.gives(2, |_, _| {
        Some(Ok(RemoteBlob {
            size: 5,
            blob_root: None,
            content_type: None,
            offset: 0,
            body: BlobBody::Whole(b"wrong"[..].into()),
        }))
    });
    nodes[0].repair(&all[0], &[2, 3]);
    until("repaired", Duration::from_secs(7), || nodes[0].has(&all)).await;
    let asked: Vec<_> = world.lock().log.iter().map(|(_, to, _)| *to).collect();
    assert_eq!(asked, [peer(2), peer(3)]);
    assert!(nodes[0].conduct.is_blocked(&peer(2)));
    assert!(nodes[0].conduct.score(&peer(3)) > 0.0);
    assert!(nodes[0].store.kept(&BlobCid::of(b"wrong")).is_none());
    // Nothing more is asked of it, though it is due.
    tokio::time::sleep(INTERVAL).await;
    let wire = world.lock();
    let later = wire.log.iter().filter(|(_, to, _)| *to == peer(2));
    assert_eq!(later.count(), 1);
}

#[actix::test]
async fn who_lists_what_it_does_not_give_is_asked_less_and_less() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    nodes[1].knows(&[]);
    let all = contents("blob", 1);
    nodes[1].store.seed(&all[0], None);
    world.gives(2, |_, _| Some(Err(SwarmError::NotFound { peer: peer(2) })));
    tokio::time::sleep(INTERVAL * 24).await;
    let asked = world.asked(1, "retrieve");
    assert!((2..=5).contains(&asked), "{asked} times in some 24 rounds");
    assert!(
        !nodes[0].conduct.is_blocked(&peer(2)),
        "once is an accident"
    );
    assert!(nodes[0].conduct.score(&peer(2)) < 0.0);
    assert_eq!(nodes[0].counter("repairs_failed"), asked as u64);
}

#[actix::test]
async fn a_false_list_is_a_lie() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    nodes[1].knows(&[]);
    for content in contents("blob", 100) {
        nodes[1].store.seed(&content, None);
    }
    world.gives(2, |_, _| Some(Err(SwarmError::NotFound { peer: peer(2) })));
    tokio::time::sleep(INTERVAL).await;
    assert!(nodes[0].conduct.score(&peer(2)) < -90.0);
    let asked = world.asked(1, "retrieve");
    // Those under way when the measure was full are among them.
    assert!((17..=20).contains(&asked), "{asked}");
}
