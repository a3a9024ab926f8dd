//! What nodes say of themselves to all: `bytecave-announce`, and the operators' `bytecave-broadcast`.
//!
//! A message is signed by the peer it comes from, which the pubsub layer checks; here it is checked
//! that it speaks for that peer and no other, is fresh, is newer than the last, and is not one of
//! too many. What is said is a claim like any other: it makes a peer live and tells where it may be
//! dialled, and decides nothing else.

mod build;
mod gate;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytecave_core::{PeerId, PublicKey};
use bytecave_messages::swarm::Announced;
use libp2p::Multiaddr;
use serde::{Deserialize, Deserializer};

use crate::members::{ADDRESSES_LIMIT, clean_text, parse_address};
use crate::plain::plain;
pub(crate) use build::announcement;
use gate::Gate;

/// The topic on which nodes announce themselves.
pub(crate) const ANNOUNCE_TOPIC: &str = "bytecave-announce";
/// The topic of short texts to everyone.
pub(crate) const BROADCAST_TOPIC: &str = "bytecave-broadcast";
/// Longest message on either topic.
pub(crate) const MESSAGE_LIMIT_BYTES: usize = 16 * 1024;
/// Longest text of a broadcast, in UTF-16 units, which is what the existing programs count.
const BROADCAST_LIMIT: usize = 1000;

/// What becomes of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict<T> {
    /// It is good: use it and pass it on.
    Accept(T),
    /// It is of no use, and whoever passed it on may not have known: drop it.
    Ignore(Ignored),
    /// No honest peer passes this on: drop it, and think worse of whoever did.
    Reject(Rejected),
}

/// Why a message is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ignored {
    /// Its time is more than five minutes ago.
    Stale,
    /// Its time is more than a minute ahead.
    Future,
    /// One as new was heard before.
    NotNewer,
    /// The peer speaks too often.
    TooOften,
}

/// Why a message is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rejected {
    /// Longer than [`MESSAGE_LIMIT_BYTES`].
    TooLarge,
    /// Not the JSON it should be.
    Malformed,
    /// It speaks for another peer than the one that signed it.
    NotItsOwn,
    /// Its public key is not that of the peer.
    WrongKey,
}

impl<T> Verdict<T> {
    /// The metric label.
    pub(crate) fn label(&self) -> &'static str {
        match self {
            Self::Accept(_) => "accepted",
            Self::Ignore(Ignored::Stale) => "stale",
            Self::Ignore(Ignored::Future) => "future",
            Self::Ignore(Ignored::NotNewer) => "not_newer",
            Self::Ignore(Ignored::TooOften) => "too_often",
            Self::Reject(Rejected::TooLarge) => "too_large",
            Self::Reject(Rejected::Malformed) => "malformed",
            Self::Reject(Rejected::NotItsOwn) => "not_its_own",
            Self::Reject(Rejected::WrongKey) => "wrong_key",
        }
    }
}

/// An announcement that passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Announcement {
    /// Who announced, and signed it.
    pub(crate) peer: PeerId,
    /// What it said.
    pub(crate) announced: Announced,
    /// Where it says it is reached: its own addresses, then circuits; each ends in its id. Whether
    /// they make sense from here is for [`Members`](crate::members::Members) to judge.
    pub(crate) addresses: Vec<Multiaddr>,
    /// Whether it says goodbye.
    pub(crate) leaving: bool,
}

/// A broadcast that passed. Logged, never acted on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Broadcast {
    /// Who sent and signed it.
    pub(crate) peer: PeerId,
    /// The text, without what would change how it is shown.
    pub(crate) message: Arc<str>,
}

/// Judges what comes in on both topics.
#[derive(Debug)]
pub(crate) struct Announcements {
    announced: Gate,
    broadcast: Gate,
}

impl Announcements {
    /// Nothing was heard yet.
    pub(crate) fn new() -> Self {
        Self {
            announced: Gate::default(),
            broadcast: Gate::default(),
        }
    }

    /// Judges a message on [`ANNOUNCE_TOPIC`] that `source` signed.
    pub(crate) fn announce(
        &mut self,
        source: PeerId,
        message: &[u8],
        now_ms: u64,
    ) -> Verdict<Announcement> {
        let heard: Announce = match read(message) {
            Ok(heard) => heard,
            Err(rejected) => return Verdict::Reject(rejected),
        };
        if heard.peer_id != source.to_string() {
            return Verdict::Reject(Rejected::NotItsOwn);
        }
        let key = heard.public_key.as_deref().and_then(stated_key);
        if key.is_some_and(|key| key != source.public_key()) {
            return Verdict::Reject(Rejected::WrongKey);
        }
        if let Err(ignored) = self.announced.pass(source, heard.timestamp, now_ms) {
            return Verdict::Ignore(ignored);
        }
        Verdict::Accept(Announcement {
            peer: source,
            addresses: addresses(source, &heard),
            leaving: heard.leaving,
            announced: Announced {
                node_id: clean_text(&heard.node_id),
                available_storage: heard.available_storage,
                blob_count: heard.blob_count,
                is_registered: heard.is_registered,
                timestamp_ms: heard.timestamp,
            },
        })
    }

