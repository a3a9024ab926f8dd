//! A small JSON document that survives a restart, in a [`state_file`].

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytecave_messages::state_file;
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
    let problem = match state_file::read(path, LIMIT_BYTES) {
        Ok(None) => return None,
        Ok(Some(bytes)) => match parse(&bytes) {
            Ok(state) => return Some(state),
            Err(problem) => problem,
        },
        Err(error) => error.to_string(),
    };
    state_file::set_aside(path, what, &problem);
    None
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
    state_file::write(path, LIMIT_BYTES, &bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use bytecave_messages::state_file::beside;

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
