//! `ReplicatorActor`: what is taken from whom, what is given, and blobs that peers have.
//!
//! The shell ([`ReplicatorActor`]) only starts tasks; what they do stands in plain modules, one for
//! each thing that is asked: `serve` gives blobs of this node, `have_list` says which there are,
//! `receive` takes blobs under the rules of `policy`, `fetch` gets them from the peers that
//! `candidates` ranks. Answering a peer never asks another one, so no request runs in circles.
//!
//! `placement` says who holds what of the members that `holders` knows. What a client stored here is
//! brought to them by `place`, when the client waits for it, and by `outbox`, whether anybody waits or
//! not; `reconcile` compares with the other holders and fetches what is wanting here.
//!
//! What proofs show of others' copies stands in `audits`: a copy that was not proved counts for nothing,
//! and while a peer is asked for proof it is given nothing of the blob.
//!
//! A task holds the permit of what it answers, or is one of a bounded number, so there are never more
//! tasks than that. At a stop or a crash whoever waits hears that the node is busy or gone; what was
//! not brought to others yet stands in the store's outbox.

mod actor;
mod audits;
mod candidates;
mod conduct;
mod facts;
mod fetch;
mod have_list;
mod holders;
mod media_type;
mod options;
mod outbox;
mod place;
mod placement;
mod policy;
mod receive;
mod reconcile;
mod refuse;
mod serve;
mod verify;

#[cfg(test)]
mod fakes;

pub use actor::ReplicatorActor;
pub use options::ReplicatorOptions;
