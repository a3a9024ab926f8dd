//! Announcements: ours to others, theirs to us.

use std::time::{Duration, Instant};

use futures_util::StreamExt;
use libp2p::gossipsub::{self, MessageAcceptance, MessageId, PublishError};
use libp2p::{Multiaddr, PeerId};

use super::{EventLoop, now_ms};
use crate::addresses::with_peer;
use crate::announce::{ANNOUNCE_TOPIC, BROADCAST_TOPIC, Verdict, announcement};
use crate::ids;
use crate::members::{Scope, scope_of};

/// Least time between two announcements.
const ANNOUNCE_PAUSE: Duration = Duration::from_secs(5);
/// Pause after something worth announcing: a peer that just connected subscribes only now.
const ANNOUNCE_SOON: Duration = Duration::from_secs(1);
/// Time for the goodbye to get out. Too long: every stop of a node takes that much longer. Too short:
/// others wait for the node until they take it for gone.
const GOODBYE_TIME: Duration = Duration::from_millis(200);
/// Messages that one peer may pass on in a second on average: those of some thousand nodes that all
/// come by way of it.
pub(super) const PASSED_PER_SECOND: u32 = 100;
/// The same at once.
pub(super) const PASSED_BURST: u32 = 1000;
/// Messages of its own that no honest peer sends, which end the connection, within a minute.
const MISDEEDS_MAX: u32 = 20;
/// Peers whose misdeeds are counted.
const CULPRITS_MAX: usize = 1024;

impl EventLoop {
    /// Something happened that others should hear of before the interval is over.
    pub(super) fn announce_soon(&mut self) {
        let now = Instant::now();
        let earliest = self.announced.map_or(now, |last| last + ANNOUNCE_PAUSE);
        self.announce_at = self.announce_at.min(earliest.max(now + ANNOUNCE_SOON));
    }

    pub(super) fn announce_if_due(&mut self, now: Instant) {
        if now < self.announce_at {
            return;
        }
        self.announce_at = now + self.settings.announce_interval.as_duration();
        match self.announce(false) {
            Ok(_) => self.announced = Some(now),
            // Alone: it is said again as soon as somebody comes.
            Err(PublishError::NoPeersSubscribedToTopic) => {}
            Err(error) => tracing::debug!(%error, "not announced"),
        }
    }

    /// Says that the node is going, and gives that a moment to get out.
    pub(super) async fn say_goodbye(&mut self) {
        if let Err(error) = self.announce(true) {
            tracing::debug!(%error, "nobody to say goodbye to");
            return;
        }
        let going = async {
            loop {
                self.swarm.select_next_some().await;
            }
        };
        // Nothing tells when it is out.
        let _: Result<(), _> = tokio::time::timeout(GOODBYE_TIME, going).await;
    }

    fn announce(&mut self, leaving: bool) -> Result<MessageId, PublishError> {
        let addresses: Vec<String> = self
            .announced_addresses()
            .iter()
            .map(ToString::to_string)
            .collect();
        // Whether this node is registered is for the chain to say, and nobody reads it there yet.
        let message = announcement(&self.facts, &addresses, false, leaving, now_ms());
        let topic = gossipsub::IdentTopic::new(ANNOUNCE_TOPIC);
        self.swarm.behaviour_mut().gossip.publish(topic, message)
    }

    /// Where this node says that it is reached.
    fn announced_addresses(&self) -> Vec<Multiaddr> {
        let far = self.evidence.is_public();
        let mut addresses = self.own_addresses();
        // What is on the same machine needs no announcement to the wide world.
        addresses.retain(|address| !far || scope_of(address) != Some(Scope::Loopback));
        addresses
    }

