//! Nonces, and times that are not the same everywhere.

use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

/// The operating system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NoChance;

/// A nonce that nobody knew before.
pub(super) fn nonce() -> Result<[u8; 32], NoChance> {
    let mut nonce = [0; 32];
    let filled = SystemRandom::new().fill(&mut nonce);
    filled.map(|()| nonce).map_err(|_| NoChance)
}

/// `time`, give or take a third: nodes that began together do not go on together.
pub(super) fn jittered(time: Duration) -> Duration {
    let mut bytes = [0; 4];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        return time;
    }
    // From 0 to 2/3 of it, above 2/3 of it.
    let share = f64::from(u32::from_be_bytes(bytes)) / f64::from(u32::MAX);
    time.mul_f64(2.0 / 3.0 * (1.0 + share))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn times_differ_by_a_third_at_most() {
        let time = Duration::from_mins(15);
        let times: Vec<_> = (0..200).map(|_| jittered(time)).collect();
        assert!(
            times
                .iter()
                .all(|time| (600..=1200).contains(&time.as_secs()))
        );
        assert!(times.iter().any(|time| time.as_secs() < 800));
        assert!(times.iter().any(|time| time.as_secs() > 1000));
        assert_ne!(nonce().unwrap(), nonce().unwrap());
    }
}
