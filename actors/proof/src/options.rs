//! What the composition root hands to the actor.

use std::path::PathBuf;
use std::sync::Arc;

use bytecave_config::Proof;
use bytecave_core::NodeIdentity;
use bytecave_messages::budget::Budget;
use bytecave_messages::lifecycle::DeathWatch;
use bytecave_messages::ports::{ProofEvents, StorePort, SwarmPort};

/// Everything the actor needs to know of the node that it proves for.
#[derive(Debug)]
pub struct ProofOptions {
    /// The node's key, which signs proofs.
    pub identity: Arc<NodeIdentity>,
    /// What the node calls itself.
    pub node_id: String,
    /// How much is audited, answered and scrubbed.
    pub settings: Proof,
    /// Whether there is a network to audit.
    pub networked: bool,
    /// Directory for what is to survive a restart; it exists or can be made.
    pub directory: PathBuf,
    /// The actor's own budget, which its self-made work takes permits of as well.
    pub budget: Budget,
    /// The way to the blobs.
    pub store: StorePort,
    /// The way to the network.
    pub swarm: SwarmPort,
    /// Where the actor's events go.
    pub events: ProofEvents,
    /// Reports the actor's death.
    pub watch: DeathWatch,
}
