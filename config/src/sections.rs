//! The typed sections. Each actor takes only its own.
//!
//! What a setting does, its unit, its default and what breaks when it is too low or too high stands in
//! `default.toml` and only there; a test keeps the two in step in both directions. Bounds stand here.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytecave_core::{ShardCount, ShardError, ShardRange, ShardSet};
use serde::Deserialize;

use crate::chain::{EthAddress, RpcUrl};
use crate::network::{
    HostIp, HostName, LinkUrl, ListenAddress, PeerAddress, PeerName, ProxyNet, WebOrigin,
};
use crate::setting::Field;
use crate::units::{ByteSize, Ratio, TimeSpan};
use crate::words::{
    AppId, Durability, LogFile, LogFilter, LogFormat, LogRotation, NodeName, P2pStoreAccess,
    ReplicateAccess, SecretFile, StoreAccess,
};

/// Declares a section: the struct for serde and the list of its fields for the loader, from one text.
macro_rules! section {
    (
        $(#[$meta:meta])*
        $name:ident ($table:literal) {
            $($field:ident : $type:ty $(=> $low:literal to $high:literal)?,)*
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, PartialEq, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            $(
                #[doc = concat!("`", $table, ".", stringify!($field), "`, as `default.toml` describes it.")]
                pub $field: $type,
            )*
        }

        impl $name {
            pub(crate) const FIELDS: &'static [Field] = &[
                $(Field::new::<$type>(stringify!($field), section!(@range $($low $high)?)),)*
            ];
        }
    };
    (@range) => { None };
    (@range $low:literal $high:literal) => { Some(($low, $high)) };
}

section! {
    /// The node as a whole.
    Node("node") {
        id: Option<NodeName>,
        data_dir: PathBuf,
        shutdown_timeout: TimeSpan => "100ms" to "10m",
    }
}

section! {
    /// The HTTP API.
    Http("http") {
        host: HostIp,
        port: u16 => "0" to "65535",
        store_access: StoreAccess,
        allowed_hosts: Vec<HostName>,
        cors_origins: Vec<WebOrigin>,
        trusted_proxies: Vec<ProxyNet>,
        max_blob_size: Option<ByteSize> => "1B" to "1TiB",
        header_timeout: TimeSpan => "100ms" to "10m",
        body_idle_timeout: TimeSpan => "100ms" to "1h",
        min_upload_bytes_per_second: ByteSize => "0B" to "1GiB",
        max_connections: u32 => "1" to "65535",
        max_upload_in_flight: ByteSize => "4MiB" to "1TiB",
        rate_limit_per_second: u32 => "0" to "1000000",
        rate_limit_burst: u32 => "1" to "1000000",
        workers: Option<u16> => "1" to "1024",
        api_token_file: Option<SecretFile>,
    }
}

impl Http {
    /// Time from the first byte of an upload during which `min_upload_bytes_per_second` is not asked.
    pub const UPLOAD_RATE_GRACE: Duration = Duration::from_secs(10);

    /// What one upload takes at most of `max_upload_in_flight`.
    pub const UPLOAD_SHARE_MAX: ByteSize = ByteSize::mib(4);

    /// Whether the node counts as reachable from its own machine only: it listens on loopback, and neither a
    /// proxy nor a host name says that others come to it all the same.
    pub fn counts_as_loopback(&self) -> bool {
        self.host.ip().is_loopback()
            && self.trusted_proxies.is_empty()
            && self.allowed_hosts.is_empty()
    }

    /// Whether storing needs the token.
    pub fn store_needs_token(&self) -> bool {
        match self.store_access {
            StoreAccess::Auto => !self.counts_as_loopback(),
            StoreAccess::Open => false,
            StoreAccess::Token => true,
        }
    }
}

