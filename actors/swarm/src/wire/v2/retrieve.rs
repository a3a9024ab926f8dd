//! Blobs on their way out, from any byte on.
//!
//! The body goes from the store to the stream piece by piece; a peer that does not take it is cut off.

use bytecave_core::PeerId;
use bytecave_messages::body::BlobBody;
use bytecave_messages::budget::Share;
use bytecave_messages::memory::HeldMemory;
use bytecave_messages::ports::hand_on;
use bytecave_messages::store::ByteRange;
use bytecave_messages::swarm::{Answer, InboundRetrieve, Origin, Refusal, ServedBlob};
use libp2p::Stream;
use tracing::debug;

use super::header::{Header, needed};
use super::pieces::{self, TransferError};
use super::server::Server;
use super::{BLOB_BYTES_MAX, Kind};
use crate::wire::counters::Outcome;
use crate::wire::frame;
use crate::wire::v1::text::is_media_type;

impl Server {
    pub(super) async fn retrieve(&self, stream: Stream, peer: PeerId) -> Outcome {
        let kind = Kind::Retrieve;
        let (asked, mut stream) = match self.header(kind, stream, peer).await {
            Ok(asked) => asked,
            Err(outcome) => return outcome,
        };
        let found = self.find(peer, &asked).await;
        let found = found.and_then(|blob| Ok((self.hold(&blob)?, blob)));
        let (_held, blob) = match found {
            Ok(found) => found,
            Err(why) => return self.refuse(kind, stream, &why).await,
        };
        let patience = self.service.request_timeout();
        let ServedBlob {
            size,
            blob_root,
            content_type,
            offset,
            len,
            body,
        } = blob;
        let head = Header {
            from: Some(offset),
            len: Some(len),
            size: Some(size),
            blob_root: Some(blob_root),
            content_type: content_type.filter(|stated| is_media_type(stated)),
            ..Header::default()
        };
        if let Err(error) = frame::write(&mut stream, &head.frame(), patience).await {
            return Outcome::of(&error);
        }
        let sent = tokio::select! {
            biased;
            sent = pieces::send(&mut stream, body, len, patience) => sent,
            () = self.service.one_too_slow(peer, len) => Err(TransferError::TooManySlow),
        };
        match sent {
            Ok(()) => {
                frame::finish(stream).await;
                Outcome::Served
            }
            Err(TransferError::Frame(error)) => {
                // Dropped, the stream is reset.
                debug!(%peer, %error, "the peer did not take the blob");
                Outcome::of(&error)
            }
            Err(error @ TransferError::TooManySlow) => {
                debug!(%peer, %error, "the peer takes too many blobs slowly");
                Outcome::TimedOut
            }
            Err(error) => {
                debug!(%peer, %error, "the blob was not read to its end");
                frame::finish(stream).await;
                Outcome::Broken
            }
        }
    }

    /// Memory for a blob that is there as a whole, as long as the peer takes it: however slowly that is. A
    /// stream holds no more than a few pieces.
    fn hold(&self, blob: &ServedBlob) -> Result<Option<HeldMemory>, Refusal> {
        let BlobBody::Whole(bytes) = &blob.body else {
            return Ok(None);
        };
        let held = self.service.memory().for_bytes(bytes.len() as u64);
        held.map(Some).ok_or(Refusal::Busy)
    }

    async fn find(&self, peer: PeerId, asked: &Header) -> Result<ServedBlob, Refusal> {
        let invalid = |reason: String| Refusal::Invalid(reason);
        let cid = needed(asked.cid, "the cid").map_err(|error| invalid(error.to_string()))?;
        let from = asked.from.unwrap_or_default();
        let range = match asked.len {
            None if from == 0 => None,
            None => Some(ByteRange::From(from)),
            Some(0) => return Err(invalid("no bytes are asked for".to_owned())),
            Some(len) => {
                let last = from.checked_add(len - 1).filter(|_| len <= BLOB_BYTES_MAX);
                let last = last.ok_or_else(|| invalid(format!("no blob has {len} bytes")))?;
                Some(ByteRange::FromTo(from, last))
            }
        };
        let permit = self.service.permit(Share::Peer, "retrieve")?;
        let (answer, answered) = Answer::new();
        let event = InboundRetrieve {
            from: Origin::Peer(peer),
            cid,
            range,
            answer,
            permit,
        };
        hand_on(&self.service.events().retrieve, event);
        self.service.answered(answered).await
    }
}
