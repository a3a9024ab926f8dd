//! A small JSON document that survives a restart: mode 0600, written into a temporary file that is synced
//! and renamed, so that a crash leaves the old or the new one. Read like anything that others wrote:
//! bounded, and what cannot be read is set aside and never stops the start.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::blocking::blocking;

/// The form that is written and read.
const VERSION: u32 = 1;
/// Longest file that is read or written: 4096 peers and as many blobs to ask for again are 2 MiB.
const LIMIT_BYTES: usize = 8 << 20;

/// The document as it is written. None of the names is safe to change.
#[derive(Debug, Serialize, Deserialize)]
struct Written<T> {
    version: u32,
    state: T,
}

/// The file. Clones are of the same.
#[derive(Debug, Clone)]
pub(crate) struct StateFile {
    path: PathBuf,
    /// What is forgotten without it.
    what: &'static str,
    /// Held while it is written: a write that was given up goes on behind the back of its caller.
    writing: Arc<Mutex<Failing>>,
}

/// Whether the last write failed, which is said once.
#[derive(Debug, Default)]
struct Failing(bool);

impl StateFile {
    pub(crate) fn new(path: PathBuf, what: &'static str) -> Self {
        Self {
            path,
            what,
            writing: Arc::default(),
        }
    }

    /// What survived; nothing when there is no file, or none that can be read.
    pub(crate) async fn load<T>(&self) -> Option<T>
    where
        T: DeserializeOwned + Send + 'static,
    {
        let (path, what) = (self.path.clone(), self.what);
        let loaded = blocking(move || load(&path, what)).await;
        loaded.ok().flatten()
    }

    /// Writes; whether that succeeded.
    pub(crate) async fn save<T: Serialize + Send + 'static>(&self, state: T) -> bool {
        let file = self.clone();
        let saved = blocking(move || {
            let mut failing = file.writing.lock().unwrap_or_else(PoisonError::into_inner);
            let written = write(&file.path, &state);
            if let Err(error) = &written
                && !failing.0
            {
                let (path, what) = (file.path.display(), file.what);
                tracing::warn!(%path, what, %error, "cannot write this down; a restart forgets it");
            }
            failing.0 = written.is_err();
            written.is_ok()
        });
        saved.await.unwrap_or(false)
    }
}

fn load<T: DeserializeOwned>(path: &Path, what: &str) -> Option<T> {
    let problem = match read(path) {
        Ok(None) => return None,
        Ok(Some(bytes)) => match parse(&bytes) {
            Ok(state) => return Some(state),
            Err(problem) => problem,
        },
        Err(error) => error.to_string(),
    };
    set_aside(path, what, &problem);
    None
}

/// Renames what cannot be read, so that it is not written over.
pub(crate) fn set_aside(path: &Path, what: &str, problem: &str) {
    let aside = beside(path, ".damaged");
    let (from, path, kept_as) = (path, path.display(), aside.display());
    match fs::rename(from, &aside) {
        Ok(()) => tracing::warn!(
            %path,
            what,
            %kept_as,
            problem,
            "a file cannot be read; what it held begins anew"
        ),
        Err(error) => tracing::warn!(
            %path,
            what,
            problem,
            %error,
            "a file can neither be read nor set aside"
        ),
    }
}

/// The same path with this behind its name.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens the file for reading; none if there is no file.
pub(crate) fn open(path: &Path) -> io::Result<Option<File>> {
    let about = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        about => about?,
    };
    // A pipe would be waited for without end.
    if !about.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    File::open(path).map(Some)
}

fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(LIMIT_BYTES).unwrap_or(u64::MAX);
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LIMIT_BYTES {
        return Err(io::Error::other(format!(
            "it is longer than {LIMIT_BYTES} bytes"
        )));
    }
    Ok(Some(bytes))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let failed = |error: serde_json::Error| error.to_string();
    let Version { version } = serde_json::from_slice(bytes).map_err(failed)?;
    if version != VERSION {
        return Err(format!("it is of version {version}, not {VERSION}"));
    }
    let written: Written<T> = serde_json::from_slice(bytes).map_err(failed)?;
    Ok(written.state)
}

fn write<T: Serialize>(path: &Path, state: &T) -> io::Result<()> {
    let version = VERSION;
    let bytes = serde_json::to_vec(&Written { version, state })?;
    if bytes.len() > LIMIT_BYTES {
        return Err(io::Error::other(format!(
            "{} bytes are more than the {LIMIT_BYTES} that are read again",
            bytes.len()
        )));
    }
    replace(path, |file| file.write_all(&bytes))
}

/// Makes the directory that `path` is to stand in.
pub(crate) fn make_directory(path: &Path) -> io::Result<&Path> {
    let directory = path
        .parent()
        .ok_or_else(|| io::Error::other("it is in no directory"))?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    Ok(directory)
}

/// Replaces the file: after this, and after a crash in it, there is a whole one.
pub(crate) fn replace(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let directory = make_directory(path)?;
    let temporary = beside(path, ".tmp");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    write(&mut file)?;
    file.sync_all()?;
    drop(file);
    fs::rename(&temporary, path)?;
    File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn it_survives_is_private_and_what_cannot_be_read_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("made").join("state.json");
        let file = StateFile::new(path.clone(), "numbers");
        assert_eq!(file.load::<Vec<u32>>().await, None);
        assert!(file.save(vec![1, 2]).await);
        assert!(file.save(vec![1, 2, 3]).await);
        assert_eq!(file.load().await, Some(vec![1, 2, 3]));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        for damaged in [
            &b"{\"version\":1,\"sta"[..],
            b"{\"version\":2,\"state\":[]}",
            &vec![b' '; LIMIT_BYTES + 1],
        ] {
            fs::write(&path, damaged).unwrap();
            assert_eq!(file.load::<Vec<u32>>().await, None);
            assert_eq!(fs::read(beside(&path, ".damaged")).unwrap(), damaged);
            assert!(!path.exists());
        }
    }

    #[tokio::test]
    async fn a_directory_that_cannot_be_made_is_no_reason_to_stop() {
        let dir = tempfile::tempdir().unwrap();
        let in_the_way = dir.path().join("file");
        fs::write(&in_the_way, b"").unwrap();
        let file = StateFile::new(in_the_way.join("state.json"), "numbers");
        assert!(!file.save(vec![1]).await);
        assert_eq!(file.load::<Vec<u32>>().await, None);
        fs::remove_file(&in_the_way).unwrap();
        assert!(file.save(vec![1]).await);
    }
}
