//! Shards: which of the network's equal parts a blob belongs to, and which parts a node owns.

use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::Digest;

/// Number of shards in the network, 1 to 4096; fixed at a node's first start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct ShardCount(u16);

/// One shard, `0..SHARD_COUNT`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ShardId(u16);

/// A run of shards, **both ends inclusive**, as `NODE_SHARDS` writes it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardRange {
    /// First shard of the range.
    pub start: u64,
    /// Last shard of the range.
    pub end: u64,
}

/// The shards that a node owns: sorted, disjoint, merged ranges within a `ShardCount`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ShardSet {
    count: ShardCount,
    /// Sorted, disjoint, not adjacent; both ends inclusive.
    ranges: Vec<(u16, u16)>,
}

/// Why a shard count or a set of ranges is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ShardError {
    /// Outside 1..=4096.
    #[error("shard count {0} is out of range: expected 1 to 4096")]
    Count(u64),
    /// No such shard in this network.
    #[error("shard {shard} does not exist: expected 0 to {last}, since the shard count is {count}", last = count - 1)]
    NoSuchShard {
        /// The shard asked for.
        shard: u64,
        /// The network's shard count.
        count: u16,
    },
    /// `start` lies behind `end`.
    #[error("shard range {start}-{end} is reversed: expected start ≤ end, both inclusive")]
    Reversed {
        /// First shard as given.
        start: u64,
        /// Last shard as given.
        end: u64,
    },
    /// Reaches past the last shard.
    #[error("shard range {start}-{end} reaches past the last shard: expected at most {last}, since the shard count is {count}", last = count - 1)]
    OutOfRange {
        /// First shard as given.
        start: u64,
        /// Last shard as given.
        end: u64,
        /// The network's shard count.
        count: u16,
    },
    /// Two ranges share a shard.
    #[error("shard ranges {}-{} and {}-{} overlap: expected each shard at most once", first.start, first.end, second.start, second.end)]
    Overlap {
        /// The range that begins first.
        first: ShardRange,
        /// The range that begins inside it.
        second: ShardRange,
    },
    /// No range at all.
    #[error(
        "no shard range is given: expected at least one, or the setting left out to own all shards"
    )]
    Empty,
    /// A text that is neither `N` nor `N-M`.
    #[error(
        "\"{0}\" is not a shard range: expected one shard (7) or a range with both ends inclusive (7-12)"
    )]
    Syntax(String),
}

impl ShardCount {
    /// Largest number of shards.
    pub const MAX: u16 = 4096;

    /// Checks `count` against 1..=4096.
    pub fn new(count: u64) -> Result<Self, ShardError> {
        u16::try_from(count)
            .ok()
            .filter(|count| (1..=Self::MAX).contains(count))
            .map(Self)
            .ok_or(ShardError::Count(count))
    }

    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }

    /// The shard of the content with this digest: the first six bytes, big-endian, modulo the count.
    pub fn shard_of(self, digest: &Digest) -> ShardId {
        let [a, b, c, d, e, f, ..] = *digest.as_bytes();
        let head = u64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        // The remainder is below 4096.
        ShardId(u16::try_from(head % u64::from(self.0)).unwrap_or_default())
    }

    /// Checks that `shard` exists.
    pub fn shard(self, shard: u64) -> Result<ShardId, ShardError> {
        u16::try_from(shard)
            .ok()
            .filter(|shard| *shard < self.0)
            .map(ShardId)
            .ok_or(ShardError::NoSuchShard {
                shard,
                count: self.0,
            })
    }
}

impl TryFrom<u64> for ShardCount {
    type Error = ShardError;

    fn try_from(count: u64) -> Result<Self, ShardError> {
        Self::new(count)
    }
}

impl From<ShardCount> for u64 {
    fn from(count: ShardCount) -> Self {
        Self::from(count.0)
    }
}

impl ShardId {
    /// The number.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for ShardRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.start == self.end {
            write!(f, "{}", self.start)
        } else {
            write!(f, "{}-{}", self.start, self.end)
        }
    }
}

impl std::str::FromStr for ShardRange {
    type Err = ShardError;

    /// Parses `7` or `7-12`, both ends inclusive.
    fn from_str(text: &str) -> Result<Self, ShardError> {
        let syntax = || ShardError::Syntax(text.chars().take(40).collect());
        let number = |part: &str| part.trim().parse::<u64>().map_err(|_| syntax());
        match text.split_once('-') {
            Some((start, end)) => Ok(Self {
                start: number(start)?,
                end: number(end)?,
            }),
            None => number(text).map(|shard| Self {
                start: shard,
                end: shard,
            }),
        }
    }
}

impl ShardSet {
    /// All shards of a network.
    pub fn all(count: ShardCount) -> Self {
        Self {
            count,
            ranges: vec![(0, count.0 - 1)],
        }
    }

