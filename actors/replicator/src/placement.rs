//! Who holds which shard: a pure function of the members, the same on every node that knows the same
//! ones.
//!
//! Of the members that keep a shard, the holders are the first by weighted rendezvous hashing of
//! (`SHARD_COUNT`, shard, peer id) (Thaler and Ravishankar 1998; the weighted form is Resch's, "New
//! Hashing Algorithms for Data Storage", 2015): each member draws a number, and a member of twice the
//! weight wins twice as many shards. One more member takes its part from all others and moves nothing
//! else. The weight is the storage limit rounded down to a power of two; neither the fill nor any
//! address enters, so ranks move only when membership or a limit does. All arithmetic is on integers:
//! no two machines round differently.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytecave_core::{BlobCid, Digest, PeerId, ShardCount, ShardId, ShardSet};

/// Fraction bits of the logarithms; ties are then decided by the peer id, and never happen.
const FRACTION_BITS: u32 = 48;
/// Weights end here (16 TiB): a limit that nobody checks shall not win all shards.
const WEIGHT_BITS_MAX: u32 = 24;
const DOMAIN: &[u8] = b"bytecave-placement-v1";

/// How many shards a member draws compared with others: a power of two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Weight(u32);

impl Weight {
    /// Of a node with this storage limit: its MiB, rounded down to a power of two, at least one and at
    /// most 2^24.
    pub(crate) fn of(capacity_bytes: u64) -> Self {
        let mib = capacity_bytes >> 20;
        Self(mib.checked_ilog2().unwrap_or(0).min(WEIGHT_BITS_MAX))
    }
}

/// A node that may hold shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) peer: PeerId,
    pub(crate) weight: Weight,
    /// The shards it keeps.
    pub(crate) shards: ShardSet,
    /// Whether it takes new blobs.
    pub(crate) accepting: bool,
    /// Too young to be relied on.
    pub(crate) on_probation: bool,
}

/// One who holds a shard: a new blob goes to every holder that is accepting, and of those copies the
/// ones on counted holders are promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) peer: PeerId,
    /// Whether it takes new blobs. One that does not keeps its place and what it has, and another
    /// stands in for it.
    pub(crate) accepting: bool,
    /// Whether its copy is one of those that are promised: it is accepting, and not one more on
    /// probation. There are at most as many counted ones as the factor says, and at most one of them is
    /// on probation.
    pub(crate) counted: bool,
    /// Too young to be relied on.
    pub(crate) on_probation: bool,
}

/// The members at one moment, and who of them holds what.
#[derive(Debug)]
pub(crate) struct Placement {
    count: ShardCount,
    factor: usize,
    members: Vec<Member>,
    /// What was worked out so far.
    known: Mutex<HashMap<ShardId, Arc<[Holder]>>>,
}

impl Placement {
    /// Of these members, in any order, each with its own peer id.
    pub(crate) fn new(count: ShardCount, factor: usize, mut members: Vec<Member>) -> Self {
        members.sort_unstable_by_key(|member| member.peer);
        Self {
            count,
            factor,
            members,
            known: Mutex::default(),
        }
    }

    /// Whether it would be the same with these.
    pub(crate) fn is_of(&self, count: ShardCount, factor: usize, members: &[Member]) -> bool {
        self.count == count && self.factor == factor && self.members == members
    }

    /// All members, by peer id.
    pub(crate) fn members(&self) -> &[Member] {
        &self.members
    }

    /// How many copies a blob shall have.
    pub(crate) fn factor(&self) -> usize {
        self.factor
    }

    /// The shard of a blob.
    pub(crate) fn shard_of(&self, cid: &BlobCid) -> ShardId {
        self.count.shard_of(&cid.digest())
    }

    /// Those who hold `shard`, by rank: counted ones up to the factor, and between them those that do
    /// not take new blobs or are one more on probation, of these too no more than the factor says.
    pub(crate) fn holders(&self, shard: ShardId) -> Arc<[Holder]> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let holders = known.entry(shard).or_insert_with(|| {
            let ranked = rank(self.count, shard, &self.members);
            choose(&ranked, self.factor).into()
        });
        Arc::clone(holders)
    }

    /// Those who take a new blob of `shard` when a holder does not, by rank: whoever keeps the shard, is
    /// none of its holders, is accepting and not on probation. Worked out anew each time.
    pub(crate) fn beyond(&self, shard: ShardId) -> Vec<PeerId> {
        let holders = self.holders(shard);
        rank(self.count, shard, &self.members)
            .into_iter()
            .filter(|member| member.accepting && !member.on_probation)
            .map(|member| member.peer)
            .filter(|peer| holders.iter().all(|holder| holder.peer != *peer))
            .collect()
    }

    /// Whether `peer` holds `shard`.
    pub(crate) fn holds(&self, peer: &PeerId, shard: ShardId) -> bool {
        self.holders(shard)
            .iter()
            .any(|holder| holder.peer == *peer)
    }
}

/// The members that keep `shard`, best first.
fn rank(count: ShardCount, shard: ShardId, members: &[Member]) -> Vec<&Member> {
    let mut drawn: Vec<_> = members
        .iter()
        .filter(|member| member.shards.contains(shard))
        .map(|member| (draw(count, shard, member), member))
        .collect();
    drawn.sort_unstable_by_key(|(drawn, member)| (*drawn, member.peer));
    drawn.into_iter().map(|(_, member)| member).collect()
}

/// What a member draws for a shard: exponentially distributed, at a rate that is its weight. The
/// smallest wins.
fn draw(count: ShardCount, shard: ShardId, member: &Member) -> u128 {
    let mut text = Vec::with_capacity(DOMAIN.len() + 44);
    text.extend_from_slice(DOMAIN);
    text.extend_from_slice(&count.get().to_be_bytes());
    text.extend_from_slice(&shard.get().to_be_bytes());
    text.extend_from_slice(&member.peer.to_bytes());
    let [a, b, c, d, e, f, g, h, ..] = *Digest::of(&text).as_bytes();
    let uniform = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let exponential = (64 << FRACTION_BITS) - log2(uniform.max(1));
    u128::from(exponential) << (WEIGHT_BITS_MAX - member.weight.0)
}

/// log2 of a number from 1 on, with [`FRACTION_BITS`] bits behind the point. It never falls as the number
/// grows.
fn log2(number: u64) -> u64 {
    let whole = number.ilog2();
    // From 1 up to 2, with 63 bits behind the point; squaring doubles its logarithm.
    let mut mantissa = u128::from(number) << (63 - whole);
    let mut log = u64::from(whole);
    for _ in 0..FRACTION_BITS {
        mantissa = (mantissa * mantissa) >> 63;
        let carry = mantissa >> 64;
        mantissa >>= carry;
        log = (log << 1) | u64::from(carry != 0);
    }
    log
}

/// The first of these that take new blobs, and whom they leave behind on the way.
fn choose(ranked: &[&Member], factor: usize) -> Vec<Holder> {
    let mut chosen = Vec::new();
    let (mut counted, mut passed_over, mut on_probation) = (0, 0, 0);
    for member in ranked {
        if counted == factor {
            break;
        }
        let counts = member.accepting && !(member.on_probation && on_probation > 0);
        if counts {
            counted += 1;
            on_probation += usize::from(member.on_probation);
        } else if passed_over == factor {
            // A network of full nodes: all of them would hold everything.
            continue;
        } else {
            passed_over += 1;
        }
        chosen.push(Holder {
            peer: member.peer,
            accepting: member.accepting,
            counted: counts,
            on_probation: member.on_probation,
        });
    }
    chosen
}

#[cfg(test)]
mod tests;
