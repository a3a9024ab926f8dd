//! Asking a peer what it holds.

use bytecave_core::PeerId;
use bytecave_messages::swarm::{RefusalKind, SwarmError};
use bytecave_messages::sync::{SyncAnswer, SyncRequest};

use super::{Client, bad, refused};
use crate::wire::frame;
use crate::wire::v2::Kind;
use crate::wire::v2::sync::{self, ANSWER_BYTES, QUESTION_BYTES, Said};

impl Client {
    /// The answer of `peer`, which fits the question; whether it is true is another matter.
    pub(crate) async fn sync(
        &self,
        peer: PeerId,
        request: &SyncRequest,
    ) -> Result<SyncAnswer, SwarmError> {
        let question = sync::request_frame(request);
        if !sync::fits(&question, QUESTION_BYTES) {
            // As the peer would say it.
            return Err(SwarmError::Refused {
                peer,
                kind: RefusalKind::TooLarge,
                reason: format!("a question of {} bytes", question.len()),
            });
        }
        let kind = Kind::Sync;
        let opened = self.open(peer, &[kind.protocol()], kind.name()).await?;
        let mut stream = opened.stream;
        self.say(peer, &mut stream, &question).await?;
        let answer = frame::read(&mut stream, ANSWER_BYTES, self.request_timeout)
            .await
            .map_err(|error| self.failed(peer, error))?;
        // Closed on both sides by now, or not worth waiting for.
        drop(stream);
        match sync::parse_answer(&answer, request).map_err(|error| bad(peer, error.to_string()))? {
            Said::Answer(answer) => Ok(answer),
            Said::Refused(why) => Err(refused(peer, why)),
        }
    }
}
