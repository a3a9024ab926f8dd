//! Whole swarms on loopback: what they tell of each other is what is looked at.

#![allow(clippy::unwrap_used)]

mod goodbye;

use std::sync::Arc;
use std::time::Duration;

use actix::{Actor, Context, Handler};
use bytecave_config::{Config, P2p};
use bytecave_core::{NodeIdentity, ShardCount, ShardSet};
use bytecave_messages::budget::{ActorName, Budget};
use bytecave_messages::lifecycle::DeathWatch;
use bytecave_messages::ports::SwarmEvents;
use bytecave_messages::swarm::{
    ConnectionKind, HolePunching, InboundChallenge, InboundHaveList, InboundReplica,
    InboundRetrieve, InboundStore, InboundSync, PeerView, Reachability, RelayState, SwarmError,
    SwarmSnapshot,
};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::{Started, start};
use crate::actor::SwarmActor;
use crate::metrics::NetworkMetrics;
use crate::options::{StartError, SwarmOptions};

/// Far above what any of these takes on a busy machine: a test that hits it hangs.
const HANG: Duration = Duration::from_mins(2);
const TCP: &str = "/ip4/127.0.0.1/tcp/0";

/// Nobody asks for blobs here.
struct Nobody;

impl Actor for Nobody {
    type Context = Context<Self>;
}

macro_rules! unasked {
    ($($message:ty),+) => {$(
        impl Handler<$message> for Nobody {
            type Result = ();

            fn handle(&mut self, _: $message, _: &mut Self::Context) {}
        }
    )+};
}
unasked!(
    InboundRetrieve,
    InboundHaveList,
    InboundReplica,
    InboundSync,
    InboundChallenge,
    InboundStore
);

struct Node {
    started: Option<Started>,
    metrics: NetworkMetrics,
    id: String,
    directory: Arc<TempDir>,
    _deaths: mpsc::Receiver<ActorName>,
}

/// Settings of a node in a hurry that listens on loopback.
fn settings(change: impl FnOnce(&mut P2p)) -> P2p {
    let mut settings = Config::built_in().unwrap().p2p;
    settings.listen_addresses = vec![TCP.parse().unwrap()];
    settings.announce_interval = "1s".parse().unwrap();
    settings.storage_link_port = 0;
    change(&mut settings);
    settings
}

/// All a node needs to know of itself, and where its death is heard.
fn options(
    seed: u8,
    directory: &TempDir,
    settings: P2p,
    metrics: NetworkMetrics,
) -> (SwarmOptions, mpsc::Receiver<ActorName>) {
    let address = Nobody.start();
    let (deaths, heard) = mpsc::channel(1);
    let options = SwarmOptions {
        settings,
        identity: Arc::new(NodeIdentity::from_seed([seed; 32]).unwrap()),
        node_id: format!("node-{seed}"),
        owner_address: None,
        version: "1.2.3",
        shards: ShardSet::all(ShardCount::new(16).unwrap()),
        quota_bytes: 1 << 30,
        directory: directory.path().join("p2p"),
        budget: Budget::new(ActorName::Swarm, 64),
        events: SwarmEvents {
            changed: Vec::new(),
            part: Vec::new(),
            retrieve: address.clone().recipient(),
            have_list: address.clone().recipient(),
            replica: address.clone().recipient(),
            sync: address.clone().recipient(),
            challenge: address.clone().recipient(),
            store: address.recipient(),
        },
        metrics,
        watch: DeathWatch::new(ActorName::Swarm, deaths),
    };
    (options, heard)
}

impl Node {
    async fn try_start(
        seed: u8,
        directory: Arc<TempDir>,
        settings: P2p,
    ) -> Result<Self, StartError> {
        let metrics = NetworkMetrics::new();
        let (options, deaths) = options(seed, &directory, settings, metrics.clone());
        let id = options.identity.peer_id().to_string();
        let (started, _, _) = start(options).await?;
        Ok(Self {
            started: Some(started),
            metrics,
            id,
            directory,
            _deaths: deaths,
        })
    }

    async fn start(seed: u8, settings: P2p) -> Self {
        let directory = Arc::new(tempfile::tempdir().unwrap());
        Self::try_start(seed, directory, settings).await.unwrap()
    }

