//! Letting go of copies that others hold: extra copies of shards that this node keeps and does not hold, and
//! the blobs of shards that were ordered to be handed over.
//!
//! A node lets go of its own copy only, one after the other, by itself. It begins when every holder that
//! takes blobs said that it lacks nothing of the shard ([`offers`](super::offers)), and goes on so:
//!
//! 1. `replication.factor` live holders that rank before this node, by its own view, prove that they have the blob.
//! 2. Its name is written to the state file, and the copy is retired: from now on it proves nothing and counts
//!    for nothing. It stands on disk for [`UNCONFIRMED`], longer than anything here takes.
//! 3. The same holders prove it **once more**, by questions asked after the copy was retired. Only then
//!    it stays retired, goes after `replication.hold`, and its name is struck from the file; else it is restored.
//!
//! What this guarantees, whatever each node thinks of the others: **of the copies of a blob, those that
//! are let go for good leave at least `factor` that are not.** Ranks and views decide which copies go and never
//! how many: two nodes that each think the other one the better holder pass the first step both, but not the
//! third. For let T be the nodes that let go for good, and L the one of them whose last retiring was
//! the latest. What L was told in step 3 was asked after that, when every node of T had retired its copy
//! and proved nothing any more; so the `factor` nodes that proved it are not of T. No clocks are compared
//! for this, only questions of one node with an event of its own.
//!
//! It rests on the store: a retired blob has no leaves ([`ReadLeaves`](bytecave_messages::store::ReadLeaves) says that it
//! is not there). It does not speak of disks that fail, of operators who delete, of nodes that lie about what
//! they hold at the moment of a proof and drop it after. A restart restores what stands in the file, so a
//! crash between the steps costs nothing unless the node is away for longer than `UNCONFIRMED`.

mod letting;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{BlobCid, Digest, PeerId, ShardId};
use bytecave_messages::budget::Share;
use bytecave_messages::store::{BlobInfo, ListCursor, ShardCounters, StoreError};
use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt as _};
use tokio::time::Instant;

use super::shared::{Shared, is_live};
use crate::facts::StoreFacts;
use crate::placement::Placement;
use letting::{Letting, Next, provers};

const TICK: Duration = Duration::from_secs(3);
/// Blobs in hand at once, for each of which there are some seconds of waiting. Too low: a shard takes days
/// to move. Too high: a crash has as many to restore.
const BATCH: usize = 64;
/// Blobs that are asked about at once, each with as many questions as there shall be copies. Too high:
/// holders are kept busy proving.
const ASKED_AT_ONCE: usize = 8;
/// Time between retiring and asking again. What was asked before is told from what was asked after by
/// this node's clock, which must not be set forward by more than this in between.
const SETTLE: Duration = Duration::from_secs(10);
/// A shard that somebody counts on this node to keep is left alone for so many intervals between
/// comparisons: views differ, and will agree.
pub(super) const LEFT_ALONE_INTERVALS: u32 = 4;
/// How long a copy is kept that was retired and not yet proved once more: nothing here may take so long, however
/// short `replication.hold` is. Too high: what nobody knows any more stays on disk.
const UNCONFIRMED: Duration = Duration::from_hours(365 * 24);
/// Waiting for the store, and how often.
const WAIT: Duration = Duration::from_secs(2);
const WAITS_MAX: u32 = 30;

/// Lets go until it is dropped.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut later = HashMap::new();
    loop {
        // What a crash, or a store that did not answer, left between the steps.
        restore(&shared, shared.handover.unconfirmed()).await;
        tokio::time::sleep(TICK).await;
        let now = Instant::now();
        later.retain(|_, at| *at > now);
        if let Some(shard) = next(&shared, &later) {
            trim(&shared, shard).await;
            later.insert(shard, Instant::now() + shared.interval());
        }
    }
}

/// The network and the store at one moment.
struct Look {
    me: PeerId,
    facts: Arc<StoreFacts>,
    placement: Arc<Placement>,
    live: HashSet<PeerId>,
}

