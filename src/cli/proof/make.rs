//! `proof make`: a challenge with a fresh nonce to the running node, and its answer kept.

use std::path::{Path, PathBuf};

use bytecave_core::BlobCid;
use bytecave_core::proof::{Anchor, Challenge, ChallengeCount, Nonce, Proof, Question, verify};
use clap::Args;
use reqwest::Method;
use ring::rand::{SecureRandom, SystemRandom};
use serde_json::json;

use super::super::client::Patience;
use super::super::context::{Context, block_on};
use super::super::error::CliError;
use super::super::get::{OVERWRITE, Part};
use super::super::output::{Fields, json_document, json_line, note, utc};
use super::count;

/// Arguments of `proof make`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave --url http://10.0.0.5:5001 proof make bafkrei… --out proof.json
  bytecave proof verify proof.json --nonce HEX --file photo.jpg

Prints the nonce, which a verifier has to know. The proof by itself says nothing: verify it against the
commitment, which store and cid print, or against the file itself. A nonce is used once: whoever knows it
beforehand can prepare the answer, and then throw the blob away.")]
pub(crate) struct MakeArgs {
    /// CID, or the 64 hex digits of the SHA-256
    cid: BlobCid,
    /// 64 hex digits from a good random source, never used before; made by this program when left out
    #[arg(long, value_name = "HEX")]
    nonce: Option<Nonce>,
    /// How many leaves are asked for, 1 to 32: more of them find a missing part sooner
    #[arg(long, value_name = "N", default_value = "4", value_parser = count)]
    count: ChallengeCount,
    /// File to write; by default the proof goes to standard output
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long, requires = "out")]
    force: bool,
}

pub(super) fn run(context: &Context, args: &MakeArgs) -> Result<(), CliError> {
    let client = context.anonymous_client(Patience::WhileBytesCome)?;
    let challenge = Challenge {
        cid: args.cid,
        nonce: args.nonce.map_or_else(fresh, Ok)?,
        count: args.count,
    };
    let target = args.out.as_deref();
    if let Some(target) = target
        && !args.force
        && target.symlink_metadata().is_ok()
    {
        return Err(CliError::exists(target, OVERWRITE));
    }
    let asked = json!({
        "cid": challenge.cid,
        "nonce": challenge.nonce,
        "count": challenge.count,
    });
    let proof: Proof = block_on(async {
        let request = client.request(Method::POST, &["proofs"], &[]);
        client.json(request.json(&asked)).await
    })?;
    check(&proof, &challenge)?;
    match target {
        Some(target) => keep(context, args, target, &proof),
        None => show(context, &proof),
    }
}

fn fresh() -> Result<Nonce, CliError> {
    let mut bytes = [0; 32];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| CliError::NoRandom)?;
    Ok(Nonce::new(bytes))
}

/// Whether it answers this challenge at all. What the blob is, only its commitment says.
fn check(proof: &Proof, challenge: &Challenge) -> Result<(), CliError> {
    let own = Anchor::Root {
        blob_root: proof.blob_root,
        size: proof.size,
    };
    match verify(proof, &Question::of(challenge, own)).reason() {
        None => Ok(()),
        Some(reason) => Err(CliError::NotProven {
            what: format!("the node's proof of {}", challenge.cid),
            reason,
        }),
    }
}

fn keep(context: &Context, args: &MakeArgs, target: &Path, proof: &Proof) -> Result<(), CliError> {
    let mut text = serde_json::to_vec(proof).map_err(|error| CliError::Stdout(error.into()))?;
    text.push(b'\n');
    let mut part = Part::create(target)?;
    part.write(&text)?;
    part.keep(args.force)?;
    let file = target.to_string_lossy();
    context.out.result(
        &json!({
            "file": file,
            "cid": proof.cid,
            "nonce": proof.nonce,
            "count": proof.leaves.len(),
            "peerId": proof.peer_id,
            "timestamp": proof.timestamp_ms,
        }),
        Fields::default()
            .with("file", target.display())
            .with("cid", proof.cid)
            .with("nonce", proof.nonce)
            .with("leaves", proof.leaves.len())
            .with("by", proof.peer_id)
            .with("at", utc(proof.timestamp_ms)),
    )
}

fn show(context: &Context, proof: &Proof) -> Result<(), CliError> {
    // Seen on a terminal, and no part of what a program reads.
    note(format_args!("nonce {}", proof.nonce));
    if context.out.json {
        json_line(proof)
    } else {
        json_document(proof)
    }
}
