//! Whoever hears the prover's events, and writes them down.
#![allow(clippy::unwrap_used)]

use std::sync::{Arc, Mutex};

use actix::{Actor, Addr, Context, Handler, Recipient};
use bytecave_messages::lifecycle::{PartChanged, PartState};
use bytecave_messages::ports::ProofEvents;
use bytecave_messages::proof::{
    AuditFinished, AuditRecord, ChallengeOpened, ProofChanged, ProofSnapshot,
};

/// What was told.
#[derive(Clone, Default)]
pub(crate) struct Told {
    states: Arc<Mutex<Vec<PartState>>>,
    opened: Arc<Mutex<Vec<ChallengeOpened>>>,
    finished: Arc<Mutex<Vec<Arc<AuditRecord>>>>,
    latest: Arc<Mutex<Vec<Arc<ProofSnapshot>>>>,
}

impl Told {
    /// Hears everything.
    pub(crate) fn events(&self) -> ProofEvents {
        let listener = self.clone().start();
        ProofEvents {
            changed: vec![listener.clone().recipient()],
            finished: vec![listener.clone().recipient()],
            opened: listener.clone().recipient(),
            part: vec![listener.recipient()],
        }
    }

    pub(crate) fn states(&self) -> Vec<PartState> {
        self.states.lock().unwrap().clone()
    }

    pub(crate) fn opened(&self) -> Vec<ChallengeOpened> {
        self.opened.lock().unwrap().clone()
    }

    pub(crate) fn finished(&self) -> Vec<Arc<AuditRecord>> {
        self.finished.lock().unwrap().clone()
    }

    pub(crate) fn snapshots(&self) -> Vec<Arc<ProofSnapshot>> {
        self.latest.lock().unwrap().clone()
    }
}

/// Hears nothing: its mailbox is closed.
pub(crate) fn deaf() -> Recipient<ChallengeOpened> {
    let (sender, receiver) = actix::dev::channel::channel::<Told>(1);
    drop(receiver);
    Addr::new(sender).recipient()
}

impl Actor for Told {
    type Context = Context<Self>;
}

macro_rules! writes_down {
    ($($message:ident: |$told:ident, $given:pat_param| $what:expr;)+) => {$(
        impl Handler<$message> for Told {
            type Result = ();

            fn handle(&mut self, $given: $message, _: &mut Self::Context) {
                let $told = &*self;
                $what;
            }
        }
    )+};
}
writes_down! {
    PartChanged: |told, part| told.states.lock().unwrap().push(part.state);
    ChallengeOpened: |told, opened| told.opened.lock().unwrap().push(opened);
    AuditFinished: |told, AuditFinished(record)| told.finished.lock().unwrap().push(record);
    ProofChanged: |told, ProofChanged(snapshot)| told.latest.lock().unwrap().push(snapshot);
}
