//! A comparison with one peer: all shards, those that differ, and what differs in them.

use std::sync::Arc;

use bytecave_core::{Digest, Fingerprint, PeerId, ShardId};
use bytecave_messages::budget::Share;
use bytecave_messages::store::{LIST_LIMIT, Standing};
use bytecave_messages::sync::{SyncAnswer, SyncRequest};
use ring::digest::{Context, SHA256};

use super::exchange::Ended;
use super::ranges::{Differ, Found};
use super::shared::Shared;
use super::{aside, chance, keyed, offers};

/// Compares these shards, which `peer` and this node both hold.
pub(super) async fn with_peer(
    shared: &Arc<Shared>,
    peer: PeerId,
    shards: &[ShardId],
) -> Result<(), Ended> {
    let facts = shared.parts.facts.get().ok_or(Ended::NotNow)?;
    let sums: Vec<_> = shards
        .iter()
        .filter_map(|shard| Some((*shard, Shared::sum(&facts, *shard)?)))
        .collect();
    if sums.is_empty() {
        return Ok(());
    }
    shared.repairs.begin_round(&peer);
    let differing = which_differ(shared, peer, &sums).await?;
    for shard in &differing {
        match find(shared, peer, *shard).await {
            Ok(()) => {}
            Err(Ended::Refused(_)) => forget(shared, peer, *shard),
            Err(ended) if ended.is_of_one_shard() => {}
            Err(ended) => return Err(ended),
        }
    }
    let now_ms = shared.now_ms();
    shared.board().record(peer).compared_ms = now_ms;
    keyed::if_due(shared, peer, shards).await
}

/// The shards that differ; the others are noted as alike.
async fn which_differ(
    shared: &Shared,
    peer: PeerId,
    sums: &[(ShardId, Fingerprint)],
) -> Result<Vec<ShardId>, Ended> {
    let shards: Vec<_> = sums.iter().map(|(shard, _)| *shard).collect();
    let hash = hash_of_sums(sums);
    let all = SyncRequest::CompareAll {
        shards: shards.clone(),
        hash,
    };
    match shared.ask(peer, all).await? {
        SyncAnswer::Alike(true) => {
            let now_ms = shared.now_ms();
            shared.board().alike(peer, &shards, now_ms);
            return Ok(Vec::new());
        }
        SyncAnswer::Alike(false) => {}
        _ => return Err(shared.answered_another(&peer)),
    }
    let differing = ask_sums(shared, peer, sums).await?;
    if differing.is_empty() {
        // They were alike a moment later.
        return Ok(differing);
    }
    let alike: Vec<_> = shards
        .into_iter()
        .filter(|shard| differing.binary_search(shard).is_err())
        .collect();
    let now_ms = shared.now_ms();
    shared.board().alike(peer, &alike, now_ms);
    Ok(differing)
}

/// One hash over the sums of many shards.
pub(super) fn hash_of_sums(sums: &[(ShardId, Fingerprint)]) -> Digest {
    let mut context = Context::new(&SHA256);
    for (shard, sum) in sums {
        context.update(&shard.get().to_be_bytes());
        context.update(sum.as_bytes());
    }
    Digest::finish(context)
}

/// Which of these shards have another sum there.
pub(super) async fn ask_sums(
    shared: &Shared,
    peer: PeerId,
    sums: &[(ShardId, Fingerprint)],
) -> Result<Vec<ShardId>, Ended> {
    let shards = sums.to_vec();
    let answer = shared.ask(peer, SyncRequest::Compare { shards }).await?;
    let SyncAnswer::Differing(differing) = answer else {
        return Err(shared.answered_another(&peer));
    };
    let was_asked = |shard: &ShardId| sums.binary_search_by_key(shard, |(id, _)| *id).is_ok();
    if !differing.is_sorted_by(|one, other| one < other) || !differing.iter().all(was_asked) {
        return Err(shared.lied(&peer, &"shards that were not asked about"));
    }
    Ok(differing)
}

