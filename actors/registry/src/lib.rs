//! RegistryActor: the node's entry in the on-chain registry.
