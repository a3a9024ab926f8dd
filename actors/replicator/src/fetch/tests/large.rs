use bytecave_core::{BlobRoot, tree};

use super::*;
use crate::fetch::ask::Stated;
use crate::fetch::out::WITHHELD_BYTES;

/// Where peers break off: far enough that some of it went out.
const MIDDLE: u64 = 2_345_678;

/// Of a shard of others, so that nothing is kept of it.
fn foreign() -> Vec<u8> {
    large_of_shard(9)
}

async fn read(blob: FetchedBlob) -> (Vec<u8>, Result<(), BodyError>) {
    drain(pieces(blob.body)).await
}

/// The blob arrives whole.
async fn arrives(node: &Node, content: &[u8]) {
    let blob = node.fetch(BlobCid::of(content)).await.unwrap();
    let len = content.len() as u64;
    assert_eq!((blob.size, blob.offset, blob.len), (len, 0, len));
    let (bytes, end) = read(blob).await;
    assert_eq!(end, Ok(()));
    assert!(bytes == content, "{} bytes", bytes.len());
    node.nothing_is_left().await;
}

/// The blob fails, and what came is short of the withheld bytes at least.
async fn fails(node: &Node, content: &[u8], error: BodyError) {
    let blob = node.fetch(BlobCid::of(content)).await.unwrap();
    let stated = usize::try_from(blob.size).unwrap();
    let (bytes, end) = read(blob).await;
    assert_eq!(end, Err(error));
    assert!(bytes.len() + WITHHELD_BYTES <= stated, "{}", bytes.len());
    node.nothing_is_left().await;
}

#[actix::test]
async fn a_large_blob_streams() {
    let node = Node::with(3);
    let content = foreign();
    node.swarm.set(1, streams(&content));
    let blob = node.fetch(BlobCid::of(&content)).await.unwrap();
    assert_eq!(blob.content_type.as_deref(), Some("text/plain"));
    assert_eq!(node.budget.snapshot().depth, 1, "the permit goes with it");
    let (bytes, end) = read(blob).await;
    assert_eq!(end, Ok(()));
    assert!(bytes == content);
    assert_eq!(node.swarm.asked_from(), asked_from(&[(1, 0)]));
    node.noted(1, &[Deed::Served]);
    assert!(node.store.asked().is_empty());
    node.nothing_is_left().await;
}

#[actix::test]
async fn a_large_blob_that_comes_whole_is_verified_at_once() {
    let node = Node::with(2);
    let content = foreign();
    let mut other = content.clone();
    other[3_000_000] ^= 1;
    node.swarm.set(1, gives(other));
    node.swarm.set(2, gives(content.clone()));
    let blob = node.fetch(BlobCid::of(&content)).await.unwrap();
    assert!(whole(blob.body) == content);
    node.noted(1, &[Deed::Lied]);
    node.noted(2, &[Deed::Served]);
}

#[actix::test]
async fn the_next_peer_goes_on_where_one_breaks_off() {
    let node = Node::with(3);
    let content = foreign();
    node.swarm.set(1, breaks(&content, MIDDLE));
    node.swarm.set(2, breaks(&content, MIDDLE + 1));
    node.swarm.set(3, streams(&content));
    arrives(&node, &content).await;
    let asked = [(1, 0), (2, MIDDLE), (3, MIDDLE + 1)];
    assert_eq!(node.swarm.asked_from(), asked_from(&asked));
    node.noted(1, &[Deed::Silent]);
    node.noted(2, &[Deed::Silent]);
    node.noted(3, &[Deed::Served]);
}

#[actix::test]
async fn the_next_peer_goes_on_where_one_stalls() {
    let node = Node::with(2);
    let content = foreign();
    let half = &content[..3_000_000];
    node.swarm.set(1, claims(LARGE_BYTES, half, true));
    node.swarm.set(2, streams(&content));
    let began = Instant::now();
    arrives(&node, &content).await;
    let asked = [(1, 0), (2, 3_000_000)];
    assert_eq!(node.swarm.asked_from(), asked_from(&asked));
    assert_eq!(began.elapsed().as_secs(), PATIENCE.stall.as_secs());
    node.noted(1, &[Deed::Silent]);
}

#[actix::test]
async fn a_peer_that_gives_a_byte_now_and_then_stalls() {
    let node = Node::with(2);
    let content = foreign();
    let trickles = Does::Streams {
        bytes: content.clone(),
        piece: 1,
        pause: Duration::from_secs(1),
        breaks_at: None,
    };
    node.swarm.set(1, trickles);
    node.swarm.set(2, streams(&content));
    arrives(&node, &content).await;
    assert_eq!(node.swarm.asked_from(), asked_from(&[(1, 0), (2, 9)]));
    node.noted(1, &[Deed::Silent]);
}

