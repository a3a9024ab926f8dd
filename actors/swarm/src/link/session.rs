//! One connection of a link, from connecting to its end.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use thiserror::Error;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::LinkLimits;
use super::backoff::Complaints;
use super::connect::{Socket, Tls, connect};
use super::message::{self, Incoming, printable};
use super::serve::{Outgoing, Request, Server};
use crate::aside::aside;
use crate::facts::Facts;

/// Answers that wait to be written. When they are so many, nothing more is read.
const OUTGOING: usize = 32;
/// Bytes of an answer in one frame, so that a ping can go out between two of a large one.
const PIECE_BYTES: usize = 64 * 1024;
/// Time for a farewell at shutdown.
const FAREWELL: Duration = Duration::from_millis(500);
/// Whether this node stands in the registry on the chain: relays pick only nodes that do. No
/// version registers yet, and claiming it would be a lie.
const IS_REGISTERED: bool = false;

/// Why a link went down.
#[derive(Debug, Error)]
pub(super) enum LinkFailure {
    #[error("cannot connect: {0}")]
    Connect(String),
    #[error("no connection within {} s", within.as_secs())]
    NoConnection { within: Duration },
    #[error("TLS cannot be set up: {0}")]
    Tls(rustls::Error),
    #[error("the relay did not confirm the registration within {} s{}", within.as_secs(), said(relay_said.as_deref()))]
    NotRegistered {
        within: Duration,
        relay_said: Option<String>,
    },
    #[error("nothing was heard of the relay for {} s", silence.as_secs())]
    Silent { silence: Duration },
    #[error("the relay did not read its answers for {} s", within.as_secs())]
    NotReading { within: Duration },
    #[error("the relay closed the link{}", said(relay_said.as_deref()))]
    Closed { relay_said: Option<String> },
    #[error("the connection broke: {0}")]
    Broken(String),
}

fn said(text: Option<&str>) -> String {
    text.map_or_else(String::new, |text| format!(", and said \"{text}\""))
}

impl LinkFailure {
    pub(super) fn connect(error: tungstenite::Error) -> Self {
        Self::Connect(printable(&error.to_string()))
    }

    fn broken(error: &tungstenite::Error) -> Self {
        Self::Broken(printable(&error.to_string()))
    }

    /// What an operator can do.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Connect(_) | Self::NoConnection { .. } | Self::NotRegistered { .. } => {
                "check that the relay is up and takes storage links at this address; if it has none, set p2p.storage_link_port to 0, and if it has them elsewhere, name the address in p2p.storage_links"
            }
            Self::Tls(_) => "use a ws:// address in p2p.storage_links",
            Self::Silent { .. } | Self::Broken(_) => {
                "check the network between this node and the relay, and proxies that end idle connections"
            }
            Self::NotReading { .. } | Self::Closed { .. } => "see the relay's log",
        }
    }
}

/// What the connections of one link have in common.
pub(super) struct Session {
    pub(super) server: Arc<Server>,
    pub(super) facts: Arc<Facts>,
    pub(super) relay: Arc<str>,
    pub(super) tls: Tls,
    pub(super) limits: LinkLimits,
    pub(super) shutdown: CancellationToken,
}

impl Session {
    /// Connects, registers and serves; ends well only at shutdown.
    pub(super) async fn run(
        &self,
        complaints: &mut Complaints,
        on_registered: impl FnMut(),
    ) -> Result<(), LinkFailure> {
        let connecting = connect(&self.relay, &self.tls, self.limits.connect);
        let (socket, heard) = tokio::select! {
            () = self.shutdown.cancelled() => return Ok(()),
            connected = connecting => connected?,
        };
        let (mut sink, stream) = socket.split();
        let (outgoing, queue) = mpsc::channel(OUTGOING);
        tokio::select! {
            ended = self.read(stream, outgoing, complaints, on_registered) => Err(ended),
            Err(ended) = self.write(&mut sink, queue) => Err(ended),
            () = heard.silent_for(self.limits.silence) => {
                Err(LinkFailure::Silent { silence: self.limits.silence })
            }
            () = self.shutdown.cancelled() => {
                let _ = timeout(FAREWELL, sink.send(Message::Close(None))).await;
                Ok(())
            }
        }
    }

