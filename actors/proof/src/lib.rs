//! `ProofActor`: proofs of storage and audits. None in this version: it says so.

mod actor;

pub use actor::ProofActor;
