//! What a failed audit does to copies, and what becomes of damage here.

use bytecave_messages::proof::Outcome;

use super::*;
use crate::audits::tests::record;

const HOUR: Duration = Duration::from_hours(1);

/// Three nodes of which two hold each shard, a blob of a shard that the first of them holds, the number
/// of the other holder, and that of the one that does not hold it.
async fn two_of_three(world: &World, dir: &Path) -> (Vec<Node>, Vec<u8>, u8, u8) {
    let mut settings = settings();
    settings.factor = 2;
    let nodes = world.nodes(3, &settings, dir).await;
    let placement = nodes[0].holders.placement().unwrap();
    let held = |content: &&Vec<u8>| placement.holds(&peer(1), shard_of(content));
    let content = contents("blob", 60).iter().find(held).unwrap().clone();
    let other = if placement.holds(&peer(2), shard_of(&content)) {
        2
    } else {
        3
    };
    (nodes, content, other, 5 - other)
}

impl Node {
    /// An audit of a peer ended.
    fn audit(&self, number: u8, content: &[u8], outcome: Outcome) {
        let ended = record(number, BlobCid::of(content), outcome, test_now_ms());
        let audits = self.holders.audits();
        let deed = audits.finished(&Arc::new(ended), true, test_now_ms());
        if let Some(deed) = deed {
            self.conduct.note(&peer(number), deed);
        }
        self.holders.refresh();
    }

    fn counts(&self, number: u8, content: &[u8]) -> bool {
        let holders = self.holders.placement().unwrap().holders(shard_of(content));
        let found = holders.iter().find(|holder| holder.peer == peer(number));
        found.is_some_and(|holder| holder.counted)
    }
}

#[actix::test]
async fn the_next_in_rank_gets_what_a_holder_did_not_prove() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let (nodes, content, other, next) = two_of_three(&world, dir.path()).await;
    let one = std::slice::from_ref(&content);
    nodes[0].store.seed(&content, None);
    nodes[usize::from(other) - 1].store.seed(&content, None);
    tokio::time::sleep(INTERVAL * 2).await;
    assert!(nodes[0].counts(other, &content) && !nodes[0].counts(next, &content));
    assert!(!nodes[usize::from(next) - 1].has(one));
    assert_eq!(nodes[0].shard(shard_of(&content)).live, 2);

    nodes[0].audit(other, &content, Outcome::Failed);
    assert!(!nodes[0].counts(other, &content) && nodes[0].counts(next, &content));
    tokio::time::sleep(Duration::from_secs(4)).await;
    let shard = nodes[0].shard(shard_of(&content));
    let reason = format!("peer {} failed an audit of 1 blob", peer(other));
    assert_eq!((shard.live, shard.reason), (1, Some(reason)));
    assert!(nodes[0].conduct.score(&peer(other)) < -15.0);
    // It believes that it is no holder, and takes the blob all the same.
    until("brought", Duration::from_mins(2), || {
        nodes[usize::from(next) - 1].has(one)
    })
    .await;
    tokio::time::sleep(INTERVAL * 2).await;
    assert_eq!(nodes[0].shard(shard_of(&content)).live, 2);
    // What it is asked an hour later it proves.
    tokio::time::sleep(HOUR).await;
    assert!(nodes[0].counts(other, &content) && !nodes[0].counts(next, &content));
    assert_eq!(world.asked(1, "prove"), 1);
    assert!(nodes[0].has(one) && nodes[usize::from(other) - 1].has(one));
}

#[actix::test]
async fn what_failed_stays_so_over_a_restart() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let node = world.node(1, &[2, 3], settings(), dir.path()).await;
    let content = contents("blob", 1).remove(0);
    node.store.seed(&content, None);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(node.counts(2, &content));
    node.audit(2, &content, Outcome::Failed);
    node.reconciler.clone().stop().await;
    let store = node.store.clone();
    let again = world.node_with(1, &[2, 3], settings(), dir.path(), store);
    let again = again.await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!again.counts(2, &content) && again.counts(3, &content));
    // Asked after an hour, and after two more: it is away.
    tokio::time::sleep(HOUR * 4).await;
    assert_eq!(world.asked(1, "prove"), 2);
    assert!(!again.counts(2, &content));
    // What is not here cannot be compared with, and is asked for no more.
    again.store.deleted(&BlobCid::of(&content));
    tokio::time::sleep(HOUR * 4).await;
    assert_eq!(world.asked(1, "prove"), 2);
    assert!(again.counts(2, &content));
}

#[actix::test]
async fn damage_here_is_mended_from_others() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    let content = contents("blob", 1).remove(0);
    for node in &nodes {
        node.store.seed(&content, None);
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    nodes[0].store.quarantine(&BlobCid::of(&content));
    let whole = || {
        !nodes[0]
            .store
            .kept(&BlobCid::of(&content))
            .unwrap()
            .quarantined
    };
    until("mended", Duration::from_secs(15), whole).await;
    assert_eq!(nodes[0].counter("damaged_repaired"), 1);
    assert_eq!(nodes[0].counter("repaired_blobs"), 1);
    assert_eq!(nodes[1].counter("damaged_repaired"), 0);
}

#[actix::test]
async fn damage_that_nobody_can_mend_is_tried_less_and_less_and_blames_nobody() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(2, &settings(), dir.path()).await;
    nodes[1].knows(&[]);
    let content = contents("blob", 1).remove(0);
    nodes[0].store.seed(&content, None);
    nodes[0].store.quarantine(&BlobCid::of(&content));
    world.gives(2, |_, _| Some(Err(SwarmError::NotFound { peer: peer(2) })));
    tokio::time::sleep(HOUR * 6).await;
    let asked = world.asked(1, "retrieve");
    assert!((2..=6).contains(&asked), "{asked} times in six hours");
    assert!(nodes[0].conduct.score(&peer(2)) >= 0.0);
    let whole = || {
        !nodes[0]
            .store
            .kept(&BlobCid::of(&content))
            .unwrap()
            .quarantined
    };
    assert!(!whole());
    // At last it has it.
    world.lock().gives.clear();
    nodes[1].store.seed(&content, None);
    until("mended", HOUR * 9, whole).await;
    assert_eq!(nodes[0].counter("damaged_repaired"), 1);
}
