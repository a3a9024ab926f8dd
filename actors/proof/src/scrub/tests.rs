#![allow(clippy::unwrap_used)]
use std::sync::Arc;

use bytecave_core::BlobCid;
use bytecave_messages::budget::ActorName;

use super::*;
use crate::fakes::{FakeStore, now_ms, permit};

const MOST: u64 = 16 << 20;
const DAY: Duration = Duration::from_hours(24);
const BLOB: usize = 300_000;

struct Node {
    store: FakeStore,
    scrubber: Scrubber,
    counters: Arc<Counters>,
    budget: Budget,
    dir: Arc<tempfile::TempDir>,
    period: Duration,
}

impl Node {
    /// With so many blobs of 300,000 bytes.
    fn new(blobs: usize, period: Duration) -> (Self, Vec<BlobCid>) {
        tokio::time::pause();
        let store = FakeStore::start();
        let cids = (0..blobs).map(|number| {
            let mut content = vec![0; BLOB];
            content[..8].copy_from_slice(&number.to_be_bytes());
            store.seed(&content)
        });
        let cids = cids.collect();
        let dir = Arc::new(tempfile::tempdir().unwrap());
        (Self::of(store, dir, period), cids)
    }

    fn of(store: FakeStore, dir: Arc<tempfile::TempDir>, period: Duration) -> Self {
        let counters = Arc::<Counters>::default();
        let budget = Budget::new(ActorName::Proof, 64);
        let parts = ScrubberParts {
            period,
            bytes_per_second: MOST,
            budget: budget.clone(),
            store: store.port(),
            counters: Arc::clone(&counters),
            now_ms,
        };
        let scrubber = Scrubber::new(parts, dir.path());
        scrubber.start();
        Self {
            store,
            scrubber,
            counters,
            budget,
            dir,
            period,
        }
    }

    async fn restart(self, period: Duration) -> Self {
        self.scrubber.stop().await;
        Self::of(self.store, self.dir, period)
    }

    fn tell_facts(&self) {
        let bytes = self.store.snapshot().bytes;
        self.scrubber.set_total_bytes(bytes);
    }

    async fn asked_for(&self) -> ScrubView {
        let asked = StartScrub { permit: permit() };
        self.scrubber.clone().answer(asked).await.unwrap()
    }

    fn counted(&self, name: &str) -> u64 {
        let all = self.counters.all();
        all.iter().find(|(one, _)| *one == name).unwrap().1
    }
}

#[actix::test]
async fn everything_is_read_once_a_period_at_a_gentle_rate() {
    let (node, _) = Node::new(20, DAY);
    sleep(Duration::from_mins(5)).await;
    assert_eq!(
        node.store.rates(),
        [0; 0],
        "it is not known how much there is"
    );
    node.tell_facts();
    let begun = now_ms();
    sleep(Duration::from_secs(10)).await;
    let view = node.scrubber.view();
    assert!(
        view.running && view.blobs > 0 && view.blobs < 20,
        "{view:?}"
    );
    assert_eq!(view.total_bytes, 20 * BLOB as u64);
    sleep(Duration::from_mins(1)).await;
    let view = node.scrubber.view();
    assert_eq!(
        (view.running, view.blobs, view.bytes),
        (false, 20, view.total_bytes)
    );
    let took = view.finished_at.unwrap() - begun;
    assert!((22_000..26_000).contains(&took), "256 KiB a second: {took}");
    assert_eq!(view.next_at, view.started_at.map(|at| at + 24 * 3_600_000));
    assert!(node.store.rates().iter().all(|rate| *rate == 256 << 10));
    sleep(Duration::from_hours(23)).await;
    assert_eq!(node.scrubber.view(), view);
    sleep(Duration::from_hours(1)).await;
    let again = node.scrubber.view();
    assert_eq!(again.blobs, 20);
    assert!(
        again.started_at.unwrap() - view.next_at.unwrap() <= 60_000,
        "{again:?}"
    );
    assert_eq!(node.counted("scrubbed_blobs"), 40);
    assert_eq!(node.counted("scrubbed_bytes"), 40 * BLOB as u64);
    assert_eq!(node.budget.snapshot().depth, 0);
}

#[actix::test]
async fn a_short_period_makes_it_as_fast_as_needed() {
    let (node, _) = Node::new(100, Duration::from_secs(10));
    node.tell_facts();
    sleep(Duration::from_secs(8)).await;
    let first = node.store.rates()[0];
    assert_eq!(first, 100 * BLOB as u64 / 8);
    sleep(Duration::from_secs(1)).await;
    assert_eq!(node.scrubber.view().blobs, 100);
}

