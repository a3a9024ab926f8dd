//! The actor's shell.

mod asks;

use std::future::ready;
use std::time::Duration;

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, ResponseFuture, WrapFuture,
};
use bytecave_messages::budget::ActorName;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, PartState, Stop};
use bytecave_messages::ports::{SwarmEvents, notify};
use bytecave_messages::store::StoreChanged;
use bytecave_messages::swarm::{SetAdmission, SwarmError};
use tokio::time::timeout;
use tracing::{Instrument, Span};

use crate::event_loop::{self, Started};
use crate::options::{StartError, SwarmOptions};
use crate::wire::client::Client;

/// Time for the event loop to close its connections and write down its members.
const STOP_TIME: Duration = Duration::from_secs(2);

/// The shell of the network.
#[derive(Debug)]
pub struct SwarmActor {
    events: SwarmEvents,
    watch: DeathWatch,
    pub(crate) running: Option<Started>,
}

impl SwarmActor {
    /// Joins the network: listens on the configured addresses, or says which cannot be listened on.
    /// With networking off it does nothing and says so.
    ///
    /// # Errors
    ///
    /// An address cannot be parsed or listened on, or the certificate cannot be used.
    pub async fn start(options: SwarmOptions) -> Result<Self, StartError> {
        if !options.settings.enabled {
            let SwarmOptions { events, watch, .. } = options;
            return Ok(Self {
                events,
                watch,
                running: None,
            });
        }
        let (running, events, watch) = event_loop::start(options).await?;
        Ok(Self {
            events,
            watch,
            running: Some(running),
        })
    }

    fn tell(&self, state: PartState) {
        let actor = ActorName::Swarm;
        notify(&self.events.part, &PartChanged { actor, state });
    }
}

impl Actor for SwarmActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let Some(running) = &self.running else {
            return self.tell(PartState::Disabled {
                reason: "P2P_ENABLED is false: this node talks to no other".to_owned(),
            });
        };
        // The loop ends when it is told to; if it does otherwise, the actor dies of it.
        let ended = running.ended.clone();
        let watched =
            async move { ended.cancelled().await }
                .into_actor(self)
                .map(|(), actor, context| {
                    if actor.running.is_some() {
                        tracing::error!("the event loop of the network ended");
                        context.stop();
                    }
                });
        context.spawn(watched);
        self.tell(PartState::Ready);
    }
}

impl SwarmActor {
    /// Asks a peer on a thread that is not the one of all actors: decoding tens of megabytes is no
    /// work for that one.
    fn asks<T, F>(
        &self,
        span: Span,
        ask: impl FnOnce(Client) -> F,
    ) -> ResponseFuture<Result<T, SwarmError>>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, SwarmError>> + Send + 'static,
    {
        let Some(running) = &self.running else {
            return Box::pin(ready(Err(SwarmError::Unavailable)));
        };
        let asked = tokio::spawn(ask(running.client.clone()).instrument(span));
        Box::pin(async move { asked.await.unwrap_or(Err(SwarmError::Unavailable)) })
    }
}

impl Handler<SetAdmission> for SwarmActor {
    type Result = ();

    fn handle(&mut self, SetAdmission(admission): SetAdmission, _: &mut Self::Context) {
        if let Some(running) = &self.running {
            running.admission.send_replace(admission);
        }
    }
}

impl Handler<StoreChanged> for SwarmActor {
    type Result = ();

    fn handle(&mut self, StoreChanged(snapshot): StoreChanged, _: &mut Self::Context) {
        if let Some(running) = &self.running {
            running.facts.set_store(snapshot);
        }
    }
}

impl Handler<Stop> for SwarmActor {
    type Result = ResponseFuture<()>;

    fn handle(&mut self, _: Stop, context: &mut Self::Context) -> Self::Result {
        self.watch.disarm();
        self.tell(PartState::Stopping);
        let running = self.running.take();
        context.stop();
        Box::pin(async move {
            let Some(Started {
                shutdown, ended, ..
            }) = running
            else {
                return;
            };
            drop(shutdown);
            if timeout(STOP_TIME, ended.cancelled()).await.is_err() {
                tracing::warn!("the network did not stop in time");
            }
        })
    }
}
