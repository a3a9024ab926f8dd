//! Our own questions to peers and relays.
//!
//! What they answer is bounded before it is read, and cleaned before it goes on.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytecave_core::{BlobCid, PeerId, ShardCount, ShardRange, ShardSet};
use bytecave_messages::body::BlobBody;
use bytecave_messages::budget::{Budget, Full};
use bytecave_messages::memory::HeldMemory;
use bytecave_messages::swarm::{PeerInfo, RemoteBlob, SwarmError};
use libp2p::{Multiaddr, Stream, StreamProtocol};
use serde::Deserialize;
use serde_json::Value;
use tracing::trace;

use super::frame::{self, BLOB_FRAME_BYTES, FrameError, MAX_BLOB_BYTES, Pace, SMALL_FRAME_BYTES};
use super::streams::{OpenError, StreamControl};
use super::v1::text::{Text, cleaned, has_long_escapes, media_type};
use super::v1::{self, Kind};
use crate::aside::aside;
use crate::memory::BodyMemory;

mod relay;

pub(crate) use relay::RelayedPeer;

/// Longest text of a peer that is kept: versions, addresses, names of protocols.
const TEXT_BYTES: usize = 128;
/// Most shard ranges and protocols of a peer that are kept.
const LISTED: usize = 64;
/// How much of what a peer says is wrong with our request is quoted.
const QUOTED_BYTES: usize = 200;

/// Asks peers.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    control: StreamControl,
    memory: BodyMemory,
    budget: Budget,
    request_timeout: Duration,
}

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
    /// `budget` is the swarm's own, named in the error when there is no memory for an answer.
    pub(crate) fn new(
        control: StreamControl,
        memory: BodyMemory,
        budget: Budget,
        request_timeout: Duration,
    ) -> Self {
        Self {
            control,
            memory,
            budget,
            request_timeout,
        }
    }

    /// What `peer` says it is.
    pub(crate) async fn info(&self, peer: PeerId) -> Result<PeerInfo, SwarmError> {
        let kind = Kind::Info;
        let mut stream = self.open(peer, &[kind.protocol()], kind.name()).await?;
        self.send(peer, &mut stream, &serde_json::json!({})).await?;
        let answer = frame::read(&mut stream, SMALL_FRAME_BYTES, self.request_timeout)
            .await
            .map_err(|error| self.failed(peer, error))?;
        frame::finish(stream).await;
        info(peer, &answer)
    }

    /// The blob, as `peer` gives it: the bytes may be any.
    pub(crate) async fn retrieve(
        &self,
        peer: PeerId,
        cid: BlobCid,
    ) -> Result<RemoteBlob, SwarmError> {
        let names = [Kind::Retrieve.protocol(), Kind::Blob.protocol()];
        let mut stream = self.open(peer, &names, Kind::Retrieve.name()).await?;
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

    async fn open(
        &self,
        peer: PeerId,
        names: &[StreamProtocol],
        protocol: &'static str,
    ) -> Result<Stream, SwarmError> {
        match self.control.open(&peer, names).await {
            Ok(opened) => {
                trace!(%peer, protocol = %opened.protocol, "stream opened");
                Ok(opened.stream)
            }
            Err(OpenError::Unreachable(cause)) => Err(SwarmError::Unreachable { peer, cause }),
            Err(OpenError::Unsupported) => Err(SwarmError::Unsupported { peer, protocol }),
            Err(OpenError::Busy) => Err(self.full()),
            Err(OpenError::TimedOut) => Err(SwarmError::TimedOut {
                peer,
                after: self.control.open_timeout(),
            }),
            Err(OpenError::Stopped) => Err(SwarmError::Unavailable),
        }
    }

    /// Sends a request, and says that there is no more.
    async fn send(
        &self,
        peer: PeerId,
        stream: &mut Stream,
        request: &Value,
    ) -> Result<(), SwarmError> {
        use futures_util::AsyncWriteExt as _;
        frame::write(stream, &frame::encode(request), self.request_timeout)
            .await
            .map_err(|error| self.failed(peer, error))?;
        tokio::time::timeout(self.request_timeout, stream.close())
            .await
            .map_err(|_| self.late(peer))?
            .map_err(|error| self.failed(peer, error.into()))
    }

    fn failed(&self, peer: PeerId, error: FrameError) -> SwarmError {
        match error {
            FrameError::TimedOut { .. } => self.late(peer),
            FrameError::Stream(error) => SwarmError::Unreachable {
                peer,
                cause: error.to_string(),
            },
            // A reset stream reads as its end: a peer that went away is no liar.
            FrameError::Ended { moved } => SwarmError::Unreachable {
                peer,
                cause: format!("the stream ended after {moved} bytes of the answer"),
            },
            error @ FrameError::TooLong { .. } => bad(peer, error.to_string()),
        }
    }

    fn late(&self, peer: PeerId) -> SwarmError {
        SwarmError::TimedOut {
            peer,
            after: self.request_timeout,
        }
    }

    fn full(&self) -> SwarmError {
        SwarmError::Full(Full {
            actor: self.budget.actor(),
            capacity: self.budget.capacity(),
            retry_after: Duration::from_secs(1),
        })
    }
}

