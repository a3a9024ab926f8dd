//! Bytes in and out. Of TCP and WebSocket all that goes through the sockets is counted, encryption
//! and framing included; of QUIC what its streams carry. Circuits run inside such a connection and
//! are counted with it, once.
//!
//! libp2p's own counter has the form of the address for a label, which whoever tells an address
//! chooses; here the transport and the direction are the only ones.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_util::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    transport: &'static str,
    direction: &'static str,
}

/// The counters of both directions, for each transport.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic {
    bytes: Family<Labels, Counter>,
}

/// The counters of one transport.
#[derive(Debug, Clone)]
pub(crate) struct Meter {
    inbound: Counter,
    outbound: Counter,
}

impl Traffic {
    /// Adds the counters to `registry`.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "bytecave_swarm_traffic_bytes",
            "Bytes through connections with peers, by transport and direction",
            self.bytes.clone(),
        );
    }

    /// The counters of `transport`.
    pub(crate) fn meter(&self, transport: &'static str) -> Meter {
        let counter = |direction| {
            let labels = Labels {
                transport,
                direction,
            };
            self.bytes.get_or_create(&labels).clone()
        };
        Meter {
            inbound: counter("in"),
            outbound: counter("out"),
        }
    }
}

impl Meter {
    /// Counts what goes through a socket or stream.
    pub(crate) fn stream<S>(&self, inner: S) -> Metered<S> {
        Metered {
            inner,
            meter: self.clone(),
        }
    }

    /// Counts what goes through the streams of a connection.
    pub(crate) fn muxer<M>(&self, inner: M) -> MeteredMuxer<M> {
        MeteredMuxer {
            inner,
            meter: self.clone(),
        }
    }

    fn count(counter: &Counter, bytes: usize) -> usize {
        counter.inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
        bytes
    }
}

/// A socket or stream whose bytes are counted.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    inner: S,
    meter: Meter,
}

/// A connection whose streams' bytes are counted.
#[derive(Debug)]
pub(crate) struct MeteredMuxer<M> {
    inner: M,
    meter: Meter,
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read(cx, buf))?;
        Poll::Ready(Ok(Meter::count(&self.meter.inbound, read)))
    }

    fn poll_read_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &mut [io::IoSliceMut<'_>],
    ) -> Poll<io::Result<usize>> {
        let read = ready!(Pin::new(&mut self.inner).poll_read_vectored(cx, bufs))?;
        Poll::Ready(Ok(Meter::count(&self.meter.inbound, read)))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, buf))?;
        Poll::Ready(Ok(Meter::count(&self.meter.outbound, written)))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, bufs))?;
        Poll::Ready(Ok(Meter::count(&self.meter.outbound, written)))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }
}

impl<M> StreamMuxer for MeteredMuxer<M>
where
    M: StreamMuxer + Unpin,
    M::Substream: Unpin,
{
    type Substream = Metered<M::Substream>;
    type Error = M::Error;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_inbound(cx))?;
        Poll::Ready(Ok(self.meter.stream(stream)))
    }

    fn poll_outbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let stream = ready!(Pin::new(&mut self.inner).poll_outbound(cx))?;
        Poll::Ready(Ok(self.meter.stream(stream)))
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Pin::new(&mut self.inner).poll_close(cx)
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{AsyncReadExt as _, AsyncWriteExt as _, io::Cursor};

    use super::*;

    #[tokio::test]
    async fn every_byte_counts_once_in_its_direction() {
        let traffic = Traffic::default();
        let mut sent = traffic.meter("tcp").stream(Cursor::new(Vec::new()));
        sent.write_all(&[1; 1000]).await.unwrap();
        sent.close().await.unwrap();
        let mut received = traffic.meter("tcp").stream(Cursor::new(vec![2; 300]));
        let mut all = Vec::new();
        received.read_to_end(&mut all).await.unwrap();

        let meter = traffic.meter("tcp");
        assert_eq!((meter.inbound.get(), meter.outbound.get()), (300, 1000));
        let other = traffic.meter("quic");
        assert_eq!((other.inbound.get(), other.outbound.get()), (0, 0));
    }
}
