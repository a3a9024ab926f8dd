//! How two nodes find out which blobs of a shard one has and the other lacks.
//!
//! One question and one answer at a time, each bounded, and no state between them on the side that is
//! asked: a question that is repeated is answered again. What travels are fingerprints and digests,
//! never a blob; whoever lacks one fetches it itself.

use bytecave_core::{Digest, Fingerprint, ShardCount, ShardId};

/// Most shards of one question: all there can be.
pub const SYNC_SHARDS_MAX: usize = ShardCount::MAX as usize;
/// Most ranges of one question, and most digests of one answer or offer.
pub const SYNC_RANGES_MAX: usize = 512;
/// Most digests that one answer lists or one offer names.
pub const SYNC_DIGESTS_MAX: usize = 4096;
/// Parts into which a range that differs is split.
pub const SYNC_SPLIT: usize = 16;
/// A range of at most this many digests is listed, not split.
pub const SYNC_LEAF: usize = 64;

/// A question of one holder to another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncRequest {
    /// Whether all of these shards are alike: one hash over them all.
    CompareAll {
        /// The shards, ascending.
        shards: Vec<ShardId>,
        /// SHA-256 over u16be shard ‖ fingerprint of each.
        hash: Digest,
    },
    /// Which of these shards differ.
    Compare {
        /// The shards, ascending, and the asker's fingerprints of them.
        shards: Vec<(ShardId, Fingerprint)>,
    },
    /// The asked one's keyed hash of each of these shards: cannot be forged as sums can.
    Keyed {
        /// Made anew by the asker.
        nonce: [u8; 32],
        /// The shards, ascending.
        shards: Vec<ShardId>,
    },
    /// How the asked one's part of a shard compares, range by range.
    Ranges {
        /// The shard.
        shard: ShardId,
        /// Made anew by the asker: keys the hashes of the ranges.
        nonce: [u8; 32],
        /// The asker's ranges, ascending and apart.
        ranges: Vec<RangeSketch>,
    },
    /// The asker has these and thinks that the asked one lacks them.
    Offer {
        /// The shard.
        shard: ShardId,
        /// Which.
        digests: Vec<Digest>,
    },
}

/// A range of digests of one shard, and what stands in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RangeSketch {
    /// The first digest that it may hold.
    pub from: Digest,
    /// The first behind it; none at the end of all digests.
    pub to: Option<Digest>,
    /// Digests in it.
    pub count: u64,
    /// The first 16 bytes of SHA-256(nonce ‖ the digests in ascending order).
    pub hash: [u8; 16],
}

/// What the asked one answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SyncAnswer {
    /// To `CompareAll`: whether they are alike.
    Alike(bool),
    /// To `Compare`: those that differ, ascending; a shard that is not kept there is among them.
    Differing(Vec<ShardId>),
    /// To `Keyed`: one for each shard, in the order asked; none for a shard that is not kept here.
    Hashes(Vec<Option<Digest>>),
    /// To `Ranges`: one for each range, in the order asked.
    Ranges(Vec<RangeAnswer>),
    /// To `Offer`: how many of them are wanting there.
    Wanted(u32),
}

/// How one range compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RangeAnswer {
    /// The same stands here.
    Alike,
    /// This stands here; ascending.
    Listed(Vec<ListedDigest>),
    /// This stands here, in parts that cover the range; ascending.
    Split(Vec<RangeSketch>),
}

/// A digest that counts as present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ListedDigest {
    /// Of which content.
    pub digest: Digest,
    /// Whether it was deleted or is blocked: it counts as present, and is not given.
    pub declined: bool,
}
