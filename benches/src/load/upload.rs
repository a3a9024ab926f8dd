//! The body of a request: a blob made piece by piece, just before the socket takes it.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};

use crate::content::{BlobSeed, PIECE_BYTES, Pieces};

/// A blob on its way out.
#[derive(Debug)]
pub(super) struct Upload {
    /// What is left to send and from where; nothing for requests without a body.
    content: Option<Content>,
}

#[derive(Debug)]
struct Content {
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
            content: Some(Content {
                seed,
                size,
                sent: 0,
                pieces,
            }),
        }
    }

    fn left(&self) -> u64 {
        self.content
            .as_ref()
            .map_or(0, |content| content.size - content.sent)
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
        let Some(content) = self.content.as_mut().filter(|_| left > 0) else {
            return Poll::Ready(None);
        };
        let len = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
        let mut pieces = content
            .pieces
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let piece = pieces.piece(content.seed, content.sent, len);
        drop(pieces);
        content.sent += len as u64;
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left() == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left())
    }
}
