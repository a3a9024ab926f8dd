//! The actor's shell.

use actix::{Actor, ActorContext, Context, Handler, ResponseFuture};
use bytecave_core::proof::Proof;
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{PartChanged, PartState, Stop};
use bytecave_messages::ports::notify;
use bytecave_messages::proof::{
    AuditPage, ListAudits, MakeProof, PossessionWanted, ProofError, ScrubView, StartScrub,
};
use bytecave_messages::replicator::ReplicatorChanged;
use bytecave_messages::store::StoreChanged;
use bytecave_messages::swarm::InboundChallenge;

use crate::options::ProofOptions;

/// The shell.
#[derive(Debug)]
pub struct ProofActor {
    options: ProofOptions,
}

impl ProofActor {
    /// A shell.
    pub fn new(options: ProofOptions) -> Self {
        Self { options }
    }
}

impl Actor for ProofActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        let changed = PartChanged {
            actor: ActorName::Proof,
            state: PartState::Ready,
        };
        notify(&self.options.events.part, &changed);
    }
}

macro_rules! later {
    ($($message:ident -> $reply:ty;)+) => {$(
        impl Handler<$message> for ProofActor {
            type Result = ResponseFuture<Result<$reply, ProofError>>;

            fn handle(&mut self, _: $message, _: &mut Self::Context) -> Self::Result {
                Box::pin(async { Err(ProofError::Unavailable) })
            }
        }
    )+};
}
later! {
    MakeProof -> Proof;
    ListAudits -> AuditPage;
    StartScrub -> ScrubView;
}

macro_rules! heard {
    ($($message:ident;)+) => {$(
        impl Handler<$message> for ProofActor {
            type Result = ();

            fn handle(&mut self, _: $message, _: &mut Self::Context) {}
        }
    )+};
}
heard! {
    InboundChallenge;
    PossessionWanted;
    ReplicatorChanged;
    StoreChanged;
}

impl Handler<Stop> for ProofActor {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        self.options.watch.disarm();
        context.stop();
    }
}
