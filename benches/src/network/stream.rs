//! Streams of libp2p on one connection, as a node makes it: TCP, Noise, yamux.
//!
//! Without libp2p's swarm, whose behaviours a bare stream does not need: a task drives the connection, as the
//! swarm has one for each, and another works on the stream.

use std::io;
use std::task::Poll;
use std::{future::poll_fn, task::Context};

use futures_util::{AsyncReadExt as _, AsyncWriteExt as _, StreamExt as _};
use libp2p::core::muxing::{StreamMuxerBox, StreamMuxerExt as _, SubstreamBox};
use libp2p::core::transport::{Boxed, DialOpts, ListenerId, PortUse, Transport, TransportEvent};
use libp2p::core::upgrade::Version;
use libp2p::core::{Endpoint, Multiaddr};
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::{PeerId, noise, tcp, yamux};
use tokio::sync::{mpsc, oneshot};

use super::{
    Asker, BUFFER_BYTES, NetworkError, REQUEST_BYTES, asked, content, next_piece, request,
};

/// As in the node's transports (`actors/swarm/src/transport.rs`): the number decides how far the window of a
/// stream can grow.
const YAMUX_STREAMS: usize = 4093;
/// Secrets of the keys of the two ends. They authenticate nobody but each other, in one process.
const ANSWERER: [u8; 32] = [1; 32];
const ASKER: [u8; 32] = [2; 32];

/// A wish for a stream, and where it goes.
type Wish = oneshot::Sender<SubstreamBox>;

/// The end that asks, with the buffer into which it reads.
pub(super) struct Streams {
    /// To the task that drives the connection.
    wishes: mpsc::Sender<Wish>,
    buffer: Vec<u8>,
}

/// Connects to a task that answers.
pub(super) async fn connect() -> Result<Streams, NetworkError> {
    let mut listening = transport(ANSWERER)?;
    let loopback = Multiaddr::empty()
        .with(Protocol::Ip4([127, 0, 0, 1].into()))
        .with(Protocol::Tcp(0));
    listening.listen_on(ListenerId::next(), loopback)?;
    let address = loop {
        match listening.next().await.ok_or(NetworkError::Ended)? {
            TransportEvent::NewAddress { listen_addr, .. } => break listen_addr,
            TransportEvent::ListenerError { error, .. } => return Err(error.into()),
            _ => {}
        }
    };
    tokio::spawn(answer(listening));

    let dial = DialOpts {
        role: Endpoint::Dialer,
        port_use: PortUse::New,
    };
    let (_, connection) = transport(ASKER)?.dial(address, dial)?.await?;
    let (wishes, taken) = mpsc::channel(1);
    tokio::spawn(Driver::new(connection, taken).run(|_| {}));
    Ok(Streams {
        wishes,
        buffer: vec![0; BUFFER_BYTES],
    })
}

fn transport(secret: [u8; 32]) -> Result<Boxed<(PeerId, StreamMuxerBox)>, NetworkError> {
    let keypair = Keypair::ed25519_from_bytes(secret)?;
    let mut multiplexer = yamux::Config::default();
    multiplexer.set_max_num_streams(YAMUX_STREAMS);
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    Ok(tcp
        .upgrade(Version::V1Lazy)
        .authenticate(noise::Config::new(&keypair)?)
        .multiplex(multiplexer)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer)))
        .boxed())
}

impl Asker for Streams {
    async fn ask(&mut self, size: u64) -> Result<(), NetworkError> {
        let (wish, granted) = oneshot::channel();
        self.wishes
            .send(wish)
            .await
            .map_err(|_| NetworkError::Ended)?;
        let mut stream = granted.await.map_err(|_| NetworkError::Ended)?;
        stream.write_all(&request(size)).await?;
        // Nothing more is asked on it, and closing sends the request on its way.
        stream.close().await?;
        let mut came = 0;
        loop {
            let read = stream.read(&mut self.buffer).await?;
            came += read as u64;
            if read == 0 {
                break;
            }
        }
        if came != size {
            return Err(NetworkError::Length {
                actual: came,
                expected: size,
            });
        }
        Ok(())
    }
}

/// Answers the one connection that comes.
async fn answer(mut listening: Boxed<(PeerId, StreamMuxerBox)>) -> io::Result<()> {
    let connection = loop {
        match listening.next().await {
            Some(TransportEvent::Incoming { upgrade, .. }) => break upgrade.await?.1,
            Some(_) => {}
            None => return Ok(()),
        }
    };
    // Kept, so that nothing is wished for and the receiver's end does not end the connection.
    let (_wishes, none) = mpsc::channel(1);
    let content = content();
    Driver::new(connection, none)
        .run(move |stream| {
            let content = content.clone();
            tokio::spawn(answer_one(stream, content));
        })
        .await
}

/// A stream that fails is seen by the asker, to whom fewer bytes come.
async fn answer_one(mut stream: SubstreamBox, content: bytes::Bytes) -> io::Result<()> {
    let mut request = [0; REQUEST_BYTES];
    stream.read_exact(&mut request).await?;
    let mut left = asked(&request);
    while left > 0 {
        let piece = next_piece(&content, left);
        stream.write_all(piece).await?;
        left -= piece.len() as u64;
    }
    stream.close().await
}

/// Drives a connection: bytes of its streams move only while it is polled.
struct Driver {
    connection: StreamMuxerBox,
    wishes: mpsc::Receiver<Wish>,
    /// Waits for a stream to be opened.
    wish: Option<Wish>,
}

impl Driver {
    fn new(connection: StreamMuxerBox, wishes: mpsc::Receiver<Wish>) -> Self {
        Self {
            connection,
            wishes,
            wish: None,
        }
    }

    /// Until the connection fails, or nobody wishes for streams any more; `inbound` gets those that the other
    /// end opens.
    async fn run(mut self, mut inbound: impl FnMut(SubstreamBox) + Send) -> io::Result<()> {
        poll_fn(|context| self.poll(context, &mut inbound)).await?;
        self.connection.close().await
    }

    fn poll(
        &mut self,
        context: &mut Context<'_>,
        inbound: &mut impl FnMut(SubstreamBox),
    ) -> Poll<io::Result<()>> {
        loop {
            if self.wish.is_none() {
                match self.wishes.poll_recv(context) {
                    Poll::Ready(Some(wish)) => self.wish = Some(wish),
                    Poll::Ready(None) => return Poll::Ready(Ok(())),
                    Poll::Pending => {}
                }
            }
            if self.wish.is_some()
                && let Poll::Ready(stream) = self.connection.poll_outbound_unpin(context)?
                && let Some(wish) = self.wish.take()
            {
                // Whoever wished may have given up; then the stream is dropped.
                let _ = wish.send(stream);
                continue;
            }
            if let Poll::Ready(stream) = self.connection.poll_inbound_unpin(context)? {
                inbound(stream);
                continue;
            }
            match self.connection.poll_unpin(context)? {
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}
