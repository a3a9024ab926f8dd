//! What a stream is told for which there is no place.

use std::time::Duration;

use bytecave_messages::swarm::RefusalKind;
use futures_util::{AsyncRead, AsyncWrite};
use libp2p::StreamProtocol;
use tokio::time::timeout;

use super::counters::TurnedAway;
use super::frame;
use super::{v1, v2};

/// Time for the few bytes of the answer: a peer that does not take them is not waited for.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// Why a stream is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// There is no room now.
    Busy(TurnedAway),
    /// It came over a relayed connection.
    Relayed,
    /// The peer's key is of another kind than this network's.
    ForeignKey,
}

impl Why {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Busy(_) => v1::BUSY,
            Self::Relayed => "not over a relayed connection: connect directly",
            Self::ForeignKey => "not admitted: the peer id is not of an Ed25519 key",
        }
    }

    pub(crate) fn kind(self) -> RefusalKind {
        match self {
            Self::Busy(_) => RefusalKind::Busy,
            Self::Relayed => RefusalKind::Unavailable,
            Self::ForeignKey => RefusalKind::NotAdmitted,
        }
    }

    pub(crate) fn counted(self) -> TurnedAway {
        match self {
            Self::Busy(which) => which,
            Self::Relayed => TurnedAway::Relayed,
            Self::ForeignKey => TurnedAway::ForeignKey,
        }
    }
}

/// Answers in the protocol's form without having read the request, and closes.
pub(crate) async fn turn_away<S>(
    mut stream: S,
    protocol: &StreamProtocol,
    kind: RefusalKind,
    text: &str,
) where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let name = protocol.as_ref();
    let (answer, is_upload) = match v2::Kind::of(name) {
        Some(ours) => (v2::refusal(kind, text), ours.is_upload()),
        None => (
            v1::refusal(name, text),
            v1::Kind::of(name).is_some_and(v1::Kind::is_upload),
        ),
    };
    if timeout(ANSWER_TIME, frame::write_all(&mut stream, &answer))
        .await
        .is_ok_and(|written| written.is_ok())
    {
        if is_upload {
            frame::leave(stream).await;
        } else {
            frame::finish(stream).await;
        }
    }
}
