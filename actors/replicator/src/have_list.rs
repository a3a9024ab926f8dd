//! Saying which blobs are here.
//!
//! The store lists by a cursor and the 1.0.0 protocol by an offset. So that walking the list page by
//! page does not count from the start each time, the position behind the last page is kept for each
//! of the peers that asked lately. An offset elsewhere is walked to, a bounded way for one request;
//! the position is kept then too, and asking again goes on from there.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytecave_core::{BlobCid, PeerId};
use bytecave_messages::budget::Share;
use bytecave_messages::ports::StorePort;
use bytecave_messages::store::{LIST_LIMIT, ListCursor, Standing};
use bytecave_messages::swarm::{HAVE_LIST_LIMIT, HaveList, HaveListAsk, InboundHaveList, Refusal};

use crate::facts::Facts;
use crate::refuse::refusal;

/// Peers whose position is kept; the one that asked longest ago is forgotten first, and walks again.
const PEERS: usize = 256;
/// Pages of the store's that one request may cost.
const PAGES_A_REQUEST: usize = 10;

/// A place in the list: so many blobs lie before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Position {
    offset: u64,
    after: Option<ListCursor>,
}

const START: Position = Position {
    offset: 0,
    after: None,
};

/// Says which blobs are here.
#[derive(Debug, Clone)]
pub(crate) struct Lister {
    store: StorePort,
    facts: Facts,
    /// Whoever asked last stands last.
    positions: Arc<Mutex<VecDeque<(PeerId, Position)>>>,
}

impl Lister {
    pub(crate) fn new(store: StorePort, facts: Facts) -> Self {
        Self {
            store,
            facts,
            positions: Arc::default(),
        }
    }

    /// Answers a peer that asks.
    pub(crate) async fn answer(self, request: InboundHaveList) {
        let InboundHaveList {
            from,
            ask,
            answer,
            permit,
        } = request;
        let list = match ask {
            HaveListAsk::Page { limit, offset } => {
                self.page(from, limit.min(HAVE_LIST_LIMIT), offset).await
            }
            HaveListAsk::Which(cids) => self.which(&cids).await,
        };
        answer.send(list);
        drop(permit);
    }

    async fn page(&self, peer: PeerId, limit: usize, offset: u64) -> Result<HaveList, Refusal> {
        let Some(facts) = self.facts.get() else {
            return Err(Refusal::Unavailable("the node is starting"));
        };
        let known = self.take(&peer);
        let here = known.is_some_and(|position| position.offset == offset);
        if limit == 0 || !here && offset > 0 && offset >= facts.blobs {
            // No walk for those who ask behind the end.
            return Ok(HaveList {
                cids: Vec::new(),
                total: facts.blobs,
                has_more: offset < facts.blobs,
            });
        }
        let mut position = known
            .filter(|position| position.offset <= offset)
            .unwrap_or(START);
        let mut cids = Vec::new();
        let mut has_more = true;
        for _ in 0..PAGES_A_REQUEST {
            let wanted = usize::try_from(offset.saturating_sub(position.offset))
                .ok()
                .filter(|skip| *skip > 0)
                .unwrap_or(limit - cids.len());
            let page = self
                .store
                .list(Share::Peer, None, position.after, wanted.min(LIST_LIMIT))
                .await
                .map_err(|error| refusal(error, 0))?;
            let whole = page.blobs.iter().filter(|blob| !blob.quarantined);
            for blob in whole {
                if position.offset >= offset {
                    cids.push(blob.cid);
                }
                position.offset += 1;
            }
            position.after = page.next;
            has_more = page.next.is_some();
            if !has_more || cids.len() >= limit {
                break;
            }
        }
        if has_more {
            self.keep(peer, position);
            // An empty page with more to follow would have a client ask for it for ever.
            if cids.is_empty() {
                return Err(Refusal::Busy);
            }
        }
        Ok(HaveList {
            total: facts.blobs.max(position.offset),
            cids,
            has_more,
        })
    }

    async fn which(&self, asked: &[BlobCid]) -> Result<HaveList, Refusal> {
        let asked = asked.iter().take(HAVE_LIST_LIMIT.min(LIST_LIMIT));
        let asked: Vec<BlobCid> = asked.copied().collect();
        let digests = asked.iter().map(BlobCid::digest).collect();
        let standings = self.store.check(Share::Peer, digests).await;
        let standings = standings.map_err(|error| refusal(error, 0))?;
        let here = asked.iter().zip(standings);
        let here = here.filter(|(_, standing)| *standing == Standing::Here);
        let cids: Vec<BlobCid> = here.map(|(cid, _)| *cid).collect();
        Ok(HaveList {
            total: cids.len() as u64,
            cids,
            has_more: false,
        })
    }

    fn take(&self, peer: &PeerId) -> Option<Position> {
        let mut positions = self.lock();
        let at = positions.iter().position(|(known, _)| known == peer)?;
        positions.remove(at).map(|(_, position)| position)
    }

    fn keep(&self, peer: PeerId, position: Position) {
        let mut positions = self.lock();
        positions.retain(|(known, _)| *known != peer);
        if positions.len() >= PEERS {
            positions.pop_front();
        }
        positions.push_back((peer, position));
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(PeerId, Position)>> {
        self.positions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
