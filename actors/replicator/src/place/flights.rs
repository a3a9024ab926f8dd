//! Which blobs are being copied, and what came of it lately: nobody copies a blob that another is
//! copying, or brings one where it was brought a moment ago.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytecave_core::{Digest, PeerId};
use tokio::sync::watch;
use tokio::time::Instant;

/// Blobs of which is remembered what came of copying them: about 200 bytes each. Too low: what was
/// just brought to a client's order is offered once more from the outbox.
const REMEMBERED: usize = 10_000;
/// How long that is true enough to rely on.
const REMEMBERED_FOR: Duration = Duration::from_mins(10);

/// What came of copying a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Who has it durably, and whether that one is on probation.
    pub(crate) has: Vec<(PeerId, bool)>,
    /// Who has it durably as well, and does not count: a blob of the same shard was not proved.
    pub(crate) unproved: Vec<PeerId>,
    /// Who refuses it for good.
    pub(crate) declines: Vec<PeerId>,
    /// Who was tried in vain, or is known not to be worth trying now.
    pub(crate) failed: Vec<PeerId>,
    /// Peers of the first version that were offered one more, which counts for nothing.
    pub(crate) extra: Vec<PeerId>,
    /// It cannot be read here any more: deleted, blocked or damaged.
    pub(crate) gone: bool,
    /// This node was too busy to try everybody.
    pub(crate) cut_short: bool,
}

impl Outcome {
    /// Durable copies elsewhere that count: of those on probation, one at most.
    pub(crate) fn confirmed(&self) -> usize {
        let firm = self.has.iter().filter(|(_, probation)| !probation).count();
        firm + usize::from(firm < self.has.len())
    }

    /// Whether `peer` has it durably.
    pub(crate) fn has(&self, peer: &PeerId) -> bool {
        self.has.iter().any(|(known, _)| known == peer) || self.unproved.contains(peer)
    }

    /// Whether there is nothing left to do with `peer`: it has it, or refuses it for good.
    pub(crate) fn is_done_with(&self, peer: &PeerId) -> bool {
        self.has(peer) || self.declines.contains(peer)
    }

    /// What holds beyond this moment: a peer that failed may be tried again.
    fn lasting(&self) -> Self {
        Self {
            has: self.has.clone(),
            unproved: self.unproved.clone(),
            declines: self.declines.clone(),
            extra: self.extra.clone(),
            ..Self::default()
        }
    }
}

/// How far the copying of a blob has come.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    pub(super) outcome: Outcome,
    /// A client waits: others are tried in the place of those that fail.
    pub(super) urgent: bool,
    /// All that counts was done.
    pub(super) ended: bool,
}

/// The blobs that are being copied. Clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Flights(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    under_way: HashMap<Digest, watch::Receiver<Progress>>,
    recent: HashMap<Digest, Recent>,
    /// The oldest first; a blob that was copied again stands here more than once.
    order: VecDeque<(u64, Digest)>,
    /// Of the last that ended.
    number: u64,
}

#[derive(Debug)]
struct Recent {
    number: u64,
    at: Instant,
    outcome: Outcome,
}

/// Whoever wants a blob copied either copies it or looks on.
#[derive(Debug)]
pub(super) enum Entered {
    Leads(Lead),
    Follows(watch::Receiver<Progress>),
}

/// The right to copy a blob, while nobody else does. Dropped, it ends the flight.
#[derive(Debug)]
pub(super) struct Lead {
    flights: Flights,
    digest: Digest,
    progress: watch::Sender<Progress>,
}

impl Flights {
    /// Begins to copy a blob of which `known` is known, if nobody does.
    pub(super) fn enter(&self, digest: Digest, urgent: bool, known: &Outcome) -> Entered {
        let mut inner = self.lock();
        if let Some(progress) = inner.under_way.get(&digest) {
            return Entered::Follows(progress.clone());
        }
        let (progress, heard) = watch::channel(Progress {
            outcome: known.lasting(),
            urgent,
            ended: false,
        });
        inner.under_way.insert(digest, heard);
        Entered::Leads(Lead {
            flights: self.clone(),
            digest,
            progress,
        })
    }

