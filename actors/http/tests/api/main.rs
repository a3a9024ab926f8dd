//! The HTTP API as a client sees it: a real listener, a client that writes bytes, and a store that
//! records what it was asked.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod access;
mod audits;
mod blocked;
mod client;
mod copies;
mod documents;
mod errors;
mod fake_proof;
mod fake_replicator;
mod fake_store;
mod fetched;
mod lifecycle;
mod limits;
mod moves;
mod node;
mod peers;
mod place;
mod proofs;
mod receipts;
mod retrieve;
mod status;
mod store;
