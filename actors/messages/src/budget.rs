//! Backpressure: the one limit on an actor's work, and the permits that count against it.
//!
//! An actix mailbox is in effect unbounded for `send`, so the limit stands at the door instead: who
//! wants to ask an actor takes a [`Permit`] first. It travels inside the message and is freed by
//! drop, whatever becomes of the message, so a panic cannot leak it. When none is left the caller is
//! told at once ([`Full`]); nothing ever waits for a permit, so nothing can deadlock on one.
//!
//! The limit is the actor's total, waiting and in flight. Clients, peers and repair have reserved
//! shares of it, so that none of them can starve the others.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use thiserror::Error;
use tracing::Span;

/// Below this total no share is reserved: a handful of permits is too few to divide.
const DIVIDED_FROM: usize = 16;
/// How long a caller is told to wait when an actor is full: permits are held for milliseconds, and
/// whole seconds are what `Retry-After` can say.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// Upper bounds of the histogram of seconds a permit was held.
pub const SECONDS_BUCKETS: [f64; 12] = [
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0,
];

/// The six actors.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ActorName {
    /// The node's place in the network.
    Swarm,
    /// The blobs.
    Store,
    /// Copies and repair.
    Replicator,
    /// Proofs and audits.
    Proof,
    /// The on-chain registry.
    Registry,
    /// The HTTP API.
    Http,
}

/// On whose behalf work is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Share {
    /// A client of this node.
    Client,
    /// Another node.
    Peer,
    /// This node's own upkeep.
    Repair,
}

/// No permit is left.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("the {actor} mailbox is full ({capacity} messages): retry in {} s", retry_after.as_secs())]
pub struct Full {
    /// Whose mailbox.
    pub actor: ActorName,
    /// Its total number of permits.
    pub capacity: usize,
    /// How long to wait before asking again.
    pub retry_after: Duration,
}

/// An actor's permits. Clones share them.
#[derive(Clone)]
pub struct Budget(Arc<Inner>);

struct Inner {
    actor: ActorName,
    capacity: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Permits out, by share.
    client: usize,
    peer: usize,
    repair: usize,
    kinds: BTreeMap<&'static str, KindStats>,
}

/// What happened to messages of one kind since the start.
#[derive(Clone, Default, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KindStats {
    /// Waiting or in work now.
    pub depth: u64,
    /// Finished, with whatever result.
    pub handled: u64,
    /// Refused because the mailbox was full.
    pub shed: u64,
    /// Seconds that permits of this kind were held, in total.
    pub seconds: f64,
    /// Finished within each bound of [`SECONDS_BUCKETS`] (not cumulative), the last being above all.
    #[serde(skip)]
    pub buckets: [u64; SECONDS_BUCKETS.len() + 1],
}

/// A budget at one moment.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BudgetSnapshot {
    /// Whose.
    pub actor: ActorName,
    /// The setting `actors.<name>.mailbox`.
    pub capacity: usize,
    /// Permits out now.
    pub depth: usize,
    /// By message kind.
    pub kinds: BTreeMap<&'static str, KindStats>,
}

/// The right to have one message of an actor's waiting or in work.
pub struct Permit {
    budget: Budget,
    share: Share,
    kind: &'static str,
    taken: Instant,
    span: Span,
}

impl Budget {
    /// `capacity` permits of `actor`, at least one.
    pub fn new(actor: ActorName, capacity: usize) -> Self {
        Self(Arc::new(Inner {
            actor,
            capacity: capacity.max(1),
            state: Mutex::default(),
        }))
    }

    /// Whose budget this is.
    pub fn actor(&self) -> ActorName {
        self.0.actor
    }

    /// All permits there are.
    pub fn capacity(&self) -> usize {
        self.0.capacity
    }

    /// Takes a permit for a message of `kind`, or says that the mailbox is full; never waits.
    pub fn try_acquire(&self, share: Share, kind: &'static str) -> Result<Permit, Full> {
        let mut state = self.lock();
        let free = state.admits(share, self.0.capacity);
        let stats = state.kinds.entry(kind).or_default();
        if !free {
            stats.shed += 1;
            return Err(Full {
                actor: self.0.actor,
                capacity: self.0.capacity,
                retry_after: RETRY_AFTER,
            });
        }
        stats.depth += 1;
        *state.held(share) += 1;
        drop(state);
        Ok(Permit {
            budget: self.clone(),
            share,
            kind,
            taken: Instant::now(),
            span: Span::current(),
        })
    }

