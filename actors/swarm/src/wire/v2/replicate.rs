//! Copies on their way in.
//!
//! What is stated of a blob comes first, and whoever decides says no before a byte of it flows. The
//! acknowledgement is sent when the replicator says that the copy is durable, and never before.

use bytecave_core::PeerId;
use bytecave_messages::body::BodySender;
use bytecave_messages::budget::Share;
use bytecave_messages::ports::hand_on;
use bytecave_messages::swarm::{
    Answer, InboundReplica, Kept, Offer, Refusal, ReplicaBody, StatedBlob,
};
use libp2p::Stream;
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::debug;

use super::header::{Header, HeaderError, Word, needed};
use super::pieces::{self, TransferError};
use super::server::Server;
use super::{BLOB_BYTES_MAX, Kind};
use crate::wire::counters::Outcome;
use crate::wire::frame::{self, FrameError};

type Verdict = Result<Kept, Refusal>;

/// What whoever decides said first.
enum Decision {
    /// The bytes are wanted here.
    Wanted(BodySender),
    /// They are not.
    Answered(Verdict),
}

impl Server {
    pub(super) async fn replicate(&self, stream: Stream, peer: PeerId) -> Outcome {
        let kind = Kind::Replicate;
        if let Err(why) = self.service.admits(&peer) {
            return self.refuse(kind, stream, &why).await;
        }
        let (header, mut stream) = match self.header(kind, stream, peer).await {
            Ok(read) => read,
            Err(outcome) => return outcome,
        };
        let mut offered = match self.offer(peer, header) {
            Ok(offered) => offered,
            Err(why) => return self.refuse(kind, stream, &why).await,
        };
        let patience = self.service.request_timeout();
        let decision = timeout(patience, offered.decision()).await;
        let verdict = match decision.unwrap_or(Decision::Answered(Err(Refusal::Busy))) {
            Decision::Answered(verdict) => verdict,
            Decision::Wanted(body) => {
                let go_ahead = Header::word(Word::Send).frame();
                if let Err(error) = frame::write(&mut stream, &go_ahead, patience).await {
                    return Outcome::of(&error);
                }
                match self.receive(&mut stream, peer, offered, body).await {
                    Ok(verdict) => verdict,
                    Err(error) => {
                        debug!(%peer, %error, "the copy did not come whole");
                        return self.not_whole(stream, error).await;
                    }
                }
            }
        };
        match verdict {
            Ok(kept) => self.acknowledge(stream, kept).await,
            Err(why) => self.refuse(kind, stream, &why).await,
        }
    }

    fn offer(&self, peer: PeerId, header: Header) -> Result<Offered, Refusal> {
        let blob = stated(header).map_err(|error| Refusal::Invalid(error.to_string()))?;
        let size = blob.size;
        if size > BLOB_BYTES_MAX {
            let limit_bytes = BLOB_BYTES_MAX;
            return Err(Refusal::TooLarge { size, limit_bytes });
        }
        let permit = self.service.permit(Share::Peer, "replicate")?;
        let (offer, wanted) = Offer::new(size);
        let (answer, answered) = Answer::new();
        let event = InboundReplica {
            from: peer,
            blob,
            body: ReplicaBody::Offered(offer),
            answer,
            permit,
        };
        hand_on(&self.service.events().replica, event);
        Ok(Offered {
            size,
            wanted,
            answered,
        })
    }

    /// Hands the bytes on, and waits for what becomes of them. An answer in the middle ends it.
    async fn receive(
        &self,
        stream: &mut Stream,
        peer: PeerId,
        offered: Offered,
        body: BodySender,
    ) -> Result<Verdict, TransferError> {
        let Offered {
            size, mut answered, ..
        } = offered;
        let patience = self.service.request_timeout();
        let received = tokio::select! {
            biased;
            verdict = &mut answered => return Ok(verdict.unwrap_or(Err(Refusal::Busy))),
            received = pieces::receive(stream, body, size, patience) => received,
            () = self.service.one_too_slow(peer, size) => Err(TransferError::TooManySlow),
        };
        match received {
            // Whoever stopped reading says why.
            Ok(()) | Err(TransferError::Unwanted) => Ok(self.service.answered(answered).await),
            Err(error) => Err(error),
        }
    }

    async fn not_whole(&self, stream: Stream, error: TransferError) -> Outcome {
        match error {
            TransferError::Frame(error @ (FrameError::Ended { .. } | FrameError::Stream(_))) => {
                Outcome::of(&error)
            }
            error => {
                let why = match error {
                    // It may try again when others of its transfers have ended.
                    TransferError::TooManySlow => Refusal::Busy,
                    _ => Refusal::Invalid(error.to_string()),
                };
                self.refuse(Kind::Replicate, stream, &why).await;
                match error {
                    TransferError::Frame(error) => Outcome::of(&error),
                    TransferError::GivenUp { .. } => Outcome::Broken,
                    TransferError::TooManySlow => Outcome::TimedOut,
                    _ => Outcome::Invalid,
                }
            }
        }
    }

    async fn acknowledge(&self, mut stream: Stream, kept: Kept) -> Outcome {
        let word = if kept.already_stored {
            Word::AlreadyStored
        } else {
            Word::Stored
        };
        let answer = Header::word(word).frame();
        match frame::write(&mut stream, &answer, self.service.request_timeout()).await {
            Ok(()) => {
                frame::leave(stream).await;
                Outcome::Served
            }
            Err(error) => Outcome::of(&error),
        }
    }
}

/// A copy that was offered to the replicator.
struct Offered {
    size: u64,
    wanted: oneshot::Receiver<BodySender>,
    answered: oneshot::Receiver<Verdict>,
}

impl Offered {
    /// Whether the bytes are wanted, or what else is to be said.
    async fn decision(&mut self) -> Decision {
        let answered =
            |verdict: Result<Verdict, _>| Decision::Answered(verdict.unwrap_or(Err(Refusal::Busy)));
        tokio::select! {
            biased;
            verdict = &mut self.answered => answered(verdict),
            wanted = &mut self.wanted => match wanted {
                Ok(body) => Decision::Wanted(body),
                // Not wanted: why, is about to be said.
                Err(_) => answered((&mut self.answered).await),
            },
        }
    }
}

fn stated(header: Header) -> Result<StatedBlob, HeaderError> {
    Ok(StatedBlob {
        cid: needed(header.cid, "the cid")?,
        size: needed(header.size, "the size")?,
        blob_root: Some(needed(header.blob_root, "the root of the tree")?),
        content_type: header.content_type,
    })
}
