//! A node's life: start in order, serve, stop in order.
//!
//! Start: data directory and keys → HTTP listener (`/live` answers, all else says `recovering`) →
//! engine → actors by rank (store, swarm; replicator, proof, registry) → routes open. Whatever fails
//! on the way ends the start with one message.
//!
//! Stop (SIGTERM, SIGINT, or the death of an actor): readiness turns false; HTTP stops accepting and
//! finishes what is in flight; swarm, then rank 2, then the store, which syncs its log and closes.
//! All under one deadline, so that a container runtime never has to kill. After kill -9 nothing is
//! lost either: the store recovers from its log.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use actix::{Arbiter, Recipient, System};
use bytecave_config::{Config, Loaded};
use bytecave_core::PeerId;
use bytecave_http::{BindError, HttpActor};
use bytecave_messages::budget::ActorName;
use bytecave_messages::http::{CloseRoutes, OpenRoutes};
use bytecave_messages::lifecycle::Stop;
use bytecave_messages::ports;
use bytecave_messages::store::STOP_GRACE;
use bytecave_proof::ProofActor;
use bytecave_registry::RegistryActor;
use bytecave_replicator::ReplicatorActor;
use bytecave_store::StoreActor;
use bytecave_store::engine::{Engine, EngineOptions, OpenError};
use bytecave_swarm::{NetworkMetrics, StartError, SwarmActor};
use thiserror::Error;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{timeout, timeout_at};

use crate::data_dir::{self, DataDir, DataDirError, Keys};
use crate::options::{http_options, proof_options, replicator_options, swarm_options};
use crate::start_message;
use crate::telemetry::{self, Telemetry, TelemetryError};
use crate::wiring::Mailboxes;

/// Exit code after an actor died, so that a supervisor starts the node again (`EX_SOFTWARE`).
const EXIT_ACTOR_DIED: u8 = 70;
/// Exit code when the node could not start.
const EXIT_START_FAILED: u8 = 1;
/// Time for the store's thread to end once the store has closed; it has nothing left to do then.
const STORE_JOIN: Duration = Duration::from_secs(1);
/// Threads of the shared runtime; what takes time runs in the actors' own pools.
const RUNTIME_THREADS: usize = 2;

