//! `ReplicatorActor`: copies where they belong. Until there are peers it keeps the store's outbox empty.

mod actor;

pub use actor::ReplicatorActor;
