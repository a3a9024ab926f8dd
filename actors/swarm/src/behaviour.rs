//! Everything the node does on its connections, put together from parts; those that turn a
//! connection away come first, so that the others never hear of it.

use std::fs;
use std::time::Duration;

use bytecave_config::{P2p, PeerName};
use bytecave_core::ShardSet;
use libp2p::allow_block_list::{AllowedPeers, BlockedPeers};
use libp2p::connection_limits::ConnectionLimits;
use libp2p::gossipsub::{self, MessageAuthenticity, MessageId, ValidationMode};
use libp2p::identity::Keypair;
use libp2p::kad::store::{MemoryStore, MemoryStoreConfig};
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol, allow_block_list, autonat, connection_limits, dcutr,
    identify, kad, mdns, memory_connection_limits, ping, relay, upnp,
};

use crate::addresses::ip_of;
use crate::announce::{ANNOUNCE_TOPIC, BROADCAST_TOPIC};
use crate::book::{Book, SharedMembers};
use crate::candidates::Candidates;
use crate::dial_back::{DIAL_LIMIT, DialBack};
use crate::direct_only::DirectOnly;
use crate::gate::Gate;
use crate::ids;
use crate::keep::Keep;
use crate::options::StartError;
use crate::punch::Punch;
use crate::wire::streams::Streams;

/// Which family of protocols this is; the existing network says the same.
const PROTOCOL_VERSION: &str = "ipfs/0.1.0";
/// The existing network's routing protocol. Its name is the public one, so that a peer which speaks
/// it need not be one of ours.
const KAD_PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");
/// Longest gossip frame; an announcement has about 2 KiB.
const GOSSIP_MAX_BYTES: usize = 64 << 10;
/// Messages in one gossip frame, and frames waiting for one peer.
const GOSSIP_MESSAGES_MAX: usize = 64;
const GOSSIP_QUEUE_MAX: usize = 256;
/// Time for which a message is remembered, so that its copies are not passed on.
const GOSSIP_REMEMBERED: Duration = Duration::from_mins(2);
/// Equal parts of the shard space that the routing table has keys for.
const SEGMENTS: u64 = 16;
/// Peers kept as providers of one segment.
const PROVIDERS_MAX: usize = 64;

/// The whole.
#[derive(NetworkBehaviour)]
pub(crate) struct Behaviour {
    gate: Gate,
    limits: connection_limits::Behaviour,
    memory: memory_connection_limits::Behaviour,
    blocked: allow_block_list::Behaviour<BlockedPeers>,
    allowed: Toggle<allow_block_list::Behaviour<AllowedPeers>>,
    pub(crate) keep: Keep,
    book: Book,
    ping: ping::Behaviour,
    identify: identify::Behaviour,
    pub(crate) kad: Toggle<kad::Behaviour<MemoryStore>>,
    pub(crate) gossip: Gossip,
    mdns: Toggle<mdns::tokio::Behaviour>,
    relay: Toggle<relay::client::Behaviour>,
    pub(crate) punch: Toggle<Punch>,
    nat: DirectOnly<Candidates>,
    nat_server: DirectOnly<DialBack>,
    upnp: Toggle<upnp::tokio::Behaviour>,
    pub(crate) relay_server: Toggle<relay::Behaviour>,
    streams: Streams,
}

/// Gossip of the two topics, and of no others.
pub(crate) type Gossip = gossipsub::Behaviour<gossipsub::IdentityTransform, TopicFilter>;
type TopicFilter = gossipsub::MaxCountSubscriptionFilter<gossipsub::WhitelistSubscriptionFilter>;

/// What the parts come from.
pub(crate) struct Ingredients<'a> {
    pub(crate) settings: &'a P2p,
    pub(crate) keypair: &'a Keypair,
    pub(crate) version: &'static str,
    /// Peers named in the settings: relays and those to join through.
    pub(crate) configured: &'a [Multiaddr],
    pub(crate) relay: Option<relay::client::Behaviour>,
    pub(crate) members: SharedMembers,
    pub(crate) streams: Streams,
}

