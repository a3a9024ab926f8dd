//! What may be asked of `RegistryActor`, the node's entry in the on-chain registry.
//!
//! Registration is not part of this version: the actor reports itself disabled. Its messages come
//! with it.
