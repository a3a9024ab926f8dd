//! The frame of the 1.0.0 protocols: a 32-bit big-endian length, then that many bytes of JSON.
//!
//! The length is a claim of a stranger. It is compared with a bound first, memory grows with the
//! bytes that have come, and whoever sends or takes less than [`PACE_BYTES`] a second on average,
//! after a grace, is cut off: neither a silent peer nor one that drips costs more than the grace.

use std::io;
use std::time::Duration;

use futures_util::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use serde::Serialize;
use thiserror::Error;
use tokio::time::{Instant, timeout, timeout_at};

/// Bytes of the length.
pub(crate) const PREFIX_BYTES: usize = 4;
/// Longest request without a blob, and longest answer to one.
pub(crate) const SMALL_FRAME_BYTES: u64 = 64 * 1024;
/// Longest have-list: 1,000 CIDs of 64 digits with quotes and commas take 67,000 bytes.
pub(crate) const LIST_FRAME_BYTES: u64 = 128 * 1024;
/// Largest blob of the 1.0.0 protocols.
pub(crate) const MAX_BLOB_BYTES: u64 = 32 * 1024 * 1024;
/// Longest frame with a blob: its base64, and 64 KiB for the other fields.
pub(crate) const BLOB_FRAME_BYTES: u64 = MAX_BLOB_BYTES.div_ceil(3) * 4 + SMALL_FRAME_BYTES;

/// A second is added to a peer's time for each of these.
const PACE_BYTES: u64 = 64 * 1024;
const NANOS_PER_SECOND: u64 = 1_000_000_000;
/// Bytes read or written at once.
const PIECE_BYTES: usize = 64 * 1024;
/// How long the peer's end of a finished stream is waited for. Dropped before it, the stream may
/// be reset at the peer with the last bytes unread.
const LINGER_TIME: Duration = Duration::from_secs(2);
/// How much of what the peer still sends on a finished stream is thrown away before it is reset.
const LINGER_BYTES: usize = 1024 * 1024;

/// Why no frame came or went.
#[derive(Debug, Error)]
pub(crate) enum FrameError {
    /// The claimed length is above the bound.
    #[error("a frame of {length} bytes is longer than the {limit_bytes} bytes allowed here")]
    TooLong {
        /// The claim.
        length: u64,
        /// The bound.
        limit_bytes: u64,
    },
    /// The peer was too slow.
    #[error("too slow: {moved} bytes had passed when the time was up")]
    TimedOut {
        /// Bytes that had passed.
        moved: u64,
    },
    /// The stream ended within the frame.
    #[error("the stream ended after {moved} bytes of the frame")]
    Ended {
        /// Bytes that had come, the prefix included.
        moved: u64,
    },
    /// The stream failed.
    #[error("the stream failed: {0}")]
    Stream(#[from] io::Error),
}

/// The time that a peer has.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    limit: Limit,
    moved: u64,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    /// A grace from the start on, and a second for each 64 KiB that have passed.
    Whole { start: Instant, grace: Duration },
    /// The same, but what was gained is never more than the grace: whoever stops is cut off after it,
    /// however much has passed before.
    Steady { until: Instant, grace: Duration },
    /// Somebody else watches the time.
    None,
}

impl Pace {
    /// Of a frame; the time begins now.
    pub(crate) fn new(grace: Duration) -> Self {
        let start = Instant::now();
        Self {
            limit: Limit::Whole { start, grace },
            moved: 0,
        }
    }

    /// Of a transfer without end in sight; the time begins now.
    pub(crate) fn steady(grace: Duration) -> Self {
        let until = Instant::now() + grace;
        Self {
            limit: Limit::Steady { until, grace },
            moved: 0,
        }
    }

    /// Without a limit: whoever waits watches the time.
    pub(crate) fn unwatched() -> Self {
        Self {
            limit: Limit::None,
            moved: 0,
        }
    }