section! {
    /// The storage engine.
    Store("store") {
        // The upper bound keeps the number of bytes within 63 bits.
        max_storage_mb: u64 => "1" to "8796093022207",
        shard_count: ShardCount,
        node_shards: Option<Vec<ShardRange>>,
        durability: Durability,
        batch_sync_interval: TimeSpan => "1ms" to "10s",
        disk_reserve: Option<ByteSize> => "0B" to "1TiB",
        unlock_key_file: Option<SecretFile>,
        passphrase_file: Option<SecretFile>,
        tombstone_keep: TimeSpan => "1s" to "36500d",
        gc_dead_ratio: Ratio => "0.05" to "0.95",
        block_cache: ByteSize => "1MiB" to "1TiB",
        write_buffer_total: ByteSize => "16MiB" to "1TiB",
        max_total_wal_size: ByteSize => "1MiB" to "1TiB",
        max_background_jobs: u16 => "2" to "512",
    }
}

impl Store {
    /// The storage limit.
    pub const fn quota(&self) -> ByteSize {
        ByteSize::mib(self.max_storage_mb)
    }

    /// The shards this node keeps.
    pub fn shard_set(&self) -> Result<ShardSet, ShardError> {
        match &self.node_shards {
            None => Ok(ShardSet::all(self.shard_count)),
            Some(ranges) => ShardSet::from_ranges(self.shard_count, ranges),
        }
    }
}

section! {
    /// The network.
    P2p("p2p") {
        enabled: bool,
        listen_addresses: Vec<ListenAddress>,
        relay_peers: Vec<PeerAddress>,
        bootstrap_peers: Vec<PeerAddress>,
        enable_relay: bool,
        enable_dht: bool,
        enable_mdns: bool,
        enable_quic: bool,
        enable_hole_punching: bool,
        enable_upnp: bool,
        external_addresses: Vec<ListenAddress>,
        tls_certificate_file: Option<PathBuf>,
        tls_key_file: Option<SecretFile>,
        store_access: P2pStoreAccess,
        allowed_apps: Vec<AppId>,
        replicate_access: Option<ReplicateAccess>,
        replicate_allowlist: Vec<PeerName>,
        allow_peers: Vec<PeerName>,
        block_peers: Vec<PeerName>,
        storage_link_port: u16 => "0" to "65535",
        storage_links: Vec<LinkUrl>,
        announce_interval: TimeSpan => "1s" to "1h",
        member_timeout: TimeSpan => "1s" to "1d",
        max_members: u32 => "16" to "100000",
        dial_timeout: TimeSpan => "1s" to "5m",
        request_timeout: TimeSpan => "1s" to "10m",
        idle_connection_timeout: TimeSpan => "1s" to "1d",
        max_connections: u32 => "8" to "65535",
        max_connections_per_peer: u32 => "1" to "64",
        max_pending_connections: u32 => "8" to "65535",
        max_memory: Option<ByteSize> => "64MiB" to "1TiB",
        max_streams_per_peer: u32 => "4" to "4096",
        max_body_memory: ByteSize => "80MiB" to "1TiB",
        requests_per_second_per_peer: u32 => "0" to "1000000",
        request_burst_per_peer: u32 => "1" to "1000000",
        relay_server: bool,
        relay_server_reservations: u32 => "1" to "65535",
        relay_server_circuits: u32 => "1" to "65535",
        relay_server_circuit_time: TimeSpan => "1s" to "1d",
        relay_server_circuit_bytes: ByteSize => "4KiB" to "1TiB",
    }
}

section! {
    /// Copies on other nodes.
    Replication("replication") {
        factor: u32 => "1" to "16",
        probation: bool,
        place_timeout: TimeSpan => "100ms" to "10m",
        reconcile_interval: TimeSpan => "1s" to "1d",
        keyed_interval: TimeSpan => "1m" to "365d",
        holder_timeout: TimeSpan => "1s" to "30d",
        goodbye_timeout: TimeSpan => "1s" to "30d",
        repairs_at_once: u32 => "1" to "64",
        repair_bytes_per_second: ByteSize => "64KiB" to "1TiB",
        stranger_quota: Ratio => "0.0" to "1.0",
        hold: TimeSpan => "1s" to "365d",
    }
}

