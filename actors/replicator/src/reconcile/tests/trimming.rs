//! Copies that are let go, and shards that are handed over.

use bytecave_messages::replicator::{PlanError, ShardMove};

use super::*;

const HOLD: Duration = Duration::from_hours(24);

/// Copies of each shard are on two nodes.
fn of_two() -> Replication {
    let mut settings = settings();
    settings.factor = 2;
    settings
}

/// Three nodes, the first of which has blobs of a shard that it does not hold, as those who do.
async fn with_extra(world: &World, dir: &Path) -> (Vec<Node>, Vec<Vec<u8>>) {
    let nodes = world.nodes(3, &of_two(), dir).await;
    let placement = nodes[0].holders.placement().unwrap();
    let mut all = contents("blob", 200);
    let mut shards = all.iter().map(|content| shard_of(content));
    let shard = shards.find(|shard| !placement.holds(&peer(1), *shard));
    all.retain(|content| Some(shard_of(content)) == shard);
    let extra = all;
    assert!(extra.len() > 10, "{}", extra.len());
    for node in &nodes {
        extra.iter().for_each(|content| {
            node.store.seed(content, None);
        });
    }
    (nodes, extra)
}

impl Node {
    fn has_let_go(&self, content: &[u8]) -> bool {
        self.store.retired(&BlobCid::of(content)).is_some()
    }

    /// What the plan says of the shard of this.
    fn move_of(&self, content: &[u8]) -> Option<ShardMove> {
        let plan = plan::plan(&self.reconciler.shared).unwrap();
        let mut shards = plan.shards.into_iter();
        shards.find(|it| it.shard == shard_of(content))
    }

    async fn apply(&self, shards: Vec<ShardId>) -> Result<usize, PlanError> {
        let order = ApplyShardPlan {
            shards,
            permit: permit(),
        };
        let plan = self.reconciler.clone().apply(order).await?;
        Ok(plan.shards.iter().filter(|it| it.applied).count())
    }
}

#[actix::test]
async fn what_all_holders_prove_twice_is_let_go_and_nothing_pinned() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let (nodes, extra) = with_extra(&world, dir.path()).await;
    let (pinned, rest) = extra.split_first().unwrap();
    nodes[0].store.pin(&BlobCid::of(pinned));
    until("let go", INTERVAL * 2, || {
        rest.iter().all(|content| nodes[0].has_let_go(content))
    })
    .await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(nodes[0].store.retired(&BlobCid::of(&rest[0])), Some(HOLD));
    assert!(nodes[0].has(std::slice::from_ref(pinned)));
    for other in &nodes[1..] {
        assert!(other.has(&extra), "a holder lets go of nothing");
    }
    assert_eq!(nodes[0].counter("trimmed_blobs"), rest.len() as u64);
    assert_eq!(nodes[0].counter("trims_taken_back"), 0);
    let shard = nodes[0].move_of(pinned).unwrap();
    assert_eq!((shard.blobs, shard.pinned, shard.given), (1, 1, 2));
    let stays = "1 pinned blobs stay here".to_owned();
    assert_eq!(shard.waiting, Some(stays));
    // Each of them was asked twice for each, and for what is pinned never.
    assert_eq!(world.asked(1, "prove"), rest.len() * 4);
    assert_eq!(world.asked(2, "prove") + world.asked(3, "prove"), 0);
    // Nobody brings it back.
    tokio::time::sleep(INTERVAL * 4).await;
    assert!(rest.iter().all(|content| nodes[0].has_let_go(content)));
}

#[actix::test]
async fn what_one_holder_does_not_prove_stays() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    world.lock().mute.insert(peer(3));
    let (nodes, extra) = with_extra(&world, dir.path()).await;
    tokio::time::sleep(INTERVAL * 3).await;
    assert!(world.asked(1, "prove") > 0);
    assert!(nodes[0].has(&extra));
    assert_eq!(nodes[0].counter("trimmed_blobs"), 0);
    // Not a word of it was heard by the store.
    assert!(!nodes[0].store.asked().contains(&"retire".to_owned()));
}

