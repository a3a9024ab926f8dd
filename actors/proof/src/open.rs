//! The nonces of challenges that this node has open at others. It answers none of them itself: whoever is
//! challenged could pass the challenge back, and give the answer for its own.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytecave_core::proof::Nonce;

/// The nonces; as many as there are challenges under way. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct OpenNonces(Arc<Mutex<HashSet<Nonce>>>);

/// Keeps a nonce open until it is dropped.
#[derive(Debug)]
pub(crate) struct OpenNonce {
    all: OpenNonces,
    nonce: Nonce,
}

impl OpenNonces {
    /// From now on this one is not answered here.
    pub(crate) fn open(&self, nonce: Nonce) -> OpenNonce {
        self.lock().insert(nonce);
        let all = self.clone();
        OpenNonce { all, nonce }
    }

    /// Whether a challenge of our own has this nonce.
    pub(crate) fn contains(&self, nonce: &Nonce) -> bool {
        self.lock().contains(nonce)
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<Nonce>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OpenNonce {
    fn drop(&mut self) {
        self.all.lock().remove(&self.nonce);
    }
}