impl Look {
    fn at(shared: &Shared) -> Option<Self> {
        let holders = &shared.parts.holders;
        let network = holders.network()?;
        let live = network.peers.iter().filter(|peer| is_live(peer));
        Some(Self {
            me: shared.me(),
            facts: shared.parts.facts.get()?,
            placement: holders.placement()?,
            live: live.map(|peer| peer.peer_id).collect(),
        })
    }

    /// Who has to prove the blobs of a shard, if this node may let go of any now.
    fn ready(&self, shared: &Shared, counters: &ShardCounters) -> Option<Vec<PeerId>> {
        let shard = counters.shard;
        let is_asked_for = counters.owned || shared.handover.is_applied(shard);
        let holds = self.placement.holds(&self.me, shard);
        if !is_asked_for || holds || shared.handover.is_left_alone(shard) {
            return None;
        }
        let holders = self.placement.holders(shard);
        let told = {
            let board = shared.board();
            let mut takers = holders.iter().filter(|holder| holder.accepting);
            takers.all(|holder| board.was_offered(shard, &holder.peer))
        };
        let is_live = |peer: &PeerId| self.live.contains(peer);
        told.then(|| provers(&self.placement, &self.me, shard, is_live))?
    }
}

/// The next shard to let go of, those that were ordered first.
fn next(shared: &Shared, later: &HashMap<ShardId, Instant>) -> Option<ShardId> {
    let look = Look::at(shared)?;
    let open = look.facts.shards.iter();
    let open = open.filter(|it| it.blobs > 0 && !later.contains_key(&it.shard));
    let mut ready = open.filter(|counters| look.ready(shared, counters).is_some());
    let applied: HashSet<_> = shared.handover.applied().into_iter().collect();
    let first = ready.next()?.shard;
    let mut all = std::iter::once(first).chain(ready.map(|it| it.shard));
    Some(all.find(|shard| applied.contains(shard)).unwrap_or(first))
}

/// Who has to prove the blobs of `shard`, if this node may let go of any now.
fn ready(shared: &Shared, shard: ShardId) -> Option<Vec<PeerId>> {
    let look = Look::at(shared)?;
    let counters = &look.facts.shards;
    let at = counters.binary_search_by_key(&shard, |it| it.shard);
    look.ready(shared, counters.get(at.ok()?)?)
}

/// Goes through the blobs of a shard once.
async fn trim(shared: &Shared, shard: ShardId) {
    let mut cursor: Option<ListCursor> = None;
    let mut pinned = 0;
    loop {
        // What the store did not take back before.
        restore(shared, shared.handover.unconfirmed()).await;
        let Some(needed) = ready(shared, shard) else {
            return;
        };
        let page = || {
            let store = &shared.parts.store;
            store.list(Share::Repair, Some(shard), cursor, BATCH)
        };
        let Ok(page) = shared.of_store(page).await else {
            return;
        };
        let may_go = |blob: &BlobInfo| !blob.pinned && !blob.quarantined;
        pinned += page.blobs.iter().filter(|blob| blob.pinned).count();
        let blobs = page.blobs.iter().filter(|blob| may_go(blob));
        let blobs: Vec<_> = blobs.map(|blob| blob.cid).collect();
        if !blobs.is_empty() && !let_go(shared, shard, &needed, blobs).await {
            return;
        }
        cursor = page.next;
        if cursor.is_none() {
            shared.handover.pinned(shard, pinned);
            return;
        }
    }
}

