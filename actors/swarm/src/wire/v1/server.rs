//! Serves the 1.0.0 protocols: one task for each stream, within the peer's rate, and an answer for
//! every request that could be read.

use std::sync::Arc;
use std::time::Duration;

use bytecave_core::PeerId;
use bytecave_messages::budget::{Budget, Permit, Share};
use bytecave_messages::memory::HeldMemory;
use bytecave_messages::ports::SwarmEvents;
use bytecave_messages::swarm::{Admission, Refusal};
use libp2p::Stream;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::served::Served;
use super::{Kind, describe, refusal};
use crate::facts::Facts;
use crate::memory::BodyMemory;
use crate::wire::counters::{Outcome, WireCounters};
use crate::wire::frame::{self, FrameError, SMALL_FRAME_BYTES};
use crate::wire::rates::Rates;
use crate::wire::streams::{InboundStream, StreamControl};
use crate::wire::turn_away::turn_away;

/// How long a request that says nothing is waited for where none is needed: some programs send
/// none.
const UNNEEDED_REQUEST_TIME: Duration = Duration::from_secs(2);

/// The settings that the protocols need.
#[derive(Debug, Clone)]
pub(crate) struct ServerSettings {
    /// `p2p.request_timeout`
    pub(crate) request_timeout: Duration,
    /// `p2p.requests_per_second_per_peer`
    pub(crate) requests_per_second_per_peer: u32,
    /// `p2p.request_burst_per_peer`
    pub(crate) request_burst_per_peer: u32,
    /// Whether anybody may store: `p2p.store_access` is not `off`.
    pub(crate) takes_stores: bool,
}

/// What a server is made of.
#[derive(Debug)]
pub(crate) struct ServerParts {
    /// What the node says of itself.
    pub(crate) facts: Arc<Facts>,
    /// Who answers.
    pub(crate) events: SwarmEvents,
    /// The permits that requests take.
    pub(crate) budget: Budget,
    /// The memory for blobs in flight.
    pub(crate) memory: BodyMemory,
    /// Who may send replicas.
    pub(crate) admission: watch::Receiver<Admission>,
    /// The settings.
    pub(crate) settings: ServerSettings,
    /// What is counted.
    pub(crate) counters: WireCounters,
    /// Knows the tasks.
    pub(crate) tracker: TaskTracker,
    /// Ends them.
    pub(crate) stop: CancellationToken,
}

/// Serves the 1.0.0 protocols.
#[derive(Debug)]
pub(crate) struct Server {
    parts: ServerParts,
    rates: Rates,
    served: Served,
}

/// What a request is answered.
pub(super) struct Reply {
    frame: Vec<u8>,
    outcome: Outcome,
    held: Option<HeldMemory>,
    /// The peer may still be sending its request.
    unread: bool,
}

impl Reply {
    /// As asked.
    pub(super) fn served(frame: Vec<u8>) -> Self {
        Self {
            frame,
            outcome: Outcome::Served,
            held: None,
            unread: false,
        }
    }

    /// With memory that is held until the answer is out.
    pub(super) fn holding(mut self, held: HeldMemory) -> Self {
        self.held = Some(held);
        self
    }

    /// Not, and why.
    pub(super) fn refused(kind: Kind, why: &Refusal) -> Self {
        let outcome = match why {
            Refusal::NotFound => Outcome::NotFound,
            Refusal::Invalid(_) | Refusal::Mismatch { .. } => Outcome::Invalid,
            Refusal::Busy => Outcome::Busy,
            _ => Outcome::Refused,
        };
        Self {
            frame: refusal(kind.name(), &why.to_string()),
            outcome,
            held: None,
            unread: false,
        }
    }

    /// Given before the request was read.
    pub(super) fn unread(mut self) -> Self {
        self.unread = true;
        self
    }
}

impl Server {
    pub(crate) fn new(parts: ServerParts) -> Arc<Self> {
        let settings = &parts.settings;
        Arc::new(Self {
            rates: Rates::new(
                settings.requests_per_second_per_peer,
                settings.request_burst_per_peer,
            ),
            served: Served::new(),
            parts,
        })
    }

    /// Opens the doors of all protocols, and serves who comes until the token is cancelled.
    pub(crate) fn spawn(self: Arc<Self>, control: &StreamControl) {
        for kind in Kind::ALL {
            let mut incoming = control.accept(kind.protocol());
            let (server, control) = (Arc::clone(&self), control.clone());
            let stop = self.parts.stop.clone();
            self.parts.tracker.spawn(async move {
                let take = async {
                    while let Some(stream) = incoming.next().await {
                        server.take(kind, stream, &control);
                    }
                };
                stop.run_until_cancelled(take).await;
            });
        }
    }

