//! What sums cannot tell: whether sets are alike although somebody chose the blobs so that their sums
//! are, and whether peers still have what was deleted here, which their sums do not tell either.
//!
//! Both need whole lists, so they are rare. A deleted blob counts as present, so a peer that has it is
//! alike; only when it is asked for that very digest it says whether it has the blob.

use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{Digest, PeerId, ShardId};
use bytecave_messages::sync::{
    ListedDigest, RangeAnswer, SYNC_RANGES_MAX, SyncAnswer, SyncRequest,
};

use super::exchange::Ended;
use super::ranges::{keyed, one_by_one};
use super::shared::Shared;
use super::{aside, chance, compare};

/// Shards of one question, and digests if there are several: the asked one has to list them all before
/// it answers, and lists so many in some seconds at the rate it allows.
const SHARDS_AT_ONCE: usize = 16;
const DIGESTS_AT_ONCE: u64 = 100_000;
/// Time for what was stored just now to arrive, before a difference is believed.
const SETTLE: Duration = Duration::from_secs(5);
/// Tombstones of one shard that are asked about in one comparison. When there are more, each comparison
/// begins at another place.
const TOMBSTONES_MAX: usize = 64 * SYNC_RANGES_MAX;

/// Compares whole lists, if that was not done for `replication.keyed_interval`.
pub(super) async fn if_due(
    shared: &Arc<Shared>,
    peer: PeerId,
    shards: &[ShardId],
) -> Result<(), Ended> {
    let now_ms = shared.now_ms();
    let interval = shared.parts.settings.keyed_interval.as_duration();
    let from = {
        let mut board = shared.board();
        let record = board.record(peer);
        if record.keyed_ms == 0 || record.keyed_ms > now_ms {
            // From now on; all peers at once, after the first start, would be too much.
            record.keyed_ms = now_ms;
        }
        if u128::from(now_ms - record.keyed_ms) < interval.as_millis() {
            return Ok(());
        }
        record.keyed_from
    };
    let from = from.map_or(0, |from| shards.partition_point(|shard| *shard < from));
    let mut left = shards.get(from..).unwrap_or_default();
    while let Some(first) = left.first() {
        shared.board().record(peer).keyed_from = Some(*first);
        let (now, later) = left.split_at(one_question(shared, left));
        some(shared, peer, now).await?;
        left = later;
    }
    let mut board = shared.board();
    let record = board.record(peer);
    (record.keyed_ms, record.keyed_from) = (now_ms, None);
    Ok(())
}

/// How many of these shards are asked about at once.
fn one_question(shared: &Shared, shards: &[ShardId]) -> usize {
    let facts = shared.parts.facts.get();
    let blobs = |shard: &ShardId| Some(facts.as_ref()?.counters(*shard)?.blobs);
    let mut sum = 0_u64;
    let fits = shards.iter().take(SHARDS_AT_ONCE).take_while(|shard| {
        sum = sum.saturating_add(blobs(shard).unwrap_or(0));
        sum <= DIGESTS_AT_ONCE
    });
    fits.count().max(1)
}

async fn some(shared: &Arc<Shared>, peer: PeerId, shards: &[ShardId]) -> Result<(), Ended> {
    let suspects = which_differ(shared, peer, shards, true).await?;
    if suspects.is_empty() {
        return Ok(());
    }
    tokio::time::sleep(SETTLE).await;
    for shard in which_differ(shared, peer, &suspects, false).await? {
        let facts = shared.parts.facts.get().ok_or(Ended::NotNow)?;
        let Some(sum) = Shared::sum(&facts, shard) else {
            continue;
        };
        if compare::ask_sums(shared, peer, &[(shard, sum)])
            .await?
            .is_empty()
        {
            shared.tallies.reconcile_forged_sums.one();
            tracing::warn!(
                %peer,
                %shard,
                "the sums of a shard are alike and its blobs are not: somebody may have forged them"
            );
        }
        match compare::find(shared, peer, shard).await {
            Err(ended) if !ended.is_of_one_shard() => return Err(ended),
            _ => {}
        }
    }
    Ok(())
}

/// The shards whose lists differ. On the way, tombstones are renewed if `tombstones` says so.
async fn which_differ(
    shared: &Shared,
    peer: PeerId,
    shards: &[ShardId],
    tombstones: bool,
) -> Result<Vec<ShardId>, Ended> {
    let nonce = chance::nonce().map_err(|_| Ended::NotNow)?;
    let request = SyncRequest::Keyed {
        nonce,
        shards: shards.to_vec(),
    };
    let SyncAnswer::Hashes(hashes) = shared.ask(peer, request).await? else {
        return Err(shared.answered_another(&peer));
    };
    if hashes.len() != shards.len() {
        return Err(shared.lied(&peer, &"hashes of another number of shards"));
    }
    let mut differing = Vec::new();
    for (shard, theirs) in shards.iter().zip(hashes) {
        let Some(theirs) = theirs else {
            compare::forget(shared, peer, *shard);
            continue;
        };
        let list = match shared.own_list(*shard).await {
            Ok(list) => list,
            Err(ended) if ended.is_of_one_shard() => continue,
            Err(ended) => return Err(ended),
        };
        let (hashed, len) = (Arc::clone(&list), list.len());
        let ours = aside::hashing(len, move || keyed(&nonce, &hashed)).await;
        if ours.map_err(|_| Ended::NotNow)? != theirs {
            differing.push(*shard);
        }
        if tombstones {
            renew(shared, peer, *shard, &list).await?;
        }
    }
    Ok(differing)
}

/// Keeps the tombstones of what `peer` still has.
async fn renew(
    shared: &Shared,
    peer: PeerId,
    shard: ShardId,
    list: &[ListedDigest],
) -> Result<(), Ended> {
    let mut deleted: Vec<Digest> = list
        .iter()
        .filter(|listed| listed.declined)
        .map(|listed| listed.digest)
        .collect();
    let nonce = chance::nonce().map_err(|_| Ended::NotNow)?;
    if deleted.len() > TOMBSTONES_MAX {
        // Nonces are spread as digests are.
        let start = deleted.partition_point(|digest| digest.as_bytes() < &nonce);
        deleted.rotate_left(start);
        deleted.truncate(TOMBSTONES_MAX);
        deleted.sort_unstable();
    }
    for page in deleted.chunks(SYNC_RANGES_MAX) {
        let ranges = one_by_one(&nonce, page).unwrap_or_default();
        let request = SyncRequest::Ranges {
            shard,
            nonce,
            ranges,
        };
        let answers = match shared.ask(peer, request).await {
            Ok(SyncAnswer::Ranges(answers)) => answers,
            Ok(_) => return Err(shared.answered_another(&peer)),
            Err(ended) if ended.is_of_one_shard() => return Ok(()),
            Err(ended) => return Err(ended),
        };
        if answers.len() != page.len() {
            return Err(shared.lied(&peer, &"answers to another number of ranges"));
        }
        let mut there = Vec::new();
        for (digest, answer) in page.iter().zip(answers) {
            match answer {
                RangeAnswer::Alike => {}
                RangeAnswer::Listed(list) => match list[..] {
                    [] => {}
                    [listed] if listed.digest == *digest => {
                        there.extend((!listed.declined).then_some(*digest));
                    }
                    _ => return Err(shared.lied(&peer, &"a digest that was not asked for")),
                },
                RangeAnswer::Split(_) => {
                    return Err(shared.lied(&peer, &"parts of what has none"));
                }
            }
        }
        compare::renew(shared, &there).await?;
    }
    Ok(())
}
