//! `/proofs`: that this node holds a blob now, and whether anybody's proof holds.
//!
//! Neither route asks for the token: what a proof shows of a blob is what `/retrieve` gives, and
//! verification knows nothing but what it is sent.

use std::fmt::Display;
use std::str::FromStr;

use actix_web::{HttpRequest, HttpResponse, web};
use bytecave_core::proof::{
    Anchor, Challenge, ChallengeCount, Freshness, Proof, Question, Reason, verify as judge,
};
use bytecave_core::{BlobCid, BlobRoot, Commitment, PeerId};
use bytecave_messages::budget::Share;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::json::{Form, bad_body};
use super::shapes::ProofShape;
use super::{NO_STORE, ProblemDocument, now_ms};
use crate::problem::{Code, Problem};
use crate::state::Shared;

/// A CID, 64 hex digits and a number, with room for spaces and names of members.
const CHALLENGE: Form = Form {
    max_bytes: 4 * 1024,
    example: "{\"cid\": \"bafkrei…\", \"nonce\": 64 hex digits, \"count\": 1 to 32}",
};
/// The longest proof, of 32 leaves with 54 hashes each, has some 160 KiB as a node writes it; the rest is
/// room for one that is written in many lines, and for the question.
const VERIFICATION: Form = Form {
    max_bytes: 256 * 1024,
    example: "{\"proof\": {…}, \"nonce\": …, \"commitment\": … or \"blobRoot\" and \"size\", \"cid\": …, \"count\": …, \"peerId\": …, \"maxAgeSeconds\": …}",
};

/// A demand for leaves of a blob.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChallengeRequest {
    /// The blob.
    cid: String,
    /// 64 hex digits: 32 random bytes that the verifier made for this one challenge.
    #[schema(nullable = false, required = true)]
    nonce: Option<String>,
    /// How many leaves, 1 to 32; 4 when left out.
    count: Option<u64>,
}

/// A proof, and what the verifier knows of the challenge. What is left out is not checked.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct VerifyRequest {
    /// The proof.
    #[schema(value_type = ProofShape)]
    proof: Proof,
    /// The nonce that was sent, 64 hex digits.
    nonce: Option<String>,
    /// The blob's commitment, 64 hex digits; or give `blobRoot` and `size`.
    commitment: Option<String>,
    /// Root of the blob's tree, 64 hex digits; goes with `size`.
    blob_root: Option<String>,
    /// The blob's size in bytes; goes with `blobRoot`.
    size: Option<u64>,
    /// The blob that was asked for.
    cid: Option<String>,
    /// How many leaves were asked for, 1 to 32; 4 when left out.
    count: Option<u64>,
    /// The peer that was asked.
    peer_id: Option<String>,
    /// How far the proof's time may be from this node's, before or after, in seconds.
    max_age_seconds: Option<u64>,
}

/// Whether a proof holds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VerifyAnswer {
    /// Whether it does.
    valid: bool,
    /// The first check that failed: `unanchored`, `wrongVersion`, `badSignature`, `identityMismatch`,
    /// `wrongPeer`, `wrongLeafSize`, `wrongCid`, `commitmentMismatch`, `wrongNonce`, `wrongCount`,
    /// `wrongLeafIndex`, `leafTooLong`, `pathDoesNotReachRoot` or `stale`. Absent when it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    /// The same for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    /// What the question left open, and what a valid proof therefore does not show.
    warnings: Vec<Warning>,
}

/// Something that was not asked.
#[derive(Clone, Copy, Debug, Serialize, ToSchema)]
pub(crate) struct Warning {
    /// `noNonce`, `noCid` or `noCount`.
    code: &'static str,
    /// What that means.
    detail: &'static str,
}

const NO_NONCE: Warning = Warning {
    code: "noNonce",
    detail: "no nonce was given: the proof may have been made at any time, and of leaves that the prover picked",
};
const NO_CID: Warning = Warning {
    code: "noCid",
    detail: "no CID was given: the prover may have picked one with which the leaves that it has are asked for",
};
const NO_COUNT: Warning = Warning {
    code: "noCount",
    detail: "no count was given: 4 leaves were expected",
};

