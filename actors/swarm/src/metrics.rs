//! What the network counts, in a registry of its own that `/metrics` writes out with the others.

use std::fmt;
use std::sync::Arc;

use prometheus_client::registry::Registry;

/// The swarm's metrics. Clones share them.
#[derive(Clone)]
pub struct NetworkMetrics {
    registry: Arc<Registry>,
}

impl NetworkMetrics {
    /// All counters at zero.
    pub fn new() -> Self {
        Self {
            registry: Arc::new(Registry::default()),
        }
    }

    /// For whoever writes metrics out.
    pub fn registry(&self) -> Arc<Registry> {
        Arc::clone(&self.registry)
    }
}

impl Default for NetworkMetrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for NetworkMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NetworkMetrics")
    }
}
