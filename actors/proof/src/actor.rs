//! The actor's shell.

use actix::{Actor, ActorContext, Context, Handler, Recipient};
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState, Stop};
use bytecave_messages::ports::notify;

/// The shell; it reports itself disabled and has nothing else to do yet.
#[derive(Debug)]
pub struct ProofActor {
    reason: String,
    listeners: Vec<Recipient<PartChanged>>,
    watch: DeathWatch,
}

impl ProofActor {
    /// A shell that reports to `listeners`.
    pub fn new(listeners: Vec<Recipient<PartChanged>>, watch: DeathWatch) -> Self {
        let reason = "this version does not answer or make challenges yet; nothing needs to be set";
        Self {
            reason: reason.to_owned(),
            listeners,
            watch,
        }
    }

    fn tell(&self, state: PartState) {
        notify(
            &self.listeners,
            &PartChanged {
                actor: ActorName::Proof,
                state,
            },
        );
    }
}

impl Actor for ProofActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        tracing::info!(reason = self.reason, "proof disabled");
        self.tell(PartState::Disabled {
            reason: self.reason.clone(),
        });
    }
}

impl Handler<Stop> for ProofActor {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        self.watch.disarm();
        context.stop();
    }
}
