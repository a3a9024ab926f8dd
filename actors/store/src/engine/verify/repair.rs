//! Writing what a look through a family found to be wrong.

use rocksdb::{DB, ReadOptions, WriteBatch};

use super::super::keyring::{Keyring, SealedName};
use super::super::layout::{COUNTERS_KEY, END_VALUE, chunk_key, name_key, prefix};
use super::super::record::{self, BlobMeta};
use super::super::rocks::write_options;
use super::super::scan::Handle;
use super::super::seal::BlobId;
use super::report::{Repaired, VerifyReport};
use super::survey::{Action, Elsewhere, Surveyed};
use super::{OfflineError, database_failed};

/// Removes what does not open in `default`. The chunks that such a record stood for are orphans.
pub(super) fn repair_default(
    db: &DB,
    elsewhere: &Elsewhere,
    report: &mut VerifyReport,
) -> Result<(), OfflineError> {
    let mut batch = WriteBatch::default();
    for key in &elsewhere.bad_rows {
        batch.delete(key);
    }
    if batch.is_empty() {
        return Ok(());
    }
    db.write_opt(batch, &write_options(true))
        .map_err(database_failed("writing the repair"))?;
    if let Some(total) = &mut report.repaired {
        total.rows_removed += elsewhere.bad_rows.len() as u64;
    }
    Ok(())
}

/// Repairs the family `name`: one synced batch, then files.
pub(super) fn repair(
    db: &DB,
    keyring: &Keyring,
    name: &str,
    surveyed: Surveyed,
    report: &mut VerifyReport,
) -> Result<(), OfflineError> {
    let Surveyed {
        mut counters,
        wrong,
        actions,
        complete,
        ..
    } = surveyed;
    let handle = db.cf_handle(name).ok_or_else(|| OfflineError::NoFamily {
        family: name.to_owned(),
    })?;
    let mut done = Repaired::default();
    let mut batch = WriteBatch::default();
    let mut runs = Vec::new();
    for action in actions {
        match action {
            Action::Flag(blob, damaged) => {
                let family = (name, &handle);
                if flag(db, keyring, family, &blob, damaged, &mut batch)? {
                    if damaged {
                        counters.quarantined += 1;
                        done.quarantined += 1;
                    } else {
                        counters.quarantined = counters.quarantined.saturating_sub(1);
                        done.released += 1;
                    }
                }
            }
            // What looks like an orphan may belong to metadata that cannot be read.
            Action::Remove(key, dead) if complete => {
                batch.delete_cf(&handle, key);
                counters.dead_bytes += dead;
                done.rows_removed += 1;
            }
            Action::RemoveRun(id) if complete => runs.push(id),
            Action::NoteEnd(end) => {
                batch.put(end.key(), END_VALUE);
                done.ends_noted += 1;
            }
            Action::Remove(..) | Action::RemoveRun(_) => {}
        }
    }
    // Without all metadata a count is too low, and stored counters are the better guess.
    if complete && (wrong || !batch.is_empty()) {
        let sealed = record::seal(keyring, name, COUNTERS_KEY, &counters)?;
        batch.put_cf(&handle, COUNTERS_KEY, sealed);
        done.counters += u64::from(wrong);
    }
    if !batch.is_empty() {
        db.write_opt(batch, &write_options(true))
            .map_err(database_failed("writing the repair"))?;
    }
    for id in runs {
        done.files_removed += u64::from(remove_run(db, &handle, id)?);
    }
    if let Some(total) = &mut report.repaired {
        total.counters += done.counters;
        total.quarantined += done.quarantined;
        total.released += done.released;
        total.rows_removed += done.rows_removed;
        total.files_removed += done.files_removed;
        total.ends_noted += done.ends_noted;
    }
    Ok(())
}

/// Writes the flag into a blob's metadata; false if it cannot be read any more.
fn flag(
    db: &DB,
    keyring: &Keyring,
    (name, handle): (&str, &Handle<'_>),
    blob: &SealedName,
    damaged: bool,
    batch: &mut WriteBatch,
) -> Result<bool, OfflineError> {
    let key = name_key(prefix::META, blob);
    let sealed = db
        .get_cf(handle, key)
        .map_err(database_failed("reading metadata"))?;
    let Some(sealed) = sealed else {
        return Ok(false);
    };
    let mut meta: BlobMeta = record::open(keyring, name, &key, &sealed)?;
    meta.quarantined = damaged;
    batch.put_cf(handle, key, record::seal(keyring, name, &key, &meta)?);
    Ok(true)
}

/// Removes the files of a run of chunks; false if rows of it are still there (in a file that other
/// blobs share, or one that the database does not give up).
fn remove_run(db: &DB, handle: &Handle<'_>, id: BlobId) -> Result<bool, OfflineError> {
    let (from, to) = (chunk_key(id, 0), chunk_key(id, u32::MAX));
    db.delete_file_in_range_cf(handle, from, to)
        .map_err(database_failed("removing files of orphaned chunks"))?;
    let mut options = ReadOptions::default();
    options.set_iterate_upper_bound(to.to_vec());
    let mut rows = db.raw_iterator_cf_opt(handle, options);
    rows.seek(from);
    Ok(!rows.valid())
}