#[actix::test]
async fn what_is_proved_once_and_not_again_is_taken_back() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let (nodes, extra) = with_extra(&world, dir.path()).await;
    until("retired", INTERVAL, || nodes[0].has_let_go(&extra[0])).await;
    // Before it is asked once more, one of the two has it no longer: this node is to stand in for it.
    nodes[1].store.lose(&BlobCid::of(&extra[0]));
    until("taken back", Duration::from_mins(1), || {
        nodes[0].has(&extra)
    })
    .await;
    assert_eq!(nodes[0].counter("trimmed_blobs"), 0);
    assert_eq!(nodes[0].counter("trims_taken_back"), extra.len() as u64);
    // It has it again soon, and proves that in time.
    until("let go", INTERVAL * 8, || {
        extra.iter().all(|content| nodes[0].has_let_go(content))
    })
    .await;
    assert!(nodes[1].has(&extra) && nodes[2].has(&extra));
}

#[actix::test]
async fn a_restart_between_the_steps_takes_all_back() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let (nodes, extra) = with_extra(&world, dir.path()).await;
    until("retired", INTERVAL, || nodes[0].has_let_go(&extra[0])).await;
    // As a crash does: nothing is written on the way out.
    let file = dir.path().join("1.json");
    let before = std::fs::read(&file).unwrap();
    nodes[0].reconciler.clone().stop().await;
    std::fs::write(&file, before).unwrap();
    assert!(nodes[0].has_let_go(&extra[0]));
    world.lock().mute.extend([peer(2), peer(3)]);
    let store = nodes[0].store.clone();
    let again = world.node_with(1, &[1, 2, 3], of_two(), dir.path(), store);
    let again = again.await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(again.has(&extra), "nothing was confirmed");
}

#[actix::test]
async fn who_becomes_a_holder_again_takes_back_what_it_let_go() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let (nodes, extra) = with_extra(&world, dir.path()).await;
    until("let go", INTERVAL * 2, || {
        nodes[0].counter("trimmed_blobs") == extra.len() as u64
    })
    .await;
    nodes[0].knows(&[2]);
    nodes[1].knows(&[1]);
    until("taken back", INTERVAL, || nodes[0].has(&extra)).await;
    assert_eq!(nodes[0].counter("restored_blobs"), extra.len() as u64);
    assert_eq!(world.asked(1, "retrieve"), 0, "it stood here still");
}

#[actix::test]
async fn a_shard_that_is_given_up_is_handed_over_when_that_is_ordered() {
    tokio::time::pause();
    let (world, dir) = (World::default(), dir());
    let nodes = world.nodes(3, &of_two(), dir.path()).await;
    let all = contents("blob", 60);
    let (given_up, kept): (Vec<_>, Vec<_>) = all
        .into_iter()
        .partition(|content| shard_of(content).get() >= 6);
    for content in given_up.iter().chain(&kept) {
        nodes[0].store.seed(content, None);
    }
    nodes[0].store.give_up_from(6);
    tokio::time::sleep(INTERVAL * 6).await;
    assert!(nodes[1].has(&given_up) && nodes[2].has(&given_up));
    assert!(nodes[0].has(&given_up), "nobody ordered it");
    let shard = nodes[0].move_of(&given_up[0]).unwrap();
    assert!(!shard.owned && !shard.applied && shard.blobs > 0);
    assert_eq!((shard.live, shard.given, shard.retired), (2, 2, 0));
    let waiting = "its holders have it; it is kept here until it is ordered to hand it over";
    assert_eq!(shard.waiting.as_deref(), Some(waiting));
    let held = kept.iter().map(|content| shard_of(content));
    let held = held.filter(|shard| {
        nodes[0]
            .holders
            .placement()
            .unwrap()
            .holds(&peer(1), *shard)
    });
    let held: Vec<_> = held.take(1).collect();
    let refused = PlanError::NotInPlan { shard: held[0] };
    assert_eq!(nodes[0].apply(held).await, Err(refused));

    let ordered: BTreeSet<_> = given_up.iter().map(|content| shard_of(content)).collect();
    let ordered: Vec<_> = ordered.into_iter().collect();
    assert_eq!(nodes[0].apply(ordered.clone()).await, Ok(ordered.len()));
    // A restart goes on with it.
    nodes[0].reconciler.clone().stop().await;
    let store = nodes[0].store.clone();
    let again = world.node_with(1, &[1, 2, 3], of_two(), dir.path(), store);
    let again = again.await;
    until("handed over", INTERVAL * 4, || {
        given_up.iter().all(|content| again.has_let_go(content))
    })
    .await;
    tokio::time::sleep(Duration::from_mins(1)).await;
    let shard = again.move_of(&given_up[0]).unwrap();
    assert!(shard.applied && shard.blobs == 0 && shard.waiting.is_none());
    assert!(shard.proved == shard.retired && shard.retired > 0);
    assert!(nodes[1].has(&given_up) && nodes[2].has(&given_up));
}
