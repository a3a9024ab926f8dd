//! Bringing copies of a blob to those who hold its shard.

use bytecave_messages::ports::{StorePort, SwarmPort};
use bytecave_messages::replicator::{PlaceBlob, PlaceError, Placed};

use crate::conduct::Conduct;
use crate::holders::Holders;

/// Brings copies to holders. Clones share what is under way.
#[derive(Debug, Clone)]
pub(crate) struct Placer {
    store: StorePort,
    swarm: SwarmPort,
    holders: Holders,
    conduct: Conduct,
}

impl Placer {
    pub(crate) fn new(
        store: StorePort,
        swarm: SwarmPort,
        holders: Holders,
        conduct: Conduct,
    ) -> Self {
        Self {
            store,
            swarm,
            holders,
            conduct,
        }
    }

    pub(crate) async fn place(self, _wanted: PlaceBlob) -> Result<Placed, PlaceError> {
        Err(PlaceError::Unavailable)
    }
}
