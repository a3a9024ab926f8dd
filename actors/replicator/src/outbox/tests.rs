#![allow(clippy::unwrap_used)]
use std::sync::Arc;
use std::time::Duration;

use bytecave_core::BlobCid;
use bytecave_messages::replicator::{BlobFacts, BytesAt, PlaceBlob};
use bytecave_messages::store::StoreError;
use bytecave_messages::swarm::RefusalKind;
use tokio::time::sleep;

use super::*;
use crate::conduct::Conduct;
use crate::fakes::{
    FakeStore, FakeSwarm, ME, Takes, contents_of_shard, count, holders, keeper, network, peer,
    permit,
};

/// Longer than all that is not put off takes.
const A_WHILE: Duration = Duration::from_secs(3);

struct Node {
    store: FakeStore,
    swarm: FakeSwarm,
    outbox: Outbox,
    placer: Placer,
}

impl Node {
    /// Among so many keepers, numbered from 1.
    fn among(others: u8) -> Self {
        tokio::time::pause();
        let (store, swarm) = (FakeStore::start(), FakeSwarm::start());
        let holders = holders(3, (1..=others).map(keeper).collect());
        let conduct = Conduct::new(|| 0);
        let placer = Placer::new(store.port(), swarm.port(), holders, conduct);
        Self {
            outbox: Outbox::new(store.port(), placer.clone()),
            placer,
            store,
            swarm,
        }
    }

    /// A shard of ours that this node holds, or does not.
    fn shard(&self, held: bool) -> u16 {
        let placement = self.placer.holders().placement().unwrap();
        let held_here = |shard: &u16| {
            let shard = count().shard((*shard).into()).unwrap();
            placement.holds(&peer(ME), shard) == held
        };
        (0..8).find(held_here).unwrap()
    }

    /// A client stores so many blobs of this shard.
    fn stored(&self, shard: u16, many: usize) -> Vec<BlobCid> {
        let contents = contents_of_shard(shard, many);
        let stored = contents.iter();
        stored
            .map(|content| self.store.client_stores(content))
            .collect()
    }

    fn nudge(&mut self, shard: u16) {
        self.outbox.nudge(count().shard(shard.into()).unwrap());
    }

    fn asked(&self, what: &str) -> usize {
        let asked = self.store.asked();
        asked.iter().filter(|asked| asked.starts_with(what)).count()
    }
}

#[actix::test]
async fn what_a_crash_left_goes_to_all_holders_and_the_cursors_follow_together() {
    let mut node = Node::among(2);
    for shard in 0..8 {
        node.stored(shard, 3);
    }
    node.outbox.start(true);
    sleep(A_WHILE).await;
    assert_eq!((node.store.outbox(), node.outbox.waiting()), (0, 0));
    assert_eq!(node.swarm.sent().len(), 8 * 3 * 2);
    assert!(node.asked("advance") <= 2, "{:?}", node.store.asked());
}

#[actix::test]
async fn what_a_crash_left_waits_until_the_others_are_met_again() {
    let mut node = Node::among(0);
    node.stored(4, 3);
    node.outbox.start(true);
    sleep(Duration::from_mins(2)).await;
    assert_eq!(node.store.outbox(), 3, "nobody said yet what it keeps");
    let met = network((1..=2).map(keeper).collect());
    node.placer.holders().set_network(Arc::new(met));
    sleep(A_WHILE).await;
    assert_eq!(node.swarm.sent().len(), 3 * 2);
    assert_eq!((node.store.outbox(), node.outbox.waiting()), (0, 0));
}

#[actix::test]
async fn what_is_stored_later_goes_with_the_nudge() {
    let mut node = Node::among(2);
    node.outbox.start(true);
    sleep(A_WHILE).await;
    let cids = node.stored(5, 1);
    node.nudge(5);
    sleep(A_WHILE).await;
    let to: Vec<_> = node
        .swarm
        .offered()
        .into_iter()
        .map(|(_, cid)| cid)
        .collect();
    assert_eq!(to, [cids[0], cids[0]]);
    assert_eq!(node.store.outbox(), 0);
}