    /// The peer was not waited for so long: this node itself was.
    pub(crate) fn excuse(&mut self, waited: Duration) {
        match &mut self.limit {
            Limit::Whole { start, .. } => *start += waited,
            Limit::Steady { until, .. } => *until += waited,
            Limit::None => {}
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.limit {
            Limit::Whole { start, grace } => {
                Some(start + grace + Duration::from_secs(self.moved.div_ceil(PACE_BYTES)))
            }
            Limit::Steady { until, .. } => Some(until),
            Limit::None => None,
        }
    }

    fn moved(&mut self, bytes: usize) {
        self.moved += bytes as u64;
        if let Limit::Steady { until, grace } = &mut self.limit {
            let gained = bytes as u64 * NANOS_PER_SECOND / PACE_BYTES;
            let most = Instant::now() + *grace;
            *until = (*until + Duration::from_nanos(gained)).min(most);
        }
    }

    /// One read or write.
    pub(crate) async fn step(
        &mut self,
        io: impl Future<Output = io::Result<usize>>,
    ) -> Result<usize, FrameError> {
        let moved = match self.deadline() {
            Some(deadline) => timeout_at(deadline, io)
                .await
                .map_err(|_| FrameError::TimedOut { moved: self.moved })??,
            None => io.await?,
        };
        self.moved(moved);
        Ok(moved)
    }

    /// Writes all of it.
    pub(crate) async fn write_all<S>(
        &mut self,
        stream: &mut S,
        bytes: &[u8],
    ) -> Result<(), FrameError>
    where
        S: AsyncWrite + Unpin,
    {
        let mut rest = bytes;
        while !rest.is_empty() {
            let piece = rest.get(..PIECE_BYTES).unwrap_or(rest);
            let written = self.step(stream.write(piece)).await?;
            if written == 0 {
                return Err(FrameError::Ended { moved: self.moved });
            }
            rest = rest.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Fills all of it.
    pub(crate) async fn read_exact<S>(
        &mut self,
        stream: &mut S,
        room: &mut [u8],
    ) -> Result<(), FrameError>
    where
        S: AsyncRead + Unpin,
    {
        let mut rest = room;
        while !rest.is_empty() {
            let read = self.read(stream, rest).await?;
            rest = rest.get_mut(read..).unwrap_or_default();
        }
        Ok(())
    }

    /// Fills some of it, at least a byte.
    pub(crate) async fn read<S>(
        &mut self,
        stream: &mut S,
        room: &mut [u8],
    ) -> Result<usize, FrameError>
    where
        S: AsyncRead + Unpin,
    {
        let read = self.step(stream.read(room)).await?;
        if read == 0 {
            return Err(FrameError::Ended { moved: self.moved });
        }
        Ok(read)
    }

    /// Sends on what was written.
    pub(crate) async fn flush<S>(&mut self, stream: &mut S) -> Result<(), FrameError>
    where
        S: AsyncWrite + Unpin,
    {
        let flush = async { stream.flush().await.map(|()| 0) };
        self.step(flush).await.map(|_| ())
    }
}

/// Reads the length, and compares it with the bound.
pub(crate) async fn read_length<S>(
    stream: &mut S,
    limit_bytes: u64,
    pace: &mut Pace,
) -> Result<u64, FrameError>
where
    S: AsyncRead + Unpin,
{
    let mut prefix = [0; PREFIX_BYTES];
    pace.read_exact(stream, &mut prefix).await?;
    let length = u64::from(u32::from_be_bytes(prefix));
    if length > limit_bytes {
        return Err(FrameError::TooLong {
            length,
            limit_bytes,
        });
    }
    Ok(length)
}

/// Reads the `length` bytes that follow the prefix.
pub(crate) async fn read_body<S>(
    stream: &mut S,
    length: u64,
    pace: &mut Pace,
) -> Result<Vec<u8>, FrameError>
where
    S: AsyncRead + Unpin,
{
    let body = read_while(stream, length, pace, |_| true).await?;
    Ok(body.unwrap_or_default())
}

/// The same as long as there is room for so many bytes; none when there is no more.
pub(crate) async fn read_while<S>(
    stream: &mut S,
    length: u64,
    pace: &mut Pace,
    mut has_room: impl FnMut(u64) -> bool,
) -> Result<Option<Vec<u8>>, FrameError>
where
    S: AsyncRead + Unpin,
{
    // At most BLOB_FRAME_BYTES, compared before.
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    let mut piece = vec![0; length.min(PIECE_BYTES)];
    let mut body = Vec::with_capacity(piece.len());
    while body.len() < length {
        let wanted = piece.len().min(length - body.len());
        let room = piece.get_mut(..wanted).unwrap_or_default();
        let read = pace.step(stream.read(room)).await?;
        if read == 0 {
            return Err(FrameError::Ended { moved: pace.moved });
        }
        if !has_room((body.len() + read) as u64) {
            return Ok(None);
        }
        if body.capacity() - body.len() < read {
            // Doubles with what has come, and never reaches past the claim.
            let grown = (body.capacity() * 2).min(length);
            body.reserve_exact(grown - body.len());
        }
        body.extend_from_slice(piece.get(..read).unwrap_or_default());
    }
    Ok(Some(body))
}

/// Reads a frame of at most `limit_bytes`.
pub(crate) async fn read<S>(
    stream: &mut S,
    limit_bytes: u64,
    grace: Duration,
) -> Result<Vec<u8>, FrameError>
where
    S: AsyncRead + Unpin,
{
    let mut pace = Pace::new(grace);
    let length = read_length(stream, limit_bytes, &mut pace).await?;
    read_body(stream, length, &mut pace).await
}

/// A value as a frame, prefix and body in one piece: a reader of the existing network drops a first
/// chunk that is shorter than the prefix.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut frame = vec![0; PREFIX_BYTES];
    // Writing into a vector cannot fail, and neither can the types of this crate.
    if serde_json::to_writer(&mut frame, value).is_err() {
        frame.truncate(PREFIX_BYTES);
    }
    seal(frame)
}

/// Writes the length of what follows the prefix into the prefix.
pub(crate) fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(frame.len().saturating_sub(PREFIX_BYTES)).unwrap_or(u32::MAX);
    if let Some(prefix) = frame.first_chunk_mut() {
        *prefix = length.to_be_bytes();
    }
    frame
}

/// Writes a whole frame and flushes; without a limit of time.
pub(crate) async fn write_all<S>(stream: &mut S, frame: &[u8]) -> io::Result<()>
where
    S: AsyncWrite + Unpin,
{
    stream.write_all(frame).await?;
    stream.flush().await
}

/// Writes a whole frame and flushes, as long as the peer keeps the pace.
pub(crate) async fn write<S>(
    stream: &mut S,
    frame: &[u8],
    grace: Duration,
) -> Result<(), FrameError>
where
    S: AsyncWrite + Unpin,
{
    let mut pace = Pace::new(grace);
    pace.write_all(stream, frame).await?;
    pace.flush(stream).await
}

/// Says that no more comes; a peer that does not take it within the grace is not waited for.
pub(crate) async fn close<S>(stream: &mut S, grace: Duration) -> Result<(), FrameError>
where
    S: AsyncWrite + Unpin,
{
    let mut pace = Pace::new(grace);
    let close = async { stream.close().await.map(|()| 0) };
    pace.step(close).await.map(|_| ())
}

/// Closes a stream on which everything was said, and waits a little for the peer's close.
pub(crate) async fn finish<S>(mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut last = Instant::now();
    let linger = async {
        stream.close().await?;
        throw_away(&mut stream, &mut last).await
    };
    // However it ends, the stream is over.
    let _ = timeout(LINGER_TIME, linger).await;
}

/// Ends a stream that was answered before all of a long request was read.
///
/// A peer of the existing network sends all of it before it reads the answer, and yamux tells it
/// nothing when a closed stream is dropped: without more credit it would wait for ever. So a little
/// is thrown away, and a peer that still goes on is reset, which needs the stream to be open.
pub(crate) async fn leave<S>(mut stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut last = Instant::now();
    let ended = timeout(LINGER_TIME, throw_away(&mut stream, &mut last)).await;
    let goes_on = match ended {
        Ok(Ok(ended)) => !ended,
        Ok(Err(_)) => true,
        Err(_) => last.elapsed() < LINGER_TIME / 2,
    };
    if !goes_on {
        let _ = timeout(LINGER_TIME, stream.close()).await;
    }
}

/// Reads until the peer's close, or until it is enough; whether it closed.
async fn throw_away<S>(stream: &mut S, last: &mut Instant) -> io::Result<bool>
where
    S: AsyncRead + Unpin,
{
    let mut thrown = 0;
    let mut piece = vec![0; 16 * 1024];
    while thrown < LINGER_BYTES {
        match stream.read(&mut piece).await? {
            0 => return Ok(true),
            read => thrown += read,
        }
        *last = Instant::now();
    }
    Ok(false)
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
