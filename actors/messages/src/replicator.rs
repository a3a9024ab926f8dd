//! What may be asked of `ReplicatorActor`, which keeps copies where they belong.
//!
//! It hears of new blobs by [`BlobStored`](crate::store::BlobStored), a nudge to read the store's
//! outbox. Copies to peers are not part of this version, since there is no network yet: the outbox
//! cursor soon follows each store, and reconciliation will cover what was stored before the node joined.