    /// The numbers for `/actors` and `/metrics`.
    pub fn snapshot(&self) -> BudgetSnapshot {
        let state = self.lock();
        BudgetSnapshot {
            actor: self.0.actor,
            capacity: self.0.capacity,
            depth: state.client + state.peer + state.repair,
            kinds: state.kinds.clone(),
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // The state is counters only: a panic elsewhere leaves nothing half done in it.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn held(&mut self, share: Share) -> &mut usize {
        match share {
            Share::Client => &mut self.client,
            Share::Peer => &mut self.peer,
            Share::Repair => &mut self.repair,
        }
    }

    /// Whether one more of `share` fits without touching what is reserved for the other two.
    fn admits(&self, share: Share, capacity: usize) -> bool {
        let (client, peer, repair) = reserved(capacity);
        // What the others hold, or may at any time claim.
        let peers = self.peer.max(peer);
        let repairs = self.repair.max(repair);
        let clients = self.client.max(client);
        let taken = match share {
            Share::Client => self.client + peers + repairs,
            Share::Peer => self.peer + clients + repairs,
            Share::Repair => self.repair + clients + peers,
        };
        taken < capacity
    }
}

/// Permits reserved for clients, peers and repair.
///
/// Clients get half for certain, and all that is not reserved for others: a node is there for its
/// clients first, and a peer or a repair can come again.
fn reserved(capacity: usize) -> (usize, usize, usize) {
    if capacity < DIVIDED_FROM {
        (0, 0, 0)
    } else {
        (capacity / 2, capacity / 16, capacity / 32)
    }
}

impl Permit {
    /// The span of the request that took the permit, so that its id crosses actors.
    pub fn span(&self) -> &Span {
        &self.span
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let seconds = self.taken.elapsed().as_secs_f64();
        let mut state = self.budget.lock();
        *state.held(self.share) -= 1;
        if let Some(stats) = state.kinds.get_mut(self.kind) {
            stats.depth -= 1;
            stats.handled += 1;
            stats.seconds += seconds;
            let bucket = SECONDS_BUCKETS.partition_point(|bound| *bound < seconds);
            if let Some(count) = stats.buckets.get_mut(bucket) {
                *count += 1;
            }
        }
    }
}

impl fmt::Debug for Permit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Permit({} of {:?})", self.kind, self.budget.actor())
    }
}

impl fmt::Debug for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Budget({:?}, {})", self.0.actor, self.0.capacity)
    }
}

impl ActorName {
    /// All six, in the order in which they start.
    pub const ALL: [Self; 6] = [
        Self::Store,
        Self::Swarm,
        Self::Replicator,
        Self::Proof,
        Self::Registry,
        Self::Http,
    ];

    /// Lower-case name, as in the settings and metric labels.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Swarm => "swarm",
            Self::Store => "store",
            Self::Replicator => "replicator",
            Self::Proof => "proof",
            Self::Registry => "registry",
            Self::Http => "http",
        }
    }
}

impl fmt::Display for ActorName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_full_mailbox_sheds_counts_by_kind_and_recovers_at_once() {
        let budget = Budget::new(ActorName::Store, 2);
        let first = budget.try_acquire(Share::Client, "put").unwrap();
        let _second = budget.try_acquire(Share::Peer, "get").unwrap();
        let full = budget.try_acquire(Share::Client, "put").unwrap_err();
        assert_eq!((full.actor, full.capacity), (ActorName::Store, 2));
        drop(first);
        let third = budget.try_acquire(Share::Client, "put").unwrap();
        drop(third);
        let snapshot = budget.snapshot();
        assert_eq!(snapshot.depth, 1);
        let put = &snapshot.kinds["put"];
        assert_eq!((put.depth, put.handled, put.shed), (0, 2, 1));
        assert_eq!(snapshot.kinds["get"].depth, 1);
    }

    #[test]
    fn a_panic_frees_the_permit() {
        let budget = Budget::new(ActorName::Store, 1);
        let permit = budget.try_acquire(Share::Client, "put").unwrap();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _held = permit;
            panic!("handler died");
        }));
        assert!(panicked.is_err());
        assert!(budget.try_acquire(Share::Client, "put").is_ok());
    }

    #[test]
    fn nobody_can_starve_the_others() {
        for greedy in [Share::Client, Share::Peer, Share::Repair] {
            let budget = Budget::new(ActorName::Store, 64);
            let mut taken = Vec::new();
            while let Ok(permit) = budget.try_acquire(greedy, "greedy") {
                taken.push(permit);
            }
            assert!(taken.len() < 64);
            for other in [Share::Client, Share::Peer, Share::Repair] {
                if other != greedy {
                    assert!(
                        budget.try_acquire(other, "other").is_ok(),
                        "{other:?} beside {greedy:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn the_total_is_never_passed() {
        let budget = Budget::new(ActorName::Store, 64);
        let mut taken = Vec::new();
        for share in [Share::Repair, Share::Peer, Share::Client]
            .into_iter()
            .cycle()
            .take(600)
        {
            taken.extend(budget.try_acquire(share, "any"));
        }
        assert_eq!(taken.len(), 64);
        assert_eq!(budget.snapshot().depth, 64);
    }

    #[test]
    fn a_small_mailbox_is_all_the_clients() {
        let budget = Budget::new(ActorName::Store, 4);
        let taken: Vec<_> = (0..4)
            .map(|_| budget.try_acquire(Share::Client, "put").unwrap())
            .collect();
        assert!(budget.try_acquire(Share::Client, "put").is_err());
        drop(taken);
    }
}
