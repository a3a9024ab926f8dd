//! What belongs to no shard: uploads and deletions under way, tombstones and blocks.

use bytecave_core::ShardCount;
use rocksdb::DB;

use super::super::keyring::Keyring;
use super::super::layout::{DEFAULT_FAMILY, TRANSIT_FAMILY, parse_id_key, parse_name_key, prefix};
use super::super::record::{self, BlockRecord, DropRecord, Intent, Record, Tombstone};
use super::super::scan::{Go, Span};
use super::report::{Unfinished, Unreadable, VerifyReport};
use super::survey::{Elsewhere, is_newer};
use super::{OfflineError, database_failed};

/// Takes a row of `default` that was found whole.
pub(super) type KeepRow<'s> = dyn FnMut(&[u8], &[u8]) -> Result<(), OfflineError> + 's;

/// Reads what `default` says about the families; tombstones and blocks that are whole go to `keep`.
pub(super) fn read_default(
    db: &DB,
    keyring: &Keyring,
    count: ShardCount,
    report: &mut VerifyReport,
    keep: &mut KeepRow<'_>,
) -> Result<Elsewhere, OfflineError> {
    let mut elsewhere = Elsewhere::default();
    let mut unfinished = Unfinished::default();
    let mut bad_rows = Vec::new();
    let default = DefaultFamily { db, keyring };
    default.walk(
        prefix::INTENT,
        "intents",
        report,
        |key, opened: Option<Intent>, _| {
            if opened.is_some() {
                elsewhere.runs.extend(parse_id_key(prefix::INTENT, key));
                unfinished.intents += 1;
            } else {
                bad_rows.push(key.to_vec());
            }
            Ok(())
        },
    )?;
    default.walk(
        prefix::DROP,
        "drops",
        report,
        |key, opened: Option<DropRecord>, _| {
            if let Some(DropRecord(run)) = opened {
                elsewhere.runs.extend(parse_id_key(prefix::DROP, key));
                unfinished.drops += 1;
                *elsewhere.dropping.entry(run.family).or_default() += run.sealed_size;
            } else {
                bad_rows.push(key.to_vec());
            }
            Ok(())
        },
    )?;
    default.walk(
        prefix::TOMBSTONE,
        "tombstones",
        report,
        |key, opened: Option<Tombstone>, sealed| {
            if let (Some(name), Some(tombstone)) = (parse_name_key(prefix::TOMBSTONE, key), opened)
            {
                let shard = count.shard_of(&tombstone.digest);
                let of_shard = elsewhere.declined.entry(shard).or_default();
                of_shard.insert(name, tombstone.digest);
                keep(key, sealed)?;
            } else {
                bad_rows.push(key.to_vec());
            }
            Ok(())
        },
    )?;
    default.walk(
        prefix::BLOCK,
        "blocks",
        report,
        |key, opened: Option<BlockRecord>, sealed| {
            // A block holds by its key alone: one whose record is damaged stays, or what an operator
            // refused would be taken again.
            let Some(name) = parse_name_key(prefix::BLOCK, key) else {
                bad_rows.push(key.to_vec());
                return Ok(());
            };
            if let Some(block) = opened.filter(|block| block.counted) {
                let shard = count.shard_of(&block.digest);
                let of_shard = elsewhere.declined.entry(shard).or_default();
                of_shard.insert(name, block.digest);
            }
            keep(key, sealed)
        },
    )?;
    unfinished.transit = files_in_transit(db)?;
    report.unfinished = unfinished;
    elsewhere.bad_rows = bad_rows;
    Ok(elsewhere)
}

/// Files of blobs that were in transit: each has one, and no record names it.
fn files_in_transit(db: &DB) -> Result<u64, OfflineError> {
    let files = db
        .live_files()
        .map_err(database_failed("listing the files"))?;
    let in_transit = files
        .iter()
        .filter(|file| file.column_family_name == TRANSIT_FAMILY);
    Ok(in_transit.count() as u64)
}

/// The family `default`.
pub(super) struct DefaultFamily<'a> {
    pub(super) db: &'a DB,
    pub(super) keyring: &'a Keyring,
}

impl DefaultFamily<'_> {
    /// Calls `row` with each record of a kind: its key, the record if it opens, and its bytes.
    pub(super) fn walk<R: Record>(
        &self,
        prefix: u8,
        what: &'static str,
        report: &mut VerifyReport,
        mut row: impl FnMut(&[u8], Option<R>, &[u8]) -> Result<(), OfflineError>,
    ) -> Result<(), OfflineError> {
        let family = self
            .db
            .cf_handle(DEFAULT_FAMILY)
            .ok_or_else(|| OfflineError::NoFamily {
                family: DEFAULT_FAMILY.to_owned(),
            })?;
        let span = Span {
            db: self.db,
            family: &family,
            from: vec![prefix],
            to: vec![prefix + 1],
        };
        let gaps = span.walk(|key, sealed| {
            let opened = match record::open::<R>(self.keyring, DEFAULT_FAMILY, key, sealed) {
                Ok(record) => Some(record),
                Err(error) if is_newer(&error) => return Err(OfflineError::Record(error)),
                Err(error) => {
                    report.bad_records.add(Unreadable {
                        family: DEFAULT_FAMILY.to_owned(),
                        what,
                        cause: error.to_string(),
                    });
                    None
                }
            };
            row(key, opened, sealed)?;
            Ok(Go::On)
        })?;
        for cause in gaps {
            report.unreadable.add(Unreadable {
                family: DEFAULT_FAMILY.to_owned(),
                what,
                cause,
            });
        }
        Ok(())
    }
}
