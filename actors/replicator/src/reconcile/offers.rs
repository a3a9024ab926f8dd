//! Telling peers what they lack, so that they fetch it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use bytecave_core::{Digest, PeerId, ShardId};
use bytecave_messages::sync::{SYNC_DIGESTS_MAX, SyncAnswer, SyncRequest};
use tokio::time::Instant;

use super::exchange::Ended;
use super::shared::{Shared, Survey};

/// Time between a change of holders and offering them what is here, or an interval between comparisons
/// if that is shorter: by then they know of it too.
const SETTLE: Duration = Duration::from_mins(1);
/// Time until a holder that did not listen, or lacked something, is told again; an interval between
/// comparisons if that is shorter.
const AGAIN: Duration = Duration::from_mins(5);
/// Time between two pages that nobody asked for.
const PAUSE: Duration = Duration::from_secs(1);
/// Shards that are handed over in one step, and the digests at which it ends. Too low: a node that was
/// alone for a while has single copies for long. Too high: comparisons wait.
const STEP_SHARDS: usize = 10;
const STEP_DIGESTS: usize = SYNC_DIGESTS_MAX;

/// When to hand a shard over to whom.
pub(super) type Handing = HashMap<(ShardId, PeerId), Instant>;

/// Offers these to `peer`; how many of them it lacks.
pub(super) async fn offer(
    shared: &Shared,
    peer: PeerId,
    shard: ShardId,
    digests: &[Digest],
) -> Result<usize, Ended> {
    let mut lacking = 0;
    for page in digests.chunks(SYNC_DIGESTS_MAX) {
        let request = SyncRequest::Offer {
            shard,
            digests: page.to_vec(),
        };
        let SyncAnswer::Wanted(wanted) = shared.ask(peer, request).await? else {
            return Err(shared.answered_another(&peer));
        };
        let wanted = usize::try_from(wanted).unwrap_or(usize::MAX);
        if wanted > page.len() {
            return Err(shared.lied(&peer, &"more wanted than offered"));
        }
        lacking += wanted;
        let offered = u64::try_from(page.len()).unwrap_or(u64::MAX);
        shared.tallies.offered_blobs.add(offered);
    }
    Ok(lacking)
}

/// Hands some shards over to holders of theirs, if this node keeps blobs of them and is no holder: all
/// digests are offered to each holder that takes blobs, and again until it lacks none of them. What comes
/// in later the outbox brings, or it is owed.
pub(super) async fn hand_over(
    shared: &Shared,
    survey: &Survey,
    reachable: &HashSet<PeerId>,
    handing: &mut Handing,
) {
    let now = Instant::now();
    let open = open(shared, survey);
    handing.retain(|pair, _| open.contains(pair));
    for pair in &open {
        let settled = now + SETTLE.min(shared.interval());
        handing.entry(*pair).or_insert(settled);
    }
    let due = open
        .into_iter()
        .filter(|(_, peer)| reachable.contains(peer))
        .filter(|pair| handing.get(pair).is_some_and(|at| *at <= now));
    let due: Vec<_> = due.take(STEP_SHARDS).collect();
    let mut offered = 0;
    for (shard, peer) in due {
        let again = Instant::now() + AGAIN.min(shared.interval());
        let before = shared.board().forgotten();
        match offer_all(shared, peer, shard).await {
            Ok(Handed { digests, lacking }) => {
                offered += digests;
                let mut board = shared.board();
                // What came meanwhile may not have been among them.
                if lacking == 0 && board.forgotten() == before {
                    board.offered(shard, peer);
                } else {
                    handing.insert((shard, peer), again);
                }
            }
            Err(ended) => {
                tracing::debug!(%peer, %shard, ?ended, "a shard was not handed over");
                handing.insert((shard, peer), again);
            }
        }
        if offered >= STEP_DIGESTS {
            return;
        }
    }
}

/// Shards that this node has blobs of and does not hold, each with a holder that was not told.
fn open(shared: &Shared, survey: &Survey) -> Vec<(ShardId, PeerId)> {
    let Some(facts) = shared.parts.facts.get() else {
        return Vec::new();
    };
    let (me, board) = (shared.me(), shared.board());
    let mut open = Vec::new();
    for counters in facts.shards.iter().filter(|counters| counters.blobs > 0) {
        let (shard, holders) = (counters.shard, survey.placement.holders(counters.shard));
        if holders.iter().any(|holder| holder.peer == me) {
            continue;
        }
        let untold = holders
            .iter()
            .filter(|holder| holder.accepting && !board.was_offered(shard, &holder.peer));
        open.extend(untold.map(|holder| (shard, holder.peer)));
    }
    // What was ordered goes first.
    open.sort_by_cached_key(|(shard, _)| !shared.handover.is_applied(*shard));
    open
}

/// All blobs of a shard were offered.
struct Handed {
    digests: usize,
    /// How many of them are not there yet.
    lacking: usize,
}

async fn offer_all(shared: &Shared, peer: PeerId, shard: ShardId) -> Result<Handed, Ended> {
    let list = shared.own_list(shard).await?;
    let given = list.iter().filter(|listed| !listed.declined);
    let digests: Vec<_> = given.map(|listed| listed.digest).collect();
    let mut lacking = 0;
    for (number, page) in digests.chunks(SYNC_DIGESTS_MAX).enumerate() {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        lacking += offer(shared, peer, shard, page).await?;
    }
    let digests = digests.len();
    Ok(Handed { digests, lacking })
}
