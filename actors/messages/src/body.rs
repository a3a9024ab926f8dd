//! How the bytes of a blob travel: whole when small, as one bounded stream inside one message when
//! not. Never one message per piece.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_core::Stream;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};

/// Pieces that may wait between producer and consumer: with 256 KiB pieces, 1 MiB per transfer.
pub const PIECES_IN_FLIGHT: usize = 4;

/// Why a stream of bytes ended before its end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BodyError {
    /// The sender went away half way.
    #[error("the sender stopped after {received} bytes")]
    Stopped {
        /// Bytes that had arrived.
        received: u64,
    },
    /// The sender sent too little for too long.
    #[error("the sender was too slow: {received} bytes had arrived when its time was up")]
    TooSlow {
        /// Bytes that had arrived.
        received: u64,
    },
    /// More bytes than allowed.
    #[error("the blob is larger than the allowed {limit_bytes} bytes")]
    TooLarge {
        /// The limit that was passed.
        limit_bytes: u64,
    },
    /// The stored bytes are not what was stored.
    #[error("the stored blob is damaged")]
    Damaged,
    /// The blob was deleted while it was being read.
    #[error("the blob was deleted while it was being read")]
    Deleted,
    /// The body is not well-formed for its declared encoding (multipart, for one).
    #[error("the body is malformed: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// The store could not go on.
    #[error("the store failed during the transfer")]
    StoreFailed,
}

/// A blob's bytes inside a message.
pub enum BlobBody {
    /// All of them.
    Whole(Bytes),
    /// A bounded stream of them.
    Stream(BodyStream),
}

/// The receiving end of a bounded stream of pieces.
pub struct BodyStream {
    pieces: mpsc::Receiver<Result<Bytes, BodyError>>,
    /// Total length in bytes, where the sender stated it.
    stated_len: Option<u64>,
    /// Told when the first piece is asked for.
    begun: Option<oneshot::Sender<()>>,
}

/// The sending end of a [`BodyStream`]; dropping it without [`BodySender::finish`] ends the stream
/// in [`BodyError::Stopped`].
pub struct BodySender {
    pieces: mpsc::Sender<Result<Bytes, BodyError>>,
    sent: u64,
    finished: bool,
    /// Kept back so that the end of a stream never finds the channel full.
    reserved: Option<mpsc::OwnedPermit<Result<Bytes, BodyError>>>,
    begun: Option<oneshot::Receiver<()>>,
}

/// The receiver of a stream is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the receiver stopped reading")]
pub struct ReceiverGone;

/// A new bounded stream.
pub fn stream(stated_len: Option<u64>) -> (BodySender, BodyStream) {
    // One slot more than the pieces: the reserved one for the error at an early end.
    let (sender, receiver) = mpsc::channel(PIECES_IN_FLIGHT + 1);
    let reserved = sender.clone().try_reserve_owned().ok();
    let (begins, begun) = oneshot::channel();
    let sender = BodySender {
        pieces: sender,
        sent: 0,
        finished: false,
        reserved,
        begun: Some(begun),
    };
    (
        sender,
        BodyStream {
            pieces: receiver,
            stated_len,
            begun: Some(begins),
        },
    )
}

impl BodySender {
    /// Sends the next piece; waits while the receiver is behind.
    pub async fn send(&mut self, piece: Bytes) -> Result<(), ReceiverGone> {
        let len = piece.len() as u64;
        self.pieces
            .send(Ok(piece))
            .await
            .map_err(|_| ReceiverGone)?;
        self.sent += len;
        Ok(())
    }

    /// Returns when the receiver is gone: heard also while there is nothing to send.
    pub async fn closed(&self) {
        self.pieces.closed().await;
    }

    /// Waits until the receiver asks for the first piece; `false` when it left without. So what costs
    /// something to read is read for those who want it.
    pub async fn wanted(&mut self) -> bool {
        let Some(begun) = &mut self.begun else {
            return !self.pieces.is_closed();
        };
        let wanted = begun.await.is_ok();
        self.begun = None;
        wanted
    }