    fn take(self: &Arc<Self>, kind: Kind, stream: InboundStream, control: &StreamControl) {
        let (server, control) = (Arc::clone(self), control.clone());
        self.parts.tracker.spawn(async move {
            let stop = server.parts.stop.clone();
            stop.run_until_cancelled(server.serve(kind, stream, &control))
                .await;
        });
    }

    async fn serve(&self, kind: Kind, inbound: InboundStream, control: &StreamControl) {
        let InboundStream {
            peer,
            protocol,
            mut stream,
            slot,
        } = inbound;
        let start = Instant::now();
        let outcome = if self.rates.take(&peer) {
            match self.answer(kind, &mut stream, peer, control).await {
                Ok(reply) => self.send(stream, reply).await,
                Err(error) => {
                    debug!(%peer, protocol = kind.name(), %error, "request not read");
                    let outcome = failed(&error);
                    if !matches!(error, FrameError::Stream(_)) {
                        let why = Refusal::Invalid(error.to_string());
                        turn_away(stream, &protocol, &why.to_string()).await;
                    }
                    outcome
                }
            }
        } else {
            turn_away(stream, &protocol, super::BUSY).await;
            Outcome::Busy
        };
        self.parts.counters.request(kind.name(), outcome);
        self.served
            .record(start.elapsed(), outcome == Outcome::Served);
        drop(slot);
    }

    async fn answer(
        &self,
        kind: Kind,
        stream: &mut Stream,
        peer: PeerId,
        control: &StreamControl,
    ) -> Result<Reply, FrameError> {
        match kind {
            Kind::Health => {
                pass_over(stream).await;
                let metrics = self.served.last_hour();
                Ok(Reply::served(describe::health(&self.parts.facts, metrics)))
            }
            Kind::Info => {
                pass_over(stream).await;
                let protocols = control.protocols();
                Ok(Reply::served(describe::info(&self.parts.facts, &protocols)))
            }
            Kind::HaveList => self.have_list(stream, peer).await,
            Kind::Blob | Kind::Retrieve => self.blob(kind, stream, peer).await,
            Kind::Replicate => self.replicate(stream, peer).await,
            Kind::Store => self.store(stream, peer).await,
        }
    }

    async fn send(&self, mut stream: Stream, reply: Reply) -> Outcome {
        let Reply {
            frame,
            outcome,
            held,
            unread,
        } = reply;
        match frame::write(&mut stream, &frame, self.request_timeout()).await {
            Ok(()) => {
                drop((frame, held));
                if unread {
                    frame::leave(stream).await;
                } else {
                    frame::finish(stream).await;
                }
                outcome
            }
            Err(error) => failed(&error),
        }
    }

    pub(super) fn events(&self) -> &SwarmEvents {
        &self.parts.events
    }

    pub(super) fn memory(&self) -> &BodyMemory {
        &self.parts.memory
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.parts.settings.request_timeout
    }

    pub(super) fn permit(&self, share: Share, kind: &'static str) -> Result<Permit, Refusal> {
        self.parts
            .budget
            .try_acquire(share, kind)
            .map_err(|_| Refusal::Busy)
    }

    pub(super) fn admits(&self, peer: &PeerId) -> Result<(), Refusal> {
        self.parts.admission.borrow().admits(peer)
    }

    pub(super) fn takes_stores(&self) -> Result<(), Refusal> {
        if self.parts.settings.takes_stores {
            Ok(())
        } else {
            Err(Refusal::NotAuthorized(
                "this node takes nothing from clients of the network".to_owned(),
            ))
        }
    }

    pub(super) fn may_have_page(&self, peer: &PeerId, offset: u64, limit: u64) -> bool {
        self.rates.take_page(peer, offset, limit)
    }

    /// The answer of whoever was asked. Dropped, or not there in time: the node is busy.
    pub(super) async fn answered<T>(
        &self,
        answer: oneshot::Receiver<Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        match timeout(self.request_timeout(), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Refusal::Busy),
        }
    }
}

/// Takes a request whose content does not matter, if there is one.
async fn pass_over(stream: &mut Stream) {
    let read = frame::read(stream, SMALL_FRAME_BYTES, UNNEEDED_REQUEST_TIME);
    // Whatever it is.
    let _ = timeout(UNNEEDED_REQUEST_TIME, read).await;
}

fn failed(error: &FrameError) -> Outcome {
    match error {
        FrameError::TooLong { .. } => Outcome::Invalid,
        FrameError::TimedOut { .. } => Outcome::TimedOut,
        FrameError::Ended { .. } | FrameError::Stream(_) => Outcome::Broken,
    }
}
