//! Opening the database: what is checked before anything is made, and what each refusal means.

use std::collections::BTreeSet;
use std::fs::{self, DirEntry, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use bytecave_core::{ShardCount, ShardId};
use rocksdb::{ColumnFamilyDescriptor, DB, ErrorKind, Options, WriteBatch};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use thiserror::Error;

use super::keyring::{Keyring, KeyringError};
use super::layout::{
    DEFAULT_FAMILY, FORMAT, FORMAT_KEY, KEYRING_KEY, TRANSIT_FAMILY, parse_shard_family,
    shard_family,
};
use super::manifest;
use super::options::EngineOptions;
use super::record::RecordError;
use super::rocks::{Rocks, write_options};

/// With fewer file descriptors than this a node does not start.
const LEAST_FILES: u64 = 1024;
/// More than this many open files bring nothing.
const MOST_OPEN_FILES: u64 = 4096;

/// Why the engine did not open. Each says what to do about it.
#[derive(Debug, Error)]
pub enum OpenError {
    /// The limit on open files is too low.
    #[error(
        "the limit of {limit} open files is too low: expected at least {LEAST_FILES} (ulimit -n, LimitNOFILE= or --ulimit nofile=4096)"
    )]
    TooFewFiles {
        /// The hard limit.
        limit: u64,
    },
    /// A directory cannot be made, read or written.
    #[error(
        "{path} cannot be used: {cause}; expected a directory that this user may read and write"
    )]
    Unusable {
        /// The directory or file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Temporary files could not be moved into the database.
    #[error("{tmp} lies on another file system than {db}: expected both on the same one")]
    OtherFileSystem {
        /// Directory of temporary files.
        tmp: PathBuf,
        /// Directory of the database.
        db: PathBuf,
    },
    /// Something else lives in the directory.
    #[error(
        "{path} holds {found}, which is not ByteCave's: expected an empty directory or one of ByteCave's, choose another DATA_DIR"
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
        /// What was found there.
        found: String,
    },
    /// Another process has the database open.
    #[error("{path} is in use by another process: stop the other node, or choose another DATA_DIR")]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// A newer version wrote the database.
    #[error(
        "the database has format {found}: this version knows {FORMAT} and older, use the bytecave that wrote it or a newer one"
    )]
    NewerFormat {
        /// The format found.
        found: u16,
    },
    /// The shard count cannot be changed.
    #[error(
        "SHARD_COUNT is {configured} and this data was stored with {stored}: it is fixed at the first start, set SHARD_COUNT={stored} or choose an empty DATA_DIR"
    )]
    OtherShardCount {
        /// That of the first start.
        stored: u16,
        /// That of the configuration.
        configured: u16,
    },
    /// The keyring does not open.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A record that the engine needs does not open.
    #[error("{what} cannot be read: {cause}; `bytecave verify --repair` makes it anew")]
    Record {
        /// Which record.
        what: String,
        /// Why not.
        cause: RecordError,
    },
    /// The write-ahead log is damaged before its end.
    #[error(
        "the write-ahead log is damaged before its end, so acknowledged blobs would be lost: {cause}; `bytecave verify --salvage` opens what can be opened and reports what is gone"
    )]
    LogDamaged {
        /// What the database said.
        cause: String,
    },
    /// The list of the database's files is shorter than it was.
    #[error(
        "{path} was cut short: it has {found} bytes and had {expected}, so stored blobs would be lost; put the file back from a backup, or let `bytecave verify --salvage` open what can be opened and report what is gone"
    )]
    ManifestCut {
        /// The manifest.
        path: PathBuf,
        /// Bytes it has.
        found: u64,
        /// Bytes it had at least.
        expected: u64,
    },
    /// A file of the database is damaged or missing.
    #[error(
        "the database is damaged: {cause}; `bytecave verify --salvage` opens what can be opened and reports what is gone"
    )]
    Damaged {
        /// What the database said, with the file's name.
        cause: String,
    },
    /// Anything else that the database refuses.
    #[error("the database does not open: {cause}")]
    Database {
        /// What the database said.
        cause: String,
    },
    /// No threads.
    #[error("threads of the storage engine could not be started: {cause}")]
    Threads {
        /// What the system said.
        cause: io::Error,
    },
}

/// A database that belongs to this node, and the keyring that opens it.
pub(crate) struct Opened {
    pub(crate) db: DB,
    pub(crate) rocks: Rocks,
    pub(crate) keyring: Keyring,
    /// Every family of a shard there is: owned, or left from an earlier configuration.
    pub(crate) shards: Vec<ShardId>,
    /// Whether this was the first start.
    pub(crate) new: bool,
}