#[actix::test]
async fn a_long_outbox_is_walked_through_and_each_blob_offered_once() {
    let mut node = Node::among(2);
    let cids = node.stored(3, 1000);
    node.outbox.start(true);
    sleep(Duration::from_mins(1)).await;
    assert_eq!((node.store.outbox(), node.outbox.waiting()), (0, 0));
    let mut offered: Vec<_> = node.swarm.offered();
    assert_eq!(offered.len(), 2 * cids.len());
    offered.sort_unstable();
    offered.dedup();
    assert_eq!(offered.len(), 2 * cids.len());
}

#[actix::test]
async fn without_a_network_or_others_the_cursors_follow() {
    for (others, networked) in [(0, true), (2, false)] {
        let mut node = Node::among(others);
        node.stored(3, 2);
        node.stored(5, 1);
        node.outbox.start(networked);
        // Long enough to know that nobody comes.
        sleep(Duration::from_mins(6)).await;
        assert_eq!(node.store.asked(), ["outbox", "advance [3, 5]"]);
        assert_eq!(node.store.outbox(), 0);
        assert_eq!(node.swarm.offered(), []);
        tokio::time::resume();
    }
}

#[actix::test]
async fn a_holder_tries_each_once_and_leaves_the_rest_to_comparing() {
    let mut node = Node::among(2);
    let shard = node.shard(true);
    node.swarm.set_takes(1, Takes::Away);
    node.swarm.set_takes(2, Takes::Refuses(RefusalKind::Full));
    node.stored(shard, 5);
    node.outbox.start(true);
    sleep(A_WHILE).await;
    assert_eq!((node.store.outbox(), node.outbox.waiting()), (0, 0));
    assert_eq!(node.swarm.sent(), []);
}

#[actix::test]
async fn who_is_no_holder_goes_on_until_one_has_it() {
    let mut node = Node::among(6);
    let shard = node.shard(false);
    for number in 1..=6 {
        node.swarm
            .set_takes(number, Takes::Refuses(RefusalKind::Full));
    }
    node.stored(shard, 3);
    node.outbox.start(true);
    sleep(Duration::from_hours(2)).await;
    assert_eq!((node.store.outbox(), node.outbox.waiting()), (3, 3));
    let tries = node.swarm.offered().len() / 9;
    assert!((24..45).contains(&tries), "{tries} tries in two hours");
    for number in 1..=6 {
        node.swarm.set_takes(number, Takes::Keeps);
    }
    sleep(Duration::from_mins(7)).await;
    assert_eq!((node.store.outbox(), node.outbox.waiting()), (0, 0));
    assert_eq!(node.swarm.sent().len(), 9);
}

#[actix::test]
async fn one_blob_that_fails_holds_up_no_other() {
    let mut node = Node::among(6);
    let shard = node.shard(false);
    let cids = node.stored(shard, 150);
    let fails = Takes::Refuses(RefusalKind::Unavailable);
    node.swarm.set_takes_of(cids[0], Some(fails));
    node.outbox.start(true);
    sleep(Duration::from_mins(1)).await;
    assert_eq!(node.swarm.sent().len(), 149 * 3);
    assert_eq!(node.outbox.waiting(), 1);
    assert_eq!(
        node.store.outbox(),
        150,
        "the cursor passes nothing that is not settled"
    );
    node.swarm.set_takes_of(cids[0], None);
    sleep(Duration::from_mins(10)).await;
    assert_eq!((node.store.outbox(), node.outbox.waiting()), (0, 0));
    assert_eq!(node.swarm.sent().len(), 150 * 3);
}

