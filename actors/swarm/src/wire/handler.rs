//! The streams of one connection.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::{Ready, ready};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytecave_core::PeerId;
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use libp2p::core::upgrade::{InboundUpgrade, OutboundUpgrade, UpgradeInfo};
use libp2p::swarm::handler::{
    ConnectionEvent, DialUpgradeError, FullyNegotiatedInbound, FullyNegotiatedOutbound,
};
use libp2p::swarm::{
    ConnectionHandler, ConnectionHandlerEvent, StreamUpgradeError, SubstreamProtocol,
};
use libp2p::{Stream, StreamProtocol};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use super::counters::TurnedAway;
use super::doors::{Doors, Rejected};
use super::streams::{OpenError, OpenedStream};
use super::turn_away::{Why, turn_away};
use super::v2;

/// A stream that somebody of this node wants.
#[derive(Debug)]
pub(crate) struct OpenRequest {
    /// In the order in which they are offered; one of them is taken.
    pub(crate) protocols: Vec<StreamProtocol>,
    /// Whether a relayed connection will do.
    pub(crate) relayed: bool,
    /// Time to agree on the protocol, once there is a connection.
    pub(crate) patience: Duration,
    /// Told as soon as there is a connection.
    pub(crate) connected: Option<oneshot::Sender<Instant>>,
    pub(crate) reply: Reply,
}

pub(crate) type Reply = oneshot::Sender<Result<OpenedStream, OpenError>>;

/// Serves one connection.
pub(crate) struct Handler {
    doors: Arc<Doors>,
    /// None for keys of another kind than this network's.
    peer: Option<PeerId>,
    relayed: bool,
    /// Inbound streams that the peer may have, over all its connections.
    slots: Arc<Semaphore>,
    wanted: VecDeque<OpenRequest>,
    opening: usize,
    turned_away: FuturesUnordered<BoxFuture<'static, ()>>,
}

impl Handler {
    pub(crate) fn new(
        doors: Arc<Doors>,
        peer: Option<PeerId>,
        relayed: bool,
        slots: Arc<Semaphore>,
    ) -> Self {
        Self {
            doors,
            peer,
            relayed,
            slots,
            wanted: VecDeque::new(),
            opening: 0,
            turned_away: FuturesUnordered::new(),
        }
    }

    fn on_inbound(&mut self, protocol: StreamProtocol, stream: Stream) {
        let passes = || {
            let ours = v2::Kind::of(protocol.as_ref());
            ours.is_some_and(v2::Kind::passes_relays)
        };
        let allowed = if self.relayed && !passes() {
            Err(Why::Relayed)
        } else {
            self.peer.ok_or(Why::ForeignKey)
        };
        let rejected = match allowed {
            Ok(peer) => self.doors.admit(peer, &self.slots, protocol, stream),
            Err(why) => Some(Rejected {
                protocol,
                stream,
                why,
            }),
        };
        let Some(Rejected {
            protocol,
            stream,
            why,
        }) = rejected
        else {
            return;
        };
        let place = if self.turned_away.len() < self.doors.limits.busy_lane_per_connection {
            self.doors.lane()
        } else {
            None
        };
        let Some(place) = place else {
            // Dropped unclosed, the stream is reset.
            self.doors.counters.turned_away(TurnedAway::Reset);
            return;
        };
        self.doors.counters.turned_away(why.counted());
        self.turned_away.push(Box::pin(async move {
            turn_away(stream, &protocol, why.kind(), why.text()).await;
            drop(place);
        }));
    }

    fn on_opened(&mut self, reply: Reply, result: Result<OpenedStream, OpenError>) {
        self.opening = self.opening.saturating_sub(1);
        // Whoever asked may have given up.
        let _ = reply.send(result);
    }
}

impl ConnectionHandler for Handler {
    type FromBehaviour = OpenRequest;
    type ToBehaviour = Infallible;
    type InboundProtocol = Names;
    type OutboundProtocol = Names;
    type InboundOpenInfo = ();
    type OutboundOpenInfo = Reply;

    fn listen_protocol(&self) -> SubstreamProtocol<Names> {
        SubstreamProtocol::new(Names(self.doors.names()), ())
            .with_timeout(self.doors.limits.open_timeout)
    }

    fn on_behaviour_event(&mut self, request: OpenRequest) {
        if self.wanted.len() < self.doors.limits.open_queue {
            self.wanted.push_back(request);
        } else {
            let _ = request.reply.send(Err(OpenError::Busy));
        }
    }

    fn on_connection_event(&mut self, event: ConnectionEvent<'_, Names, Names, (), Reply>) {
        match event {
            ConnectionEvent::FullyNegotiatedInbound(FullyNegotiatedInbound {
                protocol: (protocol, stream),
                ..
            }) => self.on_inbound(protocol, stream),
            ConnectionEvent::FullyNegotiatedOutbound(FullyNegotiatedOutbound {
                protocol: (protocol, stream),
                info,
            }) => self.on_opened(info, Ok(OpenedStream { protocol, stream })),
            ConnectionEvent::DialUpgradeError(DialUpgradeError { info, error }) => {
                let error = match error {
                    StreamUpgradeError::NegotiationFailed => OpenError::Unsupported,
                    StreamUpgradeError::Timeout => OpenError::TimedOut,
                    StreamUpgradeError::Io(error) => OpenError::Unreachable(error.to_string()),
                    StreamUpgradeError::Apply(never) => match never {},
                };
                self.on_opened(info, Err(error));
            }
            _ => {}
        }
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<ConnectionHandlerEvent<Names, Reply, Infallible>> {
        while let Poll::Ready(Some(())) = self.turned_away.poll_next_unpin(context) {}
        while self.opening < self.doors.limits.opening_per_connection {
            let Some(request) = self.wanted.pop_front() else {
                break;
            };
            let OpenRequest {
                protocols,
                patience,
                reply,
                ..
            } = request;
            if reply.is_closed() {
                continue;
            }
            self.opening += 1;
            let offer =
                SubstreamProtocol::new(Names(protocols.into()), reply).with_timeout(patience);
            return Poll::Ready(ConnectionHandlerEvent::OutboundSubstreamRequest {
                protocol: offer,
            });
        }
        Poll::Pending
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler")
            .field("peer", &self.peer)
            .field("relayed", &self.relayed)
            .finish_non_exhaustive()
    }
}

/// Agrees on one of these names and gives the stream as it is.
#[derive(Debug, Clone)]
pub(crate) struct Names(Arc<[StreamProtocol]>);

impl UpgradeInfo for Names {
    type Info = StreamProtocol;
    type InfoIter = std::vec::IntoIter<StreamProtocol>;

    fn protocol_info(&self) -> Self::InfoIter {
        Vec::from(&*self.0).into_iter()
    }
}

impl InboundUpgrade<Stream> for Names {
    type Output = (StreamProtocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_inbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((name, stream)))
    }
}

impl OutboundUpgrade<Stream> for Names {
    type Output = (StreamProtocol, Stream);
    type Error = Infallible;
    type Future = Ready<Result<Self::Output, Infallible>>;

    fn upgrade_outbound(self, stream: Stream, name: StreamProtocol) -> Self::Future {
        ready(Ok((name, stream)))
    }
}