impl ChallengeRequest {
    fn challenge(&self) -> Result<Challenge, Problem> {
        let Some(nonce) = &self.nonce else {
            return Err(bad_body(
                "nonce is missing: the verifier makes 32 random bytes (64 hex digits) for each challenge and never uses them again, since a prover that chose its own nonce could choose leaves that it has, and answer with what it prepared",
            ));
        };
        Ok(Challenge {
            cid: cid(&self.cid)?,
            nonce: member("nonce", nonce)?,
            count: count(self.count)?,
        })
    }
}

impl VerifyRequest {
    fn question(&self) -> Result<Question, Problem> {
        let nonce = self.nonce.as_deref();
        let peer_id = self.peer_id.as_deref();
        Ok(Question {
            anchor: self.anchor()?,
            nonce: nonce.map(|text| member("nonce", text)).transpose()?,
            cid: self.cid.as_deref().map(cid).transpose()?,
            count: count(self.count)?,
            peer_id: peer_id
                .map(|text| member::<PeerId>("peerId", text))
                .transpose()?,
            freshness: self.max_age_seconds.map(|seconds| Freshness {
                now_ms: now_ms(),
                max_age_ms: seconds.saturating_mul(1000),
            }),
        })
    }

    /// Commitment, or root and size. Both are taken when they say the same, as the answer to a store has
    /// both.
    fn anchor(&self) -> Result<Anchor, Problem> {
        let commitment = self.commitment.as_deref();
        let commitment = commitment
            .map(|text| hash("commitment", text).map(Commitment::new))
            .transpose()?;
        let root = self.blob_root.as_deref();
        let root = root
            .map(|text| hash("blobRoot", text).map(BlobRoot::new))
            .transpose()?;
        let rooted = match (root, self.size) {
            (Some(blob_root), Some(size)) => Some((blob_root, size)),
            (None, None) => None,
            (Some(_), None) => {
                return Err(bad_body(
                    "blobRoot is given without size: a root alone does not say how many leaves there are",
                ));
            }
            (None, Some(_)) => {
                return Err(bad_body(
                    "size is given without blobRoot: give both, or the commitment alone",
                ));
            }
        };
        match (commitment, rooted) {
            (None, None) => Ok(Anchor::Nothing),
            (Some(commitment), None) => Ok(Anchor::Commitment(commitment)),
            (given, Some((blob_root, size))) => {
                let follows = Commitment::of(size, &blob_root);
                if given.is_some_and(|given| given != follows) {
                    return Err(bad_body(format!(
                        "commitment and blobRoot with size are of different blobs: the commitment of these would be {follows}"
                    )));
                }
                Ok(Anchor::Root { blob_root, size })
            }
        }
    }

    fn warnings(&self) -> Vec<Warning> {
        [
            (self.nonce.is_none(), NO_NONCE),
            (self.cid.is_none(), NO_CID),
            (self.count.is_none(), NO_COUNT),
        ]
        .into_iter()
        .filter_map(|(open, warning)| open.then_some(warning))
        .collect()
    }
}

/// Shows that this node holds a blob now: leaves of it that the nonce picks, with their paths, signed.
///
/// Only what is stored on this node is proved; other nodes are not asked.
#[utoipa::path(post, path = "/proofs", operation_id = "make_proof", tag = "proofs", request_body = ChallengeRequest, responses(
    (status = 200, description = "the proof", body = ProofShape),
    (status = 400, description = "malformed, or without a nonce", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 404, description = "not stored on this node", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 413, description = "the body is too large", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 415, description = "not JSON", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 429, description = "too many requests or challenges; Retry-After says how long to wait", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 451, description = "blocked on this node", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 500, description = "the blob is damaged", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "busy or starting; Retry-After says how long to wait", body = ProblemDocument, content_type = "application/problem+json"),
))]
pub(crate) async fn make(
    request: HttpRequest,
    shared: web::Data<Shared>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let asked = CHALLENGE.read::<ChallengeRequest>(&shared, &request, payload);
    let challenge = asked.await?.value.challenge()?;
    let made = shared.proof()?.make(Share::Client, challenge).await;
    let proof = made.map_err(|error| shared.unproven(error))?;
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(proof))
}