    /// Ends the stream: everything was sent.
    pub fn finish(mut self) {
        self.finished = true;
    }

    /// Ends the stream early, with the reason.
    pub fn fail(mut self, error: BodyError) {
        self.finished = true;
        self.end_with(error);
    }

    fn end_with(&mut self, error: BodyError) {
        if let Some(reserved) = self.reserved.take() {
            reserved.send(Err(error));
        }
    }
}

impl Drop for BodySender {
    fn drop(&mut self) {
        if !self.finished {
            let received = self.sent;
            self.end_with(BodyError::Stopped { received });
        }
    }
}

impl BodyStream {
    /// The next piece; `None` after the last.
    pub async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        self.begin();
        self.pieces.recv().await
    }

    fn begin(&mut self) {
        if let Some(begun) = self.begun.take() {
            // A sender that began by itself does not listen.
            let _ = begun.send(());
        }
    }

    /// Total length in bytes, where the sender stated it.
    pub fn stated_len(&self) -> Option<u64> {
        self.stated_len
    }
}

impl Stream for BodyStream {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.begin();
        self.pieces.poll_recv(context)
    }
}

impl BlobBody {
    /// Length in bytes, where it is known beforehand.
    pub fn stated_len(&self) -> Option<u64> {
        match self {
            Self::Whole(bytes) => Some(bytes.len() as u64),
            Self::Stream(stream) => stream.stated_len(),
        }
    }
}

impl fmt::Debug for BlobBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Whole(bytes) => write!(f, "Whole({} bytes)", bytes.len()),
            Self::Stream(stream) => stream.fmt(f),
        }
    }
}

impl fmt::Debug for BodySender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BodySender({} bytes sent)", self.sent)
    }
}

impl fmt::Debug for BodyStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.stated_len {
            Some(len) => write!(f, "Stream({len} bytes)"),
            None => f.write_str("Stream(length unknown)"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_dropped_sender_is_not_a_clean_end() {
        let (mut sender, mut stream) = stream(None);
        sender.send(Bytes::from_static(b"half")).await.unwrap();
        drop(sender);
        assert_eq!(stream.next().await, Some(Ok(Bytes::from_static(b"half"))));
        assert_eq!(
            stream.next().await,
            Some(Err(BodyError::Stopped { received: 4 }))
        );
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn the_reason_arrives_even_when_the_channel_is_full() {
        let (mut sender, mut stream) = stream(None);
        for _ in 0..PIECES_IN_FLIGHT {
            sender.send(Bytes::from_static(b"x")).await.unwrap();
        }
        sender.fail(BodyError::Damaged);
        for _ in 0..PIECES_IN_FLIGHT {
            assert!(stream.next().await.unwrap().is_ok());
        }
        assert_eq!(stream.next().await, Some(Err(BodyError::Damaged)));
    }

    #[tokio::test]
    async fn a_finished_stream_just_ends() {
        let (mut sender, mut stream) = stream(Some(1));
        sender.send(Bytes::from_static(b"x")).await.unwrap();
        sender.finish();
        assert!(stream.next().await.unwrap().is_ok());
        assert_eq!(stream.next().await, None);
    }

    #[tokio::test]
    async fn a_receiver_that_leaves_is_heard_without_sending() {
        let (sender, stream) = stream(None);
        let heard = tokio::spawn(async move { sender.closed().await });
        drop(stream);
        heard.await.unwrap();
    }

    #[tokio::test]
    async fn a_sender_hears_whether_anything_is_wanted() {
        let (mut sender, mut wanting) = stream(None);
        let asked = tokio::spawn(async move {
            let wanted = sender.wanted().await && sender.wanted().await;
            sender.finish();
            wanted
        });
        assert_eq!(wanting.next().await, None);
        assert!(asked.await.unwrap());
        let (mut sender, unread) = stream(None);
        drop(unread);
        assert!(!sender.wanted().await);
    }

    #[tokio::test]
    async fn debug_prints_lengths_and_never_bytes() {
        let body = BlobBody::Whole(Bytes::from_static(b"secret"));
        assert_eq!(format!("{body:?}"), "Whole(6 bytes)");
    }
}
