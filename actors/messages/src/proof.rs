//! What may be asked of `ProofActor`, which proves possession and audits others.
//!
//! Proofs are not part of this version: the actor reports itself disabled. Its messages come with
//! it.
