//! `RegistryActor`: the node's entry in the on-chain registry. None in this version: it says so.

mod actor;

pub use actor::RegistryActor;
