//! Streams and protocols between real swarms on loopback. They stand beside the wire, which knows no
//! actors, because a fake one answers for the replicator.

mod clients;
mod compared;
mod copies;
mod host;
mod hostile;
pub(crate) mod pipe;
mod proofs;
mod relayed;
mod replicator;
mod resumed;
mod servers;
mod streams;
