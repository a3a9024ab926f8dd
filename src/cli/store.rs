//! `store`: files and streams into the running node.
//!
//! The bytes are hashed on their way out, and the node's answer is compared with that hash: what a
//! damaged connection or disk changed is noticed at once.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytecave_core::proof::Receipt;
use bytecave_core::{BlobCid, Digest};
use clap::Args;
use futures_util::{Stream, StreamExt};
use indicatif::ProgressBar;
use reqwest::header::{CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use reqwest::{Body, Method, StatusCode, Url};
use ring::digest::{Context as Sha256, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::io::AsyncRead;
use tokio_util::bytes::Bytes;
use tokio_util::io::ReaderStream;

use super::cid::length;
use super::client::{Client, Patience};
use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{json_line, line, printable, short_size};
use super::receipts::Receipts;

/// Read and sent at once.
const PIECE_BYTES: usize = 256 << 10;

/// Arguments of `store`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave store photo.jpg notes.txt
  tar c dir | bytecave store --name dir.tar --type application/x-tar -
  CID=$(bytecave store -q photo.jpg)
  bytecave store --replicas 3 photo.jpg
  bytecave store --receipt photo.receipt photo.jpg

Prints CID, size and name of each file. Storing the same bytes again changes nothing.

With --replicas it also prints how many durable copies there are, of how many there shall be, and ends
with 10 when they are fewer than asked for: the blob is stored, and the rest are made in the background.

With --receipt the node's signed word that it keeps the blob durably is checked and kept, one receipt on a
line: bytecave proof verify-receipt reads it.")]
pub(crate) struct StoreArgs {
    /// Files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Media type that the node gives back with the bytes
    #[arg(
        long = "type",
        value_name = "TYPE",
        default_value = "application/octet-stream"
    )]
    content_type: String,
    /// Name kept with the blob, instead of the file's own
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Keep no name
    #[arg(long, conflicts_with = "name")]
    no_name: bool,
    /// What the bytes must be; anything else is refused by the node
    #[arg(long, value_name = "CID")]
    expect: Option<BlobCid>,
    /// Wait until this many nodes have it durably, this one included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    replicas: Option<u32>,
    /// New file for the node's signed receipts
    #[arg(long, value_name = "FILE")]
    receipt: Option<PathBuf>,
    /// Print only the CID
    #[arg(short, long)]
    quiet: bool,
}

/// A node's answer, and what its status says.
struct Answered {
    stored: Stored,
    new: bool,
    /// Fewer copies than asked for.
    fewer: bool,
}

/// A node's answer to a store: what is looked at, and all the rest for `--json`.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    cid: BlobCid,
    size: u64,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

pub(crate) fn run(context: &Context, args: &StoreArgs) -> Result<(), CliError> {
    let client = context.client(Patience::Endless)?;
    let name = |path: &PathBuf| printable(&path.to_string_lossy());
    let receipts = args.receipt.as_deref();
    let mut receipts = receipts.map(Receipts::new).transpose()?;
    block_on(context.each(&args.files, name, async |path| {
        let answered = store(context, &client, args, path).await?;
        let Answered { stored, new, fewer } = &answered;
        if context.out.json {
            json_line(stored)?;
        } else if args.quiet {
            line(stored.cid)?;
        } else {
            let already = if *new { "" } else { "  (was here already)" };
            let size = short_size(stored.size);
            let copies = args.replicas.and_then(|_| stored.copies());
            line(format_args!(
                "{}  {size:>10}  {}{already}{}",
                stored.cid,
                name(path),
                copies.unwrap_or_default()
            ))?;
        }
        if let Some(receipts) = &mut receipts {
            receipts.keep(
                name(path),
                stored.cid,
                stored.size,
                stored.receipt(client.base())?,
            )?;
        }
        match args.replicas {
            Some(asked) if *fewer => Err(CliError::FewerCopies {
                name: name(path),
                asked,
                confirmed: stored.replica("confirmed").unwrap_or_default(),
            }),
            _ => Ok(()),
        }
    }))
}

impl Stored {
    fn replica(&self, which: &str) -> Option<u64> {
        self.rest.get("replicas")?.get(which)?.as_u64()
    }

    /// The node's signed word, if it gave one.
    fn receipt(&self, url: &Url) -> Result<Option<Receipt>, CliError> {
        let receipt = self.rest.get("receipt").filter(|given| !given.is_null());
        let receipt = receipt.map(Receipt::deserialize).transpose();
        receipt.map_err(|error| CliError::Strange {
            url: url.to_string(),
            reason: format!("receipt: {error}"),
        })
    }

    /// How many copies there are, of how many.
    fn copies(&self) -> Option<String> {
        let (confirmed, target) = (self.replica("confirmed")?, self.replica("target")?);
        Some(format!("  ({confirmed} of {target} copies)"))
    }
}

