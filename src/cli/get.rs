//! `get`: a blob from the running node, which is trusted with nothing: the bytes are hashed as they
//! come, and a file appears under its name only when they are those of the CID.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

use bytecave_core::{BlobCid, Digest};
use clap::Args;
use reqwest::{Method, Response};
use ring::digest::{Context as Sha256, SHA256};
use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::json;

use super::client::{Client, Patience};
use super::context::{Context, block_on};
use super::error::CliError;
use super::output::{json_line, short_size};

/// What to do about a file that is there already.
pub(super) const OVERWRITE: &str = "choose another name, or overwrite it with --force";

/// Arguments of `get`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  bytecave get bafkrei… -o photo.jpg
  bytecave get bafkrei… | tar x

With -o the file appears only after its bytes were checked against the CID. Without it the bytes
go to standard output as they come, and the exit code 6 at the end says that they were wrong.")]
pub(crate) struct GetArgs {
    /// CID, or the 64 hex digits of the SHA-256
    cid: BlobCid,
    /// File to write, or a directory in which the CID becomes its name; - is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Overwrite an existing file
    #[arg(short, long, requires = "output")]
    force: bool,
}

pub(crate) fn run(context: &Context, args: &GetArgs) -> Result<(), CliError> {
    let client = context.anonymous_client(Patience::WhileBytesCome)?;
    let cid = args.cid;
    match args
        .output
        .as_deref()
        .filter(|path| *path != Path::new("-"))
    {
        None => block_on(async {
            let insists = args.output.is_some();
            let guarded = !insists && io::stdout().is_terminal();
            let mut sink = StdoutSink { guarded };
            receive(context, &client, cid, |piece| sink.write(piece)).await?;
            io::stdout().lock().flush().map_err(CliError::Stdout)
        }),
        Some(path) => {
            let target = if path.is_dir() {
                path.join(cid.to_string())
            } else {
                path.to_owned()
            };
            if !args.force && target.symlink_metadata().is_ok() {
                return Err(CliError::exists(&target, OVERWRITE));
            }
            let size = block_on(async {
                // Made before the request, so that a wrong path is not found out after the transfer.
                let mut part = Part::create(&target)?;
                let size = receive(context, &client, cid, |piece| part.write(piece)).await?;
                part.keep(args.force)?;
                Ok(size)
            })?;
            if context.out.json {
                let file = target.to_string_lossy();
                json_line(&json!({ "cid": cid, "size": size, "file": file }))
            } else {
                context
                    .out
                    .trace(|| format!("{} written to {}", short_size(size), target.display()));
                Ok(())
            }
        }
    }
}

/// Fetches all bytes, hands them on, and checks them; gives their number.
async fn receive(
    context: &Context,
    client: &Client,
    cid: BlobCid,
    mut sink: impl FnMut(&[u8]) -> Result<(), CliError>,
) -> Result<u64, CliError> {
    let request = client.request(Method::GET, &["retrieve", &cid.to_string()], &[]);
    let mut response: Response = client.send(request).await?;
    let bar = context.out.bar(response.content_length(), &cid.to_string());
    let mut check = Check::of(cid);
    while let Some(piece) = response
        .chunk()
        .await
        .map_err(|error| client.failure(&error))?
    {
        check.update(&piece);
        bar.inc(piece.len() as u64);
        sink(&piece)?;
    }
    bar.finish_and_clear();
    check.finish()
}

/// Compares bytes with the CID they were asked for by.
struct Check {
    expected: BlobCid,
    sha256: Sha256,
    size: u64,
}

impl Check {
    fn of(expected: BlobCid) -> Self {
        Self {
            expected,
            sha256: Sha256::new(&SHA256),
            size: 0,
        }
    }

    fn update(&mut self, piece: &[u8]) {
        self.sha256.update(piece);
        self.size += piece.len() as u64;
    }

    fn finish(self) -> Result<u64, CliError> {
        let actual = BlobCid::from_digest(Digest::finish(self.sha256));
        if actual == self.expected {
            Ok(self.size)
        } else {
            Err(CliError::WrongBytes {
                expected: self.expected,
                actual,
            })
        }
    }
}

/// Standard output; a terminal gets no binary.
struct StdoutSink {
    guarded: bool,
}

