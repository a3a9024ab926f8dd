//! Which peers a relay knows.
//!
//! A relay sends its list unasked and closes. Whether its text stands in a frame differs, so both
//! are read: the text begins at the first brace, which no length of less than 2 GiB begins with.

use bytecave_core::PeerId;
use bytecave_messages::swarm::SwarmError;
use futures_util::{AsyncRead, AsyncReadExt};
use libp2p::Multiaddr;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::timeout;

use super::{Client, bad, multiaddr};
use crate::wire::frame::{self, PREFIX_BYTES};
use crate::wire::v1::RELAY_PEERS;

/// Longest list.
const LIST_BYTES: usize = 1024 * 1024;
/// Most peers of a list.
const PEERS: usize = 1000;
/// Most addresses of one peer.
const ADDRESSES: usize = 16;
/// A brace behind this many bytes is part of something else.
const BRACE_WITHIN: usize = 8;

/// A peer that a relay knows; nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RelayedPeer {
    /// The peer.
    pub(crate) peer_id: PeerId,
    /// Where the relay says it is.
    pub(crate) multiaddrs: Vec<Multiaddr>,
    /// Whether the relay calls it registered.
    pub(crate) is_registered: bool,
    /// When the relay heard of it last, milliseconds since 1970.
    pub(crate) last_seen_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct List {
    peers: Vec<Value>,
}

impl Client {
    /// The peers that `relay` knows.
    pub(crate) async fn relay_peers(&self, relay: PeerId) -> Result<Vec<RelayedPeer>, SwarmError> {
        let name = "/bytecave/relay/peers/1.0.0";
        let mut stream = self.open(relay, &[RELAY_PEERS], name).await?.stream;
        let text = timeout(self.request_timeout, read(&mut stream))
            .await
            .map_err(|_| self.late(relay))?
            .map_err(|error| self.failed(relay, error.into()))?;
        let peers = parse(&text).map_err(|reason| bad(relay, reason))?;
        frame::finish(stream).await;
        Ok(peers)
    }
}

/// Reads until the frame is whole, the stream ends, or there is too much of it.
async fn read<S: AsyncRead + Unpin>(stream: &mut S) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let mut piece = vec![0; 16 * 1024];
    while text.len() <= LIST_BYTES + PREFIX_BYTES {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            break;
        }
        text.extend_from_slice(piece.get(..read).unwrap_or_default());
        if framed(&text).is_some_and(|length| text.len() >= PREFIX_BYTES + length) {
            break;
        }
    }
    Ok(text)
}

/// The length of the text, where it stands in a frame.
fn framed(text: &[u8]) -> Option<usize> {
    let prefix: &[u8; PREFIX_BYTES] = text.first_chunk()?;
    let behind = text.get(PREFIX_BYTES)?;
    let length = usize::try_from(u32::from_be_bytes(*prefix)).ok()?;
    (*behind == b'{' && length <= LIST_BYTES).then_some(length)
}

fn parse(text: &[u8]) -> Result<Vec<RelayedPeer>, String> {
    if text.len() > LIST_BYTES + PREFIX_BYTES {
        return Err(format!("a list of more than {LIST_BYTES} bytes"));
    }
    let begin = text
        .iter()
        .take(BRACE_WITHIN)
        .position(|byte| *byte == b'{')
        .ok_or("no list of peers")?;
    let text = text.get(begin..).unwrap_or_default();
    let list = serde_json::Deserializer::from_slice(text)
        .into_iter::<List>()
        .next()
        .ok_or("no list of peers")?
        .map_err(|error| error.to_string())?;
    Ok(list.peers.iter().take(PEERS).filter_map(peer).collect())
}

/// None for peers of other networks, whose ids are not of Ed25519 keys.
fn peer(entry: &Value) -> Option<RelayedPeer> {
    let addresses = entry.get("multiaddrs").and_then(Value::as_array);
    let registered = entry.get("isRegistered").and_then(Value::as_bool);
    Some(RelayedPeer {
        peer_id: entry.get("peerId")?.as_str()?.parse().ok()?,
        multiaddrs: addresses
            .into_iter()
            .flatten()
            .take(ADDRESSES)
            .filter_map(|address| multiaddr(address.as_str()?))
            .collect(),
        is_registered: registered == Some(true),
        last_seen_ms: entry.get("lastSeen").and_then(Value::as_u64),
    })
}

#[cfg(test)]
mod tests {
    use bytecave_core::PublicKey;

    use super::*;

    fn list(peers: &Value) -> String {
        serde_json::json!({"peers": peers, "timestamp": 5}).to_string()
    }

    #[tokio::test]
    async fn a_list_is_read_with_and_without_a_frame() {
        let known = PublicKey::new([7; 32]).peer_id();
        let entry = serde_json::json!([
            {"peerId": known, "multiaddrs": ["/ip4/1.2.3.4/tcp/1", "nonsense", 7], "lastSeen": 9, "isRegistered": true, "more": {}},
            {"peerId": "QmOther"},
            "nonsense",
        ]);
        let json = list(&entry).into_bytes();
        let frame = frame::seal([&[0; 4], json.as_slice()].concat());
        let varint = [&[0xff, 0x01], json.as_slice()].concat();
        let more = [json.as_slice(), b"\n"].concat();
        for text in [json, frame, varint, more] {
            let read = read(&mut text.as_slice()).await.unwrap();
            let peers = parse(&read).unwrap();
            assert_eq!(
                peers,
                [RelayedPeer {
                    peer_id: known,
                    multiaddrs: vec!["/ip4/1.2.3.4/tcp/1".parse().unwrap()],
                    is_registered: true,
                    last_seen_ms: Some(9),
                }]
            );
        }
    }

    #[tokio::test]
    async fn a_long_list_is_cut_and_an_endless_one_refused() {
        let known = PublicKey::new([7; 32]).peer_id();
        let many = vec![serde_json::json!({"peerId": known}); 3000];
        let peers = parse(list(&many.into()).as_bytes()).unwrap();
        assert_eq!(peers.len(), PEERS);
        let mut endless = futures_util::io::repeat(b'{');
        let text = read(&mut endless).await.unwrap();
        assert!(text.len() < LIST_BYTES + 64 * 1024);
        assert!(parse(&text).is_err());
    }

    #[test]
    fn nonsense_is_no_list() {
        for text in ["", "x", "[]", "{}", r#"{"peers":7}"#, "\0\0\0\x02{}"] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
