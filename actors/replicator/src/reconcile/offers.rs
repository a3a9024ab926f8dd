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
/// Time until a holder that did not listen is told again.
const AGAIN: Duration = Duration::from_mins(5);
/// Time between two pages that nobody asked for.
const PAUSE: Duration = Duration::from_secs(1);
/// Shards that are handed over in one step, and the digests at which it ends. Too low: a node that was
/// alone for a while has single copies for long. Too high: comparisons wait.
const STEP_SHARDS: usize = 10;
const STEP_DIGESTS: usize = SYNC_DIGESTS_MAX;

/// When to hand a shard over to whom.
pub(super) type Handing = HashMap<(ShardId, PeerId), Instant>;

/// Offers these to `peer`.
pub(super) async fn offer(
    shared: &Shared,
    peer: PeerId,
    shard: ShardId,
    digests: &[Digest],
) -> Result<(), Ended> {
    for page in digests.chunks(SYNC_DIGESTS_MAX) {
        let request = SyncRequest::Offer {
            shard,
            digests: page.to_vec(),
        };
        let SyncAnswer::Wanted(wanted) = shared.ask(peer, request).await? else {
            return Err(shared.answered_another(&peer));
        };
        if usize::try_from(wanted).is_ok_and(|wanted| wanted > page.len()) {
            return Err(shared.lied(&peer, &"more wanted than offered"));
        }
        let offered = u64::try_from(page.len()).unwrap_or(u64::MAX);
        shared.tallies.offered_blobs.add(offered);
    }
    Ok(())
}

/// Hands some shards over to holders of theirs, if this node keeps blobs of them and is no holder: all
/// digests are offered, once to each holder that takes blobs. What comes in later the outbox brings.
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
        match offer_all(shared, peer, shard).await {
            Ok(digests) => {
                shared.board().offered(shard, peer);
                offered += digests;
            }
            Err(ended) => {
                tracing::debug!(%peer, %shard, ?ended, "a shard was not handed over");
                handing.insert((shard, peer), Instant::now() + AGAIN);
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
    open
}

/// Offers all blobs of a shard; how many.
async fn offer_all(shared: &Shared, peer: PeerId, shard: ShardId) -> Result<usize, Ended> {
    let list = shared.own_list(shard).await?;
    let given = list.iter().filter(|listed| !listed.declined);
    let digests: Vec<_> = given.map(|listed| listed.digest).collect();
    for (number, page) in digests.chunks(SYNC_DIGESTS_MAX).enumerate() {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        offer(shared, peer, shard, page).await?;
    }
    Ok(digests.len())
}
