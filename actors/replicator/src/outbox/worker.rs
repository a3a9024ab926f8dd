//! The task that works through the outbox.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{BlobCid, Digest, ShardId};
use bytecave_messages::budget::Share;
use bytecave_messages::ports::StorePort;
use bytecave_messages::replicator::BlobFacts;
use bytecave_messages::store::{LIST_LIMIT, StoreError};
use tokio::task::{Id, JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use super::Shared;
use super::queue::{PAGE, Queue, WINDOW};
use super::verdict::{Verdict, is_everywhere, verdict};
use crate::place::Placer;

/// Blobs that are copied at once. Too low: copies come late on a fast line. Too high: clients feel it.
const AT_ONCE: usize = 8;
/// Entries that are ready to be copied before further ones are read.
const READY: usize = 64;
/// Time between two moves of the cursors, which take a write of the store's.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// The same where nothing was brought to anybody: a family that was written to is not written to again
/// for the sake of its outbox alone.
const LONE_FLUSH_EVERY: Duration = Duration::from_secs(30);
/// Settled entries for which the cursors move sooner: what is settled is read again until they do.
const FLUSH_AT: usize = 256;
/// Time from the start in which a shard without other holders keeps its outbox: peers say what they keep only
/// once they are connected, so a node that just started seems to be alone. Too low: what was acknowledged right
/// before a crash is copied by the next comparison only. Too high: a node that is alone keeps entries for nothing.
const STRANGE_FOR: Duration = Duration::from_mins(5);
/// Time between two looks at whether somebody came for those.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait when the store failed, or nothing is known of the network yet.
const PAUSE: Duration = Duration::from_secs(1);

/// An entry: its shard and its position there.
type At = (ShardId, u64);

/// Works through the outbox.
pub(super) struct Worker {
    store: StorePort,
    placer: Placer,
    shared: Arc<Shared>,
    networked: bool,
    queues: BTreeMap<ShardId, Queue>,
    /// Shards whose outbox has more than is in memory.
    to_read: BTreeSet<ShardId>,
    /// Those that nobody else holds so far.
    lone: BTreeSet<ShardId>,
    /// Until when those are kept.
    strange_until: Instant,
    /// The one that was read last: the next in order is next.
    last_read: Option<ShardId>,
    ready: VecDeque<At>,
    put_off: BTreeSet<(Instant, ShardId, u64)>,
    jobs: JoinSet<Verdict>,
    /// What each of them is about.
    about: HashMap<Id, At>,
    /// Where the cursors are to go.
    through: BTreeMap<ShardId, u64>,
    /// Entries in memory that are not settled.
    waiting: usize,
    /// Entries that were settled since the cursors moved.
    settled: usize,
    /// When they moved last.
    flushed: Instant,
    /// Nothing is asked of the store before.
    paused_until: Option<Instant>,
}

impl Worker {
    pub(super) fn new(
        store: StorePort,
        placer: Placer,
        shared: Arc<Shared>,
        networked: bool,
    ) -> Self {
        Self {
            store,
            placer,
            shared,
            networked,
            queues: BTreeMap::new(),
            to_read: BTreeSet::new(),
            lone: BTreeSet::new(),
            strange_until: Instant::now() + STRANGE_FOR,
            last_read: None,
            ready: VecDeque::new(),
            put_off: BTreeSet::new(),
            jobs: JoinSet::new(),
            about: HashMap::new(),
            through: BTreeMap::new(),
            waiting: 0,
            settled: 0,
            flushed: Instant::now(),
            paused_until: None,
        }
    }

    pub(super) async fn run(mut self) {
        self.to_read.extend(self.left_by_a_crash().await);
        loop {
            self.to_read.append(&mut self.shared.take_grown());
            self.bring_back();
            self.meet();
            if self
                .paused_until
                .is_none_or(|until| until <= Instant::now())
            {
                self.paused_until = None;
                self.flush().await;
            }
            if self.paused_until.is_none() {
                self.read().await;
            }
            self.copy();
            self.shared.set_waiting(self.waiting);
            self.wait().await;
        }
    }

    /// Until there is something to do.
    async fn wait(&mut self) {
        let shared = Arc::clone(&self.shared);
        let wake = self.next_look();
        tokio::select! {
            Some(ended) = self.jobs.join_next_with_id() => self.end(ended),
            () = shared.grown() => {}
            () = sleep_until(wake) => {}
        }
    }

    fn next_look(&self) -> Instant {
        let now = Instant::now();
        let flush = (!self.through.is_empty()).then(|| self.flush_due());
        let read = (!self.to_read.is_empty() && self.ready.len() < READY).then_some(now);
        let store = flush.into_iter().chain(read).min();
        let store = store.map(|at| self.paused_until.map_or(at, |until| until.max(at)));
        let put_off = self.put_off.first().map(|(at, ..)| *at);
        let meet = (!self.lone.is_empty()).then_some(now + LOOK_EVERY);
        let next = store.into_iter().chain(put_off).chain(meet).min();
        next.unwrap_or_else(|| now + Duration::from_hours(1))
    }

    async fn left_by_a_crash(&self) -> Vec<ShardId> {
        loop {
            match self.store.outbox_shards().await {
                Ok(shards) => return shards,
                Err(error) => tracing::debug!(%error, "outbox not listed"),
            }
            sleep(PAUSE).await;
        }
    }

    /// Reads shards in turn, until there is enough to do.
    async fn read(&mut self) {
        while self.ready.len() < READY {
            let Some(shard) = self.next_shard() else {
                return;
            };
            let holders = self.placer.holders();
            let lone = self.placer.is_alone(shard) && holders.network().is_some();
            if self.networked && lone && Instant::now() < self.strange_until {
                self.lone.insert(shard);
                continue;
            }
            if !self.networked || lone {
                // There is nobody to bring anything to; whoever joins later compares, or is told.
                holders.owe(shard);
                let dropped = self.queues.remove(&shard);
                self.waiting -= dropped.map_or(0, |queue| queue.waiting());
                self.through.insert(shard, u64::MAX);
                continue;
            }
            if holders.placement().is_none() || holders.network().is_none() {
                self.pause(shard);
                return;
            }
            let Some(limit) = self.queues.entry(shard).or_default().wanted() else {
                // It is read on when the first in its window is settled.
                continue;
            };
            match self.store.read_outbox(shard, limit).await {
                Ok(read) => {
                    let queue = self.queues.entry(shard).or_default();
                    let new = queue.take(&read);
                    self.waiting += new.len();
                    self.ready
                        .extend(new.into_iter().map(|sequence| (shard, sequence)));
                    if read.len() == limit {
                        self.to_read.insert(shard);
                    } else if queue.is_empty() {
                        self.queues.remove(&shard);
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "outbox not read");
                    self.pause(shard);
                    return;
                }
            }
        }
    }

    /// Reads on where somebody came, or nobody will.
    fn meet(&mut self) {
        let (placer, over) = (&self.placer, Instant::now() >= self.strange_until);
        let met = self
            .lone
            .extract_if(.., |shard| over || !placer.is_alone(*shard));
        self.to_read.extend(met);
    }

    fn next_shard(&mut self) -> Option<ShardId> {
        let behind = |last| self.to_read.range((Excluded(last), Unbounded)).next();
        let next = self.last_read.and_then(behind).or(self.to_read.first());
        let shard = *next?;
        self.to_read.remove(&shard);
        self.last_read = Some(shard);
        Some(shard)
    }

    fn pause(&mut self, shard: ShardId) {
        self.to_read.insert(shard);
        self.paused_until = Some(Instant::now() + PAUSE);
    }

    /// Starts copying what is ready.
    fn copy(&mut self) {
        while self.jobs.len() < AT_ONCE {
            let Some((shard, sequence)) = self.ready.pop_front() else {
                return;
            };
            let queue = self.queues.get(&shard);
            let Some(digest) = queue.and_then(|queue| queue.digest(sequence)) else {
                continue;
            };
            let (store, placer) = (self.store.clone(), self.placer.clone());
            let job = self.jobs.spawn(deal_with(store, placer, shard, digest));
            self.about.insert(job.id(), (shard, sequence));
        }
    }

    /// One was copied, or not.
    fn end(&mut self, ended: Result<(Id, Verdict), JoinError>) {
        let (id, verdict) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                tracing::error!(%error, "copying a blob broke off");
                (error.id(), Verdict::Again)
            }
        };
        let Some((shard, sequence)) = self.about.remove(&id) else {
            return;
        };
        let Some(queue) = self.queues.get_mut(&shard) else {
            return;
        };
        if verdict == Verdict::Again {
            let wait = queue.put_off(sequence);
            let at = wait.map(|wait| (Instant::now() + wait, shard, sequence));
            self.put_off.extend(at);
            return;
        }
        if queue.digest(sequence).is_none() {
            return;
        }
        let had_room = queue.wanted().is_some();
        if let Some(through) = queue.settle(sequence) {
            self.through.insert(shard, through);
            if !had_room {
                self.to_read.insert(shard);
            }
        }
        self.waiting -= 1;
        self.settled += 1;
    }

    /// What was put off and is due is ready again.
    fn bring_back(&mut self) {
        let now = Instant::now();
        while let Some((at, shard, sequence)) = self.put_off.first().copied() {
            if at > now {
                return;
            }
            self.put_off.pop_first();
            self.ready.push_back((shard, sequence));
        }
    }

    /// When the cursors are to move.
    fn flush_due(&self) -> Instant {
        let every = if self.settled > 0 {
            FLUSH_EVERY
        } else {
            LONE_FLUSH_EVERY
        };
        self.flushed + every
    }

    /// Moves the cursors of all shards at once, now and then.
    async fn flush(&mut self) {
        let due = self.flush_due() <= Instant::now() || self.settled >= FLUSH_AT;
        if self.through.is_empty() || !due {
            return;
        }
        let through = self.through.iter().map(|(shard, last)| (*shard, *last));
        if let Err(error) = self.store.advance_outbox(through.collect()).await {
            tracing::debug!(%error, "outbox not advanced");
            self.paused_until = Some(Instant::now() + PAUSE);
            return;
        }
        for shard in std::mem::take(&mut self.through).into_keys() {
            let Some(queue) = self.queues.get_mut(&shard) else {
                continue;
            };
            queue.followed();
            if queue.is_empty() && !self.to_read.contains(&shard) {
                self.queues.remove(&shard);
            }
        }
        self.settled = 0;
        self.flushed = Instant::now();
    }
}

