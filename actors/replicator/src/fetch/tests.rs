#![allow(clippy::unwrap_used)]
use bytecave_messages::swarm::PeerView;

use super::*;
use crate::fakes::{
    Does, FakeStore, FakeSwarm, content_of_shard, facts, network, peer, permit, view,
};

const PATIENCE: Patience = Patience {
    deadline: Duration::from_mins(1),
    hedge: Duration::from_secs(2),
};
const AT_ONCE_LATER: Duration = Duration::ZERO;

struct Node {
    store: FakeStore,
    swarm: FakeSwarm,
    fetcher: Fetcher,
    peers: Vec<PeerView>,
}

impl Node {
    /// With so many connected peers, and a clock that jumps.
    fn with(peers: u8) -> Self {
        tokio::time::pause();
        let (store, swarm) = (FakeStore::start(), FakeSwarm::start());
        Self {
            fetcher: Fetcher::new(store.port(), swarm.port(), facts(), PATIENCE),
            store,
            swarm,
            peers: (1..=peers).map(view).collect(),
        }
    }

    fn fetch(&self, cid: BlobCid) -> impl Future<Output = Outcome> + use<> {
        let network = Arc::new(network(self.peers.clone()));
        let wanted = FetchBlob {
            cid,
            permit: permit(),
        };
        self.fetcher.clone().fetch(wanted, Some(network))
    }
}

fn ours() -> Vec<u8> {
    content_of_shard(2)
}

fn gives(content: Vec<u8>) -> Does {
    Does::Gives(content, AT_ONCE_LATER)
}

#[actix::test]
async fn the_first_lies_and_the_second_serves() {
    let node = Node::with(3);
    let cid = BlobCid::of(&ours());
    node.swarm.set(1, gives(b"not what was asked for".to_vec()));
    node.swarm.set(2, gives(ours()));
    let blob = node.fetch(cid).await.unwrap();
    assert_eq!(blob.bytes, ours());
    assert_eq!(blob.content_type.as_deref(), Some("text/plain"));
    assert_eq!(node.swarm.asked(), [1, 2].map(peer));
}

#[actix::test]
async fn what_is_ours_is_kept_and_what_is_not_is_not() {
    let node = Node::with(1);
    let foreign = content_of_shard(9);
    node.swarm.set(1, gives(foreign.clone()));
    node.fetch(BlobCid::of(&foreign)).await.unwrap();
    node.swarm.set(1, gives(ours()));
    node.fetch(BlobCid::of(&ours())).await.unwrap();
    node.store.until_asked("put").await;
    assert_eq!(node.store.asked(), [format!("put {}", ours().len())]);
    let kept = node.store.kept(&BlobCid::of(&ours())).unwrap();
    assert_eq!(kept.content_type.as_deref(), Some("text/plain"));
}

#[actix::test]
async fn a_store_that_cannot_keep_it_does_not_fail_the_client() {
    let node = Node::with(1);
    node.swarm.set(1, gives(ours()));
    node.store
        .fail_with(bytecave_messages::store::StoreError::Unavailable);
    assert!(node.fetch(BlobCid::of(&ours())).await.is_ok());
    node.store.until_asked("put").await;
}

#[actix::test]
async fn none_has_it() {
    let node = Node::with(5);
    let cid = BlobCid::of(&ours());
    node.swarm.set(2, Does::SpeaksNot);
    let missing = node.fetch(cid).await.unwrap_err();
    assert_eq!(missing, FetchError::NotFound { cid, asked: 4 });
    assert_eq!(
        missing.to_string(),
        format!("blob {cid} is not stored here, and none of the 4 peers that were asked has it")
    );
    assert_eq!(node.swarm.asked().len(), 5);
}

#[actix::test]
async fn nobody_to_ask() {
    let node = Node::with(0);
    let cid = BlobCid::of(&ours());
    let missing = FetchError::NotFound { cid, asked: 0 };
    assert_eq!(node.fetch(cid).await.unwrap_err(), missing);
    // Networking is off: the swarm never said how the network is.
    let wanted = FetchBlob {
        cid,
        permit: permit(),
    };
    let fetched = node.fetcher.clone().fetch(wanted, None).await;
    assert_eq!(fetched.unwrap_err(), missing);
}

#[actix::test]
async fn all_are_silent() {
    let node = Node::with(40);
    let cid = BlobCid::of(&ours());
    for number in 1..=40 {
        node.swarm.set(number, Does::Nothing);
    }
    let began = Instant::now();
    let late = node.fetch(cid).await.unwrap_err();
    assert_eq!(
        late,
        FetchError::TimedOut {
            cid,
            asked: AT_ONCE,
            silent: AT_ONCE,
            after: PATIENCE.deadline
        }
    );
    assert_eq!(began.elapsed().as_secs(), PATIENCE.deadline.as_secs());
    assert_eq!(node.swarm.most_at_once(), AT_ONCE);
}

