//! From settings to a running loop: everything is built and every address listened on before the
//! node says that it is up.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytecave_config::{ListenAddress, P2p, P2pStoreAccess, PeerAddress};
use bytecave_messages::budget::Budget;
use bytecave_messages::lifecycle::DeathWatch;
use bytecave_messages::ports::SwarmEvents;
use bytecave_messages::swarm::{Admission, LinkView, Reachability};
use futures_util::StreamExt;
use libp2p::core::transport::ListenerId;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{self, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::connections::{Connections, Said};
use super::dialing::Circuits;
use super::gossip::{PASSED_BURST, PASSED_PER_SECOND};
use super::questions::Questions;
use super::{EventLoop, now_ms};
use crate::addresses::{self, ip_of, peer_of};
use crate::announce::Announcements;
use crate::behaviour::{self, Behaviour, Ingredients};
use crate::book::SharedMembers;
use crate::facts::{Facts, FixedFacts};
use crate::ids;
use crate::link::{self, LinkLimits, LinkOptions};
use crate::members::{Limits, Members};
use crate::memory::BodyMemory;
use crate::metrics::NetworkMetrics;
use crate::options::{StartError, SwarmOptions};
use crate::reachability::Evidence;
use crate::relays::Relays;
use crate::remembered::MembersFile;
use crate::transport;
use crate::wire::client::Client;
use crate::wire::rates::Rates;
use crate::wire::service::{ServerParts, ServerSettings, serve};
use crate::wire::streams::{StreamControl, StreamLimits, Streams};

/// Time for the listeners to say where they listen. They are bound by then; only the names of the
/// interfaces are waited for.
const LISTEN_TIME: Duration = Duration::from_secs(5);
/// Pause before the first announcement, so that there is somebody to hear it.
const FIRST_ANNOUNCEMENT: Duration = Duration::from_secs(2);
/// Inbound streams being negotiated on one connection.
const NEGOTIATING_STREAMS: usize = 128;

/// A running loop and the ways to it.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) facts: Arc<Facts>,
    pub(crate) client: Client,
    pub(crate) admission: watch::Sender<Admission>,
    /// Dropped, the loop ends.
    pub(crate) shutdown: DropGuard,
    /// The loop has ended, in order or not.
    pub(crate) ended: CancellationToken,
}

/// The addresses that the settings name.
struct Named {
    listen: Vec<Multiaddr>,
    external: Vec<Multiaddr>,
    relays: Vec<Multiaddr>,
    bootstrap: Vec<Multiaddr>,
}

impl Named {
    fn parse(settings: &P2p) -> Result<Self, StartError> {
        let own = |setting, list: &[ListenAddress]| {
            addresses::parse(setting, list.iter().map(ListenAddress::as_str))
        };
        let peers = |setting, list: &[PeerAddress]| {
            addresses::parse(setting, list.iter().map(PeerAddress::as_str))
        };
        let named = Self {
            listen: own("p2p.listen_addresses", &settings.listen_addresses)?,
            external: own("p2p.external_addresses", &settings.external_addresses)?,
            relays: peers("p2p.relay_peers", &settings.relay_peers)?,
            bootstrap: peers("p2p.bootstrap_peers", &settings.bootstrap_peers)?,
        };
        for (setting, list) in [
            ("p2p.relay_peers", &named.relays),
            ("p2p.bootstrap_peers", &named.bootstrap),
        ] {
            if let Some(address) = list.iter().find(|address| peer_of(address).is_none()) {
                return Err(StartError::Address {
                    setting,
                    address: address.to_string(),
                    cause: "it does not end in /p2p/ and a peer id".to_owned(),
                });
            }
        }
        Ok(named)
    }

    fn peers(&self) -> impl Iterator<Item = &Multiaddr> {
        self.relays.iter().chain(&self.bootstrap)
    }
}

