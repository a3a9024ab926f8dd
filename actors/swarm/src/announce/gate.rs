//! How fresh and how frequent a peer's messages on one topic must be.

use std::collections::HashMap;

use bytecave_core::PeerId;

use super::Ignored;

/// Oldest message that is heard: clocks differ, and messages take their way.
const PAST_MS: u64 = 5 * 60 * 1000;
/// Furthest into the future that a clock may be.
const FUTURE_MS: u64 = 60 * 1000;
/// One message in this time on average.
const EVERY_MS: u64 = 5000;
/// Messages at once: a node announces itself after each new connection.
const BURST: u64 = 12;
/// Peers kept account of. When there are more, those heard longest ago are forgotten; a message of
/// theirs may then be heard once more within [`PAST_MS`], which makes a peer look live for that
/// much longer and does nothing else.
const PEERS_LIMIT: usize = 8192;

/// The last of a peer.
#[expect(clippy::struct_field_names, reason = "the unit stands in each name")]
#[derive(Debug, Clone, Copy)]
struct Last {
    timestamp_ms: u64,
    heard_ms: u64,
    /// Time saved up for messages, in milliseconds; each costs [`EVERY_MS`].
    saved_ms: u64,
}

/// Lets a peer's messages through, or says why not.
#[derive(Debug, Default)]
pub(super) struct Gate {
    last: HashMap<PeerId, Last>,
}

impl Gate {
    /// Whether a message of `peer`, said at `timestamp_ms`, is heard now. Only one that is counts.
    pub(super) fn pass(
        &mut self,
        peer: PeerId,
        timestamp_ms: u64,
        now_ms: u64,
    ) -> Result<(), Ignored> {
        if timestamp_ms < now_ms.saturating_sub(PAST_MS) {
            return Err(Ignored::Stale);
        }
        if timestamp_ms > now_ms.saturating_add(FUTURE_MS) {
            return Err(Ignored::Future);
        }
        let full_ms = BURST * EVERY_MS;
        let saved_ms = match self.last.get(&peer) {
            Some(last) if timestamp_ms <= last.timestamp_ms => return Err(Ignored::NotNewer),
            Some(last) => {
                let since = now_ms.saturating_sub(last.heard_ms);
                last.saved_ms.saturating_add(since).min(full_ms)
            }
            None => full_ms,
        };
        let saved_ms = saved_ms.checked_sub(EVERY_MS).ok_or(Ignored::TooOften)?;
        if self.last.len() >= PEERS_LIMIT && !self.last.contains_key(&peer) {
            self.forget_half();
        }
        let heard_ms = now_ms;
        self.last.insert(
            peer,
            Last {
                timestamp_ms,
                heard_ms,
                saved_ms,
            },
        );
        Ok(())
    }

    fn forget_half(&mut self) {
        let mut times: Vec<u64> = self.last.values().map(|last| last.heard_ms).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        self.last.retain(|_, last| last.heard_ms > median);
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.last.len()
    }
}

#[cfg(test)]
mod tests {
    use bytecave_core::PublicKey;
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    fn peer(number: u64) -> PeerId {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&number.to_be_bytes());
        PublicKey::new(key).peer_id()
    }

    #[test]
    fn only_fresh_and_newer_messages_pass() {
        let mut gate = Gate::default();
        assert_eq!(
            gate.pass(peer(1), NOW - PAST_MS - 1, NOW),
            Err(Ignored::Stale)
        );
        assert_eq!(gate.pass(peer(1), 0, NOW), Err(Ignored::Stale));
        assert_eq!(
            gate.pass(peer(1), NOW + FUTURE_MS + 1, NOW),
            Err(Ignored::Future)
        );
        assert_eq!(gate.pass(peer(1), u64::MAX, NOW), Err(Ignored::Future));
        assert_eq!(gate.pass(peer(1), NOW - PAST_MS, NOW), Ok(()));
        assert_eq!(gate.pass(peer(1), NOW + FUTURE_MS, NOW), Ok(()));
        assert_eq!(
            gate.pass(peer(1), NOW + FUTURE_MS, NOW),
            Err(Ignored::NotNewer)
        );
        assert_eq!(gate.pass(peer(1), NOW, NOW), Err(Ignored::NotNewer));
        assert_eq!(gate.pass(peer(2), NOW, NOW), Ok(()), "another peer");
    }

    #[test]
    fn a_burst_passes_and_then_one_in_five_seconds() {
        let mut gate = Gate::default();
        for sent in 0..BURST {
            assert_eq!(gate.pass(peer(1), NOW + sent, NOW), Ok(()));
        }
        let next = NOW + BURST;
        assert_eq!(gate.pass(peer(1), next, NOW), Err(Ignored::TooOften));
        let later = NOW + EVERY_MS;
        assert_eq!(gate.pass(peer(1), next, later - 1), Err(Ignored::TooOften));
        assert_eq!(gate.pass(peer(1), next, later), Ok(()));
        assert_eq!(gate.pass(peer(1), next + 1, later), Err(Ignored::TooOften));
    }

    #[test]
    fn any_number_of_peers_takes_bounded_room() {
        let mut gate = Gate::default();
        for number in 0..3 * PEERS_LIMIT as u64 {
            assert_eq!(gate.pass(peer(number), NOW + number, NOW + number), Ok(()));
            assert!(gate.len() <= PEERS_LIMIT);
        }
        let last = 3 * PEERS_LIMIT as u64 - 1;
        assert_eq!(
            gate.pass(peer(last), NOW + last, NOW + last),
            Err(Ignored::NotNewer),
            "the last heard are kept"
        );
        // All at the same moment.
        for number in 0..2 * PEERS_LIMIT as u64 {
            let _ = gate.pass(peer(1 << 40 | number), NOW + last, NOW + last);
            assert!(gate.len() <= PEERS_LIMIT);
        }
    }

    proptest! {
        #[test]
        fn no_times_let_more_through_than_the_rate(
            mut times in proptest::collection::vec(0..600_000_u64, 1..300),
        ) {
            times.sort_unstable();
            let mut gate = Gate::default();
            let mut passed = 0;
            for (at, time) in times.iter().enumerate() {
                let said = NOW + time + at as u64 % FUTURE_MS;
                passed += u64::from(gate.pass(peer(1), said, NOW + time).is_ok());
            }
            let span = times.last().unwrap_or(&0) - times.first().unwrap_or(&0);
            prop_assert!(passed <= BURST + span / EVERY_MS + 1);
        }

        #[test]
        fn no_numbers_panic(steps in proptest::collection::vec(any::<(u8, u64, u64)>(), 0..50)) {
            let mut gate = Gate::default();
            for (who, said, now) in steps {
                let _ = gate.pass(peer(u64::from(who)), said, now);
            }
        }
    }
}
