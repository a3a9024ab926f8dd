//! Fetching what is wanting here from holders that have it: few at once, at a bounded rate, on the
//! repair's own share of permits, one source after the other.

mod feed;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytecave_config::Replication;
use bytecave_core::{BlobCid, Digest, PeerId, ShardId};
use bytecave_messages::body::{BlobBody, stream};
use bytecave_messages::budget::Share;
use bytecave_messages::store::{Foreign, NewBlob, Standing, StoreError, Stored, Word};
use bytecave_messages::swarm::{Admission, RefusalKind, RemoteBlob, SwarmError};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::compare;
use super::pace::Pace;
use super::queue::{Next, Pushed, Queue, WAITING_MAX, Wanted};
use super::shared::Shared;
use super::tallies::Tallies;
use crate::conduct::Deed;
use crate::media_type;

/// What may be fetched at once when nothing was for a while, as the time that it takes.
const BURST: Duration = Duration::from_secs(1);
/// Time for the head of an answer, whatever the network's own time-outs are.
const HEAD_TIME: Duration = Duration::from_mins(1);
/// Waiting for a permit, or for a peer that is busy, and how often.
const WAIT: Duration = Duration::from_secs(2);
const WAITS_MAX: u32 = 30;
const BUSY_WAITS_MAX: u32 = 3;
/// Blobs that a peer is said to have and has not, within one round, after which that is no accident.
const FALSE_LISTED_MAX: u32 = 16;
/// Peers of which that is counted.
const PEERS_MAX: usize = 4096;
/// A refusal is remembered for this many rounds at first.
const REFUSAL_ROUNDS: u32 = 2;

/// What is to be fetched, and how fast.
#[derive(Debug)]
pub(super) struct Repairs {
    queue: Mutex<Queue>,
    grew: Notify,
    pace: Pace,
    at_once: usize,
    false_listed: Mutex<HashMap<PeerId, u32>>,
}

/// What became of a blob at one source.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// It is here: so many bytes.
    Here(u64),
    /// Another source is to be tried.
    NextSource,
    /// No source is, for now.
    Drop,
}

/// What becomes of a damaged blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sought {
    /// It will be fetched.
    Will,
    /// There is no room, or all who may have it refused it not long ago.
    NotNow,
    /// There is nobody to ask.
    Nobody,
}

impl Repairs {
    pub(super) fn new(settings: &Replication) -> Self {
        let remember = settings.reconcile_interval.as_duration() * REFUSAL_ROUNDS;
        Self {
            queue: Mutex::new(Queue::new(WAITING_MAX, remember)),
            grew: Notify::new(),
            pace: Pace::new(settings.repair_bytes_per_second.bytes(), BURST),
            at_once: usize::try_from(settings.repairs_at_once).unwrap_or(usize::MAX),
            false_listed: Mutex::default(),
        }
    }

    /// These are wanting here, and `source` has them. Answers how many of them will be fetched.
    pub(super) fn push(
        &self,
        tallies: &Tallies,
        shard: ShardId,
        digests: &[Digest],
        source: PeerId,
    ) -> u32 {
        let now = Instant::now();
        let mut taken = 0;
        let mut queue = self.queue();
        for digest in digests {
            match queue.push(shard, *digest, source, now) {
                Pushed::Taken => taken += 1,
                Pushed::NoRoom => tallies.repairs_put_off.one(),
                Pushed::Refused => {}
            }
        }
        drop(queue);
        self.grew.notify_one();
        taken
    }

    /// This is damaged here, and these may have it.
    pub(super) fn seek(
        &self,
        tallies: &Tallies,
        shard: ShardId,
        digest: Digest,
        peers: &[PeerId],
    ) -> Sought {
        let push = |peer: &PeerId| self.push(tallies, shard, &[digest], *peer) > 0;
        let taken = peers.iter().filter(|peer| push(peer)).count();
        match (taken, peers) {
            (0, []) => Sought::Nobody,
            (0, _) => Sought::NotNow,
            _ => Sought::Will,
        }
    }

