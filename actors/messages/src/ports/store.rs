//! The way to the blobs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Recipient};
use bytecave_core::proof::{Challenge, Statement};
use bytecave_core::{BlobCid, Digest, ShardId};

use super::ask;
use crate::budget::{Budget, Share};
use crate::store::{
    AdvanceOutbox, BlobInfo, BlobPage, BlobRead, BlockedPage, ByteRange, CheckBlobs,
    CollectGarbage, DeleteBlob, GcReport, GetBlob, GetBlobInfo, ListBlobs, ListBlocked, ListCursor,
    ListDamaged, ListDigests, ListOutboxShards, NewBlob, OutboxEntry, PutBlob, ReadLeaves,
    ReadOutbox, ReadTransit, RenewTombstones, RestoreBlob, RetireBlob, RotateKeys, RotationReport,
    SampleBlob, ScrubBlobs, Scrubbed, SetBlocked, SetPin, Standing, StoreError, Stored,
    TransitHold, UseNonce,
};
use crate::sync::ListedDigest;

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
    transit: Recipient<ReadTransit>,
    digests: Recipient<ListDigests>,
    check: Recipient<CheckBlobs>,
    renew: Recipient<RenewTombstones>,
    block: Recipient<SetBlocked>,
    blocked: Recipient<ListBlocked>,
    leaves: Recipient<ReadLeaves>,
    sample: Recipient<SampleBlob>,
    scrub: Recipient<ScrubBlobs>,
    damaged: Recipient<ListDamaged>,
    retire: Recipient<RetireBlob>,
    restore: Recipient<RestoreBlob>,
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
            + Handler<UseNonce>
            + Handler<ReadTransit>
            + Handler<ListDigests>
            + Handler<CheckBlobs>
            + Handler<RenewTombstones>
            + Handler<SetBlocked>
            + Handler<ListBlocked>
            + Handler<ReadLeaves>
            + Handler<SampleBlob>
            + Handler<ScrubBlobs>
            + Handler<ListDamaged>
            + Handler<RetireBlob>
            + Handler<RestoreBlob>,
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
            + ToEnvelope<A, UseNonce>
            + ToEnvelope<A, ReadTransit>
            + ToEnvelope<A, ListDigests>
            + ToEnvelope<A, CheckBlobs>
            + ToEnvelope<A, RenewTombstones>
            + ToEnvelope<A, SetBlocked>
            + ToEnvelope<A, ListBlocked>
            + ToEnvelope<A, ReadLeaves>
            + ToEnvelope<A, SampleBlob>
            + ToEnvelope<A, ScrubBlobs>
            + ToEnvelope<A, ListDamaged>
            + ToEnvelope<A, RetireBlob>
            + ToEnvelope<A, RestoreBlob>,
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
            transit: address.clone().recipient(),
            digests: address.clone().recipient(),
            check: address.clone().recipient(),
            renew: address.clone().recipient(),
            block: address.clone().recipient(),
            blocked: address.clone().recipient(),
            leaves: address.clone().recipient(),
            sample: address.clone().recipient(),
            scrub: address.clone().recipient(),
            damaged: address.clone().recipient(),
            retire: address.clone().recipient(),
            restore: address.clone().recipient(),
        }
    }

    /// Keeps a blob; answers when it is as durable as configured.
    pub async fn put(&self, share: Share, blob: NewBlob) -> Result<Stored, StoreError> {
        let permit = self.budget.try_acquire(share, "put")?;
        ask(&self.put, PutBlob { blob, permit }).await?
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

    /// Reads a blob in transit, or a part of it.
    pub async fn read_transit(
        &self,
        share: Share,
        hold: TransitHold,
        range: Option<ByteRange>,
    ) -> Result<BlobRead, StoreError> {
        let permit = self.budget.try_acquire(share, "read_transit")?;
        let message = ReadTransit {
            hold,
            range,
            permit,
        };
        ask(&self.transit, message).await?
    }

    /// The digests of all blobs of a shard, ascending.
    pub async fn list_digests(
        &self,
        share: Share,
        shard: ShardId,
    ) -> Result<Arc<[ListedDigest]>, StoreError> {
        let permit = self.budget.try_acquire(share, "list_digests")?;
        ask(&self.digests, ListDigests { shard, permit }).await?
    }

    /// How these blobs stand with this node, in their order.
    pub async fn check(
        &self,
        share: Share,
        digests: Vec<Digest>,
    ) -> Result<Vec<Standing>, StoreError> {
        let permit = self.budget.try_acquire(share, "check")?;
        ask(&self.check, CheckBlobs { digests, permit }).await?
    }

    /// Keeps the tombstones of these as if they were new.
    pub async fn renew_tombstones(&self, digests: Vec<Digest>) -> Result<(), StoreError> {
        let permit = self.budget.try_acquire(Share::Repair, "renew_tombstones")?;
        ask(&self.renew, RenewTombstones { digests, permit }).await?
    }

    /// Blocks a blob, or lifts that; whether anything changed.
    pub async fn set_blocked(
        &self,
        share: Share,
        cid: BlobCid,
        blocked: bool,
    ) -> Result<bool, StoreError> {
        let permit = self.budget.try_acquire(share, "block")?;
        let message = SetBlocked {
            cid,
            blocked,
            permit,
        };
        ask(&self.block, message).await?
    }

    /// The next page of blocked blobs.
    pub async fn blocked(
        &self,
        share: Share,
        after: Option<[u8; 32]>,
        limit: usize,
    ) -> Result<BlockedPage, StoreError> {
        let permit = self.budget.try_acquire(share, "list_blocked")?;
        let message = ListBlocked {
            after,
            limit,
            permit,
        };
        ask(&self.blocked, message).await?
    }

    /// The leaves of a blob that a challenge asks for, with their paths.
    pub async fn read_leaves(
        &self,
        share: Share,
        challenge: Challenge,
    ) -> Result<Statement, StoreError> {
        let permit = self.budget.try_acquire(share, "read_leaves")?;
        ask(&self.leaves, ReadLeaves { challenge, permit }).await?
    }

    /// A sound blob of a shard by lot: `point` and `pick` are random.
    pub async fn sample(
        &self,
        shard: ShardId,
        point: [u8; 32],
        pick: u64,
    ) -> Result<Option<BlobInfo>, StoreError> {
        let permit = self.budget.try_acquire(Share::Repair, "sample")?;
        let message = SampleBlob {
            shard,
            point,
            pick,
            permit,
        };
        ask(&self.sample, message).await?
    }

    /// Reads the next blobs whole and quarantines what is damaged.
    pub async fn scrub(
        &self,
        after: Option<ListCursor>,
        enough_bytes: u64,
        bytes_per_second: u64,
    ) -> Result<Scrubbed, StoreError> {
        let permit = self.budget.try_acquire(Share::Repair, "scrub")?;
        let message = ScrubBlobs {
            after,
            enough_bytes,
            bytes_per_second,
            permit,
        };
        ask(&self.scrub, message).await?
    }

    /// Blobs that are quarantined, some of them if there are many.
    pub async fn damaged(&self, limit: usize) -> Result<Vec<BlobCid>, StoreError> {
        let permit = self.budget.try_acquire(Share::Repair, "list_damaged")?;
        ask(&self.damaged, ListDamaged { limit, permit }).await?
    }

    /// Lets a copy go that is needed no longer; whether it was here.
    pub async fn retire(&self, cid: BlobCid, keep_for: Duration) -> Result<bool, StoreError> {
        let permit = self.budget.try_acquire(Share::Repair, "retire")?;
        let message = RetireBlob {
            cid,
            keep_for,
            permit,
        };
        ask(&self.retire, message).await?
    }

    /// Takes a copy back that was let go; whether there was one.
    pub async fn restore(&self, share: Share, cid: BlobCid) -> Result<bool, StoreError> {
        let permit = self.budget.try_acquire(share, "restore")?;
        ask(&self.restore, RestoreBlob { cid, permit }).await?
    }
}

impl fmt::Debug for StorePort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StorePort({:?})", self.budget)
    }
}
