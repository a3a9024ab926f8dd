//! How the network is, told to the rest of the node.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytecave_messages::swarm::{SwarmChanged, SwarmSnapshot};

use super::{EventLoop, now_ms};

/// Time after which it is told again though nothing happened: round trips and times change quietly.
const TOLD_AGAIN: Duration = Duration::from_secs(10);
/// Peers told of. Far more than anyone looks at, and a bound on the work of each telling.
const PEERS_TOLD: usize = 1024;

impl EventLoop {
    /// Tells the rest of the node, at most once a tick.
    pub(super) fn report(&mut self, now: Instant) {
        let due = self
            .told
            .as_ref()
            .is_none_or(|(at, _)| now.duration_since(*at) >= TOLD_AGAIN);
        if !std::mem::take(&mut self.news) && !due {
            return;
        }
        let snapshot = Arc::new(self.snapshot());
        self.facts.set_network(Arc::clone(&snapshot));
        let counts = self.members.lock().counts(now_ms());
        self.metrics.observe(&snapshot, counts);
        let same = self.told.as_ref().is_some_and(|(_, old)| *old == snapshot);
        self.told = Some((now, Arc::clone(&snapshot)));
        if !same {
            self.events.swarm_changed(&SwarmChanged(snapshot));
        }
    }

    pub(super) fn snapshot(&self) -> SwarmSnapshot {
        SwarmSnapshot {
            multiaddrs: self
                .own_addresses()
                .iter()
                .map(ToString::to_string)
                .collect(),
            connected: self.connections.count(),
            peers: self.members.lock().views(now_ms(), PEERS_TOLD),
            relays: self.relays.views(),
            links: self.links.borrow().clone(),
            reachability: self.reachability.clone(),
        }
    }
}