#[actix::test]
async fn a_slow_client_is_not_held_against_the_peer() {
    let node = Node::with(1);
    let content = foreign();
    node.swarm.set(1, streams(&content));
    let blob = node.fetch(BlobCid::of(&content)).await.unwrap();
    let mut stream = pieces(blob.body);
    let mut came = 0;
    while let Some(piece) = stream.next().await {
        came += piece.unwrap().len();
        sleep(PATIENCE.stall * 2).await;
    }
    assert_eq!(came, LARGE_BYTES);
    assert_eq!(node.swarm.asked().len(), 1);
}

#[actix::test]
async fn a_peer_of_the_first_version_goes_on_too() {
    let node = Node::with(2);
    let content = foreign();
    node.swarm.set(1, breaks(&content, MIDDLE));
    node.swarm.set(2, gives(content.clone()));
    arrives(&node, &content).await;
    assert_eq!(node.swarm.asked_from(), asked_from(&[(1, 0), (2, MIDDLE)]));
    node.noted(1, &[Deed::Silent]);
    node.noted(2, &[Deed::Served]);
}

#[actix::test]
async fn a_liar_is_told_by_a_peer_that_proves_the_blob() {
    let node = Node::with(2);
    let content = foreign();
    let mut other = content.clone();
    other[5] ^= 1;
    node.swarm.set(1, breaks(&other, MIDDLE));
    node.swarm.set(2, gives(content.clone()));
    fails(&node, &content, BodyError::Damaged).await;
    node.noted(1, &[Deed::Silent, Deed::Lied]);
    node.noted(2, &[Deed::Served]);
}

#[actix::test]
async fn a_size_that_was_a_lie_is_told_by_a_peer_that_proves_the_blob() {
    let node = Node::with(2);
    let content = foreign();
    let begins = claims(LARGE_BYTES + 10, &content[..1_000_000], true);
    node.swarm.set(1, begins);
    node.swarm.set(2, gives(content.clone()));
    fails(&node, &content, BodyError::Damaged).await;
    node.noted(1, &[Deed::Silent, Deed::Lied]);
    node.noted(2, &[Deed::Served]);
}

#[actix::test]
async fn other_bytes_never_arrive_whole() {
    let node = Node::with(2);
    let content = foreign();
    let mut other = content.clone();
    *other.last_mut().unwrap() ^= 1;
    node.swarm.set(1, streams(&other));
    node.swarm.set(2, streams(&content));
    fails(&node, &content, BodyError::Damaged).await;
    node.noted(1, &[Deed::Lied]);
    // Whoever asks again gets it from the other.
    arrives(&node, &content).await;
    assert_eq!(node.swarm.asked_from(), asked_from(&[(1, 0), (2, 0)]));
}

#[actix::test]
async fn a_part_that_is_stated_to_be_the_whole_never_arrives_whole() {
    let node = Node::with(1);
    let content = foreign();
    node.swarm.set(1, streams(&content[..LARGE_BYTES - 100]));
    fails(&node, &content, BodyError::Damaged).await;
    node.noted(1, &[Deed::Lied]);
}

#[actix::test]
async fn of_two_one_lied_and_nobody_can_say_which() {
    let node = Node::with(2);
    let content = foreign();
    let mut other = content.clone();
    other[4_000_000] ^= 1;
    node.swarm.set(1, breaks(&content, MIDDLE));
    node.swarm.set(2, streams(&other));
    fails(&node, &content, BodyError::Damaged).await;
    node.noted(1, &[Deed::Silent, Deed::Silent]);
    node.noted(2, &[Deed::Silent]);
}

#[actix::test]
async fn who_states_another_size_does_not_go_on_and_is_found_out() {
    let node = Node::with(3);
    let content = foreign();
    node.swarm.set(1, breaks(&content, MIDDLE));
    node.swarm
        .set(2, claims(LARGE_BYTES + 1_000_000, &content, false));
    node.swarm.set(3, streams(&content));
    arrives(&node, &content).await;
    let asked = [(1, 0), (2, MIDDLE), (3, MIDDLE)];
    assert_eq!(node.swarm.asked_from(), asked_from(&asked));
    node.noted(2, &[Deed::Lied]);
    node.noted(3, &[Deed::Served]);
}

