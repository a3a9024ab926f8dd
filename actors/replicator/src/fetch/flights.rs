//! Work under way that several wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytecave_core::BlobCid;
use tokio::sync::watch;
use tracing::{Instrument as _, Span};

/// Where the outcome of work under way is heard.
type Flight<T> = watch::Sender<Option<T>>;

/// Work under way by blob; at most one for each permit of whoever waits. Clones share it.
#[derive(Debug)]
pub(super) struct Flights<T>(Arc<Mutex<HashMap<BlobCid, Weak<Flight<T>>>>>);

impl<T> Clone for Flights<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Default for Flights<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone + Send + Sync + 'static> Flights<T> {
    /// The outcome of the work for `cid` that is under way, or is begun now. It ends when nobody waits
    /// for it any more. `None` only if it died.
    pub(super) async fn join<F>(
        &self,
        cid: BlobCid,
        span: &Span,
        begin: impl FnOnce() -> F,
    ) -> Option<T>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut outcome = self.board(cid, span, begin);
        let outcome = outcome.wait_for(Option::is_some).await;
        outcome.ok().and_then(|outcome| outcome.clone())
    }

    fn board<F>(
        &self,
        cid: BlobCid,
        span: &Span,
        begin: impl FnOnce() -> F,
    ) -> watch::Receiver<Option<T>>
    where
        F: Future<Output = T> + Send + 'static,
    {
        let mut flights = self.lock();
        if let Some(flight) = flights.get(&cid).and_then(Weak::upgrade) {
            return flight.subscribe();
        }
        let (flight, outcome) = watch::channel(None);
        let flight = Arc::new(flight);
        flights.insert(cid, Arc::downgrade(&flight));
        let (all, work) = (self.clone(), begin());
        tokio::spawn(async move { all.fly(cid, work, &flight).await }.instrument(span.clone()));
        outcome
    }

    /// Works, unless everybody who waited has gone.
    async fn fly(&self, cid: BlobCid, work: impl Future<Output = T>, flight: &Flight<T>) {
        tokio::pin!(work);
        loop {
            tokio::select! {
                outcome = &mut work => {
                    self.lock().remove(&cid);
                    flight.send_replace(Some(outcome));
                    return;
                }
                () = flight.closed() => {
                    let mut flights = self.lock();
                    // Whoever joins does so under the lock, and may have just now.
                    if flight.receiver_count() == 0 {
                        flights.remove(&cid);
                        return;
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<BlobCid, Weak<Flight<T>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }
}