impl StdoutSink {
    fn write(&mut self, piece: &[u8]) -> Result<(), CliError> {
        if self.guarded && looks_binary(piece) {
            return Err(CliError::BinaryToTerminal);
        }
        io::stdout()
            .lock()
            .write_all(piece)
            .map_err(CliError::Stdout)
    }
}

/// Text may hold line ends and tabs, but neither NUL nor what commands a terminal.
fn looks_binary(piece: &[u8]) -> bool {
    piece
        .iter()
        .any(|byte| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\r' | b'\t'))
}

/// A file on its way; it disappears unless it is kept.
pub(super) struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
    kept: bool,
}

impl Part {
    /// Beside the target, so that the rename stays within a file system.
    pub(super) fn create(target: &Path) -> Result<Self, CliError> {
        let mut name = std::ffi::OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!(".{}.part", std::process::id()));
        let path = target.with_file_name(name);
        // Never through a link or into a file that somebody else put there.
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(CliError::io("create", &path))?;
        Ok(Self {
            file,
            path,
            target: target.to_owned(),
            kept: false,
        })
    }

    /// Appends to it.
    pub(super) fn write(&mut self, piece: &[u8]) -> Result<(), CliError> {
        self.file
            .write_all(piece)
            .map_err(CliError::io("write", &self.path))
    }

    /// Gives it its name.
    pub(super) fn keep(mut self, overwrite: bool) -> Result<(), CliError> {
        self.file
            .sync_all()
            .map_err(CliError::io("write", &self.path))?;
        if overwrite {
            fs::rename(&self.path, &self.target).map_err(CliError::io("write", &self.target))?;
        } else {
            rename_new(&self.path, &self.target)?;
        }
        self.kept = true;
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.kept {
            // What cannot be removed keeps its telling name.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Renames unless the target came to be meanwhile.
fn rename_new(from: &Path, to: &Path) -> Result<(), CliError> {
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        // Some file systems cannot look and rename in one step.
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) if to.symlink_metadata().is_err() => {
            fs::rename(from, to).map_err(CliError::io("write", to))
        }
        Err(Errno::EXIST | Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            Err(CliError::exists(to, OVERWRITE))
        }
        Err(error) => Err(CliError::io("write", to)(error.into())),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entries(dir: &Path) -> Vec<String> {
        let names = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.collect()
    }

    #[test]
    fn bytes_in_pieces_are_checked_as_a_whole() {
        let mut check = Check::of(BlobCid::of(b"hello world"));
        check.update(b"hello ");
        check.update(b"world");
        assert_eq!(check.finish().unwrap(), 11);
    }

    #[test]
    fn one_wrong_or_missing_byte_is_noticed() {
        for wrong in [&b"hello worle"[..], b"hello worl", b"hello world!", b""] {
            let mut check = Check::of(BlobCid::of(b"hello world"));
            check.update(wrong);
            let error = check.finish().unwrap_err();
            assert_eq!(error.exit().code(), 6);
        }
    }

    #[test]
    fn a_part_that_is_not_kept_leaves_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let mut part = Part::create(&temp.path().join("x")).unwrap();
        part.write(b"half").unwrap();
        assert_eq!(entries(temp.path()).len(), 1);
        drop(part);
        assert_eq!(entries(temp.path()).len(), 0);
    }

    #[test]
    fn a_file_that_appeared_meanwhile_is_not_overwritten() {
        let temp = tempfile::tempdir().unwrap();
        let target = temp.path().join("x");
        let mut part = Part::create(&target).unwrap();
        part.write(b"new").unwrap();
        fs::write(&target, "old").unwrap();
        let error = part.keep(false).unwrap_err();
        assert!(matches!(error, CliError::Exists { .. }));
        assert_eq!(fs::read(&target).unwrap(), b"old");
        assert_eq!(entries(temp.path()), ["x"]);

        let mut part = Part::create(&target).unwrap();
        part.write(b"new").unwrap();
        part.keep(true).unwrap();
        assert_eq!(fs::read(&target).unwrap(), b"new");
        assert_eq!(entries(temp.path()), ["x"]);
    }

    #[test]
    fn text_may_go_to_a_terminal_and_escapes_may_not() {
        assert!(!looks_binary("größer\tthan\r\n".as_bytes()));
        assert!(looks_binary(b"\x1b[2J"));
        assert!(looks_binary(b"PNG\0"));
    }
}
