//! What HTTP never asks of a store.

use std::sync::Arc;

use actix::Handler;
use bytecave_core::ShardId;
use bytecave_messages::store::{
    AdvanceOutbox, BlobRead, CheckBlobs, ListDigests, ListOutboxShards, OutboxEntry, ReadOutbox,
    ReadTransit, RenewTombstones, Standing, StoreError, UseNonce,
};
use bytecave_messages::sync::ListedDigest;

use super::FakeActor;

macro_rules! uncalled {
    ($($message:ty => $answer:ty,)+) => {$(
        impl Handler<$message> for FakeActor {
            type Result = Result<$answer, StoreError>;

            fn handle(&mut self, message: $message, _: &mut Self::Context) -> Self::Result {
                panic!("HTTP has no business with {message:?}")
            }
        }
    )+};
}

uncalled! {
    ReadOutbox => Vec<OutboxEntry>,
    AdvanceOutbox => (),
    ListOutboxShards => Vec<ShardId>,
    UseNonce => bool,
    ReadTransit => BlobRead,
    ListDigests => Arc<[ListedDigest]>,
    CheckBlobs => Vec<Standing>,
    RenewTombstones => (),
}
