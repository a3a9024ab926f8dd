//! The way to proofs and audits.

use std::fmt;
use std::sync::Arc;

use actix::dev::ToEnvelope;
use actix::{Actor, Addr, Handler, Recipient};
use bytecave_core::proof::{Challenge, Proof};

use super::{ask, notify};
use crate::budget::{Budget, Share};
use crate::lifecycle::PartChanged;
use crate::proof::{
    AuditFilter, AuditFinished, AuditPage, AuditRecord, ChallengeOpened, ListAudits, MakeProof,
    ProofChanged, ProofError, ScrubView, StartScrub,
};

/// The way to proofs and audits.
#[derive(Clone)]
pub struct ProofPort {
    budget: Budget,
    make: Recipient<MakeProof>,
    audits: Recipient<ListAudits>,
    scrub: Recipient<StartScrub>,
}

impl ProofPort {
    /// The port of whoever handles the prover's messages, within `budget`.
    pub fn new<A>(address: &Addr<A>, budget: Budget) -> Self
    where
        A: Actor + Handler<MakeProof> + Handler<ListAudits> + Handler<StartScrub>,
        A::Context:
            ToEnvelope<A, MakeProof> + ToEnvelope<A, ListAudits> + ToEnvelope<A, StartScrub>,
    {
        Self {
            budget,
            make: address.clone().recipient(),
            audits: address.clone().recipient(),
            scrub: address.clone().recipient(),
        }
    }

    /// A proof that this node holds a blob now.
    pub async fn make(&self, share: Share, challenge: Challenge) -> Result<Proof, ProofError> {
        let permit = self.budget.try_acquire(share, "make_proof")?;
        ask(&self.make, MakeProof { challenge, permit }).await?
    }

    /// The latest audits, the newest first.
    pub async fn audits(
        &self,
        share: Share,
        filter: AuditFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<AuditPage, ProofError> {
        let permit = self.budget.try_acquire(share, "list_audits")?;
        let message = ListAudits {
            filter,
            before,
            limit,
            permit,
        };
        ask(&self.audits, message).await?
    }

    /// Scrubs everything now.
    pub async fn start_scrub(&self, share: Share) -> Result<ScrubView, ProofError> {
        let permit = self.budget.try_acquire(share, "start_scrub")?;
        ask(&self.scrub, StartScrub { permit }).await?
    }
}

impl fmt::Debug for ProofPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ProofPort({:?})", self.budget)
    }
}

/// Where the prover's events go.
#[derive(Clone, Debug)]
pub struct ProofEvents {
    /// Hears how proofs are.
    pub changed: Vec<Recipient<ProofChanged>>,
    /// Hears what audits found.
    pub finished: Vec<Recipient<AuditFinished>>,
    /// Gives nothing of a blob to whom it is asked of.
    pub opened: Recipient<ChallengeOpened>,
    /// Hears of the actor's condition.
    pub part: Vec<Recipient<PartChanged>>,
}

impl ProofEvents {
    /// Tells how proofs are. A full mailbox loses it; the next second brings another.
    pub fn proof_changed(&self, event: &ProofChanged) {
        notify(&self.changed, event);
    }

    /// Tells what an audit found.
    pub fn audit_finished(&self, record: Arc<AuditRecord>) {
        notify(&self.finished, &AuditFinished(record));
    }

    /// Whether it was heard that a challenge is open; if not, it must not be sent.
    #[must_use]
    pub fn challenge_opened(&self, event: ChallengeOpened) -> bool {
        self.opened.try_send(event).is_ok()
    }
}
