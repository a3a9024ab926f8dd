//! `cid`: what a file is called and committed to, without a node and with constant memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use bytecave_core::tree::{GROUP_BYTES, TreeFold, group_hashes};
use bytecave_core::{BlobCid, BlobRoot, Commitment, Digest};
use clap::Args;
use ring::digest::{Context as Sha256, SHA256};
use serde_json::json;

use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{Fields, json_line, line, printable, size};

/// Read at once: whole groups of the blob tree.
const BUFFER_BYTES: usize = 32 * GROUP_BYTES;

/// Arguments of `cid`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave cid photo.jpg
  tar c dir | bytecave cid -q -

The CID holds the digest that sha256sum prints; get accepts either.")]
pub(crate) struct CidArgs {
    /// Files; - is standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Print only the CID
    #[arg(short, long)]
    quiet: bool,
}

/// What follows from a blob's bytes alone.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) cid: BlobCid,
    pub(super) size: u64,
    pub(super) root: BlobRoot,
    pub(super) commitment: Commitment,
}

pub(crate) fn run(context: &Context, args: &CidArgs) -> Result<(), CliError> {
    let name = |path: &PathBuf| printable(&path.to_string_lossy());
    block_on(context.each(&args.files, name, async |path| {
        show(context, args, path, &name_file(context, path)?)
    }))
}

/// Reads a file, `-` being standard input, for what follows from its bytes.
pub(super) fn name_file(context: &Context, path: &Path) -> Result<Named, CliError> {
    let bar = context.out.bar(length(path), &path.to_string_lossy());
    let named = read_and_name(path, |bytes| bar.inc(bytes));
    bar.finish_and_clear();
    named
}

fn show(context: &Context, args: &CidArgs, path: &Path, named: &Named) -> Result<(), CliError> {
    let file = printable(&path.to_string_lossy());
    if context.out.json {
        return json_line(&json!({
            "file": path.to_string_lossy(),
            "cid": named.cid,
            "size": named.size,
            "sha256": named.cid.digest().to_hex(),
            "blobRoot": named.root.to_string(),
            "commitment": named.commitment.to_string(),
        }));
    }
    if args.quiet {
        return line(named.cid);
    }
    line(
        Fields::default()
            .with("file", file)
            .with("cid", named.cid)
            .with("size", size(named.size))
            .with("sha256", named.cid.digest().to_hex())
            .with("blobRoot", named.root)
            .with("commitment", named.commitment),
    )
}

/// The length of a file, where that is known.
pub(super) fn length(path: &Path) -> Option<u64> {
    std::fs::metadata(path)
        .ok()
        .filter(std::fs::Metadata::is_file)
        .map(|meta| meta.len())
}

fn read_and_name(path: &Path, progress: impl Fn(u64)) -> Result<Named, CliError> {
    let named = if path == Path::new("-") {
        name_content(io::stdin().lock(), progress)
    } else {
        name_content(
            File::open(path).map_err(CliError::io("open", path))?,
            progress,
        )
    };
    named.map_err(CliError::io("read", path))
}

/// Reads `content` to its end; `progress` hears how much was read each time.
fn name_content(mut content: impl Read, progress: impl Fn(u64)) -> io::Result<Named> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut sha256 = Sha256::new(&SHA256);
    let mut tree = TreeFold::default();
    let mut size = 0;
    loop {
        let piece = fill(&mut content, &mut buffer)?;
        sha256.update(piece);
        // A piece shorter than the buffer is the last, so every other ends at a group's end.
        group_hashes(piece).for_each(|group| tree.push(group));
        size += piece.len() as u64;
        progress(piece.len() as u64);
        if piece.len() < BUFFER_BYTES {
            break;
        }
    }
    let root = tree.into_blob_root();
    Ok(Named {
        cid: BlobCid::from_digest(Digest::finish(sha256)),
        size,
        root,
        commitment: Commitment::of(size, &root),
    })
}

/// Reads until the buffer is full or the content ends; pipes give less than they are asked for.
fn fill<'buffer>(content: &mut impl Read, buffer: &'buffer mut [u8]) -> io::Result<&'buffer [u8]> {
    let mut filled = 0;
    while let Some(free) = buffer.get_mut(filled..).filter(|free| !free.is_empty()) {
        match content.read(free) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer.get(..filled).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_core::tree::blob_root;

    use super::*;

    /// Gives a few bytes at a time, as a pipe does.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = self.0.len().min(buffer.len()).min(7919);
            let (now, later) = self.0.split_at(most);
            buffer[..most].copy_from_slice(now);
            self.0 = later;
            Ok(most)
        }
    }

    #[test]
    fn a_stream_is_named_like_the_whole() {
        for size in [
            0,
            1,
            GROUP_BYTES,
            BUFFER_BYTES - 1,
            BUFFER_BYTES,
            BUFFER_BYTES + 1,
            3 * BUFFER_BYTES,
        ] {
            let content: Vec<u8> = (0..size)
                .map(|at| u8::try_from(at % 251).unwrap())
                .collect();
            let named = name_content(Trickle(&content), |_| ()).unwrap();
            let root = blob_root(&content);
            let whole = Named {
                cid: BlobCid::of(&content),
                size: size as u64,
                root,
                commitment: Commitment::of(size as u64, &root),
            };
            assert_eq!(named, whole, "{size} bytes");
        }
    }

    #[test]
    fn a_read_error_is_not_taken_for_the_end() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        assert!(name_content(io::repeat(1).take(10).chain(Broken), |_| ()).is_err());
    }
}
