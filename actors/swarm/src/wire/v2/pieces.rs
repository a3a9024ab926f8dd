//! The bytes of a blob on a stream: pieces, each a 32-bit big-endian length of 1 to 256 KiB and that
//! many bytes, until there are as many as the header says; then the sender closes its side.
//!
//! A piece of length 0 says that the sender gives up: it could not read the rest. A stream that just
//! ends may have been broken by anything in between, and of that the receiver would try again at once.

use std::collections::VecDeque;
use std::time::Duration;

use bytecave_messages::body::{BlobBody, BodyError, BodySender};
use bytes::{Bytes, BytesMut};
use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use crate::wire::frame::{self, FrameError, PREFIX_BYTES, Pace};
use crate::wire::pieces::{PIECE_BYTES, Pieces};
use crate::wire::slow::SLOW_TRANSFERS_PER_PEER;

/// Bytes of a piece that are written with its length: as much as the muxer puts into one frame.
const BESIDE_PREFIX_BYTES: usize = 16 * 1024 - PREFIX_BYTES;
/// Bytes that are gathered before they are handed on: what is kept of each piece beside its bytes would
/// otherwise be many times that of a peer that sends them one by one. Smaller, and the threads behind are
/// woken more often than they need be; larger, and little is on its way to them at once.
const GATHERED_BYTES: usize = 128 * 1024;
/// Buffers of a transfer that are watched for being free again: 2 MiB. Fewer than are on their way and
/// none is ever found free.
const GIVEN_BUFFERS: usize = 16;
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
    let mut buffers = Buffers::of(len);
    let mut room = buffers.take();
    let mut filled = 0;
    // Of the piece that is being read.
    let mut piece_left = 0;
    while *received < len {
        let left = len - *received - filled as u64;
        let unfilled = room.get_mut(filled..).unwrap_or_default();
        let read = tokio::select! {
            biased;
            () = sender.closed() => return Err(TransferError::Unwanted),
            read = receive_some(stream, unfilled, &mut piece_left, left, &mut pace) => read,
        };
        filled += read.as_ref().map_or(0, |read| read.unwrap_or(0));
        let more = matches!(read, Ok(Some(_))) && filled as u64 != len - *received;
        // What came before the end is handed on too: it need not be asked for again.
        if filled > 0 && (!more || filled == room.len()) {
            let bytes = buffers.give(room, filled);
            let handed = Instant::now();
            let sent = sender.send(bytes).await;
            sent.map_err(|_| TransferError::Unwanted)?;
            *received += filled as u64;
            pace.excuse(handed.elapsed());
            room = buffers.take();
            filled = 0;
        }
        if read?.is_none() {
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

/// Reads into `room` what is there of the piece of which so much is left, or of the next one, which is at
/// most the `left` bytes that are to come; how much, and nothing when the peer gave up.
async fn receive_some<S>(
    stream: &mut S,
    room: &mut [u8],
    piece_left: &mut usize,
    left: u64,
    pace: &mut Pace,
) -> Result<Option<usize>, TransferError>
where
    S: AsyncRead + Unpin,
{
    if *piece_left == 0 {
        let longest = left.min(PIECE_BYTES as u64);
        let length = frame::read_length(stream, longest, pace).await?;
        if length == 0 {
            return Ok(None);
        }
        // At most PIECE_BYTES.
        *piece_left = usize::try_from(length).unwrap_or(PIECE_BYTES);
    }
    let most = room.len().min(*piece_left);
    let read = pace
        .read(stream, room.get_mut(..most).unwrap_or_default())
        .await?;
    *piece_left -= read;
    Ok(Some(read))
}

/// What is read into. A buffer that was handed on is used again when nobody holds it any more: at some
/// hundred megabytes a second, fresh memory would cost more than the cipher.
struct Buffers {
    size: usize,
    given: VecDeque<Bytes>,
}

impl Buffers {
    /// For a body of so many bytes.
    fn of(len: u64) -> Self {
        let size = usize::try_from(len).map_or(GATHERED_BYTES, |len| len.min(GATHERED_BYTES));
        let given = VecDeque::new();
        Self { size, given }
    }

    fn take(&mut self) -> BytesMut {
        match self.given.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(unused)) => return unused,
            Some(Err(held)) if self.given.len() < GIVEN_BUFFERS => self.given.push_front(held),
            // Whoever holds it longest keeps it.
            Some(Err(_)) | None => {}
        }
        BytesMut::zeroed(self.size)
    }

    /// The first bytes of a buffer, to be handed on.
    fn give(&mut self, buffer: BytesMut, filled: usize) -> Bytes {
        let whole = buffer.freeze();
        let part = whole.slice(..filled);
        self.given.push_back(whole);
        part
    }
}

#[cfg(test)]
#[path = "pieces_tests.rs"]
mod tests;
