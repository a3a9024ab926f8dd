//! The outbox of the store in memory.

use actix::{Handler, ResponseFuture};
use bytecave_core::ShardId;
use bytecave_messages::store::{
    AdvanceOutbox, ListOutboxShards, OutboxEntry, ReadOutbox, StoreError,
};

use super::StoreFake;

impl Handler<ListOutboxShards> for StoreFake {
    type Result = ResponseFuture<Result<Vec<ShardId>, StoreError>>;

    fn handle(&mut self, _: ListOutboxShards, _: &mut Self::Context) -> Self::Result {
        self.answer("outbox".to_owned(), |state| {
            Ok(state.outbox.keys().copied().collect())
        })
    }
}

impl Handler<ReadOutbox> for StoreFake {
    type Result = ResponseFuture<Result<Vec<OutboxEntry>, StoreError>>;

    fn handle(&mut self, read: ReadOutbox, _: &mut Self::Context) -> Self::Result {
        let shard = read.shard.get();
        self.answer(format!("read outbox {shard}"), |state| {
            let entries = state.outbox.get(&read.shard);
            let entries = entries.into_iter().flatten().take(read.limit);
            Ok(entries.cloned().collect())
        })
    }
}

impl Handler<AdvanceOutbox> for StoreFake {
    type Result = ResponseFuture<Result<(), StoreError>>;

    fn handle(&mut self, advance: AdvanceOutbox, _: &mut Self::Context) -> Self::Result {
        let shards: Vec<u16> = advance.through.iter().map(|(id, _)| id.get()).collect();
        self.answer(format!("advance {shards:?}"), |state| {
            for (shard, through) in advance.through {
                let entries = state.outbox.entry(shard).or_default();
                entries.retain(|entry| entry.sequence > through);
                if entries.is_empty() {
                    state.outbox.remove(&shard);
                }
            }
            Ok(())
        })
    }
}
