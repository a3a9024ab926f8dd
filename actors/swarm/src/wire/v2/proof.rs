//! Proof that a blob is held: a header with its name, a nonce and how many leaves; answered by one
//! frame, which is the binary form of a proof, or a header with a refusal.
//!
//! The binary form begins with a letter, a header with the number of its keys, so that they cannot be
//! taken for each other.

use bytecave_core::PeerId;
use bytecave_core::proof::{Challenge, ChallengeCount, FormError, PROOF_MAX_BYTES, Proof};
use bytecave_messages::budget::Share;
use bytecave_messages::ports::hand_on;
use bytecave_messages::swarm::{Answer, InboundChallenge, Refusal};
use libp2p::Stream;
use minicbor::Decoder;
use minicbor::data::Type;
use thiserror::Error;

use super::header::{Header, HeaderError, needed};
use super::server::Server;
use super::{Kind, Refused};
use crate::wire::counters::Outcome;
use crate::wire::frame::{self, PREFIX_BYTES};

/// Longest answer: a proof, since no header is as long.
pub(crate) const ANSWER_BYTES: u64 = PROOF_MAX_BYTES as u64;

/// Why these bytes are no challenge, or no answer to one.
#[derive(Debug, Error)]
pub(crate) enum ProofFormError {
    /// No header, or not the one that is needed.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// A number of leaves that nobody may ask for, or no proof.
    #[error(transparent)]
    Form(#[from] FormError),
}

/// What the asked one says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// A proof; of what, is not looked at.
    Proof(Box<Proof>),
    /// That it gives none.
    Refused(Refused),
}

/// The frame of a challenge.
pub(crate) fn question_frame(challenge: &Challenge) -> Vec<u8> {
    Header {
        cid: Some(challenge.cid),
        nonce: Some(challenge.nonce),
        count: Some(challenge.count.into()),
        ..Header::default()
    }
    .frame()
}

fn asked(header: &Header) -> Result<Challenge, ProofFormError> {
    Ok(Challenge {
        cid: needed(header.cid, "the cid")?,
        nonce: needed(header.nonce, "the nonce")?,
        count: ChallengeCount::new(needed(header.count, "the number of leaves")?)?,
    })
}

/// The frame of a proof.
pub(crate) fn answer_frame(proof: &Proof) -> Vec<u8> {
    let mut answer = vec![0; PREFIX_BYTES];
    answer.extend_from_slice(&proof.to_bytes());
    frame::seal(answer)
}

/// Reads what came for an answer.
pub(crate) fn parse_answer(bytes: &[u8]) -> Result<Said, ProofFormError> {
    if !matches!(Decoder::new(bytes).datatype(), Ok(Type::Map)) {
        return Ok(Said::Proof(Box::new(Proof::from_bytes(bytes)?)));
    }
    let refused = needed(Header::parse(bytes)?.refused, "the kind of the refusal")?;
    Ok(Said::Refused(refused))
}

impl Server {
    pub(super) async fn prove(&self, stream: Stream, peer: PeerId) -> Outcome {
        let (header, stream) = match self.header(Kind::Proof, stream, peer).await {
            Ok(read) => read,
            Err(outcome) => return outcome,
        };
        let proof = self.proof(peer, &header).await;
        self.answer(stream, proof.map(|proof| answer_frame(&proof)))
            .await
    }

    async fn proof(&self, peer: PeerId, header: &Header) -> Result<Proof, Refusal> {
        let challenge = asked(header).map_err(|error| Refusal::Invalid(error.to_string()))?;
        let permit = self.service.permit(Share::Peer, "challenge")?;
        let (answer, answered) = Answer::new();
        let event = InboundChallenge {
            from: peer,
            challenge,
            answer,
            permit,
        };
        hand_on(&self.service.events().challenge, event);
        self.service.answered(answered).await
    }
}

#[cfg(test)]
#[path = "proof_tests.rs"]
mod tests;
