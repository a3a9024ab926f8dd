#![allow(clippy::unwrap_used)]
use bytecave_core::{BlobCid, ShardRange, tree};
use bytecave_messages::store::InTransit;
use bytecave_messages::swarm::{PeerView, RefusalKind};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::sleep;

use super::*;
use crate::conduct::Deed;
use crate::fakes::{
    FakeStore, FakeSwarm, ME, Takes, content_of_shard, holders, keeper, peer, permit, view,
};

mod audited;
mod foreign;

const FACTOR: usize = 3;
const PATIENCE: Duration = Duration::from_secs(10);

struct Node {
    store: FakeStore,
    swarm: FakeSwarm,
    placer: Placer,
}

impl Node {
    /// Among keepers of these numbers.
    fn among(numbers: std::ops::RangeInclusive<u8>) -> Self {
        Self::with(numbers.map(keeper).collect())
    }

    fn with(peers: Vec<PeerView>) -> Self {
        let (store, swarm) = (FakeStore::start(), FakeSwarm::start());
        let conduct = Conduct::new(|| 0);
        let holders = holders(FACTOR, peers);
        let placer = Placer::new(store.port(), swarm.port(), holders, conduct);
        Self {
            store,
            swarm,
            placer,
        }
    }

    fn placement(&self) -> Arc<Placement> {
        self.placer.holders().placement().unwrap()
    }

    /// A blob that a client brought here, of the first shard that this node holds, or of the first that
    /// it does not hold.
    fn blob(&self, held: bool) -> BlobFacts {
        let placement = self.placement();
        let held_here = |content: &Vec<u8>| {
            let shard = placement.shard_of(&BlobCid::of(content));
            placement.holds(&peer(ME), shard) == held
        };
        let content = (0..8).map(content_of_shard).find(held_here).unwrap();
        self.store.client_stores(&content);
        facts(&content)
    }

    /// Who is to have it, best first, and who stands in for them.
    fn targets(&self, blob: &BlobFacts) -> (Vec<PeerId>, Vec<PeerId>) {
        let placement = self.placement();
        let shard = placement.shard_of(&blob.cid);
        let holders = placement.holders(shard);
        let others = |mut peers: Vec<PeerId>| {
            peers.retain(|known| *known != peer(ME));
            peers
        };
        let holders = holders.iter().map(|holder| holder.peer).collect();
        (others(holders), others(placement.beyond(shard)))
    }

    async fn place(&self, blob: &BlobFacts, wanted: u32) -> Result<Placed, PlaceError> {
        self.place_from(blob, BytesAt::Store, wanted).await
    }

    async fn place_from(
        &self,
        blob: &BlobFacts,
        bytes: BytesAt,
        wanted: u32,
    ) -> Result<Placed, PlaceError> {
        let order = PlaceBlob {
            blob: blob.clone(),
            bytes,
            wanted,
            patience: PATIENCE,
            permit: permit(),
        };
        self.placer.clone().place(order).await
    }

    fn has(&self, who: &PeerId) -> bool {
        self.swarm.sent().iter().any(|(known, _)| known == who)
    }

    fn offered_to(&self, who: &PeerId) -> usize {
        let offered = self.swarm.offered();
        offered.iter().filter(|(known, _)| known == who).count()
    }
}

fn facts(content: &[u8]) -> BlobFacts {
    BlobFacts {
        cid: BlobCid::of(content),
        size: content.len() as u64,
        blob_root: tree::blob_root(content),
        content_type: None,
    }
}

fn number_of(who: &PeerId) -> u8 {
    (0..=u8::MAX).find(|number| peer(*number) == *who).unwrap()
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with an answer")]
fn placed(confirmed: u32, target: u32) -> Result<Placed, PlaceError> {
    Ok(Placed { confirmed, target })
}

/// A connected peer of the first version.
fn old(number: u8) -> PeerView {
    let mut view = view(number);
    let info = view.info.as_mut().unwrap();
    info.protocols.push("/bytecave/replicate/1.0.0".to_owned());
    view
}

/// A connected peer that keeps all shards, those that this node does not keep among them.
fn keeper_of_all(number: u8) -> PeerView {
    let mut view = keeper(number);
    view.info.as_mut().unwrap().shards = Some(vec![ShardRange { start: 0, end: 15 }]);
    view
}

#[actix::test]
async fn all_holders_get_it_and_the_copy_here_counts() {
    tokio::time::pause();
    let node = Node::among(1..=2);
    let blob = node.blob(true);
    assert_eq!(node.place(&blob, 3).await, placed(3, 3));
    let sent = node.swarm.sent();
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|(_, bytes)| BlobCid::of(bytes) == blob.cid));
}

