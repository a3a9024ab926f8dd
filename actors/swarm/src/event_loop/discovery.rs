//! How peers are found: what they say of themselves by identify, and the routing table.

use std::time::{Duration, Instant};

use bytecave_messages::swarm::Reachability;
use libp2p::kad::store::RecordStore;
use libp2p::kad::{self, GetProvidersOk, InboundRequest, Mode, QueryResult};
use libp2p::swarm::dial_opts::{DialOpts, PeerCondition};
use libp2p::{Multiaddr, PeerId, StreamProtocol, identify};

use super::{EventLoop, KEPT_PEERS, now_ms};
use crate::behaviour::{is_segment_key, segment_keys};
use crate::ids;
use crate::members::{Teller, scope_of};
use crate::relays::HOP_PROTOCOL;

/// Time between two refreshes of the routing table, each with a question for peers that keep the
/// same shards.
const LOOKUP_EVERY: Duration = Duration::from_mins(5);
/// Time between two times of saying what is kept here. Records last 48 hours, but those to whom
/// they were given may be gone.
const PROVIDE_EVERY: Duration = Duration::from_mins(30);
/// Pause after the first peer of the routing table, so that a few more come in.
const FIRST_LOOKUP: Duration = Duration::from_secs(5);
/// Peers dialled of one answer of the routing table.
const FOUND_MAX: usize = 8;

impl EventLoop {
    pub(super) fn on_identify(&mut self, event: identify::Event) {
        let (peer_id, info) = match event {
            identify::Event::Received { peer_id, info, .. }
            | identify::Event::Pushed { peer_id, info, .. } => (peer_id, info),
            identify::Event::Error { peer_id, error, .. } => {
                tracing::debug!(peer = %peer_id, %error, "not identified");
                return;
            }
            identify::Event::Sent { .. } => return,
        };
        let speaks = |name: &str| {
            info.protocols
                .iter()
                .any(|protocol| protocol.as_ref() == name)
        };
        self.relays.identified(&peer_id, speaks(HOP_PROTOCOL));
        if let Some(member) = ids::from_wire(&peer_id) {
            let mut members = self.members.lock();
            let was_proven = members.is_proven(&member);
            members.identified(
                member,
                &info.agent_version,
                info.protocols.iter().map(StreamProtocol::as_ref),
                info.listen_addrs.iter(),
                now_ms(),
            );
            let proven = members.is_proven(&member);
            let routed = if proven && speaks(kad::PROTOCOL_NAME.as_ref()) {
                members.direct_addresses(&member)
            } else {
                Vec::new()
            };
            drop(members);
            self.keep_changed |= proven != was_proven;
            self.route(peer_id, routed);
            self.questions.identified(peer_id);
        }
        self.news = true;
    }

    /// Enters a peer into the routing table with these addresses, or strikes it out.
    fn route(&mut self, peer: PeerId, addresses: Vec<Multiaddr>) {
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else {
            return;
        };
        if addresses.is_empty() {
            kad.remove_peer(&peer);
            return;
        }
        let empty = kad.kbuckets().next().is_none();
        for address in addresses {
            kad.add_address(&peer, address);
        }
        if empty {
            let soon = Instant::now() + FIRST_LOOKUP;
            self.provide_at = self.provide_at.min(soon);
            self.lookup_at = self.lookup_at.min(soon);
        }
    }

    pub(super) fn on_kad(&mut self, event: kad::Event) {
        match event {
            kad::Event::InboundRequest {
                request:
                    InboundRequest::AddProvider {
                        record: Some(record),
                    },
            } => self.on_provider(record),
            kad::Event::OutboundQueryProgressed {
                result:
                    QueryResult::GetProviders(Ok(GetProvidersOk::FoundProviders { providers, .. })),
                ..
            } => {
                let unknown: Vec<PeerId> = providers
                    .into_iter()
                    .filter(|peer| !self.connections.contains(peer))
                    .take(FOUND_MAX)
                    .collect();
                for peer in unknown {
                    if self.connections.count() < KEPT_PEERS {
                        self.dial_found(peer);
                    }
                }
            }
            kad::Event::OutboundQueryProgressed {
                result: QueryResult::GetClosestPeers(Ok(found)),
                ..
            } => {
                let mut members = self.members.lock();
                for peer in found.peers {
                    if let Some(member) = ids::from_wire(&peer.peer_id) {
                        let addresses = peer.addrs.iter();
                        members.told(member, addresses, Teller::HashTable, now_ms());
                    }
                }
            }
            _ => {}
        }
    }

