//! `ReplicatorActor`: copies where they belong. Until there are peers it keeps the store's outbox empty.

mod actor;
mod options;

pub use actor::ReplicatorActor;
pub use options::ReplicatorOptions;
