//! Copying what is whole out of a damaged database into a new one.
//!
//! The damaged database is only read: its log is copied and the copy replayed into memory, damaged
//! records of the log are skipped, missing files are put up with. The new one grows in a directory of its own, with the
//! same keyring, so that sealed rows are copied as they are. At the end the two directories change
//! places in one step of the file system; before that step nothing has changed, after it all is done.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use bytecave_core::{ShardId, ShardRange, ShardSet};
use rocksdb::{ColumnFamilyDescriptor, DB, DBRecoveryMode, Options, SstFileWriter, WriteBatch};
use rustix::fs::{CWD, FlockOperation, RenameFlags, fcntl_lock, renameat_with, statvfs};

use super::super::check::Fault;
use super::super::keyring::{Keyring, KeyringError};
use super::super::layout::{
    COUNTERS_KEY, DEFAULT_FAMILY, END_VALUE, End, KEYRING_KEY, ROTATION_KEY, name_key,
    parse_shard_family, prefix, shard_family,
};
use super::super::nonces;
use super::super::open::{self, OpenError, Opened};
use super::super::options::EngineOptions;
use super::super::record::{self, BlobMeta, Counters, OutboxItem};
use super::super::rocks::{Rocks, ingest_options, sst_options, write_options};
use super::super::state::now_ms;
use super::blob::Source;
use super::keep::{Keep, Row};
use super::report::{Salvaged, Unreadable, VerifyReport};
use super::survey::{Elsewhere, Survey};
use super::wal;
use super::{OfflineError, Progress, database_failed, read_default};

/// Small blobs are written in batches of about this size.
const BATCH_BYTES: usize = 4 << 20;