    /// What came of copying a blob lately.
    pub(super) fn recent(&self, digest: &Digest) -> Option<Outcome> {
        let inner = self.lock();
        let recent = inner.recent.get(digest)?;
        (recent.at.elapsed() < REMEMBERED_FOR).then(|| recent.outcome.clone())
    }

    fn end(&self, digest: Digest, outcome: Outcome) {
        let mut inner = self.lock();
        if outcome.gone {
            // It may be stored again, and that is another story.
            inner.recent.remove(&digest);
            return;
        }
        inner.number += 1;
        let number = inner.number;
        // What was taken over from before is no newer for it.
        let before = inner.recent.get(&digest).map(|recent| recent.at);
        let before = before.filter(|at| at.elapsed() < REMEMBERED_FOR);
        let at = before.unwrap_or_else(Instant::now);
        let recent = Recent {
            number,
            at,
            outcome,
        };
        inner.recent.insert(digest, recent);
        inner.order.push_back((number, digest));
        while inner.order.len() > REMEMBERED {
            let Some((number, oldest)) = inner.order.pop_front() else {
                break;
            };
            let last = inner.recent.get(&oldest);
            if last.is_some_and(|recent| recent.number == number) {
                inner.recent.remove(&oldest);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lead {
    /// Where is heard how far it has come.
    pub(super) fn watch(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(super) fn outcome(&self) -> Outcome {
        self.progress.borrow().outcome.clone()
    }

    pub(super) fn note(&self, change: impl FnOnce(&mut Outcome)) {
        self.progress
            .send_modify(|progress| change(&mut progress.outcome));
    }

    /// All that counts was done: whoever comes from now on begins anew.
    pub(super) fn end(&self) {
        if !self.progress.borrow().ended {
            self.flights.lock().under_way.remove(&self.digest);
            self.progress.send_modify(|progress| progress.ended = true);
        }
    }
}

impl Drop for Lead {
    fn drop(&mut self) {
        self.end();
        self.flights.end(self.digest, self.outcome());
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::fakes::peer;

    fn lead(entered: Entered) -> Lead {
        match entered {
            Entered::Leads(lead) => lead,
            Entered::Follows(_) => panic!("another copies it"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn one_leads_and_the_others_hear_how_it_ends() {
        let (flights, digest) = (Flights::default(), Digest::of(b"blob"));
        let first = lead(flights.enter(digest, false, &Outcome::default()));
        let Entered::Follows(mut heard) = flights.enter(digest, true, &Outcome::default()) else {
            panic!("both lead");
        };
        first.note(|outcome| outcome.has.push((peer(1), false)));
        drop(first);
        let ended = heard.wait_for(|progress| progress.ended).await.unwrap();
        assert!(ended.outcome.has(&peer(1)) && !ended.urgent);
        drop(ended);
        let known = flights.recent(&digest).unwrap();
        assert!(known.has(&peer(1)));
        let again = lead(flights.enter(digest, false, &known));
        assert!(again.outcome().has(&peer(1)));
        tokio::time::advance(REMEMBERED_FOR).await;
        assert_eq!(flights.recent(&digest), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded_and_the_oldest_goes_first() {
        let flights = Flights::default();
        let digest = |number: usize| Digest::of(&number.to_be_bytes());
        for number in 0..=REMEMBERED {
            drop(lead(flights.enter(
                digest(number),
                false,
                &Outcome::default(),
            )));
        }
        assert_eq!(flights.recent(&digest(0)), None);
        assert!(flights.recent(&digest(1)).is_some());
        for _ in 0..2 * REMEMBERED {
            drop(lead(flights.enter(digest(7), false, &Outcome::default())));
        }
        let inner = flights.lock();
        assert_eq!((inner.order.len(), inner.under_way.len()), (REMEMBERED, 0));
        assert_eq!(inner.recent.len(), 1);
    }

    #[test]
    fn of_those_on_probation_one_counts() {
        let confirmed = |has: &[bool]| {
            let has = has
                .iter()
                .zip(0..)
                .map(|(young, number)| (peer(number), *young));
            let has = has.collect();
            Outcome {
                has,
                ..Outcome::default()
            }
            .confirmed()
        };
        assert_eq!(confirmed(&[]), 0);
        assert_eq!(confirmed(&[true, true]), 1);
        assert_eq!(confirmed(&[false, true, true, false]), 3);
    }
}