async fn store(
    context: &Context,
    client: &Client,
    args: &StoreArgs,
    path: &Path,
) -> Result<Answered, CliError> {
    let label = path.to_string_lossy();
    let bar = context.out.bar(length(path), &label);
    let watch = Watch::new(bar.clone());
    let replicas = args.replicas.map(|n| ("replicas", n.to_string()));
    let mut request = client
        .request(Method::POST, &["store"], replicas.as_slice())
        .header(CONTENT_TYPE, &args.content_type);
    if let Some(name) = kept_name(args, path) {
        request = request.header(CONTENT_DISPOSITION, disposition(&name));
    }
    if let Some(expected) = &args.expect {
        request = request.header("x-content-cid", expected.to_string());
    }
    request = if path == Path::new("-") {
        request.body(Body::wrap_stream(watch.over(tokio::io::stdin())))
    } else {
        let file = tokio::fs::File::open(path)
            .await
            .map_err(CliError::io("open", path))?;
        let meta = file.metadata().await.map_err(CliError::io("read", path))?;
        if meta.is_dir() {
            return Err(CliError::io("store", path)(
                io::ErrorKind::IsADirectory.into(),
            ));
        }
        if meta.is_file() {
            // A file that grows meanwhile is stored as it was; one that shrinks fails.
            request = request.header(CONTENT_LENGTH, meta.len());
            request.body(Body::wrap_stream(
                watch.over(tokio::io::AsyncReadExt::take(file, meta.len())),
            ))
        } else {
            request.body(Body::wrap_stream(watch.over(file)))
        }
    };
    let answer = client.send(request).await;
    bar.finish_and_clear();
    let (actual, failure) = watch.end();
    if let Some(failure) = failure {
        return Err(CliError::io("read", path)(failure));
    }
    let answer = answer?;
    let status = answer.status();
    let stored: Stored = client.read_json(answer).await?;
    if stored.cid == actual {
        Ok(Answered {
            stored,
            // Of what came with fewer copies it is not told.
            new: status != StatusCode::OK,
            fewer: status == StatusCode::ACCEPTED,
        })
    } else {
        Err(CliError::WrongName {
            name: printable(&label),
            answered: stored.cid,
            actual,
        })
    }
}

/// What the blob is called at the node: never a path, since that says more than the name.
fn kept_name(args: &StoreArgs, path: &Path) -> Option<String> {
    if args.no_name {
        return None;
    }
    let own = || {
        path.file_name()
            .filter(|_| path != Path::new("-"))
            .map(|name| name.to_string_lossy().into_owned())
    };
    args.name
        .clone()
        .or_else(own)
        .filter(|name| !name.is_empty())
}

/// `Content-Disposition` with the name in both forms of RFC 6266.
fn disposition(name: &str) -> String {
    let plain: String = name
        .chars()
        .map(|char| {
            if char.is_ascii_graphic() && !matches!(char, '"' | '\\') || char == ' ' {
                char
            } else {
                '_'
            }
        })
        .collect();
    if plain == name {
        return format!("attachment; filename=\"{plain}\"");
    }
    let mut encoded = String::new();
    for byte in name.bytes() {
        // The attr-char of RFC 8187.
        if byte.is_ascii_alphanumeric() || b"!#$&+-.^_`|~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 0xf)]);
        }
    }
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(nibble.into(), 16)
        .unwrap_or('0')
        .to_ascii_uppercase()
}

/// Sees the bytes go by: hashes them, moves the bar, keeps an error of the file that reqwest would
/// report as one of the connection.
#[derive(Clone)]
struct Watch {
    seen: Arc<Mutex<Seen>>,
    bar: ProgressBar,
}

struct Seen {
    sha256: Sha256,
    failure: Option<io::Error>,
}

impl Watch {
    fn new(bar: ProgressBar) -> Self {
        let seen = Seen {
            sha256: Sha256::new(&SHA256),
            failure: None,
        };
        Self {
            seen: Arc::new(Mutex::new(seen)),
            bar,
        }
    }

    fn over<T: AsyncRead>(&self, source: T) -> impl Stream<Item = io::Result<Bytes>> + use<T> {
        let watch = self.clone();
        ReaderStream::with_capacity(source, PIECE_BYTES).map(move |piece| {
            let mut seen = watch.seen.lock().unwrap_or_else(PoisonError::into_inner);
            match piece {
                Ok(bytes) => {
                    seen.sha256.update(&bytes);
                    watch.bar.inc(bytes.len() as u64);
                    Ok(bytes)
                }
                Err(error) => {
                    let kind = error.kind();
                    seen.failure = Some(error);
                    Err(kind.into())
                }
            }
        })
    }

    /// The name of what went by, and what stopped it.
    fn end(&self) -> (BlobCid, Option<io::Error>) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        (
            BlobCid::from_digest(Digest::finish(seen.sha256.clone())),
            seen.failure.take(),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn names_are_quoted_for_every_reader() {
        assert_eq!(disposition("a b.txt"), "attachment; filename=\"a b.txt\"");
        assert_eq!(
            disposition("é\"\n.txt"),
            "attachment; filename=\"___.txt\"; filename*=UTF-8''%C3%A9%22%0A.txt"
        );
    }

    #[tokio::test]
    async fn what_goes_by_is_hashed_and_an_error_kept() {
        let watch = Watch::new(ProgressBar::hidden());
        let content = vec![7u8; PIECE_BYTES * 2 + 3];
        let pieces: Vec<_> = watch.over(content.as_slice()).collect().await;
        assert!(pieces.iter().all(Result::is_ok));
        let (cid, failure) = watch.end();
        assert_eq!(cid, BlobCid::of(&content));
        assert!(failure.is_none());

        let directory = tokio::fs::File::open(std::env::temp_dir()).await.unwrap();
        let watch = Watch::new(ProgressBar::hidden());
        let pieces: Vec<_> = watch.over(directory).collect().await;
        assert!(pieces.last().unwrap().is_err());
        assert_eq!(watch.end().1.unwrap().kind(), io::ErrorKind::IsADirectory);
    }
}
