//! The memory that blobs of 1.0.0 protocols and storage links may take at once.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Memory is counted in units of this many bytes, so that a semaphore can count it.
const UNIT_BYTES: u64 = 1024;

/// A byte budget. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct BodyMemory {
    units: Arc<Semaphore>,
}

/// Memory held for one blob; given back by drop.
#[derive(Debug)]
pub(crate) struct HeldMemory {
    _units: OwnedSemaphorePermit,
}

impl BodyMemory {
    /// `bytes` for all blobs in flight together.
    pub(crate) fn new(bytes: u64) -> Self {
        let units = usize::try_from(bytes / UNIT_BYTES).unwrap_or(usize::MAX);
        Self {
            units: Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS))),
        }
    }

    /// Memory for a JSON frame of `bytes`, whose blob comes to be held beside it: 1.8 times the frame.
    pub(crate) fn for_frame(&self, bytes: u64) -> Option<HeldMemory> {
        self.hold(bytes.saturating_mul(9) / 5)
    }

    /// Memory for a blob of `bytes` that is put into a JSON frame: 2.4 times its size.
    pub(crate) fn for_blob(&self, bytes: u64) -> Option<HeldMemory> {
        self.hold(bytes.saturating_mul(12) / 5)
    }

    /// At once or not at all: who finds none left is told to come later.
    fn hold(&self, bytes: u64) -> Option<HeldMemory> {
        let units = u32::try_from(bytes.div_ceil(UNIT_BYTES)).ok()?;
        let permit = Arc::clone(&self.units).try_acquire_many_owned(units).ok()?;
        Some(HeldMemory { _units: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_is_given_back_by_drop() {
        let memory = BodyMemory::new(10 * 1024);
        let held = memory.for_blob(4 * 1024);
        assert!(held.is_some());
        assert!(memory.for_blob(1024).is_none());
        drop(held);
        assert!(memory.for_blob(1024).is_some());
    }

    #[test]
    fn no_size_overflows() {
        let memory = BodyMemory::new(u64::MAX);
        assert!(memory.for_frame(u64::MAX).is_none());
        assert!(BodyMemory::new(0).for_blob(0).is_some());
    }
}
