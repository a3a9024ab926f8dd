//! Answering peers that compare. Everybody who is connected may ask, one question at a time; what it
//! costs is bounded by how many digests are listed, looked up and hashed for a peer.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use bytecave_core::{Digest, Fingerprint, PeerId, ShardId};
use bytecave_messages::budget::Share;
use bytecave_messages::store::{LIST_LIMIT, Standing};
use bytecave_messages::swarm::{InboundSync, Refusal};
use bytecave_messages::sync::{
    ListedDigest, RangeSketch, SYNC_DIGESTS_MAX, SYNC_SHARDS_MAX, SyncAnswer, SyncRequest,
};

use tokio::time::Instant;

use super::listings::KEPT;
use super::shared::Shared;
use super::{aside, compare, ranges, repair, trim};
use crate::conduct::Deed;
use crate::facts::StoreFacts;
use crate::refuse::refusal;

/// Digests that are hashed in the time in which one is listed.
const HASHED_PER_LISTED: u64 = 64;
const STARTING: Refusal = Refusal::Unavailable("the node is starting");
const NO_MEMBER: Refusal =
    Refusal::NotAdmitted("only nodes that keep shards as this one does are listened to");
const NOT_TAKEN: Refusal =
    Refusal::NotAdmitted("nothing of this shard is taken here from that peer");
const STOPPING: Refusal = Refusal::Unavailable("the node is stopping");

/// Answers a question.
pub(super) async fn answer(shared: &Arc<Shared>, asked: InboundSync) {
    let InboundSync {
        from,
        request,
        answer,
        permit,
    } = asked;
    let answered = match Asking::begin(&shared.asking, from) {
        Some(_asking) => think(shared, from, request).await,
        None => Err(Refusal::Busy),
    };
    match &answered {
        Ok(_) => shared.tallies.reconcile_answers.one(),
        Err(refused) => {
            tracing::debug!(peer = %from, %refused, "a comparison was refused");
            shared.tallies.reconcile_refused.one();
        }
    }
    answer.send(answered);
    drop(permit);
}

/// A peer whose question is being answered.
struct Asking<'a> {
    all: &'a Mutex<HashSet<PeerId>>,
    peer: PeerId,
}

impl<'a> Asking<'a> {
    fn begin(all: &'a Mutex<HashSet<PeerId>>, peer: PeerId) -> Option<Self> {
        let mut asking = all.lock().unwrap_or_else(PoisonError::into_inner);
        // Made only when it is to be kept: its drop lets the peer ask again.
        asking.insert(peer).then(|| Self { all, peer })
    }
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        let mut asking = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        asking.remove(&self.peer);
    }
}

async fn think(
    shared: &Arc<Shared>,
    from: PeerId,
    request: SyncRequest,
) -> Result<SyncAnswer, Refusal> {
    let facts = shared.parts.facts.get().ok_or(STARTING)?;
    match request {
        SyncRequest::CompareAll { shards, hash } => {
            ascending(shards.iter().copied())?;
            let sums: Option<Vec<_>> = shards
                .iter()
                .map(|shard| Some((*shard, Shared::sum(&facts, *shard)?)))
                .collect();
            let alike = sums.is_some_and(|sums| compare::hash_of_sums(&sums) == hash);
            Ok(SyncAnswer::Alike(alike))
        }
        SyncRequest::Compare { shards } => {
            ascending(shards.iter().map(|(shard, _)| *shard))?;
            Ok(SyncAnswer::Differing(differing(&facts, &shards)))
        }
        SyncRequest::Keyed { nonce, shards } => {
            ascending(shards.iter().copied())?;
            keyed(shared, &facts, from, nonce, &shards).await
        }
        SyncRequest::Ranges {
            shard,
            nonce,
            ranges: asked,
        } => {
            if Shared::sum(&facts, shard).is_none() {
                return Err(Refusal::NotOurShard(shard));
            }
            let list = list(shared, &facts, from, shard, true).await?;
            let work = ranges::work(&list, &asked) / HASHED_PER_LISTED;
            if !shared.rates.allow(&from, work) {
                return Err(Refusal::Busy);
            }
            by_ranges(list, nonce, asked).await
        }
        SyncRequest::Offer { shard, digests } => {
            offered(shared, &facts, from, shard, &digests).await
        }
    }
}

fn ascending(shards: impl ExactSizeIterator<Item = ShardId>) -> Result<(), Refusal> {
    let invalid = |why: &str| Err(Refusal::Invalid(why.to_owned()));
    if shards.len() > SYNC_SHARDS_MAX {
        return invalid("more shards than there can be");
    }
    if !shards.is_sorted_by(|one, other| one < other) {
        return invalid("the shards are not in ascending order");
    }
    Ok(())
}

