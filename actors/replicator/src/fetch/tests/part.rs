use super::*;

const RANGE: ByteRange = ByteRange::FromTo(1_000_000, 1_000_009);

/// The part arrives, and is the right one.
async fn arrives(node: &Node, content: &[u8], range: ByteRange) {
    let blob = node.ask(BlobCid::of(content), Some(range)).await.unwrap();
    assert_eq!(blob.size, content.len() as u64);
    assert_eq!(blob.content_type.as_deref(), Some("text/plain"));
    let from = usize::try_from(blob.offset).unwrap();
    let to = from + usize::try_from(blob.len).unwrap();
    assert!(read_all(blob.body).await == content[from..to]);
    let expected = match range {
        ByteRange::FromTo(first, last) => (first, last - first + 1),
        ByteRange::From(first) => (first, content.len() as u64 - first),
        ByteRange::Last(len) => (content.len() as u64 - len, len),
    };
    assert_eq!((blob.offset, blob.len), expected);
}

#[actix::test]
async fn a_part_of_a_small_blob_is_cut_out_of_it() {
    let node = Node::with(1);
    let content = content_of_shard(9);
    node.swarm.set(1, gives(content.clone()));
    let size = content.len() as u64;
    for range in [
        ByteRange::FromTo(2, 3),
        ByteRange::FromTo(0, 0),
        ByteRange::From(4),
        ByteRange::Last(3),
    ] {
        arrives(&node, &content, range).await;
    }
    let cid = BlobCid::of(&content);
    let whole = node.ask(cid, Some(ByteRange::Last(u64::MAX))).await;
    assert_eq!(whole.unwrap().len, size);
    let to_the_end = node.ask(cid, Some(ByteRange::FromTo(1, u64::MAX))).await;
    assert_eq!(to_the_end.unwrap().len, size - 1);
    for outside in [
        ByteRange::From(size),
        ByteRange::FromTo(3, 2),
        ByteRange::Last(0),
    ] {
        let refused = node.ask(cid, Some(outside)).await.unwrap_err();
        assert_eq!(refused, FetchError::RangeNotSatisfiable { size });
    }
    assert_eq!(node.store.asked(), Vec::<String>::new());
    node.nothing_is_left().await;
}

#[actix::test]
async fn a_part_of_a_large_blob_of_others_comes_by_transit() {
    let node = Node::with(1);
    let content = large_of_shard(9);
    node.swarm.set(1, streams(&content));
    arrives(&node, &content, RANGE).await;
    let put = format!("put {LARGE_BYTES}");
    assert_eq!(node.store.asked(), [&put, "read transit"]);
    // The next part needs no fetch, as long as one is read now and then.
    for _ in 0..3 {
        sleep(Duration::from_secs(50)).await;
        arrives(&node, &content, ByteRange::Last(10)).await;
    }
    let size = LARGE_BYTES as u64;
    let behind = node
        .ask(BlobCid::of(&content), Some(ByteRange::From(size)))
        .await;
    assert_eq!(
        behind.unwrap_err(),
        FetchError::RangeNotSatisfiable { size }
    );
    assert_eq!(node.swarm.asked().len(), 1);
    sleep(Duration::from_secs(61)).await;
    arrives(&node, &content, RANGE).await;
    assert_eq!(node.swarm.asked().len(), 2, "it was let go");
    node.nothing_is_left().await;
}

