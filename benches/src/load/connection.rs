//! One connection, driven by the task that uses it.
//!
//! The usual way, a task for the connection and a channel to it, wakes another thread twice for each
//! request. Here the exchange and the connection's own work are polled side by side.

use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::task::Poll;

use hyper::client::conn::http1::{Builder, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::TcpStream;

use super::upload::Upload;

/// Why an exchange came to no answer.
#[derive(Debug, Error)]
pub(super) enum ExchangeError {
    /// No connection.
    #[error("could not connect: {0}")]
    Connect(#[from] std::io::Error),
    /// The connection failed half way.
    #[error("the connection failed: {0}")]
    Http(#[from] hyper::Error),
    /// The server closed the connection without an answer.
    #[error("the server closed the connection")]
    Closed,
    /// It took longer than allowed.
    #[error("no answer in time")]
    TimedOut,
}

impl ExchangeError {
    /// Name in the results.
    pub(super) const fn kind(&self) -> &'static str {
        match self {
            Self::Connect(_) => "connect",
            Self::Http(_) => "connection",
            Self::Closed => "closed",
            Self::TimedOut => "timeout",
        }
    }
}

/// A connection on which requests follow one another.
pub(super) struct Link {
    /// Takes requests; pass them through [`Link::drive`].
    sender: SendRequest<Upload>,
    driver: Driver,
}

/// The connection's own work: reading and writing the socket.
pub(super) struct Driver {
    connection: Connection<TokioIo<TcpStream>, Upload>,
    closed: bool,
}

impl Link {
    /// Connects.
    pub(super) async fn open(address: SocketAddr) -> Result<Self, ExchangeError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = Builder::new().handshake(TokioIo::new(stream)).await?;
        Ok(Self {
            sender,
            driver: Driver {
                connection,
                closed: false,
            },
        })
    }

    /// The two halves: one starts an exchange, the other carries it.
    pub(super) const fn split(&mut self) -> (&mut SendRequest<Upload>, &mut Driver) {
        (&mut self.sender, &mut self.driver)
    }

    /// Whether another request can follow.
    pub(super) fn is_open(&self) -> bool {
        !self.driver.closed && !self.sender.is_closed()
    }
}

impl Driver {
    /// Carries `exchange` to its end.
    pub(super) async fn carry<F: Future>(
        &mut self,
        exchange: F,
    ) -> Result<F::Output, ExchangeError> {
        let mut exchange = pin!(exchange);
        poll_fn(|context| {
            if let Poll::Ready(output) = exchange.as_mut().poll(context) {
                return Poll::Ready(Ok(output));
            }
            if !self.closed {
                match Pin::new(&mut self.connection).poll(context) {
                    Poll::Ready(Err(error)) => {
                        self.closed = true;
                        return Poll::Ready(Err(error.into()));
                    }
                    Poll::Ready(Ok(())) => self.closed = true,
                    Poll::Pending => {}
                }
            }
            // The connection may just have read what the exchange waits for.
            match exchange.as_mut().poll(context) {
                Poll::Ready(output) => Poll::Ready(Ok(output)),
                Poll::Pending if self.closed => Poll::Ready(Err(ExchangeError::Closed)),
                Poll::Pending => Poll::Pending,
            }
        })
        .await
    }
}
