//! Behaviour of whole nodes.