/// Salvages the database that `options` names.
pub(super) fn salvage(
    options: &EngineOptions,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<VerifyReport, OfflineError> {
    let lock = lock(&options.db_dir)?;
    let mut report = VerifyReport::default();
    let source = open_damaged(options, &mut report)?;
    expect_room(&options.db_dir)?;
    let keyring = identify(&source.db, options)?;
    let new_dir = beside(&options.db_dir, "salvage");
    remove_dir(&new_dir)?;
    let new_options = EngineOptions {
        db_dir: new_dir.clone(),
        shards: all_shards(options, &source.shards)?,
        ..options.clone()
    };
    let Opened { db: target, .. } = open::open(&new_options)?;
    copy_default(&source.db, &target)?;
    let elsewhere = read_default(
        &source.db,
        &keyring,
        options.shards.count(),
        &mut report,
        &mut |key, sealed| {
            target
                .put(key, sealed)
                .map_err(database_failed("copying a record"))
        },
    )?;
    let mut copy = Copy {
        target: &target,
        keyring: &keyring,
        tmp: options.tmp_dir.join("salvage.sst"),
        batch: WriteBatch::default(),
        counters: Counters::default(),
        metadata_waits: false,
    };
    let mut lost_blobs = 0;
    for shard in &source.shards {
        let name = shard_family(*shard);
        let surveyed = Survey {
            db: &source.db,
            keyring: &keyring,
            count: options.shards.count(),
            elsewhere: &elsewhere,
            report: &mut report,
            progress,
            families: source.shards.len() as u64,
        }
        .family(*shard, &name, &mut copy)?;
        let known = surveyed
            .stored
            .as_ref()
            .map_or(0, |stored| stored.blobs)
            .max(surveyed.counters.blobs);
        lost_blobs += known.saturating_sub(copy.counters.blobs);
        copy.end_family(&name, *shard, &surveyed.counters, &elsewhere)?;
    }
    target
        .flush_wal(true)
        .map_err(database_failed("syncing the new database"))?;
    drop(target);
    drop(source);
    remove_dir(&wal_dir(options))?;
    let damaged_dir = change_places(&options.db_dir, &new_dir)?;
    drop(lock);
    report.salvaged = Some(Salvaged {
        blobs: report.blobs,
        bytes: report.bytes,
        lost_blobs,
        damaged_dir,
    });
    Ok(report)
}

/// A database opened as far as it opens.
struct Damaged {
    db: DB,
    shards: Vec<ShardId>,
}

fn open_damaged(
    options: &EngineOptions,
    report: &mut VerifyReport,
) -> Result<Damaged, OfflineError> {
    let dir = &options.db_dir;
    let open_files = open::raise_file_limit()?;
    let refused = |error: rocksdb::Error| OfflineError::Open(open::refusal(&error, dir));
    let families = DB::list_cf(&Options::default(), dir).map_err(refused)?;
    let count = options.shards.count();
    let shards = families
        .iter()
        .filter_map(|family| parse_shard_family(family))
        .filter_map(|shard| count.shard(shard.into()).ok())
        .collect();
    let mut rocks = Rocks::new(options, open_files).map_err(refused)?;
    let open = |options: &Options| {
        let descriptors = families
            .iter()
            .map(|family| ColumnFamilyDescriptor::new(family, options.clone()));
        DB::open_cf_descriptors_read_only(options, dir, descriptors, false)
    };
    // Strictly first: what is said then is what is wrong.
    if let Err(error) = open(&rocks.options) {
        report.unreadable.add(Unreadable {
            family: DEFAULT_FAMILY.to_owned(),
            what: "the database",
            cause: error.into_string(),
        });
    }
    rocks.options.set_paranoid_checks(false);
    rocks
        .options
        .set_wal_recovery_mode(DBRecoveryMode::SkipAnyCorruptedRecord);
    let wal_dir = wal_dir(options);
    remove_dir(&wal_dir)?;
    wal::copy_mended(dir, &wal_dir).map_err(|cause| OfflineError::File {
        path: wal_dir.clone(),
        cause,
    })?;
    rocks.options.set_wal_dir(&wal_dir);
    let db = open(&rocks.options).map_err(refused)?;
    Ok(Damaged { db, shards })
}

/// Where the mended copies of the log files are.
fn wal_dir(options: &EngineOptions) -> PathBuf {
    options.tmp_dir.join("salvage.wal")
}

fn identify(db: &DB, options: &EngineOptions) -> Result<Keyring, OfflineError> {
    let missing = KeyringError::Damaged {
        reason: "its record is missing",
    };
    if !open::check_format(db, options.shards.count(), &options.db_dir)? {
        return Err(missing.into());
    }
    let record = db
        .get(KEYRING_KEY)
        .map_err(database_failed("reading the keyring"))?
        .ok_or(missing)?;
    Ok(Keyring::open(&record, &options.unlock)?)
}

fn copy_default(source: &DB, target: &DB) -> Result<(), OfflineError> {
    for key in [KEYRING_KEY, ROTATION_KEY] {
        if let Some(record) = source
            .get(key)
            .map_err(database_failed("reading a record"))?
        {
            target
                .put(key, record)
                .map_err(database_failed("copying a record"))?;
        }
    }
    // Without them, what was authorized in the last minutes could be authorized again.
    nonces::copy(source, target).map_err(database_failed("copying the used nonces"))
}

/// The shards that have a family, and those that the node keeps.
fn all_shards(options: &EngineOptions, here: &[ShardId]) -> Result<ShardSet, OfflineError> {
    let mut shards: Vec<ShardId> = options.shards.iter().chain(here.iter().copied()).collect();
    shards.sort_unstable();
    shards.dedup();
    let ranges: Vec<ShardRange> = shards
        .iter()
        .map(|shard| ShardRange {
            start: shard.get().into(),
            end: shard.get().into(),
        })
        .collect();
    ShardSet::from_ranges(options.shards.count(), &ranges).map_err(|error| OfflineError::Database {
        operation: "naming the families",
        cause: error.to_string(),
    })
}

/// Writes what is whole into the new database.
struct Copy<'a> {
    target: &'a DB,
    keyring: &'a Keyring,
    /// The file that a large blob is written into.
    tmp: PathBuf,
    batch: WriteBatch,
    /// What was copied of the family under way.
    counters: Counters,
    /// Whether metadata waits in the batch, where it is not seen by reads.
    metadata_waits: bool,
}

