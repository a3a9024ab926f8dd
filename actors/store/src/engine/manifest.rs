//! Notices a manifest that was cut short.
//!
//! The manifest lists the files of the database. `RocksDB` takes one that ends early for one whose
//! last entries a crash cut off, opens what it still names, and removes all other files as left
//! over: blobs would be gone without a word. So the length that the manifest once had on disk is
//! noted beside it while the database is open, and one that has become shorter is refused.
//!
//! The note is a lower bound: it is taken a round after the length was seen, when the entries up to
//! it are synced for certain, and is never synced itself. A manifest of another name is a new one,
//! which every open begins.

use std::fs;
use std::io;
use std::path::Path;

use super::open::OpenError;

/// The note, in the directory of the database, which leaves files of other names alone.
const NOTE: &str = "manifest-length";
/// No note is longer: a file name and a number.
const NOTE_MAX_BYTES: u64 = 256;

/// Name and length of a manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Manifest {
    name: String,
    bytes: u64,
}

/// Notes the manifest's length from round to round.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// As it was a round ago.
    seen: Option<Manifest>,
    noted: Option<Manifest>,
}

impl Watch {
    /// Notes the length as it is: right after the open, which syncs what it writes, and at the end.
    pub(super) fn settle(&mut self, dir: &Path) {
        self.seen = current(dir).ok();
        self.round(dir);
    }

    /// Notes the length of the round before, unless it is noted already.
    pub(super) fn round(&mut self, dir: &Path) {
        let current = current(dir).ok();
        let before = std::mem::replace(&mut self.seen, current);
        if before.is_some() && before != self.noted {
            if let Some(manifest) = &before
                && let Err(error) = note(dir, manifest)
            {
                tracing::debug!(%error, "the manifest's length was not noted");
            }
            self.noted = before;
        }
    }
}

/// Whether a database was ever open in this directory.
pub(super) fn was_noted(dir: &Path) -> bool {
    dir.join(NOTE).exists()
}

/// Refuses a manifest that is shorter than it was.
pub(super) fn check(dir: &Path) -> Result<(), OpenError> {
    // Without a readable note or manifest there is nothing to compare; the database says the rest.
    let (Ok(noted), Ok(current)) = (read_note(dir), current(dir)) else {
        return Ok(());
    };
    if noted.name == current.name && current.bytes < noted.bytes {
        return Err(OpenError::ManifestCut {
            path: dir.join(current.name),
            found: current.bytes,
            expected: noted.bytes,
        });
    }
    Ok(())
}

fn current(dir: &Path) -> io::Result<Manifest> {
    let name = fs::read_to_string(dir.join("CURRENT"))?;
    let name = name.trim_end().to_owned();
    let bytes = fs::metadata(dir.join(&name))?.len();
    Ok(Manifest { name, bytes })
}

fn note(dir: &Path, manifest: &Manifest) -> io::Result<()> {
    let new = dir.join(format!("{NOTE}.new"));
    fs::write(&new, format!("{} {}\n", manifest.name, manifest.bytes))?;
    fs::rename(new, dir.join(NOTE))
}

fn read_note(dir: &Path) -> io::Result<Manifest> {
    let path = dir.join(NOTE);
    let malformed = || io::Error::from(io::ErrorKind::InvalidData);
    if fs::metadata(&path)?.len() > NOTE_MAX_BYTES {
        return Err(malformed());
    }
    let text = fs::read_to_string(path)?;
    let (name, bytes) = text.trim_end().split_once(' ').ok_or_else(malformed)?;
    let bytes = bytes.parse().map_err(|_| malformed())?;
    let name = name.to_owned();
    Ok(Manifest { name, bytes })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn database(bytes: usize) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("CURRENT"), "MANIFEST-000005\n").unwrap();
        fs::write(dir.path().join("MANIFEST-000005"), vec![0; bytes]).unwrap();
        dir
    }

    #[test]
    fn a_shorter_manifest_is_refused_and_a_longer_one_is_not() {
        let dir = database(1000);
        let mut watch = Watch::default();
        watch.round(dir.path());
        assert!(check(dir.path()).is_ok(), "noted a round later");
        watch.round(dir.path());
        let manifest = dir.path().join("MANIFEST-000005");
        fs::write(&manifest, vec![0; 1200]).unwrap();
        assert!(check(dir.path()).is_ok());
        fs::write(&manifest, vec![0; 999]).unwrap();
        let refused = check(dir.path()).unwrap_err().to_string();
        assert!(
            refused.contains("999") && refused.contains("1000"),
            "{refused}"
        );
    }

    #[test]
    fn a_new_manifest_and_a_spoilt_note_are_no_reason_to_refuse() {
        let dir = database(1000);
        let mut watch = Watch::default();
        watch.round(dir.path());
        watch.round(dir.path());
        fs::write(dir.path().join("CURRENT"), "MANIFEST-000009\n").unwrap();
        fs::write(dir.path().join("MANIFEST-000009"), "x").unwrap();
        assert!(check(dir.path()).is_ok());
        for spoilt in ["", "MANIFEST-000009", "MANIFEST-000009 many"] {
            fs::write(dir.path().join(NOTE), spoilt).unwrap();
            assert!(check(dir.path()).is_ok(), "{spoilt}");
        }
    }
}
