//! Sizes of blobs, as given on the command line: one, a list, or spread over a range.

use std::fmt;
use std::str::FromStr;

use bytecave_config::ByteSize;
use thiserror::Error;

use crate::random::{SplitMix, f64_of};

/// How large the next blob is.
#[derive(Clone, PartialEq, Debug)]
pub enum SizeSpec {
    /// One of these, each as likely: `4KiB` or `4KiB,1MiB`.
    OneOf(Vec<u64>),
    /// Between the two, each doubling as likely as the next: `log:1KiB-8MiB`.
    Log {
        /// Smallest, in bytes, at least 1.
        from: u64,
        /// Largest, in bytes.
        to: u64,
    },
}

/// Why sizes were refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SizeError {
    /// Not a size.
    #[error(
        "\"{text}\" is not a size: expected a whole number with B, KiB, MiB or GiB, such as 64KiB"
    )]
    Malformed {
        /// What was given.
        text: String,
    },
    /// `log:` without two sizes.
    #[error(
        "\"{text}\" is not a range of sizes: expected the smaller and the larger, such as log:1KiB-8MiB"
    )]
    Range {
        /// What was given.
        text: String,
    },
}

impl SizeSpec {
    /// The size of the next blob, in bytes.
    pub fn pick(&self, random: &mut SplitMix) -> u64 {
        match self {
            Self::OneOf(sizes) => match sizes.as_slice() {
                [only] => *only,
                several => several
                    .get(random.below(several.len()))
                    .copied()
                    .unwrap_or(0),
            },
            Self::Log { from, to } => {
                let (low, high) = (f64_of(*from).ln(), f64_of(*to).ln());
                let size = (low + random.unit() * (high - low)).exp();
                whole(size).clamp(*from, *to)
            }
        }
    }

    /// The size on average, in bytes.
    pub fn mean(&self) -> u64 {
        match self {
            Self::OneOf(sizes) => sizes.iter().sum::<u64>() / (sizes.len() as u64).max(1),
            Self::Log { from, to } if from == to => *from,
            Self::Log { from, to } => {
                whole(f64_of(to - from) / (f64_of(*to).ln() - f64_of(*from).ln()))
            }
        }
    }

    /// The largest there is, in bytes.
    pub fn largest(&self) -> u64 {
        match self {
            Self::OneOf(sizes) => sizes.iter().copied().max().unwrap_or(0),
            Self::Log { to, .. } => *to,
        }
    }
}

/// Drops the part behind the point; sizes are positive and far below 2^63.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "sizes of blobs: positive, and an f64 above u64 saturates"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// Reads one size.
pub fn parse_size(text: &str) -> Result<u64, SizeError> {
    text.parse::<ByteSize>()
        .map(ByteSize::bytes)
        .map_err(|_| SizeError::Malformed {
            text: text.to_owned(),
        })
}

impl FromStr for SizeSpec {
    type Err = SizeError;

    fn from_str(text: &str) -> Result<Self, SizeError> {
        if let Some(range) = text.strip_prefix("log:") {
            let malformed = || SizeError::Range {
                text: text.to_owned(),
            };
            let (from, to) = range.split_once('-').ok_or_else(malformed)?;
            let (from, to) = (parse_size(from)?, parse_size(to)?);
            if from == 0 || to < from {
                return Err(malformed());
            }
            return Ok(Self::Log { from, to });
        }
        let sizes: Result<Vec<u64>, _> = text
            .split(',')
            .map(|size| parse_size(size.trim()))
            .collect();
        Ok(Self::OneOf(sizes?))
    }
}

impl fmt::Display for SizeSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OneOf(sizes) => {
                for (index, size) in sizes.iter().enumerate() {
                    let comma = if index == 0 { "" } else { "," };
                    write!(f, "{comma}{}", ByteSize::new(*size))?;
                }
                Ok(())
            }
            Self::Log { from, to } => {
                write!(f, "log:{}-{}", ByteSize::new(*from), ByteSize::new(*to))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn sizes_are_read_and_written_alike() {
        for text in ["4KiB", "0B", "4KiB,1MiB,64MiB", "log:1KiB-8MiB"] {
            assert_eq!(text.parse::<SizeSpec>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn nonsense_is_refused_with_an_example() {
        for text in [
            "",
            "4KB",
            "4KiB,",
            "log:4KiB",
            "log:8MiB-1KiB",
            "log:0B-4KiB",
            "big",
        ] {
            let error = text.parse::<SizeSpec>().unwrap_err().to_string();
            assert!(error.contains("KiB"), "{text}: {error}");
        }
    }

    #[test]
    fn a_log_range_is_spread_evenly_over_doublings_and_has_the_mean_it_says() {
        let spec: SizeSpec = "log:1KiB-8MiB".parse().unwrap();
        let mut random = SplitMix::new(3);
        let mut below = 0;
        let mut sum = 0;
        for _ in 0..20_000 {
            let size = spec.pick(&mut random);
            assert!((1 << 10..=8 << 20).contains(&size));
            below += u32::from(size < 90 << 10);
            sum += size;
        }
        // 90 KiB is the middle of the 13 doublings.
        assert!((9_500..10_500).contains(&below), "{below}");
        let (mean, expected) = (f64_of(sum / 20_000), f64_of(spec.mean()));
        assert!(
            (0.95..1.05).contains(&(mean / expected)),
            "{mean} {expected}"
        );
    }

    #[test]
    fn a_list_takes_each_size_alike() {
        let spec: SizeSpec = "1B,3B".parse().unwrap();
        let mut random = SplitMix::new(4);
        let ones = (0..10_000).filter(|_| spec.pick(&mut random) == 1).count();
        assert!((4_700..5_300).contains(&ones), "{ones}");
        assert_eq!((spec.mean(), spec.largest()), (2, 3));
    }
}