/// Opens the database, making it if there is none yet.
pub(crate) fn open(options: &EngineOptions) -> Result<Opened, OpenError> {
    let open_files = raise_file_limit()?;
    prepare_directories(options)?;
    let count = options.shards.count();
    let rocks = Rocks::new(options, open_files).map_err(|error| OpenError::Database {
        cause: error.into_string(),
    })?;
    manifest::check(&options.db_dir)?;
    let existing = existing_families(&options.db_dir)?;
    let mut families: BTreeSet<String> = options.shards.iter().map(shard_family).collect();
    families.insert(TRANSIT_FAMILY.to_owned());
    families.insert(DEFAULT_FAMILY.to_owned());
    if !existing.is_empty() && !families.is_subset(&existing) {
        // Opening would make the missing families: look first whether this is ours to add to.
        check_before_adding(&options.db_dir, count)?;
    }
    families.extend(existing);
    let shards = shards_of(&families, count, &options.db_dir)?;
    let descriptors = families
        .iter()
        .map(|family| ColumnFamilyDescriptor::new(family, rocks.options.clone()));
    sync_logs(&options.db_dir)?;
    let db = DB::open_cf_descriptors(&rocks.options, &options.db_dir, descriptors)
        .map_err(|error| refusal(&error, &options.db_dir))?;
    let (keyring, new) = identify(&db, options)?;
    Ok(Opened {
        db,
        rocks,
        keyring,
        shards,
        new,
    })
}

/// Syncs the logs of a process that was killed: what it wrote and did not sync is read back from the
/// memory of the system, and must not be taken for durable before it is.
fn sync_logs(dir: &Path) -> Result<(), OpenError> {
    let unusable = |cause| OpenError::Unusable {
        path: dir.to_path_buf(),
        cause,
    };
    for entry in fs::read_dir(dir).map_err(unusable)? {
        let path = entry.map_err(unusable)?.path();
        if path.extension().is_some_and(|kind| kind == "log") {
            File::open(path)
                .and_then(|log| log.sync_data())
                .map_err(unusable)?;
        }
    }
    Ok(())
}

/// Removes what an earlier process left half written.
pub(crate) fn empty_tmp(dir: &Path) -> Result<(), OpenError> {
    let unusable = |cause| OpenError::Unusable {
        path: dir.to_path_buf(),
        cause,
    };
    for entry in fs::read_dir(dir).map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        if entry.file_type().map_err(unusable)?.is_file() {
            fs::remove_file(entry.path()).map_err(unusable)?;
        }
    }
    Ok(())
}

/// Raises the soft limit on open files to the hard one; gives the database's share.
pub(crate) fn raise_file_limit() -> Result<i32, OpenError> {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let wanted = maximum;
    let raised = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: wanted,
            maximum,
        },
    );
    let limit = if raised.is_ok() { wanted } else { current };
    // No limit at all is more than enough.
    let limit = limit.unwrap_or(u64::MAX);
    if limit < LEAST_FILES {
        return Err(OpenError::TooFewFiles { limit });
    }
    let open_files = MOST_OPEN_FILES.min(limit / 2);
    tracing::info!(limit, database = open_files, "open files");
    Ok(i32::try_from(open_files).unwrap_or(i32::MAX))
}

fn prepare_directories(options: &EngineOptions) -> Result<(), OpenError> {
    let device = |path: &Path| {
        fs::create_dir_all(path)
            .and_then(|()| fs::read_dir(path))
            .and_then(|_| fs::metadata(path))
            .map(|metadata| metadata.dev())
            .map_err(|cause| OpenError::Unusable {
                path: path.to_path_buf(),
                cause,
            })
    };
    if device(&options.tmp_dir)? == device(&options.db_dir)? {
        Ok(())
    } else {
        Err(OpenError::OtherFileSystem {
            tmp: options.tmp_dir.clone(),
            db: options.db_dir.clone(),
        })
    }
}

/// The families of the database in `dir`; none if there is no database yet.
fn existing_families(dir: &Path) -> Result<BTreeSet<String>, OpenError> {
    let unusable = |cause| OpenError::Unusable {
        path: dir.to_path_buf(),
        cause,
    };
    if dir.join("CURRENT").try_exists().map_err(unusable)? {
        let families =
            DB::list_cf(&Options::default(), dir).map_err(|error| refusal(&error, dir))?;
        return Ok(families.into_iter().collect());
    }
    if manifest::was_noted(dir) {
        return Err(OpenError::Damaged {
            cause: format!("{} is missing", dir.join("CURRENT").display()),
        });
    }
    for entry in fs::read_dir(dir).map_err(unusable)? {
        let entry = entry.map_err(unusable)?;
        if !begins_a_database(&entry) {
            return Err(OpenError::Foreign {
                path: dir.to_path_buf(),
                found: format!("\"{}\"", entry.file_name().to_string_lossy()),
            });
        }
    }
    Ok(BTreeSet::new())
}

