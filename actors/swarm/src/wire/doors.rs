//! Where inbound streams go: a bounded queue for each protocol, a bounded number of streams for
//! each peer and for the node, and a bounded lane for those that find no room.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use bytecave_core::PeerId;
use libp2p::{Stream, StreamProtocol};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::counters::{TurnedAway, WireCounters};
use super::turn_away::Why;

/// Bounds of the streams of a node.
#[derive(Debug, Clone)]
pub(crate) struct StreamLimits {
    /// Inbound streams that may wait for whoever serves their protocol, for each protocol. Servers
    /// take them at once; too low turns bursts away.
    pub(crate) accept_queue: usize,
    /// Inbound streams of one peer, waiting or in service (`p2p.max_streams_per_peer`).
    pub(crate) per_peer: usize,
    /// Inbound streams of all peers, waiting or in service. Too high: many peers together can hold
    /// the memory of that many receive windows.
    pub(crate) total: usize,
    /// Inbound streams being told that there is no room, in the node. Beyond that they are reset.
    pub(crate) busy_lane: usize,
    /// The same for one connection, so that no peer takes the whole lane.
    pub(crate) busy_lane_per_connection: usize,
    /// Outbound streams being negotiated over one connection; others wait in its queue.
    pub(crate) opening_per_connection: usize,
    /// Outbound streams waiting to be negotiated: for one connection, and for all peers that are
    /// being dialled.
    pub(crate) open_queue: usize,
    /// Time to open an outbound stream, dialling included, and to agree on the protocol of an
    /// inbound one.
    pub(crate) open_timeout: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self {
            accept_queue: 256,
            per_peer: 64,
            total: 4096,
            busy_lane: 1024,
            busy_lane_per_connection: 512,
            opening_per_connection: 128,
            open_queue: 1024,
            open_timeout: Duration::from_secs(15),
        }
    }
}

/// An inbound stream, its protocol agreed upon; nothing of it has been read.
#[derive(Debug)]
pub(crate) struct InboundStream {
    /// Who opened it.
    pub(crate) peer: PeerId,
    /// The protocol.
    pub(crate) protocol: StreamProtocol,
    /// The bytes; over a direct connection, unless the protocol is small enough for relayed ones.
    pub(crate) stream: Stream,
    /// Its place among the streams of the peer and of the node, given back by drop.
    pub(crate) slot: Slot,
}

/// An inbound stream for which there is no place.
#[derive(Debug)]
pub(crate) struct Rejected {
    pub(crate) protocol: StreamProtocol,
    pub(crate) stream: Stream,
    pub(crate) why: Why,
}

/// A place among the inbound streams.
#[derive(Debug)]
pub(crate) struct Slot {
    _peer: OwnedSemaphorePermit,
    _node: OwnedSemaphorePermit,
}

/// Shared by the behaviour, its handlers and its controls.
#[derive(Debug)]
pub(crate) struct Doors {
    pub(crate) limits: StreamLimits,
    pub(crate) counters: WireCounters,
    table: RwLock<Arc<Table>>,
    total: Arc<Semaphore>,
    lane: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Table {
    names: Arc<[StreamProtocol]>,
    queues: HashMap<StreamProtocol, mpsc::Sender<InboundStream>>,
}

impl Doors {
    pub(crate) fn new(limits: StreamLimits, counters: WireCounters) -> Self {
        let permits = |wanted: usize| Arc::new(Semaphore::new(wanted.min(Semaphore::MAX_PERMITS)));
        Self {
            total: permits(limits.total),
            lane: permits(limits.busy_lane),
            table: RwLock::default(),
            limits,
            counters,
        }
    }

    /// The protocols that are served.
    pub(crate) fn names(&self) -> Arc<[StreamProtocol]> {
        Arc::clone(&self.table().names)
    }

    /// Opens the door of a protocol. A queue that was there before ends.
    pub(crate) fn register(&self, protocol: &StreamProtocol) -> mpsc::Receiver<InboundStream> {
        let (sender, receiver) = mpsc::channel(self.limits.accept_queue.max(1));
        self.change(|queues| {
            queues.insert(protocol.clone(), sender);
        });
        receiver
    }

    /// Closes the door of a protocol, if nobody takes its streams any more.
    pub(crate) fn unregister(&self, protocol: &StreamProtocol) {
        self.change(|queues| {
            if queues.get(protocol).is_some_and(mpsc::Sender::is_closed) {
                queues.remove(protocol);
            }
        });
    }

    /// Closes all doors: the network is gone.
    pub(crate) fn close(&self) {
        self.change(HashMap::clear);
    }

    /// Hands a stream on, or gives it back with the reason why not.
    pub(crate) fn admit(
        &self,
        peer: PeerId,
        slots: &Arc<Semaphore>,
        protocol: StreamProtocol,
        stream: Stream,
    ) -> Option<Rejected> {
        let rejected = |protocol, stream, reason| {
            let why = Why::Busy(reason);
            Some(Rejected {
                protocol,
                stream,
                why,
            })
        };
        let Ok(of_peer) = Arc::clone(slots).try_acquire_owned() else {
            return rejected(protocol, stream, TurnedAway::PeerLimit);
        };
        let Ok(of_node) = Arc::clone(&self.total).try_acquire_owned() else {
            return rejected(protocol, stream, TurnedAway::Full);
        };
        let Some(queue) = self.table().queues.get(&protocol).cloned() else {
            return rejected(protocol, stream, TurnedAway::Full);
        };
        let inbound = InboundStream {
            peer,
            protocol,
            stream,
            slot: Slot {
                _peer: of_peer,
                _node: of_node,
            },
        };
        let InboundStream {
            protocol, stream, ..
        } = queue.try_send(inbound).err()?.into_inner();
        rejected(protocol, stream, TurnedAway::Full)
    }

    /// A place in the lane of those that are told there is no room.
    pub(crate) fn lane(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.lane).try_acquire_owned().ok()
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(&self.table.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn change(&self, with: impl FnOnce(&mut HashMap<StreamProtocol, mpsc::Sender<InboundStream>>)) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let mut queues = table.queues.clone();
        with(&mut queues);
        let mut names: Vec<_> = queues.keys().cloned().collect();
        names.sort_by(|one, other| one.as_ref().cmp(other.as_ref()));
        *table = Arc::new(Table {
            names: names.into(),
            queues,
        });
    }
}
