//! Small files in which an actor writes down what is to survive a restart: mode 0600, replaced as a whole, so
//! that a crash leaves the old one or the new one, and read like anything that others wrote: bounded, and what
//! cannot be read is set aside and never stops the start. What stands in them is each actor's own.
//!
//! All of this blocks, and belongs into a thread that may.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// The same path with this behind its name.
pub fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Opens the file for reading; none if there is no file.
pub fn open(path: &Path) -> io::Result<Option<File>> {
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

/// The bytes of the file, of which there may be `limit_bytes`; none if there is no file.
pub fn read(path: &Path, limit_bytes: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open(path)? else {
        return Ok(None);
    };
    let mut bytes = Vec::new();
    let limit = u64::try_from(limit_bytes).unwrap_or(u64::MAX);
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes)?;
    if bytes.len() > limit_bytes {
        let problem = format!("it is longer than {limit_bytes} bytes");
        return Err(io::Error::other(problem));
    }
    Ok(Some(bytes))
}

/// Replaces the file by these bytes, of which [`read`] takes `limit_bytes`.
pub fn write(path: &Path, limit_bytes: usize, bytes: &[u8]) -> io::Result<()> {
    if bytes.len() > limit_bytes {
        let many = bytes.len();
        let problem = format!("{many} bytes are more than the {limit_bytes} that are read again");
        return Err(io::Error::other(problem));
    }
    replace(path, |file| file.write_all(bytes))
}

/// Replaces the file: after this, and after a crash in it, there is a whole one.
pub fn replace(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
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

/// Makes the directory that `path` is to stand in.
pub fn make_directory(path: &Path) -> io::Result<&Path> {
    let directory = path
        .parent()
        .ok_or_else(|| io::Error::other("it is in no directory"))?;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)?;
    Ok(directory)
}

/// Renames what cannot be read, so that the next write does not overwrite it, and says so: `what` is found out
/// anew.
pub fn set_aside(path: &Path, what: &str, problem: &str) {
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
