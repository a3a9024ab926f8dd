//! Sets that differ become alike, and sets that are alike cost next to nothing.

use super::*;

/// Compares by keyed hashes every two hours.
fn often_keyed() -> Replication {
    let mut settings = settings();
    settings.keyed_interval = TimeSpan::from_millis(7_200_000);
    settings
}

#[actix::test]
async fn equal_sets_cost_one_question_a_round() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    let all = contents("blob", 10);
    for node in &nodes {
        all.iter().for_each(|content| {
            node.store.seed(content, None);
        });
    }
    tokio::time::sleep(INTERVAL * 10).await;
    for node in &nodes {
        let rounds = world.asked(node.number, "compare all");
        // Ten intervals, give or take a third, and one soon after the start.
        assert!((8..=16).contains(&rounds), "{rounds}");
        assert_eq!(node.counter("reconcile_rounds"), rounds as u64);
        assert_eq!(node.counter("reconcile_questions"), rounds as u64);
        let shard = node.shard(shard_of(&all[0]));
        assert_eq!((shard.live, shard.missing), (2, 1));
        assert_eq!(
            shard.reason.as_deref(),
            Some("only 2 nodes keep this shard")
        );
        assert!(shard.blobs > 0);
        let other = shard.holders.iter().find(|holder| !holder.here).unwrap();
        assert_eq!(other.differing, Some(0));
        assert!(test_now_ms() - other.alike_ms.unwrap() < 1_200_000);
    }
    let asked = world.asked(1, "compare all") + world.asked(2, "compare all");
    assert_eq!(world.lock().log.len(), asked);
}

#[actix::test]
async fn a_partition_heals() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(3, &settings(), dir.path()).await;
    nodes[0].knows(&[]);
    nodes[1].knows(&[3]);
    nodes[2].knows(&[2]);
    let (left, right) = (contents("left", 40), contents("right", 25));
    for content in &left {
        nodes[0].store.seed(content, None);
    }
    for content in &right {
        nodes[1].store.seed(content, None);
    }
    tokio::time::sleep(INTERVAL * 2).await;
    assert!(nodes[2].has(&right) && !nodes[2].has(&left[..1]));
    let shard = nodes[0].shard(shard_of(&left[0]));
    assert_eq!((shard.live, shard.missing), (1, 2));
    assert_eq!(
        shard.reason.as_deref(),
        Some("no other node keeps this shard")
    );

    nodes.iter().for_each(|node| node.knows(&[1, 2, 3]));
    until("healed", Duration::from_mins(3), || {
        nodes.iter().all(|node| node.has(&left) && node.has(&right))
    })
    .await;
    // Each node fetched what it lacked, once, and nothing else.
    for (number, lacked) in [(1, 25), (2, 40), (3, 65)] {
        assert_eq!(world.asked(number, "retrieve"), lacked, "node {number}");
    }
    tokio::time::sleep(INTERVAL * 2).await;
    for node in &nodes {
        for shard in node.reconciler.snapshot(0).shards.iter() {
            let found = (shard.live, shard.missing, &shard.reason);
            assert_eq!(found, (3, 0, &None));
        }
        assert_eq!(node.reconciler.snapshot(0).repairs_waiting, 0);
    }
}

#[actix::test]
async fn what_one_lacks_it_gets_from_both_in_turn() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let all = contents("blob", 60);
    let nodes = world.nodes(3, &settings(), dir.path()).await;
    for node in &nodes[1..] {
        all.iter().for_each(|content| {
            node.store.seed(content, None);
        });
    }
    until("repaired", Duration::from_mins(3), || nodes[0].has(&all)).await;
    let wire = world.lock();
    let from = |number: u8| {
        let asked = wire
            .log
            .iter()
            .filter(|(_, to, what)| *to == peer(number) && *what == "retrieve");
        asked.count()
    };
    assert_eq!(from(2) + from(3), 60);
}

#[actix::test]
async fn a_deletion_is_not_undone_and_stays_while_a_peer_has_the_blob() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &often_keyed(), dir.path()).await;
    let (gone, other) = (contents("gone", 1), contents("other", 1));
    nodes[1].store.seed(&gone[0], None);
    nodes[0].store.deleted(&BlobCid::of(&gone[0]));
    tokio::time::sleep(INTERVAL * 4).await;
    assert_eq!(world.asked(1, "ranges"), 0, "it counts as present");
    // The comparison by keyed hashes asks for it by name.
    tokio::time::sleep(Duration::from_hours(2)).await;
    assert!(nodes[0].store.asked().contains(&"renew 1".to_owned()));
    assert!(!nodes[1].store.asked().contains(&"renew 1".to_owned()));
    assert_eq!(nodes[0].counter("tombstones_renewed"), 1);
    assert_eq!(nodes[0].counter("reconcile_forged_sums"), 0);
    nodes[1].store.seed(&other[0], None);
    until("repaired", INTERVAL * 2, || nodes[0].has(&other)).await;
    assert!(!nodes[0].has(&gone));
    assert!(nodes[1].has(&gone), "a deletion is one node's alone");
    assert_eq!(world.asked(1, "retrieve"), 1);
}

