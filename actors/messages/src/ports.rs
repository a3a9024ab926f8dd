//! Named bundles of typed senders: the only way to reach an actor.
//!
//! A port takes the permit, sends, and flattens a dead mailbox into its own error, so callers see
//! one `Result`. It is built of [`Recipient`]s, never of an `Addr` of a concrete actor: who answers
//! is not the caller's business, and a test can answer.

use std::fmt;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Message, Recipient};
use bytecave_core::{BlobCid, Digest, PeerId, ShardId};

use crate::body::BlobBody;
use crate::budget::{Budget, Share};
use crate::lifecycle::{PartChanged, Stop};
use crate::replicator::{FetchBlob, FetchError, FetchedBlob};
use crate::store::{
    AdvanceOutbox, BlobInfo, BlobPage, BlobRead, BlobStored, ByteRange, CollectGarbage, DeleteBlob,
    GcReport, GetBlob, GetBlobInfo, ListBlobs, ListCursor, ListOutboxShards, OutboxEntry, PutBlob,
    ReadOutbox, RotateKeys, RotationReport, SetPin, StoreChanged, StoreError, Stored, UseNonce,
};
use crate::swarm::{
    Admission, InboundHaveList, InboundReplica, InboundRetrieve, InboundStore, RemoteBlob,
    RetrieveFromPeer, SetAdmission, SwarmChanged, SwarmError,
};

/// The way to the blobs.
#[derive(Clone)]
pub struct StorePort {
    budget: Budget,
    put: Recipient<PutBlob>,
    get: Recipient<GetBlob>,
    info: Recipient<GetBlobInfo>,
    list: Recipient<ListBlobs>,
    delete: Recipient<DeleteBlob>,
    pin: Recipient<SetPin>,
    gc: Recipient<CollectGarbage>,
    rotate: Recipient<RotateKeys>,
    read_outbox: Recipient<ReadOutbox>,
    advance_outbox: Recipient<AdvanceOutbox>,
    outbox_shards: Recipient<ListOutboxShards>,
    nonce: Recipient<UseNonce>,
}

/// A blob on its way in, as [`StorePort::put`] takes it.
#[derive(Debug)]
pub struct NewBlob {
    /// The bytes.
    pub body: BlobBody,
    /// What they must hash to, when the sender said so.
    pub expected: Option<BlobCid>,
    /// Media type.
    pub content_type: Option<String>,
    /// The client's name for it.
    pub file_name: Option<String>,
}

impl StorePort {
    /// The port of whoever handles the store's messages, within `budget`.
    pub fn new<A>(address: &Addr<A>, budget: Budget) -> Self
    where
        A: Actor
            + Handler<PutBlob>
            + Handler<GetBlob>
            + Handler<GetBlobInfo>
            + Handler<ListBlobs>
            + Handler<DeleteBlob>
            + Handler<SetPin>
            + Handler<CollectGarbage>
            + Handler<RotateKeys>
            + Handler<ReadOutbox>
            + Handler<AdvanceOutbox>
            + Handler<ListOutboxShards>
            + Handler<UseNonce>,
        A::Context: ToEnvelope<A, PutBlob>
            + ToEnvelope<A, GetBlob>
            + ToEnvelope<A, GetBlobInfo>
            + ToEnvelope<A, ListBlobs>
            + ToEnvelope<A, DeleteBlob>
            + ToEnvelope<A, SetPin>
            + ToEnvelope<A, CollectGarbage>
            + ToEnvelope<A, RotateKeys>
            + ToEnvelope<A, ReadOutbox>
            + ToEnvelope<A, AdvanceOutbox>
            + ToEnvelope<A, ListOutboxShards>
            + ToEnvelope<A, UseNonce>,
    {
        Self {
            budget,
            put: address.clone().recipient(),
            get: address.clone().recipient(),
            info: address.clone().recipient(),
            list: address.clone().recipient(),
            delete: address.clone().recipient(),
            pin: address.clone().recipient(),
            gc: address.clone().recipient(),
            rotate: address.clone().recipient(),
            read_outbox: address.clone().recipient(),
            advance_outbox: address.clone().recipient(),
            outbox_shards: address.clone().recipient(),
            nonce: address.clone().recipient(),
        }
    }

    /// Keeps a blob; answers when it is as durable as configured.
    pub async fn put(&self, share: Share, blob: NewBlob) -> Result<Stored, StoreError> {
        let permit = self.budget.try_acquire(share, "put")?;
        let NewBlob {
            body,
            expected,
            content_type,
            file_name,
        } = blob;
        ask(
            &self.put,
            PutBlob {
                body,
                expected,
                content_type,
                file_name,
                permit,
            },
        )
        .await?
    }

    /// Reads a blob or a part of it.
    pub async fn get(
        &self,
        share: Share,
        cid: BlobCid,
        range: Option<ByteRange>,
    ) -> Result<BlobRead, StoreError> {
        let permit = self.budget.try_acquire(share, "get")?;
        ask(&self.get, GetBlob { cid, range, permit }).await?
    }

    /// What is known of a blob.
    pub async fn info(&self, share: Share, cid: BlobCid) -> Result<BlobInfo, StoreError> {
        let permit = self.budget.try_acquire(share, "info")?;
        ask(&self.info, GetBlobInfo { cid, permit }).await?
    }

