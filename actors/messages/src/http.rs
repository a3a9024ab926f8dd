//! What may be asked of `HttpActor`, the node's face to its clients.
//!
//! It hears [`StoreChanged`](crate::store::StoreChanged), [`SwarmChanged`](crate::swarm::SwarmChanged)
//! and [`PartChanged`](crate::lifecycle::PartChanged), and answers status routes from the latest of
//! each: no request for status asks another actor.

use actix::Message;

use crate::ports::{ProofPort, ReplicatorPort, StorePort};

/// Command: the node is up, the routes may be served. Until then all but `/live` answer 503.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct OpenRoutes {
    /// The way to the blobs.
    pub store: StorePort,
    /// The way to blobs that peers have.
    pub replicator: ReplicatorPort,
    /// The way to proofs and audits.
    pub proof: ProofPort,
}

/// Command: the node is going down. `/ready` turns 503 at once; requests are still served.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub struct CloseRoutes;
