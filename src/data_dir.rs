//! The data directory: who may use it, and the keys in it.
//!
//! ```text
//! LOCK              held while a process uses the directory; contains its process id
//! keys/private.key  the node's Ed25519 key, libp2p protobuf (0600)
//! keys/public.key   its public half, 0x and 64 hex digits (0600)
//! keys/unlock.key   opens the keyring in db/ (0600); elsewhere by store.unlock_key_file
//! keys/api-token    what callers of protected routes show (0600)
//! db/               RocksDB
//! p2p/              which peers are remembered
//! tmp/              uploads on their way; emptied at each start
//! ```
//!
//! Secrets are written whole or not at all: to a temporary name, synced, renamed, directory synced.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytecave_config::Config;
use bytecave_core::{IdentityError, NodeIdentity};
use bytecave_store::engine::UnlockSecret;
use ring::rand::{SecureRandom, SystemRandom};
use rustix::fs::{FlockOperation, flock};
use thiserror::Error;
use zeroize::Zeroizing;

/// What may stand in a data directory; `lost+found` is a fresh volume's.
const OURS: [&str; 6] = ["LOCK", "keys", "db", "p2p", "tmp", "lost+found"];
/// What a salvage leaves beside the database: the damaged one, or a half-made new one.
const SALVAGE: &str = "db.";
/// What the first ByteCave's data directories hold.
const FIRST_BYTECAVE: [&str; 2] = ["blobs", "p2p/peer-id.json"];
/// No key file of ours is longer.
const MAX_SECRET_BYTES: u64 = 64 * 1024;

/// Why a data directory cannot be used.
#[derive(Debug, Error)]
pub(crate) enum DataDirError {
    /// The file system said no.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    /// Another process has it.
    #[error(
        "{} is in use by another process{}: stop it first, or choose another DATA_DIR", path.display(),
        holder.as_ref().map(|id| format!(" (id {id})")).unwrap_or_default()
    )]
    InUse {
        path: PathBuf,
        holder: Option<String>,
    },
    /// It belongs to the first ByteCave.
    #[error(
        "{} is the data directory of the first ByteCave (it holds \"{found}\"): choose an empty DATA_DIR and store its blobs again",
        path.display()
    )]
    FirstByteCave { path: PathBuf, found: String },
    /// It belongs to something else.
    #[error("{} holds \"{found}\", which is not ByteCave's: choose an empty DATA_DIR", path.display())]
    Foreign { path: PathBuf, found: String },
    /// There is a database, but not the key that belongs to it.
    #[error(
        "{} is missing, but {} holds a database that needs it: put the file back from your backup of keys/",
        missing.display(), database.display()
    )]
    KeyMissing { missing: PathBuf, database: PathBuf },
    /// The node's private key cannot be used.
    #[error("{}: {source}; put the file back from your backup of keys/", path.display())]
    Identity {
        path: PathBuf,
        source: IdentityError,
    },
    /// A file that should hold a secret does not.
    #[error("{} does not hold {expected}; found {found} bytes", path.display())]
    Malformed {
        path: PathBuf,
        expected: &'static str,
        found: usize,
    },
    /// The system's random generator failed.
    #[error("the system gave no random bytes for a new key")]
    NoRandom,
}

/// An opened data directory; the lock is held as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    root: PathBuf,
    /// Closing the file frees the lock, also when the process is killed.
    _lock: File,
    /// Whether there was no database yet.
    first_start: bool,
}

/// The keys of a node.
pub(crate) struct Keys {
    pub(crate) identity: Arc<NodeIdentity>,
    pub(crate) unlock: UnlockSecret,
    pub(crate) api_token: Zeroizing<String>,
}

impl DataDir {
    /// Makes the directory if need be, takes its lock and checks that it is ours.
    pub(crate) fn open(root: &Path) -> Result<Self, DataDirError> {
        make_dir(root)?;
        check_entries(root)?;
        let lock = take_lock(root)?;
        let root = root.canonicalize().map_err(io_error("resolve", root))?;
        let first_start = !root.join("db").join("CURRENT").exists();
        make_dir(&root.join("keys"))?;
        Ok(Self {
            root,
            _lock: lock,
            first_start,
        })
    }

    /// Whether there was no database yet.
    pub(crate) fn is_first_start(&self) -> bool {
        self.first_start
    }

