//! The way to the network.

use std::fmt;
use std::time::Duration;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Recipient};
use bytecave_core::proof::{Challenge, Proof};
use bytecave_core::{BlobCid, PeerId};

use super::ask;
use crate::body::BlobBody;
use crate::budget::{Budget, Share};
use crate::cancel::cancellation;
use crate::replicator::BlobFacts;
use crate::swarm::{
    Admission, AskSync, ChallengePeer, RemoteBlob, ReplicaSent, RetrieveFromPeer, SendReplica,
    SetAdmission, SwarmError,
};
use crate::sync::{SyncAnswer, SyncRequest};

/// The way to the network.
#[derive(Clone)]
pub struct SwarmPort {
    budget: Budget,
    retrieve: Recipient<RetrieveFromPeer>,
    replica: Recipient<SendReplica>,
    sync: Recipient<AskSync>,
    challenge: Recipient<ChallengePeer>,
    admission: Recipient<SetAdmission>,
}

impl SwarmPort {
    /// The port of whoever handles the swarm's messages, within `budget`.
    pub fn new<A>(address: &Addr<A>, budget: Budget) -> Self
    where
        A: Actor
            + Handler<RetrieveFromPeer>
            + Handler<SendReplica>
            + Handler<AskSync>
            + Handler<ChallengePeer>
            + Handler<SetAdmission>,
        A::Context: ToEnvelope<A, RetrieveFromPeer>
            + ToEnvelope<A, SendReplica>
            + ToEnvelope<A, AskSync>
            + ToEnvelope<A, ChallengePeer>
            + ToEnvelope<A, SetAdmission>,
    {
        Self {
            budget,
            retrieve: address.clone().recipient(),
            replica: address.clone().recipient(),
            sync: address.clone().recipient(),
            challenge: address.clone().recipient(),
            admission: address.clone().recipient(),
        }
    }

    /// Fetches a blob that `peer` has, from this byte on; what comes is unverified. Dropped, nothing
    /// goes on behind it.
    pub async fn retrieve(
        &self,
        share: Share,
        peer: PeerId,
        cid: BlobCid,
        from: u64,
    ) -> Result<RemoteBlob, SwarmError> {
        let permit = self.budget.try_acquire(share, "retrieve")?;
        let (_waiting, cancelled) = cancellation();
        let message = RetrieveFromPeer {
            peer,
            cid,
            from,
            cancelled,
            permit,
        };
        ask(&self.retrieve, message).await?
    }

    /// Brings a copy to `peer`. Dropped, the copy is not finished.
    pub async fn send_replica(
        &self,
        share: Share,
        peer: PeerId,
        blob: BlobFacts,
        body: BlobBody,
    ) -> Result<ReplicaSent, SwarmError> {
        let permit = self.budget.try_acquire(share, "send_replica")?;
        let (_waiting, cancelled) = cancellation();
        let message = SendReplica {
            peer,
            blob,
            body,
            cancelled,
            permit,
        };
        ask(&self.replica, message).await?
    }

    /// Challenges `peer` to show that it holds a blob, and gives it this time for the answer.
    pub async fn challenge(
        &self,
        peer: PeerId,
        challenge: Challenge,
        patience: Duration,
    ) -> Result<Proof, SwarmError> {
        let permit = self.budget.try_acquire(Share::Repair, "challenge")?;
        let message = ChallengePeer {
            peer,
            challenge,
            patience,
            permit,
        };
        ask(&self.challenge, message).await?
    }

    /// Asks `peer` what it holds.
    pub async fn sync(&self, peer: PeerId, request: SyncRequest) -> Result<SyncAnswer, SwarmError> {
        let permit = self.budget.try_acquire(Share::Repair, "sync")?;
        let message = AskSync {
            peer,
            request,
            permit,
        };
        ask(&self.sync, message).await?
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
