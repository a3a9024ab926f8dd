//! How much of this node's storage limit strangers may fill.
//!
//! A peer that holds a shard together with this node brings what belongs here. Any other peer may err
//! about who holds what, or may just want room: it gets a share of the limit and no more. What it
//! brought is counted since this node started, and not over a restart: a node that restarts gives each
//! stranger its share anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytecave_core::PeerId;

/// Strangers that are counted. Beyond that the one that brought least is forgotten, and may bring its
/// share once more.
const COUNTED: usize = 4096;

/// What strangers brought. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Strangers {
    /// `replication.stranger_quota`
    share: f64,
    brought: Arc<Mutex<HashMap<PeerId, u64>>>,
}

/// Room that a stranger takes. Dropped, it is given back.
#[derive(Debug)]
pub(super) struct Room {
    strangers: Strangers,
    peer: PeerId,
    bytes: u64,
}

impl Strangers {
    /// Each may bring this share of the storage limit.
    pub(crate) fn new(share: f64) -> Self {
        Self {
            share,
            brought: Arc::default(),
        }
    }

    /// Room for `bytes` more from `peer`, within its share of the limit; none if that is used up.
    pub(super) fn room(&self, peer: &PeerId, bytes: u64, limit_bytes: u64) -> Option<Room> {
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share of a limit, to about nine digits; a cast of a float saturates"
        )]
        let share_bytes = (limit_bytes as f64 * self.share) as u64;
        let mut brought = self.lock();
        let before = brought.get(peer).copied().unwrap_or(0);
        let after = before
            .checked_add(bytes)
            .filter(|sum| *sum <= share_bytes)?;
        if brought.len() >= COUNTED && !brought.contains_key(peer) {
            let least = brought.iter().min_by_key(|(_, bytes)| **bytes);
            let least = least.map(|(peer, _)| *peer);
            least.and_then(|least| brought.remove(&least));
        }
        brought.insert(*peer, after);
        Some(Room {
            strangers: self.clone(),
            peer: *peer,
            bytes,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<PeerId, u64>> {
        self.brought.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Room {
    /// It was filled.
    pub(super) fn fill(mut self) {
        self.bytes = 0;
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let mut brought = self.strangers.lock();
        let left = brought.get_mut(&self.peer).map(|bytes| {
            *bytes = bytes.saturating_sub(self.bytes);
            *bytes
        });
        if left == Some(0) {
            brought.remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_core::NodeIdentity;

    use super::*;
    use crate::fakes::peer;

    #[test]
    fn a_stranger_fills_its_share_and_what_did_not_come_is_given_back() {
        let strangers = Strangers::new(0.1);
        let room = |number, bytes| strangers.room(&peer(number), bytes, 1000);
        room(1, 60).unwrap().fill();
        let coming = room(1, 40).unwrap();
        assert!(room(1, 1).is_none());
        drop(coming);
        room(1, 40).unwrap().fill();
        assert!(room(1, 1).is_none());
        assert!(room(2, 100).is_some(), "each has its own");
        assert!(room(2, 101).is_none());
        assert!(room(2, u64::MAX).is_none());
        assert!(Strangers::new(0.0).room(&peer(1), 1, 1000).is_none());
    }

    #[test]
    fn those_who_are_counted_are_bounded_and_who_brought_most_is_not_forgotten() {
        let strangers = Strangers::new(1.0);
        strangers.room(&peer(1), 10, 10).unwrap().fill();
        for number in 0..COUNTED {
            let mut seed = [7; 32];
            seed[..8].copy_from_slice(&number.to_be_bytes());
            let other = NodeIdentity::from_seed(seed).unwrap().peer_id();
            strangers.room(&other, 5, 10).unwrap().fill();
        }
        assert_eq!(strangers.lock().len(), COUNTED);
        assert!(strangers.room(&peer(1), 1, 10).is_none());
    }
}
