//! The memory that blobs of 1.0.0 protocols and storage links may take at once.

use bytecave_messages::memory::{ByteBudget, HeldMemory};

/// The budget of all of them together. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct BodyMemory(ByteBudget);

impl BodyMemory {
    /// `bytes` for all blobs in flight together.
    pub(crate) fn new(bytes: u64) -> Self {
        Self(ByteBudget::new(bytes))
    }

    /// Memory for a JSON frame of `bytes`, whose blob comes to be held beside it: 1.8 times the frame.
    /// At once or not at all: who finds none left is told to come later.
    pub(crate) fn for_frame(&self, bytes: u64) -> Option<HeldMemory> {
        self.0.try_take(bytes.saturating_mul(9) / 5)
    }

    /// Memory for a blob of `bytes` that is put into a JSON frame: 2.4 times its size.
    pub(crate) fn for_blob(&self, bytes: u64) -> Option<HeldMemory> {
        self.0.try_take(bytes.saturating_mul(12) / 5)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_counts_with_its_frame() {
        let memory = BodyMemory::new(24_000);
        let held = memory.for_blob(10_000);
        assert!(held.is_some());
        assert!(memory.for_frame(1).is_none());
        drop(held);
        assert!(memory.for_frame(13_333).is_some());
        assert!(memory.for_frame(13_335).is_none());
    }

    #[test]
    fn no_size_overflows() {
        let memory = BodyMemory::new(1 << 40);
        assert!(memory.for_frame(u64::MAX).is_none());
        assert!(BodyMemory::new(0).for_blob(0).is_some());
    }
}