fn bad(peer: PeerId, reason: impl Into<String>) -> SwarmError {
    SwarmError::BadAnswer {
        peer,
        reason: reason.into(),
    }
}

fn retrieved(peer: PeerId, answer: &[u8], memory: HeldMemory) -> Result<RemoteBlob, SwarmError> {
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

/// What the peer gives as its reason. Only a request that it finds senseless speaks against it,
/// since ours make sense: for all others it simply does not have the blob to give.
fn declined(peer: PeerId, error: &str) -> SwarmError {
    let lower = error.trim_start();
    if lower.starts_with("busy") || lower.starts_with("unavailable") {
        SwarmError::Busy { peer }
    } else if lower.starts_with("Invalid request") {
        bad(peer, cleaned(error, QUOTED_BYTES))
    } else {
        SwarmError::NotFound { peer }
    }
}

/// Whatever of the answer makes sense; the texts and lists of a peer are cut, not believed.
fn info(peer: PeerId, answer: &[u8]) -> Result<PeerInfo, SwarmError> {
    let answer: Value =
        serde_json::from_slice(answer).map_err(|error| bad(peer, error.to_string()))?;
    if !answer.is_object() {
        return Err(bad(peer, "its info is no object"));
    }
    let text = |name| answer.get(name).and_then(Value::as_str);
    if let Some(error) = text("error") {
        return Err(declined(peer, error));
    }
    let shard_count = answer
        .get("shardCount")
        .and_then(Value::as_u64)
        .and_then(|count| ShardCount::new(count).ok());
    let shards = match (shard_count, answer.get("shards")) {
        (Some(count), Some(ranges)) => shards(count, ranges),
        _ => None,
    };
    let protocols = answer.get("protocols").and_then(Value::as_array);
    Ok(PeerInfo {
        version: cleaned(text("version").unwrap_or_default(), TEXT_BYTES),
        owner_address: text("ownerAddress").map(|address| cleaned(address, TEXT_BYTES)),
        shards,
        shard_count,
        capacity: answer.get("capacity").and_then(Value::as_u64),
        accepting: answer.get("accepting").and_then(Value::as_bool),
        protocols: protocols
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .filter(|name| name.starts_with("/bytecave/") && name.len() <= TEXT_BYTES)
            .take(LISTED)
            .map(|name| cleaned(name, TEXT_BYTES))
            .collect(),
    })
}

/// Ranges that a node of so many shards can keep; none when they are too many or contradict
/// themselves.
fn shards(count: ShardCount, ranges: &Value) -> Option<Vec<ShardRange>> {
    let ranges = ranges.as_array().filter(|ranges| ranges.len() <= LISTED)?;
    let ranges: Option<Vec<ShardRange>> = ranges
        .iter()
        .map(|range| {
            Some(ShardRange {
                start: range.get("start")?.as_u64()?,
                end: range.get("end")?.as_u64()?,
            })
        })
        .collect();
    let set = ShardSet::from_ranges(count, &ranges?).ok()?;
    Some(set.ranges())
}

/// An address of a peer, if it is one.
fn multiaddr(text: &str) -> Option<Multiaddr> {
    (text.len() <= 4 * TEXT_BYTES).then(|| text.parse().ok())?
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