    /// A new round with `peer` begins: what it says may be true this time.
    pub(super) fn begin_round(&self, peer: &PeerId) {
        self.false_listed().remove(peer);
    }

    /// Blobs that wait, and blobs being fetched.
    pub(super) fn len(&self) -> (usize, usize) {
        let queue = self.queue();
        (queue.waiting(), queue.running())
    }

    /// The same together, by shard.
    pub(super) fn by_shard(&self) -> HashMap<ShardId, u64> {
        self.queue().shards().clone()
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn false_listed(&self) -> MutexGuard<'_, HashMap<PeerId, u32>> {
        let counts = self.false_listed.lock();
        counts.unwrap_or_else(PoisonError::into_inner)
    }
}

/// Fetches until it is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let repairs = &shared.repairs;
    let mut tasks = JoinSet::new();
    loop {
        let mut later = None;
        while tasks.len() < repairs.at_once {
            let next = repairs.queue().next(Instant::now());
            match next {
                Next::Now(wanted) => {
                    tasks.spawn(repair(Arc::clone(&shared), wanted));
                }
                Next::At(at) => {
                    later = Some(at);
                    break;
                }
                Next::Nothing => break,
            }
        }
        let ready = async {
            match later {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some(_) = tasks.join_next() => {}
            () = ready => {}
            // When all hands are full, what is new waits for the end of one.
            () = repairs.grew.notified(), if tasks.len() < repairs.at_once => {}
        }
    }
}

/// A blob that is being fetched, until it is dropped.
struct Running {
    shared: Arc<Shared>,
    wanted: Wanted,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.shared.repairs.queue().done(&self.wanted);
        self.shared.damage.let_go(&self.wanted.digest);
    }
}

async fn repair(shared: Arc<Shared>, wanted: Wanted) {
    let running = Running { shared, wanted };
    let (shared, wanted) = (&running.shared, &running.wanted);
    // It may have come by itself, or been deleted, since it was queued.
    let digest = [wanted.digest];
    let Ok(standings) = compare::standings(shared, Share::Repair, &digest).await else {
        return;
    };
    let damaged = match standings[..] {
        [(_, Standing::Absent)] => false,
        [(_, Standing::Damaged)] => true,
        _ => return shared.damage.mended(&wanted.digest),
    };
    if !damaged && restore(shared, wanted).await {
        return;
    }
    // The bytes of a damaged blob are counted here already, whoever holds its shard.
    let may_give = |source: &&PeerId| {
        if damaged {
            shared.hears(source)
        } else {
            shared.takes(wanted.shard, source)
        }
    };
    let mut asked = 0;
    for source in wanted.sources.iter().filter(may_give) {
        asked += 1;
        let from = From {
            source: *source,
            damaged,
        };
        match fetch(shared, from, wanted).await {
            Outcome::Here(bytes) => {
                shared.tallies.repaired_blobs.one();
                shared.tallies.repaired_bytes.add(bytes);
                shared.parts.conduct.note(source, Deed::Served);
                if damaged {
                    shared.tallies.damaged_repaired.one();
                    shared.damage.mended(&wanted.digest);
                }
                see_to(shared, wanted.shard);
                return;
            }
            Outcome::NextSource => {}
            Outcome::Drop => return,
        }
    }
    if damaged {
        shared.damage.wanting(&wanted.digest);
    }
    if asked > 0 {
        shared.tallies.repairs_failed.one();
    }
}

/// Takes back what was let go and is still on disk; whether there was anything.
async fn restore(shared: &Shared, wanted: &Wanted) -> bool {
    let cid = BlobCid::from_digest(wanted.digest);
    let restored = matches!(
        shared.parts.store.restore(Share::Repair, cid).await,
        Ok(true)
    );
    if restored {
        shared.tallies.restored_blobs.one();
        see_to(shared, wanted.shard);
    }
    restored
}

