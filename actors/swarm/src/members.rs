//! Whom this node knows: where each peer is reached, how it is connected, and what it said of itself.
//!
//! Peers come here four ways: the settings name them, they connected, they announced themselves, or
//! somebody told of them (a relay's list, the local network, the hash table). Only a word of the
//! peer's own, over a connection or signed by it, makes it live. All that is told is bounded here:
//!
//! - never more than the limit of members; a configured or connected one is never forgotten;
//! - a proven one, which was connected and spoke a protocol of this network, gives way only to a
//!   connected one, the longest unheard first;
//! - strangers, which were only told of, hold at most half of the places, those of one teller an
//!   eighth, and so many are new in a minute; they displace nobody but strangers that fell silent.
//!
//! No clock and no I/O: the time is passed in, milliseconds since 1970.

mod address;
mod member;
mod table;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytecave_core::PeerId;
use bytecave_messages::swarm::{Announced, ConnectionKind, PeerInfo, PeerView};
use libp2p::Multiaddr;
use libp2p::core::ConnectedPoint;
use libp2p::swarm::ConnectionId;

use crate::announce::Announcement;
use crate::plain::plain;
use address::{Clean, clean};
pub(crate) use address::{Scope, has_form as has_address_form, parse as parse_address, scope_of};
use member::{Member, Standing, millis};

/// What the names of this network's protocols begin with.
const OURS: &str = "/bytecave/";
/// Addresses kept of one peer. Fewer, and one with several networks is not reached; more, and a
/// dial tries them all in vain.
pub(crate) const ADDRESSES_LIMIT: usize = 16;
/// Connections kept account of with one peer; `p2p.max_connections_per_peer` closes them earlier.
const CONNECTIONS_LIMIT: usize = 32;
/// Protocols kept of one peer.
const PROTOCOLS_LIMIT: usize = 64;
/// Shard ranges kept of one peer's info; beyond, its info is not one.
pub(crate) const RANGES_LIMIT: usize = 1024;
/// Characters kept of a text that a peer says.
pub(crate) const TEXT_LIMIT: usize = 128;
/// First pause after a failed dial; it doubles with each.
const BACKOFF_MIN: Duration = Duration::from_secs(2);
/// Longest pause between dials of a peer.
const BACKOFF_MAX: Duration = Duration::from_hours(1);
/// Longest pause between dials of a configured peer: an operator who mends a relay sees it soon.
const BACKOFF_CONFIGURED_MAX: Duration = Duration::from_secs(30);
/// A connection that lasted this long makes good for the failures before it.
const STABLE_AFTER: Duration = Duration::from_mins(1);
/// Failures are not counted further: the pause has reached its longest before.
const FAILURES_LIMIT: u32 = 16;
/// New strangers in a minute, from all tellers.
const NEW_STRANGERS_PER_MINUTE: u32 = 256;
/// New strangers in a minute from one teller.
const NEW_STRANGERS_PER_TELLER: u32 = 64;
/// Change of the time a peer was heard that makes the remembered state worth writing.
const HEARD_WORTH_WRITING: Duration = Duration::from_mins(10);

/// Who told of a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Teller {
    /// The peer that passed its announcement on, or the relay that listed it.
    Peer(PeerId),
    /// Multicast in the local network.
    LocalNetwork,
    /// The distributed hash table.
    HashTable,
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// `p2p.max_members`.
    pub(crate) members: usize,
    /// `p2p.max_connections`: connected peers always have their place, so the bound is not lower.
    pub(crate) connections: usize,
    /// `p2p.member_timeout`.
    pub(crate) timeout: Duration,
}

/// A peer worth dialling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DialCandidate {
    /// Whom.
    pub(crate) peer: PeerId,
    /// Where, best first; each ends in `/p2p/` and the peer's id. Never empty.
    pub(crate) addresses: Vec<Multiaddr>,
    /// Whether the settings name it.
    pub(crate) configured: bool,
}

/// What outlives a restart of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RememberedPeer {
    /// Its id.
    pub(crate) peer: PeerId,
    /// Its addresses, best first; each ends in its id.
    pub(crate) addresses: Vec<Multiaddr>,
    /// When it was heard last.
    pub(crate) heard_ms: u64,
    /// When it was heard first; 0 in files of versions that did not write it.
    pub(crate) first_seen_ms: u64,
    /// When it said goodbye, if it was not heard since.
    pub(crate) left_ms: Option<u64>,
    /// Its program.
    pub(crate) agent: Option<String>,
    /// What it announced last.
    pub(crate) announced: Option<Announced>,
}

