//! Files that go with their owner.

use std::fs;
use std::path::{Path, PathBuf};

/// A file that is removed when this is dropped.
pub(super) struct TempFile(PathBuf);

impl TempFile {
    /// Owns the file at `path`, which somebody else makes.
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        // Gone already when it was ingested; anything else is left to the next start.
        let _ = fs::remove_file(&self.0);
    }
}