/// Builds everything, listens, and starts the loop.
pub(crate) async fn start(
    options: SwarmOptions,
) -> Result<(Started, SwarmEvents, DeathWatch), StartError> {
    let SwarmOptions {
        settings,
        identity,
        node_id,
        owner_address,
        version,
        shards,
        quota_bytes,
        directory,
        budget,
        events,
        metrics,
        watch: death,
    } = options;
    let named = Named::parse(&settings)?;
    let keypair =
        Keypair::from_protobuf_encoding(&identity.to_protobuf()).map_err(|e| StartError::Part {
            part: "the node's identity",
            cause: e.to_string(),
        })?;
    let facts = Facts::new(FixedFacts {
        public_key: identity.public_key(),
        node_id,
        owner_address,
        version,
        shards,
        quota_bytes,
    });
    let (file, members) = members(&settings, &named, &directory, &facts).await;
    let members = SharedMembers::new(members);
    let node = Node {
        memory: BodyMemory::new(settings.max_body_memory.bytes()),
        shutdown: CancellationToken::new(),
        settings,
        facts: Arc::clone(&facts),
        events: events.clone(),
        budget,
        metrics,
        serving: TaskTracker::new(),
    };
    // Whatever fails from here on ends the tasks that were begun.
    let shutdown = node.shutdown.clone().drop_guard();
    let (streams, control) = Streams::new(stream_limits(&node.settings), node.metrics.wire());
    let mut swarm = swarm(&node, &keypair, &named, &members, streams)?;
    // Before the first address is listened on: no peer is to find a protocol missing.
    let admission = node.serve(&control);
    let client = node.client(control);
    let listeners = Box::pin(listen(&mut swarm, &named.listen)).await?;
    for address in &named.external {
        swarm.add_external_address(address.clone());
    }
    let mut event_loop = node.event_loop(swarm, listeners, members, file, named, client.clone());
    event_loop.listening_changed();
    let ended = CancellationToken::new();
    let mark = ended.clone().drop_guard();
    let run = Box::pin(event_loop.run());
    tokio::spawn(async move {
        let _mark = mark;
        run.await;
    });
    let started = Started {
        facts,
        client,
        admission,
        shutdown,
        ended,
    };
    Ok((started, events, death))
}

/// What all parts share.
struct Node {
    settings: P2p,
    facts: Arc<Facts>,
    events: SwarmEvents,
    budget: Budget,
    memory: BodyMemory,
    metrics: NetworkMetrics,
    /// Requests of peers being served.
    serving: TaskTracker,
    shutdown: CancellationToken,
}

impl Node {
    /// Serves peers. Until the replicator says otherwise, nobody may send replicas.
    fn serve(&self, control: &StreamControl) -> watch::Sender<Admission> {
        let settings = &self.settings;
        let (admission, admitted) = watch::channel(Admission::Nobody("this node is starting"));
        let parts = ServerParts {
            facts: Arc::clone(&self.facts),
            events: self.events.clone(),
            budget: self.budget.clone(),
            memory: self.memory.clone(),
            admission: admitted,
            settings: ServerSettings {
                request_timeout: settings.request_timeout.as_duration(),
                requests_per_second_per_peer: settings.requests_per_second_per_peer,
                request_burst_per_peer: settings.request_burst_per_peer,
                takes_stores: settings.store_access != P2pStoreAccess::Off,
            },
            counters: self.metrics.wire(),
            tracker: self.serving.clone(),
            stop: self.shutdown.clone(),
        };
        serve(parts, control);
        admission
    }

    /// Asks peers.
    fn client(&self, control: StreamControl) -> Client {
        let timeout = self.settings.request_timeout.as_duration();
        Client::new(control, self.memory.clone(), self.budget.clone(), timeout)
    }

    /// Begins the storage links.
    fn links(&self) -> watch::Receiver<Vec<LinkView>> {
        link::spawn(LinkOptions {
            urls: link::urls(&self.settings),
            facts: Arc::clone(&self.facts),
            events: self.events.clone(),
            budget: self.budget.clone(),
            memory: self.memory.clone(),
            shutdown: self.shutdown.clone(),
            limits: LinkLimits::default(),
        })
    }

    fn event_loop(
        self,
        swarm: Swarm<Behaviour>,
        listeners: Vec<ListenerId>,
        members: SharedMembers,
        file: MembersFile,
        named: Named,
        client: Client,
    ) -> EventLoop {
        let now = Instant::now();
        EventLoop {
            links: self.links(),
            swarm,
            facts: self.facts,
            events: self.events,
            metrics: self.metrics,
            members,
            file,
            stated: named.external,
            relays: Relays::new(&named.relays, self.settings.enable_relay),
            evidence: Evidence::default(),
            reachability: Reachability::Unknown,
            connections: Connections::new(listeners),
            said: Said::default(),
            circuits: Circuits::default(),
            kept: HashSet::new(),
            complained: HashSet::new(),
            questions: Questions::new(client),
            announcements: Announcements::new(),
            announced: None,
            announce_at: now + FIRST_ANNOUNCEMENT,
            lookup_at: now,
            provide_at: now,
            told: None,
            news: true,
            keep_changed: true,
            passed: Rates::new(PASSED_PER_SECOND, PASSED_BURST),
            misdeeds: HashMap::new(),
            misdeeds_since: now,
            serving: self.serving,
            shutdown: self.shutdown,
            settings: self.settings,
        }
    }
}

