//! Streams between peers: who may open one, what goes over it, and how long it may take.
//!
//! [`streams`] is the libp2p behaviour that hands inbound streams to whoever serves their protocol
//! and opens outbound ones; it loses none without an answer. [`frame`] is the form of the 1.0.0
//! protocols on the wire, [`v1`] what they say; [`v2`] are the protocols between nodes of this
//! program; [`service`] is what all that is served shares, [`client`] our own questions to others. All
//! that comes from a peer is bounded in size, number, rate and time before it is read.

pub(crate) mod client;
pub(crate) mod counters;
pub(crate) mod doors;
pub(crate) mod frame;
pub(crate) mod handler;
pub(crate) mod pieces;
pub(crate) mod rates;
mod served;
pub(crate) mod service;
pub(crate) mod slow;
pub(crate) mod streams;
pub(crate) mod turn_away;
pub(crate) mod v1;
pub(crate) mod v2;
