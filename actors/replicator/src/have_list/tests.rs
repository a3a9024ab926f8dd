#![allow(clippy::unwrap_used)]
use bytecave_messages::store::StoreCondition;
use bytecave_messages::swarm::Answer;

use bytecave_messages::store::StoreError;

use super::*;
use crate::fakes::{FakeStore, facts, peer, permit, snapshot};

struct Node {
    store: FakeStore,
    lister: Lister,
    /// In the order of the list.
    cids: Vec<BlobCid>,
}

impl Node {
    fn with(blobs: u64) -> Self {
        let store = FakeStore::start();
        let mut cids: Vec<BlobCid> = (0..blobs)
            .map(|number| store.seed(&number.to_be_bytes(), None))
            .collect();
        cids.sort();
        let facts = facts();
        facts.set(&snapshot(blobs, StoreCondition::Writable));
        Self {
            lister: Lister::new(store.port(), facts),
            store,
            cids,
        }
    }

    async fn ask(&self, from: PeerId, ask: HaveListAsk) -> Result<HaveList, Refusal> {
        let (answer, given) = Answer::new();
        let request = InboundHaveList {
            from,
            ask,
            answer,
            permit: permit(),
        };
        self.lister.clone().answer(request).await;
        given.await.unwrap()
    }

    async fn page(&self, number: u8, limit: usize, offset: u64) -> Result<HaveList, Refusal> {
        self.ask(peer(number), HaveListAsk::Page { limit, offset })
            .await
    }
}

#[actix::test]
async fn walking_the_list_counts_nothing_twice() {
    let node = Node::with(25);
    let mut all = Vec::new();
    for (offset, has_more) in [(0, true), (10, true), (20, false)] {
        let page = node.page(1, 10, offset).await.unwrap();
        assert_eq!((page.total, page.has_more), (25, has_more));
        all.extend(page.cids);
    }
    assert_eq!(all, node.cids);
    assert_eq!(
        node.store.asked(),
        ["list start 10", "list on 10", "list on 10"]
    );
}

#[actix::test]
async fn each_peer_has_its_own_position() {
    let node = Node::with(30);
    node.page(1, 10, 0).await.unwrap();
    node.page(2, 5, 0).await.unwrap();
    node.store.forget_asked();
    let page = node.page(1, 10, 10).await.unwrap();
    assert_eq!(page.cids, node.cids[10..20]);
    let page = node.page(2, 10, 5).await.unwrap();
    assert_eq!(page.cids, node.cids[5..15]);
    assert_eq!(node.store.asked(), ["list on 10", "list on 10"]);
}

#[actix::test]
async fn an_offset_elsewhere_is_walked_to() {
    let node = Node::with(30);
    let page = node.page(1, 10, 12).await.unwrap();
    assert_eq!(page.cids, node.cids[12..22]);
    let page = node.page(1, 4, 3).await.unwrap();
    assert_eq!(page.cids, node.cids[3..7]);
    let page = node.page(1, 100, 28).await.unwrap();
    assert_eq!(page.cids, node.cids[28..]);
    assert!(!page.has_more);
}

#[actix::test]
async fn the_walk_of_one_request_is_bounded_and_goes_on_with_the_next() {
    let far = (PAGES_A_REQUEST * LIST_LIMIT) as u64;
    let node = Node::with(far + 20);
    assert_eq!(node.page(1, 10, far).await, Err(Refusal::Busy));
    assert_eq!(node.store.asked().len(), PAGES_A_REQUEST);
    node.store.forget_asked();
    let page = node.page(1, 10, far).await.unwrap();
    let at = PAGES_A_REQUEST * LIST_LIMIT;
    assert_eq!(page.cids, node.cids[at..at + 10]);
    assert_eq!(node.store.asked(), ["list on 10"]);
}

