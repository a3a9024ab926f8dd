//! Streams and protocols between real swarms on loopback.

pub(crate) mod pipe;
