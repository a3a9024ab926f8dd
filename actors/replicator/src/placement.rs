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

mod ranks;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bytecave_core::{BlobCid, Digest, PeerId, ShardCount, ShardId, ShardSet};

use ranks::Ranks;

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

/// Where a member's copies do not count, since it failed to prove them or cannot be asked to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Unproved {
    /// It is believed everywhere.
    #[default]
    Nowhere,
    /// In these shards.
    In(Arc<BTreeSet<ShardId>>),
    /// It speaks no protocol to ask it by.
    Everywhere,
}

impl Unproved {
    fn contains(&self, shard: ShardId) -> bool {
        match self {
            Self::Nowhere => false,
            Self::In(shards) => shards.contains(&shard),
            Self::Everywhere => true,
        }
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
    /// Where it is not relied on.
    pub(crate) unproved: Unproved,
}

/// One who holds a shard: a new blob goes to every holder that is accepting, and of those copies the
/// ones on counted holders are promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each holds or not, whatever the others do"
)]
pub(crate) struct Holder {
    pub(crate) peer: PeerId,
    /// Whether it takes new blobs. One that does not keeps its place and what it has, and another
    /// stands in for it.
    pub(crate) accepting: bool,
    /// Whether its copy is one of those that are promised: it is accepting, not one more on probation,
    /// and failed no audit of this shard. There are at most as many counted ones as the factor says, and
    /// at most one of them is on probation.
    pub(crate) counted: bool,
    /// Too young to be relied on.
    pub(crate) on_probation: bool,
    /// It failed an audit of a blob of this shard and did not prove it since: it keeps its place and what
    /// it has, and another stands in for it.
    pub(crate) unproved: bool,
}

/// What was worked out for a shard.
#[derive(Debug, Clone)]
struct Chosen {
    holders: Arc<[Holder]>,
    /// The first of those behind them, as many as the factor says.
    next: Arc<[PeerId]>,
}

/// The members at one moment, and who of them holds what.
#[derive(Debug)]
pub(crate) struct Placement {
    count: ShardCount,
    factor: usize,
    members: Vec<Member>,
    /// What was worked out so far.
    known: Mutex<HashMap<ShardId, Chosen>>,
    /// Shared with placements of the same members in other moods.
    ranks: Arc<Ranks>,
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
            ranks: Arc::default(),
        }
    }

    /// The placement of these members, which follow upon those of this one. Where only moods changed, no
    /// rank is worked out again.
    pub(crate) fn followed_by(
        &self,
        count: ShardCount,
        factor: usize,
        members: Vec<Member>,
    ) -> Self {
        let next = Self::new(count, factor, members);
        let rank_alike = |(one, other): (&Member, &Member)| {
            (one.peer, one.weight) == (other.peer, other.weight) && one.shards == other.shards
        };
        let alike = self.count == count
            && self.members.len() == next.members.len()
            && self.members.iter().zip(&next.members).all(rank_alike);
        if alike {
            let ranks = Arc::clone(&self.ranks);
            return Self { ranks, ..next };
        }
        next
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
    /// not take new blobs, are one more on probation or failed an audit, of these too no more than the
    /// factor says.
    pub(crate) fn holders(&self, shard: ShardId) -> Arc<[Holder]> {
        self.chosen(shard).holders
    }

    /// Those who take a new blob of `shard` when a holder does not, by rank: whoever keeps the shard, is
    /// none of its holders, is accepting, not on probation and failed no audit. Worked out anew each
    /// time.
    pub(crate) fn beyond(&self, shard: ShardId) -> Vec<PeerId> {
        let holders = self.holders(shard);
        let ranked = rank(self.count, shard, &self.members);
        behind(&ranked, &holders, shard).collect()
    }

    /// Whether `peer` is one of the next to hold `shard` should holders be lost: others may know already
    /// that they are.
    pub(crate) fn is_next(&self, peer: &PeerId, shard: ShardId) -> bool {
        self.chosen(shard).next.contains(peer)
    }

    fn chosen(&self, shard: ShardId) -> Chosen {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let chosen = known.entry(shard).or_insert_with(|| {
            let ranked = self.ranks.first(self.count, shard, &self.members);
            let chosen = choose(&ranked.members, self.factor, shard);
            if ranked.is_all || chosen.is_enough(self.factor) {
                chosen
            } else {
                let ranked = rank(self.count, shard, &self.members);
                choose(&ranked, self.factor, shard)
            }
        });
        chosen.clone()
    }

    /// The holders of `shard` that rank before `me`, best first: all but `me` itself where it does not
    /// keep the shard.
    pub(crate) fn ahead_of(&self, me: &PeerId, shard: ShardId) -> Vec<Holder> {
        let drawn = |peer: &PeerId| {
            let found = self.members.binary_search_by_key(peer, |it| it.peer);
            let member = found.ok().and_then(|at| self.members.get(at))?;
            let keeps = member.shards.contains(shard);
            keeps.then(|| (draw(self.count, shard, member), member.peer))
        };
        let mine = drawn(me);
        let ahead = |holder: &&Holder| match (mine, drawn(&holder.peer)) {
            (Some(mine), Some(theirs)) => theirs < mine,
            _ => holder.peer != *me,
        };
        self.holders(shard).iter().filter(ahead).copied().collect()
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

impl Chosen {
    /// Whether more members of the same ranking would change nothing.
    fn is_enough(&self, factor: usize) -> bool {
        let counted = self.holders.iter().filter(|holder| holder.counted);
        counted.count() == factor && self.next.len() == factor
    }
}

/// The first of these that take new blobs, and whom they leave behind on the way.
fn choose(ranked: &[&Member], factor: usize, shard: ShardId) -> Chosen {
    let mut chosen = Vec::new();
    let (mut counted, mut passed_over, mut on_probation) = (0, 0, 0);
    for member in ranked {
        if counted == factor {
            break;
        }
        let unproved = member.unproved.contains(shard);
        let young = member.on_probation && on_probation > 0;
        let counts = member.accepting && !unproved && !young;
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
            unproved,
        });
    }
    let next = behind(ranked, &chosen, shard).take(factor).collect();
    Chosen {
        holders: chosen.into(),
        next,
    }
}

/// Those of `ranked` who may stand in for one of `holders`.
fn behind<'a>(
    ranked: &'a [&Member],
    holders: &'a [Holder],
    shard: ShardId,
) -> impl Iterator<Item = PeerId> + 'a {
    let stands_in = move |member: &&&Member| {
        member.accepting && !member.on_probation && !member.unproved.contains(shard)
    };
    let peers = ranked.iter().filter(stands_in).map(|member| member.peer);
    peers.filter(|peer| holders.iter().all(|holder| holder.peer != *peer))
}

#[cfg(test)]
mod tests;