/// Puts the parts together.
pub(crate) fn build(from: Ingredients<'_>) -> Result<Behaviour, StartError> {
    let Ingredients {
        settings,
        keypair,
        version,
        configured,
        relay,
        members,
        streams,
    } = from;
    let local = keypair.public().to_peer_id();
    let punch = settings.enable_hole_punching && relay.is_some();
    Ok(Behaviour {
        gate: Gate::new(configured.iter().filter_map(ip_of).collect()),
        limits: connection_limits::Behaviour::new(limits(settings)),
        memory: memory(settings),
        blocked: blocked(&settings.block_peers),
        allowed: allowed(&settings.allow_peers).into(),
        keep: Keep::default(),
        book: Book(members),
        ping: ping::Behaviour::default(),
        identify: identify(settings, keypair, version),
        kad: settings.enable_dht.then(|| kad(local)).into(),
        gossip: gossip(keypair)?,
        mdns: mdns(settings, local)?.into(),
        relay: relay.into(),
        punch: punch
            .then(|| Punch::new(dcutr::Behaviour::new(local)))
            .into(),
        nat: DirectOnly::new(Candidates::new(autonat::v2::client::Behaviour::default())),
        nat_server: DirectOnly::new(DialBack::new(
            autonat::v2::server::Behaviour::default(),
            DIAL_LIMIT,
        )),
        upnp: settings
            .enable_upnp
            .then(upnp::tokio::Behaviour::default)
            .into(),
        relay_server: relay_server(settings, local).into(),
        streams,
    })
}

fn limits(settings: &P2p) -> ConnectionLimits {
    let total = settings.max_connections;
    // Strangers that connect to us never take all places: a quarter is left for whom we dial.
    let incoming = total - total / 4;
    ConnectionLimits::default()
        .with_max_pending_incoming(Some(settings.max_pending_connections))
        .with_max_pending_outgoing(Some(settings.max_pending_connections))
        .with_max_established_incoming(Some(incoming))
        .with_max_established(Some(total))
        .with_max_established_per_peer(Some(settings.max_connections_per_peer))
}

fn memory(settings: &P2p) -> memory_connection_limits::Behaviour {
    use memory_connection_limits::Behaviour as Memory;
    let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    if let Some(max) = settings.max_memory {
        return Memory::with_max_bytes(bytes(max.bytes()));
    }
    let half = Memory::with_max_percentage(0.5);
    // In a container the machine's memory is not what counts.
    let granted = fs::read_to_string("/sys/fs/cgroup/memory.max")
        .ok()
        .and_then(|text| text.trim().parse::<u64>().ok())
        .map(|granted| bytes(granted / 2));
    match granted {
        Some(granted) if granted < half.max_allowed_bytes() => Memory::with_max_bytes(granted),
        _ => half,
    }
}

fn named(names: &[PeerName]) -> impl Iterator<Item = PeerId> + '_ {
    names
        .iter()
        .filter_map(|name| Some(ids::to_wire(&name.peer_id()?)))
}

fn blocked(names: &[PeerName]) -> allow_block_list::Behaviour<BlockedPeers> {
    let mut list = allow_block_list::Behaviour::<BlockedPeers>::default();
    for peer in named(names) {
        list.block_peer(peer);
    }
    list
}

fn allowed(names: &[PeerName]) -> Option<allow_block_list::Behaviour<AllowedPeers>> {
    let mut list = allow_block_list::Behaviour::<AllowedPeers>::default();
    for peer in named(names) {
        list.allow_peer(peer);
    }
    (!names.is_empty()).then_some(list)
}

fn identify(settings: &P2p, keypair: &Keypair, version: &'static str) -> identify::Behaviour {
    // Who states the addresses of the node means these and no others. Without them the listening
    // ones are told too: in a private network they are all there is, and others sort out what they
    // cannot reach.
    let hide = !settings.external_addresses.is_empty();
    identify::Behaviour::new(
        identify::Config::new(PROTOCOL_VERSION.to_owned(), keypair.public())
            .with_agent_version(format!("bytecave/{version}"))
            .with_push_listen_addr_updates(true)
            .with_hide_listen_addrs(hide),
    )
}

fn kad(local: PeerId) -> kad::Behaviour<MemoryStore> {
    let mut config = kad::Config::new(KAD_PROTOCOL);
    config
        .set_kbucket_inserts(kad::BucketInserts::Manual)
        // Strangers store nothing here but that they provide one of our segments.
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        // Done by the event loop: here it complains while nobody is known.
        .set_periodic_bootstrap_interval(None)
        .set_query_timeout(Duration::from_secs(30));
    let store = MemoryStoreConfig {
        max_records: 0,
        max_value_bytes: 0,
        max_providers_per_key: PROVIDERS_MAX,
        max_provided_keys: usize::try_from(SEGMENTS).unwrap_or(usize::MAX),
    };
    let mut kad =
        kad::Behaviour::with_config(local, MemoryStore::with_config(local, store), config);
    kad.set_mode(Some(kad::Mode::Client));
    kad
}

/// The routing table's keys of the segments that `shards` touches.
pub(crate) fn segment_keys(shards: &ShardSet) -> Vec<kad::RecordKey> {
    let count = u64::from(shards.count().get());
    let segments = SEGMENTS.min(count);
    let touched: std::collections::BTreeSet<u64> = shards
        .iter()
        .map(|shard| u64::from(shard.get()) * segments / count)
        .collect();
    touched
        .into_iter()
        .map(|segment| segment_key(count, segment))
        .collect()
}