#[actix::test]
async fn where_there_are_fewer_nodes_the_target_is_lower() {
    tokio::time::pause();
    let node = Node::among(1..=1);
    let blob = node.blob(true);
    assert_eq!(node.place(&blob, 3).await, placed(2, 2));
    let alone = Node::with(Vec::new());
    let blob = alone.blob(true);
    assert_eq!(alone.place(&blob, 3).await, placed(1, 1));
}

#[actix::test]
async fn it_answers_when_enough_have_it_and_the_rest_goes_on() {
    tokio::time::pause();
    let node = Node::among(1..=2);
    let blob = node.blob(true);
    let slow = Duration::from_secs(4);
    node.swarm.set_takes(2, Takes::KeepsAfter(slow));
    let before = Instant::now();
    assert_eq!(node.place(&blob, 2).await, placed(2, 3));
    assert_eq!(before.elapsed(), Duration::ZERO);
    assert!(!node.has(&peer(2)));
    sleep(slow * 2).await;
    assert!(node.has(&peer(2)));
}

#[actix::test]
async fn it_answers_what_was_reached_when_the_time_is_up() {
    tokio::time::pause();
    let node = Node::among(1..=2);
    let blob = node.blob(true);
    node.swarm.set_takes(1, Takes::Nothing);
    node.swarm.set_takes(2, Takes::KeepsAfter(PATIENCE * 2));
    let before = Instant::now();
    assert_eq!(node.place(&blob, 3).await, placed(1, 3));
    assert_eq!(before.elapsed().as_secs(), PATIENCE.as_secs());
    sleep(PATIENCE * 2).await;
    assert!(node.has(&peer(2)), "what is under way goes on");
}

#[actix::test]
async fn one_that_refuses_or_fails_is_replaced_by_the_next_in_rank() {
    tokio::time::pause();
    for takes in [
        Takes::Refuses(RefusalKind::Declined),
        Takes::Refuses(RefusalKind::Full),
        Takes::Away,
        Takes::KeepsUncounted,
    ] {
        let node = Node::among(1..=6);
        let blob = node.blob(false);
        let (targets, beyond) = node.targets(&blob);
        node.swarm.set_takes(number_of(&targets[0]), takes.clone());
        node.swarm.set_takes(number_of(&beyond[0]), takes);
        // All three holders elsewhere, and the copy here.
        assert_eq!(node.place(&blob, 4).await, placed(4, 3));
        assert!(
            node.has(&beyond[1]),
            "the next after the one that refuses too"
        );
        assert_eq!(node.offered_to(&beyond[2]), 0, "and no more");
        let score = node.placer.means.conduct.score(&targets[0]);
        assert!(score >= 0.0, "to refuse or to be away is no fault: {score}");
    }
}

#[actix::test]
async fn a_silent_one_is_passed_over_and_may_still_take_it() {
    tokio::time::pause();
    let node = Node::among(1..=6);
    let blob = node.blob(false);
    let (targets, beyond) = node.targets(&blob);
    let late = Duration::from_secs(8);
    node.swarm
        .set_takes(number_of(&targets[1]), Takes::KeepsAfter(late));
    let before = Instant::now();
    assert_eq!(node.place(&blob, 4).await, placed(4, 3));
    assert!(before.elapsed() < late);
    assert!(node.has(&beyond[0]));
    sleep(late).await;
    assert!(node.has(&targets[1]));
}

#[actix::test]
async fn one_that_is_away_is_left_alone_for_a_moment() {
    tokio::time::pause();
    let node = Node::among(1..=2);
    let blob = node.blob(true);
    node.swarm.set_takes(1, Takes::Away);
    assert_eq!(node.place(&blob, 3).await, placed(2, 3));
    node.swarm.set_takes(1, Takes::Keeps);
    assert_eq!(node.place(&blob, 3).await, placed(2, 3));
    assert_eq!(node.offered_to(&peer(1)), 1);
    sleep(Duration::from_secs(5)).await;
    assert_eq!(node.place(&blob, 3).await, placed(3, 3));
}

#[actix::test]
async fn one_that_is_busy_is_tried_again_a_little_later() {
    tokio::time::pause();
    let node = Node::among(1..=2);
    let blob = node.blob(true);
    node.swarm.set_takes(1, Takes::IsBusy(2));
    assert_eq!(node.place(&blob, 3).await, placed(3, 3));
    assert_eq!(node.offered_to(&peer(1)), 3);
    let score = node.placer.means.conduct.score(&peer(1));
    assert!(score > 0.0, "it was of use in the end: {score}");
}

