//! The actor's shell: it owns the server's handle, hears how the parts are, and stops in order.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message, ResponseFuture};
use actix_server::ServerHandle;
use bytecave_messages::http::{CloseRoutes, OpenRoutes};
use bytecave_messages::lifecycle::{DeathWatch, PartChanged, Stop};
use bytecave_messages::proof::ProofChanged;
use bytecave_messages::replicator::ReplicatorChanged;
use bytecave_messages::store::StoreChanged;
use bytecave_messages::swarm::SwarmChanged;
use tokio::task::JoinHandle;

use crate::options::HttpOptions;
use crate::server::{self, BindError};
use crate::state::Shared;

/// Beyond its time a stop waits this much longer for the workers to say that they are gone.
const STOP_SLACK: Duration = Duration::from_millis(500);

/// The node's face to its clients.
pub struct HttpActor {
    shared: Arc<Shared>,
    bound: SocketAddr,
    handle: ServerHandle,
    /// The server's own task, until the actor watches it.
    server: Option<JoinHandle<std::io::Result<()>>>,
    stop_timeout: Duration,
    watch: DeathWatch,
}

/// The server's task ended.
#[derive(Message)]
#[rtype(result = "()")]
struct ServerEnded;

impl HttpActor {
    /// Listens, and serves `/live` from here on; the actor is then to be run, and the other routes
    /// open with [`OpenRoutes`].
    ///
    /// Needs a tokio runtime. Binding fails with the address and the remedy.
    pub fn listen(options: HttpOptions) -> Result<Self, BindError> {
        let (listener, bound) = server::bind(&options.settings)?;
        let shared = Arc::new(Shared::new(&options));
        let HttpOptions {
            stop_timeout,
            watch,
            ..
        } = options;
        let (server, handle) =
            server::serve(&shared, listener, stop_timeout).map_err(|source| BindError {
                address: bound,
                source,
                remedy: "the system refused the threads or files that the server needs: raise its limits",
            })?;
        Ok(Self {
            shared,
            bound,
            handle,
            server: Some(tokio::spawn(server)),
            stop_timeout,
            watch,
        })
    }

    /// The address that is listened on, with the port that the system chose when 0 was asked for.
    pub fn bound(&self) -> SocketAddr {
        self.bound
    }

    /// Whether storing asks for the token: `http.store_access` and what follows from it.
    pub fn store_needs_token(&self) -> bool {
        self.shared.access.store_needs_token()
    }
}

impl Actor for HttpActor {
    type Context = Context<Self>;

    fn started(&mut self, context: &mut Self::Context) {
        let address = context.address();
        if let Some(server) = self.server.take() {
            actix_rt::spawn(async move {
                let ended = server.await;
                tracing::debug!(?ended, "the HTTP server ended");
                // A full or closed mailbox means that the actor is ending anyway.
                let _ = address.try_send(ServerEnded);
            });
        }
    }
}

impl Handler<StoreChanged> for HttpActor {
    type Result = ();

    fn handle(&mut self, StoreChanged(snapshot): StoreChanged, _: &mut Self::Context) {
        self.shared.set_snapshot(snapshot);
    }
}

impl Handler<PartChanged> for HttpActor {
    type Result = ();

    fn handle(&mut self, part: PartChanged, _: &mut Self::Context) {
        self.shared.set_part(part);
    }
}

impl Handler<OpenRoutes> for HttpActor {
    type Result = ();

    fn handle(&mut self, ports: OpenRoutes, _: &mut Self::Context) {
        self.shared.open(ports);
    }
}

impl Handler<SwarmChanged> for HttpActor {
    type Result = ();

    fn handle(&mut self, SwarmChanged(snapshot): SwarmChanged, _: &mut Self::Context) {
        self.shared.set_network(snapshot);
    }
}

impl Handler<ReplicatorChanged> for HttpActor {
    type Result = ();

    fn handle(&mut self, ReplicatorChanged(snapshot): ReplicatorChanged, _: &mut Self::Context) {
        self.shared.set_copies(snapshot);
    }
}

impl Handler<ProofChanged> for HttpActor {
    type Result = ();

    fn handle(&mut self, ProofChanged(snapshot): ProofChanged, _: &mut Self::Context) {
        self.shared.set_proofs(snapshot);
    }
}

impl Handler<CloseRoutes> for HttpActor {
    type Result = ();

    fn handle(&mut self, _: CloseRoutes, _: &mut Self::Context) {
        self.shared.close();
    }
}

impl Handler<Stop> for HttpActor {
    type Result = ResponseFuture<()>;

    /// The listener closes, requests in flight get their time, then all connections are cut.
    fn handle(&mut self, _: Stop, _: &mut Self::Context) -> Self::Result {
        self.watch.disarm();
        self.shared.close();
        let graceful = self.handle.stop(true);
        let handle = self.handle.clone();
        let limit = self.stop_timeout + STOP_SLACK;
        Box::pin(async move {
            if tokio::time::timeout(limit, graceful).await.is_err() {
                tracing::warn!("requests were still in flight when their time was up");
                let forced = handle.stop(false);
                // The server's own task is busy with the graceful stop: nothing more to wait for.
                let _ = tokio::time::timeout(STOP_SLACK, forced).await;
            }
        })
    }
}

impl Handler<ServerEnded> for HttpActor {
    type Result = ();

    /// In order after a stop; otherwise the watch, still armed, reports a death.
    fn handle(&mut self, _: ServerEnded, context: &mut Self::Context) {
        context.stop();
    }
}

impl fmt::Debug for HttpActor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HttpActor({})", self.bound)
    }
}