/// Whether a key is that of a segment in a network of so many shards.
pub(crate) fn is_segment_key(count: u64, key: &kad::RecordKey) -> bool {
    (0..SEGMENTS.min(count)).any(|segment| segment_key(count, segment) == *key)
}

fn segment_key(count: u64, segment: u64) -> kad::RecordKey {
    kad::RecordKey::new(&format!("/bytecave/shards/{count}/segment/{segment}"))
}

fn gossip(keypair: &Keypair) -> Result<Gossip, StartError> {
    let refused = |cause: String| StartError::Part {
        part: "gossip",
        cause,
    };
    let config = gossipsub::ConfigBuilder::default()
        .validation_mode(ValidationMode::Strict)
        // What is nonsense is not passed on: the event loop says of each message what it is.
        .validate_messages()
        .support_floodsub()
        .flood_publish(true)
        .max_transmit_size(GOSSIP_MAX_BYTES)
        .max_publish_messages(GOSSIP_MESSAGES_MAX)
        .connection_handler_queue_len(GOSSIP_QUEUE_MAX)
        .duplicate_cache_time(GOSSIP_REMEMBERED)
        .message_id_fn(message_id)
        .build()
        .map_err(|e| refused(e.to_string()))?;
    let topics = [ANNOUNCE_TOPIC, BROADCAST_TOPIC].map(gossipsub::IdentTopic::new);
    let filter = gossipsub::MaxCountSubscriptionFilter {
        filter: gossipsub::WhitelistSubscriptionFilter(
            topics.iter().map(gossipsub::IdentTopic::hash).collect(),
        ),
        max_subscribed_topics: topics.len(),
        // Peers of the existing network may name others beside; those are ignored.
        max_subscriptions_per_request: 32,
    };
    let mut gossip = Gossip::new_with_subscription_filter(
        MessageAuthenticity::Signed(keypair.clone()),
        config,
        filter,
    )
    .map_err(|e| refused(e.to_owned()))?;
    for topic in &topics {
        gossip
            .subscribe(topic)
            .map_err(|e| refused(e.to_string()))?;
    }
    Ok(gossip)
}

/// Sender and sequence number, as the other implementations have it: ids travel between peers.
fn message_id(message: &gossipsub::Message) -> MessageId {
    let mut id = message.source.map(PeerId::to_bytes).unwrap_or_default();
    id.extend(message.sequence_number.unwrap_or_default().to_be_bytes());
    MessageId::from(id)
}

fn mdns(settings: &P2p, local: PeerId) -> Result<Option<mdns::tokio::Behaviour>, StartError> {
    if !settings.enable_mdns {
        return Ok(None);
    }
    mdns::tokio::Behaviour::new(mdns::Config::default(), local)
        .map(Some)
        .map_err(|e| StartError::Part {
            part: "mDNS (p2p.enable_mdns)",
            cause: e.to_string(),
        })
}

fn relay_server(settings: &P2p, local: PeerId) -> Option<relay::Behaviour> {
    let count = |count: u32| usize::try_from(count).unwrap_or(usize::MAX);
    let config = relay::Config {
        max_reservations: count(settings.relay_server_reservations),
        max_reservations_per_peer: 1,
        max_circuits: count(settings.relay_server_circuits),
        max_circuit_duration: settings.relay_server_circuit_time.as_duration(),
        max_circuit_bytes: settings.relay_server_circuit_bytes.bytes(),
        ..relay::Config::default()
    };
    settings
        .relay_server
        .then(|| relay::Behaviour::new(local, config))
}

#[cfg(test)]
mod tests {
    use bytecave_core::{ShardCount, ShardRange};

    use super::*;

    #[test]
    fn segments_cover_the_shards_and_nothing_else() {
        let count = ShardCount::new(1024).unwrap();
        assert_eq!(segment_keys(&ShardSet::all(count)).len(), 16);
        let part = |start, end| {
            let set = ShardSet::from_ranges(count, &[ShardRange { start, end }]).unwrap();
            segment_keys(&set)
        };
        assert_eq!(part(0, 63), [segment_key(1024, 0)]);
        assert_eq!(part(63, 64), [segment_key(1024, 0), segment_key(1024, 1)]);
        assert_eq!(part(1023, 1023), [segment_key(1024, 15)]);
        assert!(is_segment_key(1024, &segment_key(1024, 15)));
        assert!(!is_segment_key(1024, &segment_key(1024, 16)));
        assert!(!is_segment_key(1024, &segment_key(16, 1)));
    }

    #[test]
    fn a_network_of_few_shards_has_a_segment_each() {
        let count = ShardCount::new(4).unwrap();
        assert_eq!(segment_keys(&ShardSet::all(count)).len(), 4);
    }
}
