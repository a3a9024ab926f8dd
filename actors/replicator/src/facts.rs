//! What the store last said of itself, in a form that can be asked.

use std::sync::{Arc, PoisonError, RwLock};

use bytecave_core::{BlobCid, ShardCount, ShardId, ShardSet};
use bytecave_messages::store::{StoreCondition, StoreSnapshot};

/// The store at one moment. Clones share the latest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts(Arc<RwLock<Option<Arc<StoreFacts>>>>);

/// What is asked of a snapshot.
#[derive(Debug)]
pub(crate) struct StoreFacts {
    shard_count: ShardCount,
    /// `None` if the snapshot contradicts itself.
    owned: Option<ShardSet>,
    /// Blobs in all shards.
    pub(crate) blobs: u64,
    /// Whether quota or disk are used up.
    pub(crate) full: bool,
}

impl Facts {
    /// The store said how it is.
    pub(crate) fn set(&self, snapshot: &StoreSnapshot) {
        let facts = StoreFacts {
            shard_count: snapshot.shard_count,
            owned: ShardSet::from_ranges(snapshot.shard_count, &snapshot.owned).ok(),
            blobs: snapshot.blobs,
            full: snapshot.condition == StoreCondition::Full,
        };
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(facts));
    }

    /// The latest; none in the first moments of a node.
    pub(crate) fn get(&self) -> Option<Arc<StoreFacts>> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl StoreFacts {
    /// The shard of a blob.
    pub(crate) fn shard(&self, cid: &BlobCid) -> ShardId {
        self.shard_count.shard_of(&cid.digest())
    }

    /// Shards in the network.
    pub(crate) fn shard_count(&self) -> ShardCount {
        self.shard_count
    }

    /// The shard of a blob that is known to be other nodes'.
    pub(crate) fn foreign_shard(&self, cid: &BlobCid) -> Option<ShardId> {
        let shard = self.shard(cid);
        let owned = self.owned.as_ref()?;
        (!owned.contains(shard)).then_some(shard)
    }
}
