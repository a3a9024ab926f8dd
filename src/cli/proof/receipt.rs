//! `proof verify-receipt`: whether receipts were signed by the node that they name, for this blob.

use std::path::PathBuf;

use bytecave_core::proof::{Reason, Receipt};
use bytecave_core::{BlobCid, Commitment, PeerId};
use clap::Args;
use serde_json::{Deserializer, json};

use super::super::cid::name_file;
use super::super::context::Context;
use super::super::error::CliError;
use super::super::exit::Exit;
use super::super::output::{Fields, printable, size, utc};
use super::verify::invalid;
use super::{Hex32, malformed, read};

/// Arguments of `proof verify-receipt`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave store photo.jpg --receipt photo.receipt
  bytecave proof verify-receipt photo.receipt --file photo.jpg

A receipt shows that the node said it stored the blob, and no more; whether it has it now, a proof shows.
Ends with 0 when all receipts of the file hold, with 11 when one does not.")]
pub(crate) struct ReceiptArgs {
    /// File with receipts as JSON, one after the other; - is standard input
    #[arg(value_name = "RECEIPT")]
    receipt: PathBuf,
    /// The blob that it has to be of
    #[arg(long, value_name = "BLOB", conflicts_with_all = ["cid", "commitment"])]
    file: Option<PathBuf>,
    /// The CID that it has to be of
    #[arg(long)]
    cid: Option<BlobCid>,
    /// The commitment that it has to name, 64 hex digits
    #[arg(long, value_name = "HEX")]
    commitment: Option<Hex32>,
    /// The peer that has to have signed it
    #[arg(long, value_name = "PEER-ID")]
    peer: Option<PeerId>,
}

/// What a receipt is compared with.
struct Wanted {
    cid: Option<BlobCid>,
    commitment: Option<Commitment>,
    peer: Option<PeerId>,
}

impl Wanted {
    fn read(context: &Context, args: &ReceiptArgs) -> Result<Self, CliError> {
        let named = args.file.as_deref();
        let named = named.map(|file| name_file(context, file)).transpose()?;
        let given = args.commitment.map(|Hex32(bytes)| Commitment::new(bytes));
        Ok(Self {
            cid: named.as_ref().map(|named| named.cid).or(args.cid),
            commitment: named.map(|named| named.commitment).or(given),
            peer: args.peer,
        })
    }

    /// The signature first: everything else is then the signer's own word.
    fn judge(&self, receipt: &Receipt) -> Option<Reason> {
        let peer = self.peer.is_some_and(|peer| peer != receipt.peer_id);
        let cid = self.cid.is_some_and(|cid| cid != receipt.cid);
        let commitment = self.commitment;
        let commitment = commitment.is_some_and(|known| known != receipt.commitment);
        receipt
            .verify()
            .reason()
            .or_else(|| peer.then_some(Reason::WrongPeer))
            .or_else(|| cid.then_some(Reason::WrongCid))
            .or_else(|| commitment.then_some(Reason::CommitmentMismatch))
    }
}

pub(super) fn run(context: &Context, args: &ReceiptArgs) -> Result<Exit, CliError> {
    let bytes = read(&args.receipt)?;
    let malformed = malformed(&args.receipt, "a receipt");
    let receipts = Deserializer::from_slice(&bytes).into_iter::<Receipt>();
    let receipts: Result<Vec<Receipt>, _> = receipts.collect();
    let receipts = receipts.map_err(&malformed)?;
    if receipts.is_empty() {
        let empty = serde::de::Error::custom("it is empty");
        return Err(malformed(empty));
    }
    let wanted = Wanted::read(context, args)?;
    let mut exit = Exit::Done;
    for receipt in &receipts {
        if let Some(reason) = wanted.judge(receipt) {
            invalid(context, reason)?;
            exit = Exit::NotProven;
        } else {
            valid(context, receipt)?;
        }
    }
    Ok(exit)
}

fn valid(context: &Context, receipt: &Receipt) -> Result<(), CliError> {
    context.out.result(
        &json!({
            "valid": true,
            "cid": receipt.cid,
            "size": receipt.size,
            "commitment": receipt.commitment.to_string(),
            "peerId": receipt.peer_id,
            "nodeId": receipt.node_id,
            "storedAt": receipt.stored_at_ms,
        }),
        Fields::default()
            .with("receipt", "valid")
            .with("cid", receipt.cid)
            .with("size", size(receipt.size))
            .with("commitment", receipt.commitment)
            .with("by", receipt.peer_id)
            .with("which is", printable(&receipt.node_id))
            .with("stored", utc(receipt.stored_at_ms)),
    )
}
