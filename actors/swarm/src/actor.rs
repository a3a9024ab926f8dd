//! The actor's shell.

use actix::{Actor, ActorContext, Context, Handler, ResponseFuture};
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState, Stop};
use bytecave_messages::ports::{SwarmEvents, notify};
use bytecave_messages::store::StoreChanged;
use bytecave_messages::swarm::{RemoteBlob, RetrieveFromPeer, SetAdmission, SwarmError};

use crate::options::{StartError, SwarmOptions};

/// The shell of the network.
#[derive(Debug)]
pub struct SwarmActor {
    events: SwarmEvents,
    watch: DeathWatch,
}

impl SwarmActor {
    /// Joins the network: listens on the configured addresses, or says which cannot be listened on.
    /// With networking off it does nothing and says so.
    pub async fn start(options: SwarmOptions) -> Result<Self, StartError> {
        let SwarmOptions { events, watch, .. } = options;
        Ok(Self { events, watch })
    }

    fn tell(&self, state: PartState) {
        let actor = ActorName::Swarm;
        notify(&self.events.part, &PartChanged { actor, state });
    }
}

impl Actor for SwarmActor {
    type Context = Context<Self>;

    fn started(&mut self, _: &mut Self::Context) {
        self.tell(PartState::Disabled {
            reason: "P2P_ENABLED is false".to_owned(),
        });
    }
}

impl Handler<RetrieveFromPeer> for SwarmActor {
    type Result = ResponseFuture<Result<RemoteBlob, SwarmError>>;

    fn handle(&mut self, _: RetrieveFromPeer, _: &mut Self::Context) -> Self::Result {
        Box::pin(async { Err(SwarmError::Unavailable) })
    }
}

impl Handler<SetAdmission> for SwarmActor {
    type Result = ();

    fn handle(&mut self, _: SetAdmission, _: &mut Self::Context) {}
}

impl Handler<StoreChanged> for SwarmActor {
    type Result = ();

    fn handle(&mut self, _: StoreChanged, _: &mut Self::Context) {}
}

impl Handler<Stop> for SwarmActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, context: &mut Self::Context) -> Self::Result {
        self.watch.disarm();
        context.stop();
        Box::pin(async {})
    }
}
