//! The body of a request: a blob made piece by piece, just before the socket takes it, or a few bytes.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::content::{BlobSeed, PIECE_BYTES, Pieces};

/// A blob on its way out.
#[derive(Debug)]
pub(super) struct Upload {
    /// What is left to send; nothing for requests without a body.
    content: Option<Content>,
}

#[derive(Debug)]
enum Content {
    Blob(Blob),
    Text(Bytes),
}

#[derive(Debug)]
struct Blob {
    seed: BlobSeed,
    size: u64,
    sent: u64,
    /// Shared with the client that will send the next blob; never both at once, so never waited for.
    pieces: Arc<Mutex<Pieces>>,
}

impl Upload {
    /// No body.
    pub(super) const fn nothing() -> Self {
        Self { content: None }
    }

    /// The blob with this content.
    pub(super) const fn blob(seed: BlobSeed, size: u64, pieces: Arc<Mutex<Pieces>>) -> Self {
        Self {
            content: Some(Content::Blob(Blob {
                seed,
                size,
                sent: 0,
                pieces,
            })),
        }
    }

    /// These bytes.
    pub(super) fn text(bytes: Bytes) -> Self {
        Self {
            content: Some(Content::Text(bytes)),
        }
    }

    fn left(&self) -> u64 {
        match &self.content {
            None => 0,
            Some(Content::Blob(blob)) => blob.size - blob.sent,
            Some(Content::Text(bytes)) => bytes.len() as u64,
        }
    }
}

impl Blob {
    fn next_piece(&mut self, left: u64) -> Bytes {
        let len = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let pieces = self.pieces.lock();
        let mut pieces = pieces.unwrap_or_else(PoisonError::into_inner);
        let piece = pieces.piece(self.seed, self.sent, len);
        self.sent += len as u64;
        piece
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let left = self.left();
        let piece = match self.content.as_mut().filter(|_| left > 0) {
            None => return Poll::Ready(None),
            Some(Content::Text(bytes)) => std::mem::take(bytes),
            Some(Content::Blob(blob)) => blob.next_piece(left),
        };
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