    pub(crate) fn db(&self) -> PathBuf {
        self.root.join("db")
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Reads the keys; makes those that a first start lacks.
    pub(crate) fn load_keys(&self, config: &Config) -> Result<Keys, DataDirError> {
        Ok(Keys {
            identity: Arc::new(self.identity()?),
            unlock: self.unlock_secret(config)?,
            api_token: Self::api_token(config)?,
        })
    }

    fn identity(&self) -> Result<NodeIdentity, DataDirError> {
        let path = self.keys().join("private.key");
        let refused = |source| DataDirError::Identity {
            path: path.clone(),
            source,
        };
        let identity = match read_secret(&path)? {
            Some(bytes) => NodeIdentity::from_protobuf(&bytes).map_err(refused)?,
            None if !self.first_start => return Err(self.key_missing(path)),
            None => {
                let identity = NodeIdentity::from_seed(*random()?).map_err(refused)?;
                write_secret(&path, &identity.to_protobuf())?;
                identity
            }
        };
        let public = format!("{}\n", identity.public_key());
        let public_path = self.keys().join("public.key");
        if fs::read_to_string(&public_path).ok().as_ref() != Some(&public) {
            write_secret(&public_path, public.as_bytes())?;
        }
        Ok(identity)
    }

    /// The passphrase where one is set, else the unlock key.
    pub(crate) fn unlock_secret(&self, config: &Config) -> Result<UnlockSecret, DataDirError> {
        if let Some(file) = &config.store.passphrase_file {
            let bytes = required_secret(file.path())?;
            let passphrase =
                String::from_utf8(bytes.to_vec()).map_err(|_| DataDirError::Malformed {
                    path: file.path().to_owned(),
                    expected: "a passphrase in UTF-8",
                    found: bytes.len(),
                })?;
            let passphrase = Zeroizing::new(passphrase);
            let trimmed = passphrase.trim_end_matches(['\r', '\n']);
            if trimmed.is_empty() {
                return Err(DataDirError::Malformed {
                    path: file.path().to_owned(),
                    expected: "a passphrase",
                    found: 0,
                });
            }
            return Ok(UnlockSecret::from_passphrase(trimmed.to_owned()));
        }
        // A relative setting means the working directory; the default lies in the directory itself.
        let path = config.unlock_key_file();
        let key = match read_secret(&path)? {
            Some(bytes) => {
                <[u8; 32]>::try_from(bytes.as_slice()).map_err(|_| DataDirError::Malformed {
                    path: path.clone(),
                    expected: "an unlock key of 32 bytes",
                    found: bytes.len(),
                })?
            }
            None if !self.first_start => return Err(self.key_missing(path)),
            None => {
                let key = random()?;
                write_secret(&path, key.as_ref())?;
                *key
            }
        };
        Ok(UnlockSecret::from_key(key))
    }

    fn api_token(config: &Config) -> Result<Zeroizing<String>, DataDirError> {
        let path = config.api_token_file();
        let Some(bytes) = read_secret(&path)? else {
            let token = Zeroizing::new(hex::encode(random()?.as_ref()));
            write_secret(&path, token.as_bytes())?;
            return Ok(token);
        };
        let token = String::from_utf8_lossy(&bytes).trim().to_owned();
        if token.len() < 16 || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(DataDirError::Malformed {
                path,
                expected: "a token of at least 16 printable characters",
                found: bytes.len(),
            });
        }
        Ok(Zeroizing::new(token))
    }

    fn key_missing(&self, missing: PathBuf) -> DataDirError {
        DataDirError::KeyMissing {
            missing,
            database: self.db(),
        }
    }
}

/// Names of key files that others than their owner can read.
pub(crate) fn exposed_keys(paths: &[PathBuf]) -> Vec<&PathBuf> {
    let exposed = |path: &&PathBuf| {
        fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
    };
    paths.iter().filter(exposed).collect()
}

fn check_entries(root: &Path) -> Result<(), DataDirError> {
    let first = |found: &&str| root.join(found).exists();
    if let Some(found) = FIRST_BYTECAVE.into_iter().find(first) {
        return Err(DataDirError::FirstByteCave {
            path: root.to_owned(),
            found: found.to_owned(),
        });
    }
    let entries = fs::read_dir(root).map_err(io_error("read", root))?;
    let mut foreign = None;
    for entry in entries {
        let name = entry
            .map_err(io_error("read", root))?
            .file_name()
            .to_string_lossy()
            .into_owned();
        if !OURS.contains(&name.as_str()) && !name.starts_with(SALVAGE) {
            foreign = Some(name);
        }
    }
    match foreign {
        Some(found) => Err(DataDirError::Foreign {
            path: root.to_owned(),
            found,
        }),
        None => Ok(()),
    }
}

fn take_lock(root: &Path) -> Result<File, DataDirError> {
    let path = root.join("LOCK");
    let mut lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error("open", &path))?;
    if let Err(error) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(DataDirError::Io {
                action: "lock",
                path,
                source: error.into(),
            });
        }
        let mut holder = String::new();
        let read = Read::by_ref(&mut lock).take(32).read_to_string(&mut holder);
        let holder = read
            .ok()
            .map(|_| holder.trim().to_owned())
            .filter(|id| !id.is_empty());
        return Err(DataDirError::InUse {
            path: root.to_owned(),
            holder,
        });
    }
    let write = |lock: &mut File| {
        lock.set_len(0)?;
        writeln!(lock, "{}", std::process::id())
    };
    write(&mut lock).map_err(io_error("write", &path))?;
    Ok(lock)
}