    async fn read(
        &self,
        mut stream: SplitStream<Socket>,
        outgoing: mpsc::Sender<Outgoing>,
        complaints: &mut Complaints,
        mut on_registered: impl FnMut(),
    ) -> LinkFailure {
        let peer_id = self.facts.peer_id.to_string();
        let register = message::register(&peer_id, &self.facts.node_id, IS_REGISTERED);
        put(&outgoing, Outgoing::small(register)).await;
        let within = self.limits.register;
        let register_by = Instant::now() + within;
        let mut registered = false;
        let mut relay_said = None;
        loop {
            let next = tokio::select! {
                next = stream.next() => next,
                () = sleep_until(register_by), if !registered => {
                    return LinkFailure::NotRegistered { within, relay_said };
                }
            };
            let text = match next {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(frame))) => {
                    let reason = frame.map(|frame| printable(&frame.reason));
                    relay_said = reason.filter(|reason| !reason.is_empty()).or(relay_said);
                    return LinkFailure::Closed { relay_said };
                }
                // Pings are answered below us; nothing binary is spoken over a link.
                Some(Ok(_)) => continue,
                Some(Err(error)) => return LinkFailure::broken(&error),
                None => return LinkFailure::Closed { relay_said },
            };
            let text_len = text.len();
            // A long one is looked through by another thread; one that could not be is no message.
            let look = move || (message::look(&text), text);
            let Ok((incoming, text)) = aside(text_len, look).await else {
                continue;
            };
            match incoming {
                Incoming::Registered if registered => {}
                Incoming::Registered => {
                    registered = true;
                    relay_said = None;
                    complaints.registered();
                    on_registered();
                    tracing::info!(relay = &*self.relay, "Storage link registered");
                }
                Incoming::Request(kind, id) => self.serve(kind, id, text, &outgoing).await,
                Incoming::Error(error) => {
                    complaints.relay_said(&self.relay, &error);
                    relay_said = Some(error);
                }
                Incoming::Ignored(why) => {
                    tracing::debug!(relay = &*self.relay, why, "message of a relay ignored");
                }
            }
        }
    }

    async fn serve(
        &self,
        kind: message::Kind,
        id: String,
        text: Utf8Bytes,
        outgoing: &mpsc::Sender<Outgoing>,
    ) {
        let request = Request { kind, id, text };
        if let Some(busy) = self.server.take(request, outgoing) {
            put(outgoing, busy).await;
        }
    }

    /// Writes what is put into `queue`, and a ping now and then; returns at the first failure.
    async fn write(
        &self,
        sink: &mut SplitSink<Socket, Message>,
        mut queue: mpsc::Receiver<Outgoing>,
    ) -> Result<(), LinkFailure> {
        let mut writer = Writer {
            sink,
            within: self.limits.write,
            ping: self.limits.ping,
            next_ping: Instant::now() + self.limits.ping,
        };
        loop {
            let next = tokio::select! {
                next = queue.recv() => next,
                () = sleep_until(writer.next_ping) => {
                    writer.ping().await?;
                    continue;
                }
            };
            // The reader holds a sender as long as this is polled.
            let Some(next) = next else { return Ok(()) };
            writer.text(next.text).await?;
            drop(next.held);
        }
    }
}

/// Waits while answers before it are being written: a relay that asks and does not read is not
/// read either.
async fn put(outgoing: &mpsc::Sender<Outgoing>, next: Outgoing) {
    // Without a receiver the connection is over.
    let _ = outgoing.send(next).await;
}

struct Writer<'a> {
    sink: &'a mut SplitSink<Socket, Message>,
    within: Duration,
    ping: Duration,
    next_ping: Instant,
}

impl Writer<'_> {
    async fn text(&mut self, text: String) -> Result<(), LinkFailure> {
        let mut rest = Bytes::from(text);
        let mut kind = Data::Text;
        loop {
            let piece = rest.split_to(rest.len().min(PIECE_BYTES));
            let last = rest.is_empty();
            let frame = Frame::message(piece, OpCode::Data(kind), last);
            self.send(Message::Frame(frame)).await?;
            if last {
                return Ok(());
            }
            kind = Data::Continue;
            if Instant::now() >= self.next_ping {
                self.ping().await?;
            }
        }
    }

    async fn ping(&mut self) -> Result<(), LinkFailure> {
        self.next_ping = Instant::now() + self.ping;
        self.send(Message::Ping(Bytes::new())).await
    }

    async fn send(&mut self, message: Message) -> Result<(), LinkFailure> {
        let within = self.within;
        timeout(within, self.sink.send(message))
            .await
            .map_err(|_| LinkFailure::NotReading { within })?
            .map_err(|error| LinkFailure::broken(&error))
    }
}
