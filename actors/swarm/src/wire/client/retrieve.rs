//! Fetching a blob: as a stream from a byte on where the peer speaks our own protocol, whole and
//! inside a JSON text where it does not.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::body::{self, BlobBody};
use bytecave_messages::budget::Permit;
use bytecave_messages::memory::HeldMemory;
use bytecave_messages::swarm::{RemoteBlob, SwarmError};
use futures_util::AsyncWriteExt;
use libp2p::Stream;
use serde::Deserialize;
use tokio::time::timeout;
use tracing::{Instrument, debug};

use super::{Client, bad, declined, refused};
use crate::aside::aside;
use crate::wire::frame::{self, BLOB_FRAME_BYTES, MAX_BLOB_BYTES, Pace};
use crate::wire::v1::text::{Text, has_long_escapes, media_type};
use crate::wire::v1::{self, Kind};
use crate::wire::v2::header::{Header, HeaderError, needed};
use crate::wire::v2::{self, BLOB_BYTES_MAX, pieces};

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Retrieved<'a> {
    #[serde(default)]
    success: Option<bool>,
    #[serde(borrow, default)]
    ciphertext: Option<Text<'a>>,
    #[serde(borrow, default)]
    mime_type: Option<Text<'a>>,
    #[serde(borrow, default)]
    error: Option<Text<'a>>,
}

impl Client {
    /// The blob from this byte on, as `peer` gives it: the bytes may be any. The permit is held until
    /// the last of them was handed over.
    pub(crate) async fn retrieve(
        &self,
        peer: PeerId,
        cid: BlobCid,
        from: u64,
        permit: Permit,
    ) -> Result<RemoteBlob, SwarmError> {
        let streamed = v2::Kind::Retrieve.protocol();
        let names = [
            streamed.clone(),
            Kind::Retrieve.protocol(),
            Kind::Blob.protocol(),
        ];
        let opened = self.open(peer, &names, Kind::Retrieve.name()).await?;
        if opened.protocol == streamed {
            self.stream_from(peer, opened.stream, cid, from, permit)
                .await
        } else {
            self.whole(peer, opened.stream, cid).await
        }
    }

    /// This side of the stream stays open until all is here: dropped before, the stream is reset, and
    /// the peer stops at once.
    async fn stream_from(
        &self,
        peer: PeerId,
        mut stream: Stream,
        cid: BlobCid,
        from: u64,
        permit: Permit,
    ) -> Result<RemoteBlob, SwarmError> {
        let patience = self.request_timeout;
        let question = Header {
            cid: Some(cid),
            from: Some(from),
            ..Header::default()
        };
        frame::write(&mut stream, &question.frame(), patience)
            .await
            .map_err(|error| self.failed(peer, error))?;
        let head = Header::read_within(&mut stream, patience)
            .await
            .map_err(|error| self.unread(peer, error))?;
        let head = Head::of(peer, head, from)?;
        let len = head.size - from;
        let (sender, body) = body::stream(Some(len));
        let receive = async move {
            let _permit = permit;
            match pieces::receive(&mut stream, sender, len, patience).await {
                // However that ends, the stream is over.
                Ok(()) => drop(timeout(patience, stream.close()).await),
                Err(error) => debug!(%peer, %error, "the blob did not come whole"),
            }
        };
        // It lives no longer than the body, whose reader it watches.
        tokio::spawn(receive.in_current_span());
        Ok(RemoteBlob {
            size: head.size,
            blob_root: head.blob.blob_root,
            content_type: head.blob.content_type,
            offset: from,
            body: BlobBody::Stream(body),
        })
    }

    async fn whole(
        &self,
        peer: PeerId,
        mut stream: Stream,
        cid: BlobCid,
    ) -> Result<RemoteBlob, SwarmError> {
        let request = serde_json::json!({ "cid": v1::hex(&cid) });
        self.send(peer, &mut stream, &request).await?;
        let mut pace = Pace::new(self.request_timeout);
        let length = frame::read_length(&mut stream, BLOB_FRAME_BYTES, &mut pace)
            .await
            .map_err(|error| self.failed(peer, error))?;
        let memory = self.memory.for_frame(length).ok_or_else(|| self.full())?;
        let answer = frame::read_body(&mut stream, length, &mut pace)
            .await
            .map_err(|error| self.failed(peer, error))?;
        let blob = aside(answer.len(), move || retrieved(peer, &answer, memory)).await;
        frame::finish(stream).await;
        blob.unwrap_or_else(|_| Err(bad(peer, "its answer cannot be read")))
    }
}

/// A head that makes sense.
struct Head {
    size: u64,
    blob: Header,
}

impl Head {
    fn of(peer: PeerId, head: Header, from: u64) -> Result<Self, SwarmError> {
        if let Some(why) = head.refused {
            return Err(refused(peer, why));
        }
        let lacks = |error: HeaderError| bad(peer, error.to_string());
        let size = needed(head.size, "the size").map_err(lacks)?;
        needed(head.blob_root, "the root of the tree").map_err(lacks)?;
        let offset = needed(head.from, "the first byte").map_err(lacks)?;
        let len = needed(head.len, "the length").map_err(lacks)?;
        if size > BLOB_BYTES_MAX {
            return Err(bad(peer, format!("a blob of {size} bytes")));
        }
        if offset != from || size.checked_sub(from) != Some(len) {
            let what =
                format!("{len} bytes from {offset} on of {size}, asked for those from {from} on");
            return Err(bad(peer, what));
        }
        Ok(Self { size, blob: head })
    }
}

pub(super) fn retrieved(
    peer: PeerId,
    answer: &[u8],
    memory: HeldMemory,
) -> Result<RemoteBlob, SwarmError> {
    if has_long_escapes(answer) {
        return Err(bad(peer, "its base64 holds escapes"));
    }
    let answer: Retrieved<'_> =
        serde_json::from_slice(answer).map_err(|error| bad(peer, error.to_string()))?;
    if let Some(error) = answer.error
        && answer.success != Some(true)
    {
        return Err(declined(peer, &error.0));
    }
    let (Some(true), Some(ciphertext)) = (answer.success, answer.ciphertext) else {
        return Err(bad(peer, "neither a blob nor an error"));
    };
    let bytes = STANDARD
        .decode(ciphertext.0.as_ref())
        .map_err(|error| bad(peer, error.to_string()))?;
    if bytes.len() as u64 > MAX_BLOB_BYTES {
        return Err(bad(peer, "a blob larger than the protocol carries"));
    }
    Ok(RemoteBlob {
        size: bytes.len() as u64,
        blob_root: None,
        content_type: media_type(answer.mime_type),
        offset: 0,
        body: BlobBody::Whole(memory.attach(bytes)),
    })
}
