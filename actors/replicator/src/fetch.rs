//! Getting a blob that is not stored here from peers.

use std::time::Duration;

use bytecave_messages::ports::{StorePort, SwarmPort};
use bytecave_messages::replicator::{FetchBlob, FetchError, FetchedBlob};

use crate::conduct::Conduct;
use crate::facts::Facts;
use crate::holders::Holders;

/// How long peers have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    /// For all of them together.
    pub(crate) deadline: Duration,
    /// For one of them, before the next is asked beside it.
    pub(crate) hedge: Duration,
}

impl Patience {
    /// Follows `p2p.request_timeout`: three times that for all, a tenth before the next is asked.
    pub(crate) fn of(request_timeout: Duration) -> Self {
        Self {
            deadline: request_timeout.saturating_mul(3),
            hedge: request_timeout / 10,
        }
    }
}

/// Fetches blobs. Clones share what is under way.
#[derive(Debug, Clone)]
pub(crate) struct Fetcher {
    store: StorePort,
    swarm: SwarmPort,
    facts: Facts,
    holders: Holders,
    conduct: Conduct,
    patience: Patience,
}

impl Fetcher {
    pub(crate) fn new(
        store: StorePort,
        swarm: SwarmPort,
        facts: Facts,
        holders: Holders,
        conduct: Conduct,
        patience: Patience,
    ) -> Self {
        Self {
            store,
            swarm,
            facts,
            holders,
            conduct,
            patience,
        }
    }

    pub(crate) async fn fetch(self, wanted: FetchBlob) -> Result<FetchedBlob, FetchError> {
        Err(FetchError::NotFound {
            cid: wanted.cid,
            asked: 0,
        })
    }
}