impl Copy<'_> {
    fn put(&mut self, family: &str, key: &[u8], value: &[u8]) -> Result<(), OfflineError> {
        let handle = self
            .target
            .cf_handle(family)
            .ok_or_else(|| OfflineError::NoFamily {
                family: family.to_owned(),
            })?;
        self.batch.put_cf(&handle, key, value);
        if self.batch.size_in_bytes() >= BATCH_BYTES {
            self.write()?;
        }
        Ok(())
    }

    fn write(&mut self) -> Result<(), OfflineError> {
        self.metadata_waits = false;
        self.target
            .write_opt(std::mem::take(&mut self.batch), &write_options(false))
            .map_err(database_failed("writing the new database"))
    }

    fn meta(&mut self, family: &str, blob: &Row, meta: &BlobMeta) -> Result<(), OfflineError> {
        let key = name_key(prefix::META, &blob.name);
        // It was found whole.
        let released = BlobMeta {
            quarantined: false,
            ..meta.clone()
        };
        if meta.quarantined {
            let sealed = record::seal(self.keyring, family, &key, &released)?;
            self.put(family, &key, &sealed)?;
        } else {
            self.put(family, &key, &blob.sealed)?;
        }
        self.metadata_waits = true;
        if let Some(at_ms) = meta.retired_until_ms {
            let number = parse_shard_family(family).ok_or_else(|| OfflineError::NoFamily {
                family: family.to_owned(),
            })?;
            let end = End {
                at_ms,
                shard: number,
                name: blob.name,
            };
            self.batch.put(end.key(), END_VALUE);
        }
        self.counters.count(&released);
        Ok(())
    }

    /// Writes the family's counters; the outbox goes on where it stood.
    fn end_family(
        &mut self,
        family: &str,
        shard: ShardId,
        surveyed: &Counters,
        elsewhere: &Elsewhere,
    ) -> Result<(), OfflineError> {
        self.write()?;
        let mut counters = std::mem::take(&mut self.counters);
        for (name, digest) in elsewhere.declined.get(&shard).into_iter().flatten() {
            if !self.has(family, &name_key(prefix::META, name))? {
                counters.fingerprint.add(digest);
            }
        }
        counters.next_sequence = surveyed.next_sequence;
        counters.outbox_cursor = surveyed.outbox_cursor;
        if counters != Counters::default() {
            let sealed = record::seal(self.keyring, family, COUNTERS_KEY, &counters)?;
            self.put(family, COUNTERS_KEY, &sealed)?;
            self.write()?;
        }
        Ok(())
    }

    fn has(&self, family: &str, key: &[u8]) -> Result<bool, OfflineError> {
        let Some(handle) = self.target.cf_handle(family) else {
            return Ok(false);
        };
        self.target
            .get_pinned_cf(&handle, key)
            .map(|found| found.is_some())
            .map_err(database_failed("reading the new database"))
    }

    fn ingest(&self, family: &str) -> Result<(), OfflineError> {
        let handle = self
            .target
            .cf_handle(family)
            .ok_or_else(|| OfflineError::NoFamily {
                family: family.to_owned(),
            })?;
        self.target
            .ingest_external_file_cf_opts(&handle, &ingest_options(), vec![&self.tmp])
            .map_err(database_failed("ingesting a large blob"))
    }
}

