//! A client's connection: the TCP stream, with the time limits and the hard end that actix-http
//! does not give it.
//!
//! - A connection on which no request is being served is closed when it stays idle, or when a head
//!   that has begun to arrive is not complete in time (actix-http watches only the first head).
//! - A client that does not take its answer is cut off, so it cannot hold a permit for ever.
//! - The body of a refused request is read and dropped for a bounded time, so that an ordinary
//!   client sees the answer instead of a reset.
//! - An answer that breaks off half way ends in a reset: no client can take it for a whole one.
//!
//! Timers are lazy: one that fires early is set again, so a request costs no timer of its own.

use std::cell::Cell;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use actix_web::rt::net::TcpStream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// How long an idle connection is kept for its next request. Too low: clients that pause connect
/// anew. Too high: idle connections hold their place among `http.max_connections`.
const KEEP_ALIVE: Duration = Duration::from_secs(75);
/// What a head has beyond `http.header_timeout`: actix-http, which answers a slow first head with
/// 408, must be the first to notice.
const HEAD_SLACK: Duration = Duration::from_millis(1500);
/// How long the rest of a refused body is read and dropped.
const DRAIN: Duration = Duration::from_secs(5);

/// The limits of every connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnLimits {
    /// For a head that has begun to arrive.
    pub(crate) header_timeout: Duration,
    /// For a client that takes none of its answer.
    pub(crate) write_timeout: Duration,
}

/// What the requests of a connection tell it.
#[derive(Debug)]
pub(crate) struct ConnState {
    limits: ConnLimits,
    phase: Cell<Phase>,
    reset: Cell<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// Waiting for a request, since then.
    Idle(Instant),
    /// A head has begun to arrive.
    Head(Instant),
    /// A request is being served.
    Serving,
    /// The rest of a refused body is being dropped, until then.
    Draining(Instant),
}

impl ConnState {
    /// A request has arrived.
    pub(crate) fn begin(&self) {
        self.phase.set(Phase::Serving);
    }

    /// Its answer is known, and nothing more of it is asked of the client.
    pub(crate) fn end(&self) {
        if !matches!(self.phase.get(), Phase::Draining(_)) {
            self.phase.set(Phase::Idle(Instant::now()));
        }
    }

    /// It was refused while its body is still arriving.
    pub(crate) fn drain(&self) {
        self.phase.set(Phase::Draining(Instant::now() + DRAIN));
    }

    /// The answer cannot be completed.
    pub(crate) fn reset(&self) {
        self.reset.set(true);
    }

    /// When reading ends unless something happens before.
    fn read_deadline(&self) -> Option<Instant> {
        match self.phase.get() {
            Phase::Idle(since) => Some(since + KEEP_ALIVE),
            Phase::Head(since) => Some(since + self.limits.header_timeout + HEAD_SLACK),
            Phase::Serving => None,
            Phase::Draining(until) => Some(until),
        }
    }
}

/// The stream.
pub(crate) struct Conn {
    stream: TcpStream,
    state: Rc<ConnState>,
    read_timer: Option<Pin<Box<Sleep>>>,
    write_timer: Option<Pin<Box<Sleep>>>,
    /// Since when the client has taken nothing, although there is something for it.
    stalled: Option<Instant>,
}

impl Conn {
    pub(crate) fn new(stream: TcpStream, limits: ConnLimits) -> Self {
        // Small answers leave at once instead of waiting for an acknowledgement. A socket on which
        // this fails is closed already, and reading from it will say so.
        let _ = stream.set_nodelay(true);
        Self {
            stream,
            state: Rc::new(ConnState {
                limits,
                // actix-http itself watches over the first head and answers 408.
                phase: Cell::new(Phase::Idle(Instant::now())),
                reset: Cell::new(false),
            }),
            read_timer: None,
            write_timer: None,
            stalled: None,
        }
    }

    pub(crate) fn state(&self) -> &Rc<ConnState> {
        &self.state
    }

    pub(crate) fn peer_addr(&self) -> Option<std::net::SocketAddr> {
        self.stream.peer_addr().ok()
    }
}

/// Whether `deadline` has passed; if not, the task is woken then or earlier.
fn poll_deadline(
    timer: &mut Option<Pin<Box<Sleep>>>,
    deadline: Instant,
    context: &mut Context<'_>,
) -> Poll<()> {
    let timer = timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline.into())));
    if timer.deadline() > deadline.into() {
        timer.as_mut().reset(deadline.into());
    }
    loop {
        ready!(timer.as_mut().poll(context));
        if Instant::now() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline.into());
    }
}

impl AsyncRead for Conn {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if let Phase::Draining(until) = this.state.phase.get()
            && Instant::now() >= until
        {
            // Reads as the end of the stream: the connection is shut down.
            return Poll::Ready(Ok(()));
        }
        match Pin::new(&mut this.stream).poll_read(context, buffer) {
            Poll::Ready(result) => {
                if let Phase::Idle(_) = this.state.phase.get() {
                    this.state.phase.set(Phase::Head(Instant::now()));
                }
                Poll::Ready(result)
            }
            Poll::Pending => match this.state.read_deadline() {
                None => Poll::Pending,
                Some(deadline) => {
                    ready!(poll_deadline(&mut this.read_timer, deadline, context));
                    Poll::Ready(Ok(()))
                }
            },
        }
    }
}

impl Conn {
    /// Cuts a client off that takes nothing for too long.
    fn watch_write<T>(
        &mut self,
        written: Poll<io::Result<T>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.stalled = None;
            return written;
        }
        let since = *self.stalled.get_or_insert_with(Instant::now);
        let deadline = since + self.state.limits.write_timeout;
        ready!(poll_deadline(&mut self.write_timer, deadline, context));
        self.state.reset();
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client took nothing of its answer",
        )))
    }
}

impl AsyncWrite for Conn {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, buffer);
        this.watch_write(written, context)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        if self.state.reset.get() {
            // Fails only on a socket that is gone already.
            let _ = self.stream.set_zero_linger();
        }
    }
}
