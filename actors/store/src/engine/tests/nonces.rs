//! Nonces: used once, whoever comes at the same time and whatever happens to the process.

use bytecave_core::Digest;
use bytecave_messages::store::{Durability, StoreError};

use super::{Cave, content};
use crate::engine::state::now_ms;

fn key(number: u32) -> Digest {
    Digest::of(&number.to_be_bytes())
}

fn later() -> u64 {
    now_ms() + 600_000
}

fn live(cave: &Cave) -> u64 {
    let gauges = cave.snapshot().gauges;
    gauges.iter().find(|(name, _)| *name == "nonces").unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_nonce_is_used_once_also_after_a_restart() {
    for durability in [Durability::Strict, Durability::Relaxed] {
        let mut cave = Cave::with(|options| options.durability = durability);
        for round in 0..2 {
            for number in 0..20 {
                let unused = cave.engine().use_nonce(key(number), later()).await;
                assert_eq!(unused, Ok(round == 0), "{number}");
            }
            assert_eq!(live(&cave), 20);
            cave.reopen();
        }
        assert_eq!(live(&cave), 20);
        assert_eq!(cave.engine().use_nonce(key(20), later()).await, Ok(true));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_at_once_exactly_one_is_told_that_it_was_unused() {
    let cave = Cave::new();
    for number in 0..10 {
        let asked: Vec<_> = (0..16)
            .map(|_| {
                let engine = cave.engine().clone();
                tokio::spawn(async move { engine.use_nonce(key(number), later()).await })
            })
            .collect();
        let mut unused = 0;
        for answer in asked {
            unused += u32::from(answer.await.unwrap().unwrap());
        }
        assert_eq!(unused, 1);
    }
    assert_eq!(live(&cave), 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn expired_nonces_are_forgotten_and_others_stay() {
    let cave = Cave::new();
    // More than one page of them.
    for number in 0..1200 {
        let expires = if number % 4 == 0 { later() } else { now_ms() };
        let unused = cave.engine().use_nonce(key(number), expires);
        assert_eq!(unused.await, Ok(true));
    }
    cave.until(|snapshot| snapshot.gauges.contains(&("nonces", 300)))
        .await;
    for number in 0..8 {
        let unused = cave.engine().use_nonce(key(number), later()).await;
        assert_eq!(unused, Ok(number % 4 != 0), "{number}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_expired_while_the_node_was_off_goes_after_the_start() {
    let mut cave = Cave::new();
    let soon = now_ms() + 50;
    assert_eq!(cave.engine().use_nonce(key(1), soon).await, Ok(true));
    assert_eq!(cave.engine().use_nonce(key(2), later()).await, Ok(true));
    cave.reopen();
    cave.until(|snapshot| snapshot.gauges.contains(&("nonces", 1)))
        .await;
    assert_eq!(cave.engine().use_nonce(key(2), later()).await, Ok(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_are_remembered_than_allowed() {
    let cave = Cave::with(|options| options.max_nonces = 3);
    for number in 0..3 {
        let unused = cave.engine().use_nonce(key(number), later()).await;
        assert_eq!(unused, Ok(true));
    }
    let refused = cave.engine().use_nonce(key(3), later()).await;
    assert!(matches!(refused, Err(StoreError::Full(_))), "{refused:?}");
    // A known one needs no place, and blobs are not concerned.
    assert_eq!(cave.engine().use_nonce(key(0), later()).await, Ok(false));
    cave.put(&content(100, 1)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_of_keys_leaves_them_as_they_are() {
    let mut cave = Cave::new();
    assert_eq!(cave.engine().use_nonce(key(1), later()).await, Ok(true));
    cave.engine().rotate_keys().await.unwrap();
    cave.reopen();
    assert_eq!(cave.engine().use_nonce(key(1), later()).await, Ok(false));
}
