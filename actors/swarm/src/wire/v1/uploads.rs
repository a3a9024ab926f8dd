//! Blobs on their way in: copies from peers, and what browsers store.
//!
//! Who may send, and whether there would be room, is decided by the peer, its rate and the claimed
//! length, before the frame is read. Memory is taken as the bytes come, goes on with them and is given
//! back when the last of them is dropped; the permit is taken when all of them are here.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytecave_core::{APP_ID_MAX_BYTES, BlobCid, PeerId, StoreAuthorization};
use bytecave_messages::budget::{Permit, Share};
use bytecave_messages::memory::HeldMemory;
use bytecave_messages::ports::hand_on;
use bytecave_messages::swarm::{
    Answer, InboundReplica, InboundStore, Kept, Origin, Refusal, ReplicaBody, StatedBlob,
};
use bytes::Bytes;
use libp2p::Stream;
use serde::{Deserialize, Serialize};

use super::authorization::Authorization;
use super::server::{Reply, Server};
use super::text::{Millis, Text, has_long_escapes, media_type};
use super::{Kind, hex, parse_cid};
use crate::aside::aside;
use crate::memory::BodyMemory;
use crate::wire::frame::{self, BLOB_FRAME_BYTES, FrameError, MAX_BLOB_BYTES, Pace};

/// Both uploads as they are sent; what is not named here is passed over.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Upload<'a> {
    #[serde(borrow, default)]
    cid: Option<Text<'a>>,
    #[serde(borrow, default)]
    mime_type: Option<Text<'a>>,
    #[serde(borrow)]
    ciphertext: Text<'a>,
    #[serde(borrow, default)]
    app_id: Option<Text<'a>>,
    #[serde(borrow, default)]
    content_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    sender: Option<Text<'a>>,
    #[serde(default)]
    timestamp: Option<Millis>,
    #[serde(borrow, default)]
    authorization: Option<Authorization<'a>>,
}

/// An upload, read and bounded.
struct Received {
    cid: Option<BlobCid>,
    content_type: Option<String>,
    app_id: Option<String>,
    authorization: Option<StoreAuthorization>,
    body: Bytes,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Replicated {
    success: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    already_stored: bool,
}

#[derive(Debug, Serialize)]
struct StoredHere {
    success: bool,
    cid: String,
}

/// Step in which memory is taken for a frame that is being read.
const STEP_BYTES: u64 = 1024 * 1024;

impl Server {
    pub(super) async fn replicate(
        &self,
        stream: &mut Stream,
        peer: PeerId,
    ) -> Result<Reply, FrameError> {
        let kind = Kind::Replicate;
        if let Err(refusal) = self.service.admits(&peer) {
            return Ok(Reply::refused(kind, &refusal).unread());
        }
        let (frame, memory) = match self.read_upload(stream).await? {
            Ok(read) => read,
            Err(refusal) => return Ok(Reply::refused(kind, &refusal).unread()),
        };
        let kept = match self.received("replicate", frame, memory).await {
            Ok((received, permit)) => self.keep_replica(peer, received, permit).await,
            Err(refusal) => Err(refusal),
        };
        Ok(match kept {
            Ok(Kept { already_stored, .. }) => Reply::served(frame::encode(&Replicated {
                success: true,
                already_stored,
            })),
            Err(refusal) => Reply::refused(kind, &refusal),
        })
    }

    async fn keep_replica(
        &self,
        peer: PeerId,
        received: Received,
        permit: Permit,
    ) -> Result<Kept, Refusal> {
        let cid = received
            .cid
            .ok_or_else(|| Refusal::Invalid("missing field `cid`".to_owned()))?;
        let (answer, answered) = Answer::new();
        let event = InboundReplica {
            from: peer,
            blob: StatedBlob {
                cid,
                size: received.body.len() as u64,
                blob_root: None,
                content_type: received.content_type,
            },
            body: ReplicaBody::Here(received.body),
            answer,
            permit,
        };
        hand_on(&self.service.events().replica, event);
        self.service.answered(answered).await
    }

