//! The behaviour that carries all protocols of this program: inbound streams go to whoever serves
//! their protocol, outbound ones are opened over direct connections.
//!
//! No inbound stream is lost without an answer while there is room to answer at all: one for which
//! there is no place is told that the node is busy, in the form of its protocol, and closed; only
//! when even the lane for that is full is it reset. Streams over relayed connections, whose limits
//! of bytes and time leave no room for blobs, are refused, and none is opened over them; but for the
//! protocols that are small enough.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use bytecave_core::PeerId;
use libp2p::core::Endpoint;
use libp2p::core::transport::PortUse;
use libp2p::swarm::behaviour::{ConnectionClosed, ConnectionEstablished, DialFailure};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::swarm::{
    ConnectionDenied, ConnectionId, DialError, FromSwarm, NetworkBehaviour, NotifyHandler, ToSwarm,
};
use libp2p::{Multiaddr, Stream, StreamProtocol};
use thiserror::Error;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};

use super::counters::WireCounters;
use super::doors::Doors;
pub(crate) use super::doors::{InboundStream, StreamLimits};
use super::handler::{Handler, OpenRequest};
use crate::addresses::is_relayed;
use crate::ids::{from_wire, to_wire};

/// Requests to open streams between the controls and the behaviour; whoever finds no room waits,
/// within its own time.
const COMMANDS: usize = 64;
/// Entries without a connection that are let stand before they are looked for.
const SLOTS_SWEPT: usize = 256;
/// How much of the reason of a failed dial is kept.
const CAUSE_CHARS: usize = 200;

/// Why no stream was opened.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum OpenError {
    /// There is no connection that will do, and none could be made.
    #[error("{0}")]
    Unreachable(String),
    /// The peer speaks none of the protocols.
    #[error("the peer speaks none of the protocols")]
    Unsupported,
    /// Too many streams to the peer are being opened.
    #[error("too many streams are being opened")]
    Busy,
    /// The time was up.
    #[error("opening a stream took too long")]
    TimedOut,
    /// The network is gone.
    #[error("the network is not running")]
    Stopped,
}

/// A stream that this node opened.
#[derive(Debug)]
pub(crate) struct OpenedStream {
    /// Which of the offered protocols was taken.
    pub(crate) protocol: StreamProtocol,
    /// The bytes.
    pub(crate) stream: Stream,
}

/// Opens streams and takes inbound ones. Clones share the behaviour.
#[derive(Debug, Clone)]
pub(crate) struct StreamControl {
    doors: Arc<Doors>,
    commands: mpsc::Sender<Command>,
}

/// The inbound streams of one protocol. Dropped, the protocol is no longer served.
#[derive(Debug)]
pub(crate) struct Incoming {
    doors: Arc<Doors>,
    protocol: StreamProtocol,
    streams: mpsc::Receiver<InboundStream>,
}

#[derive(Debug)]
struct Command {
    peer: libp2p::PeerId,
    request: OpenRequest,
}

/// The behaviour.
#[derive(Debug)]
pub(crate) struct Streams {
    doors: Arc<Doors>,
    commands: mpsc::Receiver<Command>,
    connections: HashMap<libp2p::PeerId, Connections>,
    /// The places of each peer; alive while it is connected or one of its streams is in service.
    slots: HashMap<libp2p::PeerId, Weak<Semaphore>>,
    /// Requests for peers that are being dialled.
    waiting: HashMap<libp2p::PeerId, Vec<OpenRequest>>,
    events: VecDeque<ToSwarm<Infallible, OpenRequest>>,
}

#[derive(Debug, Default)]
struct Connections {
    direct: Vec<ConnectionId>,
    relayed: Vec<ConnectionId>,
}

impl StreamControl {
    /// From here on this node serves `protocol`; before it listens, so that no peer finds it
    /// missing.
    pub(crate) fn accept(&self, protocol: StreamProtocol) -> Incoming {
        let streams = self.doors.register(&protocol);
        Incoming {
            doors: Arc::clone(&self.doors),
            protocol,
            streams,
        }
    }

    /// The protocols that are served now, in order.
    pub(crate) fn protocols(&self) -> Arc<[StreamProtocol]> {
        self.doors.names()
    }

    /// The longest that opening a stream takes.
    pub(crate) fn open_timeout(&self) -> Duration {
        self.doors.limits.open_timeout
    }

