//! Shapes of proofs, receipts, audits and the scrub, for the OpenAPI document alone. What is sent is
//! written by the types of the contract; a test compares the fields of both.

#![expect(dead_code, reason = "the shapes alone, for the OpenAPI document")]

use utoipa::ToSchema;

/// A node shows leaves of a blob that it could not foresee, and signs them.
#[derive(ToSchema)]
#[schema(as = Proof)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ProofShape {
    /// Version of the form: 1.
    version: u32,
    /// The blob.
    cid: String,
    /// Its size in bytes.
    size: u64,
    /// Bytes in a leaf: 1024.
    leaf_size: u32,
    /// Root of its tree, 64 hex digits.
    blob_root: String,
    /// The challenge's nonce, 64 hex digits.
    nonce: String,
    /// The leaves asked for, in the order of the challenge, repeats included; at most 32.
    leaves: Vec<LeafShape>,
    /// What the node calls itself.
    node_id: String,
    /// The node's peer id, which contains its public key.
    peer_id: String,
    /// `0x` and the 64 hex digits of the Ed25519 key.
    public_key: String,
    /// The node's time, milliseconds since 1970.
    timestamp: u64,
    /// Ed25519 over all other fields as docs/proofs.md encodes them, 128 hex digits.
    signature: String,
}

/// A leaf with its path to the root.
#[derive(ToSchema)]
#[schema(as = ProofLeaf)]
pub(crate) struct LeafShape {
    /// Which leaf of the blob, from 0.
    index: u64,
    /// Its bytes, at most 1024, in base64.
    data: String,
    /// Siblings from the leaf upwards, 64 hex digits each; at most 54.
    path: Vec<String>,
}

/// A node's signed word that it stored a blob durably; it is no proof that the blob is there.
#[derive(ToSchema)]
#[schema(as = Receipt)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReceiptShape {
    /// Version of the form: 1.
    version: u32,
    /// The blob.
    cid: String,
    /// Its size in bytes.
    size: u64,
    /// Against which proofs of it are checked, 64 hex digits.
    commitment: String,
    /// When this store of it was durable, by the node's clock, milliseconds since 1970.
    stored_at: u64,
    /// What the node calls itself.
    node_id: String,
    /// The node's peer id, which contains its public key.
    peer_id: String,
    /// `0x` and the 64 hex digits of the Ed25519 key.
    public_key: String,
    /// Ed25519 over all other fields as docs/proofs.md encodes them, 128 hex digits.
    signature: String,
}

/// How far the re-reading of everything on this node is.
#[derive(ToSchema)]
#[schema(as = Scrub)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ScrubShape {
    /// Whether it is at work; else it waits for the next pass or is switched off.
    running: bool,
    /// When the present or last pass began, milliseconds since 1970; absent before the first.
    started_at: Option<u64>,
    /// When the last whole pass ended; absent before that.
    finished_at: Option<u64>,
    /// When the next pass begins; absent while one runs, and when scrubbing is switched off.
    next_at: Option<u64>,
    /// Blobs read in the present or last pass.
    blobs: u64,
    /// Content bytes read in it.
    bytes: u64,
    /// Blobs found damaged in it.
    damaged: u64,
    /// Content bytes here in all, to compare `bytes` with.
    total_bytes: u64,
}

/// What this node asked another, and what came of it.
#[derive(ToSchema)]
#[schema(as = Audit)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AuditShape {
    /// Its number on this node, ascending.
    sequence: u64,
    /// When it ended, milliseconds since 1970.
    at: u64,
    /// Who was asked.
    peer_id: String,
    /// For which blob.
    cid: String,
    /// Its size in bytes.
    size: u64,
    /// Why: `random`, `contained` (it gave no answer before) or `wanted` (copies were in doubt).
    cause: String,
    /// `passed`, `failed`, `contained`, `offline`, `declined`, `unsupported` or `unknown`; only `failed`
    /// blames the peer.
    outcome: String,
    /// Why, when it was not passed: the word of the broken check, or what the peer or the network said.
    reason: Option<String>,
    /// Milliseconds from the question to the answer.
    took: u64,
    /// What was asked and answered, of a proof that did not hold.
    evidence: Option<EvidenceShape>,
}

/// What anyone can check again, who knows the blob's commitment.
#[derive(ToSchema)]
#[schema(as = AuditEvidence)]
pub(crate) struct EvidenceShape {
    /// The nonce that was sent, 64 hex digits.
    nonce: String,
    /// How many leaves were asked for.
    count: u8,
    /// The signed answer.
    proof: ProofShape,
}

/// How a peer did in this node's audits.
#[derive(ToSchema)]
#[schema(as = PeerAudits)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PeerAuditsShape {
    /// Who.
    peer_id: String,
    /// Audits that it passed.
    passed: u64,
    /// Audits that it failed.
    failed: u64,
    /// Audits without a verdict.
    other: u64,
    /// When it was last audited, milliseconds since 1970.
    last_at: u64,
    /// What was found then, as `outcome` of an audit.
    last_outcome: String,
}