#[actix::test]
async fn who_states_another_root_does_not_go_on() {
    let node = Node::with(3);
    let content = foreign();
    let says = |blob_root: BlobRoot, end: usize| Does::Claims {
        size: LARGE_BYTES as u64,
        blob_root: Some(blob_root),
        bytes: content[..end].to_vec(),
        stalls: true,
    };
    let (root, other) = (tree::blob_root(&content), tree::blob_root(b"other"));
    node.swarm.set(1, says(root, 1_000_000));
    node.swarm.set(2, says(other, LARGE_BYTES));
    node.swarm.set(3, says(root, LARGE_BYTES));
    arrives(&node, &content).await;
    node.noted(2, &[]);
    node.noted(3, &[Deed::Served]);
}

#[actix::test]
async fn too_few_bytes_and_too_many_are_lies_and_the_next_goes_on() {
    let content = foreign();
    let mut more = content.clone();
    more.resize(LARGE_BYTES + 500_000, 7);
    tokio::time::pause();
    for (gives, reached) in [
        (&content[..1_000_000], 1_000_000),
        // The piece that reaches beyond the end is not taken.
        (&more[..], LARGE_BYTES as u64 / (64 << 10) * (64 << 10)),
    ] {
        let node = Node::another(2);
        node.swarm.set(1, claims(LARGE_BYTES, gives, false));
        node.swarm.set(2, streams(&content));
        arrives(&node, &content).await;
        assert_eq!(node.swarm.asked_from(), asked_from(&[(1, 0), (2, reached)]));
        node.noted(1, &[Deed::Lied]);
        node.noted(2, &[Deed::Served]);
    }
}

#[actix::test]
async fn a_size_that_no_blob_has_is_nonsense() {
    let node = Node::with(2);
    let content = foreign();
    node.swarm.set(1, claims(17 << 30, &content, true));
    node.swarm.set(2, streams(&content));
    arrives(&node, &content).await;
    node.noted(1, &[Deed::Lied]);
}

#[actix::test]
async fn nobody_goes_on() {
    let node = Node::with(3);
    let content = foreign();
    node.swarm.set(1, breaks(&content, 900_000));
    let stopped = BodyError::Stopped { received: 900_000 };
    fails(&node, &content, stopped).await;
    assert_eq!(node.swarm.asked().len(), 3);
}

#[actix::test]
async fn a_slow_peer_goes_on_later() {
    let node = Node::with(2);
    let content = foreign();
    node.swarm.set(1, Does::Nothing);
    node.swarm.set(2, breaks(&content, 900_000));
    let blob = node.fetch(BlobCid::of(&content)).await.unwrap();
    node.swarm.set(1, streams(&content));
    let (bytes, end) = read(blob).await;
    assert_eq!(end, Ok(()));
    assert!(bytes == content);
    let asked = [(1, 0), (2, 0), (1, 900_000)];
    assert_eq!(node.swarm.asked_from(), asked_from(&asked));
}

#[actix::test]
async fn slow_peers_are_not_asked_again_and_again() {
    let node = Node::with(40);
    let content = foreign();
    for number in 1..=40 {
        node.swarm.set(number, breaks(&content, 70_000));
    }
    // They are put back with each head that another one gives.
    node.swarm.set(1, Does::Nothing);
    node.swarm.set(2, Does::Nothing);
    let stopped = BodyError::Stopped { received: 70_000 };
    fails(&node, &content, stopped).await;
    assert_eq!(node.swarm.asked().len(), ASKED_AT_MOST);
}

#[actix::test]
async fn the_only_peer_goes_on_itself_after_it_broke_off() {
    let node = Node::with(1);
    let content = foreign();
    node.swarm.set(1, breaks(&content, MIDDLE));
    let blob = node.fetch(BlobCid::of(&content)).await.unwrap();
    node.swarm.set(1, streams(&content));
    let (bytes, end) = read(blob).await;
    assert_eq!(end, Ok(()));
    assert!(bytes == content);
    assert_eq!(node.swarm.asked_from(), asked_from(&[(1, 0), (1, MIDDLE)]));
    node.noted(1, &[Deed::Silent, Deed::Served]);
}