#[actix::test]
async fn no_more_are_asked_than_allowed_and_few_at_once() {
    let node = Node::with(40);
    let cid = BlobCid::of(&ours());
    for number in 1..=40 {
        node.swarm.set(
            number,
            Does::Gives(b"wrong".to_vec(), Duration::from_secs(3)),
        );
    }
    let failed = node.fetch(cid).await.unwrap_err();
    assert!(
        matches!(
            failed,
            FetchError::TimedOut {
                asked: 16,
                silent: 16,
                ..
            }
        ),
        "{failed}"
    );
    assert_eq!(node.swarm.asked().len(), 16);
    assert!((2..=AT_ONCE).contains(&node.swarm.most_at_once()));
}

#[actix::test]
async fn a_slow_peer_is_passed_by_another_after_a_moment() {
    let node = Node::with(2);
    let cid = BlobCid::of(&ours());
    node.swarm
        .set(1, Does::Gives(ours(), Duration::from_secs(50)));
    node.swarm.set(2, gives(ours()));
    let began = Instant::now();
    node.fetch(cid).await.unwrap();
    assert_eq!(began.elapsed().as_secs(), PATIENCE.hedge.as_secs());
    assert_eq!(node.swarm.asked(), [1, 2].map(peer));
}

#[actix::test]
async fn a_quick_peer_is_not_hurried() {
    let node = Node::with(2);
    node.swarm
        .set(1, Does::Gives(ours(), Duration::from_secs(1)));
    node.fetch(BlobCid::of(&ours())).await.unwrap();
    assert_eq!(node.swarm.asked(), [peer(1)]);
}

#[actix::test]
async fn busy_ones_and_one_that_has_not_are_not_all() {
    let node = Node::with(3);
    let cid = BlobCid::of(&ours());
    node.swarm.set(1, Does::IsBusy);
    node.swarm.set(2, Does::HasNot);
    node.swarm.set(3, Does::IsBusy);
    let failed = node.fetch(cid).await.unwrap_err();
    assert!(
        matches!(
            failed,
            FetchError::TimedOut {
                asked: 3,
                silent: 2,
                ..
            }
        ),
        "{failed}"
    );
}

#[actix::test]
async fn who_asks_for_the_same_waits_for_the_same_fetch() {
    let node = Node::with(1);
    let cid = BlobCid::of(&ours());
    node.swarm
        .set(1, Does::Gives(ours(), Duration::from_secs(1)));
    let (first, second) = tokio::join!(node.fetch(cid), node.fetch(cid));
    assert_eq!(first.unwrap().bytes, second.unwrap().bytes);
    assert_eq!(node.swarm.asked().len(), 1);
    assert!(node.fetcher.flights().is_empty());
    node.fetch(cid).await.unwrap();
    assert_eq!(node.swarm.asked().len(), 2, "a later one is another fetch");
}

#[actix::test]
async fn a_fetch_that_nobody_waits_for_ends() {
    let node = Node::with(1);
    let cid = BlobCid::of(&ours());
    node.swarm.set(1, Does::Nothing);
    let left = tokio::time::timeout(Duration::from_secs(1), node.fetch(cid)).await;
    assert!(left.is_err());
    while !node.fetcher.flights().is_empty() {
        tokio::task::yield_now().await;
    }
    node.swarm.set(1, gives(ours()));
    assert!(node.fetch(cid).await.is_ok());
}

#[actix::test]
async fn one_that_joins_a_fetch_outlives_who_began_it() {
    let node = Node::with(1);
    let cid = BlobCid::of(&ours());
    node.swarm
        .set(1, Does::Gives(ours(), Duration::from_secs(10)));
    let began = tokio::time::timeout(Duration::from_secs(1), node.fetch(cid));
    let (began, joined) = tokio::join!(began, node.fetch(cid));
    assert!(began.is_err());
    assert!(joined.is_ok());
    assert_eq!(node.swarm.asked().len(), 1);
}

#[actix::test]
async fn a_full_mailbox_of_the_network_is_told() {
    let node = Node::with(1);
    let occupied = node.swarm.occupy();
    let refused = node.fetch(BlobCid::of(&ours())).await.unwrap_err();
    assert!(matches!(refused, FetchError::Full(_)), "{refused}");
    drop(occupied);
}

#[actix::test]
async fn an_answer_under_way_counts_though_there_is_no_room_for_another() {
    let node = Node::with(2);
    let cid = BlobCid::of(&ours());
    node.swarm
        .set(1, Does::Gives(ours(), Duration::from_secs(10)));
    let mut fetch = Box::pin(node.fetch(cid));
    let early = tokio::time::timeout(Duration::from_secs(1), &mut fetch).await;
    assert!(early.is_err());
    let occupied = node.swarm.occupy();
    assert_eq!(fetch.await.unwrap().bytes, ours());
    assert_eq!(node.swarm.asked(), [peer(1)]);
    drop(occupied);
}
