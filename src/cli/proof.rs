//! `proof`: lets the running node show that it holds a blob, and checks anyone's proof or receipt
//! without a node.

mod make;
mod receipt;
mod verify;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bytecave_core::proof::ChallengeCount;
use clap::Subcommand;
use serde_json::error::Category;

use super::context::Context;
use super::error::CliError;
use super::exit::Exit;

/// Longest file with a proof or receipts: a proof of 32 leaves has at most some 160 KiB as a node writes
/// it, and a receipt below 1 KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Commands about proofs.
#[derive(Debug, Subcommand)]
pub(crate) enum ProofCommand {
    /// Let the running node show that it holds a blob
    Make(make::MakeArgs),
    /// Check a proof, without a node
    Verify(verify::VerifyArgs),
    /// Check the receipts of stored blobs, without a node
    VerifyReceipt(receipt::ReceiptArgs),
}

pub(crate) fn run(context: &Context, command: &ProofCommand) -> Result<Exit, CliError> {
    match command {
        ProofCommand::Make(args) => make::run(context, args).map(|()| Exit::Done),
        ProofCommand::Verify(args) => verify::run(context, args),
        ProofCommand::VerifyReceipt(args) => receipt::run(context, args),
    }
}

/// 32 bytes as hex digits.
#[derive(Debug, Clone, Copy)]
struct Hex32([u8; 32]);

impl FromStr for Hex32 {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| "expected 64 hex digits")?;
        Ok(Self(bytes))
    }
}

/// A number of leaves.
fn count(text: &str) -> Result<ChallengeCount, String> {
    let number: u64 = text
        .parse()
        .map_err(|_| "expected a number from 1 to 32".to_owned())?;
    ChallengeCount::new(number).map_err(|error| error.to_string())
}

/// A file of JSON, `-` being standard input; never more than its bound.
fn read(path: &Path) -> Result<Vec<u8>, CliError> {
    let bounded = |source: &mut dyn Read| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        source.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let why = format!("it has more than {MAX_FILE_BYTES} bytes");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, why));
        }
        Ok(bytes)
    };
    let bytes = if path == Path::new("-") {
        bounded(&mut io::stdin().lock())
    } else {
        File::open(path).and_then(|mut file| bounded(&mut file))
    };
    bytes.map_err(CliError::io("read", path))
}

/// What a file is not.
fn malformed(path: &Path, what: &'static str) -> impl Fn(serde_json::Error) -> CliError {
    let path: PathBuf = path.to_owned();
    move |error| CliError::Malformed {
        path: path.clone(),
        what,
        reason: match error.classify() {
            Category::Eof => "it ends too early".to_owned(),
            _ => error.to_string(),
        },
    }
}
