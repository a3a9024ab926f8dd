//! Blobs as base64 inside a JSON text, encoded piece by piece, so that a blob and its base64 are never
//! both whole in memory.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytecave_messages::body::{BlobBody, BodyError};
use thiserror::Error;
use tokio::time::timeout;

use crate::wire::pieces::Pieces;

/// Bytes whose base64 needs no padding, so that pieces can be encoded one after the other.
const GROUP: usize = 3;

/// More or fewer bytes than stated: not that blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("its bytes are not as many as stated")]
pub(crate) struct WrongLength;

/// Why a blob was not put into a text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NotEncoded {
    /// Its next bytes did not come in time.
    #[error("nothing came behind {received} bytes")]
    Late {
        /// Bytes that had come.
        received: u64,
    },
    /// It could not be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It is not that blob.
    #[error(transparent)]
    WrongLength(#[from] WrongLength),
}

/// The text with all of a blob, between `head` and `tail`. For each piece of it is waited no longer
/// than `patience`.
pub(crate) async fn encode(
    head: &str,
    body: BlobBody,
    size: u64,
    tail: &str,
    patience: Duration,
) -> Result<String, NotEncoded> {
    // At most the largest blob of the 1.0.0 protocols.
    let size = usize::try_from(size).unwrap_or(usize::MAX);
    let mut text = Base64::new(head, size, tail.len());
    let mut pieces = Pieces::of(body);
    let mut received = 0;
    while let Some(piece) = timeout(patience, pieces.next())
        .await
        .map_err(|_| NotEncoded::Late { received })?
    {
        let piece = piece?;
        received += piece.len() as u64;
        text.push(&piece)?;
        // A blob that is here whole is not to hold up the thread for all of its length.
        tokio::task::yield_now().await;
    }
    Ok(text.finish(tail)?)
}

/// A text in the making.
struct Base64 {
    text: String,
    /// Of the last piece, what does not fill a group.
    carried: Vec<u8>,
    /// Bytes still to come.
    missing: usize,
}

impl Base64 {
    /// `head`, then the base64 of `size` bytes, then a tail of so many.
    fn new(head: &str, size: usize, tail: usize) -> Self {
        let mut text = String::with_capacity(head.len() + size.div_ceil(GROUP) * 4 + tail);
        text.push_str(head);
        Self {
            text,
            carried: Vec::with_capacity(GROUP),
            missing: size,
        }
    }

    /// The next bytes of the blob.
    fn push(&mut self, mut piece: &[u8]) -> Result<(), WrongLength> {
        self.missing = self.missing.checked_sub(piece.len()).ok_or(WrongLength)?;
        if !self.carried.is_empty() {
            let (fill, rest) = piece.split_at((GROUP - self.carried.len()).min(piece.len()));
            self.carried.extend_from_slice(fill);
            piece = rest;
            if self.carried.len() < GROUP {
                return Ok(());
            }
            STANDARD.encode_string(&self.carried, &mut self.text);
            self.carried.clear();
        }
        let (groups, rest) = piece.split_at(piece.len() / GROUP * GROUP);
        STANDARD.encode_string(groups, &mut self.text);
        self.carried.extend_from_slice(rest);
        Ok(())
    }

    /// The text, with `tail` behind it.
    fn finish(mut self, tail: &str) -> Result<String, WrongLength> {
        if self.missing > 0 {
            return Err(WrongLength);
        }
        STANDARD.encode_string(&self.carried, &mut self.text);
        self.text.push_str(tail);
        Ok(self.text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pieces_of_any_size_make_the_base64_of_the_whole(
            pieces in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..12)
        ) {
            let whole = pieces.concat();
            let mut base64 = Base64::new("<", whole.len(), 1);
            for piece in &pieces {
                base64.push(piece).unwrap();
            }
            let text = base64.finish(">").unwrap();
            prop_assert_eq!(&text, &format!("<{}>", STANDARD.encode(&whole)));
        }
    }
}
