//! What the composition root hands to the actor.

use actix::Recipient;
use bytecave_config::P2p;
use bytecave_messages::lifecycle::{DeathWatch, PartChanged};
use bytecave_messages::ports::{StorePort, SwarmPort};

/// Everything the actor needs to know of the node it decides for.
#[derive(Debug)]
pub struct ReplicatorOptions {
    /// Who may store and replicate.
    pub settings: P2p,
    /// Whether a registry contract is configured.
    pub has_registry: bool,
    /// The way to the blobs.
    pub store: StorePort,
    /// The way to the network.
    pub swarm: SwarmPort,
    /// Hear of the actor's condition.
    pub listeners: Vec<Recipient<PartChanged>>,
    /// Reports the actor's death.
    pub watch: DeathWatch,
}
