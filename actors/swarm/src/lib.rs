//! `SwarmActor`: the node's place in the libp2p network. The only crate that knows libp2p.

mod actor;
mod announce;
mod facts;
mod ids;
mod members;
mod memory;
mod metrics;
mod options;
mod wire;
mod remembered;
mod traffic;

pub use actor::SwarmActor;
pub use metrics::NetworkMetrics;
pub use options::{StartError, SwarmOptions};