/// A blob came to a node that does not hold its shard, in the place of one that does: nobody compares
/// with it, so it is to be handed over.
fn see_to(shared: &Shared, shard: ShardId) {
    if !shared.holds(shard) {
        shared.parts.holders.owe(shard);
    }
}

/// Where a blob is fetched from.
#[derive(Debug, Clone, Copy)]
struct From {
    source: PeerId,
    /// It is damaged here: nobody said that this one has it.
    damaged: bool,
}

/// Fetches a blob from one source, and again while there is no permit.
async fn fetch(shared: &Shared, from: From, wanted: &Wanted) -> Outcome {
    let From { source, damaged } = from;
    for _ in 0..WAITS_MAX {
        let remote = match head(shared, from, wanted).await {
            Ok(remote) => remote,
            Err(outcome) => return outcome,
        };
        let size = remote.size;
        if !damaged && !may_bring(shared, source, wanted.shard, size) {
            return Outcome::NextSource;
        }
        match keep(shared, source, wanted, remote).await {
            Ok(_) => {
                if !damaged {
                    count_beyond(shared, source, wanted.shard, size);
                }
                return Outcome::Here(size);
            }
            Err(StoreError::Full(_)) => tokio::time::sleep(WAIT).await,
            Err(error) => return judge(shared, source, &error),
        }
    }
    Outcome::Drop
}

/// Asks for the blob.
async fn head(shared: &Shared, from: From, wanted: &Wanted) -> Result<RemoteBlob, Outcome> {
    let source = from.source;
    let conduct = &shared.parts.conduct;
    let (mut full, mut busy) = (0, 0);
    loop {
        let cid = BlobCid::from_digest(wanted.digest);
        let asked = shared.parts.swarm.retrieve(Share::Repair, source, cid, 0);
        let Ok(answered) = tokio::time::timeout(HEAD_TIME, asked).await else {
            conduct.note(&source, Deed::Silent);
            return Err(Outcome::NextSource);
        };
        match answered {
            Ok(remote) if remote.offset == 0 => return Ok(remote),
            Ok(_) => {
                conduct.note(&source, Deed::Lied);
                return Err(Outcome::NextSource);
            }
            Err(SwarmError::Full(_)) if full < WAITS_MAX => full += 1,
            Err(SwarmError::Busy { .. }) if busy < BUSY_WAITS_MAX => busy += 1,
            Err(SwarmError::Full(_) | SwarmError::Unavailable) => return Err(Outcome::Drop),
            Err(error) => {
                refused(shared, from, wanted, &error);
                return Err(Outcome::NextSource);
            }
        }
        tokio::time::sleep(WAIT).await;
    }
}

/// A source does not give the blob.
fn refused(shared: &Shared, from: From, wanted: &Wanted, error: &SwarmError) {
    let source = from.source;
    let conduct = &shared.parts.conduct;
    let kind = match error {
        SwarmError::NotFound { .. } => RefusalKind::NotFound,
        SwarmError::Refused { kind, .. } => *kind,
        SwarmError::TimedOut { .. } | SwarmError::Unreachable { .. } => {
            return conduct.note(&source, Deed::Silent);
        }
        SwarmError::BadAnswer { .. } => return conduct.note(&source, Deed::Lied),
        _ => return,
    };
    match kind {
        // It will have time, or its network will be well, another time.
        RefusalKind::Busy | RefusalKind::Full | RefusalKind::Unavailable => return,
        RefusalKind::NotFound if !from.damaged => false_listed(shared, &source),
        // A word about itself that costs it nothing; all the same it is not asked again soon.
        _ => {}
    }
    let (mut queue, now) = (shared.repairs.queue(), Instant::now());
    queue.refused(source, wanted.digest, now);
}

