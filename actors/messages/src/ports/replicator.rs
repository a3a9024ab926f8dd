//! The way to copies.

use std::fmt;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Recipient};
use bytecave_core::BlobCid;

use super::ask;
use crate::budget::{Budget, Share};
use crate::cancel::cancellation;
use crate::replicator::{
    BlobFacts, BytesAt, FetchBlob, FetchError, FetchedBlob, PlaceBlob, PlaceError, Placed,
};
use crate::store::ByteRange;

/// The way to copies: blobs that peers have, and blobs that they shall have.
#[derive(Clone)]
pub struct ReplicatorPort {
    budget: Budget,
    fetch: Recipient<FetchBlob>,
    place: Recipient<PlaceBlob>,
}

impl ReplicatorPort {
    /// The port of whoever handles the replicator's messages, within `budget`.
    pub fn new<A>(address: &Addr<A>, budget: Budget) -> Self
    where
        A: Actor + Handler<FetchBlob> + Handler<PlaceBlob>,
        A::Context: ToEnvelope<A, FetchBlob> + ToEnvelope<A, PlaceBlob>,
    {
        Self {
            budget,
            fetch: address.clone().recipient(),
            place: address.clone().recipient(),
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
}

impl fmt::Debug for ReplicatorPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplicatorPort({:?})", self.budget)
    }
}
