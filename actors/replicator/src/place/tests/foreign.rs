//! Blobs of shards that this node does not keep.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

#[actix::test]
async fn a_foreign_blob_needs_one_that_takes_it() {
    tokio::time::pause();
    let foreign = content_of_shard(9);
    let blob = facts(&foreign);
    let in_memory = BytesAt::Transit(InTransit::Memory(foreign.clone().into()));
    let node = Node::among(1..=3);
    let refused = node.place_from(&blob, in_memory.clone(), 1).await;
    let Err(PlaceError::NoHolder { holders, shard, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((holders, shard.get()), (Vec::new(), 9));
    let node = Node::with((1..=3).map(keeper_of_all).collect());
    for number in 1..=3 {
        node.swarm
            .set_takes(number, Takes::Refuses(RefusalKind::Full));
    }
    let refused = node.place_from(&blob, in_memory.clone(), 1).await;
    assert!(
        matches!(&refused, Err(PlaceError::NoHolder { holders, .. }) if holders.len() == 3),
        "{refused:?}"
    );
    node.swarm.set_takes(2, Takes::Keeps);
    assert_eq!(node.place_from(&blob, in_memory, 3).await, placed(1, 3));
    assert_eq!(node.swarm.sent(), [(peer(2), foreign)]);
    assert_eq!(node.store.asked(), [""; 0], "the store does not have it");
}

struct Held(Vec<u8>, Arc<AtomicBool>);

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.1.store(true, Ordering::Relaxed);
    }
}

#[actix::test]
async fn a_foreign_blob_is_held_until_nobody_is_sent_it_any_more() {
    tokio::time::pause();
    let foreign = content_of_shard(9);
    let blob = facts(&foreign);
    let node = Node::with((1..=3).map(keeper_of_all).collect());
    node.swarm.set_takes(1, Takes::KeepsAfter(PATIENCE * 2));
    let let_go = Arc::new(AtomicBool::new(false));
    let bytes = Bytes::from_owner(Held(foreign, Arc::clone(&let_go)));
    let transit = BytesAt::Transit(InTransit::Memory(bytes));
    assert_eq!(node.place_from(&blob, transit, 2).await, placed(2, 3));
    assert!(!let_go.load(Ordering::Relaxed));
    sleep(PATIENCE * 3).await;
    assert!(node.has(&peer(1)));
    assert!(let_go.load(Ordering::Relaxed));
}

#[actix::test]
async fn a_foreign_blob_on_disk_is_read_from_its_hold() {
    tokio::time::pause();
    let foreign = content_of_shard(9);
    let node = Node::with((1..=3).map(keeper_of_all).collect());
    let hold = bytecave_messages::store::TransitHold::new(Bytes::from(foreign.clone()));
    let transit = BytesAt::Transit(InTransit::Disk(hold));
    let answer = node.place_from(&facts(&foreign), transit, 3).await;
    assert_eq!(answer, placed(3, 3));
    assert_eq!(node.store.asked(), ["read transit"]);
    assert!(node.swarm.sent().iter().all(|(_, sent)| *sent == foreign));
}
