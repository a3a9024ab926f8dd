//! What is counted since the start.

use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! tallies {
    ($($(#[doc = $doc:literal])* $name:ident;)+) => {
        /// What is counted since the start.
        #[derive(Debug, Default)]
        pub(super) struct Tallies {
            $($(#[doc = $doc])* pub(super) $name: Tally,)+
        }

        impl Tallies {
            /// Names and values.
            pub(super) fn all(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($name), self.$name.get()),)+]
            }
        }
    };
}

tallies! {
    /// Comparisons with one peer that came to their end.
    reconcile_rounds;
    /// The same that did not.
    reconcile_rounds_failed;
    /// Questions asked.
    reconcile_questions;
    /// Questions answered.
    reconcile_answers;
    /// Questions that were not answered: too many, or senseless.
    reconcile_refused;
    /// Shards that were found to differ.
    reconcile_differing_shards;
    /// Shards whose sums were alike and whose sets were not.
    reconcile_forged_sums;
    /// Tombstones that were renewed, since a peer has the blob.
    tombstones_renewed;
    /// Blobs fetched.
    repaired_blobs;
    /// Their bytes.
    repaired_bytes;
    /// Blobs that were damaged here and are whole again; they are among `repaired_blobs`.
    damaged_repaired;
    /// Blobs that had been let go and are counted again.
    restored_blobs;
    /// Copies that were let go for good, since others have proved theirs.
    trimmed_blobs;
    /// Copies that were to be let go, and were taken back: a proof was wanting.
    trims_taken_back;
    /// Blobs that no peer gave that was said to have them.
    repairs_failed;
    /// Blobs there was no room for in the queue.
    repairs_put_off;
    /// Blobs offered to others.
    offered_blobs;
    /// Blobs that others offered and that are wanting here.
    offers_wanted;
}

/// One of them.
#[derive(Debug, Default)]
pub(super) struct Tally(AtomicU64);

impl Tally {
    pub(super) fn one(&self) {
        self.add(1);
    }

    pub(super) fn add(&self, more: u64) {
        self.0.fetch_add(more, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
