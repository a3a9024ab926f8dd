//! The actor's shell.

use actix::{Actor, ActorContext, Context, Handler, Recipient};
use bytecave_config::P2p;
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState, Stop};
use bytecave_messages::ports::notify;

/// The shell; it reports itself disabled and has nothing else to do yet.
#[derive(Debug)]
pub struct SwarmActor {
    reason: String,
    listeners: Vec<Recipient<PartChanged>>,
    watch: DeathWatch,
}

impl SwarmActor {
    /// A shell that reports to `listeners`; `settings` decide only what it says.
    pub fn new(settings: &P2p, listeners: Vec<Recipient<PartChanged>>, watch: DeathWatch) -> Self {
        let reason = if settings.enabled {
            "this version does not speak to peers yet; nothing needs to be set"
        } else {
            "P2P_ENABLED is false; this version does not speak to peers yet"
        };
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
                actor: ActorName::Swarm,
                state,
            },
        );
    }
}

impl Actor for SwarmActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        tracing::info!(reason = self.reason, "swarm disabled");
        self.tell(PartState::Disabled {
            reason: self.reason.clone(),
        });
    }
}

impl Handler<Stop> for SwarmActor {
    type Result = ();

    fn handle(&mut self, _: Stop, context: &mut Self::Context) {
        self.watch.disarm();
        context.stop();
    }
}
