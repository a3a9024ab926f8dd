//! The answers to what a relay passes on. Whatever happens, there is one for each request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytecave_messages::body::{BlobBody, BodyError};
use bytecave_messages::budget::{Budget, Permit, Share};
use bytecave_messages::memory::HeldMemory;
use bytecave_messages::ports::{SwarmEvents, hand_on};
use bytecave_messages::swarm::{
    Answer, InboundRetrieve, InboundStore, Origin, Refusal, ServedBlob,
};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::message::{self, Kind, StoreRequest};
use super::{LinkLimits, MAX_BLOB_BYTES};
use crate::aside::aside;
use crate::memory::BodyMemory;

const LATE: Refusal = Refusal::Unavailable("no answer within the time of a browser");
const FAILED: Refusal = Refusal::Unavailable("the blob cannot be read");

/// A message to the relay.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) text: String,
    /// Memory for what is in it, held until it has left.
    pub(super) held: Option<HeldMemory>,
}

impl Outgoing {
    pub(super) fn small(text: String) -> Self {
        Self { text, held: None }
    }
}

/// A request, not decoded yet.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) kind: Kind,
    pub(super) id: String,
    pub(super) text: Utf8Bytes,
}

/// Serves one link, over all its connections.
pub(super) struct Server {
    relay: Arc<str>,
    events: SwarmEvents,
    budget: Budget,
    memory: BodyMemory,
    slots: Arc<Semaphore>,
    answer: Duration,
}

impl Server {
    pub(super) fn new(
        relay: Arc<str>,
        events: SwarmEvents,
        budget: Budget,
        memory: BodyMemory,
        limits: LinkLimits,
    ) -> Self {
        Self {
            relay,
            events,
            budget,
            memory,
            slots: Arc::new(Semaphore::new(limits.served)),
            answer: limits.answer,
        }
    }

    /// Serves `request` beside others and puts the answer into `answers`; when too many are being
    /// served, the answer is returned at once.
    pub(super) fn take(
        self: &Arc<Self>,
        request: Request,
        answers: &mpsc::Sender<Outgoing>,
    ) -> Option<Outgoing> {
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            let text = message::refused(request.kind, &request.id, &Refusal::Busy);
            return Some(Outgoing::small(text));
        };
        let serving = Arc::clone(self).serve(request, answers.clone(), slot);
        tokio::spawn(serving);
        None
    }

    async fn serve(
        self: Arc<Self>,
        request: Request,
        answers: mpsc::Sender<Outgoing>,
        _slot: OwnedSemaphorePermit,
    ) {
        let deadline = Instant::now() + self.answer;
        let Request { kind, id, text } = request;
        let outgoing = match kind {
            Kind::Store => self.store(&id, text, deadline).await,
            Kind::Retrieve => self.retrieve(&id, &text, deadline).await,
        };
        let outgoing = outgoing
            .unwrap_or_else(|refusal| Outgoing::small(message::refused(kind, &id, &refusal)));
        // An answer whose link is gone has nowhere to go: the browser asks again, by another link.
        let _ = answers.send(outgoing).await;
    }

    /// The memory that is taken for the request goes on with its bytes, and the permit with the
    /// event: both are free when whoever has them lets go, also behind an answer that came too late.
    async fn store(
        &self,
        id: &str,
        text: Utf8Bytes,
        deadline: Instant,
    ) -> Result<Outgoing, Refusal> {
        let permit = self.permit("inbound_store")?;
        let len = text.len();
        let held = self.memory.for_frame(len as u64).ok_or(Refusal::Busy)?;
        let request = aside(len, move || StoreRequest::decode(&text));
        let request = request.await.map_err(|_| FAILED)??;
        let (answer, answered) = Answer::new();
        let store = InboundStore {
            from: Origin::Link(Arc::clone(&self.relay)),
            cid: None,
            content_type: request.content_type,
            app_id: request.authorization.as_ref().map(|a| a.app_id.clone()),
            body: held.attach(request.body),
            authorization: request.authorization,
            answer,
            permit,
        };
        hand_on(&self.events.store, store);
        let kept = timeout_at(deadline, answered).await.map_err(|_| LATE)?;
        let kept = kept.map_err(|_| Refusal::Busy)??;
        Ok(Outgoing::small(message::stored(id, &kept)))
    }

    async fn retrieve(&self, id: &str, text: &str, deadline: Instant) -> Result<Outgoing, Refusal> {
        let permit = self.permit("inbound_retrieve")?;
        let cid = message::wanted(text)?;
        let (answer, answered) = Answer::new();
        let retrieve = InboundRetrieve {
            from: Origin::Link(Arc::clone(&self.relay)),
            cid,
            range: None,
            answer,
            permit,
        };
        hand_on(&self.events.retrieve, retrieve);
        let served = timeout_at(deadline, answered).await.map_err(|_| LATE)?;
        let ServedBlob {
            size,
            content_type,
            body,
            ..
        } = served.map_err(|_| Refusal::Busy)??;
        if size > MAX_BLOB_BYTES as u64 {
            return Err(message::too_large(size));
        }
        let held = self.memory.for_blob(size).ok_or(Refusal::Busy)?;
        let bytes = timeout_at(deadline, collect(body, size)).await;
        let bytes = bytes.map_err(|_| LATE)??;
        let id = id.to_owned();
        let encode = move || message::retrieved(&id, content_type.as_deref(), &bytes);
        Ok(Outgoing {
            text: aside(usize::try_from(size).unwrap_or(usize::MAX), encode)
                .await
                .map_err(|_| FAILED)?,
            held: Some(held),
        })
    }

    fn permit(&self, kind: &'static str) -> Result<Permit, Refusal> {
        let permit = self.budget.try_acquire(Share::Peer, kind);
        permit.map_err(|_| Refusal::Busy)
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Server({})", self.relay)
    }
}

/// All bytes of a blob that is `size` bytes long.
async fn collect(body: BlobBody, size: u64) -> Result<Bytes, Refusal> {
    let size = usize::try_from(size).map_err(|_| FAILED)?;
    let bytes = match body {
        BlobBody::Whole(bytes) => bytes,
        BlobBody::Stream(mut pieces) => {
            let mut bytes = Vec::with_capacity(size);
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| unreadable(&error))?;
                if bytes.len() + piece.len() > size {
                    return Err(FAILED);
                }
                bytes.extend_from_slice(&piece);
            }
            bytes.into()
        }
    };
    if bytes.len() == size {
        Ok(bytes)
    } else {
        Err(FAILED)
    }
}

fn unreadable(error: &BodyError) -> Refusal {
    match error {
        BodyError::Damaged => Refusal::Damaged,
        BodyError::Deleted => Refusal::NotFound,
        _ => FAILED,
    }
}
