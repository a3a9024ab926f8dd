//! Open challenges: bounded, and each for a time.

use std::collections::{BTreeMap, HashMap};

use bytecave_core::{Digest, PeerId};
use tokio::time::Instant;

/// Challenges that are open at once; one more, and the oldest is given up, whose peer could then get
/// from here what it is to show. An auditor has a few hundred at most.
const OPEN_MAX: usize = 4096;

/// Open challenges.
#[derive(Debug, Default)]
pub(super) struct Challenged {
    open: HashMap<(PeerId, Digest), Open>,
    /// In the order in which they were opened.
    order: BTreeMap<u64, (PeerId, Digest)>,
    number: u64,
}

#[derive(Debug)]
struct Open {
    until: Instant,
    number: u64,
}

impl Challenged {
    pub(super) fn open(&mut self, peer: PeerId, digest: Digest, until: Instant) {
        self.close(&peer, &digest);
        self.forget_past();
        if self.open.len() >= OPEN_MAX
            && let Some((_, (peer, digest))) =
                self.order.first_key_value().map(|(at, it)| (*at, *it))
        {
            self.close(&peer, &digest);
        }
        self.number += 1;
        let number = self.number;
        self.order.insert(number, (peer, digest));
        self.open.insert((peer, digest), Open { until, number });
    }

    pub(super) fn close(&mut self, peer: &PeerId, digest: &Digest) {
        if let Some(open) = self.open.remove(&(*peer, *digest)) {
            self.order.remove(&open.number);
        }
    }

    pub(super) fn is_open(&self, peer: &PeerId, digest: &Digest) -> bool {
        let open = self.open.get(&(*peer, *digest));
        open.is_some_and(|open| Instant::now() < open.until)
    }

    /// Frees the oldest, as far as their time is up.
    fn forget_past(&mut self) {
        let now = Instant::now();
        while let Some((_, about)) = self.order.first_key_value() {
            let about = *about;
            if self.open.get(&about).is_some_and(|open| now < open.until) {
                return;
            }
            self.order.pop_first();
            self.open.remove(&about);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::fakes::peer;

    fn digest(number: usize) -> Digest {
        Digest::of(&number.to_be_bytes())
    }

    #[tokio::test(start_paused = true)]
    async fn each_is_open_for_its_time_and_the_oldest_gives_way() {
        let mut challenged = Challenged::default();
        let until = Instant::now() + Duration::from_secs(9);
        for number in 0..=OPEN_MAX {
            challenged.open(peer(1), digest(number), until);
        }
        assert!(!challenged.is_open(&peer(1), &digest(0)));
        assert!(challenged.is_open(&peer(1), &digest(1)));
        assert!(!challenged.is_open(&peer(2), &digest(1)), "it is another's");
        assert_eq!(
            (challenged.open.len(), challenged.order.len()),
            (OPEN_MAX, OPEN_MAX)
        );
        challenged.close(&peer(1), &digest(1));
        assert!(!challenged.is_open(&peer(1), &digest(1)));
        let later = until + Duration::from_secs(9);
        challenged.open(peer(1), digest(2), later);
        tokio::time::advance(Duration::from_secs(9)).await;
        assert!(!challenged.is_open(&peer(1), &digest(3)));
        assert!(
            challenged.is_open(&peer(1), &digest(2)),
            "it was opened anew"
        );
        challenged.open(peer(1), digest(1), later);
        assert_eq!((challenged.open.len(), challenged.order.len()), (2, 2));
    }
}
