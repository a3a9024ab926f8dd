//! The way to copies.

use std::fmt;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Recipient};
use bytecave_core::{BlobCid, ShardId};

use super::ask;
use crate::budget::{Budget, Share};
use crate::cancel::cancellation;
use crate::replicator::{
    ApplyShardPlan, BlobFacts, BytesAt, FetchBlob, FetchError, FetchedBlob, GetShardPlan,
    PlaceBlob, PlaceError, Placed, PlanError, ShardPlan,
};
use crate::store::ByteRange;

/// The way to copies: blobs that peers have, and blobs that they shall have.
#[derive(Clone)]
pub struct ReplicatorPort {
    budget: Budget,
    fetch: Recipient<FetchBlob>,
    place: Recipient<PlaceBlob>,
    plan: Recipient<GetShardPlan>,
    apply: Recipient<ApplyShardPlan>,
}

impl ReplicatorPort {
    /// The port of whoever handles the replicator's messages, within `budget`.
    pub fn new<A>(address: &Addr<A>, budget: Budget) -> Self
    where
        A: Actor
            + Handler<FetchBlob>
            + Handler<PlaceBlob>
            + Handler<GetShardPlan>
            + Handler<ApplyShardPlan>,
        A::Context: ToEnvelope<A, FetchBlob>
            + ToEnvelope<A, PlaceBlob>
            + ToEnvelope<A, GetShardPlan>
            + ToEnvelope<A, ApplyShardPlan>,
    {
        Self {
            budget,
            fetch: address.clone().recipient(),
            place: address.clone().recipient(),
            plan: address.clone().recipient(),
            apply: address.clone().recipient(),
        }
    }

    /// Gets a blob that is not stored here, or a part of it, from peers. Dropped, nothing goes on
    /// behind it.
    pub async fn fetch(
        &self,
        share: Share,
        cid: BlobCid,
        range: Option<ByteRange>,
    ) -> Result<FetchedBlob, FetchError> {
        let permit = self.budget.try_acquire(share, "fetch")?;
        let (_waiting, cancelled) = cancellation();
        let message = FetchBlob {
            cid,
            range,
            cancelled,
            permit,
        };
        ask(&self.fetch, message).await?
    }

    /// Brings a blob that a client stored to those who hold its shard.
    pub async fn place(
        &self,
        share: Share,
        blob: BlobFacts,
        bytes: BytesAt,
        wanted: u32,
        patience: Duration,
    ) -> Result<Placed, PlaceError> {
        let permit = self.budget.try_acquire(share, "place")?;
        let message = PlaceBlob {
            blob,
            bytes,
            wanted,
            patience,
            permit,
        };
        ask(&self.place, message).await?
    }

    /// The shards with blobs here that other nodes hold.
    pub async fn shard_plan(&self, share: Share) -> Result<ShardPlan, PlanError> {
        let permit = self.budget.try_acquire(share, "shard_plan")?;
        ask(&self.plan, GetShardPlan { permit }).await?
    }

    /// Hands these shards of the plan over.
    pub async fn apply_shard_plan(
        &self,
        share: Share,
        shards: Vec<ShardId>,
    ) -> Result<ShardPlan, PlanError> {
        let permit = self.budget.try_acquire(share, "apply_shard_plan")?;
        ask(&self.apply, ApplyShardPlan { shards, permit }).await?
    }
}

impl fmt::Debug for ReplicatorPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicatorPort({:?})", self.budget)
    }
}