    pub(super) async fn store(
        &self,
        stream: &mut Stream,
        peer: PeerId,
    ) -> Result<Reply, FrameError> {
        let kind = Kind::Store;
        if let Err(refusal) = self.service.takes_stores() {
            return Ok(Reply::refused(kind, &refusal).unread());
        }
        let (frame, memory) = match self.read_upload(stream).await? {
            Ok(read) => read,
            Err(refusal) => return Ok(Reply::refused(kind, &refusal).unread()),
        };
        let kept = match self.received("store", frame, memory).await {
            Ok((received, permit)) => self.keep_stored(peer, received, permit).await,
            Err(refusal) => Err(refusal),
        };
        Ok(match kept {
            Ok(Kept { cid, .. }) => Reply::served(frame::encode(&StoredHere {
                success: true,
                cid: hex(&cid),
            })),
            Err(refusal) => Reply::refused(kind, &refusal),
        })
    }

    async fn keep_stored(
        &self,
        peer: PeerId,
        received: Received,
        permit: Permit,
    ) -> Result<Kept, Refusal> {
        let (answer, answered) = Answer::new();
        let event = InboundStore {
            from: Origin::Peer(peer),
            cid: received.cid,
            content_type: received.content_type,
            app_id: received.app_id,
            body: received.body,
            authorization: received.authorization,
            answer,
            permit,
        };
        hand_on(&self.service.events().store, event);
        self.service.answered(answered).await
    }

    /// Reads a frame. A claim for which there would be no room is refused at once; memory is taken as
    /// the bytes come, so that a claim alone takes it from nobody.
    async fn read_upload(
        &self,
        stream: &mut Stream,
    ) -> Result<Result<(Vec<u8>, HeldMemory), Refusal>, FrameError> {
        let mut pace = Pace::new(self.service.request_timeout());
        let length = frame::read_length(stream, BLOB_FRAME_BYTES, &mut pace).await?;
        let memory = self.service.memory();
        let mut covered = length.min(STEP_BYTES);
        let begun = memory.would_fit(length).then(|| memory.for_frame(covered));
        let Some(mut held) = begun.flatten() else {
            return Ok(Err(Refusal::Busy));
        };
        let has_room = |came: u64| {
            if came <= covered {
                return true;
            }
            let next = came.next_multiple_of(STEP_BYTES).min(length);
            let grown = BodyMemory::grow(&mut held, covered, next);
            covered = next;
            grown
        };
        let frame = frame::read_while(stream, length, &mut pace, has_room).await?;
        Ok(frame.map(|frame| (frame, held)).ok_or(Refusal::Busy))
    }

    /// What is in a frame, and the permit for what becomes of it.
    async fn received(
        &self,
        kind: &'static str,
        frame: Vec<u8>,
        memory: HeldMemory,
    ) -> Result<(Received, Permit), Refusal> {
        let permit = self.service.permit(Share::Peer, kind)?;
        // The frame is gone before the blob goes on: memory is counted for both, not for long.
        let received = aside(frame.len(), move || parse(&frame, memory)).await;
        let received = received.unwrap_or(Err(Refusal::Unavailable("the request cannot be read")));
        Ok((received?, permit))
    }
}

fn parse(frame: &[u8], memory: HeldMemory) -> Result<Received, Refusal> {
    let invalid = |reason: String| Refusal::Invalid(reason);
    if has_long_escapes(frame) {
        return Err(invalid(
            "ciphertext holds escapes: expected plain base64".to_owned(),
        ));
    }
    let upload: Upload<'_> =
        serde_json::from_slice(frame).map_err(|error| invalid(error.to_string()))?;
    let cid = upload.cid.map(|cid| parse_cid(&cid.0)).transpose()?;
    let authorization = upload
        .authorization
        .map(|stated| {
            stated.bounded(
                upload.sender.as_ref(),
                upload.app_id.as_ref(),
                upload.timestamp,
            )
        })
        .transpose()?;
    let app_id = upload
        .app_id
        .map(|app_id| {
            app_id
                .within(APP_ID_MAX_BYTES)
                .ok_or_else(|| invalid(format!("appId is longer than {APP_ID_MAX_BYTES} bytes")))
        })
        .transpose()?;
    let bytes = STANDARD
        .decode(upload.ciphertext.0.as_ref())
        .map_err(|error| invalid(format!("ciphertext is no standard base64: {error}")))?;
    if bytes.len() as u64 > MAX_BLOB_BYTES {
        return Err(Refusal::TooLarge {
            size: bytes.len() as u64,
            limit_bytes: MAX_BLOB_BYTES,
        });
    }
    Ok(Received {
        cid,
        content_type: media_type(upload.mime_type).or_else(|| media_type(upload.content_type)),
        app_id,
        authorization,
        body: memory.attach(bytes),
    })
}

#[cfg(test)]
#[path = "uploads_tests.rs"]
mod tests;
