//! A body piece by piece, whatever its form.

use bytecave_messages::body::{BlobBody, BodyError};
use bytes::Bytes;

/// Longest piece. Larger ones hold more memory for each stream; smaller ones cost more work for each
/// byte.
pub(crate) const PIECE_BYTES: usize = 256 * 1024;

/// The pieces of a body.
#[derive(Debug)]
pub(crate) struct Pieces {
    body: BlobBody,
    /// What is left of the last one.
    rest: Bytes,
}

impl Pieces {
    /// None of them is longer than [`PIECE_BYTES`].
    pub(crate) fn of(body: BlobBody) -> Self {
        Self {
            body,
            rest: Bytes::new(),
        }
    }

    /// The next piece; never empty.
    pub(crate) async fn next(&mut self) -> Option<Result<Bytes, BodyError>> {
        while self.rest.is_empty() {
            self.rest = match &mut self.body {
                BlobBody::Whole(bytes) if bytes.is_empty() => return None,
                BlobBody::Whole(bytes) => std::mem::take(bytes),
                BlobBody::Stream(stream) => match stream.next().await? {
                    Ok(piece) => piece,
                    Err(error) => return Some(Err(error)),
                },
            };
        }
        Some(Ok(self.rest.split_to(self.rest.len().min(PIECE_BYTES))))
    }
}