    /// Stated and confirmed addresses, circuits, and those it listens on unless others are stated;
    /// each ends in the node's peer id.
    pub(super) fn own_addresses(&self) -> Vec<Multiaddr> {
        let local = *self.swarm.local_peer_id();
        let listening = self
            .settings
            .external_addresses
            .is_empty()
            .then(|| self.own_listeners());
        let mut all: Vec<Multiaddr> = Vec::new();
        let addresses = self
            .stated
            .iter()
            .chain(self.swarm.external_addresses())
            .chain(listening.into_iter().flatten())
            .map(|address| with_peer(address, local))
            .chain(self.relays.circuits(local));
        for address in addresses {
            if !all.contains(&address) {
                all.push(address);
            }
        }
        all
    }

    pub(super) fn on_gossip(&mut self, event: gossipsub::Event) {
        match event {
            gossipsub::Event::Message {
                propagation_source,
                message_id,
                message,
            } => self.on_message(propagation_source, &message_id, &message),
            gossipsub::Event::Subscribed { .. } => self.announce_soon(),
            _ => {}
        }
    }

    fn on_message(&mut self, from: PeerId, id: &MessageId, message: &gossipsub::Message) {
        let acceptance = self.judge(from, message);
        let ignored = matches!(acceptance, MessageAcceptance::Ignore);
        let rejected = matches!(acceptance, MessageAcceptance::Reject);
        self.swarm
            .behaviour_mut()
            .gossip
            .report_message_validation_result(id, &from, acceptance);
        if rejected {
            tracing::debug!(peer = %from, "a message that makes no sense");
            // Who only passes it on need not understand it: a later version may say more.
            if message.source == Some(from) {
                self.count_misdeed(from);
            }
        } else if ignored {
            tracing::trace!(peer = %from, "message ignored");
        }
    }

    fn judge(&mut self, from: PeerId, message: &gossipsub::Message) -> MessageAcceptance {
        // The signature was checked: a message without a source does not come this far.
        let (Some(source), Some(teller)) = (
            message.source.as_ref().and_then(ids::from_wire),
            ids::from_wire(&from),
        ) else {
            return MessageAcceptance::Ignore;
        };
        if !self.passed.take(&teller) {
            return MessageAcceptance::Ignore;
        }
        let now = now_ms();
        match message.topic.as_str() {
            ANNOUNCE_TOPIC => {
                let verdict = self.announcements.announce(source, &message.data, now);
                self.metrics.announcement(verdict.label());
                acceptance(verdict, |announcement| {
                    let taken = self.members.lock().announced(announcement, teller, now);
                    self.news |= taken;
                    taken
                })
            }
            BROADCAST_TOPIC => {
                let verdict = self.announcements.broadcast(source, &message.data, now);
                self.metrics.broadcast(verdict.label());
                acceptance(verdict, |broadcast| {
                    tracing::info!(peer = %broadcast.peer, text = %broadcast.message, "Broadcast");
                    true
                })
            }
            _ => MessageAcceptance::Reject,
        }
    }

    fn count_misdeed(&mut self, peer: PeerId) {
        if self.misdeeds.len() >= CULPRITS_MAX && !self.misdeeds.contains_key(&peer) {
            return;
        }
        let count = self.misdeeds.entry(peer).or_default();
        *count += 1;
        if *count == MISDEEDS_MAX {
            tracing::warn!(%peer, "Peer disconnected: it keeps sending messages that make no sense");
            // Gone already: just as well.
            let _ = self.swarm.disconnect_peer_id(peer);
        }
    }
}

/// What pubsub is told, and what is done with a good one; what finds no place here is not passed on.
fn acceptance<T>(verdict: Verdict<T>, taken: impl FnOnce(T) -> bool) -> MessageAcceptance {
    match verdict {
        Verdict::Accept(message) => {
            if taken(message) {
                MessageAcceptance::Accept
            } else {
                MessageAcceptance::Ignore
            }
        }
        Verdict::Ignore(_) => MessageAcceptance::Ignore,
        Verdict::Reject(_) => MessageAcceptance::Reject,
    }
}
