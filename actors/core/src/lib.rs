//! The vocabulary that every room of `ByteCave` shares, and nothing else.
//!
//! Here live the content digest and its CID, shards and shard ranges, the blob tree and the proofs
//! over it, and a node's identity. Everything is pure: no actors, no runtime, no files, no clock. What a blob is called,
//! which shard it belongs to and which 32 bytes commit to it is decided here and only here.

mod authorization;
mod cid;
mod digest;
mod identity;
pub mod proof;
mod shard;
pub mod tree;

pub use authorization::{
    APP_ID_MAX_BYTES, AuthorizationError, NONCE_MAX_BYTES, StoreAuthorization, VerifiedStore,
};
pub use cid::{BlobCid, CidError};
pub use digest::{Digest, Fingerprint};
pub use identity::{IdentityError, NodeIdentity, PeerId, PublicKey};
pub use shard::{ShardCount, ShardError, ShardId, ShardRange, ShardSet};
pub use tree::{BlobRoot, Commitment};
