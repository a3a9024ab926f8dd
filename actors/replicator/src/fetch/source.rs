//! The stream of one peer: its pieces, as long as they come.

use std::time::Duration;

use bytecave_core::PeerId;
use bytecave_messages::body::{BlobBody, BodyError};
use bytes::Bytes;
use tokio::time::{Instant, timeout};

use super::ask::Blob;
use super::out::PIECE_BYTES;
use crate::conduct::Deed;

/// A peer that gives fewer bytes than this in the time it has for a piece stalls, though bytes come:
/// else one byte now and then would hold a client for ever.
const PROGRESS_BYTES: u64 = 64 << 10;

/// A peer that gives a blob.
#[derive(Debug)]
pub(super) struct Source {
    pub(super) peer: PeerId,
    /// Whether its bytes are known to be those of the blob.
    pub(super) proved: bool,
    /// Bytes that it gave so far.
    pub(super) given: u64,
    /// Bytes before those that are wanted.
    skip: u64,
    body: BlobBody,
    /// How long it let wait since it last made progress, and what came since. Time in which the
    /// receiver let wait does not count.
    waited: Duration,
    came: u64,
}

/// Why a stream is not gone on with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken {
    /// What the peer is to be noted for.
    pub(super) deed: Deed,
    pub(super) why: &'static str,
}

impl Source {
    /// Of what `peer` gives, of which so many bytes are to be skipped.
    pub(super) fn new(peer: PeerId, skip: u64, body: BlobBody) -> Self {
        Self {
            peer,
            proved: false,
            given: 0,
            skip,
            body,
            waited: Duration::ZERO,
            came: 0,
        }
    }

    /// Of a blob that is here already, without the bytes up to this one.
    pub(super) fn here(peer: PeerId, blob: Blob, from: u64) -> Self {
        Self {
            proved: true,
            ..Self::new(peer, from, BlobBody::Whole(blob.bytes))
        }
    }

    /// The next bytes, at least one. The end is none of them: whoever reads knows when there are
    /// enough.
    pub(super) async fn next(&mut self, stall: Duration) -> Result<Bytes, Broken> {
        loop {
            let mut piece = self.piece(stall).await?;
            let skipped = self.skip.min(piece.len() as u64);
            self.skip -= skipped;
            // At most the length of the piece, so it fits.
            let _ = piece.split_to(usize::try_from(skipped).unwrap_or(usize::MAX));
            if !piece.is_empty() {
                self.given += piece.len() as u64;
                return Ok(piece);
            }
        }
    }

    /// Whether nothing comes behind the last byte that was wanted. A peer that lets wait for its end is
    /// not waited for.
    pub(super) async fn ends(&mut self, stall: Duration) -> bool {
        let BlobBody::Stream(stream) = &mut self.body else {
            return true;
        };
        match timeout(stall, stream.next()).await {
            Ok(Some(Ok(_) | Err(BodyError::Malformed { .. }))) => false,
            Ok(Some(Err(_)) | None) | Err(_) => true,
        }
    }

    async fn piece(&mut self, stall: Duration) -> Result<Bytes, Broken> {
        let ended = broken(Deed::Lied, "it gives fewer bytes than it states");
        let stream = match &mut self.body {
            BlobBody::Whole(bytes) if bytes.is_empty() => return Err(ended),
            BlobBody::Whole(bytes) => return Ok(bytes.split_to(PIECE_BYTES.min(bytes.len()))),
            BlobBody::Stream(stream) => stream,
        };
        let since = Instant::now();
        let piece = timeout(stall.saturating_sub(self.waited), stream.next()).await;
        let piece = match piece {
            Ok(Some(Ok(piece))) => piece,
            Ok(Some(Err(BodyError::Malformed { .. }))) => {
                return Err(broken(Deed::Lied, "it gives more bytes than it states"));
            }
            Ok(Some(Err(error))) => {
                tracing::debug!(peer = %self.peer, %error, "a peer breaks off");
                return Err(broken(Deed::Silent, "it broke off"));
            }
            Ok(None) => return Err(ended),
            Err(_) => return Err(broken(Deed::Silent, "it stalls")),
        };
        self.waited += since.elapsed();
        self.came += piece.len() as u64;
        if self.came >= PROGRESS_BYTES {
            (self.waited, self.came) = (Duration::ZERO, 0);
        }
        Ok(piece)
    }
}

pub(super) fn broken(deed: Deed, why: &'static str) -> Broken {
    Broken { deed, why }
}