    /// The shards named by `ranges`, which may come in any order but must not overlap.
    pub fn from_ranges(count: ShardCount, ranges: &[ShardRange]) -> Result<Self, ShardError> {
        let mut sorted = ranges.to_vec();
        sorted.sort_by_key(|range| (range.start, range.end));
        let mut merged: Vec<(u16, u16)> = Vec::new();
        let mut previous: Option<ShardRange> = None;
        for range in sorted {
            let ShardRange { start, end } = range;
            if start > end {
                return Err(ShardError::Reversed { start, end });
            }
            let out_of_range = ShardError::OutOfRange {
                start,
                end,
                count: count.0,
            };
            let (Ok(first), Ok(last)) = (count.shard(start), count.shard(end)) else {
                return Err(out_of_range);
            };
            if let Some(first) = previous.filter(|previous| previous.end >= start) {
                return Err(ShardError::Overlap {
                    first,
                    second: range,
                });
            }
            previous = Some(range);
            match merged.last_mut() {
                Some((_, reached)) if *reached + 1 == first.0 => *reached = last.0,
                _ => merged.push((first.0, last.0)),
            }
        }
        if merged.is_empty() {
            return Err(ShardError::Empty);
        }
        Ok(Self {
            count,
            ranges: merged,
        })
    }

    /// The network's shard count.
    pub const fn count(&self) -> ShardCount {
        self.count
    }

    /// Whether the node owns `shard`.
    pub fn contains(&self, shard: ShardId) -> bool {
        let behind = self.ranges.partition_point(|&(start, _)| start <= shard.0);
        behind
            .checked_sub(1)
            .and_then(|at| self.ranges.get(at))
            .is_some_and(|&(_, end)| shard.0 <= end)
    }

    /// The ranges, sorted, merged, both ends inclusive.
    pub fn ranges(&self) -> Vec<ShardRange> {
        self.ranges
            .iter()
            .map(|&(start, end)| ShardRange {
                start: start.into(),
                end: end.into(),
            })
            .collect()
    }

    /// Every owned shard, ascending.
    pub fn iter(&self) -> impl Iterator<Item = ShardId> + '_ {
        self.ranges
            .iter()
            .flat_map(|&(start, end)| (start..=end).map(ShardId))
    }

    /// Number of owned shards.
    pub fn len(&self) -> usize {
        self.ranges
            .iter()
            .map(|&(start, end)| usize::from(end - start) + 1)
            .sum()
    }

    /// Never true: a set has at least one range.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn range(start: u64, end: u64) -> ShardRange {
        ShardRange { start, end }
    }

    #[test]
    fn shard_is_the_first_six_bytes_modulo_the_count() {
        let mut digest = [0xff; 32];
        digest[..6].copy_from_slice(&[0, 0, 0, 0, 0x12, 0x34]);
        let digest = Digest::new(digest);
        assert_eq!(
            ShardCount::new(1024).unwrap().shard_of(&digest).get(),
            0x1234 % 1024
        );
        assert_eq!(ShardCount::new(1).unwrap().shard_of(&digest).get(), 0);
    }

    #[test]
    fn shard_count_is_bounded() {
        assert_eq!(ShardCount::new(0), Err(ShardError::Count(0)));
        assert_eq!(ShardCount::new(4097), Err(ShardError::Count(4097)));
        assert_eq!(ShardCount::new(u64::MAX), Err(ShardError::Count(u64::MAX)));
        assert!(ShardCount::new(4096).is_ok());
    }

    #[test]
    fn bad_ranges_are_named() {
        let count = ShardCount::new(16).unwrap();
        assert_eq!(
            ShardSet::from_ranges(count, &[range(5, 3)]),
            Err(ShardError::Reversed { start: 5, end: 3 })
        );
        assert_eq!(
            ShardSet::from_ranges(count, &[range(0, 16)]),
            Err(ShardError::OutOfRange {
                start: 0,
                end: 16,
                count: 16
            })
        );
        let error = ShardSet::from_ranges(count, &[range(8, 12), range(0, 8)]).unwrap_err();
        assert_eq!(
            error,
            ShardError::Overlap {
                first: range(0, 8),
                second: range(8, 12)
            }
        );
        assert!(error.to_string().contains("0-8 and 8-12"));
        assert_eq!(ShardSet::from_ranges(count, &[]), Err(ShardError::Empty));
    }

    #[test]
    fn adjacent_ranges_merge() {
        let count = ShardCount::new(16).unwrap();
        let set = ShardSet::from_ranges(count, &[range(8, 15), range(0, 7)]).unwrap();
        assert_eq!(set, ShardSet::all(count));
    }

    #[test]
    fn text_ranges() {
        assert_eq!("7".parse(), Ok(range(7, 7)));
        assert_eq!("7-12".parse(), Ok(range(7, 12)));
        assert!("7..12".parse::<ShardRange>().is_err());
        assert!("".parse::<ShardRange>().is_err());
    }

    proptest! {
        #[test]
        fn a_set_contains_what_its_ranges_name(owned in proptest::collection::btree_set(0u64..64, 1..40)) {
            let count = ShardCount::new(64).unwrap();
            let ranges: Vec<_> = owned.iter().map(|&shard| range(shard, shard)).collect();
            let set = ShardSet::from_ranges(count, &ranges).unwrap();
            prop_assert_eq!(set.len(), owned.len());
            prop_assert!(set.iter().map(|shard| u64::from(shard.get())).eq(owned.iter().copied()));
            for shard in 0..64 {
                prop_assert_eq!(set.contains(count.shard(shard).unwrap()), owned.contains(&shard));
            }
            prop_assert_eq!(ShardSet::from_ranges(count, &set.ranges()).unwrap(), set);
        }
    }
}
