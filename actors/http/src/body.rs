//! Answers' bodies: a blob as it comes from the store or from peers, and the length of one that is not sent.

use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use actix_web::body::{BodySize, BoxBody, MessageBody};
use bytecave_messages::body::{BlobBody, BodyError, BodyStream};
use bytes::Bytes;
use futures_core::Stream;
use thiserror::Error;

use crate::conn::ConnState;
use crate::gate::HeldPermit;

/// Most bytes handed to the connection at once: its write buffer then stays in the processor's
/// cache and is used again, where one of the blob's size would be made anew for each answer.
const SLICE_BYTES: usize = 64 * 1024;

/// Why a blob's answer broke off; the connection is reset.
#[derive(Debug, Error)]
pub(crate) enum TransferError {
    #[error(transparent)]
    Body(#[from] BodyError),
    #[error("{missing_bytes} bytes too few came")]
    TooShort { missing_bytes: u64 },
    #[error("more bytes came than had been said")]
    TooLong,
}

/// The bytes of a blob, with their number known beforehand.
struct BlobAnswer {
    /// Received and not yet handed on.
    current: Bytes,
    rest: Option<BodyStream>,
    /// Bytes that are still to come, those of `current` included.
    remaining: u64,
    conn: Option<Rc<ConnState>>,
    /// The request is in flight until its last byte was handed on.
    _permit: Option<HeldPermit>,
}

/// The body of an answer with `len` bytes of a blob.
pub(crate) fn blob(
    body: BlobBody,
    len: u64,
    conn: Option<Rc<ConnState>>,
    permit: Option<HeldPermit>,
) -> BoxBody {
    let (current, rest) = match body {
        // The whole answer leaves in one write.
        BlobBody::Whole(bytes) if bytes.len() <= SLICE_BYTES && bytes.len() as u64 == len => {
            return BoxBody::new(bytes);
        }
        BlobBody::Whole(bytes) => (bytes, None),
        BlobBody::Stream(stream) => (Bytes::new(), Some(stream)),
    };
    BoxBody::new(BlobAnswer {
        current,
        rest,
        remaining: len,
        conn,
        _permit: permit,
    })
}

impl BlobAnswer {
    fn broken(&mut self, error: TransferError) -> TransferError {
        if let Some(conn) = &self.conn {
            conn.reset();
        }
        tracing::debug!(%error, "an answer broke off");
        error
    }
}

impl MessageBody for BlobAnswer {
    type Error = TransferError;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.remaining)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, TransferError>>> {
        let this = self.get_mut();
        while this.current.is_empty() {
            let next = match &mut this.rest {
                Some(rest) => ready!(Pin::new(rest).poll_next(context)),
                None => None,
            };
            match next {
                Some(Ok(piece)) => this.current = piece,
                Some(Err(error)) => return Poll::Ready(Some(Err(this.broken(error.into())))),
                None if this.remaining == 0 => return Poll::Ready(None),
                None => {
                    let missing_bytes = this.remaining;
                    let error = TransferError::TooShort { missing_bytes };
                    return Poll::Ready(Some(Err(this.broken(error))));
                }
            }
        }
        let slice = this.current.split_to(this.current.len().min(SLICE_BYTES));
        match this.remaining.checked_sub(slice.len() as u64) {
            Some(remaining) => {
                this.remaining = remaining;
                Poll::Ready(Some(Ok(slice)))
            }
            None => Poll::Ready(Some(Err(this.broken(TransferError::TooLong)))),
        }
    }
}

/// The body of an answer to HEAD: as long as the one to GET, and without a byte.
pub(crate) struct LengthOnly(pub(crate) u64);

impl MessageBody for LengthOnly {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        BodySize::Sized(self.0)
    }

    fn poll_next(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, Self::Error>>> {
        Poll::Ready(None)
    }
}
