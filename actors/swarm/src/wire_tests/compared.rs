//! `/bytecave/sync/1.0.0` between real swarms.

use bytecave_core::{Digest, Fingerprint, ShardCount, ShardId};
use bytecave_messages::swarm::{Refusal, RefusalKind, SwarmError};
use bytecave_messages::sync::{SyncAnswer, SyncRequest};
use futures_util::{AsyncReadExt, AsyncWriteExt};

use super::clients::client;
use super::host::{limits, two};
use super::replicator::{LONG, Node};
use crate::wire::v1::BUSY;
use crate::wire::v2::Kind;
use crate::wire::v2::header::Header;
use crate::wire::v2::sync::{QUESTION_BYTES, request_frame};

fn shards(count: u64, numbers: std::ops::Range<u64>) -> Vec<ShardId> {
    let count = ShardCount::new(count).unwrap();
    numbers.map(|number| count.shard(number).unwrap()).collect()
}

fn compare() -> SyncRequest {
    SyncRequest::Compare {
        shards: shards(16, 0..16)
            .into_iter()
            .map(|shard| (shard, Fingerprint::EMPTY))
            .collect(),
    }
}

#[actix::test]
async fn a_question_is_answered() {
    let node = Node::new().await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let differing = SyncAnswer::Differing(shards(16, 3..5));
    node.kitchen.lock().unwrap().compares = Some(Ok(differing.clone()));
    assert_eq!(client.sync(peer, &compare()).await, Ok(differing));
    assert_eq!(node.kitchen.lock().unwrap().compared, [compare()]);
}

#[actix::test]
async fn a_refusal_and_an_answer_to_something_else_are_told_apart() {
    let node = Node::new().await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    node.kitchen.lock().unwrap().compares = Some(Err(Refusal::Busy));
    let busy = client.sync(peer, &compare()).await;
    assert_eq!(busy, Err(SwarmError::Busy { peer }));
    node.kitchen.lock().unwrap().compares = Some(Ok(SyncAnswer::Alike(true)));
    let other = client.sync(peer, &compare()).await;
    assert!(
        matches!(other, Err(SwarmError::BadAnswer { .. })),
        "{other:?}"
    );
    let far = SyncRequest::CompareAll {
        shards: shards(32, 16..17),
        hash: Digest::new([7; 32]),
    };
    let far = client.sync(peer, &far).await;
    assert!(
        matches!(
            far,
            Err(SwarmError::Refused {
                kind: RefusalKind::Invalid,
                ..
            })
        ),
        "{far:?}"
    );
}

#[actix::test]
async fn nobody_compares_without_end() {
    let node = Node::new().await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    node.kitchen.lock().unwrap().compares = Some(Ok(SyncAnswer::Alike(true)));
    let question = SyncRequest::CompareAll {
        shards: Vec::new(),
        hash: Digest::new([7; 32]),
    };
    let mut answered = 0;
    let refused = loop {
        match client.sync(peer, &question).await {
            Ok(_) => answered += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refused, SwarmError::Busy { peer });
    assert!(answered >= 200, "a burst passes: {answered}");
}

#[actix::test]
async fn a_question_that_is_too_long_is_refused_unread() {
    let node = Node::new().await;
    let mut stream = node.open_ours(Kind::Sync).await;
    let claim = u32::try_from(QUESTION_BYTES + 1).unwrap().to_be_bytes();
    stream.write_all(&claim).await.unwrap();
    stream.flush().await.unwrap();
    let answer = Header::read_within(&mut stream, LONG).await.unwrap();
    assert_eq!(answer.refused.unwrap().kind, RefusalKind::Invalid);
    assert!(node.kitchen.lock().unwrap().compared.is_empty());
}

#[actix::test]
async fn a_question_in_single_bytes_is_understood() {
    let node = Node::new().await;
    node.kitchen.lock().unwrap().compares = Some(Ok(SyncAnswer::Differing(Vec::new())));
    let mut stream = node.open_ours(Kind::Sync).await;
    for byte in request_frame(&compare()) {
        stream.write_all(&[byte]).await.unwrap();
        stream.flush().await.unwrap();
    }
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [0, 0, 0, 3, 0x82, 1, 0x80]);
}

#[actix::test]
async fn who_does_not_compare_is_told_apart_and_who_is_full_says_busy() {
    let (asker, host) = two(limits()).await;
    let error = client(&asker, LONG).sync(host.id, &compare()).await;
    assert!(
        matches!(error, Err(SwarmError::Unsupported { .. })),
        "{error:?}"
    );
    let node = Node::with(|setup| setup.mailbox = 1).await;
    let (client, peer) = (client(&node.asker, LONG), node.host.id);
    let share = bytecave_messages::budget::Share::Client;
    let _full = node.budget.try_acquire(share, "other").unwrap();
    let busy = client.sync(peer, &compare()).await;
    assert_eq!(busy, Err(SwarmError::Busy { peer }), "{BUSY}");
}
