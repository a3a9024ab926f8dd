//! What everything that is served shares: who answers, what there is room for, and how often a peer
//! may ask.

use std::sync::Arc;
use std::time::Duration;

use bytecave_core::PeerId;
use bytecave_messages::budget::{Budget, Permit, Share};
use bytecave_messages::ports::SwarmEvents;
use bytecave_messages::swarm::{Admission, Refusal};
use libp2p::StreamProtocol;
use tokio::sync::{oneshot, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::counters::{Outcome, WireCounters};
use super::rates::Rates;
use super::served::{LastHour, Served};
use super::slow::SlowTransfers;
use super::streams::{InboundStream, StreamControl};
use super::{v1, v2};
use crate::facts::Facts;
use crate::memory::BodyMemory;

/// Questions of one peer about what is held here, a second on average. A round over shards that are
/// alike is one question; too low and a reconciliation of much that differs waits, too high and one
/// peer has this node list its shards all day.
const SYNC_PER_SECOND: u32 = 20;
/// The same at once: a reconciliation of one large shard in one go.
const SYNC_BURST: u32 = 200;
/// Challenges of one peer that are read, a second on average. How many are answered is a setting of the
/// prover's; this bounds what reaches it.
const PROOFS_PER_SECOND: u32 = 50;
/// The same at once.
const PROOFS_BURST: u32 = 200;
/// How many requests over the streams between nodes of this program count as one: they carry bytes as they are, and
/// copying a shard is thousands of them.
const STREAMS_PER_REQUEST: u32 = 10;

/// The settings that the protocols need.
#[derive(Debug, Clone)]
pub(crate) struct ServerSettings {
    /// `p2p.request_timeout`
    pub(crate) request_timeout: Duration,
    /// `p2p.requests_per_second_per_peer`
    pub(crate) requests_per_second_per_peer: u32,
    /// `p2p.request_burst_per_peer`
    pub(crate) request_burst_per_peer: u32,
    /// Whether anybody may store: `p2p.store_access` is not `off`.
    pub(crate) takes_stores: bool,
}

/// What is needed to serve.
#[derive(Debug)]
pub(crate) struct ServerParts {
    /// What the node says of itself.
    pub(crate) facts: Arc<Facts>,
    /// Who answers.
    pub(crate) events: SwarmEvents,
    /// The permits that requests take.
    pub(crate) budget: Budget,
    /// The memory for blobs in flight.
    pub(crate) memory: BodyMemory,
    /// Who may send replicas.
    pub(crate) admission: watch::Receiver<Admission>,
    /// The settings.
    pub(crate) settings: ServerSettings,
    /// What is counted.
    pub(crate) counters: WireCounters,
    /// Knows the tasks.
    pub(crate) tracker: TaskTracker,
    /// Ends them.
    pub(crate) stop: CancellationToken,
}

/// Shared by all protocols.
#[derive(Debug)]
pub(crate) struct Service {
    parts: ServerParts,
    rates: Rates,
    stream_rates: Rates,
    sync_rates: Rates,
    proof_rates: Rates,
    slow: Arc<SlowTransfers>,
    served: Served,
}

/// Opens the doors of all protocols, and serves who comes until the token is cancelled.
pub(crate) fn serve(parts: ServerParts, control: &StreamControl) {
    let service = Service::new(parts);
    v1::serve(&service, control);
    v2::serve(&service, control);
}

impl Service {
    pub(crate) fn new(parts: ServerParts) -> Arc<Self> {
        let settings = &parts.settings;
        Arc::new(Self {
            rates: Rates::new(
                settings.requests_per_second_per_peer,
                settings.request_burst_per_peer,
            ),
            stream_rates: Rates::new(
                settings
                    .requests_per_second_per_peer
                    .saturating_mul(STREAMS_PER_REQUEST),
                settings
                    .request_burst_per_peer
                    .saturating_mul(STREAMS_PER_REQUEST),
            ),
            sync_rates: Rates::new(SYNC_PER_SECOND, SYNC_BURST),
            proof_rates: Rates::new(PROOFS_PER_SECOND, PROOFS_BURST),
            slow: Arc::default(),
            served: Served::new(),
            parts,
        })
    }

    /// Serves each stream of a protocol by a task of its own.
    pub(super) fn spawn<F>(
        self: &Arc<Self>,
        control: &StreamControl,
        protocol: StreamProtocol,
        serve: impl Fn(InboundStream) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut incoming = control.accept(protocol);
        let service = Arc::clone(self);
        let take = async move {
            while let Some(inbound) = incoming.next().await {
                let stop = service.parts.stop.clone();
                let served = serve(inbound);
                let served = async move {
                    stop.run_until_cancelled(served).await;
                };
                service.parts.tracker.spawn(served);
            }
        };
        let stop = self.parts.stop.clone();
        let take = async move {
            stop.run_until_cancelled(take).await;
        };
        self.parts.tracker.spawn(take);
    }

    pub(super) fn facts(&self) -> &Facts {
        &self.parts.facts
    }

    pub(super) fn events(&self) -> &SwarmEvents {
        &self.parts.events
    }

    pub(super) fn memory(&self) -> &BodyMemory {
        &self.parts.memory
    }

    pub(super) fn request_timeout(&self) -> Duration {
        self.parts.settings.request_timeout
    }

    pub(super) fn permit(&self, share: Share, kind: &'static str) -> Result<Permit, Refusal> {
        self.parts
            .budget
            .try_acquire(share, kind)
            .map_err(|_| Refusal::Busy)
    }

    pub(super) fn admits(&self, peer: &PeerId) -> Result<(), Refusal> {
        self.parts.admission.borrow().admits(peer)
    }

    pub(super) fn takes_stores(&self) -> Result<(), Refusal> {
        if self.parts.settings.takes_stores {
            Ok(())
        } else {
            Err(Refusal::NotAuthorized(
                "this node takes nothing from clients of the network".to_owned(),
            ))
        }
    }

    /// Whether `peer` may ask now.
    pub(super) fn may_ask(&self, peer: &PeerId) -> bool {
        self.rates.take(peer)
    }

    /// Whether `peer` may ask for a blob, or send one, over a stream between nodes of this program.
    pub(super) fn may_stream(&self, peer: &PeerId) -> bool {
        self.stream_rates.take(peer)
    }

    /// Whether `peer` may compare now.
    pub(super) fn may_compare(&self, peer: &PeerId) -> bool {
        self.sync_rates.take(peer)
    }

    /// Whether `peer` may challenge now.
    pub(super) fn may_challenge(&self, peer: &PeerId) -> bool {
        self.proof_rates.take(peer)
    }

    /// Ends when a transfer of `bytes` from or to `peer` that begins now has to end for its slowness.
    pub(super) async fn one_too_slow(&self, peer: PeerId, bytes: u64) {
        let grace = self.request_timeout();
        self.slow.one_too_many(peer, bytes, grace).await;
    }

    pub(super) fn may_have_page(&self, peer: &PeerId, offset: u64, limit: u64) -> bool {
        self.rates.take_page(peer, offset, limit)
    }

    /// The answer of whoever was asked. Dropped, or not there in time: the node is busy.
    pub(super) async fn answered<T>(
        &self,
        answer: oneshot::Receiver<Result<T, Refusal>>,
    ) -> Result<T, Refusal> {
        match timeout(self.request_timeout(), answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) | Err(_) => Err(Refusal::Busy),
        }
    }

    /// Counts a request that ended.
    pub(super) fn count(&self, protocol: &'static str, start: Instant, outcome: Outcome) {
        self.parts.counters.request(protocol, outcome);
        self.served
            .record(start.elapsed(), outcome == Outcome::Served);
    }

    pub(super) fn last_hour(&self) -> LastHour {
        self.served.last_hour()
    }
}
