//! A swarm of its own, driven by a task: streams, and as much beside them as the tests need.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytecave_core::PeerId;
use futures_util::StreamExt;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, FromSwarm, NetworkBehaviour, SwarmEvent, THandlerInEvent,
    ToSwarm, dummy,
};
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, relay, tcp, yamux};
use tokio::sync::{mpsc, oneshot};

use crate::ids::{from_wire, to_wire};
use crate::transport::multiplexer;
use crate::wire::counters::WireCounters;
use crate::wire::doors::Doors;
use crate::wire::handler::{Handler, OpenRequest};
use crate::wire::streams::{StreamControl, StreamLimits, Streams};

/// A host in the network of a test.
pub(super) struct Host {
    pub(super) id: PeerId,
    pub(super) address: Multiaddr,
    pub(super) control: StreamControl,
    pub(super) counters: WireCounters,
    known: KnownAddresses,
    orders: mpsc::Sender<Order>,
}

type KnownAddresses = Arc<Mutex<HashMap<libp2p::PeerId, Vec<Multiaddr>>>>;

enum Order {
    Dial(Multiaddr, oneshot::Sender<bool>),
    Listen(Multiaddr, oneshot::Sender<bool>),
    Disconnect(libp2p::PeerId),
    /// Opens a stream over whatever connection there is, as a program may that does not look.
    Force(libp2p::PeerId, OpenRequest),
}

#[derive(NetworkBehaviour)]
struct Behaviour {
    streams: Streams,
    known: Known,
    careless: Careless,
    relay: relay::client::Behaviour,
    server: Toggle<relay::Behaviour>,
}

impl Host {
    pub(super) async fn new(limits: StreamLimits) -> Self {
        Self::start(limits, false).await
    }

    /// One that is a relay for others.
    pub(super) async fn relay() -> Self {
        Self::start(limits(), true).await
    }

    async fn start(limits: StreamLimits, server: bool) -> Self {
        let counters = WireCounters::default();
        let (streams, control) = Streams::new(limits, counters.clone());
        let known = KnownAddresses::default();
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(
                tcp::Config::default().nodelay(true),
                noise::Config::new,
                multiplexer,
            )
            .unwrap()
            .with_relay_client(noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|key, relay| Behaviour {
                streams,
                known: Known(Arc::clone(&known)),
                careless: Careless::default(),
                relay,
                server: server
                    .then(|| {
                        let id = key.public().to_peer_id();
                        relay::Behaviour::new(id, relay::Config::default())
                    })
                    .into(),
            })
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_mins(1)))
            .build();
        swarm
            .listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap())
            .unwrap();
        let address = loop {
            if let SwarmEvent::NewListenAddr { address, .. } = swarm.select_next_some().await {
                break address;
            }
        };
        if server {
            swarm.add_external_address(address.clone());
        }
        let peer = *swarm.local_peer_id();
        let (orders, inbox) = mpsc::channel(16);
        tokio::spawn(drive(swarm, inbox));
        Self {
            id: from_wire(&peer).unwrap(),
            address: address.with_p2p(peer).unwrap(),
            control,
            counters,
            known,
            orders,
        }
    }

    /// Connects; whether that worked.
    pub(super) async fn dial(&self, address: &Multiaddr) -> bool {
        let (done, dialled) = oneshot::channel();
        self.order(Order::Dial(address.clone(), done)).await;
        dialled.await.unwrap()
    }

    /// Listens at another address, a circuit for one.
    pub(super) async fn listen(&self, address: &Multiaddr) -> bool {
        let (done, listening) = oneshot::channel();
        self.order(Order::Listen(address.clone(), done)).await;
        listening.await.unwrap()
    }

    /// Learns where a peer is.
    pub(super) fn learn(&self, peer: &PeerId, address: &Multiaddr) {
        let mut known = self.known.lock().unwrap();
        known
            .entry(to_wire(peer))
            .or_default()
            .push(address.clone());
    }

    pub(super) async fn disconnect(&self, peer: &PeerId) {
        self.order(Order::Disconnect(to_wire(peer))).await;
    }

    pub(super) async fn force(&self, peer: &PeerId, request: OpenRequest) {
        self.order(Order::Force(to_wire(peer), request)).await;
    }

    async fn order(&self, order: Order) {
        assert!(self.orders.send(order).await.is_ok());
    }
}

/// The limits that tests begin with.
pub(super) fn limits() -> StreamLimits {
    StreamLimits {
        open_timeout: Duration::from_secs(30),
        ..StreamLimits::default()
    }
}