#[actix::test]
async fn it_goes_on_where_a_restart_broke_it_off() {
    let (node, _) = Node::new(40, DAY);
    node.tell_facts();
    sleep(Duration::from_secs(20)).await;
    let before = node.scrubber.view();
    assert!(before.running && before.blobs > 5 && before.blobs < 35);
    let steps = node.store.asked().len();
    let node = node.restart(DAY).await;
    node.tell_facts();
    sleep(Duration::from_mins(1)).await;
    assert_eq!(node.store.asked()[steps], "scrub on");
    let after = node.scrubber.view();
    assert_eq!((after.running, after.blobs), (false, 40));
    assert_eq!(after.started_at, before.started_at);
    assert_eq!(node.counted("scrubbed_blobs"), 40 - before.blobs);
    let node = node.restart(DAY).await;
    node.tell_facts();
    sleep(Duration::from_hours(1)).await;
    assert_eq!(node.scrubber.view(), after, "it is not due");
}

/// Nobody stops a node that is killed: what is on disk is a few seconds old.
#[actix::test]
async fn a_crash_costs_a_few_seconds_of_it() {
    let (node, _) = Node::new(100, DAY);
    node.tell_facts();
    sleep(Duration::from_mins(1)).await;
    let before = node.scrubber.view();
    let killed = std::mem::take(&mut *node.scrubber.lock_tasks());
    drop(killed);
    let node = Node::of(node.store, node.dir, node.period);
    sleep(Duration::from_secs(1)).await;
    let after = node.scrubber.view();
    let seconds = (before.bytes - after.bytes) / (256 << 10);
    assert!(after.running && seconds <= 12, "{seconds}");
}

#[actix::test]
async fn one_that_is_asked_for_begins_anew_and_goes_as_fast_as_allowed() {
    let (node, _) = Node::new(100, DAY);
    node.tell_facts();
    sleep(Duration::from_secs(20)).await;
    assert!(node.scrubber.view().blobs > 0);
    let view = node.asked_for().await;
    assert_eq!((view.running, view.blobs), (true, 0));
    assert_eq!(view.started_at, Some(now_ms()));
    sleep(Duration::from_secs(1)).await;
    let under_way = node.scrubber.view();
    assert!(
        under_way.running && under_way.bytes >= 8 << 20,
        "{under_way:?}"
    );
    let same = node.asked_for().await;
    assert_eq!(
        (same.started_at, same.blobs),
        (under_way.started_at, under_way.blobs)
    );
    let node = node.restart(DAY).await;
    sleep(Duration::from_secs(3)).await;
    let view = node.scrubber.view();
    assert_eq!((view.running, view.blobs), (false, 100), "in all");
    assert_eq!(node.store.rates().last(), Some(&MOST));
    assert!(node.asked_for().await.running);
}

#[actix::test]
async fn switched_off_it_does_what_is_asked_and_nothing_else() {
    let (node, _) = Node::new(10, DAY);
    node.tell_facts();
    sleep(Duration::from_secs(4)).await;
    assert!(node.scrubber.view().running);
    let node = node.restart(Duration::ZERO).await;
    node.tell_facts();
    let steps = node.store.asked().len();
    sleep(Duration::from_hours(100)).await;
    let view = node.scrubber.view();
    assert_eq!((view.running, view.next_at), (false, None));
    assert_eq!(node.store.asked().len(), steps);
    node.asked_for().await;
    sleep(Duration::from_secs(10)).await;
    let view = node.scrubber.view();
    assert_eq!((view.running, view.blobs, view.next_at), (false, 10, None));
}

#[actix::test]
async fn damaged_blobs_are_counted() {
    let (node, cids) = Node::new(10, DAY);
    node.store.damage(&cids[2]);
    node.store.damage(&cids[7]);
    node.tell_facts();
    sleep(Duration::from_mins(1)).await;
    assert_eq!(node.scrubber.view().damaged, 2);
    assert_eq!(node.counted("scrub_damaged"), 2);
    sleep(DAY).await;
    assert_eq!(node.scrubber.view().damaged, 2, "of the pass");
    assert_eq!(node.counted("scrub_damaged"), 4);
}

#[actix::test]
async fn a_store_that_cannot_is_asked_ever_more_rarely_and_it_goes_on_where_it_was() {
    let (node, _) = Node::new(20, DAY);
    node.tell_facts();
    sleep(Duration::from_secs(9)).await;
    let before = node.scrubber.view().blobs;
    assert!(before > 0);
    node.store.fail_with(Some(StoreError::Unavailable));
    let steps = node.store.asked().len();
    sleep(Duration::from_hours(1)).await;
    let tried = node.store.asked().len() - steps;
    assert!((12..=20).contains(&tried), "{tried}");
    node.store.fail_with(None);
    sleep(Duration::from_mins(10)).await;
    assert_eq!(node.scrubber.view().blobs, 20);
    assert_eq!(node.counted("scrubbed_blobs"), 20);
}
