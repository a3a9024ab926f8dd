//! What the composition root hands to the actor.

use std::path::PathBuf;

use bytecave_config::{P2p, Replication};
use bytecave_core::PeerId;
use bytecave_messages::lifecycle::DeathWatch;
use bytecave_messages::ports::{ReplicatorEvents, StorePort, SwarmPort};

/// Everything the actor needs to know of the node it decides for.
#[derive(Debug)]
pub struct ReplicatorOptions {
    /// This node.
    pub me: PeerId,
    /// Who may store and replicate.
    pub p2p: P2p,
    /// How many copies, and how they are looked after.
    pub replication: Replication,
    /// Whether a registry contract is configured.
    pub has_registry: bool,
    /// Where what is to survive a restart is written down.
    pub state_file: PathBuf,
    /// The way to the blobs.
    pub store: StorePort,
    /// The way to the network.
    pub swarm: SwarmPort,
    /// Where the actor's events go.
    pub events: ReplicatorEvents,
    /// Reports the actor's death.
    pub watch: DeathWatch,
}
