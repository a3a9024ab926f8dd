//! `proof verify`: whether a proof holds, by what the user knows and this machine's clock alone.

use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use bytecave_config::TimeSpan;
use bytecave_core::proof::{
    Anchor, ChallengeCount, Freshness, Nonce, Proof, Question, Reason, verify,
};
use bytecave_core::tree::leaf_count;
use bytecave_core::{BlobCid, BlobRoot, Commitment, PeerId};
use clap::Args;
use serde_json::json;

use super::super::cid::name_file;
use super::super::context::Context;
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::output::{Fields, note, printable, size, utc};
use super::{Hex32, count, malformed, read};

/// What a proof without a CID to compare leaves open.
const NO_CID: &str = "the CID was not compared: without --cid or --file the prover may have picked one with which the leaves that it has are asked for";

/// Arguments of `proof verify`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave proof verify proof.json --nonce HEX --file photo.jpg
  bytecave proof verify proof.json --nonce HEX --commitment HEX --cid bafkrei… --max-age 5m

Needs no node and no network. Give the nonce that was sent, not the one in the proof. Ends with 0 when the
proof holds and with 11 when it does not; the word in brackets is the reason, which docs/proofs.md lists.")]
pub(crate) struct VerifyArgs {
    /// File with the proof as JSON; - is standard input
    #[arg(value_name = "PROOF")]
    proof: PathBuf,
    /// The nonce that was sent, 64 hex digits
    #[arg(long, value_name = "HEX")]
    nonce: Nonce,
    #[command(flatten)]
    known: Known,
    /// The blob that was asked for
    #[arg(long, conflicts_with = "file")]
    cid: Option<BlobCid>,
    /// How many leaves were asked for
    #[arg(long, value_name = "N", default_value = "4", value_parser = count)]
    count: ChallengeCount,
    /// The peer that was asked
    #[arg(long, value_name = "PEER-ID")]
    peer: Option<PeerId>,
    /// How far its time may be from now, before or after, such as 90s or 10m
    #[arg(long, value_name = "TIME")]
    max_age: Option<TimeSpan>,
}

/// What is known of the blob's content.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
struct Known {
    /// The commitment that store and cid print, 64 hex digits
    #[arg(long, value_name = "HEX", conflicts_with_all = ["root", "size", "file"])]
    commitment: Option<Hex32>,
    /// Root of the blob tree, 64 hex digits
    #[arg(long, value_name = "HEX", requires = "size", conflicts_with = "file")]
    root: Option<Hex32>,
    /// Size of the blob in bytes
    #[arg(long, value_name = "N", requires = "root")]
    size: Option<u64>,
    /// The blob itself
    #[arg(long, value_name = "BLOB")]
    file: Option<PathBuf>,
}

pub(super) fn run(context: &Context, args: &VerifyArgs) -> Result<Exit, CliError> {
    let bytes = read(&args.proof)?;
    let proof: Proof = serde_json::from_slice(&bytes).map_err(malformed(&args.proof, "a proof"))?;
    let question = question(context, args)?;
    let unasked = question.cid.is_none();
    match verify(&proof, &question).reason() {
        None => {
            if unasked && !context.out.json {
                note(NO_CID);
            }
            valid(context, &proof, unasked)?;
            Ok(Exit::Done)
        }
        Some(reason) => {
            invalid(context, reason)?;
            Ok(Exit::NotProven)
        }
    }
}

fn question(context: &Context, args: &VerifyArgs) -> Result<Question, CliError> {
    let Known {
        commitment,
        root,
        size,
        file,
    } = &args.known;
    let (anchor, cid) = match (commitment, root, size, file) {
        (_, _, _, Some(file)) => {
            let named = name_file(context, file)?;
            let (blob_root, size) = (named.root, named.size);
            (Anchor::Root { blob_root, size }, Some(named.cid))
        }
        (Some(Hex32(bytes)), ..) => (Anchor::Commitment(Commitment::new(*bytes)), args.cid),
        (None, Some(Hex32(bytes)), Some(size), None) => {
            let (blob_root, size) = (BlobRoot::new(*bytes), *size);
            (Anchor::Root { blob_root, size }, args.cid)
        }
        // Kept away by the definition of the arguments; no proof is valid by it.
        _ => (Anchor::Nothing, args.cid),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now_ms = u64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(u64::MAX);
    Ok(Question {
        anchor,
        nonce: Some(args.nonce),
        cid,
        count: args.count,
        peer_id: args.peer,
        freshness: args.max_age.map(|age| Freshness {
            now_ms,
            max_age_ms: u64::try_from(age.as_duration().as_millis()).unwrap_or(u64::MAX),
        }),
    })
}

fn valid(context: &Context, proof: &Proof, unasked: bool) -> Result<(), CliError> {
    let of = leaf_count(proof.size);
    let leaves = format!("{} asked for, of {of}", proof.leaves.len());
    let warnings = unasked.then(|| json!({ "code": "noCid", "detail": NO_CID }));
    let warnings: Vec<_> = warnings.into_iter().collect();
    context.out.result(
        &json!({
            "valid": true,
            "warnings": warnings,
            "cid": proof.cid,
            "size": proof.size,
            "peerId": proof.peer_id,
            "nodeId": proof.node_id,
            "timestamp": proof.timestamp_ms,
        }),
        Fields::default()
            .with("proof", "valid")
            .with("cid", proof.cid)
            .with("size", size(proof.size))
            .with("leaves", leaves)
            .with("by", proof.peer_id)
            .with("which is", printable(&proof.node_id))
            .with("at", utc(proof.timestamp_ms)),
    )
}

/// Says why something does not hold.
pub(super) fn invalid(context: &Context, reason: Reason) -> Result<(), CliError> {
    context.out.result(
        &json!({ "valid": false, "reason": reason, "detail": reason.to_string() }),
        format_args!("not valid: {reason} ({})", reason.code()),
    )
}
