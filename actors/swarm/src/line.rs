//! Between socket, cipher and muxer: fewer and larger reads and writes.
//!
//! By itself the cipher reads 8 KiB at a time, and the muxer has each of its frames of 16 KiB sent by
//! itself, so that a blob costs a call of the kernel for every few kilobytes, and wakes the other side as
//! often. [`ReadAhead`] stands below the cipher and reads more at once; [`LateFlush`] stands below the
//! muxer and has frames gathered that are there at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{AsyncRead, AsyncWrite};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::yamux;

/// Bytes that are read at once from a socket on which much comes. It keeps that much memory from then on.
const READ_BYTES: usize = 32 * 1024;
/// Whoever fills a buffer of this size may have more to be read.
const MUCH_BYTES: usize = 4 * 1024;
/// Bytes that are gathered before they are sent: three frames of the muxer, which are one message of the
/// cipher. More would have the other side wait for what could be on its way.
const GATHERED_BYTES: usize = 48 * 1024;

/// A socket from which is read in larger parts than is asked for, once much comes.
#[derive(Debug)]
pub(crate) struct ReadAhead<S> {
    inner: S,
    /// Empty until much comes.
    buffer: Box<[u8]>,
    /// Of the buffer, what was read and not yet given.
    given: usize,
    filled: usize,
}

impl<S> ReadAhead<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            buffer: Box::default(),
            given: 0,
            filled: 0,
        }
    }

    /// Gives what is there; none is there when nothing was given.
    fn give(&mut self, room: &mut [u8]) -> usize {
        let there = self.buffer.get(self.given..self.filled);
        let there = there.unwrap_or_default();
        let some = there.len().min(room.len());
        if let (Some(to), Some(from)) = (room.get_mut(..some), there.get(..some)) {
            to.copy_from_slice(from);
        }
        self.given += some;
        some
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ReadAhead<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let given = this.give(room);
        if given > 0 {
            return Poll::Ready(Ok(given));
        }
        let inner = Pin::new(&mut this.inner);
        if this.buffer.is_empty() || room.len() >= READ_BYTES {
            let read = ready!(inner.poll_read(context, room))?;
            if read == room.len() && (MUCH_BYTES..READ_BYTES).contains(&read) {
                this.buffer = vec![0; READ_BYTES].into();
            }
            return Poll::Ready(Ok(read));
        }
        this.filled = ready!(inner.poll_read(context, &mut this.buffer))?;
        this.given = 0;
        Poll::Ready(Ok(this.give(room)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ReadAhead<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, parts)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(context)
    }
}

/// What yamux writes to: a flush waits for the next read, or for enough to have come together.
///
/// Nothing but yamux may stand above it. Yamux flushes after each frame, goes on with the next one if there is
/// one, and reads when there is none; it never waits without having read, save for room to write, and
/// then there is more here than is gathered.
#[derive(Debug)]
pub(crate) struct LateFlush<S> {
    inner: S,
    /// Bytes written since the last flush.
    owed: usize,
}

impl<S: AsyncWrite + Unpin> LateFlush<S> {
    fn new(inner: S) -> Self {
        Self { inner, owed: 0 }
    }

    fn settle(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.owed > 0 {
            ready!(Pin::new(&mut self.inner).poll_flush(context))?;
            self.owed = 0;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for LateFlush<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        room: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        // Pending, it wakes whoever reads, and is tried again by the next read.
        if let Poll::Ready(Err(error)) = self.settle(context) {
            return Poll::Ready(Err(error));
        }
        Pin::new(&mut self.inner).poll_read(context, room)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LateFlush<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.owed += written;
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.owed < GATHERED_BYTES {
            return Poll::Ready(Ok(()));
        }
        self.settle(context)
    }

    fn poll_close(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.settle(context))?;
        Pin::new(&mut self.inner).poll_close(context)
    }
}

/// Yamux over such a stream.
#[derive(Debug, Clone)]
pub(crate) struct Multiplexer(pub(crate) yamux::Config);

impl UpgradeInfo for Multiplexer {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C> InboundConnectionUpgrade<C> for Multiplexer
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = yamux::Muxer<LateFlush<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as InboundConnectionUpgrade<LateFlush<C>>>::Future;

    fn upgrade_inbound(self, socket: C, name: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(LateFlush::new(socket), name)
    }
}

impl<C> OutboundConnectionUpgrade<C> for Multiplexer
where
    C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    type Output = yamux::Muxer<LateFlush<C>>;
    type Error = io::Error;
    type Future = <yamux::Config as OutboundConnectionUpgrade<LateFlush<C>>>::Future;

    fn upgrade_outbound(self, socket: C, name: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(LateFlush::new(socket), name)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use futures_util::io::Cursor;
    use futures_util::{AsyncReadExt as _, AsyncWriteExt as _};
    use proptest::prelude::*;

    use super::*;

    /// Counts what it is asked for; has nothing to be read.
    #[derive(Default)]
    struct Counted {
        flushes: usize,
        written: usize,
        closed: bool,
    }

    impl AsyncRead for Counted {
        fn poll_read(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            _: &mut [u8],
        ) -> Poll<io::Result<usize>> {
            Poll::Pending
        }
    }

    impl AsyncWrite for Counted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            self.written += bytes.len();
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.flushes += 1;
            Poll::Ready(Ok(()))
        }

        fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            self.closed = true;
            Poll::Ready(Ok(()))
        }
    }

    async fn read_nothing(line: &mut LateFlush<Counted>) {
        let pending = poll_fn(|context| {
            let read = Pin::new(&mut *line).poll_read(context, &mut [0; 1]);
            Poll::Ready(read.is_pending())
        });
        assert!(pending.await);
    }

    #[tokio::test]
    async fn frames_are_sent_together_and_none_is_kept_back() {
        let mut line = LateFlush::new(Counted::default());
        for frames in 1..=6 {
            line.write_all(&[0; 16 * 1024]).await.unwrap();
            line.flush().await.unwrap();
            assert_eq!(line.inner.flushes, frames / 3);
        }
        line.write_all(b"last").await.unwrap();
        line.flush().await.unwrap();
        assert_eq!(line.inner.flushes, 2);
        read_nothing(&mut line).await;
        assert_eq!(line.inner.flushes, 3, "before it is waited for an answer");
        read_nothing(&mut line).await;
        assert_eq!(line.inner.flushes, 3, "only if something was written");
        line.write_all(b"bye").await.unwrap();
        line.close().await.unwrap();
        assert_eq!((line.inner.flushes, line.inner.closed), (4, true));
    }

    proptest! {
        #[test]
        fn what_is_read_ahead_is_given_in_order(
            len in 0..200_000_usize,
            rooms in prop::collection::vec(1..20_000_usize, 1..20),
        ) {
            let bytes: Vec<u8> = (0..len).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
            let read = async {
                let mut line = ReadAhead::new(Cursor::new(bytes.clone()));
                let mut all = Vec::new();
                for room in rooms.into_iter().cycle() {
                    let mut room = vec![0; room];
                    match line.read(&mut room).await.unwrap() {
                        0 => break,
                        read => all.extend_from_slice(&room[..read]),
                    }
                }
                all
            };
            prop_assert!(futures_util::FutureExt::now_or_never(read).unwrap() == bytes);
        }
    }

    #[tokio::test]
    async fn who_sends_little_costs_no_buffer() {
        let mut line = ReadAhead::new(Cursor::new(vec![7; 3000]));
        let mut all = Vec::new();
        line.read_to_end(&mut all).await.unwrap();
        assert_eq!((all.len(), line.buffer.len()), (3000, 0));
    }
}
