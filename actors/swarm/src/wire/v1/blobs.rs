//! Blobs on their way out.

use std::time::Duration;

use bytecave_core::PeerId;
use bytecave_messages::body::BodyError;
use bytecave_messages::budget::Share;
use bytecave_messages::memory::HeldMemory;
use bytecave_messages::ports::hand_on;
use bytecave_messages::swarm::{Answer, InboundRetrieve, Origin, Refusal, ServedBlob};
use libp2p::Stream;
use serde::Deserialize;

use super::base64::{self, NotEncoded};
use super::server::{Reply, Server};
use super::text::Text;
use super::{Kind, parse_cid};
use crate::wire::frame::{self, FrameError, MAX_BLOB_BYTES, SMALL_FRAME_BYTES};

/// Media type of a blob that was stored without one.
pub(crate) const DEFAULT_MEDIA_TYPE: &str = "application/octet-stream";

#[derive(Debug, Deserialize)]
struct Wanted<'a> {
    #[serde(borrow)]
    cid: Text<'a>,
}

impl Server {
    pub(super) async fn blob(
        &self,
        kind: Kind,
        stream: &mut Stream,
        peer: PeerId,
    ) -> Result<Reply, FrameError> {
        let request =
            frame::read(stream, SMALL_FRAME_BYTES, self.service.request_timeout()).await?;
        Ok(match self.find(peer, &request).await {
            Ok((frame, held)) => Reply::served(frame).holding(held),
            Err(refusal) => Reply::refused(kind, &refusal),
        })
    }

    async fn find(&self, peer: PeerId, request: &[u8]) -> Result<(Vec<u8>, HeldMemory), Refusal> {
        let wanted: Wanted<'_> =
            serde_json::from_slice(request).map_err(|error| Refusal::Invalid(error.to_string()))?;
        let cid = parse_cid(&wanted.cid.0)?;
        let permit = self.service.permit(Share::Peer, "blob")?;
        let (answer, answered) = Answer::new();
        let event = InboundRetrieve {
            from: Origin::Peer(peer),
            cid,
            range: None,
            answer,
            permit,
        };
        hand_on(&self.service.events().retrieve, event);
        let blob = self.service.answered(answered).await?;
        if blob.size > MAX_BLOB_BYTES {
            return Err(Refusal::TooLarge {
                size: blob.size,
                limit_bytes: MAX_BLOB_BYTES,
            });
        }
        let held = self
            .service
            .memory()
            .for_blob(blob.size)
            .ok_or(Refusal::Busy)?;
        let encode = encode(blob, self.service.request_timeout());
        Ok((encode.await?, held))
    }
}

/// The frame with the whole blob. Nothing is sent before all of it was read, so that damage found
/// on the way is an answer and not a broken stream.
async fn encode(blob: ServedBlob, patience: Duration) -> Result<Vec<u8>, Refusal> {
    let media_type = blob.content_type.as_deref().unwrap_or(DEFAULT_MEDIA_TYPE);
    let tail = format!("\",\"mimeType\":{}}}", serde_json::json!(media_type));
    let head = "\0\0\0\0{\"success\":true,\"ciphertext\":\"";
    let text = base64::encode(head, blob.body, blob.size, &tail, patience).await;
    Ok(frame::seal(text.map_err(unreadable)?.into_bytes()))
}

/// What whoever asked is told of a blob that cannot be given.
pub(crate) fn unreadable(error: NotEncoded) -> Refusal {
    match error {
        NotEncoded::Late { .. } => Refusal::Unavailable("the store does not answer"),
        NotEncoded::WrongLength(_) | NotEncoded::Body(BodyError::Damaged) => Refusal::Damaged,
        NotEncoded::Body(BodyError::Deleted) => Refusal::NotFound,
        NotEncoded::Body(_) => Refusal::Unavailable("the store failed while it read the blob"),
    }
}

#[cfg(test)]
mod tests {
    use bytecave_core::BlobRoot;
    use bytecave_messages::body::{self, BlobBody};
    use bytes::Bytes;

    use super::*;

    fn blob(size: u64, body: BlobBody) -> ServedBlob {
        ServedBlob {
            size,
            blob_root: BlobRoot::new([0; 32]),
            content_type: Some("text/\"x\"".to_owned()),
            offset: 0,
            len: size,
            body,
        }
    }

    #[tokio::test]
    async fn the_frame_has_the_fields_of_the_existing_network() {
        let whole = BlobBody::Whole(Bytes::from_static(b"hello"));
        let frame = encode(blob(5, whole), Duration::from_secs(1))
            .await
            .unwrap();
        let json = r#"{"success":true,"ciphertext":"aGVsbG8=","mimeType":"text/\"x\""}"#;
        assert_eq!(frame[..4], u32::try_from(json.len()).unwrap().to_be_bytes());
        assert_eq!(&frame[4..], json.as_bytes());
        assert!(frame.capacity() < frame.len() + 8, "sized beforehand");
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_is_a_refusal() {
        let (sender, pieces) = body::stream(None);
        sender.fail(BodyError::Damaged);
        let refused = encode(blob(5, BlobBody::Stream(pieces)), Duration::from_secs(1)).await;
        assert_eq!(refused, Err(Refusal::Damaged));
        for wrong in [4, 6] {
            let whole = BlobBody::Whole(Bytes::from_static(b"hello"));
            let refused = encode(blob(wrong, whole), Duration::from_secs(1)).await;
            assert_eq!(refused, Err(Refusal::Damaged));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_falls_silent_is_a_refusal() {
        let (_sender, pieces) = body::stream(None);
        let refused = encode(blob(5, BlobBody::Stream(pieces)), Duration::from_secs(9)).await;
        assert!(matches!(refused, Err(Refusal::Unavailable(_))));
    }
}