#[actix::test]
async fn one_that_does_not_answer_in_its_time_is_remembered_for_it() {
    tokio::time::pause();
    let node = Node::among(1..=2);
    let blob = node.blob(true);
    node.swarm.set_takes(1, Takes::Nothing);
    assert_eq!(node.place(&blob, 3).await, placed(2, 3));
    sleep(Duration::from_mins(1)).await;
    assert!(node.placer.means.conduct.score(&peer(1)) < 0.0);
}

#[actix::test]
async fn one_that_lied_gets_nothing() {
    tokio::time::pause();
    let node = Node::among(1..=6);
    let blob = node.blob(false);
    let (targets, beyond) = node.targets(&blob);
    node.placer.means.conduct.note(&targets[0], Deed::Lied);
    assert_eq!(node.place(&blob, 4).await, placed(4, 3));
    assert_eq!(node.offered_to(&targets[0]), 0);
    assert!(node.has(&beyond[0]));
}

#[actix::test]
async fn peers_of_the_first_version_get_what_is_wanting_and_count_for_nothing() {
    tokio::time::pause();
    let node = Node::with(vec![keeper(1), old(2), old(3)]);
    let blob = node.blob(true);
    for number in [2, 3] {
        node.swarm.set_takes(number, Takes::KeepsUncounted);
    }
    assert_eq!(node.place(&blob, 3).await, placed(2, 2));
    sleep(Duration::from_secs(1)).await;
    assert!(node.has(&peer(2)), "the nearer one gets one more");
    assert_eq!(node.offered_to(&peer(3)), 0);
    let enough = Node::with(vec![keeper(1), keeper(4), old(2)]);
    let blob = enough.blob(true);
    assert_eq!(enough.place(&blob, 3).await, placed(3, 3));
    sleep(Duration::from_secs(1)).await;
    assert_eq!(enough.offered_to(&peer(2)), 0);
}

#[actix::test]
async fn one_blob_is_sent_once_however_many_want_it_copied() {
    tokio::time::pause();
    let node = Node::among(1..=2);
    let blob = node.blob(true);
    for number in 1..=2 {
        let takes = Takes::KeepsAfter(Duration::from_secs(1));
        node.swarm.set_takes(number, takes);
    }
    let (one, other, outcome) = tokio::join!(
        node.place(&blob, 3),
        node.place(&blob, 2),
        node.placer.copy(blob.clone())
    );
    assert_eq!((one, other), (placed(3, 3), placed(3, 3)));
    assert_eq!(outcome.confirmed(), 2);
    assert_eq!(node.swarm.offered().len(), 2);
    assert_eq!(node.placer.copy(blob.clone()).await.confirmed(), 2);
    assert_eq!(
        node.swarm.offered().len(),
        2,
        "what was just brought is not offered again"
    );
    assert_eq!(node.place(&blob, 3).await, placed(3, 3));
    assert_eq!(
        node.swarm.offered().len(),
        4,
        "a new order is a new promise"
    );
}

#[actix::test]
async fn a_client_who_joins_the_outbox_has_others_tried_too() {
    tokio::time::pause();
    let node = Node::among(1..=6);
    let blob = node.blob(false);
    let (targets, beyond) = node.targets(&blob);
    node.swarm
        .set_takes(number_of(&targets[0]), Takes::Refuses(RefusalKind::Full));
    let slowly = Takes::KeepsAfter(Duration::from_secs(1));
    node.swarm.set_takes(number_of(&targets[1]), slowly);
    let copying = node.placer.copy(blob.clone());
    let placing = async {
        tokio::task::yield_now().await;
        node.place(&blob, 4).await
    };
    let (outcome, answer) = tokio::join!(copying, placing);
    assert_eq!(
        outcome.confirmed(),
        2,
        "the outbox leaves it to the next time"
    );
    assert_eq!(answer, placed(4, 3));
    assert!(node.has(&beyond[0]));
    assert_eq!(node.offered_to(&targets[1]), 1);
}

#[actix::test]
async fn the_outbox_looks_for_another_where_a_holder_declines_for_good() {
    tokio::time::pause();
    let node = Node::among(1..=6);
    let blob = node.blob(false);
    let (targets, beyond) = node.targets(&blob);
    let declines = Takes::Refuses(RefusalKind::Declined);
    node.swarm.set_takes(number_of(&targets[0]), declines);
    node.swarm.set_takes(number_of(&targets[1]), Takes::Away);
    let outcome = node.placer.copy(blob).await;
    assert_eq!(outcome.declines, targets[..1]);
    assert_eq!(outcome.failed, targets[1..2]);
    assert!(outcome.has(&beyond[0]) && outcome.has(&targets[2]));
    assert_eq!(node.offered_to(&beyond[1]), 0);
}

