//! Blobs on their way out.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytecave_core::PeerId;
use bytecave_messages::body::{BlobBody, BodyError};
use bytecave_messages::budget::Share;
use bytecave_messages::memory::HeldMemory;
use bytecave_messages::ports::hand_on;
use bytecave_messages::swarm::{Answer, InboundRetrieve, Origin, Refusal, ServedBlob};
use libp2p::Stream;
use serde::Deserialize;
use tokio::time::timeout;

use super::server::{Reply, Server};
use super::text::Text;
use super::{Kind, parse_cid};
use crate::wire::frame::{self, FrameError, MAX_BLOB_BYTES, SMALL_FRAME_BYTES};

/// Media type of a blob that was stored without one.
const DEFAULT_MEDIA_TYPE: &str = "application/octet-stream";
/// Bytes whose base64 needs no padding, so that pieces can be encoded one after the other.
const GROUP: usize = 3;

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
        let request = frame::read(stream, SMALL_FRAME_BYTES, self.request_timeout()).await?;
        Ok(match self.find(peer, &request).await {
            Ok((frame, held)) => Reply::served(frame).holding(held),
            Err(refusal) => Reply::refused(kind, &refusal),
        })
    }

    async fn find(&self, peer: PeerId, request: &[u8]) -> Result<(Vec<u8>, HeldMemory), Refusal> {
        let wanted: Wanted<'_> =
            serde_json::from_slice(request).map_err(|error| Refusal::Invalid(error.to_string()))?;
        let cid = parse_cid(&wanted.cid.0)?;
        let permit = self.permit(Share::Peer, "blob")?;
        let (answer, answered) = Answer::new();
        let event = InboundRetrieve {
            from: Origin::Peer(peer),
            cid,
            range: None,
            answer,
            permit,
        };
        hand_on(&self.events().retrieve, event);
        let blob = self.answered(answered).await?;
        if blob.size > MAX_BLOB_BYTES {
            return Err(Refusal::TooLarge {
                size: blob.size,
                limit_bytes: MAX_BLOB_BYTES,
            });
        }
        let held = self.memory().for_blob(blob.size).ok_or(Refusal::Busy)?;
        let encode = encode(blob, self.request_timeout());
        Ok((encode.await?, held))
    }
}

/// The frame with the whole blob. Nothing is sent before all of it was read, so that damage found
/// on the way is an answer and not a broken stream.
async fn encode(blob: ServedBlob, patience: std::time::Duration) -> Result<Vec<u8>, Refusal> {
    let ServedBlob {
        size,
        content_type,
        body,
        ..
    } = blob;
    let media_type = content_type.as_deref().unwrap_or(DEFAULT_MEDIA_TYPE);
    let tail = format!("\",\"mimeType\":{}}}", serde_json::json!(media_type));
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let head = "\0\0\0\0{\"success\":true,\"ciphertext\":\"";
    let mut base64 = Base64::new(head, size, tail.len());
    match body {
        BlobBody::Whole(bytes) => base64.push(&bytes)?,
        BlobBody::Stream(mut pieces) => {
            while let Some(piece) = timeout(patience, pieces.next())
                .await
                .map_err(|_| Refusal::Unavailable("the store does not answer"))?
            {
                base64.push(&piece.map_err(refused)?)?;
            }
        }
    }
    Ok(frame::seal(base64.finish(&tail)?.into_bytes()))
}

/// Encodes piece by piece, so that a blob and its base64 are never both whole in memory.
struct Base64 {
    text: String,
    /// Of the last piece, what does not fill a group.
    carried: Vec<u8>,
    /// Bytes still to come.
    missing: usize,
}

impl Base64 {
    fn new(head: &str, size: usize, tail: usize) -> Self {
        let mut text = String::with_capacity(head.len() + size.div_ceil(GROUP) * 4 + tail);
        text.push_str(head);
        Self {
            text,
            carried: Vec::with_capacity(GROUP),
            missing: size,
        }
    }

    fn push(&mut self, mut piece: &[u8]) -> Result<(), Refusal> {
        // More bytes than the size that was stated: not that blob.
        self.missing = self
            .missing
            .checked_sub(piece.len())
            .ok_or(Refusal::Damaged)?;
        if !self.carried.is_empty() {
            let (fill, rest) = piece.split_at((GROUP - self.carried.len()).min(piece.len()));
            self.carried.extend_from_slice(fill);
            piece = rest;
            if self.carried.len() < GROUP {
                return Ok(());
            }
            STANDARD.encode_string(&self.carried, &mut self.text);
            self.carried.clear();
        }
        let (groups, rest) = piece.split_at(piece.len() / GROUP * GROUP);
        STANDARD.encode_string(groups, &mut self.text);
        self.carried.extend_from_slice(rest);
        Ok(())
    }

    fn finish(mut self, tail: &str) -> Result<String, Refusal> {
        if self.missing > 0 {
            return Err(Refusal::Damaged);
        }
        STANDARD.encode_string(&self.carried, &mut self.text);
        self.text.push_str(tail);
        Ok(self.text)
    }
}

fn refused(error: BodyError) -> Refusal {
    match error {
        BodyError::Damaged => Refusal::Damaged,
        BodyError::Deleted => Refusal::NotFound,
        _ => Refusal::Unavailable("the store failed while it read the blob"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytecave_core::BlobRoot;
    use bytecave_messages::body;
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_of_any_size_make_the_base64_of_the_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..12)
        ) {
            let whole = pieces.concat();
            let mut base64 = Base64::new("<", whole.len(), 1);
            for piece in &pieces {
                base64.push(piece).unwrap();
            }
            let text = base64.finish(">").unwrap();
            prop_assert_eq!(&text, &format!("<{}>", STANDARD.encode(&whole)));
        }
    }

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
