//! What may be asked of `SwarmActor`, the node's place in the network.
//!
//! Networking is not part of this version: the actor reports itself disabled and has no peers. Its
//! messages come with it.

use thiserror::Error;

use crate::budget::Full;

/// Why the network did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SwarmError {
    /// The mailbox is full.
    #[error(transparent)]
    Full(#[from] Full),
    /// The actor is gone; the node is stopping.
    #[error("the network is not running")]
    Unavailable,
}
