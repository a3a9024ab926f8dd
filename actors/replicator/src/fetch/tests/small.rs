use super::*;
use crate::audits::Audits;
use crate::facts::Facts;
use crate::holders::Rules;

#[actix::test]
async fn the_first_lies_and_the_second_serves() {
    let node = Node::with(3);
    node.swarm.set(1, gives(b"not what was asked for".to_vec()));
    node.swarm.set(2, gives(ours()));
    let blob = node.fetch(BlobCid::of(&ours())).await.unwrap();
    assert_eq!(
        (blob.size, blob.offset, blob.len),
        (ours().len() as u64, 0, ours().len() as u64)
    );
    assert_eq!(blob.content_type.as_deref(), Some("text/plain"));
    assert_eq!(whole(blob.body), ours());
    assert_eq!(node.swarm.asked(), [1, 2].map(peer));
    node.noted(1, &[Deed::Lied]);
    node.noted(2, &[Deed::Served]);
    node.noted(3, &[]);
}

#[actix::test]
async fn a_small_stream_is_verified_before_any_of_it_goes_out() {
    let node = Node::with(5);
    let content = ours();
    let len = content.len();
    let mut more = content.clone();
    more.extend_from_slice(b"and more");
    let mut other = content.clone();
    other[0] ^= 1;
    node.swarm.set(1, claims(len, &other, false));
    node.swarm.set(2, claims(len, &more, false));
    node.swarm.set(3, claims(len, &content[1..], false));
    node.swarm.set(4, claims(len + 1, &content, false));
    node.swarm.set(5, streams(&content));
    let blob = node.fetch(BlobCid::of(&content)).await.unwrap();
    assert_eq!(whole(blob.body), content);
    for liar in 1..=4 {
        node.noted(liar, &[Deed::Lied]);
        assert!(node.conduct.is_blocked(&peer(liar)));
    }
    node.noted(5, &[Deed::Served]);
    node.nothing_is_left().await;
}

#[actix::test]
async fn an_empty_blob_is_one() {
    let node = Node::with(1);
    node.swarm.set(1, streams(b""));
    let blob = node.fetch(BlobCid::of(b"")).await.unwrap();
    assert_eq!((blob.size, blob.len), (0, 0));
    assert_eq!(whole(blob.body), Bytes::new());
}

#[actix::test]
async fn a_small_stream_that_breaks_is_silence() {
    let node = Node::with(2);
    node.swarm.set(1, breaks(&ours(), 3));
    node.swarm.set(2, streams(&ours()));
    let blob = node.fetch(BlobCid::of(&ours())).await.unwrap();
    assert_eq!(whole(blob.body), ours());
    node.noted(1, &[Deed::Silent]);
    assert_eq!(node.swarm.asked_from(), asked_from(&[(1, 0), (2, 0)]));
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
    assert_eq!(node.store.outbox(), 0, "nobody else is sent it");
}

#[actix::test]
async fn a_store_that_cannot_keep_it_does_not_fail_the_client() {
    let node = Node::with(1);
    node.swarm.set(1, gives(ours()));
    node.store.fail_with(StoreError::Unavailable);
    assert!(node.fetch(BlobCid::of(&ours())).await.is_ok());
    node.store.until_asked("put").await;
}

#[actix::test]
async fn what_was_deleted_here_is_given_and_not_kept() {
    let node = Node::with(1);
    let cid = BlobCid::of(&ours());
    node.store.deleted(&cid);
    node.swarm.set(1, gives(ours()));
    assert!(node.fetch(cid).await.is_ok());
    node.store.until_asked("put").await;
    assert_eq!(node.store.kept(&cid), None);
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
    for number in 1..=5 {
        node.noted(number, &[]);
    }
}

#[actix::test]
async fn nobody_to_ask() {
    let cid = BlobCid::of(&ours());
    let missing = FetchError::NotFound { cid, asked: 0 };
    assert_eq!(Node::with(0).fetch(cid).await.unwrap_err(), missing);
    // Networking is off: the swarm never said how the network is.
    let rules = Rules {
        me: peer(1),
        factor: 3,
        probation: false,
        holder_timeout: Duration::ZERO,
        goodbye_timeout: Duration::ZERO,
        now_ms: || 0,
    };
    let node = Node::among(Holders::new(
        rules,
        Facts::default(),
        Audits::new(Vec::new()),
    ));
    assert_eq!(node.fetch(cid).await.unwrap_err(), missing);
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
    node.noted(1, &[Deed::Silent]);
    node.nothing_is_left().await;
}