#[actix::test]
async fn a_tombstone_in_a_shard_that_differs_is_renewed_at_once() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    nodes[1].knows(&[]);
    let all: Vec<_> = contents("blob", 60);
    let all: Vec<_> = all
        .iter()
        .filter(|content| shard_of(content) == shard_of(&all[0]))
        .collect();
    let [gone, new, ..] = all[..] else {
        panic!("too few of a shard")
    };
    nodes[1].store.seed(gone, None);
    nodes[1].store.seed(new, None);
    nodes[0].store.deleted(&BlobCid::of(gone));
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert!(nodes[0].has(std::slice::from_ref(new)));
    assert!(!nodes[0].has(std::slice::from_ref(gone)));
    assert!(nodes[0].counter("tombstones_renewed") > 0);
}

#[actix::test]
async fn what_is_blocked_is_neither_fetched_nor_missed() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    let all = contents("blob", 1);
    nodes[1].store.seed(&all[0], None);
    nodes[0].store.blocked(&BlobCid::of(&all[0]));
    tokio::time::sleep(INTERVAL * 4).await;
    assert!(!nodes[0].has(&all));
    assert_eq!(world.asked(1, "retrieve"), 0);
    assert_eq!(nodes[0].shard(shard_of(&all[0])).live, 2);
}

#[actix::test]
async fn who_keeps_a_shard_and_holds_it_not_hands_it_over() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let mut settings = settings();
    settings.factor = 1;
    let nodes = world.nodes(2, &settings, dir.path()).await;
    let placement = nodes[0].holders.placement().unwrap();
    let of_other: Vec<_> = contents("blob", 60)
        .into_iter()
        .filter(|content| placement.holds(&peer(2), shard_of(content)))
        .collect();
    assert!(of_other.len() > 5);
    let shards: BTreeSet<_> = of_other.iter().map(|content| shard_of(content)).collect();
    for content in &of_other {
        nodes[0].store.seed(content, None);
    }
    until("handed over", Duration::from_mins(5), || {
        nodes[1].has(&of_other)
    })
    .await;
    tokio::time::sleep(INTERVAL * 8).await;
    let offers = world.asked(1, "offer");
    assert_eq!(
        offers,
        2 * shards.len(),
        "once each, and once more to hear that nothing is lacking"
    );
    assert!(
        !nodes[0].has(&of_other[..1]),
        "when it was proved, it is let go"
    );
    // What comes later and is owed is offered again.
    let late = contents("late", 60);
    let late = late
        .iter()
        .find(|content| shards.contains(&shard_of(content)))
        .unwrap();
    nodes[0].store.seed(late, None);
    nodes[0].holders.owe(shard_of(late));
    until("handed over as well", Duration::from_mins(5), || {
        nodes[1].has(std::slice::from_ref(late))
    })
    .await;
}

#[actix::test]
async fn what_was_stored_just_now_comes_by_itself() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    nodes[1].knows(&[]);
    let all = contents("blob", 1);
    nodes[1].store.seed(&all[0], None);
    let (store, content) = (nodes[0].store.clone(), all[0].clone());
    // When it is compared, the copy is on its way.
    world.twist(2, move |request, answered| {
        if matches!(request, SyncRequest::Ranges { .. }) {
            let (store, content) = (store.clone(), content.clone());
            tokio::spawn(async move {
                tokio::time::sleep(Duration::from_secs(3)).await;
                store.seed(&content, None);
            });
        }
        answered
    });
    tokio::time::sleep(INTERVAL * 3).await;
    assert!(nodes[0].has(&all));
    assert!(world.asked(1, "ranges") > 0);
    assert_eq!(world.asked(1, "retrieve"), 0);
}

#[actix::test]
async fn forged_sums_are_seen_by_keyed_hashes() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &often_keyed(), dir.path()).await;
    let all = contents("blob", 1);
    nodes[1].store.seed(&all[0], None);
    // As if the sums were the same.
    world.twist(2, |request, answered| match request {
        SyncRequest::CompareAll { .. } => Ok(SyncAnswer::Alike(true)),
        SyncRequest::Compare { .. } => Ok(SyncAnswer::Differing(Vec::new())),
        _ => answered,
    });
    nodes[1].knows(&[]);
    tokio::time::sleep(Duration::from_mins(110)).await;
    assert!(!nodes[0].has(&all));
    tokio::time::sleep(Duration::from_hours(1)).await;
    assert!(nodes[0].has(&all));
    assert_eq!(nodes[0].counter("reconcile_forged_sums"), 1);
}
