//! Challenging a peer to show that it holds a blob.

use std::time::Duration;

use bytecave_core::PeerId;
use bytecave_core::proof::{Challenge, Proof};
use bytecave_messages::swarm::SwarmError;
use futures_util::AsyncWriteExt;
use libp2p::Stream;
use tokio::time::timeout;

use super::{Client, bad, refused};
use crate::wire::frame::{self, FrameError, Pace};
use crate::wire::v2::Kind;
use crate::wire::v2::proof::{self, ANSWER_BYTES, Said};

impl Client {
    /// The proof of `peer`; whether it proves anything is another matter. Its `patience` begins when
    /// the connection stands and ends with the last byte. What the error says is held against the peer
    /// or not, so it is the peer's silence only that is late, and its own bytes that are nonsense.
    pub(crate) async fn challenge(
        &self,
        peer: PeerId,
        challenge: &Challenge,
        patience: Duration,
    ) -> Result<Proof, SwarmError> {
        let (kind, after) = (Kind::Proof, patience);
        let opened = self
            .control
            .open_within(&peer, kind.protocol(), patience)
            .await;
        let (opened, since) =
            opened.map_err(|error| self.not_open(peer, kind.name(), after, error))?;
        let question = proof::question_frame(challenge);
        let left = patience.saturating_sub(since.elapsed());
        let answer = timeout(left, ask(opened.stream, &question))
            .await
            .map_err(|_| SwarmError::TimedOut { peer, after })?
            .map_err(|error| self.failed(peer, error))?;
        match proof::parse_answer(&answer).map_err(|error| bad(peer, error.to_string()))? {
            Said::Proof(proof) => Ok(*proof),
            Said::Refused(why) => Err(refused(peer, why)),
        }
    }
}

/// The answer, as it comes; whoever waits watches the time.
async fn ask(mut stream: Stream, question: &[u8]) -> Result<Vec<u8>, FrameError> {
    frame::write_all(&mut stream, question).await?;
    stream.close().await?;
    let mut pace = Pace::unwatched();
    let length = frame::read_length(&mut stream, ANSWER_BYTES, &mut pace).await?;
    frame::read_body(&mut stream, length, &mut pace).await
}