/// A peer was said to have a blob, by itself, and has not. Once is an accident: it may have lost it.
fn false_listed(shared: &Shared, source: &PeerId) {
    let deed = {
        let mut counts = shared.repairs.false_listed();
        if counts.len() >= PEERS_MAX {
            counts.clear();
        }
        let count = counts.entry(*source).or_default();
        *count += 1;
        if *count > FALSE_LISTED_MAX {
            *count = 0;
            Deed::Lied
        } else {
            Deed::Silent
        }
    };
    shared.parts.conduct.note(source, deed);
}

/// Whether a blob of this size may come from `source`: whoever does not hold the shard brings what it
/// likes, and only so much of it.
fn may_bring(shared: &Shared, source: PeerId, shard: ShardId, bytes: u64) -> bool {
    !is_beyond(shared, &source, shard) || beyond_left(shared, &source) >= bytes
}

/// Bytes that `peer` may yet bring of shards that it does not hold.
pub(super) fn beyond_left(shared: &Shared, peer: &PeerId) -> u64 {
    if shared.parts.admission != Admission::Everyone {
        return u64::MAX;
    }
    let quota = shared
        .parts
        .facts
        .get()
        .map_or(0, |facts| facts.quota_bytes);
    let board = shared.board();
    let brought = board.peers.get(peer).map_or(0, |peer| peer.beyond_bytes);
    // The share has a few digits; so may the limit.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a share from 0 to 1 of an amount"
    )]
    let limit = (quota as f64 * shared.parts.settings.stranger_quota.get()) as u64;
    limit.saturating_sub(brought)
}

/// Whether `peer` is no holder of `shard`.
pub(super) fn is_beyond(shared: &Shared, peer: &PeerId, shard: ShardId) -> bool {
    let placement = shared.parts.holders.placement();
    !placement.is_some_and(|placement| placement.holds(peer, shard))
}

fn count_beyond(shared: &Shared, source: PeerId, shard: ShardId, bytes: u64) {
    if is_beyond(shared, &source, shard) {
        let mut board = shared.board();
        let brought = &mut board.record(source).beyond_bytes;
        *brought = brought.saturating_add(bytes);
    }
}

/// Puts what comes into the store, as fast as is allowed.
async fn keep(
    shared: &Shared,
    source: PeerId,
    wanted: &Wanted,
    remote: RemoteBlob,
) -> Result<Stored, StoreError> {
    let cid = BlobCid::from_digest(wanted.digest);
    let content_type = media_type::believed(remote.content_type);
    let put = |body| {
        let blob = NewBlob {
            body,
            expected: Some(cid),
            content_type,
            file_name: None,
            word: Word::Peer,
            durable: true,
            foreign: Foreign::Refuse,
        };
        shared.parts.store.put(Share::Repair, blob)
    };
    match remote.body {
        BlobBody::Whole(bytes) => {
            let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
            shared.repairs.pace.spend(len).await;
            put(BlobBody::Whole(bytes)).await
        }
        BlobBody::Stream(pieces) => {
            let (sender, body) = stream(Some(remote.size));
            let feed = feed::Feed {
                swarm: &shared.parts.swarm,
                pace: &shared.repairs.pace,
                source,
                cid,
                size: remote.size,
            };
            let feeding = feed.run(pieces, sender);
            let putting = put(BlobBody::Stream(body));
            tokio::pin!(feeding, putting);
            // When the store wants no more, the peer is told by dropping the feed.
            tokio::select! {
                stored = &mut putting => stored,
                () = &mut feeding => putting.await,
            }
        }
    }
}

/// What an error of the store's says of the source.
fn judge(shared: &Shared, source: PeerId, error: &StoreError) -> Outcome {
    let conduct = &shared.parts.conduct;
    match error {
        StoreError::Mismatch { .. } => {
            conduct.note(&source, Deed::Lied);
            Outcome::NextSource
        }
        StoreError::Body(_) => {
            conduct.note(&source, Deed::Silent);
            Outcome::NextSource
        }
        // Deleted or blocked in the meantime, or there is no room: no source helps.
        _ => {
            tracing::debug!(%error, "a repair was not kept");
            Outcome::Drop
        }
    }
}
