//! The one task that owns the swarm: it hears what happens on the network, keeps account of peers
//! and relays, dials, announces, and tells the node how the network is.
//!
//! Nothing here waits for anybody: questions to peers are asked by tasks of their own, of which
//! there are only so many, and what they bring back is heard here. The task ends when it is told to
//! stop; if it ends otherwise, the actor dies of it.

mod connections;
mod dialing;
mod discovery;
mod events;
mod gossip;
mod questions;
mod report;
mod start;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytecave_config::P2p;
use bytecave_messages::ports::SwarmEvents;
use bytecave_messages::swarm::{LinkView, Reachability, SwarmSnapshot};
use futures_util::StreamExt;
use libp2p::swarm::Swarm;
use libp2p::{Multiaddr, PeerId};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::announce::Announcements;
use crate::behaviour::Behaviour;
use crate::book::SharedMembers;
use crate::facts::Facts;
use crate::metrics::NetworkMetrics;
use crate::reachability::Evidence;
use crate::relays::Relays;
use crate::remembered::MembersFile;
use crate::wire::rates::Rates;
use connections::{Connections, Said};
use dialing::Circuits;
use questions::Questions;
pub(crate) use start::{Started, start};

/// How often the loop looks after what is due.
const TICK: Duration = Duration::from_secs(1);
/// Time for connections to close in order before the task ends.
const CLOSE_TIME: Duration = Duration::from_secs(1);
/// Peers whose connections are kept though nothing uses them; up to so many the node stays
/// connected with all. Too low: in a network of that size holders are not connected when they are
/// needed. Too high: idle connections everywhere.
const KEPT_PEERS: usize = 32;

/// Everything the task owns.
pub(crate) struct EventLoop {
    swarm: Swarm<Behaviour>,
    settings: P2p,
    facts: Arc<Facts>,
    events: SwarmEvents,
    metrics: NetworkMetrics,
    members: SharedMembers,
    file: MembersFile,
    /// Addresses of the node that the settings state.
    stated: Vec<Multiaddr>,
    relays: Relays,
    evidence: Evidence,
    reachability: Reachability,
    connections: Connections,
    said: Said,
    circuits: Circuits,
    kept: HashSet<PeerId>,
    /// Configured peers whose failing to be reached was told already.
    complained: HashSet<PeerId>,
    questions: Questions,
    announcements: Announcements,
    announced: Option<Instant>,
    announce_at: Instant,
    /// When the routing table is asked next, and told what is provided here.
    lookup_at: Instant,
    provide_at: Instant,
    links: watch::Receiver<Vec<LinkView>>,
    told: Option<(Instant, Arc<SwarmSnapshot>)>,
    /// Whether something worth telling happened since.
    news: bool,
    /// Whether who is connected or proven changed, and so who is kept.
    keep_changed: bool,
    /// How much each peer passes on.
    passed: Rates,
    /// How often each peer said what no honest one does; forgotten each minute.
    misdeeds: HashMap<PeerId, u32>,
    misdeeds_since: Instant,
    /// Requests of peers being served.
    serving: TaskTracker,
    shutdown: CancellationToken,
}

impl EventLoop {
    /// Runs until told to stop.
    pub(crate) async fn run(mut self) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shutdown = self.shutdown.clone();
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(answer) = self.questions.next() => self.on_answer(answer),
                Ok(()) = self.links.changed() => self.news = true,
                _ = tick.tick() => self.on_tick(),
            }
        }
        Box::pin(self.stop()).await;
    }

    fn on_tick(&mut self) {
        let now = Instant::now();
        self.reserve(now);
        self.dial();
        self.update_kept();
        self.ask_peers(now);
        self.look_up(now);
        self.update_reachability();
        self.announce_if_due(now);
        self.report(now);
        let mut members = self.members.lock();
        self.file.save_if_due(&mut members, now_ms());
        if now.duration_since(self.misdeeds_since) >= Duration::from_mins(1) {
            self.misdeeds.clear();
            self.misdeeds_since = now;
        }
    }

    /// Stops listening, says goodbye, closes the connections, and writes down who was known.
    async fn stop(mut self) {
        // They were told when the loop was, and give back what they hold.
        self.serving.close();
        for listener in self.connections.take_listeners() {
            self.swarm.remove_listener(listener);
        }
        self.say_goodbye().await;
        let peers: Vec<PeerId> = self.swarm.connected_peers().copied().collect();
        for peer in peers {
            // Gone by itself meanwhile: just as well.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
        let closed = async {
            while self.swarm.connected_peers().next().is_some() {
                self.swarm.select_next_some().await;
            }
            self.serving.wait().await;
        };
        if tokio::time::timeout(CLOSE_TIME, closed).await.is_err() {
            tracing::debug!("some connections or requests did not end in time");
        }
        let remembered = self.members.lock().remembered();
        self.file.close(remembered).await;
    }
}

/// Milliseconds since 1970.
fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0))
}

/// A number from 0 to 1, to spread what many nodes would do at the same moment.
fn jitter() -> f64 {
    // Each state is keyed anew from the system's randomness; nothing here is a secret.
    let random = RandomState::new().hash_one(0_u8) >> 32;
    #[expect(clippy::cast_precision_loss, reason = "32 bits fit into a double")]
    let spread = random as f64 / f64::from(u32::MAX);
    spread
}