#[actix::test]
async fn a_few_blobs_are_kept_for_their_next_part() {
    let node = Node::with(1);
    let contents: Vec<_> = (9..14).map(large_of_shard).collect();
    for content in &contents {
        node.swarm.set(1, streams(content));
        arrives(&node, content, RANGE).await;
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(node.swarm.asked().len(), 5);
    arrives(&node, &contents[1], RANGE).await;
    assert_eq!(node.swarm.asked().len(), 5);
    node.swarm.set(1, streams(&contents[0]));
    arrives(&node, &contents[0], RANGE).await;
    assert_eq!(node.swarm.asked().len(), 6, "the oldest has made room");
}

#[actix::test]
async fn a_part_of_a_large_blob_of_ours_comes_from_its_shard() {
    let node = Node::with(2);
    let content = large_of_shard(2);
    node.swarm.set(1, breaks(&content, 3_000_000));
    node.swarm.set(2, streams(&content));
    arrives(&node, &content, RANGE).await;
    assert_eq!(
        node.store.asked(),
        [format!("put {LARGE_BYTES}"), "get".to_owned()]
    );
    assert!(node.store.kept(&BlobCid::of(&content)).is_some());
    assert_eq!(node.store.outbox(), 0, "nobody else is sent it");
    let asked = asked_from(&[(1, 0), (2, 3_000_000)]);
    assert_eq!(node.swarm.asked_from(), asked);
    node.nothing_is_left().await;
}

#[actix::test]
async fn parts_of_one_blob_wait_for_one_fetch() {
    let node = Node::with(1);
    let content = large_of_shard(9);
    node.swarm.set(1, streams(&content));
    tokio::join!(
        arrives(&node, &content, RANGE),
        arrives(&node, &content, ByteRange::From(5_000_000)),
        arrives(&node, &content, ByteRange::Last(7)),
    );
    assert_eq!(node.swarm.asked().len(), 1);
    node.nothing_is_left().await;
}

#[actix::test]
async fn after_a_liar_the_next_peer_is_asked_from_the_start() {
    let node = Node::with(3);
    let content = large_of_shard(9);
    let mut other = content.clone();
    other[0] ^= 1;
    node.swarm.set(1, streams(&other));
    node.swarm.set(
        2,
        claims(LARGE_BYTES - 9, &content[..LARGE_BYTES - 9], false),
    );
    node.swarm.set(3, streams(&content));
    arrives(&node, &content, RANGE).await;
    let asked = asked_from(&[(1, 0), (2, 0), (3, 0)]);
    assert_eq!(node.swarm.asked_from(), asked);
    node.noted(1, &[Deed::Lied]);
    node.noted(2, &[Deed::Lied]);
    node.noted(3, &[Deed::Served]);
    node.nothing_is_left().await;
}

#[actix::test]
async fn one_who_contradicted_a_liar_is_asked_again() {
    let node = Node::with(2);
    let content = large_of_shard(9);
    // It states a wrong size, gives half, and gives the rest when the other was not believed.
    node.swarm
        .set(1, claims(LARGE_BYTES - 9, &content[..3_000_000], true));
    node.swarm.set(2, streams(&content));
    let cid = BlobCid::of(&content);
    let mut fetch = Box::pin(node.ask(cid, Some(RANGE)));
    assert!(timeout(PATIENCE.stall / 2, &mut fetch).await.is_err());
    let rest = claims(LARGE_BYTES - 9, &content[..LARGE_BYTES - 9], false);
    node.swarm.set(1, rest);
    let blob = fetch.await.unwrap();
    assert_eq!(blob.size, LARGE_BYTES as u64);
    let asked = [(1, 0), (2, 3_000_000), (1, 3_000_000), (2, 0)];
    assert_eq!(node.swarm.asked_from(), asked_from(&asked));
    node.noted(1, &[Deed::Silent, Deed::Lied]);
    node.noted(2, &[Deed::Served]);
}

#[actix::test]
async fn there_is_no_room() {
    let content = large_of_shard(2);
    let cid = BlobCid::of(&content);
    let full = StoreError::QuotaReached {
        quota_bytes: 10,
        free_bytes: 1,
        needed_bytes: 2,
    };
    let node = Node::with(1);
    node.swarm.set(1, streams(&content));
    node.store.fail_with(full.clone());
    let refused = node.ask(cid, Some(RANGE)).await.unwrap_err();
    let cause = full.to_string();
    assert_eq!(refused, FetchError::NoRoom { cid, cause });
    node.nothing_is_left().await;

    let node = Node::another(1);
    node.swarm.set(1, streams(&content));
    node.store.deleted(&cid);
    let refused = node.ask(cid, Some(RANGE)).await.unwrap_err();
    assert!(refused.to_string().contains("was deleted from this node"));
    assert!(matches!(refused, FetchError::NoRoom { .. }));
    node.nothing_is_left().await;
}

#[actix::test]
async fn nobody_goes_on() {
    let node = Node::with(2);
    let content = large_of_shard(9);
    let cid = BlobCid::of(&content);
    node.swarm.set(1, breaks(&content, 900_000));
    let failed = node.ask(cid, Some(RANGE)).await.unwrap_err();
    let expected = FetchError::TimedOut {
        cid,
        asked: 2,
        silent: 1,
        after: PATIENCE.deadline,
    };
    assert_eq!(failed, expected);
    node.nothing_is_left().await;
}

#[actix::test]
async fn it_ends_when_nobody_waits_any_more() {
    let node = Node::with(1);
    let content = large_of_shard(9);
    node.swarm
        .set(1, claims(LARGE_BYTES, &content[..2_000_000], true));
    let cid = BlobCid::of(&content);
    let waits = timeout(Duration::from_secs(1), node.ask(cid, Some(RANGE)));
    assert!(waits.await.is_err());
    node.nothing_is_left().await;
    node.noted(1, &[]);
}
