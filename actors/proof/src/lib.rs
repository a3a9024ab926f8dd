//! `ProofActor`: proofs of storage, audits and the scrub.

mod actor;
mod options;

pub use actor::ProofActor;
pub use options::ProofOptions;
