//! Bringing a copy to a peer: refused before bytes flow where the peer speaks our own protocol, as a
//! JSON text with all of it where it does not.
//!
//! A peer may say no while bytes are still being sent, so its answer is listened for all the time.

use bytecave_core::PeerId;
use bytecave_messages::body::{BlobBody, BodyError};
use bytecave_messages::replicator::BlobFacts;
use bytecave_messages::swarm::{RefusalKind, ReplicaSent, SwarmError};
use futures_util::AsyncReadExt;
use libp2p::Stream;
use serde::Deserialize;
use tokio::time::timeout;

use super::{Client, QUOTED_BYTES, bad, refused};
use crate::plain::cleaned;
use crate::wire::frame::{self, FrameError, MAX_BLOB_BYTES, Pace, SMALL_FRAME_BYTES};
use crate::wire::v1::base64::{self, NotEncoded};
use crate::wire::v1::blobs::DEFAULT_MEDIA_TYPE;
use crate::wire::v1::text::{Text, is_media_type};
use crate::wire::v1::{self, Kind};
use crate::wire::v2;
use crate::wire::v2::header::{Header, Word};
use crate::wire::v2::pieces::{self, TransferError};

/// The answer of the first version.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Replicated<'a> {
    #[serde(default)]
    success: Option<bool>,
    #[serde(default)]
    already_stored: Option<bool>,
    #[serde(borrow, default)]
    error: Option<Text<'a>>,
}

impl Client {
    /// Brings a copy to `peer`.
    pub(crate) async fn send_replica(
        &self,
        peer: PeerId,
        blob: &BlobFacts,
        body: BlobBody,
    ) -> Result<ReplicaSent, SwarmError> {
        let kind = v2::Kind::Replicate;
        let names = [kind.protocol(), Kind::Replicate.protocol()];
        // A larger blob does not fit into a frame of the first version.
        let offered = if blob.size <= MAX_BLOB_BYTES { 2 } else { 1 };
        let names = names.get(..offered).unwrap_or_default();
        let opened = self.open(peer, names, kind.name()).await?;
        if opened.protocol == kind.protocol() {
            self.stream_to(peer, opened.stream, blob, body).await
        } else {
            self.whole_to(peer, opened.stream, blob, body).await
        }
    }

    async fn stream_to(
        &self,
        peer: PeerId,
        stream: Stream,
        blob: &BlobFacts,
        body: BlobBody,
    ) -> Result<ReplicaSent, SwarmError> {
        let patience = self.request_timeout;
        let (mut reader, mut writer) = stream.split();
        let content_type = blob.content_type.clone();
        let offer = Header {
            cid: Some(blob.cid),
            size: Some(blob.size),
            blob_root: Some(blob.blob_root),
            content_type: content_type.filter(|stated| is_media_type(stated)),
            ..Header::default()
        };
        frame::write(&mut writer, &offer.frame(), patience)
            .await
            .map_err(|error| self.failed(peer, error))?;
        let first = Header::read_within(&mut reader, patience).await;
        let first = first.map_err(|error| self.unread(peer, error))?;
        if first.word != Some(Word::Send) || first.refused.is_some() {
            return sent(peer, first);
        }
        let mut unwatched = Pace::unwatched();
        let answer = Header::read(&mut reader, &mut unwatched);
        let send = async {
            pieces::send(&mut writer, body, blob.size, patience).await?;
            frame::close(&mut writer, patience).await?;
            Ok(())
        };
        match self.unless_answered(answer, send).await {
            Ok(last) => sent(peer, last),
            Err(Unanswered::Answer(error)) => Err(self.unread(peer, error)),
            Err(Unanswered::Late) => Err(self.late(peer)),
            Err(Unanswered::Sending(error)) => Err(self.not_sent(peer, error)),
        }
    }

    /// The answer of a peer to which something is being sent.
    async fn unless_answered<T, E>(
        &self,
        answer: impl Future<Output = Result<T, E>>,
        send: impl Future<Output = Result<(), TransferError>>,
    ) -> Result<T, Unanswered<E>> {
        let mut answer = std::pin::pin!(answer);
        let sent = tokio::select! {
            biased;
            answer = &mut answer => return answer.map_err(Unanswered::Answer),
            sent = send => sent,
        };
        match sent {
            // Whoever does not want the rest has said so before the stream broke.
            Ok(())
            | Err(TransferError::Frame(FrameError::Ended { .. } | FrameError::Stream(_))) => {}
            Err(error) => return Err(Unanswered::Sending(error)),
        }
        match (timeout(self.request_timeout, answer).await, sent) {
            (Ok(Ok(answer)), _) => Ok(answer),
            (_, Err(error)) => Err(Unanswered::Sending(error)),
            (Ok(Err(error)), Ok(())) => Err(Unanswered::Answer(error)),
            (Err(_), Ok(())) => Err(Unanswered::Late),
        }
    }

    fn not_sent(&self, peer: PeerId, error: TransferError) -> SwarmError {
        match error {
            TransferError::Body(error) => error.into(),
            TransferError::Frame(error) => self.failed(peer, error),
            other => SwarmError::Unreachable {
                peer,
                cause: other.to_string(),
            },
        }
    }