    fn snapshot(&self) -> Arc<SwarmSnapshot> {
        self.started.as_ref().unwrap().facts.network()
    }

    /// What this node says of another, if it says anything.
    fn view(&self, other: &Self) -> Option<PeerView> {
        let snapshot = self.snapshot();
        let mut peers = snapshot.peers.iter();
        peers
            .find(|peer| peer.peer_id.to_string() == other.id)
            .cloned()
    }

    fn connection(&self, other: &Self) -> Option<ConnectionKind> {
        self.view(other)?.connection
    }

    fn relay(&self) -> RelayState {
        let snapshot = self.snapshot();
        snapshot
            .relays
            .first()
            .map_or(RelayState::Off, |relay| relay.state.clone())
    }

    /// The first address of its own, with its id.
    async fn address(&self) -> String {
        until("it listens", || !self.snapshot().multiaddrs.is_empty()).await;
        self.snapshot().multiaddrs[0].clone()
    }

    /// A metric's line as it is written out.
    fn counted(&self, line: &str) -> bool {
        let mut text = String::new();
        let registry = self.metrics.registry();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text.lines()
            .filter_map(|found| found.strip_prefix(line))
            .any(|count| count.trim() != "0")
    }

    /// In order, as the actor does it.
    async fn stop(&mut self) {
        let Started {
            shutdown, ended, ..
        } = self.started.take().unwrap();
        drop(shutdown);
        tokio::time::timeout(HANG, ended.cancelled()).await.unwrap();
    }
}

/// Waits until something is so.
async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(HANG, wait).await.is_ok(),
        "in vain: {what}"
    );
}

fn bootstrap(at: &str) -> impl FnOnce(&mut P2p) + use<'_> {
    move |settings| settings.bootstrap_peers = vec![at.parse().unwrap()]
}

async fn relay() -> Node {
    let settings = settings(|settings| {
        settings.relay_server = true;
        settings
            .listen_addresses
            .push(format!("{TCP}/ws").parse().unwrap());
    });
    Node::start(100, settings).await
}

#[actix::test]
async fn two_nodes_meet_know_each_other_and_hear_each_other() {
    let one = Node::start(1, settings(|_| {})).await;
    let at = one.address().await;
    let two = Node::start(2, settings(bootstrap(&at))).await;
    for (node, other) in [(&one, &two), (&two, &one)] {
        until("they are connected, informed and announced", || {
            node.view(other).is_some_and(|view| {
                view.connection == Some(ConnectionKind::Direct)
                    && view.info.is_some()
                    && view.announced.is_some()
                    && view.live
            })
        })
        .await;
        let view = node.view(other).unwrap();
        assert_eq!(view.agent.unwrap(), "bytecave/1.2.3");
        let info = view.info.unwrap();
        assert_eq!(info.shard_count, Some(ShardCount::new(16).unwrap()));
        assert!(!info.protocols.is_empty());
        assert_eq!(node.snapshot().connected, 1);
    }
    // Whoever was dialled is reached, as far as this machine is the world.
    until("it is reached", || {
        one.snapshot().reachability == Reachability::Direct
    })
    .await;
}

#[actix::test]
async fn a_third_node_is_found_through_the_second() {
    let one = Node::start(1, settings(|_| {})).await;
    let at = one.address().await;
    let two = Node::start(2, settings(bootstrap(&at))).await;
    let three = Node::start(3, settings(bootstrap(&at))).await;
    until("the two that know only the first are connected", || {
        two.connection(&three).is_some() && three.connection(&two).is_some()
    })
    .await;
}

#[actix::test]
async fn every_transport_connects() {
    let listening = settings(|settings| {
        settings.listen_addresses = [
            TCP,
            "/ip4/127.0.0.1/tcp/0/ws",
            "/ip4/127.0.0.1/udp/0/quic-v1",
        ]
        .map(|address| address.parse().unwrap())
        .to_vec();
    });
    let one = Node::start(1, listening).await;
    let addresses = one.snapshot().multiaddrs.clone();
    until("it listens", || one.snapshot().multiaddrs.len() == 3).await;
    let addresses = if addresses.len() == 3 {
        addresses
    } else {
        one.snapshot().multiaddrs.clone()
    };
    for (seed, at) in (2..).zip(&addresses) {
        let settings = settings(|settings| {
            settings.listen_addresses = Vec::new();
            settings.bootstrap_peers = vec![at.parse().unwrap()];
        });
        let other = Node::start(seed, settings).await;
        until(at, || {
            other.connection(&one) == Some(ConnectionKind::Direct)
        })
        .await;
        let view = other.view(&one).unwrap();
        assert_eq!(view.multiaddrs[0], *at);
    }
}

