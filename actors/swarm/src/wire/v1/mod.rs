//! The 1.0.0 protocols of the existing network, as its programs speak them: one JSON frame each way,
//! blobs in base64 inside it, CIDs as 64 lower-case hex digits of the SHA-256.

pub(crate) mod authorization;
pub(crate) mod base64;
pub(crate) mod blobs;
mod describe;
mod list;
mod server;
pub(crate) mod text;
mod uploads;

use bytecave_core::BlobCid;
use bytecave_messages::swarm::Refusal;
use libp2p::StreamProtocol;
use serde::Serialize;

pub(crate) use server::serve;

use super::frame;

/// What a peer is told for whom there is no room; the text of [`Refusal::Busy`].
pub(crate) const BUSY: &str = "busy: try again later";

/// The protocol of a relay that tells which peers it knows.
pub(crate) const RELAY_PEERS: StreamProtocol = StreamProtocol::new("/bytecave/relay/peers/1.0.0");

/// A protocol that this node serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// How the node is.
    Health,
    /// What the node is.
    Info,
    /// Which blobs it has.
    HaveList,
    /// A blob, by the first name of the protocol.
    Blob,
    /// A blob, by its published name.
    Retrieve,
    /// A copy for this node to keep.
    Replicate,
    /// A blob for this node to store.
    Store,
}

impl Kind {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Health,
        Self::Info,
        Self::HaveList,
        Self::Blob,
        Self::Retrieve,
        Self::Replicate,
        Self::Store,
    ];

    /// Its name on the wire and in metrics.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Health => "/bytecave/health/1.0.0",
            Self::Info => "/bytecave/info/1.0.0",
            Self::HaveList => "/bytecave/have-list/1.0.0",
            Self::Blob => "/bytecave/blob/1.0.0",
            Self::Retrieve => "/bytecave/retrieve/1.0.0",
            Self::Replicate => "/bytecave/replicate/1.0.0",
            Self::Store => "/bytecave/store/1.0.0",
        }
    }

    /// Its name for libp2p.
    pub(crate) const fn protocol(self) -> StreamProtocol {
        StreamProtocol::new(self.name())
    }

    /// The protocol of this name.
    pub(crate) fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether its requests carry blobs.
    pub(crate) const fn is_upload(self) -> bool {
        matches!(self, Self::Replicate | Self::Store)
    }

    /// Whether its answers say if they are a success.
    const fn states_success(self) -> bool {
        matches!(
            self,
            Self::Blob | Self::Retrieve | Self::Replicate | Self::Store
        )
    }
}

/// The frame of a refusal in the form of the protocol with this name.
pub(crate) fn refusal(protocol: &str, text: &str) -> Vec<u8> {
    #[derive(Serialize)]
    struct Refused<'a> {
        #[serde(skip_serializing_if = "Option::is_none")]
        success: Option<bool>,
        error: &'a str,
    }
    let states_success = Kind::of(protocol).is_some_and(Kind::states_success);
    frame::encode(&Refused {
        success: states_success.then_some(false),
        error: text,
    })
}

/// A CID as the existing network writes it.
pub(crate) fn hex(cid: &BlobCid) -> String {
    cid.digest().to_hex()
}

/// A CID as anyone may write it: 64 hex digits in either case, or a `CIDv1`.
pub(crate) fn parse_cid(text: &str) -> Result<BlobCid, Refusal> {
    text.trim()
        .parse()
        .map_err(|error: bytecave_core::CidError| Refusal::Invalid(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn busy_is_said_with_the_words_of_the_contract() {
        assert_eq!(BUSY, Refusal::Busy.to_string());
    }

    #[test]
    fn a_refusal_has_the_form_of_its_protocol() {
        let body = |protocol: &str| {
            let frame = refusal(protocol, "no");
            String::from_utf8(frame[4..].to_vec()).unwrap()
        };
        for protocol in ["blob", "retrieve", "replicate", "store"] {
            let protocol = format!("/bytecave/{protocol}/1.0.0");
            assert_eq!(body(&protocol), r#"{"success":false,"error":"no"}"#);
        }
        for protocol in ["health", "info", "have-list"] {
            let protocol = format!("/bytecave/{protocol}/1.0.0");
            assert_eq!(body(&protocol), r#"{"error":"no"}"#);
        }
    }
}
