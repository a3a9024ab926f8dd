//! What the store last said of itself, in a form that can be asked.

use std::sync::{Arc, PoisonError, RwLock};

use bytecave_core::{BlobCid, ShardCount, ShardId, ShardSet};
use bytecave_messages::store::{Durability, ShardCounters, StoreCondition, StoreSnapshot};

/// The store at one moment. Clones share the latest.
#[derive(Debug, Clone, Default)]
pub(crate) struct Facts(Arc<RwLock<Option<Arc<StoreFacts>>>>);

/// What is asked of a snapshot.
#[derive(Debug)]
pub(crate) struct StoreFacts {
    shard_count: ShardCount,
    /// `None` if the snapshot contradicts itself.
    owned: Option<Arc<ShardSet>>,
    /// Blobs in all shards.
    pub(crate) blobs: u64,
    /// Whether quota or disk are used up.
    pub(crate) full: bool,
    /// Whether new blobs are taken.
    pub(crate) accepting: bool,
    /// Whether all that is here is on disk.
    pub(crate) synced: bool,
    /// The storage limit in sealed bytes.
    pub(crate) quota_bytes: u64,
    /// Blobs whose bytes were found damaged.
    pub(crate) quarantined: u64,
    /// Counters of every shard that has a family here, ascending.
    pub(crate) shards: Arc<[ShardCounters]>,
}

impl Facts {
    /// The store said how it is, as it does each second: what is as it was is not copied again. Answers
    /// whether anything changed that says who holds what.
    pub(crate) fn set(&self, snapshot: &StoreSnapshot) -> bool {
        let before = self.get();
        let owned = ShardSet::from_ranges(snapshot.shard_count, &snapshot.owned);
        let shards = before.as_ref().map(|before| &before.shards);
        let shards = shards.filter(|shards| shards[..] == snapshot.shards[..]);
        let facts = StoreFacts {
            shard_count: snapshot.shard_count,
            owned: owned.ok().map(Arc::new),
            blobs: snapshot.blobs,
            full: snapshot.condition == StoreCondition::Full,
            accepting: snapshot.condition == StoreCondition::Writable,
            synced: snapshot.durability == Durability::Strict,
            quota_bytes: snapshot.quota_bytes,
            quarantined: snapshot.quarantined,
            shards: shards.map_or_else(|| snapshot.shards.as_slice().into(), Arc::clone),
        };
        let places = |facts: &StoreFacts| {
            let StoreFacts {
                shard_count,
                owned,
                accepting,
                quota_bytes,
                ..
            } = facts;
            (*shard_count, owned.clone(), *accepting, *quota_bytes)
        };
        let changed = before.is_none_or(|before| places(&before) != places(&facts));
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(facts));
        changed
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

    /// The shards that this node keeps; none if the store contradicts itself.
    pub(crate) fn owned(&self) -> Option<&ShardSet> {
        self.owned.as_deref()
    }

    /// What stands here of a shard that this node keeps.
    pub(crate) fn counters(&self, shard: ShardId) -> Option<&ShardCounters> {
        let position = self
            .shards
            .binary_search_by_key(&shard, |counters| counters.shard);
        let counters = self.shards.get(position.ok()?)?;
        counters.owned.then_some(counters)
    }

    /// The shard of a blob that is known to be other nodes'.
    pub(crate) fn foreign_shard(&self, cid: &BlobCid) -> Option<ShardId> {
        let shard = self.shard(cid);
        let owned = self.owned.as_ref()?;
        (!owned.contains(shard)).then_some(shard)
    }
}
