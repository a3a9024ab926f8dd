//! Getting a blob that is not stored here from a peer.
//!
//! Candidates are asked best first: the next one when the one before fails, or lets a moment pass;
//! never more than a few at once, and all under one deadline. What a peer gives counts only when its
//! SHA-256 is the one that was asked for; who gives anything else is passed over. Whoever asks for a
//! blob that is being fetched waits for the same fetch. When its shard is ours the blob is kept, on
//! the budget of repair and behind the client's back: shedding that never fails the client.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::body::BlobBody;
use bytecave_messages::budget::{Full, Share};
use bytecave_messages::ports::{NewBlob, StorePort, SwarmPort};
use bytecave_messages::replicator::{FetchBlob, FetchError, FetchedBlob};
use bytecave_messages::swarm::{SwarmError, SwarmSnapshot};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use tracing::Instrument as _;

use crate::candidates::candidates;
use crate::facts::Facts;
use crate::{media_type, verify};

/// Peers asked at once for one blob. More would be the same bytes several times over.
const AT_ONCE: usize = 3;
/// Largest blob that the 1.0.0 protocols carry.
const BLOB_MAX_BYTES: usize = 32 << 20;
/// How long peers have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For all of them together.
    pub(crate) deadline: Duration,
    /// For one of them, before the next is asked beside it.
    pub(crate) hedge: Duration,
}

impl Patience {
    /// Follows `p2p.request_timeout`: three times that for all, a tenth before the next is asked.
    pub(crate) fn of(request_timeout: Duration) -> Self {
        Self {
            deadline: request_timeout.saturating_mul(3),
            hedge: request_timeout / 10,
        }
    }
}

/// How a fetch ends.
type Outcome = Result<FetchedBlob, FetchError>;
/// Where the outcome of a fetch under way is heard.
type Flight = watch::Sender<Option<Outcome>>;

/// Fetches blobs. Clones share what is under way.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: StorePort,
    swarm: SwarmPort,
    facts: Facts,
    patience: Patience,
    /// Fetches under way; at most one for each permit of whoever waits.
    flights: Mutex<HashMap<BlobCid, Weak<Flight>>>,
}