/// Brings one blob to all who are to have it, and says whether that is done.
async fn deal_with(store: StorePort, placer: Placer, shard: ShardId, digest: Digest) -> Verdict {
    let judge = |outcome: &_| {
        let holders = placer.holders();
        let (me, placement) = (holders.me(), holders.placement());
        placement.map_or(Verdict::Again, |placement| {
            let known = placement.holders(shard);
            let verdict = verdict(&me, &known, outcome);
            if verdict == Verdict::Settled && !is_everywhere(&me, &known, outcome) {
                holders.owe(shard);
            }
            verdict
        })
    };
    let known = placer.recent(&digest);
    if known.is_some_and(|known| judge(&known) == Verdict::Settled) {
        return Verdict::Settled;
    }
    let cid = BlobCid::from_digest(digest);
    let info = match store.info(Share::Repair, cid).await {
        Ok(info) if info.quarantined => {
            tracing::warn!(?cid, "a damaged blob is not brought to others");
            return Verdict::Settled;
        }
        Ok(info) => info,
        Err(
            StoreError::NotFound { .. }
            | StoreError::Deleted { .. }
            | StoreError::Blocked { .. }
            | StoreError::Damaged { .. },
        ) => return Verdict::Settled,
        Err(error) => {
            tracing::debug!(?cid, %error, "a blob of the outbox was not found out about");
            return Verdict::Again;
        }
    };
    let blob = BlobFacts {
        cid,
        size: info.size,
        blob_root: info.blob_root,
        content_type: info.content_type,
    };
    judge(&placer.copy(blob).await)
}

// What is read at once never exceeds what the store gives: the window, what lies behind it, and a page.
const _: () = assert!(2 * WINDOW + FLUSH_AT + AT_ONCE + PAGE <= LIST_LIMIT);