/// Lets go of these if their provers have them; whether it makes sense to go on with others.
async fn let_go(shared: &Shared, shard: ShardId, needed: &[PeerId], blobs: Vec<BlobCid>) -> bool {
    let begun = blobs.into_iter().map(|cid| (cid, Letting::new(needed)));
    let asked = ask(shared, begun.collect(), shared.now_ms()).await;
    let proved: Vec<_> = asked
        .into_iter()
        .filter(|(.., next)| *next == Next::Retire)
        .map(|(cid, letting, _)| (cid, letting))
        .collect();
    if proved.is_empty() || ready(shared, shard).as_deref() != Some(needed) {
        return false;
    }
    shared.handover.proved(shard, proved.len());
    let digests = proved.iter().map(|(cid, _)| cid.digest());
    shared.handover.begin(digests.clone());
    // A restart must know what it has to restore.
    if !shared.save().await {
        shared.handover.end(digests);
        return false;
    }
    let mut retired = Vec::new();
    for (cid, mut letting) in proved {
        match retire(shared, cid, UNCONFIRMED).await {
            Some(true) => {
                letting.retired();
                retired.push((cid, letting));
            }
            Some(false) => shared.handover.end([cid.digest()]),
            // It may be retired: its name stays in the file, and it is restored.
            None => {}
        }
    }
    tokio::time::sleep(SETTLE).await;
    let since_ms = shared.now_ms();
    let asked = ask(shared, retired, since_ms).await;
    let (mut gone, mut kept) = (Vec::new(), Vec::new());
    let hold = shared.parts.settings.hold.as_duration();
    for (cid, _, next) in asked {
        if next == Next::LetGo
            && may_still_go(shared, shard)
            && retire(shared, cid, hold).await.is_some()
        {
            gone.push(cid.digest());
        } else {
            kept.push(cid.digest());
        }
    }
    shared.tallies.trimmed_blobs.add(number(gone.len()));
    shared.handover.retired(shard, gone.len());
    let goes_on = !gone.is_empty();
    shared.handover.end(gone);
    restore(shared, kept).await;
    goes_on
}

/// Whether nothing changed that makes this node a holder, or somebody count on it.
fn may_still_go(shared: &Shared, shard: ShardId) -> bool {
    !shared.holds(shard) && !shared.handover.is_left_alone(shard)
}

/// Asks those who have to prove each of these.
async fn ask(
    shared: &Shared,
    blobs: Vec<(BlobCid, Letting)>,
    since_ms: u64,
) -> Vec<(BlobCid, Letting, Next)> {
    let each = blobs.into_iter().map(async |(cid, mut letting)| {
        let answers = letting.needed().to_vec().into_iter();
        let answers = answers.map(async |peer| {
            let proves = shared.audits().proves(peer, cid, since_ms).await;
            (peer, proves)
        });
        let mut next = Next::Wait;
        for (peer, proves) in join_all(answers).await {
            next = letting.heard(&peer, proves);
        }
        (cid, letting, next)
    });
    stream::iter(each).buffered(ASKED_AT_ONCE).collect().await
}

/// Has a copy go after `keep_for`. Whether it counted as here before; `None` if it is not known what the store
/// did.
async fn retire(shared: &Shared, cid: BlobCid, keep_for: Duration) -> Option<bool> {
    for _ in 0..WAITS_MAX {
        match shared.parts.store.retire(cid, keep_for).await {
            Ok(was_here) => return Some(was_here),
            Err(StoreError::Full(_)) => tokio::time::sleep(WAIT).await,
            Err(error @ (StoreError::Pinned { .. } | StoreError::Damaged { .. })) => {
                tracing::debug!(?cid, %error, "a copy stays");
                return Some(false);
            }
            Err(error) => {
                tracing::warn!(?cid, %error, "it is not known whether a copy was let go: it is taken back");
                return None;
            }
        }
    }
    None
}

/// Takes these back. What the store does not take back now is tried again.
async fn restore(shared: &Shared, digests: Vec<Digest>) {
    for digest in digests {
        let cid = BlobCid::from_digest(digest);
        match shared.parts.store.restore(Share::Repair, cid).await {
            Ok(restored) => {
                if restored {
                    tracing::debug!(?cid, "a copy is kept after all");
                    shared.tallies.trims_taken_back.one();
                }
                shared.handover.end([digest]);
            }
            Err(error) => tracing::debug!(?cid, %error, "a copy was not restored yet"),
        }
    }
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