    /// Opens a stream to `peer` over a direct connection, which is made when there is none and an
    /// address is known. The peer takes the first of `protocols` that it speaks.
    pub(crate) async fn open(
        &self,
        peer: &PeerId,
        protocols: &[StreamProtocol],
    ) -> Result<OpenedStream, OpenError> {
        let (reply, opened) = oneshot::channel();
        let request = OpenRequest {
            protocols: protocols.to_vec(),
            relayed: false,
            patience: self.open_timeout(),
            connected: None,
            reply,
        };
        let open = async {
            self.command(peer, request).await?;
            opened.await.unwrap_or_else(|_| Err(closed()))
        };
        timeout(self.open_timeout(), open)
            .await
            .unwrap_or(Err(OpenError::TimedOut))
    }

    /// Opens a stream to `peer` over whatever connection there is, a direct one rather than a relayed
    /// one; it is made when there is none. The peer has `patience` to agree on the protocol, which
    /// begins when the connection stands: whoever cannot be connected to is unreachable, however long
    /// that took. Also since when the connection stood.
    pub(crate) async fn open_within(
        &self,
        peer: &PeerId,
        protocol: StreamProtocol,
        patience: Duration,
    ) -> Result<(OpenedStream, Instant), OpenError> {
        let (reply, opened) = oneshot::channel();
        let (connected, stands) = oneshot::channel();
        let request = OpenRequest {
            protocols: vec![protocol],
            relayed: true,
            patience,
            connected: Some(connected),
            reply,
        };
        let connect = async {
            self.command(peer, request).await?;
            Ok(stands.await)
        };
        let Ok(connected) = timeout(self.open_timeout(), connect).await else {
            let cause = "no connection came about in time".to_owned();
            return Err(OpenError::Unreachable(cause));
        };
        // One that was refused before there was a connection has its answer by now.
        let (since, left) = match connected? {
            Ok(since) => (since, patience.saturating_sub(since.elapsed())),
            Err(_) => (Instant::now(), Duration::ZERO),
        };
        match timeout(left, opened).await {
            Ok(opened) => Ok((opened.unwrap_or_else(|_| Err(closed()))?, since)),
            Err(_) => Err(OpenError::TimedOut),
        }
    }

    async fn command(&self, peer: &PeerId, request: OpenRequest) -> Result<(), OpenError> {
        let peer = to_wire(peer);
        let sent = self.commands.send(Command { peer, request }).await;
        sent.map_err(|_| OpenError::Stopped)
    }
}

impl Incoming {
    /// The next stream; none when the network is gone or another took the protocol over.
    pub(crate) async fn next(&mut self) -> Option<InboundStream> {
        self.streams.recv().await
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        self.streams.close();
        self.doors.unregister(&self.protocol);
    }
}

impl Streams {
    /// The behaviour, and the way to it.
    pub(crate) fn new(limits: StreamLimits, counters: WireCounters) -> (Self, StreamControl) {
        let doors = Arc::new(Doors::new(limits, counters));
        let (sender, commands) = mpsc::channel(COMMANDS);
        let streams = Self {
            doors: Arc::clone(&doors),
            commands,
            connections: HashMap::new(),
            slots: HashMap::new(),
            waiting: HashMap::new(),
            events: VecDeque::new(),
        };
        let control = StreamControl {
            doors,
            commands: sender,
        };
        (streams, control)
    }

    fn handler(&mut self, peer: libp2p::PeerId, relayed: bool) -> Handler {
        // Connections that others turn away after this leave entries of no use.
        if self.slots.len() >= SLOTS_SWEPT + 2 * self.connections.len() {
            self.slots.retain(|_, slots| slots.strong_count() > 0);
        }
        let slots = self
            .slots
            .get(&peer)
            .and_then(Weak::upgrade)
            .unwrap_or_else(|| {
                let places = self.doors.limits.per_peer.min(Semaphore::MAX_PERMITS);
                Arc::new(Semaphore::new(places))
            });
        self.slots.insert(peer, Arc::downgrade(&slots));
        Handler::new(Arc::clone(&self.doors), from_wire(&peer), relayed, slots)
    }

    fn on_command(&mut self, Command { peer, request }: Command) {
        if request.reply.is_closed() {
            return;
        }
        let known = self.connections.get(&peer);
        let relayed = known.and_then(|known| known.relayed.first());
        let direct = known.and_then(|known| known.direct.first());
        if let Some(connection) = direct.or(relayed.filter(|_| request.relayed)) {
            self.events.push_back(over(peer, *connection, request));
            return;
        }
        if relayed.is_some() {
            refuse(request, only_relayed);
            return;
        }
        self.sweep();
        let waiting: usize = self.waiting.values().map(Vec::len).sum();
        if waiting >= self.doors.limits.open_queue {
            refuse(request, || OpenError::Busy);
            return;
        }
        self.waiting.entry(peer).or_default().push(request);
        let opts = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        self.events.push_back(ToSwarm::Dial { opts });
    }

