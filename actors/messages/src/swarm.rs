//! What may be asked of `SwarmActor`, the node's place in the network.
//!
//! Networking is not part of this version: the actor reports itself disabled and has no peers. Its
//! messages come with it.