impl Fetcher {
    pub(crate) fn new(
        store: StorePort,
        swarm: SwarmPort,
        facts: Facts,
        patience: Patience,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            swarm,
            facts,
            patience,
            flights: Mutex::default(),
        }))
    }

    /// Gets a blob from the peers of `network`, or waits for a fetch of it that is under way.
    pub(crate) async fn fetch(
        self,
        wanted: FetchBlob,
        network: Option<Arc<SwarmSnapshot>>,
    ) -> Outcome {
        let FetchBlob { cid, permit } = wanted;
        let Some(network) = network else {
            return Err(FetchError::NotFound { cid, asked: 0 });
        };
        let span = permit.span().clone();
        let mut flight = self.join(cid, network, span);
        let outcome = flight.wait_for(Option::is_some).await;
        let outcome = outcome.ok().and_then(|outcome| outcome.clone());
        drop(permit);
        // A flight ends without an outcome only if its task died.
        outcome.unwrap_or(Err(FetchError::Unavailable))
    }

    fn join(
        &self,
        cid: BlobCid,
        network: Arc<SwarmSnapshot>,
        span: tracing::Span,
    ) -> watch::Receiver<Option<Outcome>> {
        let mut flights = self.flights();
        if let Some(flight) = flights.get(&cid).and_then(Weak::upgrade) {
            return flight.subscribe();
        }
        let (flight, outcome) = watch::channel(None);
        let flight = Arc::new(flight);
        flights.insert(cid, Arc::downgrade(&flight));
        let fetcher = self.clone();
        tokio::spawn(async move { fetcher.fly(cid, &network, &flight).await }.instrument(span));
        outcome
    }

    /// Fetches, unless everybody who waited has gone.
    async fn fly(&self, cid: BlobCid, network: &SwarmSnapshot, flight: &Arc<Flight>) {
        let run = self.run(cid, network);
        tokio::pin!(run);
        loop {
            tokio::select! {
                outcome = &mut run => {
                    self.flights().remove(&cid);
                    flight.send_replace(Some(outcome));
                    return;
                }
                () = flight.closed() => {
                    let mut flights = self.flights();
                    // Whoever joins does so under the lock, and may have just now.
                    if flight.receiver_count() == 0 {
                        flights.remove(&cid);
                        return;
                    }
                }
            }
        }
    }

    async fn run(&self, cid: BlobCid, network: &SwarmSnapshot) -> Outcome {
        let inner = &self.0;
        let until = Instant::now() + inner.patience.deadline;
        let facts = inner.facts.get();
        let candidates = candidates(network, facts.as_deref(), &cid);
        if candidates.is_empty() {
            return Err(FetchError::NotFound { cid, asked: 0 });
        }
        let blob = self.ask(cid, candidates, until).await?;
        let ours = facts.is_some_and(|facts| facts.foreign_shard(&cid).is_none());
        if ours {
            self.keep(cid, &blob);
        }
        Ok(blob)
    }

    /// Asks one candidate after the other.
    async fn ask(&self, cid: BlobCid, candidates: Vec<PeerId>, until: Instant) -> Outcome {
        let Patience { deadline, hedge } = self.0.patience;
        let mut waiting = candidates.into_iter();
        let mut under_way = FuturesUnordered::new();
        let (mut asked, mut silent) = (0, 0);
        let mut full = None;
        let mut next_at = Instant::now();
        loop {
            let more = under_way.len() < AT_ONCE && waiting.len() > 0 && full.is_none();
            if !more && under_way.is_empty() {
                break;
            }
            tokio::select! {
                // An answer that is there counts before another peer is asked.
                biased;
                Some((peer, answer)) = under_way.next() => match answer {
                    Answered::Blob(blob) => {
                        tracing::debug!(%peer, ?cid, bytes = blob.bytes.len(), "blob fetched");
                        return Ok(blob);
                    }
                    Answered::Has(no) => {
                        silent += usize::from(!no.is_no());
                        asked -= usize::from(no == No::NotAsked);
                        next_at = Instant::now();
                    }
                    // There is no room for one more answer: those under way may still come.
                    Answered::Full(no_room) => full = Some(no_room),
                    Answered::End(error) => return Err(error),
                },
                () = sleep_until(until) => {
                    silent += under_way.len();
                    break;
                }
                () = sleep_until(next_at), if more => {
                    if let Some(peer) = waiting.next() {
                        asked += 1;
                        under_way.push(self.ask_one(peer, cid));
                        next_at = Instant::now() + hedge;
                    }
                }
            }
        }
        if let Some(full) = full {
            return Err(FetchError::Full(full));
        }
        if silent == 0 {
            return Err(FetchError::NotFound { cid, asked });
        }
        Err(FetchError::TimedOut {
            cid,
            asked,
            silent,
            after: deadline,
        })
    }

    async fn ask_one(&self, peer: PeerId, cid: BlobCid) -> (PeerId, Answered) {
        let answer = self.0.swarm.retrieve(Share::Client, peer, cid).await;
        let answered = match answer {
            Ok(blob) if blob.bytes.len() > BLOB_MAX_BYTES => {
                let bytes = blob.bytes.len();
                tracing::warn!(%peer, ?cid, bytes, "a peer gave more than any blob has; the next one is asked");
                Answered::Has(No::Unusable)
            }
            Ok(blob) if verify::digest(&blob.bytes).await == cid.digest() => {
                Answered::Blob(FetchedBlob {
                    bytes: blob.bytes,
                    content_type: media_type::believed(blob.content_type),
                })
            }
            Ok(blob) => {
                let bytes = blob.bytes.len();
                tracing::warn!(%peer, ?cid, bytes, "a peer gave other bytes than were asked for; the next one is asked");
                Answered::Has(No::Unusable)
            }
            Err(SwarmError::NotFound { .. }) => Answered::Has(No::NotThere),
            Err(SwarmError::Unsupported { .. }) => Answered::Has(No::NotAsked),
            Err(SwarmError::Full(full)) => Answered::Full(full),
            Err(SwarmError::Unavailable) => Answered::End(FetchError::Unavailable),
            Err(error) => {
                tracing::debug!(%error, ?cid, "a peer did not give a blob");
                Answered::Has(No::Unusable)
            }
        };
        (peer, answered)
    }

    /// Stores a fetched blob of ours, if that costs nobody anything.
    fn keep(&self, cid: BlobCid, blob: &FetchedBlob) {
        let store = self.0.store.clone();
        let new = NewBlob {
            body: BlobBody::Whole(blob.bytes.clone()),
            expected: Some(cid),
            content_type: blob.content_type.clone(),
            file_name: None,
        };
        tokio::spawn(async move {
            match store.put(Share::Repair, new).await {
                Ok(_) => tracing::debug!(?cid, "a fetched blob is kept"),
                Err(error) => tracing::debug!(?cid, %error, "a fetched blob is not kept"),
            }
        });
    }

    fn flights(&self) -> MutexGuard<'_, HashMap<BlobCid, Weak<Flight>>> {
        self.0
            .flights
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What came of asking one peer.
enum Answered {
    /// The blob, verified.
    Blob(FetchedBlob),
    /// It does not give the blob.
    Has(No),
    /// This node has no room for its answer.
    Full(Full),
    /// Nobody can be asked.
    End(FetchError),
}

/// Why a peer does not give the blob.
#[derive(Clone, Copy, PartialEq, Eq)]
enum No {
    /// It does not have it.
    NotThere,
    /// It does not speak the protocol, so it was not really asked.
    NotAsked,
    /// It gave no answer that is of use.
    Unusable,
}

impl No {
    fn is_no(self) -> bool {
        self != Self::Unusable
    }
}

#[cfg(test)]
mod tests;
