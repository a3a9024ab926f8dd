//! Serves the protocols of this kind: one task for each stream, within the peer's rate.

use std::sync::Arc;

use bytecave_core::PeerId;
use bytecave_messages::budget::Share;
use bytecave_messages::ports::hand_on;
use bytecave_messages::swarm::{Answer, InboundSync, Refusal, RefusalKind};
use bytecave_messages::sync::{SyncAnswer, SyncRequest};
use libp2p::Stream;
use tokio::time::Instant;
use tracing::debug;

use super::header::{Header, NoHeader};
use super::{Kind, refusal, sync};
use crate::wire::counters::Outcome;
use crate::wire::frame::{self, FrameError};
use crate::wire::service::Service;
use crate::wire::streams::{InboundStream, StreamControl};
use crate::wire::turn_away::turn_away;
use crate::wire::v1;

/// Serves the protocols between nodes of this program.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) service: Arc<Service>,
}

/// Opens the doors of these protocols.
pub(crate) fn serve(service: &Arc<Service>, control: &StreamControl) {
    let server = Arc::new(Server {
        service: Arc::clone(service),
    });
    for kind in Kind::ALL {
        let server = Arc::clone(&server);
        service.spawn(control, kind.protocol(), move |inbound| {
            let server = Arc::clone(&server);
            async move { server.serve(kind, inbound).await }
        });
    }
}

impl Server {
    async fn serve(&self, kind: Kind, inbound: InboundStream) {
        let InboundStream {
            peer,
            protocol,
            stream,
            slot,
        } = inbound;
        let start = Instant::now();
        let may = match kind {
            Kind::Sync => self.service.may_compare(&peer),
            Kind::Proof => self.service.may_challenge(&peer),
            Kind::Retrieve | Kind::Replicate => self.service.may_stream(&peer),
        };
        let outcome = if may {
            match kind {
                Kind::Retrieve => self.retrieve(stream, peer).await,
                Kind::Replicate => self.replicate(stream, peer).await,
                Kind::Sync => self.sync(stream, peer).await,
                Kind::Proof => self.prove(stream, peer).await,
            }
        } else {
            turn_away(stream, &protocol, RefusalKind::Busy, v1::BUSY).await;
            Outcome::Busy
        };
        self.service.count(kind.name(), start, outcome);
        drop(slot);
    }

    /// Reads the header of a request; what is wrong with it was said when there is none.
    pub(super) async fn header(
        &self,
        kind: Kind,
        mut stream: Stream,
        peer: PeerId,
    ) -> Result<(Header, Stream), Outcome> {
        match Header::read_within(&mut stream, self.service.request_timeout()).await {
            Ok(header) => Ok((header, stream)),
            Err(NoHeader::Frame(error)) => Err(unread(kind, stream, peer, &error).await),
            Err(NoHeader::Nonsense(error)) => {
                debug!(%peer, protocol = kind.name(), %error, "request makes no sense");
                let why = Refusal::Invalid(error.to_string());
                Err(self.refuse(kind, stream, &why).await)
            }
        }
    }

    /// Says why not. The peer may still be sending.
    pub(super) async fn refuse(&self, kind: Kind, stream: Stream, why: &Refusal) -> Outcome {
        turn_away(stream, &kind.protocol(), why.kind(), &why.to_string()).await;
        Outcome::refused(why.kind())
    }

    async fn sync(&self, mut stream: Stream, peer: PeerId) -> Outcome {
        let kind = Kind::Sync;
        let patience = self.service.request_timeout();
        let question = match frame::read(&mut stream, sync::QUESTION_BYTES, patience).await {
            Ok(question) => question,
            Err(error) => return unread(kind, stream, peer, &error).await,
        };
        let answered = self.compare(peer, &question).await;
        drop(question);
        self.answer(stream, answered).await
    }

    /// Gives an answer that is one frame, or says why there is none.
    pub(super) async fn answer(
        &self,
        mut stream: Stream,
        answered: Result<Vec<u8>, Refusal>,
    ) -> Outcome {
        // Whoever reads slowly holds it for as long.
        let answered = answered.and_then(|answer| {
            let held = self.service.memory().for_bytes(answer.len() as u64);
            held.map(|held| (answer, held)).ok_or(Refusal::Busy)
        });
        let mut held = None;
        let (answer, outcome) = match answered {
            Ok((answer, memory)) => {
                held = Some(memory);
                (answer, Outcome::Served)
            }
            Err(why) => (
                refusal(why.kind(), &why.to_string()),
                Outcome::refused(why.kind()),
            ),
        };
        let patience = self.service.request_timeout();
        let written = frame::write(&mut stream, &answer, patience).await;
        drop((answer, held));
        match written {
            Ok(()) => {
                frame::finish(stream).await;
                outcome
            }
            Err(error) => Outcome::of(&error),
        }
    }

    async fn compare(&self, peer: PeerId, question: &[u8]) -> Result<Vec<u8>, Refusal> {
        let count = self.service.facts().shards.count();
        let request: SyncRequest = sync::parse_request(question, count)
            .map_err(|error| Refusal::Invalid(error.to_string()))?;
        let permit = self.service.permit(Share::Peer, "sync")?;
        let (answer, answered) = Answer::new();
        let event = InboundSync {
            from: peer,
            request,
            answer,
            permit,
        };
        hand_on(&self.service.events().sync, event);
        let answer: SyncAnswer = self.service.answered(answered).await?;
        sync::answer_frame(&answer)
    }
}

/// A request that did not come whole.
async fn unread(kind: Kind, stream: Stream, peer: PeerId, error: &FrameError) -> Outcome {
    debug!(%peer, protocol = kind.name(), %error, "request not read");
    if !matches!(error, FrameError::Stream(_)) {
        let why = Refusal::Invalid(error.to_string());
        turn_away(stream, &kind.protocol(), why.kind(), &why.to_string()).await;
    }
    Outcome::of(error)
}
