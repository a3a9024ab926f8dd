//! The bytes of a blob on a stream: pieces, each a 32-bit big-endian length of 1 to 256 KiB and that
//! many bytes, until there are as many as the header says; then the sender closes its side.
//!
//! A piece of length 0 says that the sender gives up: it could not read the rest. A stream that just
//! ends may have been broken by anything in between, and of that the receiver would try again at once.

use std::time::Duration;

use bytecave_messages::body::{BlobBody, BodyError, BodySender};
use bytes::BytesMut;
use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::wire::frame::{self, FrameError, PREFIX_BYTES, Pace};
use crate::wire::pieces::{PIECE_BYTES, Pieces};
use crate::wire::slow::SLOW_TRANSFERS_PER_PEER;

/// Bytes of a piece that are written with its length: as much as the muxer puts into one frame.
const BESIDE_PREFIX_BYTES: usize = 16 * 1024 - PREFIX_BYTES;
/// Bytes that are gathered before they are handed on: what is kept of each piece beside its bytes would
/// otherwise be many times that of a peer that sends them one by one.
const GATHERED_BYTES: usize = 64 * 1024;
/// Time for the word that this side gives up: it is no more than a courtesy.
const GIVE_UP_TIME: Duration = Duration::from_secs(2);

/// Why not all of the bytes passed.
#[derive(Debug, Error)]
pub(crate) enum TransferError {
    /// The stream or the peer's pace failed, or a piece is longer than what is still to come.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The peer said that it cannot go on.
    #[error("the peer gave up after {received} bytes")]
    GivenUp {
        /// Bytes that had come.
        received: u64,
    },
    /// More bytes than the header says.
    #[error("more than the stated {stated} bytes came")]
    TooMany {
        /// What the header says.
        stated: u64,
    },
    /// The bytes on this side cannot be read.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// It goes on slowly, and so do as many others of the peer as one may have.
    #[error("too slow: the peer has {SLOW_TRANSFERS_PER_PEER} slow transfers already")]
    TooManySlow,
    /// Nobody on this side wants them any more.
    #[error("nobody reads the bytes any more")]
    Unwanted,
}

impl TransferError {
    /// What the reader of a body is told, of which so many bytes had come.
    pub(crate) fn for_reader(&self, received: u64) -> BodyError {
        match self {
            Self::Frame(FrameError::TimedOut { .. }) => BodyError::TooSlow { received },
            Self::Frame(FrameError::TooLong { .. }) | Self::TooMany { .. } => {
                BodyError::Malformed {
                    reason: self.to_string(),
                }
            }
            Self::Frame(FrameError::Ended { .. } | FrameError::Stream(_))
            | Self::GivenUp { .. }
            | Self::TooManySlow
            | Self::Unwanted => BodyError::Stopped { received },
            Self::Body(error) => error.clone(),
        }
    }
}

/// Sends the `len` bytes of `body`. The peer has to keep the pace; for each piece of ours it is waited
/// no longer than `patience`.
pub(crate) async fn send<S>(
    stream: &mut S,
    body: BlobBody,
    len: u64,
    patience: Duration,
) -> Result<(), TransferError>
where
    S: AsyncWrite + Unpin,
{
    let sent = send_pieces(stream, body, len, patience).await;
    if let Err(TransferError::Body(_)) = &sent {
        let word = [0; PREFIX_BYTES];
        let _ = timeout(GIVE_UP_TIME, frame::write_all(stream, &word)).await;
    }
    sent
}

