//! What the composition root hands to the actor, and why it may not start.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytecave_config::P2p;
use bytecave_core::{NodeIdentity, ShardSet};
use bytecave_messages::budget::Budget;
use bytecave_messages::lifecycle::DeathWatch;
use bytecave_messages::ports::SwarmEvents;
use thiserror::Error;

use crate::metrics::NetworkMetrics;

/// Everything the actor needs to know of the node it speaks for.
pub struct SwarmOptions {
    /// The settings.
    pub settings: P2p,
    /// The node's key: its peer id follows from it.
    pub identity: Arc<NodeIdentity>,
    /// What the node calls itself.
    pub node_id: String,
    /// Ethereum address of its owner, `0x` and 40 hex digits.
    pub owner_address: Option<String>,
    /// Version of the program.
    pub version: &'static str,
    /// The shards it keeps.
    pub shards: ShardSet,
    /// Its storage limit in bytes.
    pub quota_bytes: u64,
    /// Directory of what it remembers of the network; made when it is missing.
    pub directory: PathBuf,
    /// The actor's permits.
    pub budget: Budget,
    /// Where its events go.
    pub events: SwarmEvents,
    /// What it counts.
    pub metrics: NetworkMetrics,
    /// Reports the actor's death.
    pub watch: DeathWatch,
}

impl fmt::Debug for SwarmOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SwarmOptions")
            .field("settings", &self.settings)
            .field("node_id", &self.node_id)
            .finish_non_exhaustive()
    }
}

/// Why the network cannot start.
#[derive(Debug, Error)]
pub enum StartError {
    /// A setting holds an address that libp2p does not understand.
    #[error("{setting}: \"{address}\" is not a multiaddress this node can use: {cause}")]
    Address {
        /// The setting.
        setting: &'static str,
        /// Its value at fault.
        address: String,
        /// What is wrong with it.
        cause: String,
    },
    /// An address cannot be listened on.
    #[error(
        "cannot listen on {address}: {cause}; free the port or change P2P_LISTEN_ADDRESSES (p2p.listen_addresses)"
    )]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        cause: String,
    },
    /// The certificate or its key cannot be used.
    #[error("{setting}: {cause}")]
    Tls {
        /// The setting.
        setting: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// A part of the network stack failed.
    #[error("cannot start {part}: {cause}")]
    Part {
        /// Which.
        part: &'static str,
        /// What it said.
        cause: String,
    },
}
