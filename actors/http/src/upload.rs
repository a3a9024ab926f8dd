//! Bodies on their way in: read at the client's pace within bounds, handed to the store whole when
//! they are small and as one bounded stream when they are not.

use std::future::Future;
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::error::PayloadError;
use bytecave_messages::body::{BodyError, BodySender};
use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};

use crate::options::HttpSettings;

/// Largest body that is collected in memory before it is handed on. Larger ones are streamed.
pub(crate) const WHOLE_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Pieces of a streamed body: what the store is handed at a time.
const PIECE_BYTES: usize = 256 * 1024;
/// Time spent waiting for an upload before its rate is judged.
const RATE_GRACE: Duration = Duration::from_secs(10);

/// The bounds of one body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Longest wait for the next bytes.
    pub(crate) idle: Duration,
    /// Slowest average after the grace; 0 for none.
    pub(crate) min_bytes_per_second: u64,
    /// Most bytes in all.
    pub(crate) max_bytes: u64,
}

impl Pace {
    pub(crate) fn of(settings: &HttpSettings, max_bytes: u64) -> Self {
        Self {
            idle: settings.body_idle_timeout,
            min_bytes_per_second: settings.min_upload_bytes_per_second,
            max_bytes,
        }
    }
}

/// A request's body, watched.
pub(crate) struct Incoming {
    payload: Payload,
    pace: Pace,
    received: u64,
    /// Time spent waiting for the client alone: a store that is behind is not the client's fault.
    waited: Duration,
}

impl Incoming {
    pub(crate) fn new(payload: Payload, pace: Pace) -> Self {
        Self {
            payload,
            pace,
            received: 0,
            waited: Duration::ZERO,
        }
    }

    /// The next bytes as they arrived; `None` at the end.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, BodyError> {
        let received = self.received;
        let next = if let Some(next) = self.payload.next().now_or_never() {
            next
        } else {
            let since = Instant::now();
            let next = tokio::time::timeout(self.pace.idle, self.payload.next()).await;
            self.waited += since.elapsed();
            next.map_err(|_| BodyError::TooSlow { received })?
        };
        let bytes = match next {
            None => return Ok(None),
            Some(Ok(bytes)) => bytes,
            Some(Err(error)) => return Err(self.broken(&error)),
        };
        self.received += bytes.len() as u64;
        if self.received > self.pace.max_bytes {
            let limit_bytes = self.pace.max_bytes;
            return Err(BodyError::TooLarge { limit_bytes });
        }
        if self.is_too_slow() {
            let received = self.received;
            return Err(BodyError::TooSlow { received });
        }
        Ok(Some(bytes))
    }

    fn is_too_slow(&self) -> bool {
        self.waited > RATE_GRACE
            && self.received
                < self
                    .pace
                    .min_bytes_per_second
                    .saturating_mul(self.waited.as_secs())
    }

    fn broken(&self, error: &PayloadError) -> BodyError {
        match error {
            PayloadError::EncodingCorrupted | PayloadError::UnknownLength => BodyError::Malformed {
                reason: "its transfer encoding is broken".to_owned(),
            },
            _ => BodyError::Stopped {
                received: self.received,
            },
        }
    }

    /// All of it, `len` bytes as stated and at most [`WHOLE_MAX_BYTES`].
    pub(crate) async fn collect(mut self, len: u64) -> Result<Bytes, BodyError> {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let Some(first) = self.next().await? else {
            return Ok(Bytes::new());
        };
        // What came with the head, as most small bodies do, is not copied.
        if first.len() >= len {
            return match self.next().await? {
                None => Ok(first),
                Some(_) => Err(BodyError::Malformed {
                    reason: "it is longer than its Content-Length".to_owned(),
                }),
            };
        }
        let mut whole = BytesMut::with_capacity(len);
        whole.extend_from_slice(&first);
        drop(first);
        while let Some(bytes) = self.next().await? {
            whole.extend_from_slice(&bytes);
        }
        Ok(whole.freeze())
    }

    /// All of it into `sender`, which learns how it ended.
    pub(crate) async fn stream(mut self, sender: BodySender) {
        let mut pieces = Pieces::new(sender);
        loop {
            match self.next().await {
                Ok(Some(bytes)) => {
                    if pieces.push(&bytes).await.is_gone() {
                        return;
                    }
                }
                Ok(None) => return pieces.finish().await,
                Err(error) => return pieces.fail(error),
            }
        }
    }
}

/// Gathers arriving bytes into pieces of the size that the store likes.
pub(crate) struct Pieces {
    sender: BodySender,
    buffer: BytesMut,
}

/// Whether anyone still reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Reader {
    There,
    Gone,
}

impl Reader {
    pub(crate) fn is_gone(self) -> bool {
        self == Self::Gone
    }
}

impl Pieces {
    pub(crate) fn new(sender: BodySender) -> Self {
        Self {
            sender,
            buffer: BytesMut::new(),
        }
    }

    pub(crate) async fn push(&mut self, mut bytes: &[u8]) -> Reader {
        while !bytes.is_empty() {
            if self.buffer.capacity() == 0 {
                self.buffer = BytesMut::with_capacity(PIECE_BYTES);
            }
            let room = PIECE_BYTES - self.buffer.len();
            let (now, later) = bytes.split_at(bytes.len().min(room));
            self.buffer.extend_from_slice(now);
            bytes = later;
            if self.buffer.len() == PIECE_BYTES && self.flush().await.is_gone() {
                return Reader::Gone;
            }
        }
        Reader::There
    }

    async fn flush(&mut self) -> Reader {
        let piece = std::mem::take(&mut self.buffer).freeze();
        if piece.is_empty() {
            return Reader::There;
        }
        match self.sender.send(piece).await {
            Ok(()) => Reader::There,
            Err(_) => Reader::Gone,
        }
    }

    pub(crate) async fn finish(mut self) {
        if !self.flush().await.is_gone() {
            self.sender.finish();
        }
    }

    pub(crate) fn fail(self, error: BodyError) {
        self.sender.fail(error);
    }
}

/// Feeds a body while its taker works, and gives the taker's answer. A taker that answers early
/// (it refuses) ends the feeding.
pub(crate) async fn feed<T>(
    feeding: impl Future<Output = ()>,
    taking: impl Future<Output = T>,
) -> T {
    tokio::pin!(feeding, taking);
    tokio::select! {
        biased;
        answer = &mut taking => answer,
        () = &mut feeding => taking.await,
    }
}
