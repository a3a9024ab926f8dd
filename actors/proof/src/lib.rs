//! `ProofActor`: proofs of storage, audits and the scrub.
//!
//! The shell ([`ProofActor`]) only starts tasks; what they do stands in plain modules. `prover` shows that this
//! node holds a blob, to clients and to other holders. `audit` asks the other holders of this node's shards to show
//! the same, one blob at a time, by lot or because it is wanted; what may be blamed on whom is decided in
//! `challenge`, and what came of it stands in `ledger`. `scrub` has everything here read again over time.
//!
//! It decides nothing about copies: what an audit found it tells. It knows nothing of how blobs are stored or how
//! peers are reached.
//!
//! At a stop or a crash questions under way are dropped without a verdict. Audits, what is owed and how far the
//! scrub is survive in three files that are at most a few seconds old; without them it begins anew.

mod actor;
mod audit;
mod blocking;
mod challenge;
mod chance;
mod clock;
mod counters;
mod ledger;
mod open;
mod options;
mod prover;
mod scrub;
mod state_file;

#[cfg(test)]
mod fakes;

pub use actor::ProofActor;
pub use options::ProofOptions;
