//! The blobs of a run: numbers for those to come, and a list of those that can be read.

use std::sync::atomic::{AtomicU64, Ordering};

use hyper::Uri;

use crate::content::BlobSeed;
use crate::random::SplitMix;

/// A blob that is stored and can be retrieved.
#[derive(Clone, Debug)]
pub(super) struct StoredBlob {
    /// Where it is read.
    pub(super) uri: Uri,
    /// What it holds.
    pub(super) seed: BlobSeed,
    /// Its size in bytes.
    pub(super) size: u64,
}

/// Hands out content that nobody has stored before.
#[derive(Debug)]
pub(super) struct Numbers {
    run: u64,
    next: AtomicU64,
}

/// A blob to be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct FreshBlob {
    /// Its number within the run.
    pub(super) number: u64,
    /// What it holds.
    pub(super) seed: BlobSeed,
}

impl Numbers {
    /// Of the run that drew `run`.
    pub(super) const fn new(run: u64) -> Self {
        Self {
            run,
            next: AtomicU64::new(0),
        }
    }

    /// The next one.
    pub(super) fn take(&self) -> FreshBlob {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        FreshBlob {
            number,
            seed: BlobSeed::new(self.run, number),
        }
    }

    /// The run's number, which no other run has.
    pub(super) const fn run(&self) -> u64 {
        self.run
    }
}

/// One of `blobs`, each as likely.
pub(super) fn pick<'a>(blobs: &'a [StoredBlob], random: &mut SplitMix) -> Option<&'a StoredBlob> {
    blobs.get(random.below(blobs.len()))
}
