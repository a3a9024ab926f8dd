//! Nonces and lots. Where they come from is one small trait, so that a test can know them before.

use std::fmt;

use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;

/// Where random bytes come from.
pub(crate) trait Chance: fmt::Debug + Send + Sync {
    /// Fills `bytes` with what nobody can foresee.
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoChance>;
}

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the operating system gave no random bytes")]
pub(crate) struct NoChance;

/// The operating system's random bytes.
#[derive(Debug)]
pub(crate) struct SystemChance(SystemRandom);

impl SystemChance {
    pub(crate) fn new() -> Self {
        Self(SystemRandom::new())
    }
}

impl Chance for SystemChance {
    fn fill(&self, bytes: &mut [u8]) -> Result<(), NoChance> {
        self.0.fill(bytes).map_err(|_| NoChance)
    }
}

impl dyn Chance + '_ {
    /// 32 random bytes.
    pub(crate) fn bytes(&self) -> Result<[u8; 32], NoChance> {
        let mut bytes = [0; 32];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    /// A random number.
    pub(crate) fn number(&self) -> Result<u64, NoChance> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    /// A random number below `bound`; 0 when that is 0.
    pub(crate) fn below(&self, bound: u64) -> Result<u64, NoChance> {
        let wide = u128::from(self.number()?) * u128::from(bound);
        // The upper half of a product with `bound` is below it.
        Ok(u64::try_from(wide >> 64).unwrap_or_default())
    }

    /// A random share, from 0 to 1.
    pub(crate) fn share(&self) -> Result<f64, NoChance> {
        let mut bytes = [0; 4];
        self.fill(&mut bytes)?;
        Ok(f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    /// Lots that follow from a seed (`SplitMix64`).
    #[derive(Debug)]
    pub(crate) struct Seeded(AtomicU64);

    impl Seeded {
        pub(crate) fn new(seed: u64) -> Self {
            Self(AtomicU64::new(seed))
        }
    }

    impl Chance for Seeded {
        fn fill(&self, bytes: &mut [u8]) -> Result<(), NoChance> {
            for part in bytes.chunks_mut(8) {
                let step = 0x9e37_79b9_7f4a_7c15;
                let mut z = self.0.fetch_add(step, Ordering::Relaxed).wrapping_add(step);
                z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                part.copy_from_slice(&(z ^ (z >> 31)).to_be_bytes()[..part.len()]);
            }
            Ok(())
        }
    }

    #[test]
    fn lots_stay_below_their_bound_and_fall_everywhere() {
        let chances: [&dyn Chance; 2] = [&SystemChance::new(), &Seeded::new(1)];
        for chance in chances {
            let mut fell = [0; 3];
            for _ in 0..300 {
                fell[usize::try_from(chance.below(3).unwrap()).unwrap()] += 1;
                assert!((0.0..=1.0).contains(&chance.share().unwrap()));
            }
            assert!(fell.iter().all(|many| *many > 30), "{fell:?}");
            assert_eq!(chance.below(0).unwrap(), 0);
            assert_ne!(chance.bytes().unwrap(), chance.bytes().unwrap());
        }
    }
}
