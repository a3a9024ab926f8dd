//! Letting go of work that nobody waits for any more.
//!
//! An actor's handler runs to its end whether the asker waits or not. Where that end is far away, the
//! message carries a [`Cancelled`], and the asker keeps the [`CancelGuard`]: when the asker's future
//! is dropped, the guard goes with it, and the handler hears of it.

use tokio::sync::oneshot;

/// Kept by whoever waits; dropping it cancels.
#[derive(Debug)]
pub struct CancelGuard {
    _alive: oneshot::Sender<()>,
}

/// Tells whoever works that nobody waits any more.
#[derive(Debug)]
pub struct Cancelled(oneshot::Receiver<()>);

/// A guard, and where its end is heard.
pub fn cancellation() -> (CancelGuard, Cancelled) {
    let (alive, gone) = oneshot::channel();
    (CancelGuard { _alive: alive }, Cancelled(gone))
}

impl Cancelled {
    /// Runs `work` to its end, or until nobody waits for it: then `None`, and `work` is dropped.
    pub async fn unless<F: Future>(self, work: F) -> Option<F::Output> {
        tokio::select! {
            biased;
            output = work => Some(output),
            _ = self.0 => None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn work_ends_with_whoever_waits_for_it() {
        let (guard, cancelled) = cancellation();
        assert_eq!(cancelled.unless(async { 7 }).await, Some(7));
        drop(guard);
        let (guard, cancelled) = cancellation();
        let work = tokio::spawn(cancelled.unless(std::future::pending::<()>()));
        drop(guard);
        assert_eq!(work.await.unwrap(), None);
    }
}
