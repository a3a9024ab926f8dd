//! ProofActor: proofs of storage.
