//! What is measured of the engine, and how much at a time.

use crate::measure::Enough;
use std::time::Duration;

/// Blobs of one size, so many at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Case {
    /// Bytes of a blob.
    pub(super) size: u64,
    /// Requests at once.
    pub(super) clients: usize,
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

const fn case(size: u64, clients: usize) -> Case {
    Case { size, clients }
}

pub(super) const STORE: [Case; 9] = [
    case(4 * KIB, 1),
    case(4 * KIB, 16),
    case(64 * KIB, 1),
    case(64 * KIB, 16),
    case(MIB, 1),
    case(MIB, 16),
    case(64 * MIB, 1),
    case(64 * MIB, 16),
    case(GIB, 1),
];

pub(super) const RETRIEVE: [Case; 9] = [
    case(4 * KIB, 1),
    case(4 * KIB, 16),
    case(64 * KIB, 1),
    case(64 * KIB, 16),
    case(MIB, 1),
    case(MIB, 16),
    case(64 * MIB, 1),
    case(64 * MIB, 16),
    case(GIB, 1),
];

/// Blobs of this size that are kept for reading: more than a processor caches, less than memory.
pub(super) const fn kept(size: u64) -> u64 {
    match size {
        0..=0xffff => 20_000,
        0x1_0000..=0xf_ffff => 2048,
        0x10_0000..=0x3ff_ffff => 256,
        0x400_0000..=0x3fff_ffff => 4,
        _ => 1,
    }
}

/// Blobs that are counted one by one and held against bare RocksDB; larger ones are weighed and held
/// against a plain file.
pub(super) const fn is_small(size: u64) -> bool {
    size < MIB
}

/// The smallest blobs, held against the rate of durable appends.
pub(super) const fn is_smallest(size: u64) -> bool {
    size <= 4 * KIB
}

impl Case {
    /// How much a store of this case does: the smallest by time, others by volume, and at least one
    /// blob for each client.
    pub(super) fn store_extent(self, time: Duration, volume: u64) -> Enough {
        if is_smallest(self.size) {
            Enough::After(time)
        } else {
            Enough::Operations((volume / self.size).max(self.clients as u64))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_client_has_something_to_do() {
        for case in STORE {
            match case.store_extent(Duration::from_secs(1), 32 * MIB) {
                Enough::After(_) => assert!(is_smallest(case.size)),
                Enough::Operations(count) => assert!(count >= case.clients as u64),
            }
        }
    }

    #[test]
    fn what_is_kept_for_reading_fits_into_memory() {
        let sizes = [4 * KIB, 64 * KIB, MIB, 64 * MIB, GIB];
        assert!(sizes.iter().all(|size| size * kept(*size) <= GIB));
        assert!(sizes.iter().all(|size| size * kept(*size) >= 64 * MIB));
    }
}
