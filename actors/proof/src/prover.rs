//! Shows that this node holds a blob: to clients and to other holders.
//!
//! The store gives the leaves, which says all there is to say about possession; here the node puts its name
//! to them. Nothing of that asks another node.

mod limits;

use std::sync::Arc;
use std::time::Duration;

use bytecave_core::NodeIdentity;
use bytecave_core::proof::{Challenge, Proof};
use bytecave_messages::budget::Share;
use bytecave_messages::ports::StorePort;
use bytecave_messages::proof::{MakeProof, ProofError};
use bytecave_messages::store::StoreError;
use bytecave_messages::swarm::{InboundChallenge, Refusal};
use tokio::time::Instant;

use crate::counters::Counters;
use crate::open::OpenNonces;
pub(crate) use limits::Limits;

/// What whoever sends us our own challenge is told to wait.
const OWN_NONCE_WAIT: Duration = Duration::from_mins(1);

/// Makes proofs. Clones share the limits.
#[derive(Debug, Clone)]
pub(crate) struct Prover {
    pub(crate) identity: Arc<NodeIdentity>,
    /// What the node calls itself.
    pub(crate) node_id: Arc<str>,
    pub(crate) store: StorePort,
    /// Challenges with these are ours, and come from whom they were sent to.
    pub(crate) open: OpenNonces,
    pub(crate) limits: Arc<Limits>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) now_ms: fn() -> u64,
}

impl Prover {
    /// A proof for a client.
    pub(crate) async fn make(self, asked: MakeProof) -> Result<Proof, ProofError> {
        let admitted = self
            .limits
            .admit_client(asked.challenge.count, Instant::now());
        let made = match admitted {
            Ok(()) => self.prove(Share::Client, asked.challenge).await,
            Err(retry_after) => Err(ProofError::Busy { retry_after }),
        };
        self.count(made.is_ok());
        made
    }

    /// A proof for a peer, or why there is none.
    pub(crate) async fn answer(self, asked: InboundChallenge) {
        let InboundChallenge {
            from,
            challenge,
            answer,
            permit: _permit,
        } = asked;
        let given = match self
            .limits
            .admit_peer(&from, challenge.count, Instant::now())
        {
            Ok(()) => {
                let made = self.prove(Share::Peer, challenge).await;
                made.map_err(refusal)
            }
            Err(_) => Err(Refusal::Busy),
        };
        self.count(given.is_ok());
        answer.send(given);
    }

    async fn prove(&self, share: Share, challenge: Challenge) -> Result<Proof, ProofError> {
        if self.open.contains(&challenge.nonce) {
            tracing::warn!(cid = %challenge.cid, "a challenge of this node came back to it: whoever has it does not hold the blob");
            let retry_after = OWN_NONCE_WAIT;
            return Err(ProofError::Busy { retry_after });
        }
        let statement = self.store.read_leaves(share, challenge).await?;
        let (identity, node_id) = (&self.identity, &self.node_id);
        let proof = Proof::sign(identity, node_id, (self.now_ms)(), statement)?;
        Ok(proof)
    }

    fn count(&self, answered: bool) {
        let counters = &self.counters;
        if answered {
            counters.answered.one();
        } else {
            counters.refused.one();
        }
    }
}

/// What a peer hears. What the database said stays here: it names files of this node.
fn refusal(error: ProofError) -> Refusal {
    match error {
        ProofError::Store(error) => store_refusal(error),
        ProofError::Full(_) | ProofError::Busy { .. } => Refusal::Busy,
        ProofError::Unavailable => Refusal::Unavailable("the node is stopping"),
        ProofError::Form(error) => {
            tracing::error!(%error, "what the store gave makes no proof");
            Refusal::Unavailable("the proof could not be made")
        }
    }
}

fn store_refusal(error: StoreError) -> Refusal {
    match error {
        StoreError::Full(_) => Refusal::Busy,
        StoreError::NotFound { .. } => Refusal::NotFound,
        StoreError::NotOurShard { shard, .. } => Refusal::NotOurShard(shard),
        StoreError::Damaged { .. } => Refusal::Damaged,
        StoreError::Deleted { .. } => Refusal::Declined,
        StoreError::Blocked { .. } => Refusal::Blocked,
        StoreError::Unavailable => Refusal::Unavailable("the node is stopping"),
        error => {
            tracing::error!(%error, "the store could not give the leaves of a blob");
            Refusal::Unavailable("the store failed")
        }
    }
}

#[cfg(test)]
mod tests;
