//! What the composition root hands to the actor.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytecave_config::{ByteSize, Http, ProxyNet, Replication, StoreAccess};
use bytecave_core::NodeIdentity;
use bytecave_messages::budget::Budget;
use bytecave_messages::lifecycle::DeathWatch;
use prometheus_client::registry::Registry;
use zeroize::Zeroizing;

/// Changes the log filter of the running node; an error says what is wrong with the text.
pub type SetLogLevel = Arc<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// The settings of the HTTP API, in the units in which they are used.
#[derive(Debug, Clone)]
pub struct HttpSettings {
    /// Address to listen on.
    pub host: IpAddr,
    /// Port to listen on; 0 lets the system choose.
    pub port: u16,
    /// Who may store.
    pub store_access: StoreAccess,
    /// Host names accepted in `Host`, lower case, besides localhost and IP literals.
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call, as browsers send them, besides our own.
    pub cors_origins: Vec<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<ProxyNet>,
    /// Largest blob that is accepted, in bytes.
    pub max_blob_bytes: u64,
    /// Time for a request's head to arrive.
    pub header_timeout: Duration,
    /// Time without a byte, in either direction, before a transfer is cut off.
    pub body_idle_timeout: Duration,
    /// Slowest average rate of an upload after its first seconds; 0 for none.
    pub min_upload_bytes_per_second: u64,
    /// Connections open at once, over all workers.
    pub max_connections: usize,
    /// Bytes of upload bodies in memory at once.
    pub max_upload_in_flight_bytes: u64,
    /// Requests per second of one client address on average; 0 for any number.
    pub rate_limit_per_second: u32,
    /// Requests of one client address at once.
    pub rate_limit_burst: u32,
    /// Worker threads; one for each core when `None`.
    pub workers: Option<usize>,
    /// Copies that each blob shall have: the most that a client may wait for.
    pub replication_factor: u32,
    /// How long a client waits for them.
    pub place_timeout: Duration,
}

impl HttpSettings {
    /// The settings of `section`, those of copies that concern clients, and the largest blob that the
    /// node as a whole accepts.
    pub fn new(section: &Http, replication: &Replication, max_blob_size: ByteSize) -> Self {
        Self {
            host: section.host.ip(),
            port: section.port,
            store_access: section.store_access,
            allowed_hosts: section
                .allowed_hosts
                .iter()
                .map(|host| host.as_str().to_owned())
                .collect(),
            cors_origins: section
                .cors_origins
                .iter()
                .map(|origin| origin.as_str().to_owned())
                .collect(),
            trusted_proxies: section.trusted_proxies.clone(),
            max_blob_bytes: max_blob_size.bytes(),
            header_timeout: section.header_timeout.as_duration(),
            body_idle_timeout: section.body_idle_timeout.as_duration(),
            min_upload_bytes_per_second: section.min_upload_bytes_per_second.bytes(),
            max_connections: usize::try_from(section.max_connections).unwrap_or(usize::MAX),
            max_upload_in_flight_bytes: section.max_upload_in_flight.bytes(),
            rate_limit_per_second: section.rate_limit_per_second,
            rate_limit_burst: section.rate_limit_burst,
            workers: section.workers.map(usize::from),
            replication_factor: replication.factor,
            place_timeout: replication.place_timeout.as_duration(),
        }
    }

    /// Whether only this machine's own programs can come: the node listens on loopback, and neither
    /// a proxy nor a host name says that others reach it all the same. Decided from the settings
    /// alone, never from a client's address, which a proxy would make look local.
    pub fn counts_as_loopback(&self) -> bool {
        self.host.is_loopback() && self.trusted_proxies.is_empty() && self.allowed_hosts.is_empty()
    }
}

/// Everything the actor needs to know of the node it speaks for.
pub struct HttpOptions {
    /// The settings.
    pub settings: HttpSettings,
    /// Name of the node in `/info` and in receipts.
    pub node_id: String,
    /// The node's key: its peer id follows from it, and it signs receipts.
    pub identity: Arc<NodeIdentity>,
    /// Ethereum address of its owner, `0x` and 40 hex digits.
    pub owner_address: Option<String>,
    /// Version of the program.
    pub version: &'static str,
    /// The token that deletion, pins and administration ask for.
    pub api_token: Zeroizing<String>,
    /// The actor's own permits: requests in flight.
    pub budget: Budget,
    /// The permits of all actors, for `/actors` and `/metrics`.
    pub budgets: Vec<Budget>,
    /// Metrics that other actors keep, written out with our own.
    pub registries: Vec<Arc<Registry>>,
    /// Changes the log filter.
    pub set_log_level: SetLogLevel,
    /// Time for requests in flight to finish when the node stops.
    pub stop_timeout: Duration,
    /// Reports the actor's death.
    pub watch: DeathWatch,
}

impl fmt::Debug for HttpOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpOptions")
            .field("settings", &self.settings)
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}