/// Says whether a proof holds, whoever made it; the answer is as good as the question.
#[utoipa::path(post, path = "/proofs/verify", operation_id = "verify_proof", tag = "proofs", request_body = VerifyRequest, responses(
    (status = 200, description = "whether it holds; also when it does not", body = VerifyAnswer),
    (status = 400, description = "malformed, or what it is to be compared with contradicts itself", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 413, description = "the body is too large", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 415, description = "not JSON", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 429, description = "too many requests", body = ProblemDocument, content_type = "application/problem+json"),
    (status = 503, description = "busy or starting; Retry-After says how long to wait", body = ProblemDocument, content_type = "application/problem+json"),
))]
pub(crate) async fn verify(
    request: HttpRequest,
    shared: web::Data<Shared>,
    payload: web::Payload,
) -> Result<HttpResponse, Problem> {
    let asked = VERIFICATION.read::<VerifyRequest>(&shared, &request, payload);
    let asked = asked.await?.value;
    // A signature and at most 32 paths: a fraction of a millisecond.
    let reason = judge(&asked.proof, &asked.question()?).reason();
    let answer = VerifyAnswer {
        valid: reason.is_none(),
        reason: reason.map(Reason::code),
        detail: reason.map(|reason| reason.to_string()),
        warnings: asked.warnings(),
    };
    Ok(HttpResponse::Ok().insert_header(NO_STORE).json(answer))
}

fn cid(text: &str) -> Result<BlobCid, Problem> {
    text.parse()
        .map_err(|error| Problem::new(Code::BadCid, format!("cid: {error}")))
}

fn count(given: Option<u64>) -> Result<ChallengeCount, Problem> {
    let Some(given) = given else {
        return Ok(ChallengeCount::default());
    };
    ChallengeCount::new(given).map_err(|error| bad_body(format!("count: {error}")))
}

/// A member of the body that is text; what is wrong with it begins with its name.
fn member<T: FromStr<Err: Display>>(name: &str, text: &str) -> Result<T, Problem> {
    text.parse()
        .map_err(|error: T::Err| bad_body(format!("{name}: {error}")))
}

/// 32 bytes as hex digits; the nonce has the same form.
fn hash(name: &str, text: &str) -> Result<[u8; 32], Problem> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| {
        let shown: String = text.chars().take(80).collect();
        bad_body(format!("{name}: \"{shown}\" is not 64 hex digits"))
    })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_core::NodeIdentity;
    use bytecave_core::proof::{LeafProof, Nonce, Statement};
    use bytecave_core::tree::{LEAF_BYTES, PATH_MAX};
    use serde_json::json;

    use super::*;

    #[test]
    fn the_longest_proof_fits_in_a_body() {
        let leaf = LeafProof {
            index: u64::MAX,
            data: vec![0xff; LEAF_BYTES],
            path: vec![[0xff; 32]; PATH_MAX],
        };
        let count = ChallengeCount::MAX.get();
        let statement = Statement {
            cid: BlobCid::of(b"x"),
            size: u64::MAX,
            blob_root: BlobRoot::new([0xff; 32]),
            nonce: Nonce::new([0xff; 32]),
            leaves: vec![leaf; count.into()],
        };
        let identity = NodeIdentity::from_seed([1; 32]).unwrap();
        let proof = Proof::sign(&identity, &"n".repeat(128), u64::MAX, statement).unwrap();
        let hex = "f".repeat(64);
        let body = json!({
            "proof": proof, "nonce": hex, "commitment": hex, "blobRoot": hex, "size": u64::MAX,
            "cid": proof.cid, "count": count, "peerId": proof.peer_id, "maxAgeSeconds": u64::MAX,
        });
        let in_lines = serde_json::to_string_pretty(&body).unwrap().len() as u64;
        assert!(in_lines <= VERIFICATION.max_bytes, "{in_lines}");
    }
}
