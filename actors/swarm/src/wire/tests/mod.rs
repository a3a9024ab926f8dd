//! Streams and protocols between real swarms on loopback.