#[actix::test]
async fn who_cannot_be_dialled_is_reached_through_the_relay() {
    let relay = relay().await;
    let at = relay.address().await;
    let behind = |seed| {
        let settings = settings(|settings| {
            settings.listen_addresses = Vec::new();
            settings.relay_peers = vec![at.parse().unwrap()];
            settings.enable_hole_punching = false;
        });
        Node::start(seed, settings)
    };
    let (one, two) = (behind(1).await, behind(2).await);
    for node in [&one, &two] {
        until("the reservation stands", || {
            node.relay() == RelayState::Reserved
        })
        .await;
        let circuit = format!("{at}/p2p-circuit/p2p/{}", node.id);
        until("the circuit is told", || {
            node.snapshot().multiaddrs.contains(&circuit)
        })
        .await;
        let hole_punching = HolePunching::Untried;
        assert_eq!(
            node.snapshot().reachability,
            Reachability::Relayed { hole_punching }
        );
    }
    // They know of each other by what they announce through the relay.
    until("they are connected through it", || {
        one.connection(&two) == Some(ConnectionKind::Relayed)
            && two.connection(&one) == Some(ConnectionKind::Relayed)
    })
    .await;
}

#[actix::test]
async fn the_circuit_is_closed_once_a_direct_connection_stands() {
    let relay = relay().await;
    let at = relay.address().await;
    let one = settings(|settings| settings.relay_peers = vec![at.parse().unwrap()]);
    let one = Node::start(1, one).await;
    until("the reservation stands", || {
        one.relay() == RelayState::Reserved
    })
    .await;
    // All that the other knows is the circuit.
    let circuit = format!("{at}/p2p-circuit/p2p/{}", one.id);
    let two = Node::start(2, settings(bootstrap(&circuit))).await;
    until("they are connected directly", || {
        one.connection(&two) == Some(ConnectionKind::Direct)
            && two.connection(&one) == Some(ConnectionKind::Direct)
    })
    .await;
    until("the relay carries no circuit any more", || {
        relay.counted("libp2p_relay_events_total{event=\"CircuitClosed\"}")
    })
    .await;
}

#[actix::test]
async fn a_reservation_is_made_again_when_the_relay_comes_back() {
    let mut relay = relay().await;
    let at = relay.address().await;
    let one = settings(|settings| settings.relay_peers = vec![at.parse().unwrap()]);
    let one = Node::start(1, one).await;
    until("the reservation stands", || {
        one.relay() == RelayState::Reserved
    })
    .await;
    relay.stop().await;
    until("it is gone", || {
        matches!(one.relay(), RelayState::Failed { .. })
    })
    .await;
    assert!(
        !one.snapshot()
            .multiaddrs
            .iter()
            .any(|a| a.contains("p2p-circuit")),
        "a circuit that does not stand is not told"
    );
    let (same, _) = at.split_once("/p2p/").unwrap();
    let settings = settings(|settings| {
        settings.relay_server = true;
        settings.listen_addresses = vec![same.parse().unwrap()];
    });
    let _relay = Node::start(100, settings).await;
    until("it stands again", || one.relay() == RelayState::Reserved).await;
}

#[actix::test]
async fn who_was_met_is_remembered_and_dialled_after_a_restart() {
    let one = Node::start(1, settings(|_| {})).await;
    let at = one.address().await;
    let mut two = Node::start(2, settings(bootstrap(&at))).await;
    until("they know each other", || {
        two.view(&one).is_some_and(|view| view.info.is_some())
    })
    .await;
    two.stop().await;
    until("the goodbye is noticed", || one.connection(&two).is_none()).await;
    let again = Node::try_start(2, Arc::clone(&two.directory), settings(|_| {}));
    let again = again.await.unwrap();
    until("they are connected without being told where", || {
        again.connection(&one).is_some()
    })
    .await;
}