    /// A peer says that it keeps shards of a segment.
    fn on_provider(&mut self, mut record: kad::ProviderRecord) {
        let count = u64::from(self.facts.shards.count().get());
        let Some(member) = ids::from_wire(&record.provider) else {
            return;
        };
        let (proven, addresses) = {
            let members = self.members.lock();
            (
                members.is_proven(&member),
                members.direct_addresses(&member),
            )
        };
        if !proven || !is_segment_key(count, &record.key) {
            return;
        }
        // Where it is reached is known better here than by its own word.
        record.addresses = addresses;
        if let Some(kad) = self.swarm.behaviour_mut().kad.as_mut()
            && let Err(error) = kad.store_mut().add_provider(record)
        {
            tracing::debug!(?error, "provider not kept");
        }
    }

    /// Dials a peer that the routing table told of, while it still knows the addresses.
    fn dial_found(&mut self, peer: PeerId) {
        let opts = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .build();
        if let Err(error) = self.swarm.dial(opts) {
            tracing::debug!(%peer, %error, "not dialled");
        }
    }

    /// Says in the routing table what is kept here, and looks for others that keep the same.
    pub(super) fn look_up(&mut self, now: Instant) {
        let providing = now >= self.provide_at;
        let looking = now >= self.lookup_at;
        if !providing && !looking {
            return;
        }
        let keys = segment_keys(&self.facts.shards);
        let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() else {
            return;
        };
        if kad.kbuckets().next().is_none() {
            return;
        }
        if providing {
            self.provide_at = now + PROVIDE_EVERY;
            for key in &keys {
                if let Err(error) = kad.start_providing(key.clone()) {
                    tracing::debug!(?error, "segment not provided");
                }
            }
        }
        if looking {
            self.lookup_at = now + LOOKUP_EVERY;
            if let Err(error) = kad.bootstrap() {
                tracing::debug!(%error, "the routing table is not refreshed");
            }
            // One at a time: over an hour all of them had their turn.
            let turn = now_ms() / 1000 / LOOKUP_EVERY.as_secs();
            let at = usize::try_from(turn).unwrap_or(0) % keys.len().max(1);
            if self.connections.count() < KEPT_PEERS
                && let Some(key) = keys.into_iter().nth(at)
            {
                kad.get_closest_peers(key.to_vec());
                kad.get_providers(key);
            }
        }
    }

    /// What is known of this node's reachability decides whether it serves the routing table, and
    /// whether it relays.
    pub(super) fn update_reachability(&mut self) {
        let verdict = self.evidence.verdict(self.relays.reserved() > 0);
        let direct = verdict == Reachability::Direct || !self.stated.is_empty();
        // In a private network everybody reaches everybody, as far as anyone can tell.
        let serves = direct || !self.evidence.is_public();
        if let Some(kad) = self.swarm.behaviour_mut().kad.as_mut() {
            let mode = if serves { Mode::Server } else { Mode::Client };
            if kad.mode() != mode {
                kad.set_mode(Some(mode));
            }
        }
        if verdict != self.reachability {
            tracing::info!(verdict = ?verdict, "Reachability changed");
            self.reachability = verdict;
            self.news = true;
        }
    }

    /// A relay must give out addresses of its own. If the settings state none, those it listens on
    /// that reach farthest are taken: who switches it on means that it is reached.
    pub(super) fn state_relay_addresses(&mut self, listening: &[Multiaddr]) {
        if !self.settings.relay_server || !self.settings.external_addresses.is_empty() {
            return;
        }
        let farthest = listening.iter().filter_map(scope_of).min();
        let stated: Vec<Multiaddr> = listening
            .iter()
            .filter(|address| farthest.is_some() && scope_of(address) == farthest)
            .cloned()
            .collect();
        for gone in self.stated.iter().filter(|old| !stated.contains(old)) {
            self.swarm.remove_external_address(gone);
        }
        for address in &stated {
            self.swarm.add_external_address(address.clone());
        }
        self.stated = stated;
    }
}
