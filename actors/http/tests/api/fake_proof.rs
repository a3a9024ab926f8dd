//! A prover that answers as a test says.

use actix::{Actor, Addr, Context, Handler, ResponseFuture};
use bytecave_core::proof::Proof;
use bytecave_messages::proof::{
    AuditPage, ListAudits, MakeProof, ProofError, ScrubView, StartScrub,
};

/// Its actor.
pub(crate) struct ProofFake;

impl ProofFake {
    pub(crate) fn begin() -> Addr<Self> {
        Self.start()
    }
}

impl Actor for ProofFake {
    type Context = Context<Self>;
}

macro_rules! gone {
    ($($message:ident -> $reply:ty;)+) => {$(
        impl Handler<$message> for ProofFake {
            type Result = ResponseFuture<Result<$reply, ProofError>>;

            fn handle(&mut self, _: $message, _: &mut Self::Context) -> Self::Result {
                Box::pin(async { Err(ProofError::Unavailable) })
            }
        }
    )+};
}
gone! {
    MakeProof -> Proof;
    ListAudits -> AuditPage;
    StartScrub -> ScrubView;
}
