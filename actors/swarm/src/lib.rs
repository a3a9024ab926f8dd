//! `SwarmActor`: the node's place in the libp2p network. The only crate that knows libp2p.

mod actor;
mod addresses;
mod announce;
mod aside;
mod behaviour;
mod book;
mod candidates;
mod delegate;
mod dial_back;
mod direct_only;
mod event_loop;
mod facts;
mod gate;
mod ids;
mod keep;
mod line;
mod link;
mod members;
mod memory;
mod metrics;
mod options;
mod plain;
mod punch;
mod reachability;
mod relays;
mod remembered;
mod traffic;
mod transport;
mod wire;
#[cfg(test)]
mod wire_tests;

pub use actor::SwarmActor;
pub use metrics::NetworkMetrics;
pub use options::{StartError, SwarmOptions};