#[actix::test]
async fn no_more_are_asked_than_allowed_and_few_at_once() {
    let large = large_of_shard(2);
    let after = Duration::from_secs(3);
    tokio::time::pause();
    for does in [
        Does::Gives(b"wrong".to_vec(), after),
        Does::HasNot,
        Does::SpeaksNot,
        Does::IsBusy,
        Does::Nothing,
        breaks(&large, 70_000),
        claims(LARGE_BYTES, b"few", false),
        claims(LARGE_BYTES, b"few", true),
        claims(usize::MAX, &large, false),
    ] {
        let node = Node::another(40);
        for number in 1..=40 {
            node.swarm.set(number, does.clone());
        }
        let failed = match node.fetch(BlobCid::of(&large)).await {
            Ok(blob) => drain(pieces(blob.body)).await.1.is_err(),
            Err(_) => true,
        };
        assert!(failed);
        assert!(node.swarm.asked().len() <= ASKED_AT_MOST, "{does:?}");
        assert!(node.swarm.most_at_once() <= AT_ONCE);
        node.nothing_is_left().await;
    }
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
    node.noted(1, &[]);
    node.nothing_is_left().await;
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
    node.noted(1, &[]);
}

#[actix::test]
async fn who_asks_for_the_same_waits_for_the_same_fetch() {
    let node = Node::with(1);
    let cid = BlobCid::of(&ours());
    node.swarm
        .set(1, Does::Gives(ours(), Duration::from_secs(1)));
    let (first, second) = tokio::join!(node.fetch(cid), node.fetch(cid));
    assert_eq!(whole(first.unwrap().body), whole(second.unwrap().body));
    assert_eq!(node.swarm.asked().len(), 1);
    assert!(node.fetcher.0.finds.is_empty());
    node.fetch(cid).await.unwrap();
    assert_eq!(node.swarm.asked().len(), 2, "a later one is another fetch");
}

#[actix::test]
async fn a_fetch_that_nobody_waits_for_ends() {
    let node = Node::with(1);
    let cid = BlobCid::of(&ours());
    node.swarm.set(1, Does::Nothing);
    let left = timeout(Duration::from_secs(1), node.fetch(cid)).await;
    assert!(left.is_err());
    node.nothing_is_left().await;
    node.noted(1, &[]);
    node.swarm.set(1, gives(ours()));
    assert!(node.fetch(cid).await.is_ok());
}

#[actix::test]
async fn one_that_joins_a_fetch_outlives_who_began_it() {
    let node = Node::with(1);
    let cid = BlobCid::of(&ours());
    node.swarm
        .set(1, Does::Gives(ours(), Duration::from_secs(10)));
    let began = timeout(Duration::from_secs(1), node.fetch(cid));
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
    let early = timeout(Duration::from_secs(1), &mut fetch).await;
    assert!(early.is_err());
    let occupied = node.swarm.occupy();
    assert_eq!(whole(fetch.await.unwrap().body), ours());
    assert_eq!(node.swarm.asked(), [peer(1)]);
    drop(occupied);
}

#[actix::test]
async fn who_could_not_be_asked_for_want_of_room_is_asked_when_there_is_some() {
    let node = Node::with(2);
    let cid = BlobCid::of(&ours());
    let wrong = Does::Gives(b"wrong".to_vec(), Duration::from_secs(10));
    node.swarm.set(1, wrong);
    node.swarm.set(2, gives(ours()));
    let mut fetch = Box::pin(node.fetch(cid));
    let early = timeout(Duration::from_secs(1), &mut fetch).await;
    assert!(early.is_err());
    // All that is left but for the one that the first peer's answer gives back.
    let occupied = node.swarm.occupy();
    assert_eq!(whole(fetch.await.unwrap().body), ours());
    assert_eq!(node.swarm.asked(), [1, 2].map(peer));
    drop(occupied);
}
