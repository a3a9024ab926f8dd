//! The answers to what a relay passes on. Whatever happens, there is one for each request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytecave_core::BlobCid;
use bytecave_messages::budget::{Budget, Permit, Share};
use bytecave_messages::memory::HeldMemory;
use bytecave_messages::ports::{SwarmEvents, hand_on};
use bytecave_messages::swarm::{
    Answer, InboundRetrieve, InboundStore, Origin, Refusal, ServedBlob,
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::LinkLimits;
use super::message::{self, Kind, StoreRequest};
use crate::aside::aside;
use crate::memory::BodyMemory;
use crate::wire::frame::MAX_BLOB_BYTES;
use crate::wire::v1::base64;
use crate::wire::v1::blobs::unreadable;

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

/// What there is to do.
enum Work {
    /// A store, not decoded yet.
    Store(Utf8Bytes),
    /// This blob is wanted.
    Retrieve(BlobCid),
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
        let Request { kind, id, text } = request;
        let refused = |why: &Refusal| Outgoing::small(message::refused(kind, &id, why));
        let work = match kind {
            Kind::Store => Work::Store(text),
            // All that is needed of it is short, and the rest is not kept.
            Kind::Retrieve => match message::wanted(&text) {
                Ok(cid) => Work::Retrieve(cid),
                Err(why) => return Some(refused(&why)),
            },
        };
        let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
            return Some(refused(&Refusal::Busy));
        };
        let serving = Arc::clone(self).serve(kind, id, work, answers.clone(), slot);
        tokio::spawn(serving);
        None
    }

    async fn serve(
        self: Arc<Self>,
        kind: Kind,
        id: String,
        work: Work,
        answers: mpsc::Sender<Outgoing>,
        _slot: OwnedSemaphorePermit,
    ) {
        let deadline = Instant::now() + self.answer;
        let outgoing = match work {
            Work::Store(text) => self.store(&id, text, deadline).await,
            Work::Retrieve(cid) => self.retrieve(&id, cid, deadline).await,
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

    async fn retrieve(
        &self,
        id: &str,
        cid: BlobCid,
        deadline: Instant,
    ) -> Result<Outgoing, Refusal> {
        let permit = self.permit("inbound_retrieve")?;
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
        if size > MAX_BLOB_BYTES {
            return Err(message::too_large(size));
        }
        let held = self.memory.for_blob(size).ok_or(Refusal::Busy)?;
        let (head, tail) = message::retrieved(id, content_type.as_deref());
        let text = base64::encode(&head, body, size, tail, self.answer);
        let text = timeout_at(deadline, text).await.map_err(|_| LATE)?;
        Ok(Outgoing {
            text: text.map_err(unreadable)?,
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
