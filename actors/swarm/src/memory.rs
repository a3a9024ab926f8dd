//! The memory that blobs in flight, and answers to slow peers, may take at once.

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

    /// Whether there would be memory for such a frame now. What is only claimed takes none.
    pub(crate) fn would_fit(&self, bytes: u64) -> bool {
        self.for_frame(bytes).is_some()
    }

    /// Makes what is held for a frame of `from` bytes suffice for `to` of them; `false` when so much
    /// is not free.
    pub(crate) fn grow(held: &mut HeldMemory, from: u64, to: u64) -> bool {
        let of = |bytes: u64| bytes.saturating_mul(9) / 5;
        held.grow(of(to).saturating_sub(of(from)))
    }

    /// Memory for a blob of `bytes` that is put into a JSON frame: 2.4 times its size.
    pub(crate) fn for_blob(&self, bytes: u64) -> Option<HeldMemory> {
        self.0.try_take(bytes.saturating_mul(12) / 5)
    }

    /// Memory for so many bytes as they are.
    pub(crate) fn for_bytes(&self, bytes: u64) -> Option<HeldMemory> {
        self.0.try_take(bytes)
    }

    /// What is taken.
    #[cfg(test)]
    pub(crate) fn used_bytes(&self) -> u64 {
        self.0.used_bytes()
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
        assert!(memory.would_fit(13_333) && !memory.would_fit(13_335));
    }

    #[test]
    fn what_grows_counts_as_if_it_had_been_taken_at_once() {
        let memory = BodyMemory::new(18_000);
        let mut held = memory.for_frame(3).unwrap();
        for bytes in 3..10_000 {
            assert!(BodyMemory::grow(&mut held, bytes, bytes + 1), "{bytes}");
        }
        assert_eq!(memory.used_bytes(), 18_000);
        assert!(!BodyMemory::grow(&mut held, 10_000, 10_001));
        drop(held);
        assert_eq!(memory.used_bytes(), 0);
    }

    #[test]
    fn no_size_overflows() {
        let memory = BodyMemory::new(1 << 40);
        assert!(memory.for_frame(u64::MAX).is_none());
        assert!(BodyMemory::new(0).for_blob(0).is_some());
    }
}
