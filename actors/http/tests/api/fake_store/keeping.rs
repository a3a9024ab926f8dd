//! What is kept, and for how long: deletion, pins, blocks, upkeep.

use actix::{Handler, ResponseFuture};
use bytecave_core::BlobCid;
use bytecave_core::proof::Statement;
use bytecave_messages::store::{
    BlobInfo, BlockedPage, CollectGarbage, DeleteBlob, GcReport, ListBlocked, ListDamaged,
    ReadLeaves, RestoreBlob, RetireBlob, RotateKeys, RotationReport, SampleBlob, ScrubBlobs,
    Scrubbed, SetBlocked, SetPin, StoreError,
};

use super::{Asked, FakeActor};

impl Handler<DeleteBlob> for FakeActor {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(&mut self, message: DeleteBlob, _: &mut Self::Context) -> Self::Result {
        let store = self.0.clone();
        Box::pin(async move {
            store.take(Asked::Delete).await?;
            let (info, _) = store.find(message.cid)?;
            if info.pinned {
                return Err(StoreError::Pinned { cid: info.cid });
            }
            store.lock().blobs.remove(&message.cid);
            Ok(())
        })
    }
}

impl Handler<SetPin> for FakeActor {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(&mut self, message: SetPin, _: &mut Self::Context) -> Self::Result {
        let store = self.0.clone();
        Box::pin(async move {
            store.take(Asked::Pin(message.pinned)).await?;
            store.find(message.cid)?;
            if let Some((info, _)) = store.lock().blobs.get_mut(&message.cid) {
                info.pinned = message.pinned;
            }
            Ok(())
        })
    }
}

impl Handler<CollectGarbage> for FakeActor {
    type Result = ResponseFuture<Result<GcReport, StoreError>>;

    fn handle(&mut self, _: CollectGarbage, _: &mut Self::Context) -> Self::Result {
        let store = self.0.clone();
        Box::pin(async move {
            store.take(Asked::Gc).await?;
            Ok(GcReport {
                families: 3,
                dead_bytes_before: 1000,
                dead_bytes_after: 10,
            })
        })
    }
}

impl Handler<RotateKeys> for FakeActor {
    type Result = ResponseFuture<Result<RotationReport, StoreError>>;

    fn handle(&mut self, _: RotateKeys, _: &mut Self::Context) -> Self::Result {
        let store = self.0.clone();
        Box::pin(async move {
            store.take(Asked::Rotate).await?;
            Ok(RotationReport {
                key_id: 2,
                resealed: 5,
            })
        })
    }
}

impl Handler<SetBlocked> for FakeActor {
    type Result = ResponseFuture<Result<bool, StoreError>>;

    fn handle(&mut self, message: SetBlocked, _: &mut Self::Context) -> Self::Result {
        let store = self.0.clone();
        Box::pin(async move {
            store.take(Asked::Block(message.blocked)).await?;
            let mut state = store.lock();
            Ok(if message.blocked {
                state.blobs.remove(&message.cid);
                state.blocked.insert(message.cid)
            } else {
                state.blocked.remove(&message.cid)
            })
        })
    }
}

impl Handler<ListBlocked> for FakeActor {
    type Result = ResponseFuture<Result<BlockedPage, StoreError>>;

    fn handle(&mut self, message: ListBlocked, _: &mut Self::Context) -> Self::Result {
        let store = self.0.clone();
        Box::pin(async move {
            store.take(Asked::Blocked(message.limit)).await?;
            let position = |cid: &BlobCid| *cid.digest().as_bytes();
            let mut cids: Vec<BlobCid> = store.lock().blocked.iter().copied().collect();
            cids.sort_by_key(position);
            cids.retain(|cid| message.after.is_none_or(|after| position(cid) > after));
            let more = cids.len() > message.limit;
            cids.truncate(message.limit);
            let next = cids.last().filter(|_| more).map(position);
            Ok(BlockedPage { cids, next })
        })
    }
}

macro_rules! never_asked {
    ($($message:ident -> $reply:ty;)+) => {$(
        impl Handler<$message> for FakeActor {
            type Result = ResponseFuture<Result<$reply, StoreError>>;

            fn handle(&mut self, message: $message, _: &mut Self::Context) -> Self::Result {
                panic!("no route asks for {message:?}");
            }
        }
    )+};
}
never_asked! {
    ReadLeaves -> Statement;
    SampleBlob -> Option<BlobInfo>;
    ScrubBlobs -> Scrubbed;
    ListDamaged -> Vec<BlobCid>;
    RetireBlob -> bool;
    RestoreBlob -> bool;
}