    async fn whole_to(
        &self,
        peer: PeerId,
        stream: Stream,
        blob: &BlobFacts,
        body: BlobBody,
    ) -> Result<ReplicaSent, SwarmError> {
        let memory = self.memory.for_blob(blob.size);
        let _memory = memory.ok_or_else(|| self.full())?;
        let request = self.request(blob, body).await?;
        let patience = self.request_timeout;
        let (mut reader, mut writer) = stream.split();
        let mut pace = Pace::unwatched();
        let answer = async {
            let length = frame::read_length(&mut reader, SMALL_FRAME_BYTES, &mut pace).await?;
            frame::read_body(&mut reader, length, &mut pace).await
        };
        let send = async {
            frame::write(&mut writer, &request, patience).await?;
            frame::close(&mut writer, patience).await?;
            Ok(())
        };
        match self.unless_answered(answer, send).await {
            Ok(answer) => replicated(peer, &answer),
            Err(Unanswered::Answer(error)) => Err(self.failed(peer, error)),
            Err(Unanswered::Late) => Err(self.late(peer)),
            Err(Unanswered::Sending(error)) => Err(self.not_sent(peer, error)),
        }
    }

    /// The frame of the first version.
    async fn request(&self, blob: &BlobFacts, body: BlobBody) -> Result<Vec<u8>, SwarmError> {
        let media_type = blob.content_type.as_deref().unwrap_or(DEFAULT_MEDIA_TYPE);
        let head = format!(
            "\0\0\0\0{{\"cid\":\"{}\",\"mimeType\":{},\"ciphertext\":\"",
            v1::hex(&blob.cid),
            serde_json::json!(media_type),
        );
        let text = base64::encode(&head, body, blob.size, "\"}", self.request_timeout).await;
        let text = text.map_err(|error| match error {
            NotEncoded::Late { received } => BodyError::TooSlow { received },
            NotEncoded::Body(error) => error,
            NotEncoded::WrongLength(error) => BodyError::Malformed {
                reason: error.to_string(),
            },
        })?;
        Ok(frame::seal(text.into_bytes()))
    }
}

/// Why there is no answer.
enum Unanswered<E> {
    /// It could not be read.
    Answer(E),
    /// All was sent, and it did not come.
    Late,
    /// Not all was sent.
    Sending(TransferError),
}

fn sent(peer: PeerId, answer: Header) -> Result<ReplicaSent, SwarmError> {
    if let Some(why) = answer.refused {
        return Err(refused(peer, why));
    }
    let already_stored = match answer.word {
        Some(Word::Stored) => false,
        Some(Word::AlreadyStored) => true,
        Some(Word::Send) | None => return Err(bad(peer, "no word on what became of the copy")),
    };
    Ok(ReplicaSent {
        already_stored,
        counted: true,
    })
}

fn replicated(peer: PeerId, answer: &[u8]) -> Result<ReplicaSent, SwarmError> {
    let answer: Replicated<'_> =
        serde_json::from_slice(answer).map_err(|error| bad(peer, error.to_string()))?;
    match (answer.success, answer.error) {
        (Some(true), _) => Ok(ReplicaSent {
            already_stored: answer.already_stored == Some(true),
            counted: false,
        }),
        (_, Some(error)) => Err(not_replicated(peer, &error.0)),
        (_, None) => Err(bad(peer, "neither a success nor an error")),
    }
}

/// The first version gives words and no kinds.
fn not_replicated(peer: PeerId, error: &str) -> SwarmError {
    let error = error.trim_start();
    let lower = error.to_ascii_lowercase();
    let begins = |words: &str| lower.starts_with(words);
    let kind = if begins("busy") {
        return SwarmError::Busy { peer };
    } else if begins("not admitted") {
        RefusalKind::NotAdmitted
    } else if begins("storage full") {
        RefusalKind::Full
    } else if begins("invalid request") {
        RefusalKind::Invalid
    } else if begins("the content does not match") {
        RefusalKind::Mismatch
    } else if begins("shard ") {
        RefusalKind::NotOurShard
    } else {
        RefusalKind::Unavailable
    };
    SwarmError::Refused {
        peer,
        kind,
        reason: cleaned(error, QUOTED_BYTES),
    }
}

#[cfg(test)]
mod tests {
    use bytecave_core::PublicKey;

    use super::*;

    #[test]
    fn what_the_first_version_answers_is_understood() {
        let peer = PublicKey::new([7; 32]).peer_id();
        let read = |json: &str| replicated(peer, json.as_bytes());
        let stored = |already_stored| ReplicaSent {
            already_stored,
            counted: false,
        };
        assert_eq!(read(r#"{"success":true}"#), Ok(stored(false)));
        let already = r#"{"success":true,"alreadyStored":true,"more":1}"#;
        assert_eq!(read(already), Ok(stored(true)));
        let kind = |text: &str| {
            let answer = serde_json::json!({"success": false, "error": text});
            match read(&answer.to_string()) {
                Err(SwarmError::Refused { kind, .. }) => Some(kind),
                Err(SwarmError::Busy { .. }) => None,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(kind("busy: try again later"), None);
        assert_eq!(kind("Storage full"), Some(RefusalKind::Full));
        assert_eq!(kind("Invalid request"), Some(RefusalKind::Invalid));
        assert_eq!(kind("whatever\u{7}"), Some(RefusalKind::Unavailable));
        for nonsense in ["", "[]", "{}", r#"{"success":false}"#] {
            assert!(
                matches!(read(nonsense), Err(SwarmError::BadAnswer { .. })),
                "{nonsense}"
            );
        }
    }
}
