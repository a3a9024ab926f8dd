//! How much memory the bodies of strangers may take at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

/// A budget of bytes. Clones share it.
#[derive(Clone, Debug)]
pub struct ByteBudget {
    free: Arc<AtomicU64>,
    total: u64,
}

/// A part of a [`ByteBudget`], given back by drop.
#[derive(Debug)]
pub struct HeldMemory {
    budget: ByteBudget,
    bytes: u64,
}

impl ByteBudget {
    /// `total_bytes`, all of them free.
    pub fn new(total_bytes: u64) -> Self {
        Self {
            free: Arc::new(AtomicU64::new(total_bytes)),
            total: total_bytes,
        }
    }

    /// Takes `bytes`, or nothing when so many are not free; never waits.
    pub fn try_take(&self, bytes: u64) -> Option<HeldMemory> {
        self.free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |free| {
                free.checked_sub(bytes)
            })
            .ok()?;
        Some(HeldMemory {
            budget: self.clone(),
            bytes,
        })
    }

    /// All of it.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// What is taken.
    pub fn used_bytes(&self) -> u64 {
        self.total - self.free.load(Ordering::Acquire)
    }
}

impl HeldMemory {
    /// Takes `bytes` more; `false`, and nothing is taken, when so many are not free.
    pub fn grow(&mut self, bytes: u64) -> bool {
        let Some(mut more) = self.budget.try_take(bytes) else {
            return false;
        };
        self.bytes += std::mem::take(&mut more.bytes);
        true
    }

    /// `bytes` that hold their own length of this memory until the last clone of them is dropped.
    /// What was held beyond that is free at once.
    pub fn attach(mut self, bytes: Vec<u8>) -> Bytes {
        let needed = self.bytes.min(bytes.len() as u64);
        let excess = self.bytes - needed;
        self.bytes = needed;
        self.budget.free.fetch_add(excess, Ordering::AcqRel);
        Bytes::from_owner(Attached {
            bytes,
            _memory: self,
        })
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        self.budget.free.fetch_add(self.bytes, Ordering::AcqRel);
    }
}

struct Attached {
    bytes: Vec<u8>,
    _memory: HeldMemory,
}

impl AsRef<[u8]> for Attached {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_held_comes_back() {
        let budget = ByteBudget::new(10);
        let first = budget.try_take(6).unwrap();
        assert!(budget.try_take(5).is_none());
        assert_eq!(budget.used_bytes(), 6);
        drop(first);
        assert!(budget.try_take(10).is_some());
    }

    #[test]
    fn what_is_held_grows_as_far_as_there_is_some() {
        let budget = ByteBudget::new(10);
        let mut held = budget.try_take(4).unwrap();
        assert!(held.grow(5));
        assert!(!held.grow(2));
        assert_eq!(budget.used_bytes(), 9);
        drop(held);
        assert_eq!(budget.used_bytes(), 0);
    }

    #[test]
    fn bytes_hold_what_they_need_until_the_last_of_them_is_gone() {
        let budget = ByteBudget::new(100);
        let bytes = budget.try_take(80).unwrap().attach(vec![7; 30]);
        assert_eq!(budget.used_bytes(), 30, "the rest is free at once");
        let part = bytes.slice(10..20);
        drop(bytes);
        assert_eq!(budget.used_bytes(), 30);
        assert_eq!(part, vec![7; 10]);
        drop(part);
        assert_eq!(budget.used_bytes(), 0);
    }
}
