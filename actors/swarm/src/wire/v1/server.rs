//! Serves the 1.0.0 protocols: one task for each stream, within the peer's rate, and an answer for
//! every request that could be read.

use std::sync::Arc;
use std::time::Duration;

use bytecave_core::PeerId;
use bytecave_messages::memory::HeldMemory;
use bytecave_messages::swarm::{Refusal, RefusalKind};
use libp2p::Stream;
use tokio::time::{Instant, timeout};
use tracing::debug;

use super::{Kind, describe, refusal};
use crate::wire::counters::Outcome;
use crate::wire::frame::{self, FrameError, SMALL_FRAME_BYTES};
use crate::wire::service::Service;
use crate::wire::streams::{InboundStream, StreamControl};
use crate::wire::turn_away::turn_away;

/// How long a request that says nothing is waited for where none is needed: some programs send
/// none.
const UNNEEDED_REQUEST_TIME: Duration = Duration::from_secs(2);

/// Serves the 1.0.0 protocols.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) service: Arc<Service>,
    control: StreamControl,
}

/// Opens the doors of the 1.0.0 protocols.
pub(crate) fn serve(service: &Arc<Service>, control: &StreamControl) {
    let server = Arc::new(Server {
        service: Arc::clone(service),
        control: control.clone(),
    });
    for kind in Kind::ALL {
        let server = Arc::clone(&server);
        service.spawn(control, kind.protocol(), move |inbound| {
            let server = Arc::clone(&server);
            async move { server.serve(kind, inbound).await }
        });
    }
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
        Self {
            frame: refusal(kind.name(), &why.to_string()),
            outcome: Outcome::refused(why.kind()),
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
    async fn serve(&self, kind: Kind, inbound: InboundStream) {
        let InboundStream {
            peer,
            protocol,
            mut stream,
            slot,
        } = inbound;
        let start = Instant::now();
        let outcome = if self.service.may_ask(&peer) {
            match self.answer(kind, &mut stream, peer).await {
                Ok(reply) => self.send(stream, reply).await,
                Err(error) => {
                    debug!(%peer, protocol = kind.name(), %error, "request not read");
                    let outcome = Outcome::of(&error);
                    if !matches!(error, FrameError::Stream(_)) {
                        let why = Refusal::Invalid(error.to_string());
                        turn_away(stream, &protocol, why.kind(), &why.to_string()).await;
                    }
                    outcome
                }
            }
        } else {
            turn_away(stream, &protocol, RefusalKind::Busy, super::BUSY).await;
            Outcome::Busy
        };
        self.service.count(kind.name(), start, outcome);
        drop(slot);
    }

    async fn answer(
        &self,
        kind: Kind,
        stream: &mut Stream,
        peer: PeerId,
    ) -> Result<Reply, FrameError> {
        match kind {
            Kind::Health => {
                pass_over(stream).await;
                let metrics = self.service.last_hour();
                Ok(Reply::served(describe::health(
                    self.service.facts(),
                    metrics,
                )))
            }
            Kind::Info => {
                pass_over(stream).await;
                let protocols = self.control.protocols();
                Ok(Reply::served(describe::info(
                    self.service.facts(),
                    &protocols,
                )))
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
        match frame::write(&mut stream, &frame, self.service.request_timeout()).await {
            Ok(()) => {
                drop((frame, held));
                if unread {
                    frame::leave(stream).await;
                } else {
                    frame::finish(stream).await;
                }
                outcome
            }
            Err(error) => Outcome::of(&error),
        }
    }
}

/// Takes a request whose content does not matter, if there is one.
async fn pass_over(stream: &mut Stream) {
    let read = frame::read(stream, SMALL_FRAME_BYTES, UNNEEDED_REQUEST_TIME);
    // Whatever it is.
    let _ = timeout(UNNEEDED_REQUEST_TIME, read).await;
}