    /// Forgets requests whose askers have given up.
    fn sweep(&mut self) {
        self.waiting.retain(|_, requests| {
            requests.retain(|request| !request.reply.is_closed());
            !requests.is_empty()
        });
    }

    fn on_established(&mut self, event: ConnectionEstablished<'_>) {
        let ConnectionEstablished {
            peer_id: peer,
            connection_id: connection,
            endpoint,
            ..
        } = event;
        let connections = self.connections.entry(peer).or_default();
        let is_relayed = endpoint.is_relayed();
        if is_relayed {
            connections.relayed.push(connection);
        } else {
            connections.direct.push(connection);
        }
        // Nobody waits beside a connection that would have done.
        for request in self.waiting.remove(&peer).unwrap_or_default() {
            if is_relayed && !request.relayed {
                // A direct one may still come, but nobody is dialling for it any more.
                refuse(request, only_relayed);
            } else {
                self.events.push_back(over(peer, connection, request));
            }
        }
    }

    fn on_closed(&mut self, event: ConnectionClosed<'_>) {
        let ConnectionClosed {
            peer_id: peer,
            connection_id: connection,
            endpoint,
            remaining_established,
            ..
        } = event;
        if let Some(connections) = self.connections.get_mut(&peer) {
            let list = if endpoint.is_relayed() {
                &mut connections.relayed
            } else {
                &mut connections.direct
            };
            list.retain(|listed| *listed != connection);
        }
        if remaining_established == 0 {
            self.connections.remove(&peer);
            self.slots.retain(|_, slots| slots.strong_count() > 0);
        }
    }

    fn on_dial_failure(&mut self, event: DialFailure<'_>) {
        let Some(peer) = event.peer_id else {
            return;
        };
        // Somebody else is dialling already: what comes of that is what comes of this.
        if matches!(event.error, DialError::DialPeerConditionFalse(_)) {
            return;
        }
        let cause = match event.error {
            DialError::NoAddresses => "no address of it is known".to_owned(),
            error => error.to_string().chars().take(CAUSE_CHARS).collect(),
        };
        self.fail(peer, &OpenError::Unreachable(cause));
    }

    fn fail(&mut self, peer: libp2p::PeerId, error: &OpenError) {
        for request in self.waiting.remove(&peer).unwrap_or_default() {
            refuse(request, || error.clone());
        }
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.doors.close();
    }
}

fn over(
    peer: libp2p::PeerId,
    connection: ConnectionId,
    mut request: OpenRequest,
) -> ToSwarm<Infallible, OpenRequest> {
    if let Some(connected) = request.connected.take() {
        // Whoever asked may have given up.
        let _ = connected.send(Instant::now());
    }
    ToSwarm::NotifyHandler {
        peer_id: peer,
        handler: NotifyHandler::One(connection),
        event: request,
    }
}

fn closed() -> OpenError {
    OpenError::Unreachable("the connection closed".to_owned())
}

fn only_relayed() -> OpenError {
    OpenError::Unreachable("it is connected through a relay only".to_owned())
}

fn refuse(request: OpenRequest, error: impl FnOnce() -> OpenError) {
    // Whoever asked may have given up.
    let _ = request.reply.send(Err(error()));
}

impl NetworkBehaviour for Streams {
    type ConnectionHandler = Handler;
    type ToSwarm = Infallible;

    fn handle_established_inbound_connection(
        &mut self,
        _: ConnectionId,
        peer: libp2p::PeerId,
        local: &Multiaddr,
        _: &Multiaddr,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer, is_relayed(local)))
    }

    fn handle_established_outbound_connection(
        &mut self,
        _: ConnectionId,
        peer: libp2p::PeerId,
        address: &Multiaddr,
        _: Endpoint,
        _: PortUse,
    ) -> Result<Handler, ConnectionDenied> {
        Ok(self.handler(peer, is_relayed(address)))
    }

    fn on_swarm_event(&mut self, event: FromSwarm<'_>) {
        match event {
            FromSwarm::ConnectionEstablished(event) => self.on_established(event),
            FromSwarm::ConnectionClosed(event) => self.on_closed(event),
            FromSwarm::DialFailure(event) => self.on_dial_failure(event),
            _ => {}
        }
    }

    fn on_connection_handler_event(
        &mut self,
        _: libp2p::PeerId,
        _: ConnectionId,
        event: Infallible,
    ) {
        match event {}
    }

    fn poll(&mut self, context: &mut Context<'_>) -> Poll<ToSwarm<Infallible, OpenRequest>> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Poll::Ready(event);
            }
            match self.commands.poll_recv(context) {
                Poll::Ready(Some(command)) => self.on_command(command),
                // No control is left, and none will come.
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}
