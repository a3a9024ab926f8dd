//! Our own questions to peers and relays.
//!
//! What they answer is bounded before it is read, and cleaned before it goes on.

use std::time::Duration;

use bytecave_core::{PeerId, ShardCount, ShardRange, ShardSet};
use bytecave_messages::budget::{Budget, Full};
use bytecave_messages::swarm::{PeerInfo, RefusalKind, SwarmError};
use libp2p::{Multiaddr, Stream, StreamProtocol};
use serde_json::Value;
use tracing::trace;

use super::frame::{self, FrameError, SMALL_FRAME_BYTES};
use super::streams::{OpenError, OpenedStream, StreamControl};
use super::v1::Kind;
use super::v2::Refused;
use super::v2::header::NoHeader;
use crate::members::RANGES_LIMIT;
use crate::memory::BodyMemory;
use crate::plain::cleaned;

mod proof;
mod relay;
mod replica;
mod retrieve;
mod sync;

pub(crate) use relay::RelayedPeer;

/// Longest text of a peer that is kept: versions, addresses, names of protocols.
const TEXT_BYTES: usize = 128;
/// Most protocols of a peer that are kept.
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
        let opened = self.open(peer, &[kind.protocol()], kind.name()).await?;
        let mut stream = opened.stream;
        self.send(peer, &mut stream, &serde_json::json!({})).await?;
        let answer = frame::read(&mut stream, SMALL_FRAME_BYTES, self.request_timeout)
            .await
            .map_err(|error| self.failed(peer, error))?;
        frame::finish(stream).await;
        info(peer, &answer)
    }

    async fn open(
        &self,
        peer: PeerId,
        names: &[StreamProtocol],
        protocol: &'static str,
    ) -> Result<OpenedStream, SwarmError> {
        let opened = self.control.open(&peer, names).await;
        let after = self.control.open_timeout();
        let opened = opened.map_err(|error| self.not_open(peer, protocol, after, error))?;
        trace!(%peer, protocol = %opened.protocol, "stream opened");
        Ok(opened)
    }

    fn not_open(
        &self,
        peer: PeerId,
        protocol: &'static str,
        after: Duration,
        error: OpenError,
    ) -> SwarmError {
        match error {
            OpenError::Unreachable(cause) => SwarmError::Unreachable { peer, cause },
            OpenError::Unsupported => SwarmError::Unsupported { peer, protocol },
            OpenError::Busy => self.full(),
            OpenError::TimedOut => SwarmError::TimedOut { peer, after },
            OpenError::Stopped => SwarmError::Unavailable,
        }
    }

    /// Sends a request, and says that there is no more.
    async fn send(
        &self,
        peer: PeerId,
        stream: &mut Stream,
        request: &Value,
    ) -> Result<(), SwarmError> {
        self.say(peer, stream, &frame::encode(request)).await
    }

    /// Sends a frame, and says that there is no more.
    async fn say(
        &self,
        peer: PeerId,
        stream: &mut Stream,
        request: &[u8],
    ) -> Result<(), SwarmError> {
        frame::write(stream, request, self.request_timeout)
            .await
            .map_err(|error| self.failed(peer, error))?;
        frame::close(stream, self.request_timeout)
            .await
            .map_err(|error| self.failed(peer, error))
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

    /// No header came, or none that makes sense.
    fn unread(&self, peer: PeerId, error: NoHeader) -> SwarmError {
        match error {
            NoHeader::Frame(error) => self.failed(peer, error),
            NoHeader::Nonsense(error) => bad(peer, error.to_string()),
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

/// What a peer of our own kind gives as its reason.
fn refused(peer: PeerId, refused: Refused) -> SwarmError {
    match refused.kind {
        RefusalKind::NotFound => SwarmError::NotFound { peer },
        RefusalKind::Busy => SwarmError::Busy { peer },
        kind => SwarmError::Refused {
            peer,
            kind,
            reason: refused.text,
        },
    }
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
    let ranges = ranges
        .as_array()
        .filter(|ranges| ranges.len() <= RANGES_LIMIT)?;
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
