//! What is done to a database while no node runs on it: looking through all of it, repairing what
//! can be repaired, salvaging what can be read, dropping families.
//!
//! - A **check** opens the database as a start does (log replayed, nothing cleared up), opens every
//!   record and every sealed byte, computes CID and tree of every blob anew, and counts.
//! - A **repair** also writes: damaged blobs are flagged (and never served; storing the same bytes
//!   heals them), counters that disagree with the count are written anew, bytes that belong to
//!   nothing are removed. Where metadata cannot be read, nothing of that family is removed.
//! - A **salvage** is for a database that does not open, or parts of which cannot be read. It opens
//!   what can be opened without changing anything, and copies every blob that is whole into a new
//!   database beside it. Only when that is complete and synced do the two change places, in one
//!   step; the damaged one stays until somebody removes it.
//!
//! Nothing here serves anybody: it runs on the caller's thread, and the database's own lock keeps a
//! running node out.

mod blob;
mod counts;
mod default;
mod keep;
mod repair;
mod report;
mod salvage;
mod shards;
mod survey;
mod wal;

use std::io;
use std::path::PathBuf;

use bytecave_core::ShardId;
use thiserror::Error;

use self::default::read_default;
use self::keep::JustLook;
pub use self::report::{
    Count, DamagedBlob, DropReport, DroppedShard, Findings, LISTED, Orphans, Repaired, Salvaged,
    Unfinished, Unreadable, VerifyReport, WrongCounters,
};
pub use self::shards::drop_shards;
use self::survey::Survey;
use super::keyring::KeyringError;
use super::layout::shard_family;
use super::open::{self, OpenError, Opened};
use super::options::EngineOptions;
use super::record::RecordError;

/// What to do beside looking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    Check,
    /// Repair in place.
    Repair,
    /// Copy what is whole into a new database.
    Salvage,
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The family being looked through.
    pub family: &'a str,
    /// Families done.
    pub families_done: u64,
    /// All families.
    pub families: u64,
    /// Whole blobs so far.
    pub blobs: u64,
    /// Content bytes of these.
    pub bytes: u64,
}

/// Why it could not be done at all.
#[derive(Debug, Error)]
pub enum OfflineError {
    /// The database does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// There is none.
    #[error("{path} holds no database: expected the data directory of a node that has run")]
    NoDatabase {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A family vanished while it was looked through.
    #[error("the database has no family \"{family}\"")]
    NoFamily {
        /// Its name.
        family: String,
    },
    /// A shard to be dropped is one that the node keeps.
    #[error("shard {shard} is one of this node's: take it out of NODE_SHARDS before dropping it")]
    Owned {
        /// The shard.
        shard: ShardId,
    },
    /// A salvage needs room for a second copy.
    #[error(
        "the disk has {free_bytes} bytes free and a copy of what is here may need {needed_bytes}"
    )]
    NoRoom {
        /// Free bytes.
        free_bytes: u64,
        /// Size of the damaged database.
        needed_bytes: u64,
    },
    /// A record that only a newer version reads.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The keyring does not open.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// The database failed in the middle.
    #[error("{operation} failed: {cause}")]
    Database {
        /// What was being done.
        operation: &'static str,
        /// What the database said.
        cause: String,
    },
    /// The file system failed.
    #[error("{path} cannot be used: {cause}")]
    File {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// Looks through the whole database that `options` names, and repairs or salvages if asked to.
///
/// The options are those of the node; quota, durability and memory do not matter.
pub fn verify(
    options: &EngineOptions,
    mode: Mode,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<VerifyReport, OfflineError> {
    expect_database(options)?;
    if mode == Mode::Salvage {
        return salvage::salvage(options, progress);
    }
    let opened = open::open(options)?;
    let mut report = VerifyReport::default();
    if mode == Mode::Repair {
        report.repaired = Some(Repaired::default());
    }
    look_through(
        &opened,
        options,
        mode == Mode::Repair,
        &mut report,
        progress,
    )?;
    Ok(report)
}

fn look_through(
    opened: &Opened,
    options: &EngineOptions,
    repairing: bool,
    report: &mut VerifyReport,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<(), OfflineError> {
    let Opened {
        db,
        keyring,
        shards,
        ..
    } = opened;
    let count = options.shards.count();
    let elsewhere = read_default(db, keyring, count, report, &mut |_, _| Ok(()))?;
    if repairing {
        repair::repair_default(db, &elsewhere, report)?;
    }
    for shard in shards {
        let name = shard_family(*shard);
        let surveyed = Survey {
            db,
            keyring,
            count,
            elsewhere: &elsewhere,
            report,
            progress,
            families: shards.len() as u64,
        }
        .family(*shard, &name, &mut JustLook)?;
        if repairing {
            repair::repair(db, keyring, &name, surveyed, report)?;
        }
    }
    Ok(())
}

fn expect_database(options: &EngineOptions) -> Result<(), OfflineError> {
    if options.db_dir.join("CURRENT").exists() {
        Ok(())
    } else {
        Err(OfflineError::NoDatabase {
            path: options.db_dir.clone(),
        })
    }
}

fn database_failed(operation: &'static str) -> impl FnOnce(rocksdb::Error) -> OfflineError {
    move |error| OfflineError::Database {
        operation,
        cause: error.into_string(),
    }
}