#[actix::test]
async fn no_more_than_a_window_of_a_shard_waits_in_memory() {
    let mut node = Node::among(6);
    let shard = node.shard(false);
    for number in 1..=6 {
        node.swarm
            .set_takes(number, Takes::Refuses(RefusalKind::Full));
    }
    node.stored(shard, 700);
    node.outbox.start(true);
    sleep(Duration::from_mins(10)).await;
    let waiting = usize::try_from(node.outbox.waiting()).unwrap();
    let most = queue::WINDOW + queue::PAGE;
    assert!((queue::WINDOW..most).contains(&waiting), "{waiting}");
    for number in 1..=6 {
        node.swarm.set_takes(number, Takes::Keeps);
    }
    sleep(Duration::from_mins(30)).await;
    assert_eq!((node.store.outbox(), node.outbox.waiting()), (0, 0));
}

#[actix::test]
async fn what_is_gone_is_settled() {
    let mut node = Node::among(6);
    let shard = node.shard(false);
    let cids = node.stored(shard, 3);
    node.store.deleted(&cids[0]);
    node.store.blocked(&cids[1]);
    node.store.quarantine(&cids[2]);
    node.outbox.start(true);
    sleep(A_WHILE).await;
    assert_eq!(node.store.outbox(), 0);
    assert_eq!(node.swarm.offered(), []);
}

#[actix::test]
async fn what_was_placed_for_a_client_is_not_offered_again() {
    let mut node = Node::among(2);
    let content = contents_of_shard(4, 1).remove(0);
    let cid = node.store.client_stores(&content);
    let order = PlaceBlob {
        blob: BlobFacts {
            cid,
            size: content.len() as u64,
            blob_root: bytecave_core::tree::blob_root(&content),
            content_type: None,
        },
        bytes: BytesAt::Store,
        wanted: 3,
        patience: A_WHILE,
        permit: permit(),
    };
    node.placer.clone().place(order).await.unwrap();
    node.outbox.start(true);
    sleep(A_WHILE).await;
    assert_eq!(node.store.outbox(), 0);
    assert_eq!(node.swarm.offered().len(), 2);
}

#[actix::test]
async fn blobs_are_copied_a_few_at_once() {
    let mut node = Node::among(2);
    for number in 1..=2 {
        let slowly = Takes::KeepsAfter(Duration::from_secs(2));
        node.swarm.set_takes(number, slowly);
    }
    node.stored(2, 20);
    node.outbox.start(true);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(node.swarm.offered().len(), 8 * 2);
    assert_eq!(node.outbox.waiting(), 20);
    sleep(Duration::from_secs(10)).await;
    assert_eq!(node.outbox.waiting(), 0);
}

#[actix::test]
async fn what_is_stopped_is_taken_up_again() {
    let mut node = Node::among(2);
    for number in 1..=2 {
        node.swarm.set_takes(number, Takes::Nothing);
    }
    node.stored(2, 20);
    node.outbox.start(true);
    sleep(Duration::from_secs(1)).await;
    node.outbox.stop();
    sleep(Duration::from_mins(5)).await;
    assert_eq!(node.store.outbox(), 20);
    assert_eq!(node.swarm.offered().len(), 16);
    for number in 1..=2 {
        node.swarm.set_takes(number, Takes::Keeps);
    }
    let mut again = Outbox::new(node.store.port(), node.placer.clone());
    again.start(true);
    sleep(A_WHILE).await;
    assert_eq!((node.store.outbox(), again.waiting()), (0, 0));
    assert_eq!(node.swarm.sent().len(), 40);
}

#[actix::test]
async fn a_store_that_fails_is_asked_again() {
    let mut node = Node::among(2);
    node.stored(2, 3);
    node.store.fail_with(StoreError::Unavailable);
    node.outbox.start(true);
    sleep(A_WHILE).await;
    node.store.recover();
    sleep(A_WHILE).await;
    assert_eq!(node.store.outbox(), 0);
    node.store.fail_with(StoreError::Unavailable);
    node.stored(2, 3);
    node.nudge(2);
    sleep(A_WHILE).await;
    node.store.recover();
    sleep(Duration::from_secs(10)).await;
    assert_eq!((node.store.outbox(), node.outbox.waiting()), (0, 0));
}
