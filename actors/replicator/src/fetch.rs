//! Getting a blob that is not stored here from peers.
//!
//! Candidates are asked best first (`ask`). What a peer gives counts only when its SHA-256 is the one
//! that was asked for: up to 4 MiB are verified before the first byte goes out; more streams as it
//! comes (`flow`), its end withheld until the whole is verified, and the next peer goes on where one
//! breaks off. A part of a large blob is read from the store, into which the whole was fetched
//! (`part`). When the shard is ours the blob is kept, on the budget of repair and behind the client's
//! back: shedding that never fails the client.
//!
//! Whoever asks for a small blob that is being fetched waits for the same fetch, and so does whoever
//! wants a part; a large blob is fetched once for each client, since they read at different speeds.
//! All of it ends when the client leaves: before the answer that is told by `cancelled`, and after it
//! by the stream, whose receiver is gone. The permit goes with the stream.

mod ask;
mod flights;
mod flow;
mod out;
mod part;
mod source;
mod transits;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytecave_core::BlobCid;
use bytecave_messages::body::{BlobBody, stream};
use bytecave_messages::budget::Permit;
use bytecave_messages::ports::{StorePort, SwarmPort};
use bytecave_messages::replicator::{FetchBlob, FetchError, FetchedBlob};
use tokio::sync::Semaphore;
use tracing::{Instrument as _, Span};

use self::ask::{Asker, Blob, Given, Opened, Peers};
use self::flights::Flights;
use self::flow::Flow;
use self::out::{Keep, Kept, Out};
use self::part::Place;
use self::transits::Transits;
use crate::candidates::candidates;
use crate::conduct::Conduct;
use crate::facts::Facts;
use crate::holders::Holders;

/// Large blobs that are kept at once while they go to a client: each may have 4 MiB in memory for the
/// store.
const KEEPS_AT_ONCE: usize = 4;

/// How long peers have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For all of them together, until one begins to give the blob.
    pub(crate) deadline: Duration,
    /// For one of them, before the next is asked beside it.
    pub(crate) hedge: Duration,
    /// For the next bytes of a blob that one of them gives.
    pub(crate) stall: Duration,
}

impl Patience {
    /// Follows `p2p.request_timeout`: three times that for all, a tenth before the next is asked, half
    /// of it between bytes.
    pub(crate) fn of(request_timeout: Duration) -> Self {
        Self {
            deadline: request_timeout.saturating_mul(3),
            hedge: request_timeout / 10,
            stall: request_timeout / 2,
        }
    }
}

/// How a fetch ends.
type Outcome = Result<FetchedBlob, FetchError>;

/// Fetches blobs. Clones share what is under way.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: StorePort,
    facts: Facts,
    holders: Holders,
    peers: Arc<Peers>,
    finds: Flights<Result<Shared, FetchError>>,
    parts: Flights<Result<Place, FetchError>>,
    transits: Transits,
    keeps: Arc<Semaphore>,
}

/// What was found among the peers.
#[derive(Debug)]
enum Found {
    /// All of it, verified.
    Here(Blob),
    /// A stream that begins.
    Large(Box<Start>),
}

/// A stream that begins, and who may go on with it.
#[derive(Debug)]
struct Start {
    asker: Asker,
    opened: Opened,
}

/// What was found, for all that waited: one of them takes the stream.
#[derive(Debug, Clone)]
enum Shared {
    Here(Blob),
    Large(Arc<Mutex<Option<Box<Start>>>>),
}

fn found(asker: Asker, given: Given) -> Found {
    match given {
        Given::Here(_, blob) => Found::Here(blob),
        Given::Large(opened) => Found::Large(Box::new(Start { asker, opened })),
    }
}

impl Fetcher {
    pub(crate) fn new(
        store: StorePort,
        swarm: SwarmPort,
        facts: Facts,
        holders: Holders,
        conduct: Conduct,
        patience: Patience,
    ) -> Self {
        Self(Arc::new(Inner {
            store,
            facts,
            holders,
            peers: Arc::new(Peers {
                swarm,
                conduct,
                patience,
            }),
            finds: Flights::default(),
            parts: Flights::default(),
            transits: Transits::default(),
            keeps: Arc::new(Semaphore::new(KEEPS_AT_ONCE)),
        }))
    }