section! {
    /// Proofs of storage, audits and the scrub.
    Proof("proof") {
        audits_per_day: u32 => "0" to "1000000",
        audit_timeout: TimeSpan => "100ms" to "10m",
        contained_interval: TimeSpan => "1s" to "1d",
        audit_history: u32 => "100" to "1000000",
        challenges_per_second: u32 => "1" to "1000000",
        challenges_per_second_per_peer: u32 => "1" to "1000000",
        scrub_period: TimeSpan => "0s" to "3650d",
        scrub_bytes_per_second: ByteSize => "64KiB" to "1TiB",
    }
}

section! {
    /// The chain.
    Registry("registry") {
        owner_address: Option<EthAddress>,
        contract_address: Option<EthAddress>,
        rpc_url: Vec<RpcUrl>,
        owner_private_key_file: Option<SecretFile>,
    }
}

section! {
    /// The limit of one actor.
    Actor("actors.<name>") {
        mailbox: u32 => "1" to "65536",
    }
}

section! {
    /// The log.
    Log("log") {
        level: LogFilter,
        format: LogFormat,
        file: LogFile,
        rotation: LogRotation,
        max_files: u16 => "1" to "1000",
    }
}

/// The limits of the actors.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actors {
    /// `StoreActor`.
    pub store: Actor,
    /// `SwarmActor`.
    pub swarm: Actor,
    /// `ReplicatorActor`.
    pub replicator: Actor,
    /// `ProofActor`.
    pub proof: Actor,
    /// `RegistryActor`.
    pub registry: Actor,
    /// `HttpActor`.
    pub http: Actor,
}

/// Every setting of a node.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The node as a whole.
    pub node: Node,
    /// The HTTP API.
    pub http: Http,
    /// The storage engine.
    pub store: Store,
    /// The network.
    pub p2p: P2p,
    /// Copies on other nodes.
    pub replication: Replication,
    /// Proofs of storage, audits and the scrub.
    pub proof: Proof,
    /// The chain.
    pub registry: Registry,
    /// The limits of the actors.
    pub actors: Actors,
    /// The log.
    pub log: Log,
}

/// The tables of `default.toml` and their fields.
pub(crate) const SECTIONS: &[(&str, &[Field])] = &[
    ("node", Node::FIELDS),
    ("http", Http::FIELDS),
    ("store", Store::FIELDS),
    ("p2p", P2p::FIELDS),
    ("replication", Replication::FIELDS),
    ("proof", Proof::FIELDS),
    ("registry", Registry::FIELDS),
    ("actors.store", Actor::FIELDS),
    ("actors.swarm", Actor::FIELDS),
    ("actors.replicator", Actor::FIELDS),
    ("actors.proof", Actor::FIELDS),
    ("actors.registry", Actor::FIELDS),
    ("actors.http", Actor::FIELDS),
    ("log", Log::FIELDS),
];

impl Config {
    /// Largest blob when `http.max_blob_size` is unset and the storage limit is higher.
    pub const MAX_BLOB_SIZE: ByteSize = ByteSize::gib(16);

    /// The largest blob that is accepted.
    pub fn max_blob_size(&self) -> ByteSize {
        self.http
            .max_blob_size
            .unwrap_or_else(|| Self::MAX_BLOB_SIZE.min(self.store.quota()))
    }

    /// Directory of the keys.
    pub fn keys_dir(&self) -> PathBuf {
        self.node.data_dir.join("keys")
    }

    /// File of the API token.
    pub fn api_token_file(&self) -> PathBuf {
        self.named_or_key(self.http.api_token_file.as_ref(), "api-token")
    }

    /// File of the key that unlocks the store.
    pub fn unlock_key_file(&self) -> PathBuf {
        self.named_or_key(self.store.unlock_key_file.as_ref(), "unlock.key")
    }

    fn named_or_key(&self, named: Option<&SecretFile>, name: &str) -> PathBuf {
        named
            .map(SecretFile::path)
            .map_or_else(|| self.keys_dir().join(name), Path::to_path_buf)
    }
}