#[actix::test]
async fn a_large_blob_is_read_once_for_all() {
    tokio::time::pause();
    let node = Node::among(1..=2);
    let content: Vec<u8> = (0_u32..1000)
        .map(|number| {
            let mut content = vec![7; 2 << 20];
            content[..4].copy_from_slice(&number.to_be_bytes());
            content
        })
        .find(|content| node.placement().shard_of(&BlobCid::of(content)).get() < 8)
        .unwrap();
    node.store.seed(&content, None);
    assert_eq!(node.place(&facts(&content), 3).await, placed(3, 3));
    assert_eq!(node.store.asked(), ["get"]);
    assert!(node.swarm.sent().iter().all(|(_, sent)| *sent == content));
    for number in 1..=2 {
        node.swarm.set_takes(number, Takes::Had);
    }
    assert_eq!(node.place(&facts(&content), 3).await, placed(3, 3));
    assert_eq!(
        node.store.asked(),
        ["get"],
        "not read for those who have it"
    );
}

#[actix::test]
async fn a_blob_that_is_gone_is_no_copy() {
    tokio::time::pause();
    let node = Node::among(1..=2);
    let blob = facts(&content_of_shard(2));
    assert_eq!(node.place(&blob, 3).await, placed(0, 3));
    assert!(node.placer.copy(blob).await.gone);
    assert_eq!(node.swarm.offered(), []);
}

#[actix::test]
async fn only_when_nobody_is_being_tried_any_more_is_nobody_there() {
    tokio::time::pause();
    let node = Node::with((1..=3).map(keeper_of_all).collect());
    let content = content_of_shard(9);
    let (blob, bytes) = (facts(&content), Bytes::from(content));
    let order = || BytesAt::Transit(InTransit::Memory(bytes.clone()));
    for number in 1..=3 {
        node.swarm
            .set_takes(number, Takes::KeepsAfter(PATIENCE + Duration::from_secs(5)));
    }
    assert_eq!(node.place_from(&blob, order(), 1).await, placed(0, 3));
    sleep(PATIENCE).await;
    assert!(!node.swarm.sent().is_empty(), "what was under way went on");
    let other = content_of_shard(12);
    for number in 1..=3 {
        node.swarm
            .set_takes(number, Takes::Refuses(RefusalKind::Full));
    }
    let transit = BytesAt::Transit(InTransit::Memory(Bytes::copy_from_slice(&other)));
    let refused = node.place_from(&facts(&other), transit, 1).await;
    assert!(
        matches!(&refused, Err(PlaceError::NoHolder { holders, .. }) if holders.len() == 3),
        "{refused:?}"
    );
}

#[actix::test]
async fn jobs_are_bounded_and_whoever_finds_none_is_told() {
    tokio::time::pause();
    let node = Node::with((1..=3).map(keeper_of_all).collect());
    for number in 1..=3 {
        node.swarm.set_takes(number, Takes::Nothing);
    }
    let contents: Vec<_> = (0..=JOBS).map(|number| format!("blob {number}")).collect();
    let orders = contents[..JOBS].iter().map(|content| {
        let transit = InTransit::Memory(Bytes::copy_from_slice(content.as_bytes()));
        let blob = facts(content.as_bytes());
        let node = &node;
        async move { node.place_from(&blob, BytesAt::Transit(transit), 1).await }
    });
    // They are still being tried, so they may yet have it.
    for answer in join_all(orders).await {
        assert!(
            matches!(answer, Ok(Placed { confirmed: 0, .. })),
            "{answer:?}"
        );
    }
    let last = contents[JOBS].as_bytes();
    let transit = InTransit::Memory(Bytes::copy_from_slice(last));
    let refused = node
        .place_from(&facts(last), BytesAt::Transit(transit), 1)
        .await;
    assert!(
        matches!(&refused, Err(PlaceError::Full(full)) if full.capacity == JOBS),
        "{refused:?}"
    );
    let here = node.store.client_stores(&content_of_shard(2));
    let blob = facts(&content_of_shard(2));
    assert_eq!(here, blob.cid);
    assert_eq!(node.place(&blob, 2).await, placed(1, 3));
    // Those that are stuck end by themselves.
    sleep(Duration::from_mins(5)).await;
    assert_eq!(node.placer.jobs.available_permits(), JOBS);
}
