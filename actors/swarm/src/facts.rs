//! What this node says of itself to peers and relays: fixed facts, and the latest of the store and
//! of the network, which are read and never waited for.

use std::sync::Arc;
use std::time::Instant;

use bytecave_core::{PeerId, PublicKey, ShardSet};
use bytecave_messages::store::StoreSnapshot;
use bytecave_messages::swarm::{Reachability, SwarmSnapshot};
use tokio::sync::watch;

/// Shared by everyone who speaks for the node.
#[derive(Debug)]
pub(crate) struct Facts {
    pub(crate) peer_id: PeerId,
    pub(crate) public_key: PublicKey,
    pub(crate) node_id: String,
    pub(crate) owner_address: Option<String>,
    pub(crate) version: &'static str,
    pub(crate) shards: ShardSet,
    pub(crate) quota_bytes: u64,
    pub(crate) started: Instant,
    store: watch::Sender<Option<Arc<StoreSnapshot>>>,
    network: watch::Sender<Arc<SwarmSnapshot>>,
}

/// What does not change while the node runs.
#[derive(Debug)]
pub(crate) struct FixedFacts {
    pub(crate) public_key: PublicKey,
    pub(crate) node_id: String,
    pub(crate) owner_address: Option<String>,
    pub(crate) version: &'static str,
    pub(crate) shards: ShardSet,
    pub(crate) quota_bytes: u64,
}

impl Facts {
    /// Nothing is known of store and network yet.
    pub(crate) fn new(fixed: FixedFacts) -> Arc<Self> {
        let FixedFacts {
            public_key,
            node_id,
            owner_address,
            version,
            shards,
            quota_bytes,
        } = fixed;
        Arc::new(Self {
            peer_id: public_key.peer_id(),
            public_key,
            node_id,
            owner_address,
            version,
            shards,
            quota_bytes,
            started: Instant::now(),
            store: watch::Sender::new(None),
            network: watch::Sender::new(Arc::new(SwarmSnapshot {
                multiaddrs: Vec::new(),
                connected: 0,
                peers: Vec::new(),
                relays: Vec::new(),
                links: Vec::new(),
                reachability: Reachability::Unknown,
            })),
        })
    }

    /// The latest of the store; none until it has spoken once.
    pub(crate) fn store(&self) -> Option<Arc<StoreSnapshot>> {
        self.store.borrow().clone()
    }

    pub(crate) fn set_store(&self, snapshot: Arc<StoreSnapshot>) {
        self.store.send_replace(Some(snapshot));
    }

    /// The latest of the network.
    pub(crate) fn network(&self) -> Arc<SwarmSnapshot> {
        Arc::clone(&self.network.borrow())
    }

    pub(crate) fn set_network(&self, snapshot: Arc<SwarmSnapshot>) {
        self.network.send_replace(snapshot);
    }

    /// Whether new blobs are taken.
    pub(crate) fn accepting(&self) -> bool {
        use bytecave_messages::store::StoreCondition;
        self.store()
            .is_some_and(|store| store.condition == StoreCondition::Writable)
    }
}
