//! Handlers that only pass on to the engine.

use std::sync::Arc;

use actix::{Handler, ResponseFuture};
use bytecave_core::proof::Statement;
use bytecave_core::{BlobCid, ShardId};
use bytecave_messages::store::{
    AdvanceOutbox, BlobInfo, BlobPage, BlockedPage, CheckBlobs, CollectGarbage, DeleteBlob,
    GcReport, GetBlobInfo, ListBlobs, ListBlocked, ListDamaged, ListDigests, ListOutboxShards,
    OutboxEntry, ReadLeaves, ReadOutbox, RenewTombstones, RestoreBlob, RetireBlob, RotateKeys,
    RotationReport, SampleBlob, ScrubBlobs, Scrubbed, SetBlocked, SetPin, Standing, StoreError,
    UseNonce,
};
use bytecave_messages::sync::ListedDigest;
use tracing::Instrument as _;

use super::StoreActor;

/// A handler that only passes on: its future holds the message, and with it the permit.
macro_rules! pass_on {
    ($message:ident -> $reply:ty, |$engine:ident, $given:ident| $call:expr) => {
        impl Handler<$message> for StoreActor {
            type Result = ResponseFuture<Result<$reply, StoreError>>;

            fn handle(&mut self, $given: $message, _: &mut Self::Context) -> Self::Result {
                let $engine = self.engine.clone();
                let span = $given.permit.span().clone();
                let call = async move {
                    let answer = $call;
                    drop($given);
                    answer
                };
                Box::pin(call.instrument(span))
            }
        }
    };
}

pass_on!(GetBlobInfo -> BlobInfo, |engine, get| engine.info(get.cid).await);
pass_on!(ListBlobs -> BlobPage, |engine, list| {
    engine.list(list.shard, list.after, list.limit).await
});
pass_on!(DeleteBlob -> (), |engine, delete| engine.delete(delete.cid).await);
pass_on!(SetPin -> (), |engine, pin| engine.set_pin(pin.cid, pin.pinned).await);
pass_on!(CollectGarbage -> GcReport, |engine, _collect| engine.collect_garbage().await);
pass_on!(RotateKeys -> RotationReport, |engine, _rotate| engine.rotate_keys().await);
pass_on!(ReadOutbox -> Vec<OutboxEntry>, |engine, read| {
    engine.read_outbox(read.shard, read.limit).await
});
pass_on!(AdvanceOutbox -> (), |engine, advance| {
    engine.advance_outbox(advance.through.clone()).await
});
pass_on!(UseNonce -> bool, |engine, nonce| {
    engine.use_nonce(nonce.key, nonce.expires_ms).await
});
pass_on!(ListDigests -> Arc<[ListedDigest]>, |engine, list| {
    engine.list_digests(list.shard).await
});
pass_on!(CheckBlobs -> Vec<Standing>, |engine, check| {
    engine.check(check.digests.clone()).await
});
pass_on!(RenewTombstones -> (), |engine, renew| {
    engine.renew_tombstones(renew.digests.clone()).await
});
pass_on!(SetBlocked -> bool, |engine, set| engine.set_blocked(set.cid, set.blocked).await);
pass_on!(ListBlocked -> BlockedPage, |engine, list| {
    engine.list_blocked(list.after, list.limit).await
});
pass_on!(ListOutboxShards -> Vec<ShardId>, |engine, _list| Ok(engine.outbox_shards()));
pass_on!(ReadLeaves -> Statement, |engine, read| engine.leaves(read.challenge).await);
pass_on!(SampleBlob -> Option<BlobInfo>, |engine, sample| {
    engine.sample(sample.shard, sample.point, sample.pick).await
});
pass_on!(ScrubBlobs -> Scrubbed, |engine, scrub| {
    engine.scrub(scrub.after, scrub.enough_bytes, scrub.bytes_per_second).await
});
pass_on!(ListDamaged -> Vec<BlobCid>, |engine, list| engine.list_damaged(list.limit).await);
pass_on!(RetireBlob -> bool, |engine, retire| engine.retire(retire.cid, retire.keep_for).await);
pass_on!(RestoreBlob -> bool, |engine, restore| engine.restore(restore.cid).await);