/// Two hosts, the first connected to the second.
pub(super) async fn two(limits: StreamLimits) -> (Host, Host) {
    let (one, other) = (Host::new(self::limits()).await, Host::new(limits).await);
    assert!(one.dial(&other.address).await);
    (one, other)
}

async fn drive(mut swarm: Swarm<Behaviour>, mut orders: mpsc::Receiver<Order>) {
    let mut dials = HashMap::new();
    let mut listeners = HashMap::new();
    loop {
        tokio::select! {
            order = orders.recv() => match order {
                Some(Order::Dial(address, done)) => {
                    let opts = libp2p::swarm::dial_opts::DialOpts::unknown_peer_id()
                        .address(address)
                        .build();
                    dials.insert(opts.connection_id(), done);
                    swarm.dial(opts).unwrap();
                }
                Some(Order::Listen(address, done)) => {
                    listeners.insert(swarm.listen_on(address).unwrap(), done);
                }
                Some(Order::Disconnect(peer)) => {
                    let _ = swarm.disconnect_peer_id(peer);
                }
                Some(Order::Force(peer, request)) => {
                    swarm.behaviour_mut().careless.wanted.push((peer, request));
                }
                None => return,
            },
            event = swarm.select_next_some() => match event {
                SwarmEvent::ConnectionEstablished { connection_id, .. } => {
                    if let Some(done) = dials.remove(&connection_id) {
                        let _: Result<(), bool> = done.send(true);
                    }
                }
                SwarmEvent::OutgoingConnectionError { connection_id, .. } => {
                    if let Some(done) = dials.remove(&connection_id) {
                        let _: Result<(), bool> = done.send(false);
                    }
                }
                SwarmEvent::NewListenAddr { listener_id, .. } => {
                    if let Some(done) = listeners.remove(&listener_id) {
                        let _: Result<(), bool> = done.send(true);
                    }
                }
                SwarmEvent::ListenerClosed { listener_id, .. } => {
                    if let Some(done) = listeners.remove(&listener_id) {
                        let _: Result<(), bool> = done.send(false);
                    }
                }
                _ => {}
            },
        }
    }
}

/// Knows where peers are.
struct Known(KnownAddresses);

impl NetworkBehaviour for Known {
    type ConnectionHandler = dummy::ConnectionHandler;
    type ToSwarm = Infallible;

    fn handle_pending_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: Option<libp2p::PeerId>,
        _: &[Multiaddr],
        _: Endpoint,
    ) -> Result<Vec<Multiaddr>, ConnectionDenied> {
        let known = self.0.lock().unwrap();
        Ok(peer
            .and_then(|peer| known.get(&peer).cloned())
            .unwrap_or_default())
    }

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        _: libp2p::PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        _: libp2p::PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<dummy::ConnectionHandler, ConnectionDenied> {
        Ok(dummy::ConnectionHandler)
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: libp2p::PeerId,
        _: ConnectionId,
        event: Infallible,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, THandlerInEvent<Self>>> {
        Poll::Pending
    }
}

/// Opens streams over any connection, relayed ones too.
struct Careless {
    doors: Arc<Doors>,
    wanted: Vec<(libp2p::PeerId, OpenRequest)>,
}

impl Default for Careless {
    fn default() -> Self {
        Self {
            doors: Arc::new(Doors::new(limits(), WireCounters::default())),
            wanted: Vec::new(),
        }
    }
}

impl Careless {
    fn handler(&self, peer: libp2p::PeerId) -> Handler {
        let slots = Arc::new(tokio::sync::Semaphore::new(0));
        Handler::new(Arc::clone(&self.doors), from_wire(&peer), false, slots)
    }
}

impl NetworkBehaviour for Careless {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: libp2p::PeerId,
        _: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: libp2p::PeerId,
        _: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer))
    }

    fn on_swarm_event(&mut self, _: FromSwarm<'_>) {}

    fn on_connection_handler_event(
        &mut self,
        _: libp2p::PeerId,
        _: ConnectionId,
        event: Infallible,
    ) {
        match event {}
    }

    fn poll(&mut self, _: &mut Context<'_>) -> Poll<ToSwarm<Infallible, OpenRequest>> {
        // Polled after each order, since the swarm is polled again then.
        self.wanted.pop().map_or(Poll::Pending, |(peer_id, event)| {
            Poll::Ready(ToSwarm::NotifyHandler {
                peer_id,
                handler: libp2p::swarm::NotifyHandler::Any,
                event,
            })
        })
    }
}