/// How many there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Members, connected or not.
    pub(crate) known: usize,
    /// Heard recently enough.
    pub(crate) live: usize,
    /// Connected directly.
    pub(crate) direct: usize,
    /// Connected through a relay only.
    pub(crate) relayed: usize,
}

/// All members.
#[derive(Debug)]
pub(crate) struct Members {
    own: PeerId,
    limit: usize,
    timeout_ms: u64,
    by_id: BTreeMap<PeerId, Member>,
    /// The minute that `newcomers` is of.
    minute: u64,
    newcomers: u32,
    newcomers_of: HashMap<Teller, u32>,
    /// Whether this node listens on loopback addresses and no others.
    on_loopback: bool,
    /// Whether this node listens on an address of a private network.
    on_private: bool,
    changed: bool,
}

impl Members {
    /// Nobody is known yet but this node itself, which is no member of its own.
    pub(crate) fn new(own: PeerId, limits: Limits) -> Self {
        Self {
            own,
            limit: limits.members.max(limits.connections).max(1),
            timeout_ms: millis(limits.timeout),
            by_id: BTreeMap::new(),
            minute: 0,
            newcomers: 0,
            newcomers_of: HashMap::new(),
            on_loopback: false,
            on_private: false,
            changed: false,
        }
    }

    /// The addresses this node listens on now: they decide which inward addresses of strangers make
    /// sense here. To be told whenever they change.
    pub(crate) fn listening<'a>(&mut self, addresses: impl Iterator<Item = &'a Multiaddr>) {
        let scopes: Vec<Scope> = addresses.filter_map(scope_of).collect();
        self.on_loopback =
            !scopes.is_empty() && scopes.iter().all(|scope| *scope == Scope::Loopback);
        self.on_private = scopes.contains(&Scope::Private);
    }

    /// A peer that the settings name, with an address of it. Never forgotten. `false`: no place.
    pub(crate) fn configure(&mut self, peer: PeerId, address: Multiaddr) -> bool {
        if !self.make_place(peer) {
            return false;
        }
        if let Some(member) = self.by_id.get_mut(&peer) {
            member.configure(address);
        }
        true
    }

    /// A connection stands. `false`: every place is taken by connected and configured peers, and
    /// this one is not kept account of.
    pub(crate) fn connected(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        endpoint: &ConnectedPoint,
        now_ms: u64,
    ) -> bool {
        if !self.make_place(peer) {
            return false;
        }
        self.changed = true;
        self.by_id
            .get_mut(&peer)
            .is_some_and(|member| member.connected(connection, endpoint, now_ms))
    }

    /// A connection is gone. A peer that never spoke a protocol of this network, and of which
    /// nobody else told, is forgotten with its last one.
    pub(crate) fn disconnected(&mut self, peer: PeerId, connection: ConnectionId, now_ms: u64) {
        let Some(member) = self.by_id.get_mut(&peer) else {
            return;
        };
        member.disconnected(connection, now_ms);
        self.changed = true;
        let unknown = member.standing == Standing::Stranger(Teller::Peer(peer));
        if !member.is_connected() && unknown && member.announced.is_none() {
            self.by_id.remove(&peer);
        }
    }

    /// A dial was in vain, at these addresses of those tried. Puts the next one off.
    pub(crate) fn dial_failed<'a>(
        &mut self,
        peer: PeerId,
        addresses: impl Iterator<Item = &'a Multiaddr>,
        now_ms: u64,
    ) {
        if let Some(member) = self.by_id.get_mut(&peer) {
            member.dial_failed(addresses, now_ms);
        }
    }

    /// What a connected peer said by identify. Speaking a protocol of this network proves it.
    pub(crate) fn identified<'a>(
        &mut self,
        peer: PeerId,
        agent: &str,
        protocols: impl Iterator<Item = &'a str>,
        addresses: impl Iterator<Item = &'a Multiaddr>,
        now_ms: u64,
    ) {
        let Some(member) = self.connected_mut(peer) else {
            return;
        };
        member.heard(now_ms);
        member.agent = Some(clean_text(agent)).filter(|agent| !agent.is_empty());
        member.protocols = protocols
            .filter(|name| name.len() <= TEXT_LIMIT)
            .take(PROTOCOLS_LIMIT)
            .map(clean_text)
            .collect();
        if member.protocols.iter().any(|name| name.starts_with(OURS)) {
            member.prove();
        }
        self.learn(peer, addresses.take(ADDRESSES_LIMIT));
    }

    /// A ping came back.
    pub(crate) fn pinged(&mut self, peer: PeerId, round_trip: Duration, now_ms: u64) {
        if let Some(member) = self.connected_mut(peer) {
            member.heard(now_ms);
            member.rtt_ms = Some(millis(round_trip));
        }
    }

    /// What a peer answered over a connection of its own. Nonsense is dropped.
    pub(crate) fn info_received(&mut self, peer: PeerId, mut info: PeerInfo, now_ms: u64) {
        let Some(member) = self.connected_mut(peer) else {
            return;
        };
        member.heard(now_ms);
        member.left_ms = None;
        if info.shards.as_ref().is_some_and(|s| s.len() > RANGES_LIMIT) {
            return;
        }
        info.version = clean_text(&info.version);
        info.owner_address = info.owner_address.map(|owner| clean_text(&owner));
        info.protocols.truncate(PROTOCOLS_LIMIT);
        info.protocols
            .iter_mut()
            .for_each(|name| *name = clean_text(name));
        member.info = Some(info);
        member.prove();
        self.changed = true;
    }

    /// An announcement that [`Announcements`](crate::announce::Announcements) accepted, passed on
    /// by `teller`. `false`: there is no place for the peer, or a newer one of it was heard.
    pub(crate) fn announced(
        &mut self,
        announcement: Announcement,
        teller: PeerId,
        now_ms: u64,
    ) -> bool {
        let peer = announcement.peer;
        let known = self.by_id.contains_key(&peer);
        // Nobody comes by saying goodbye.
        if !known && (announcement.leaving || !self.admit(peer, Teller::Peer(teller), now_ms)) {
            return false;
        }
        let Some(member) = self.by_id.get_mut(&peer) else {
            return false;
        };
        let newest = member.announced.as_ref().map_or(0, |a| a.timestamp_ms);
        if announcement.announced.timestamp_ms < newest {
            return false;
        }
        let worth_writing = now_ms.saturating_sub(member.heard_ms) >= millis(HEARD_WORTH_WRITING);
        self.changed |= worth_writing || announcement.leaving || member.left_ms.is_some();
        member.heard(now_ms);
        let said_ms = announcement.announced.timestamp_ms;
        member.left_ms = announcement.leaving.then_some(said_ms.min(now_ms));
        member.announced = Some(announcement.announced);
        self.learn(peer, announcement.addresses.iter());
        true
    }

    /// Somebody told of a peer: a relay's list, the local network, the hash table. No word of the
    /// peer itself, so it does not become live by it. `false`: there is no place for it.
    pub(crate) fn told<'a>(
        &mut self,
        peer: PeerId,
        addresses: impl Iterator<Item = &'a Multiaddr>,
        teller: Teller,
        now_ms: u64,
    ) -> bool {
        if !self.by_id.contains_key(&peer) && !self.admit(peer, teller, now_ms) {
            return false;
        }
        self.learn(peer, addresses.take(ADDRESSES_LIMIT));
        true
    }

    /// Peers that are not connected and whose pause is over: configured ones first, then proven
    /// ones, then strangers, of each the last heard first. Each is put off by this, so that asking
    /// again at once gives others; [`Self::dial_failed`] makes its pause longer.
    pub(crate) fn dial_candidates(&mut self, now_ms: u64, limit: usize) -> Vec<DialCandidate> {
        let mut due: Vec<&mut Member> = self
            .by_id
            .values_mut()
            .filter(|m| !m.is_connected() && m.address_count() != 0 && m.is_due(now_ms))
            .collect();
        due.sort_by_key(|member| (member.standing.rank(), u64::MAX - member.heard_ms));
        due.truncate(limit);
        due.into_iter()
            .map(|member| {
                member.put_off(now_ms);
                DialCandidate {
                    peer: member.id,
                    addresses: member.addresses(),
                    configured: member.is_configured(),
                }
            })
            .collect()
    }

    /// Where a peer may be reached, best first; empty if it is not known.
    pub(crate) fn addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let member = self.by_id.get(peer);
        member.map(Member::addresses).unwrap_or_default()
    }

    /// The same without circuits through relays.
    pub(crate) fn direct_addresses(&self, peer: &PeerId) -> Vec<Multiaddr> {
        let member = self.by_id.get(peer);
        member.map(Member::direct_addresses).unwrap_or_default()
    }

    /// How a peer is connected.
    pub(crate) fn connection(&self, peer: &PeerId) -> Option<ConnectionKind> {
        self.by_id.get(peer)?.connection()
    }

    /// Whether a peer said that it speaks `protocol`; none if it has not said anything yet.
    pub(crate) fn speaks(&self, peer: &PeerId, protocol: &str) -> Option<bool> {
        let protocols = &self.by_id.get(peer)?.protocols;
        (!protocols.is_empty()).then(|| protocols.iter().any(|name| name == protocol))
    }

    /// Whether a peer was connected and spoke a protocol of this network: only such are entered
    /// into the routing table of the public hash table.
    pub(crate) fn is_proven(&self, peer: &PeerId) -> bool {
        let member = self.by_id.get(peer);
        member.is_some_and(|member| member.proven)
    }

    /// Whether the settings name the peer.
    pub(crate) fn is_configured(&self, peer: &PeerId) -> bool {
        let member = self.by_id.get(peer);
        member.is_some_and(Member::is_configured)
    }

    /// How many there are.
    pub(crate) fn counts(&self, now_ms: u64) -> Counts {
        let mut counts = Counts::default();
        for member in self.by_id.values() {
            counts.known += 1;
            counts.live += usize::from(member.is_live(now_ms, self.timeout_ms));
            match member.connection() {
                Some(ConnectionKind::Direct) => counts.direct += 1,
                Some(ConnectionKind::Relayed) => counts.relayed += 1,
                None => {}
            }
        }
        counts
    }

    /// At most `limit` members, connected ones first, then by peer id. Who was never heard is left
    /// out: somebody's word alone makes nobody a peer.
    pub(crate) fn views(&self, now_ms: u64, limit: usize) -> Vec<PeerView> {
        let heard = |connected: bool| {
            let members = self.by_id.values();
            members.filter(move |m| m.heard_ms != 0 && m.is_connected() == connected)
        };
        heard(true)
            .chain(heard(false))
            .take(limit)
            .map(|member| member.view(now_ms, self.timeout_ms))
            .collect()
    }

    /// What outlives a restart: proven peers, the last heard first.
    pub(crate) fn remembered(&self) -> Vec<RememberedPeer> {
        let mut proven: Vec<&Member> = self.by_id.values().filter(|m| m.proven).collect();
        proven.sort_by_key(|member| u64::MAX - member.heard_ms);
        proven.into_iter().map(Member::remember).collect()
    }

    /// Takes up what outlived a restart. Untrusted like anything read: addresses are judged anew,
    /// times are not in the future. To be told of the settings first.
    pub(crate) fn restore(&mut self, remembered: Vec<RememberedPeer>, now_ms: u64) {
        for peer in remembered {
            if peer.peer == self.own
                || (self.by_id.len() >= self.limit && !self.by_id.contains_key(&peer.peer))
            {
                continue;
            }
            let id = peer.peer;
            let new = || Member::new(id, Standing::Proven);
            self.by_id
                .entry(id)
                .or_insert_with(new)
                .restore(peer, now_ms);
        }
    }

    /// Whether something worth writing changed since this was asked last.
    pub(crate) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    fn connected_mut(&mut self, peer: PeerId) -> Option<&mut Member> {
        self.by_id
            .get_mut(&peer)
            .filter(|member| member.is_connected())
    }

    /// Keeps those of the told addresses that make sense from here.
    fn learn<'a>(&mut self, peer: PeerId, addresses: impl Iterator<Item = &'a Multiaddr>) {
        let wire_id = crate::ids::to_wire(&peer);
        // A circuit through this node leads to it and not to the peer.
        let own = crate::ids::to_wire(&self.own);
        let sensible: Vec<Clean> = addresses
            .filter_map(|address| clean(address, &wire_id))
            .filter(|clean| clean.relay != Some(own))
            .filter(|clean| clean.scope <= self.reach(&peer, clean))
            .collect();
        if let Some(member) = self.by_id.get_mut(&peer) {
            for clean in sensible {
                self.changed |= member.learn(clean) && member.proven;
            }
        }
    }

    /// How near to this node an address of `peer` may be: as near as this node's own addresses and
    /// the connections it has with the peer, or with the relay that the address leads through.
    fn reach(&self, peer: &PeerId, clean: &Clean) -> Scope {
        let own = match (self.on_loopback, self.on_private) {
            (true, _) => Scope::Loopback,
            (false, true) => Scope::Private,
            (false, false) => Scope::Global,
        };
        let relay = clean.relay.as_ref().and_then(crate::ids::from_wire);
        [Some(*peer), relay]
            .into_iter()
            .flatten()
            .filter_map(|peer| self.by_id.get(&peer))
            .map(Member::nearness)
            .fold(own, Scope::max)
    }
}

/// What a peer says, fit for a log, a terminal and a page, and no more than [`TEXT_LIMIT`] characters.
pub(crate) fn clean_text(text: &str) -> String {
    plain(text).take(TEXT_LIMIT).collect()
}