    /// The next page of stored blobs.
    pub async fn list(
        &self,
        share: Share,
        shard: Option<ShardId>,
        after: Option<ListCursor>,
        limit: usize,
    ) -> Result<BlobPage, StoreError> {
        let permit = self.budget.try_acquire(share, "list")?;
        ask(
            &self.list,
            ListBlobs {
                shard,
                after,
                limit,
                permit,
            },
        )
        .await?
    }

    /// Deletes a blob from this node.
    pub async fn delete(&self, share: Share, cid: BlobCid) -> Result<(), StoreError> {
        let permit = self.budget.try_acquire(share, "delete")?;
        ask(&self.delete, DeleteBlob { cid, permit }).await?
    }

    /// Protects a blob from deletion, or stops protecting it.
    pub async fn set_pin(
        &self,
        share: Share,
        cid: BlobCid,
        pinned: bool,
    ) -> Result<(), StoreError> {
        let permit = self.budget.try_acquire(share, "pin")?;
        ask(
            &self.pin,
            SetPin {
                cid,
                pinned,
                permit,
            },
        )
        .await?
    }

    /// Gives the space of deleted blobs back now.
    pub async fn collect_garbage(&self, share: Share) -> Result<GcReport, StoreError> {
        let permit = self.budget.try_acquire(share, "gc")?;
        ask(&self.gc, CollectGarbage { permit }).await?
    }

    /// Adds a key-encryption key and seals all metadata under it.
    pub async fn rotate_keys(&self, share: Share) -> Result<RotationReport, StoreError> {
        let permit = self.budget.try_acquire(share, "rotate_keys")?;
        ask(&self.rotate, RotateKeys { permit }).await?
    }

    /// Outbox entries behind a shard's cursor.
    pub async fn read_outbox(
        &self,
        shard: ShardId,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        let permit = self.budget.try_acquire(Share::Repair, "read_outbox")?;
        ask(
            &self.read_outbox,
            ReadOutbox {
                shard,
                limit,
                permit,
            },
        )
        .await?
    }

    /// Moves the outbox cursors of some shards.
    pub async fn advance_outbox(&self, through: Vec<(ShardId, u64)>) -> Result<(), StoreError> {
        let permit = self.budget.try_acquire(Share::Repair, "advance_outbox")?;
        ask(&self.advance_outbox, AdvanceOutbox { through, permit }).await?
    }

    /// Shards whose outbox has entries.
    pub async fn outbox_shards(&self) -> Result<Vec<ShardId>, StoreError> {
        let permit = self.budget.try_acquire(Share::Repair, "outbox_shards")?;
        ask(&self.outbox_shards, ListOutboxShards { permit }).await?
    }

    /// Uses up a nonce; whether it was unused.
    pub async fn use_nonce(
        &self,
        share: Share,
        key: Digest,
        expires_ms: u64,
    ) -> Result<bool, StoreError> {
        let permit = self.budget.try_acquire(share, "use_nonce")?;
        let message = UseNonce {
            key,
            expires_ms,
            permit,
        };
        ask(&self.nonce, message).await?
    }
}

impl fmt::Debug for StorePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorePort({:?})", self.budget)
    }
}

/// The way to the network.
#[derive(Clone)]
pub struct SwarmPort {
    budget: Budget,
    retrieve: Recipient<RetrieveFromPeer>,
    admission: Recipient<SetAdmission>,
}

impl SwarmPort {
    /// The port of whoever handles the swarm's messages, within `budget`.
    pub fn new<A>(address: &Addr<A>, budget: Budget) -> Self
    where
        A: Actor + Handler<RetrieveFromPeer> + Handler<SetAdmission>,
        A::Context: ToEnvelope<A, RetrieveFromPeer> + ToEnvelope<A, SetAdmission>,
    {
        Self {
            budget,
            retrieve: address.clone().recipient(),
            admission: address.clone().recipient(),
        }
    }

    /// Fetches a blob that `peer` has; what comes is unverified.
    pub async fn retrieve(
        &self,
        share: Share,
        peer: PeerId,
        cid: BlobCid,
    ) -> Result<RemoteBlob, SwarmError> {
        let permit = self.budget.try_acquire(share, "retrieve")?;
        ask(&self.retrieve, RetrieveFromPeer { peer, cid, permit }).await?
    }

    /// Says who may send replicas.
    pub async fn set_admission(&self, admission: Admission) -> Result<(), SwarmError> {
        Ok(ask(&self.admission, SetAdmission(admission)).await?)
    }
}

impl fmt::Debug for SwarmPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SwarmPort({:?})", self.budget)
    }
}

/// The way to blobs that peers have.
#[derive(Clone)]
pub struct ReplicatorPort {
    budget: Budget,
    fetch: Recipient<FetchBlob>,
}

impl ReplicatorPort {
    /// The port of whoever handles the replicator's messages, within `budget`.
    pub fn new<A>(address: &Addr<A>, budget: Budget) -> Self
    where
        A: Actor + Handler<FetchBlob>,
        A::Context: ToEnvelope<A, FetchBlob>,
    {
        Self {
            budget,
            fetch: address.clone().recipient(),
        }
    }

    /// Gets a blob that is not stored here from a peer, verified.
    pub async fn fetch(&self, share: Share, cid: BlobCid) -> Result<FetchedBlob, FetchError> {
        let permit = self.budget.try_acquire(share, "fetch")?;
        ask(&self.fetch, FetchBlob { cid, permit }).await?
    }
}

impl fmt::Debug for ReplicatorPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicatorPort({:?})", self.budget)
    }
}

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
unavailable!(StoreError, SwarmError, FetchError);

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
