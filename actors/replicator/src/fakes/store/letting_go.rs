//! Damage, and copies that are let go.

use bytecave_messages::store::{ListDamaged, RestoreBlob, RetireBlob};

use super::*;

impl FakeStore {
    /// For how long a blob is kept that was let go; none that is here, or gone.
    pub(crate) fn retired(&self, cid: &BlobCid) -> Option<Duration> {
        self.lock().retired.get(cid).map(|(.., kept)| *kept)
    }

    /// Its disk loses a blob.
    pub(crate) fn lose(&self, cid: &BlobCid) {
        self.lock().blobs.remove(cid);
    }

    pub(crate) fn pin(&self, cid: &BlobCid) {
        self.lock().blobs.get_mut(cid).unwrap().0.pinned = true;
    }

    /// From now on it keeps only the shards before this one.
    pub(crate) fn give_up_from(&self, shard: u64) {
        self.lock().given_up_from = Some(shard);
    }

    /// The shards that it keeps.
    pub(crate) fn owned(&self) -> bytecave_core::ShardRange {
        let end = self.lock().given_up_from.map_or(OWNED.end, |from| from - 1);
        bytecave_core::ShardRange { end, ..OWNED }
    }

    /// Blobs that are damaged.
    pub(crate) fn quarantined(&self) -> u64 {
        let state = self.lock();
        let damaged = state.blobs.values().filter(|(info, _)| info.quarantined);
        damaged.count() as u64
    }
}

impl Handler<ListDamaged> for StoreFake {
    type Result = ResponseFuture<Result<Vec<BlobCid>, StoreError>>;

    fn handle(&mut self, list: ListDamaged, _: &mut Self::Context) -> Self::Result {
        self.answer(format!("damaged {}", list.limit), |state| {
            let damaged = state.blobs.iter().filter(|(_, (info, _))| info.quarantined);
            Ok(damaged.map(|(cid, _)| *cid).take(list.limit).collect())
        })
    }
}

impl Handler<RetireBlob> for StoreFake {
    type Result = ResponseFuture<Result<bool, StoreError>>;

    fn handle(&mut self, retire: RetireBlob, _: &mut Self::Context) -> Self::Result {
        let cid = retire.cid;
        self.answer("retire".to_owned(), |state| {
            match state.blobs.remove(&cid) {
                None => {
                    if let Some((.., kept)) = state.retired.get_mut(&cid) {
                        *kept = retire.keep_for;
                    }
                    Ok(false)
                }
                Some((info, bytes)) if info.pinned => {
                    state.blobs.insert(cid, (info, bytes));
                    Err(StoreError::Pinned { cid })
                }
                Some((info, bytes)) => {
                    state.retired.insert(cid, (info, bytes, retire.keep_for));
                    Ok(true)
                }
            }
        })
    }
}

impl Handler<RestoreBlob> for StoreFake {
    type Result = ResponseFuture<Result<bool, StoreError>>;

    fn handle(&mut self, restore: RestoreBlob, _: &mut Self::Context) -> Self::Result {
        let cid = restore.cid;
        self.answer("restore".to_owned(), |state| {
            let Some((info, bytes, _)) = state.retired.remove(&cid) else {
                return Ok(false);
            };
            state.blobs.insert(cid, (info, bytes));
            Ok(true)
        })
    }
}
