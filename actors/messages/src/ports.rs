//! Named bundles of typed senders: the only way to reach an actor.
//!
//! A port takes the permit, sends, and flattens a dead mailbox into its own error, so callers see
//! one `Result`. It is built of [`Recipient`]s, never of an `Addr` of a concrete actor: who answers
//! is not the caller's business, and a test can answer.

mod proof;
mod replicator;
mod store;
mod swarm;

use actix::{Message, Recipient};

use crate::lifecycle::{PartChanged, Stop};
use crate::proof::{PossessionWanted, ProofError};
use crate::replicator::{FetchError, PlaceError, PlanError, ReplicatorChanged};
use crate::store::{BlobStored, StoreChanged, StoreError};
use crate::swarm::{
    InboundChallenge, InboundHaveList, InboundReplica, InboundRetrieve, InboundStore, InboundSync,
    SwarmChanged, SwarmError,
};

pub use proof::{ProofEvents, ProofPort};
pub use replicator::ReplicatorPort;
pub use store::StorePort;
pub use swarm::SwarmPort;

/// Where the swarm's events go.
#[derive(Clone, Debug)]
pub struct SwarmEvents {
    /// Hears how the network is.
    pub changed: Vec<Recipient<SwarmChanged>>,
    /// Hears of the actor's condition.
    pub part: Vec<Recipient<PartChanged>>,
    /// Answers who wants a blob.
    pub retrieve: Recipient<InboundRetrieve>,
    /// Answers who asks what is here.
    pub have_list: Recipient<InboundHaveList>,
    /// Answers who sends a copy.
    pub replica: Recipient<InboundReplica>,
    /// Answers who compares.
    pub sync: Recipient<InboundSync>,
    /// Answers who wants proof.
    pub challenge: Recipient<InboundChallenge>,
    /// Answers who stores.
    pub store: Recipient<InboundStore>,
}

impl SwarmEvents {
    /// Tells how the network is. A full mailbox loses it; the next second brings another.
    pub fn swarm_changed(&self, event: &SwarmChanged) {
        notify(&self.changed, event);
    }
}

/// Hands an inbound request on without waiting. When the mailbox is full or closed, the request is
/// dropped with the answer in it, which tells the asker that the node is busy.
pub fn hand_on<M>(recipient: &Recipient<M>, request: M)
where
    M: Message<Result = ()> + Send + 'static,
{
    if let Err(error) = recipient.try_send(request) {
        tracing::debug!(%error, "inbound request not handed on");
    }
}

/// Where the store's events go.
#[derive(Clone, Debug)]
pub struct StoreEvents {
    /// Hears of each stored blob.
    pub stored: Vec<Recipient<BlobStored>>,
    /// Hears how the store is.
    pub changed: Vec<Recipient<StoreChanged>>,
    /// Hears of the actor's condition.
    pub part: Vec<Recipient<PartChanged>>,
}

impl StoreEvents {
    /// Tells of a stored blob. A full mailbox loses the nudge, never the outbox entry.
    pub fn blob_stored(&self, event: BlobStored) {
        notify(&self.stored, &event);
    }

    /// Tells how the store is. A full mailbox loses it; the next second brings another.
    pub fn store_changed(&self, event: &StoreChanged) {
        notify(&self.changed, event);
    }
}

/// Where the replicator's events go.
#[derive(Clone, Debug)]
pub struct ReplicatorEvents {
    /// Hears how copies are.
    pub changed: Vec<Recipient<ReplicatorChanged>>,
    /// Finds out whether a peer holds a blob.
    pub possession: Vec<Recipient<PossessionWanted>>,
    /// Hears of the actor's condition.
    pub part: Vec<Recipient<PartChanged>>,
}

/// Sends an event without waiting, to whoever has room.
pub fn notify<M>(listeners: &[Recipient<M>], event: &M)
where
    M: Message<Result = ()> + Clone + Send + 'static,
{
    for listener in listeners {
        if let Err(error) = listener.try_send(event.clone()) {
            tracing::debug!(%error, "event not delivered");
        }
    }
}

/// Tells an actor to stop; returns when it has, or at once when it is gone already.
pub async fn stop(actor: &Recipient<Stop>) {
    // A dead mailbox means that it has stopped.
    let _: Result<(), Unavailable> = ask(actor, Stop).await;
}

/// The mailbox is closed: the actor is gone.
#[derive(Debug, Clone, Copy)]
pub struct Unavailable;

macro_rules! unavailable {
    ($($error:ident),+) => {$(
        impl From<Unavailable> for $error {
            fn from(_: Unavailable) -> Self {
                Self::Unavailable
            }
        }
    )+};
}
unavailable!(
    StoreError, SwarmError, FetchError, PlaceError, PlanError, ProofError
);

/// Sends and awaits the answer. The bound on what waits is the permit inside the message.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that sends; callers hold a permit"
)]
pub async fn ask<M>(recipient: &Recipient<M>, message: M) -> Result<M::Result, Unavailable>
where
    M: Message + Send + 'static,
    M::Result: Send,
{
    recipient.send(message).await.map_err(|_| Unavailable)
}