/// Whom the node knows from the settings and from before.
async fn members(
    settings: &P2p,
    named: &Named,
    directory: &std::path::Path,
    facts: &Facts,
) -> (MembersFile, Members) {
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let mut members = Members::new(
        facts.peer_id,
        Limits {
            members: count(settings.max_members),
            connections: count(settings.max_connections),
            timeout: settings.member_timeout.as_duration(),
        },
    );
    for address in named.peers() {
        if let Some(peer) = peer_of(address).as_ref().and_then(ids::from_wire) {
            members.configure(peer, address.clone());
        }
    }
    let (file, remembered) = MembersFile::open(directory, facts.peer_id).await;
    members.restore(remembered, now_ms());
    (file, members)
}

fn stream_limits(settings: &P2p) -> StreamLimits {
    StreamLimits {
        per_peer: usize::try_from(settings.max_streams_per_peer).unwrap_or(usize::MAX),
        open_timeout: settings.dial_timeout.as_duration(),
        ..StreamLimits::default()
    }
}

fn swarm(
    node: &Node,
    keypair: &Keypair,
    named: &Named,
    members: &SharedMembers,
    streams: Streams,
) -> Result<Swarm<Behaviour>, StartError> {
    let settings = &node.settings;
    let transports = transport::build(settings, keypair, &node.metrics.traffic())?;
    let configured: Vec<Multiaddr> = named.peers().cloned().collect();
    let behaviour = behaviour::build(Ingredients {
        settings,
        keypair,
        version: node.facts.version,
        configured: &configured,
        relay: transports.relay,
        members: members.clone(),
        streams,
    })?;
    let config = swarm::Config::with_tokio_executor()
        .with_idle_connection_timeout(settings.idle_connection_timeout.as_duration())
        .with_max_negotiating_inbound_streams(NEGOTIATING_STREAMS);
    let local: PeerId = keypair.public().to_peer_id();
    Ok(Swarm::new(transports.all, behaviour, local, config))
}

/// Listens on every address, and waits until each listener says where.
async fn listen(
    swarm: &mut Swarm<Behaviour>,
    addresses: &[Multiaddr],
) -> Result<Vec<ListenerId>, StartError> {
    let refused = |address: &Multiaddr, cause: String| StartError::Listen {
        address: address.to_string(),
        cause,
    };
    for address in addresses {
        is_free(address).map_err(|error| refused(address, error.to_string()))?;
    }
    let mut waited: HashMap<ListenerId, &Multiaddr> = HashMap::new();
    for address in addresses {
        let listener = swarm
            .listen_on(address.clone())
            .map_err(|error| refused(address, listen_cause(&error)))?;
        waited.insert(listener, address);
    }
    let listeners = waited.keys().copied().collect();
    let reported = async {
        while !waited.is_empty() {
            match swarm.select_next_some().await {
                SwarmEvent::NewListenAddr {
                    listener_id,
                    address,
                } => {
                    tracing::info!(%address, "Listening for peers");
                    waited.remove(&listener_id);
                }
                SwarmEvent::ListenerError { listener_id, error } => {
                    if let Some(address) = waited.get(&listener_id) {
                        return Err(refused(address, error.to_string()));
                    }
                }
                SwarmEvent::ListenerClosed {
                    listener_id,
                    reason,
                    ..
                } => {
                    if let Some(address) = waited.get(&listener_id) {
                        let cause = reason.err().map_or_else(
                            || "the listener closed".to_owned(),
                            |error| error.to_string(),
                        );
                        return Err(refused(address, cause));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    };
    if let Ok(reported) = tokio::time::timeout(LISTEN_TIME, reported).await {
        reported?;
    } else {
        tracing::warn!("not every listener has said where it listens");
    }
    Ok(listeners)
}

/// Whether nobody listens on a TCP address. libp2p binds so that a socket may be shared, to dial from
/// the port that it listens on; with that a second node of the same user gets half of the first
/// one's connections, and neither is told.
fn is_free(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    match (ip_of(address), parts.nth(1)) {
        (Some(ip), Some(Protocol::Tcp(port))) if port != 0 => {
            std::net::TcpListener::bind((ip, port)).map(drop)
        }
        _ => Ok(()),
    }
}

fn listen_cause(error: &libp2p::TransportError<std::io::Error>) -> String {
    match error {
        libp2p::TransportError::MultiaddrNotSupported(_) => {
            "this node has no transport for such an address (QUIC is switched off, or the form is unknown)".to_owned()
        }
        libp2p::TransportError::Other(error) => error.to_string(),
    }
}
