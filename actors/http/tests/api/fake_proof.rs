//! A prover that proves what a test gave it, and keeps what it was asked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use actix::{Actor, Addr, Context, Handler, ResponseFuture};
use bytecave_core::proof::{Challenge, ChallengeCount, FormError, Nonce, Proof, Statement};
use bytecave_core::{BlobCid, NodeIdentity};
use bytecave_messages::proof::{
    AuditFilter, AuditPage, ListAudits, MakeProof, ProofError, ScrubView, StartScrub,
};
use bytecave_messages::store::StoreError;

/// When the fake's proofs were made, milliseconds since 1970.
pub(crate) const PROVED_AT: u64 = 1_700_000_000_000;

/// What it holds and what it was asked; shared with the test.
#[derive(Clone)]
pub(crate) struct FakeProver(Arc<Mutex<State>>);

struct State {
    blobs: BTreeMap<BlobCid, Vec<u8>>,
    challenged: Vec<Challenge>,
    listed: Vec<(AuditFilter, Option<u64>, usize)>,
    page: AuditPage,
    scrubs: usize,
    fail: Option<ProofError>,
}

pub(crate) struct ProofFake(FakeProver);

impl FakeProver {
    pub(crate) fn start() -> (Self, Addr<ProofFake>) {
        let prover = Self(Arc::new(Mutex::new(State {
            blobs: BTreeMap::new(),
            challenged: Vec::new(),
            listed: Vec::new(),
            page: AuditPage {
                audits: Vec::new(),
                next: None,
            },
            scrubs: 0,
            fail: None,
        })));
        let address = ProofFake(prover.clone()).start();
        (prover, address)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// It can prove this.
    pub(crate) fn seed(&self, content: &[u8]) -> BlobCid {
        let cid = BlobCid::of(content);
        self.lock().blobs.insert(cid, content.to_vec());
        cid
    }

    /// Answers everything with this error from now on.
    pub(crate) fn fail_with(&self, error: ProofError) {
        self.lock().fail = Some(error);
    }

    /// What is listed from now on, whatever is asked for.
    pub(crate) fn lists(&self, page: AuditPage) {
        self.lock().page = page;
    }

    pub(crate) fn challenged(&self) -> Vec<Challenge> {
        self.lock().challenged.clone()
    }

    /// Which audits were asked for.
    pub(crate) fn listed(&self) -> Vec<(AuditFilter, Option<u64>, usize)> {
        self.lock().listed.clone()
    }

    pub(crate) fn scrubs(&self) -> usize {
        self.lock().scrubs
    }

    fn make(&self, challenge: &Challenge) -> Result<Proof, ProofError> {
        let mut state = self.lock();
        state.challenged.push(*challenge);
        if let Some(error) = state.fail.clone() {
            return Err(error);
        }
        let cid = challenge.cid;
        let content = state.blobs.get(&cid);
        let content = content.ok_or(StoreError::NotFound { cid })?;
        Ok(sign(challenge, content)?)
    }
}

fn sign(challenge: &Challenge, content: &[u8]) -> Result<Proof, FormError> {
    let statement = Statement::from_content(challenge, content)?;
    let identity = NodeIdentity::from_seed([7; 32]).unwrap();
    Proof::sign(&identity, "node-test", PROVED_AT, statement)
}

/// A proof of these bytes.
pub(crate) fn proof_of(content: &[u8]) -> Proof {
    let challenge = Challenge {
        cid: BlobCid::of(content),
        nonce: Nonce::new([5; 32]),
        count: ChallengeCount::default(),
    };
    sign(&challenge, content).unwrap()
}

/// A scrub that is under way.
pub(crate) fn scrub() -> ScrubView {
    ScrubView {
        running: true,
        started_at: Some(PROVED_AT),
        finished_at: None,
        next_at: None,
        blobs: 3,
        bytes: 4096,
        damaged: 1,
        total_bytes: 8192,
    }
}

impl Actor for ProofFake {
    type Context = Context<Self>;
}

impl Handler<MakeProof> for ProofFake {
    type Result = ResponseFuture<Result<Proof, ProofError>>;

    fn handle(&mut self, message: MakeProof, _: &mut Self::Context) -> Self::Result {
        let made = self.0.make(&message.challenge);
        Box::pin(async move {
            drop(message.permit);
            made
        })
    }
}

impl Handler<ListAudits> for ProofFake {
    type Result = ResponseFuture<Result<AuditPage, ProofError>>;

    fn handle(&mut self, message: ListAudits, _: &mut Self::Context) -> Self::Result {
        let ListAudits {
            filter,
            before,
            limit,
            permit,
        } = message;
        let mut state = self.0.lock();
        state.listed.push((filter, before, limit));
        let page = match &state.fail {
            Some(error) => Err(error.clone()),
            None => Ok(state.page.clone()),
        };
        Box::pin(async move {
            drop(permit);
            page
        })
    }
}

impl Handler<StartScrub> for ProofFake {
    type Result = ResponseFuture<Result<ScrubView, ProofError>>;

    fn handle(&mut self, message: StartScrub, _: &mut Self::Context) -> Self::Result {
        let mut state = self.0.lock();
        state.scrubs += 1;
        let started = state.fail.clone().map_or_else(|| Ok(scrub()), Err);
        Box::pin(async move {
            drop(message.permit);
            started
        })
    }
}