#[actix::test]
async fn a_stream_goes_on_when_there_is_room_again() {
    let node = Node::with(1);
    let content = foreign();
    node.swarm.set(1, streams(&content));
    let occupied = node.swarm.occupy();
    let begun = Stated {
        by: peer(9),
        size: LARGE_BYTES as u64,
        blob_root: None,
    };
    let peers = Arc::clone(&node.fetcher.0.peers);
    let mut asker = Asker::new(peers, BlobCid::of(&content), vec![peer(1)]);
    let mut find = Box::pin(asker.find(MIDDLE, Some(&begun)));
    assert!(timeout(Duration::from_secs(5), &mut find).await.is_err());
    drop(occupied);
    let found = timeout(Duration::from_secs(5), find).await.unwrap();
    assert!(matches!(found, Ok(Given::Large(_))));
    assert_eq!(node.swarm.asked_from(), asked_from(&[(1, MIDDLE)]));
}

#[actix::test]
async fn everything_ends_when_the_client_leaves() {
    tokio::time::pause();
    let content = large_of_shard(2);
    for first in [
        Does::Nothing,
        // It has given nothing, not enough, and some when the client leaves.
        claims(LARGE_BYTES, b"", true),
        claims(LARGE_BYTES, &content[..300_000], true),
        claims(LARGE_BYTES, &content[..2_000_000], true),
    ] {
        let node = Node::another(1);
        node.swarm.set(1, first);
        let fetch = timeout(Duration::from_secs(1), node.fetch(BlobCid::of(&content)));
        let body = fetch.await.map(|blob| blob.unwrap().body);
        settle().await;
        assert_eq!(node.swarm.under_way(), usize::from(body.is_ok()));
        drop(body);
        node.nothing_is_left().await;
        node.noted(1, &[]);
        assert_eq!(node.store.asked(), Vec::<String>::new(), "nothing is kept");
    }
}

#[actix::test]
async fn everything_ends_when_the_client_leaves_while_another_peer_is_looked_for() {
    let node = Node::with(2);
    let content = foreign();
    node.swarm.set(1, breaks(&content, MIDDLE));
    node.swarm.set(2, Does::Nothing);
    let blob = node.fetch(BlobCid::of(&content)).await.unwrap();
    let mut stream = pieces(blob.body);
    while node.swarm.asked().len() < 2 {
        let read = timeout(Duration::from_millis(10), stream.next()).await;
        assert!(!matches!(read, Ok(None | Some(Err(_)))));
    }
    drop(stream);
    node.nothing_is_left().await;
}

#[actix::test]
async fn each_client_has_a_stream_of_its_own() {
    let node = Node::with(1);
    let content = foreign();
    node.swarm.set(1, streams(&content));
    let cid = BlobCid::of(&content);
    let (first, second) = tokio::join!(node.fetch(cid), node.fetch(cid));
    // The first is not read meanwhile.
    let (bytes, end) = read(second.unwrap()).await;
    assert_eq!(end, Ok(()));
    assert!(bytes == content);
    drop(first);
    assert_eq!(node.swarm.asked().len(), 2);
    node.nothing_is_left().await;
}

#[actix::test]
async fn what_is_ours_is_kept_on_the_way() {
    let node = Node::with(2);
    let content = large_of_shard(2);
    node.swarm.set(1, breaks(&content, MIDDLE));
    node.swarm.set(2, streams(&content));
    arrives(&node, &content).await;
    node.store.until_asked("put").await;
    let kept = node.store.kept(&BlobCid::of(&content)).unwrap();
    assert_eq!(kept.size, LARGE_BYTES as u64);
    assert_eq!(kept.content_type.as_deref(), Some("text/plain"));
}

#[actix::test]
async fn what_was_wrong_is_not_kept() {
    let node = Node::with(1);
    let content = large_of_shard(2);
    let mut other = content.clone();
    other[0] ^= 1;
    node.swarm.set(1, streams(&other));
    fails(&node, &content, BodyError::Damaged).await;
    settle().await;
    assert_eq!(node.store.asked(), Vec::<String>::new());
    assert_eq!(node.fetcher.0.keeps.available_permits(), KEEPS_AT_ONCE);
}

#[actix::test]
async fn a_store_that_is_behind_or_refuses_holds_up_nobody() {
    let content = large_of_shard(2);
    let node = Node::with(1);
    node.swarm.set(1, streams(&content));
    node.store.stall_puts();
    for _ in 0..=KEEPS_AT_ONCE {
        arrives(&node, &content).await;
    }
    assert_eq!(node.fetcher.0.keeps.available_permits(), 0);
    let node = Node::another(1);
    node.swarm.set(1, streams(&content));
    node.store.deleted(&BlobCid::of(&content));
    arrives(&node, &content).await;
    node.store.until_asked("put").await;
    assert_eq!(node.store.kept(&BlobCid::of(&content)), None);
}