fn differing(facts: &StoreFacts, shards: &[(ShardId, Fingerprint)]) -> Vec<ShardId> {
    // One that is not kept here is not like the asker's either.
    let differs = |(shard, sum): &&(ShardId, Fingerprint)| {
        Shared::sum(facts, *shard).is_none_or(|ours| ours != *sum)
    };
    let differing = shards.iter().filter(differs);
    differing.map(|(shard, _)| *shard).collect()
}

async fn keyed(
    shared: &Shared,
    facts: &StoreFacts,
    from: PeerId,
    nonce: [u8; 32],
    shards: &[ShardId],
) -> Result<SyncAnswer, Refusal> {
    let mut hashes = Vec::with_capacity(shards.len());
    for shard in shards {
        if Shared::sum(facts, *shard).is_none() {
            hashes.push(None);
            continue;
        }
        // So many lists would drive out those that are asked for range by range.
        let list = list(shared, facts, from, *shard, false).await?;
        let hash = aside::hashing(list.len(), move || ranges::keyed(&nonce, &list)).await;
        hashes.push(Some(hash.map_err(|_| STOPPING)?));
    }
    Ok(SyncAnswer::Hashes(hashes))
}

/// What stands here of a shard, if the peer may have it listed now.
async fn list(
    shared: &Shared,
    facts: &StoreFacts,
    from: PeerId,
    shard: ShardId,
    keep: bool,
) -> Result<Arc<[ListedDigest]>, Refusal> {
    let digests = facts.counters(shard).map_or(0, |counters| counters.blobs);
    let allowed = || shared.rates.allow(&from, digests);
    let listings = &shared.listings;
    let list = listings.get(Share::Peer, shard, KEPT, keep, allowed).await;
    list.map_err(|error| refusal(error, 0))?
        .ok_or(Refusal::Busy)
}

async fn by_ranges(
    list: Arc<[ListedDigest]>,
    nonce: [u8; 32],
    asked: Vec<RangeSketch>,
) -> Result<SyncAnswer, Refusal> {
    let len = list.len();
    let answers = aside::hashing(len, move || ranges::answer(&list, &nonce, &asked)).await;
    answers
        .map_err(|_| STOPPING)?
        .map(SyncAnswer::Ranges)
        .map_err(|nonsense| Refusal::Invalid(nonsense.to_string()))
}

/// Queues what is offered and wanting, and says how much of it is wanting, whether there was room for it
/// or not: whoever offers goes on until nothing is. Whoever is no member, is not admitted or lied is not
/// listened to, nor is anybody while this node does not hold the shard or has no room.
async fn offered(
    shared: &Shared,
    facts: &StoreFacts,
    from: PeerId,
    shard: ShardId,
    digests: &[Digest],
) -> Result<SyncAnswer, Refusal> {
    let of_shard = |digest: &Digest| facts.shard_count().shard_of(digest) == shard;
    if digests.len() > SYNC_DIGESTS_MAX || !digests.iter().all(of_shard) {
        shared.parts.conduct.note(&from, Deed::Lied);
        let why = "too many digests, or of another shard".to_owned();
        return Err(Refusal::Invalid(why));
    }
    if !shared.is_member(&from) {
        return Err(NO_MEMBER);
    }
    if digests.is_empty() {
        return Ok(SyncAnswer::Wanted(0));
    }
    if !facts.accepting {
        return Err(Refusal::Full);
    }
    if !shared.takes(shard, &from) {
        return Err(NOT_TAKEN);
    }
    if repair::is_beyond(shared, &from, shard) && repair::beyond_left(shared, &from) == 0 {
        return Err(Refusal::Full);
    }
    let looked_up = u64::try_from(digests.len()).unwrap_or(u64::MAX);
    if !shared.rates.allow(&from, looked_up) {
        return Err(Refusal::Busy);
    }
    if !shared.holds(shard) {
        // It knows of somebody that does not have what it should: this node is to stand in.
        let until = shared.interval() * trim::LEFT_ALONE_INTERVALS;
        shared.handover.leave_alone(shard, Instant::now() + until);
    }
    let mut wanted = 0;
    for page in digests.chunks(LIST_LIMIT) {
        let standings = shared.parts.store.check(Share::Peer, page.to_vec()).await;
        let standings = standings.map_err(|error| refusal(error, 0))?;
        let wanting: Vec<_> = page
            .iter()
            .zip(standings)
            .filter(|(_, standing)| matches!(standing, Standing::Absent | Standing::Damaged))
            .map(|(digest, _)| *digest)
            .collect();
        let queued = shared.repairs.push(&shared.tallies, shard, &wanting, from);
        shared.tallies.offers_wanted.add(queued.into());
        wanted += wanting.len();
    }
    // At most as many as were offered.
    Ok(SyncAnswer::Wanted(
        u32::try_from(wanted).unwrap_or(u32::MAX),
    ))
}