    /// Gets a blob from peers, or a part of it.
    pub(crate) async fn fetch(self, wanted: FetchBlob) -> Outcome {
        let FetchBlob {
            cid,
            range,
            cancelled,
            permit,
        } = wanted;
        let span = permit.span().clone();
        let work = async {
            match range {
                None => self.whole(cid, permit, &span).await,
                Some(range) => {
                    let part = self.part(cid, range, &span).await;
                    drop(permit);
                    part
                }
            }
        };
        // When nobody waits, nobody hears this either.
        let outcome = cancelled.unless(work).await;
        outcome.unwrap_or(Err(FetchError::Unavailable))
    }

    async fn whole(&self, cid: BlobCid, permit: Permit, span: &Span) -> Outcome {
        match self.find(cid, span).await? {
            Found::Large(start) => Ok(self.stream(*start, permit, span)),
            Found::Here(Blob {
                bytes,
                content_type,
            }) => {
                let size = bytes.len() as u64;
                Ok(FetchedBlob {
                    size,
                    content_type,
                    offset: 0,
                    len: size,
                    body: BlobBody::Whole(bytes),
                })
            }
        }
    }

    /// Finds a blob, together with whoever else looks for it.
    async fn find(&self, cid: BlobCid, span: &Span) -> Result<Found, FetchError> {
        let begin = || {
            let fetcher = self.clone();
            async move {
                Ok(match fetcher.look(cid).await? {
                    Found::Here(blob) => Shared::Here(blob),
                    Found::Large(start) => Shared::Large(Arc::new(Mutex::new(Some(start)))),
                })
            }
        };
        let shared = self.0.finds.join(cid, span, begin).await;
        let start = match shared.unwrap_or(Err(FetchError::Unavailable))? {
            Shared::Here(blob) => return Ok(Found::Here(blob)),
            Shared::Large(start) => start,
        };
        let start = start.lock().unwrap_or_else(PoisonError::into_inner).take();
        match start {
            Some(start) => Ok(Found::Large(start)),
            None => self.look(cid).await,
        }
    }

    /// Finds a blob.
    async fn look(&self, cid: BlobCid) -> Result<Found, FetchError> {
        let inner = &self.0;
        let Some(network) = inner.holders.network() else {
            return Err(FetchError::NotFound { cid, asked: 0 });
        };
        let facts = inner.facts.get();
        let placement = inner.holders.placement();
        let candidates = candidates(
            &network,
            facts.as_deref(),
            placement.as_deref(),
            &inner.peers.conduct,
            &cid,
        );
        let mut asker = Asker::new(Arc::clone(&inner.peers), cid, candidates);
        let given = asker.find(0, None).await?;
        let found = found(asker, given);
        if let Found::Here(blob) = &found
            && self.is_ours(&cid)
        {
            let body = BlobBody::Whole(blob.bytes.clone());
            let put = out::put(inner.store.clone(), cid, body, blob.content_type.clone());
            tokio::spawn(put.in_current_span());
        }
        Ok(found)
    }

    /// A large blob on its way to a client.
    fn stream(&self, start: Start, permit: Permit, span: &Span) -> FetchedBlob {
        let cid = start.asker.cid();
        let size = start.opened.stated.size;
        let content_type = start.opened.content_type.clone();
        let kept = Kept {
            cid,
            size,
            content_type: content_type.clone(),
        };
        let ours = self.is_ours(&cid);
        let keep = ours
            .then(|| Keep::begin(self.0.store.clone(), &self.0.keeps, kept))
            .flatten();
        let (sender, body) = stream(Some(size));
        let flow = Flow::new(start).run(Out::new(sender, keep));
        let work = async move {
            if let (_, Err(ended)) = flow.await {
                tracing::debug!(?cid, ?ended, "a blob did not reach its client");
            }
            drop(permit);
        };
        tokio::spawn(work.instrument(span.clone()));
        FetchedBlob {
            size,
            content_type,
            offset: 0,
            len: size,
            body: BlobBody::Stream(body),
        }
    }

    fn is_ours(&self, cid: &BlobCid) -> bool {
        let facts = self.0.facts.get();
        facts.is_some_and(|facts| facts.foreign_shard(cid).is_none())
    }
}

#[cfg(test)]
mod tests;