fn make_dir(path: &Path) -> Result<(), DataDirError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(io_error("make the directory", path))
}

/// A secret file's content; `None` when there is no such file.
fn read_secret(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, DataDirError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(DataDirError::Io {
                action: "open",
                path: path.to_owned(),
                source,
            });
        }
    };
    let mut bytes = Zeroizing::new(Vec::with_capacity(4096));
    file.take(MAX_SECRET_BYTES)
        .read_to_end(&mut bytes)
        .map_err(io_error("read", path))?;
    Ok(Some(bytes))
}

fn required_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, DataDirError> {
    let missing = || io_error("open", path)(io::ErrorKind::NotFound.into());
    read_secret(path)?.ok_or_else(missing)
}

fn write_secret(path: &Path, secret: &[u8]) -> Result<(), DataDirError> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    make_dir(parent)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let temporary = parent.join(name);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(secret)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(parent)?.sync_all()
    };
    write().map_err(io_error("write", path))
}

fn random() -> Result<Zeroizing<[u8; 32]>, DataDirError> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(bytes.as_mut())
        .map_err(|_| DataDirError::NoRandom)?;
    Ok(bytes)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io {
        action,
        path,
        source,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config(root: &Path) -> Config {
        let mut config = Config::built_in().unwrap();
        config.node.data_dir = root.to_owned();
        config
    }

    #[test]
    fn keys_are_made_once_and_private() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("data");
        let first = DataDir::open(&root)
            .unwrap()
            .load_keys(&config(&root))
            .unwrap();
        let again = DataDir::open(&root)
            .unwrap()
            .load_keys(&config(&root))
            .unwrap();
        assert_eq!(first.identity.peer_id(), again.identity.peer_id());
        assert_eq!(first.api_token, again.api_token);
        for key in ["private.key", "public.key", "unlock.key", "api-token"] {
            let mode = fs::metadata(root.join("keys").join(key))
                .unwrap()
                .permissions()
                .mode();
            assert_eq!(mode & 0o777, 0o600, "{key}");
        }
    }

    #[test]
    fn a_second_user_is_refused_and_told_who_has_it() {
        let temp = tempfile::tempdir().unwrap();
        let held = DataDir::open(temp.path()).unwrap();
        let refused = DataDir::open(temp.path()).unwrap_err().to_string();
        assert!(
            refused.contains(&format!("(id {})", std::process::id())),
            "{refused}"
        );
        drop(held);
        assert!(DataDir::open(temp.path()).is_ok());
    }

    #[test]
    fn foreign_directories_are_refused_and_left_alone() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("thesis.tex"), "x").unwrap();
        assert!(matches!(
            DataDir::open(temp.path()),
            Err(DataDirError::Foreign { .. })
        ));
        assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 1);
        fs::create_dir(temp.path().join("blobs")).unwrap();
        assert!(matches!(
            DataDir::open(temp.path()),
            Err(DataDirError::FirstByteCave { .. })
        ));
    }

    #[test]
    fn what_the_network_remembers_is_ours_and_the_first_node_s_is_not() {
        let temp = tempfile::tempdir().unwrap();
        let p2p = temp.path().join("p2p");
        fs::create_dir(&p2p).unwrap();
        fs::write(p2p.join("members.json"), "").unwrap();
        assert!(DataDir::open(temp.path()).is_ok());
        fs::write(p2p.join("peer-id.json"), "").unwrap();
        assert!(matches!(
            DataDir::open(temp.path()),
            Err(DataDirError::FirstByteCave { .. })
        ));
    }

    #[test]
    fn what_a_salvage_left_is_ours() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir(temp.path().join("db.damaged-1795368090382")).unwrap();
        assert!(DataDir::open(temp.path()).is_ok());
    }

    #[test]
    fn a_lost_key_is_never_replaced_by_a_new_one() {
        let temp = tempfile::tempdir().unwrap();
        let config = config(temp.path());
        drop(
            DataDir::open(temp.path())
                .unwrap()
                .load_keys(&config)
                .unwrap(),
        );
        fs::create_dir(temp.path().join("db")).unwrap();
        fs::write(temp.path().join("db/CURRENT"), "").unwrap();
        for key in ["unlock.key", "private.key"] {
            let path = temp.path().join("keys").join(key);
            let kept = fs::read(&path).unwrap();
            fs::remove_file(&path).unwrap();
            let loaded = DataDir::open(temp.path()).unwrap().load_keys(&config);
            assert!(
                matches!(loaded, Err(DataDirError::KeyMissing { .. })),
                "{key}"
            );
            fs::write(&path, kept).unwrap();
        }
    }
}