/// The peer does not keep the shard, whatever it says elsewhere.
pub(super) fn forget(shared: &Shared, peer: PeerId, shard: ShardId) {
    shared.board().record(peer).shards.remove(&shard);
}

/// Finds what differs in a shard, and sees to it on both sides.
pub(super) async fn find(shared: &Arc<Shared>, peer: PeerId, shard: ShardId) -> Result<(), Ended> {
    shared.tallies.reconcile_differing_shards.one();
    let facts = shared.parts.facts.get().ok_or(Ended::NotNow)?;
    let count = facts.shard_count();
    let ours = shared.own_list(shard).await?;
    let nonce = chance::nonce().map_err(|_| Ended::NotNow)?;
    let listed = ours.len();
    let differ = aside::hashing(listed, move || Differ::new(shard, count, nonce, ours));
    let mut differ = differ.await.map_err(|_| Ended::NotNow)?;
    while let Some(question) = differ.next_question() {
        let SyncAnswer::Ranges(answers) = shared.ask(peer, question).await? else {
            return Err(shared.answered_another(&peer));
        };
        let taken = aside::hashing(listed, move || {
            let taken = differ.take(answers);
            (differ, taken)
        });
        let taken = taken.await.map_err(|_| Ended::NotNow)?;
        differ = taken.0;
        taken.1.map_err(|lie| shared.lied(&peer, &lie))?;
    }
    settle(shared, peer, shard, differ.into_found()).await
}

/// What is wanting here is queued, and what is wanting there is offered.
async fn settle(shared: &Shared, peer: PeerId, shard: ShardId, found: Found) -> Result<(), Ended> {
    let (mut deleted, mut wanting) = (found.deleted_here, Vec::new());
    for page in found.missing_here.chunks(LIST_LIMIT) {
        for (digest, standing) in standings(shared, Share::Repair, page).await? {
            match standing {
                Standing::Absent | Standing::Damaged => wanting.push(digest),
                Standing::Deleted => deleted.push(digest),
                Standing::Here | Standing::Blocked => {}
            }
        }
    }
    renew(shared, &deleted).await?;
    if shared.takes(shard, &peer) {
        shared.repairs.push(&shared.tallies, shard, &wanting, peer);
    }
    let missing_there = found.missing_there.len();
    let differing = wanting.len() + missing_there;
    tracing::debug!(
        %peer,
        %shard,
        missing_here = wanting.len(),
        missing_there,
        declined_there = found.declined_there.len(),
        whole = found.whole,
        "compared a shard that differs"
    );
    let differing = u64::try_from(differing).unwrap_or(u64::MAX);
    let now_ms = shared.now_ms();
    shared.board().differ(peer, shard, differing, now_ms);
    match offers::offer(shared, peer, shard, &found.missing_there).await {
        // What it does not want it will not have; the rest of what was found out stays true.
        Err(Ended::Refused(_)) => Ok(()),
        offered => offered.map(drop),
    }
}

/// How these stand with this node.
pub(super) async fn standings(
    shared: &Shared,
    share: Share,
    digests: &[Digest],
) -> Result<Vec<(Digest, Standing)>, Ended> {
    let check = || shared.parts.store.check(share, digests.to_vec());
    let standings = shared.of_store(check).await?;
    Ok(digests.iter().copied().zip(standings).collect())
}

/// Tombstones that are to stay, since a peer has the blobs.
pub(super) async fn renew(shared: &Shared, deleted: &[Digest]) -> Result<(), Ended> {
    for page in deleted.chunks(LIST_LIMIT) {
        let renew = || shared.parts.store.renew_tombstones(page.to_vec());
        shared.of_store(renew).await?;
        let renewed = u64::try_from(page.len()).unwrap_or(u64::MAX);
        shared.tallies.tombstones_renewed.add(renewed);
    }
    Ok(())
}