    /// Judges a message on [`BROADCAST_TOPIC`] that `source` signed.
    pub(crate) fn broadcast(
        &mut self,
        source: PeerId,
        message: &[u8],
        now_ms: u64,
    ) -> Verdict<Broadcast> {
        let heard: HeardBroadcast = match read(message) {
            Ok(heard) => heard,
            Err(rejected) => return Verdict::Reject(rejected),
        };
        if heard.from != source.to_string() {
            return Verdict::Reject(Rejected::NotItsOwn);
        }
        if heard.message.encode_utf16().count() > BROADCAST_LIMIT {
            return Verdict::Reject(Rejected::TooLarge);
        }
        if let Err(ignored) = self.broadcast.pass(source, heard.timestamp, now_ms) {
            return Verdict::Ignore(ignored);
        }
        Verdict::Accept(Broadcast {
            peer: source,
            message: plain(&heard.message).collect::<String>().into(),
        })
    }
}

/// The published form, read with patience for what existing programs leave out or write as
/// fractions, and with none for size.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Announce {
    peer_id: String,
    #[serde(default, deserialize_with = "or_default")]
    node_id: String,
    #[serde(default, deserialize_with = "number")]
    available_storage: u64,
    #[serde(default, deserialize_with = "number")]
    blob_count: u64,
    #[serde(deserialize_with = "number")]
    timestamp: u64,
    #[serde(default, deserialize_with = "or_default")]
    relay_addrs: Vec<String>,
    #[serde(default, deserialize_with = "or_default")]
    multiaddrs: Vec<String>,
    #[serde(default)]
    public_key: Option<String>,
    #[serde(default, deserialize_with = "or_default")]
    is_registered: bool,
    #[serde(default, deserialize_with = "or_default")]
    leaving: bool,
}

#[derive(Debug, Deserialize)]
struct HeardBroadcast {
    from: String,
    message: String,
    #[serde(deserialize_with = "number")]
    timestamp: u64,
}

fn read<'a, T: Deserialize<'a>>(message: &'a [u8]) -> Result<T, Rejected> {
    if message.len() > MESSAGE_LIMIT_BYTES {
        return Err(Rejected::TooLarge);
    }
    serde_json::from_slice(message).map_err(|_| Rejected::Malformed)
}

/// `null` where a program of the first network has nothing to say.
fn or_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}

/// A JavaScript number that means a count: fractions are cut off, negative ones are none.
fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = Option::<serde_json::Number>::deserialize(deserializer)?;
    let whole = number.as_ref().and_then(serde_json::Number::as_u64);
    let rounded = || {
        let float = number.as_ref().and_then(serde_json::Number::as_f64);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "saturates, which is what is meant"
        )]
        float.map_or(0, |float| float as u64)
    };
    Ok(whole.unwrap_or_else(rounded))
}

/// The key that a peer states: hex of the raw key, or hex or base64 of libp2p's protobuf, whose
/// last 32 bytes it is. Anything else is some other program's way to put it, and states nothing.
fn stated_key(text: &str) -> Option<PublicKey> {
    use base64::Engine as _;
    /// Protobuf of an Ed25519 public key: 4 bytes, then the key.
    const PROTOBUF_LEN: usize = 36;

    let digits = text.strip_prefix("0x").unwrap_or(text);
    let bytes = hex::decode(digits)
        .or_else(|_| base64::prelude::BASE64_STANDARD.decode(text))
        .ok()?;
    let key = match bytes.len() {
        32 => bytes.as_slice(),
        PROTOBUF_LEN => bytes.get(4..)?,
        _ => return None,
    };
    Some(PublicKey::new(key.try_into().ok()?))
}

/// The first sixteen addresses that have a usable form; its own before circuits.
fn addresses(source: PeerId, heard: &Announce) -> Vec<Multiaddr> {
    let wire_id = crate::ids::to_wire(&source);
    let told = heard.multiaddrs.iter().take(ADDRESSES_LIMIT);
    let circuits = heard.relay_addrs.iter().take(ADDRESSES_LIMIT);
    let mut kept: Vec<Multiaddr> = Vec::new();
    for text in circuits.chain(told) {
        if let Some(clean) = parse_address(text, &wire_id)
            && !kept.contains(&clean.address)
        {
            kept.push(clean.address);
        }
    }
    kept.truncate(ADDRESSES_LIMIT);
    kept
}