/// Whether this is what a first start leaves that was cut short before the database was there.
fn begins_a_database(entry: &DirEntry) -> bool {
    let name = entry.file_name();
    let name = name.to_string_lossy();
    let begins = |head: &str| name.starts_with(head);
    name == "LOCK"
        || name == "IDENTITY"
        || begins("LOG")
        || begins("MANIFEST-")
        || begins("OPTIONS-")
        || name.ends_with(".dbtmp")
}

/// The shards whose families these are.
fn shards_of(
    families: &BTreeSet<String>,
    count: ShardCount,
    dir: &Path,
) -> Result<Vec<ShardId>, OpenError> {
    families
        .iter()
        .filter(|family| !matches!(family.as_str(), DEFAULT_FAMILY | TRANSIT_FAMILY))
        .map(|family| {
            let foreign = || OpenError::Foreign {
                path: dir.to_path_buf(),
                found: format!("a database with the family \"{family}\""),
            };
            let number = parse_shard_family(family).ok_or_else(foreign)?;
            // A shard beyond the count means that the count was another when it was made.
            if let Ok(shard) = count.shard(number.into()) {
                return Ok(shard);
            }
            check_before_adding(dir, count)?;
            Err(foreign())
        })
        .collect()
}

/// Reads format and shard count without changing anything.
fn check_before_adding(dir: &Path, count: ShardCount) -> Result<(), OpenError> {
    let mut options = Options::default();
    // Without it RocksDB would untrack the logs that the manifest names, which a read-only open has
    // no place to write down: it crashes.
    options.set_track_and_verify_wals_in_manifest(true);
    let db = DB::open_cf_for_read_only(&options, dir, [DEFAULT_FAMILY], false)
        .map_err(|error| refusal(&error, dir))?;
    check_format(&db, count, dir).map(|_| ())
}

/// Whether the database says that it is ours and fits; false if nothing was ever written to it.
pub(crate) fn check_format(db: &DB, count: ShardCount, dir: &Path) -> Result<bool, OpenError> {
    let read = |key| db.get(key).map_err(|error| refusal(&error, dir));
    let foreign = |found: &str| OpenError::Foreign {
        path: dir.to_path_buf(),
        found: found.to_owned(),
    };
    let Some(record) = read(FORMAT_KEY)? else {
        if db.latest_sequence_number() == 0 {
            return Ok(false);
        }
        return Err(foreign("a database without ByteCave's format record"));
    };
    let (format, rest) = record
        .split_first_chunk()
        .ok_or_else(|| foreign("a database with another format record"))?;
    let found = u16::from_be_bytes(*format);
    if found > FORMAT {
        return Err(OpenError::NewerFormat { found });
    }
    let stored = <[u8; 2]>::try_from(rest)
        .map(u16::from_be_bytes)
        .map_err(|_| foreign("a database with another format record"))?;
    if stored == count.get() {
        Ok(true)
    } else {
        Err(OpenError::OtherShardCount {
            stored,
            configured: count.get(),
        })
    }
}

/// Checks the database, or gives a new one its format and keyring.
fn identify(db: &DB, options: &EngineOptions) -> Result<(Keyring, bool), OpenError> {
    let count = options.shards.count();
    let failed = |error: rocksdb::Error| refusal(&error, &options.db_dir);
    if check_format(db, count, &options.db_dir)? {
        let record = db.get(KEYRING_KEY).map_err(failed)?;
        let record = record.ok_or(KeyringError::Damaged {
            reason: "its record is missing",
        })?;
        return Ok((Keyring::open(&record, &options.unlock)?, false));
    }
    let keyring = Keyring::create(&options.unlock)?;
    let format = [FORMAT.to_be_bytes(), count.get().to_be_bytes()].concat();
    let mut batch = WriteBatch::default();
    batch.put(FORMAT_KEY, format);
    batch.put(KEYRING_KEY, keyring.to_record()?);
    db.write_opt(batch, &write_options(true)).map_err(failed)?;
    Ok((keyring, true))
}

/// What the database's refusal means.
pub(crate) fn refusal(error: &rocksdb::Error, dir: &Path) -> OpenError {
    let cause = error.to_string();
    let names_a_file = [".sst", ".blob", "MANIFEST", "CURRENT", "OPTIONS"]
        .iter()
        .any(|part| cause.contains(part));
    match error.kind() {
        ErrorKind::IOError if cause.contains("/LOCK") => OpenError::InUse {
            path: dir.to_path_buf(),
        },
        ErrorKind::Corruption if !names_a_file => OpenError::LogDamaged { cause },
        ErrorKind::Corruption => OpenError::Damaged { cause },
        ErrorKind::IOError if names_a_file && cause.contains("No such file") => {
            OpenError::Damaged { cause }
        }
        _ => OpenError::Database { cause },
    }
}