#[actix::test]
async fn nothing_is_walked_behind_the_end_or_for_nothing() {
    let node = Node::with(5);
    for (limit, offset) in [(10, 5), (10, u64::MAX), (0, 0)] {
        let page = node.page(1, limit, offset).await.unwrap();
        assert_eq!(page.cids, []);
        assert_eq!((page.total, page.has_more), (5, offset == 0));
    }
    assert_eq!(node.store.asked(), [""; 0]);
}

#[actix::test]
async fn no_more_are_listed_than_allowed() {
    let node = Node::with(HAVE_LIST_LIMIT as u64 + 1);
    let page = node.page(1, usize::MAX, 0).await.unwrap();
    assert_eq!((page.cids.len(), page.has_more), (HAVE_LIST_LIMIT, true));
}

#[actix::test]
async fn damaged_blobs_are_not_listed() {
    let node = Node::with(9);
    node.store.quarantine(&node.cids[2]);
    node.store.quarantine(&node.cids[5]);
    let mut whole = node.cids.clone();
    whole.remove(5);
    whole.remove(2);
    let first = node.page(1, 4, 0).await.unwrap();
    assert_eq!(first.cids, whole[..4]);
    let rest = node.page(1, 4, 4).await.unwrap();
    assert_eq!(rest.cids, whole[4..]);
    assert!(!rest.has_more);
    let which = HaveListAsk::Which(node.cids.clone());
    assert_eq!(node.ask(peer(1), which).await.unwrap().cids, whole);
}

#[actix::test]
async fn what_was_deleted_or_blocked_is_not_listed() {
    let node = Node::with(4);
    node.store.deleted(&node.cids[0]);
    node.store.blocked(&node.cids[2]);
    let left = [node.cids[1], node.cids[3]];
    assert_eq!(node.page(1, 10, 0).await.unwrap().cids, left);
    let which = HaveListAsk::Which(node.cids.clone());
    assert_eq!(node.ask(peer(1), which).await.unwrap().cids, left);
}

#[actix::test]
async fn which_of_these_are_here() {
    let node = Node::with(3);
    let elsewhere = BlobCid::of(b"elsewhere");
    let asked = vec![node.cids[2], elsewhere, node.cids[0]];
    let list = node.ask(peer(1), HaveListAsk::Which(asked)).await.unwrap();
    assert_eq!(list.cids, [node.cids[2], node.cids[0]]);
    assert_eq!((list.total, list.has_more), (2, false));
    let many = vec![elsewhere; HAVE_LIST_LIMIT + 500];
    node.store.forget_asked();
    node.ask(peer(1), HaveListAsk::Which(many)).await.unwrap();
    assert_eq!(node.store.asked(), [format!("check {HAVE_LIST_LIMIT}")]);
}

#[actix::test]
async fn positions_of_peers_that_ask_no_more_are_forgotten() {
    let node = Node::with(2);
    for number in 0..=u8::MAX {
        node.page(number, 1, 0).await.unwrap();
    }
    assert_eq!(node.lister.lock().len(), PEERS);
    let other =
        bytecave_core::NodeIdentity::from_seed([[1; 16], [2; 16]].concat().try_into().unwrap())
            .unwrap()
            .peer_id();
    let page = HaveListAsk::Page {
        limit: 1,
        offset: 0,
    };
    node.ask(other, page).await.unwrap();
    assert_eq!(node.lister.lock().len(), PEERS);
    assert_eq!(node.lister.take(&peer(0)), None);
    assert!(node.lister.take(&peer(1)).is_some());
}

#[actix::test]
async fn a_busy_store_is_told() {
    let node = Node::with(1);
    node.store.fail_with(StoreError::Unavailable);
    let refused = Refusal::Unavailable("the node is stopping");
    assert_eq!(node.page(1, 1, 0).await, Err(refused.clone()));
    let which = HaveListAsk::Which(node.cids.clone());
    assert_eq!(node.ask(peer(1), which).await, Err(refused));
}
