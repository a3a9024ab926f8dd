//! The blobs of a run: numbers for those to come, and a list of those that can be read, which may be kept
//! in a file.

use std::fs;
use std::io::{self, Write as _};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use hyper::Uri;
use serde::{Deserialize, Serialize};

use crate::content::BlobSeed;
use crate::random::SplitMix;

/// A blob that is stored and can be retrieved.
#[derive(Clone, Debug)]
pub(super) struct StoredBlob {
    /// Where it is read.
    pub(super) uri: Uri,
    /// What it holds.
    pub(super) seed: BlobSeed,
    /// Its size in bytes.
    pub(super) size: u64,
}

/// Hands out content that nobody has stored before.
#[derive(Debug)]
pub(super) struct Numbers {
    run: u64,
    next: AtomicU64,
}

/// A blob to be stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct FreshBlob {
    /// Its number within the run.
    pub(super) number: u64,
    /// What it holds.
    pub(super) seed: BlobSeed,
}

impl Numbers {
    /// Of the run that drew `run`.
    pub(super) const fn new(run: u64) -> Self {
        Self {
            run,
            next: AtomicU64::new(0),
        }
    }

    /// The next one.
    pub(super) fn take(&self) -> FreshBlob {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        FreshBlob {
            number,
            seed: BlobSeed::new(self.run, number),
        }
    }

    /// The run's number, which no other run has.
    pub(super) const fn run(&self) -> u64 {
        self.run
    }
}

/// One of `blobs`, each as likely.
pub(super) fn pick<'a>(blobs: &'a [StoredBlob], random: &mut SplitMix) -> Option<&'a StoredBlob> {
    blobs.get(random.below(blobs.len()))
}

/// A line of a list.
#[derive(Serialize, Deserialize)]
struct Line {
    path: String,
    seed: BlobSeed,
    size: u64,
}

/// Writes a list of blobs, one line of JSON for each.
pub(super) fn write_list(path: &Path, blobs: &[StoredBlob]) -> io::Result<()> {
    let mut text = Vec::new();
    for blob in blobs {
        let line = Line {
            path: blob.uri.to_string(),
            seed: blob.seed,
            size: blob.size,
        };
        serde_json::to_writer(&mut text, &line)?;
        writeln!(text)?;
    }
    fs::write(path, text)
}

/// Reads such a list; `None` where there is no file.
pub(super) fn read_list(path: &Path) -> io::Result<Option<Vec<StoredBlob>>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let malformed = |error: &dyn std::error::Error, number: usize| {
        let said = format!("line {number}: {error}");
        io::Error::new(io::ErrorKind::InvalidData, said)
    };
    let blobs = text.lines().zip(1..).map(|(line, number)| {
        let line: Line = serde_json::from_str(line).map_err(|error| malformed(&error, number))?;
        Ok(StoredBlob {
            uri: line
                .path
                .parse()
                .map_err(|error: hyper::http::uri::InvalidUri| malformed(&error, number))?,
            seed: line.seed,
            size: line.size,
        })
    });
    blobs.collect::<io::Result<_>>().map(Some)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_list_is_read_as_it_was_written() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("blobs");
        assert!(read_list(&file).unwrap().is_none());
        let blob = |number| StoredBlob {
            uri: format!("/retrieve/bafk{number}").parse().unwrap(),
            seed: BlobSeed::new(u64::MAX, number),
            size: number,
        };
        let blobs: Vec<StoredBlob> = (0..3).map(blob).collect();
        write_list(&file, &blobs).unwrap();
        let read = read_list(&file).unwrap().unwrap();
        let parts = |blobs: &[StoredBlob]| -> Vec<_> {
            let parts = |blob: &StoredBlob| (blob.uri.clone(), blob.seed, blob.size);
            blobs.iter().map(parts).collect()
        };
        assert_eq!(parts(&read), parts(&blobs));
    }

    #[test]
    fn a_file_that_is_no_list_is_refused_with_the_line() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("blobs");
        let good = r#"{"path":"/retrieve/x","seed":1,"size":1}"#;
        fs::write(&file, format!("{good}\nnonsense\n")).unwrap();
        let error = read_list(&file).unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }
}