#[actix::test]
async fn an_address_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("/ip4/127.0.0.1/tcp/{}", taken.local_addr().unwrap().port());
    let settings = settings(|settings| settings.listen_addresses.push(address.parse().unwrap()));
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let refused = Node::try_start(1, directory, settings).await.err().unwrap();
    assert!(matches!(&refused, StartError::Listen { address: named, .. } if *named == address));
    assert!(refused.to_string().contains(&address), "{refused}");
}

#[actix::test]
async fn a_certificate_that_cannot_be_used_is_named() {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let file = directory.path().join("certificate.pem");
    std::fs::write(&file, "no certificate").unwrap();
    let settings = settings(|settings| {
        settings.tls_certificate_file = Some(file.clone());
        settings.tls_key_file = Some(file.to_str().unwrap().parse().unwrap());
    });
    let refused = Node::try_start(1, directory, settings).await.err().unwrap();
    let StartError::Tls { setting, cause } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(*setting, "p2p.tls_certificate_file");
    assert!(cause.contains("certificate.pem"), "{cause}");
}

#[actix::test]
async fn a_loop_that_ends_unasked_takes_the_actor_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (options, mut deaths) = options(1, &directory, settings(|_| {}), NetworkMetrics::new());
    let actor = SwarmActor::start(options).await.unwrap();
    let ended = actor.running.as_ref().unwrap().ended.clone();
    let address = Actor::start(actor);
    // What a panic in the loop leaves behind.
    ended.cancel();
    let died = tokio::time::timeout(HANG, deaths.recv()).await.unwrap();
    assert_eq!(died, Some(ActorName::Swarm));
    until("the actor is gone", || !address.connected()).await;
}

#[actix::test]
async fn a_stop_is_answered_when_the_port_is_free_and_is_no_death() {
    let directory = tempfile::tempdir().unwrap();
    let (options, mut deaths) = options(1, &directory, settings(|_| {}), NetworkMetrics::new());
    let actor = SwarmActor::start(options).await.unwrap();
    let facts = Arc::clone(&actor.running.as_ref().unwrap().facts);
    let address = Actor::start(actor);
    until("it listens", || !facts.network().multiaddrs.is_empty()).await;
    let at = facts.network().multiaddrs[0].clone();
    let port: u16 = at.split('/').nth(4).unwrap().parse().unwrap();
    bytecave_messages::ports::stop(&address.recipient()).await;
    std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
    assert_eq!(deaths.recv().await, None);
}

#[actix::test]
async fn switched_off_it_opens_nothing_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let off = settings(|settings| settings.enabled = false);
    let (options, _deaths) = options(1, &directory, off, NetworkMetrics::new());
    let actor = SwarmActor::start(options).await.unwrap();
    assert!(actor.running.is_none());
    let budget = Budget::new(ActorName::Swarm, 64);
    let port = bytecave_messages::ports::SwarmPort::new(&Actor::start(actor), budget);
    let peer = NodeIdentity::from_seed([2; 32]).unwrap().peer_id();
    let cid = bytecave_core::BlobCid::of(b"blob");
    let share = bytecave_messages::budget::Share::Client;
    let asked = port.retrieve(share, peer, cid, 0).await;
    assert_eq!(asked.unwrap_err(), SwarmError::Unavailable);
    assert!(!directory.path().join("p2p").exists());
}

#[actix::test]
async fn a_peer_on_the_block_list_does_not_connect() {
    let blocked = NodeIdentity::from_seed([2; 32]).unwrap().peer_id();
    let one = settings(|settings| {
        settings.block_peers = vec![blocked.to_string().parse().unwrap()];
    });
    let one = Node::start(1, one).await;
    let at = one.address().await;
    let two = Node::start(2, settings(bootstrap(&at))).await;
    let three = Node::start(3, settings(bootstrap(&at))).await;
    until("the other connects", || one.connection(&three).is_some()).await;
    until("the blocked one is turned away", || {
        one.counted("libp2p_swarm_connections_incoming_error_total")
    })
    .await;
    assert_eq!(one.connection(&two), None);
}