async fn send_pieces<S>(
    stream: &mut S,
    body: BlobBody,
    len: u64,
    patience: Duration,
) -> Result<(), TransferError>
where
    S: AsyncWrite + Unpin,
{
    let mut pieces = Pieces::of(body);
    let mut pace = Pace::steady(patience);
    let mut head = Vec::with_capacity(PREFIX_BYTES + BESIDE_PREFIX_BYTES);
    let mut received = 0;
    loop {
        let asked = Instant::now();
        let Ok(piece) = timeout(patience, pieces.next()).await else {
            return Err(BodyError::TooSlow { received }.into());
        };
        pace.excuse(asked.elapsed());
        let Some(piece) = piece.transpose()? else {
            break;
        };
        received += piece.len() as u64;
        if received > len {
            let reason = format!("it is longer than the stated {len} bytes");
            return Err(BodyError::Malformed { reason }.into());
        }
        // At most PIECE_BYTES.
        let prefix = u32::try_from(piece.len()).unwrap_or(u32::MAX).to_be_bytes();
        let mut rest = piece;
        // Alone it would be a frame of the muxer, a packet and a wake-up of the peer for four bytes.
        let first = rest.split_to(rest.len().min(BESIDE_PREFIX_BYTES));
        head.clear();
        head.extend_from_slice(&prefix);
        head.extend_from_slice(&first);
        pace.write_all(stream, &head).await?;
        pace.write_all(stream, &rest).await?;
    }
    if received < len {
        return Err(BodyError::Stopped { received }.into());
    }
    Ok(pace.flush(stream).await?)
}

/// Receives `len` bytes into `sender` and ends it, well or with the reason why not.
pub(crate) async fn receive<S>(
    stream: &mut S,
    mut sender: BodySender,
    len: u64,
    patience: Duration,
) -> Result<(), TransferError>
where
    S: AsyncRead + Unpin,
{
    let mut received = 0;
    let result = receive_pieces(stream, &mut sender, len, &mut received, patience).await;
    match &result {
        Ok(()) => sender.finish(),
        Err(error) => sender.fail(error.for_reader(received)),
    }
    result
}

async fn receive_pieces<S>(
    stream: &mut S,
    sender: &mut BodySender,
    len: u64,
    received: &mut u64,
    patience: Duration,
) -> Result<(), TransferError>
where
    S: AsyncRead + Unpin,
{
    let mut pace = Pace::steady(patience);
    let mut gathered = BytesMut::new();
    while *received < len {
        let left = len - *received - gathered.len() as u64;
        let piece = tokio::select! {
            biased;
            () = sender.closed() => return Err(TransferError::Unwanted),
            piece = receive_piece(stream, &mut gathered, left, &mut pace) => piece,
        };
        let more = matches!(piece, Ok(true)) && gathered.len() as u64 != len - *received;
        // What came before the end is handed on too: it need not be asked for again.
        if !gathered.is_empty() && (!more || gathered.len() >= GATHERED_BYTES) {
            let bytes = gathered.split().freeze();
            let length = bytes.len() as u64;
            let handed = Instant::now();
            let sent = sender.send(bytes).await;
            sent.map_err(|_| TransferError::Unwanted)?;
            *received += length;
            pace.excuse(handed.elapsed());
        }
        if !piece? {
            let received = *received;
            return Err(TransferError::GivenUp { received });
        }
    }
    let mut behind = [0; 1];
    tokio::select! {
        biased;
        () = sender.closed() => Err(TransferError::Unwanted),
        end = pace.step(stream.read(&mut behind)) => match end {
            // All of it is here; how the stream ends does not matter any more.
            Ok(0) | Err(FrameError::Stream(_)) => Ok(()),
            Ok(_) => Err(TransferError::TooMany { stated: len }),
            Err(error) => Err(error.into()),
        },
    }
}

/// Appends the next piece to `gathered`, of at most the `left` bytes that are to come; whether there was
/// one, and the peer did not give up. A piece that breaks off leaves nothing.
async fn receive_piece<S>(
    stream: &mut S,
    gathered: &mut BytesMut,
    left: u64,
    pace: &mut Pace,
) -> Result<bool, TransferError>
where
    S: AsyncRead + Unpin,
{
    let longest = left.min(PIECE_BYTES as u64);
    let length = frame::read_length(stream, longest, pace).await?;
    if length == 0 {
        return Ok(false);
    }
    let mut piece = gathered.split_off(gathered.len());
    // At most PIECE_BYTES.
    piece.resize(usize::try_from(length).unwrap_or(PIECE_BYTES), 0);
    pace.read_exact(stream, &mut piece).await?;
    gathered.unsplit(piece);
    Ok(true)
}

#[cfg(test)]
#[path = "pieces_tests.rs"]
mod tests;
