//! Storage links: how browsers reach this node through a relay.
//!
//! One task for each link keeps a WebSocket to its relay, registers there, and answers what the
//! relay passes on from browsers: `storage-request` and `retrieve-request`, JSON in text frames.
//! A link that breaks is made again, later each time, and registered anew.
//!
//! The relay is believed nothing. A frame is bounded before it is read, memory for a blob is taken
//! before it is decoded, so many requests are served at once and no more, and every request that
//! can be named is answered within [`LinkLimits::answer`]: the browser behind it would only wait.
//! The frame that is being read is the one thing outside the memory budget, one for each link.
//!
//! The links know nothing of blobs: what a relay asks goes to the replicator with the permit in it.

mod backoff;
mod connect;
mod message;
mod serve;
mod session;
#[cfg(test)]
mod tests;
mod urls;

use std::sync::Arc;
use std::time::Duration;

use bytecave_messages::budget::Budget;
use bytecave_messages::ports::SwarmEvents;
use bytecave_messages::swarm::LinkView;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::facts::Facts;
use crate::memory::BodyMemory;
use backoff::{Backoff, Complaints};
use connect::Tls;
use serve::Server;
use session::Session;

pub(crate) use urls::urls;

/// Largest message of a relay: the largest blob in JSON, and 64 KiB for all around it.
#[expect(clippy::cast_possible_truncation, reason = "far below 4 GiB")]
const MAX_MESSAGE_BYTES: usize = crate::wire::frame::BLOB_FRAME_BYTES as usize;

/// What the links need of the node.
pub(crate) struct LinkOptions {
    /// The WebSocket addresses, each once; see [`urls`].
    pub(crate) urls: Vec<String>,
    /// Who this node is.
    pub(crate) facts: Arc<Facts>,
    /// Who answers what is asked.
    pub(crate) events: SwarmEvents,
    /// The actor's permits.
    pub(crate) budget: Budget,
    /// Memory for blobs, shared with the 1.0.0 protocols.
    pub(crate) memory: BodyMemory,
    /// Ends all links.
    pub(crate) shutdown: CancellationToken,
    /// Times and counts; the default unless a test is in a hurry.
    pub(crate) limits: LinkLimits,
}

/// Times and counts of a link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LinkLimits {
    /// Time to connect, TLS and upgrade included. Too low: distant relays are never reached.
    pub(crate) connect: Duration,
    /// Time for the relay to confirm the registration.
    pub(crate) register: Duration,
    /// Time to answer a request. The browser waits 30 s: it must hear before that.
    pub(crate) answer: Duration,
    /// Time for 64 KiB to leave. Too high: a relay that does not read holds answers in memory.
    pub(crate) write: Duration,
    /// Time between two pings.
    pub(crate) ping: Duration,
    /// Time without a byte from the relay after which the link counts as dead: two pings and more.
    pub(crate) silence: Duration,
    /// Requests of one link being served at once; more are answered busy.
    pub(crate) served: usize,
    /// Time to wait before the first new attempt; doubled for each further one.
    pub(crate) first_retry: Duration,
    /// Longest time to wait before a new attempt.
    pub(crate) last_retry: Duration,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            register: Duration::from_secs(10),
            answer: Duration::from_secs(25),
            write: Duration::from_secs(30),
            ping: Duration::from_secs(30),
            silence: Duration::from_secs(75),
            served: 16,
            first_retry: Duration::from_secs(1),
            last_retry: Duration::from_mins(1),
        }
    }
}

/// Keeps all links until `shutdown`. How they are is told by the receiver, one entry for each
/// address in their order; it is closed when the last link has ended.
pub(crate) fn spawn(options: LinkOptions) -> watch::Receiver<Vec<LinkView>> {
    let LinkOptions {
        urls,
        facts,
        events,
        budget,
        memory,
        shutdown,
        limits,
    } = options;
    let views = urls.iter().map(|url| LinkView {
        url: url.clone(),
        registered: false,
        problem: None,
    });
    let (views, watched) = watch::channel(views.collect());
    let views = Arc::new(views);
    let tls = Tls::new();
    for (index, url) in urls.into_iter().enumerate() {
        let relay: Arc<str> = url.into();
        let link = Link {
            session: Session {
                server: Arc::new(Server::new(
                    Arc::clone(&relay),
                    events.clone(),
                    budget.clone(),
                    memory.clone(),
                    limits,
                )),
                facts: Arc::clone(&facts),
                relay,
                tls: tls.clone(),
                limits,
                shutdown: shutdown.clone(),
            },
            views: Arc::clone(&views),
            index,
        };
        tokio::spawn(link.keep());
    }
    watched
}

/// One link, connected or between two attempts.
struct Link {
    session: Session,
    views: Arc<watch::Sender<Vec<LinkView>>>,
    index: usize,
}

impl Link {
    async fn keep(self) {
        let limits = self.session.limits;
        let mut backoff = Backoff::new(limits.first_retry, limits.last_retry);
        let mut complaints = Complaints::default();
        loop {
            let mut registered_at = None;
            let ended = self.session.run(&mut complaints, || {
                registered_at = Some(tokio::time::Instant::now());
                self.show(true, None);
            });
            let Err(failure) = ended.await else { break };
            self.show(false, Some(failure.to_string()));
            complaints.failed(&self.session.relay, &failure);
            // A relay that registers and hangs up at once is not asked once a second for ever.
            if registered_at.is_some_and(|at| at.elapsed() >= limits.last_retry) {
                backoff.reset();
            }
            tokio::select! {
                () = self.session.shutdown.cancelled() => break,
                () = tokio::time::sleep(backoff.next()) => {}
            }
        }
        self.show(false, None);
    }

    fn show(&self, registered: bool, problem: Option<String>) {
        self.views.send_modify(|views| {
            if let Some(view) = views.get_mut(self.index) {
                view.registered = registered;
                view.problem = problem;
            }
        });
    }
}