impl Keep for Copy<'_> {
    fn small(
        &mut self,
        family: &str,
        blob: &Row,
        meta: &BlobMeta,
        data: &[u8],
    ) -> Result<(), OfflineError> {
        self.put(family, &name_key(prefix::DATA, &blob.name), data)?;
        self.meta(family, blob, meta)
    }

    fn large(
        &mut self,
        source: &Source<'_>,
        family: &str,
        blob: &Row,
        meta: &BlobMeta,
    ) -> Result<Result<(), Fault>, OfflineError> {
        remove_file(&self.tmp)?;
        let writing = database_failed("writing a large blob");
        let mut writer = SstFileWriter::create(sst_options());
        writer
            .open(&self.tmp)
            .map_err(database_failed("writing a large blob"))?;
        match source.check(&blob.name, meta, &mut |key, sealed| writer.put(key, sealed)) {
            Err(Fault::Sink(error)) => Err(writing(error)),
            Err(fault) => {
                drop(writer);
                remove_file(&self.tmp)?;
                Ok(Err(fault))
            }
            Ok(()) => {
                writer.finish().map_err(writing)?;
                self.ingest(family)?;
                self.meta(family, blob, meta)?;
                Ok(Ok(()))
            }
        }
    }

    fn outbox(
        &mut self,
        family: &str,
        key: &[u8],
        item: &OutboxItem,
        sealed: &[u8],
    ) -> Result<(), OfflineError> {
        if self.metadata_waits {
            self.write()?;
        }
        let name = self.keyring.sealed_name(&item.digest);
        if self.has(family, &name_key(prefix::META, &name))? {
            self.put(family, key, sealed)?;
        }
        Ok(())
    }
}

/// Keeps other processes out of the database in `dir`, as long as the file is held: a database
/// opened for reading takes no lock of its own.
fn lock(dir: &Path) -> Result<File, OfflineError> {
    let path = dir.join("LOCK");
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|cause| OfflineError::File { path, cause })?;
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| OpenError::InUse {
        path: dir.to_path_buf(),
    })?;
    Ok(file)
}

/// A copy of all files must fit beside them.
fn expect_room(dir: &Path) -> Result<(), OfflineError> {
    let failed = |cause| OfflineError::File {
        path: dir.to_path_buf(),
        cause,
    };
    let mut needed_bytes = 0;
    for entry in fs::read_dir(dir).map_err(failed)? {
        needed_bytes += entry
            .and_then(|entry| entry.metadata())
            .map_err(failed)?
            .len();
    }
    let free_bytes = statvfs(dir)
        .map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize))
        .map_err(|errno| failed(errno.into()))?;
    if free_bytes < needed_bytes {
        return Err(OfflineError::NoRoom {
            free_bytes,
            needed_bytes,
        });
    }
    Ok(())
}

/// Puts `new` where `old` is; gives the place where `old` then is.
fn change_places(old: &Path, new: &Path) -> Result<PathBuf, OfflineError> {
    let failed = |path: &Path, cause: std::io::Error| OfflineError::File {
        path: path.to_path_buf(),
        cause,
    };
    let aside = beside(old, &format!("damaged-{}", now_ms()));
    if renameat_with(CWD, old, CWD, new, RenameFlags::EXCHANGE).is_ok() {
        fs::rename(new, &aside).map_err(|cause| failed(new, cause))?;
    } else {
        // A file system that cannot exchange: two steps.
        fs::rename(old, &aside).map_err(|cause| failed(old, cause))?;
        fs::rename(new, old).map_err(|cause| failed(new, cause))?;
    }
    let parent = old.parent().unwrap_or(Path::new("."));
    File::open(parent)
        .and_then(|dir| dir.sync_all())
        .map_err(|cause| failed(parent, cause))?;
    Ok(aside)
}

/// `dir` with a suffix to its name.
fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    dir.with_file_name(name)
}

fn remove_dir(dir: &Path) -> Result<(), OfflineError> {
    gone(fs::remove_dir_all(dir), dir)
}

fn remove_file(file: &Path) -> Result<(), OfflineError> {
    gone(fs::remove_file(file), file)
}

fn gone(result: std::io::Result<()>, path: &Path) -> Result<(), OfflineError> {
    match result {
        Err(cause) if cause.kind() != std::io::ErrorKind::NotFound => Err(OfflineError::File {
            path: path.to_path_buf(),
            cause,
        }),
        _ => Ok(()),
    }
}