/// Why a node could not start.
#[derive(Debug, Error)]
enum NodeError {
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    #[error(transparent)]
    Http(#[from] BindError),
    #[error(transparent)]
    Engine(#[from] OpenError),
    #[error(transparent)]
    Network(#[from] StartError),
    #[error(transparent)]
    Shards(#[from] bytecave_core::ShardError),
    #[error("the thread that opens the database died")]
    OpenDied,
    #[error("cannot {action}: {source}")]
    System {
        action: &'static str,
        source: std::io::Error,
    },
}

/// How a node that had started came to its end.
enum End {
    /// It was told to.
    Ordered,
    /// An actor died.
    ActorDied(ActorName),
}

/// Runs a node until it is told to stop.
pub(crate) fn run(loaded: Loaded) -> ExitCode {
    let telemetry = match telemetry::start(&loaded.config.log) {
        Ok(telemetry) => telemetry,
        Err(error) => return refuse_early(&error),
    };
    let system = System::with_tokio_rt(|| runtime().unwrap_or_else(|error| fatal(&error)));
    let ended = system.block_on(serve(&loaded, &telemetry));
    match ended {
        Ok(End::Ordered) => {
            tracing::info!("stopped");
            ExitCode::SUCCESS
        }
        Ok(End::ActorDied(actor)) => {
            tracing::error!(%actor, "an actor died; the node stopped in order and should be started again");
            ExitCode::from(EXIT_ACTOR_DIED)
        }
        Err(error) => {
            tracing::error!("cannot start: {error}");
            ExitCode::from(EXIT_START_FAILED)
        }
    }
}

/// Before there is a log, the terminal has to do.
fn refuse_early(error: &TelemetryError) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "cannot start: {error}");
    ExitCode::from(EXIT_START_FAILED)
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .enable_all()
        .build()
}

/// Without a runtime there is nothing to stop in order.
fn fatal(error: &std::io::Error) -> ! {
    tracing::error!("cannot start the runtime: {error}");
    std::process::exit(i32::from(EXIT_START_FAILED))
}

async fn serve(loaded: &Loaded, telemetry: &Telemetry) -> Result<End, NodeError> {
    let config = &loaded.config;
    let mut signals = Signals::new()?;
    loaded
        .warnings
        .iter()
        .for_each(|warning| tracing::warn!("{warning}"));
    if let Some(problem) = &telemetry.file_problem {
        tracing::warn!("no log file: {problem}");
    }
    let data_dir = DataDir::open(&config.node.data_dir)?;
    let keys = data_dir.load_keys(config)?;
    warn_about_keys(config, &data_dir);
    let peer_id = keys.identity.peer_id();
    let (mailboxes, mut deaths) = Mailboxes::new(&config.actors);
    let metrics = NetworkMetrics::new();

    let http = http_options(config, &keys, &mailboxes, &metrics, telemetry);
    let http = HttpActor::listen(http)?;
    let bound = http.bound();
    let node = Running {
        http: mailboxes.http.stop(),
        close: mailboxes.http.address.clone().recipient(),
        swarm: mailboxes.swarm.stop(),
        rank_two: vec![
            mailboxes.replicator.stop(),
            mailboxes.proof.stop(),
            mailboxes.registry.stop(),
        ],
        store: mailboxes.store.stop(),
        deadline: config.node.shutdown_timeout.as_duration(),
    };
    let open: Recipient<OpenRoutes> = mailboxes.http.address.clone().recipient();
    let swarm_options = swarm_options(config, &keys, &mailboxes, &data_dir, metrics)?;
    let store_port = mailboxes.store_port();
    let replicator_port = mailboxes.replicator_port();
    let proof_port = mailboxes.proof_port();
    let replicator_options = replicator_options(config, &keys, &mailboxes, &data_dir);
    let proof_options = proof_options(config, &keys, &mailboxes, &data_dir);
    let events = mailboxes.store_events();
    let listeners = mailboxes.part_listeners();
    let watch = |actor| mailboxes.watch(actor);
    let watches = (watch(ActorName::Store), watch(ActorName::Registry));
    let Mailboxes {
        store,
        swarm,
        replicator,
        proof,
        registry,
        http: http_mailbox,
        ..
    } = mailboxes;
    http_mailbox.run(http);

    let engine = match open_engine(config, &data_dir, keys, &mut signals).await {
        Ok(Some(engine)) => engine,
        Ok(None) => {
            node.stop_http().await;
            return Ok(End::Ordered);
        }
        Err(error) => {
            node.stop_http().await;
            return Err(error);
        }
    };
    let store_arbiter = Arbiter::new();
    let store_actor = StoreActor::new(engine, events, watches.0);
    store_arbiter.spawn_fn(move || store.run(store_actor));
    let joined = SwarmActor::start(swarm_options).await;
    let joined = match joined {
        Ok(joined) => joined,
        Err(error) => {
            node.stop_http().await;
            ports::stop(&node.store).await;
            join_store(store_arbiter).await;
            return Err(error.into());
        }
    };
    swarm.run(joined);
    replicator.run(ReplicatorActor::new(replicator_options));
    proof.run(ProofActor::new(proof_options));
    registry.run(RegistryActor::new(&config.registry, listeners, watches.1));
    // The HTTP actor is ours and just started: it is there to be asked.
    let routes = OpenRoutes {
        store: store_port,
        replicator: replicator_port,
        proof: proof_port,
    };
    let _ = ports::ask(&open, routes).await;
    announce(config, &peer_id, bound);

    let end = tokio::select! {
        () = signals.next() => End::Ordered,
        Some(actor) = deaths.recv() => End::ActorDied(actor),
    };
    node.stop(&end, &mut deaths).await;
    join_store(store_arbiter).await;
    Ok(end)
}

/// Waits until the store's thread has let go of the database. A process that ends while RocksDB is
/// being closed runs its destructors twice over, and aborts.
async fn join_store(arbiter: Arbiter) {
    arbiter.stop();
    let (sender, joined) = oneshot::channel();
    let spawned = thread::Builder::new()
        .name("store-join".to_owned())
        .spawn(move || {
            let _ = arbiter.join();
            let _ = sender.send(());
        });
    if spawned.is_ok() && timeout(STORE_JOIN, joined).await.is_err() {
        tracing::warn!("the store's thread did not end");
    }
}

/// Opens the engine on a thread of its own; `None` when a signal came meanwhile.
///
/// Recovery cannot be broken off, only waited for: the engine closes as soon as it has opened.
async fn open_engine(
    config: &Config,
    data_dir: &DataDir,
    keys: Keys,
    signals: &mut Signals,
) -> Result<Option<Engine>, NodeError> {
    let options = EngineOptions::from_config(
        &config.store,
        data_dir.root(),
        keys.unlock,
        config.max_blob_size().bytes(),
    )?;
    let (sender, opened) = oneshot::channel();
    thread::Builder::new()
        .name("store-open".to_owned())
        .spawn(move || {
            // Nobody listens any more only when the node is on its way out.
            let _ = sender.send(Engine::open(options));
        })
        .map_err(|source| NodeError::System {
            action: "start a thread",
            source,
        })?;
    tokio::pin!(opened);
    let (result, stopped) = tokio::select! {
        result = &mut opened => (result, false),
        () = signals.next() => (opened.await, true),
    };
    let engine = result.map_err(|_| NodeError::OpenDied)??;
    if stopped {
        engine.close();
        return Ok(None);
    }
    Ok(Some(engine))
}

/// What must be told to stop, and how long it may take.
struct Running {
    http: Recipient<Stop>,
    close: Recipient<CloseRoutes>,
    swarm: Recipient<Stop>,
    rank_two: Vec<Recipient<Stop>>,
    store: Recipient<Stop>,
    deadline: Duration,
}

impl Running {
    async fn stop(&self, end: &End, deaths: &mut mpsc::Receiver<ActorName>) {
        let deadline = tokio::time::Instant::now() + self.deadline;
        match end {
            End::Ordered => tracing::info!("stopping"),
            End::ActorDied(actor) => tracing::error!(%actor, "an actor died; stopping"),
        }
        let _ = ports::ask(&self.close, CloseRoutes).await;
        // Whatever clients still do, the store keeps its share of the time.
        let http_deadline = deadline.checked_sub(STOP_GRACE).unwrap_or(deadline);
        if timeout_at(http_deadline, ports::stop(&self.http))
            .await
            .is_err()
        {
            tracing::warn!("requests still in flight were cut off");
        }
        let rest = async {
            ports::stop(&self.swarm).await;
            for actor in &self.rank_two {
                ports::stop(actor).await;
            }
            ports::stop(&self.store).await;
        };
        if timeout_at(deadline, rest).await.is_err() {
            tracing::warn!(
                "the deadline passed before all actors had stopped; nothing is lost by that"
            );
        }
        while let Ok(actor) = deaths.try_recv() {
            tracing::error!(%actor, "an actor died while stopping");
        }
    }

    /// The stop of a node that has no store yet.
    async fn stop_http(&self) {
        if timeout(self.deadline, ports::stop(&self.http))
            .await
            .is_err()
        {
            tracing::warn!("requests still in flight were cut off");
        }
    }
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, NodeError> {
        let listen = |kind| {
            signal(kind).map_err(|source| NodeError::System {
                action: "listen for signals",
                source,
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn warn_about_keys(config: &Config, data_dir: &DataDir) {
    if data_dir.is_first_start() {
        tracing::warn!(
            keys = %data_dir.keys().display(),
            "new keys were made: without them every blob here is lost; back them up with `bytecave keys export DIR`"
        );
    }
    let paths: Vec<PathBuf> = [
        data_dir.keys().join("private.key"),
        config.unlock_key_file(),
        config.api_token_file(),
    ]
    .into();
    for path in data_dir::exposed_keys(&paths) {
        tracing::warn!(path = %path.display(), "others than the owner can read this key; run chmod 600 on it");
    }
}

/// What a person wants to see: who the node is, where it is reached, and one command to try.
fn announce(config: &Config, peer_id: &PeerId, bound: SocketAddr) {
    let url = format!("http://{}", reachable(bound));
    let access = if config.http.store_needs_token() {
        "with the token in keys/api-token"
    } else {
        "without a token"
    };
    let reach = if bound.ip().is_loopback() {
        "from this machine only"
    } else {
        "from other machines too"
    };
    tracing::info!(%peer_id, %url, listening = %bound, store_access = access, "ready");
    let token = if config.http.store_needs_token() {
        format!(
            " -H \"Authorization: Bearer $(cat {})\"",
            config.api_token_file().display()
        )
    } else {
        String::new()
    };
    let network = start_message::network(&config.p2p).join("\n           ");
    let text = format!(
        "\nByteCave {} is ready\n  peer id  {peer_id}\n  HTTP     {url} ({reach}; storing {access})\n  network  {network}\n  try      curl{token} --data-binary @README.md {url}/store\n\n",
        env!("CARGO_PKG_VERSION")
    );
    // A closed standard output is no reason to stop a node.
    let _ = std::io::stdout().write_all(text.as_bytes());
}

/// An address that can be typed: a wildcard is reached by loopback.
fn reachable(bound: SocketAddr) -> SocketAddr {
    let ip = match bound.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, bound.port())
}
