//! `SwarmActor`: the node's place in the libp2p network. No networking in this version: it says so.

mod actor;

pub use actor::SwarmActor;
