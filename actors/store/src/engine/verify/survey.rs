//! Looking through one family: every blob, every orphan, the outbox, the counters.

use std::collections::{HashMap, HashSet};

use bytecave_core::{BlobCid, Digest, ShardCount, ShardId};
use rocksdb::DB;

use super::super::blob_files;
use super::super::check::{Fault, check_small};
use super::super::keyring::{Keyring, KeyringError, SealedName};
use super::super::layout::{
    DEFAULT_FAMILY, End, chunk_key, name_key, parse_id_key, parse_name_key, prefix,
};
use super::super::record::{self, BlobMeta, Counters, Layout, RecordError};
use super::super::scan::{Go, Handle, Span};
use super::super::seal::{self, BlobId};
use super::blob::Source;
use super::keep::{Keep, Row};
use super::report::{DamagedBlob, Unreadable, VerifyReport};
use super::{OfflineError, Progress};

/// Metadata rows that are in memory at once.
const PAGE_ROWS: usize = 500;

/// What `default` says about the families.
#[derive(Default)]
pub(super) struct Elsewhere {
    /// Chunks of uploads and deletions that the next start clears up.
    pub(super) runs: HashSet<BlobId>,
    /// Bytes of deletions by family, which count as dead.
    pub(super) dropping: HashMap<String, u64>,
    /// Deleted and blocked contents that count in the fingerprint of their shard.
    pub(super) declined: HashMap<ShardId, HashMap<SealedName, Digest>>,
    /// Keys of records that do not open.
    pub(super) bad_rows: Vec<Vec<u8>>,
}

/// What a repair of a family would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// Flag this blob as damaged, or take the flag away.
    Flag(SealedName, bool),
    /// Remove this row, of so many dead bytes.
    Remove(Vec<u8>, u64),
    /// Remove the files of these chunks.
    RemoveRun(BlobId),
    /// Note when this retired blob goes.
    NoteEnd(End),
}

/// A family looked through.
pub(super) struct Surveyed {
    /// What its counters should be; the outbox's numbers and dead bytes taken from the stored ones.
    pub(super) counters: Counters,
    /// What its counters said.
    pub(super) stored: Option<Counters>,
    /// Whether they have to be written anew.
    pub(super) wrong: bool,
    /// What else a repair would do.
    pub(super) actions: Vec<Action>,
    /// Whether all its metadata could be read: if not, what looks like an orphan may be none.
    pub(super) complete: bool,
}

/// A look through families of one database.
pub(super) struct Survey<'a> {
    pub(super) db: &'a DB,
    pub(super) keyring: &'a Keyring,
    pub(super) count: ShardCount,
    pub(super) elsewhere: &'a Elsewhere,
    pub(super) report: &'a mut VerifyReport,
    pub(super) progress: &'a mut dyn FnMut(&Progress<'_>),
    pub(super) families: u64,
}

/// A family under way.
pub(super) struct Family<'a> {
    pub(super) shard: ShardId,
    pub(super) name: &'a str,
    pub(super) handle: &'a Handle<'a>,
    pub(super) counters: Counters,
    pub(super) actions: Vec<Action>,
    /// Chunks and pages of each large blob.
    pub(super) large: HashMap<BlobId, u32>,
    /// Whether chunks of one of them cannot be read.
    pub(super) large_unreadable: bool,
    pub(super) complete: bool,
    /// Whether its counters are there and do not open.
    pub(super) bad_counters: bool,
    /// Names of metadata that does not open, which is not counted.
    pub(super) unopened: HashSet<SealedName>,
    /// The last name of the page before.
    pub(super) after: Option<SealedName>,
}

impl<'a> Survey<'a> {
    /// Looks through the family `name` of `shard`.
    pub(super) fn family(
        &mut self,
        shard: ShardId,
        name: &str,
        keep: &mut dyn Keep,
    ) -> Result<Surveyed, OfflineError> {
        let db = self.db;
        let handle = db.cf_handle(name).ok_or_else(|| OfflineError::NoFamily {
            family: name.to_owned(),
        })?;
        let mut family = Family {
            shard,
            name,
            handle: &handle,
            counters: Counters::default(),
            actions: Vec::new(),
            large: HashMap::new(),
            large_unreadable: false,
            complete: true,
            bad_counters: false,
            unopened: HashSet::new(),
            after: None,
        };
        self.metadata(&mut family, keep)?;
        self.chunks(&mut family)?;
        let stored = self.stored_counters(&mut family);
        self.outbox(&mut family, stored.as_ref(), keep)?;
        self.report.families += 1;
        Ok(self.count(family, stored))
    }

    fn metadata(
        &mut self,
        family: &mut Family<'_>,
        keep: &mut dyn Keep,
    ) -> Result<(), OfflineError> {
        let span = self.span(family, vec![prefix::META], vec![prefix::META + 1]);
        let mut page = Vec::with_capacity(PAGE_ROWS);
        let mut strangers = 0_u64;
        let gaps = span.walk(|key, sealed| {
            match parse_name_key(prefix::META, key) {
                Some(name) => page.push(Row {
                    name,
                    sealed: sealed.to_vec(),
                }),
                None => strangers += 1,
            }
            if page.len() == PAGE_ROWS {
                let rows = std::mem::take(&mut page);
                self.page(family, rows, false, keep)?;
            }
            Ok::<_, OfflineError>(Go::On)
        })?;
        self.page(family, page, true, keep)?;
        family.complete &= gaps.is_empty();
        self.unreadable(family.name, "metadata", gaps);
        if strangers > 0 {
            let cause = format!("{strangers} keys are none of metadata");
            self.bad_record(family.name, "metadata", cause);
        }
        Ok(())
    }

    /// Checks the blobs of a page of metadata rows, and finds data without metadata between them.
    fn page(
        &mut self,
        family: &mut Family<'_>,
        rows: Vec<Row>,
        last: bool,
        keep: &mut dyn Keep,
    ) -> Result<(), OfflineError> {
        let from = match &family.after {
            Some(name) => behind(&name_key(prefix::DATA, name)),
            None => vec![prefix::DATA],
        };
        family.after = rows.last().map(|row| row.name).or(family.after);
        let to = match &family.after {
            Some(name) if !last => behind(&name_key(prefix::DATA, name)),
            _ => vec![prefix::DATA + 1],
        };
        let mut metas: HashMap<SealedName, (Row, Option<BlobMeta>)> = HashMap::new();
        for row in rows {
            let meta = self.open_meta(family, &row)?;
            metas.insert(row.name, (row, meta));
        }
        let source = Source {
            db: self.db,
            family: family.handle,
        };
        // One sequential read of the small ones; the large ones, and those that it did not come
        // upon, follow by themselves.
        let span = self.span(family, from, to);
        let gaps = span.walk(|key, sealed| {
            let found =
                parse_name_key(prefix::DATA, key).and_then(|name| metas.remove_entry(&name));
            match found {
                None => self.orphan(family, key, sealed),
                Some((name, (row, Some(meta)))) if meta.layout == Layout::Small => {
                    let whole = check_small(&meta, sealed.to_vec());
                    if whole.is_ok() {
                        keep.small(family.name, &row, &meta, sealed)?;
                    }
                    self.blob(family, &name, &meta, whole);
                }
                // A large blob has no such row.
                Some((name, large @ (_, Some(_)))) => {
                    metas.insert(name, large);
                    self.orphan(family, key, sealed);
                }
                // Without its metadata it is lost, and goes with it.
                Some((_, (_, None))) => {
                    let dead = sealed.len() as u64;
                    family.actions.push(Action::Remove(key.to_vec(), dead));
                }
            }
            Ok::<_, OfflineError>(Go::On)
        })?;
        let mut rest: Vec<(Row, Option<BlobMeta>)> = metas.into_values().collect();
        rest.sort_by_key(|(row, _)| row.name);
        let mut explained = gaps.is_empty();
        for (row, meta) in rest {
            let Some(meta) = meta else { continue };
            let whole = match meta.layout {
                Layout::Small => source.check(&row.name, &meta, &mut |_, _| Ok(())),
                Layout::Large => keep.large(&source, family.name, &row, &meta)?,
            };
            explained |= meta.layout == Layout::Small && whole.is_err();
            self.blob(family, &row.name, &meta, whole);
        }
        if !explained {
            self.unreadable(family.name, "data", gaps);
        }
        Ok(())
    }

    fn open_meta(
        &mut self,
        family: &mut Family<'_>,
        row: &Row,
    ) -> Result<Option<BlobMeta>, OfflineError> {
        let key = name_key(prefix::META, &row.name);
        let reason = match record::open::<BlobMeta>(self.keyring, family.name, &key, &row.sealed) {
            Ok(meta) => {
                let fits = self.keyring.sealed_name(&meta.digest) == row.name
                    && self.count.shard_of(&meta.digest) == family.shard;
                if fits {
                    return Ok(Some(meta));
                }
                "its metadata stands in another blob's place".to_owned()
            }
            Err(error) if is_newer(&error) => return Err(OfflineError::Record(error)),
            Err(error) => {
                // Under a key that is not here it may be whole: it is never removed.
                let lost = !matches!(error, RecordError::Keyring(KeyringError::UnknownKey { .. }));
                family.complete &= lost;
                error.to_string()
            }
        };
        family.unopened.insert(row.name);
        if family.complete {
            let dead = row.sealed.len() as u64;
            family.actions.push(Action::Remove(key.to_vec(), dead));
        }
        self.report.damaged.add(DamagedBlob {
            cid: None,
            shard: family.shard,
            size: None,
            file_name: None,
            reason,
        });
        Ok(None)
    }

    /// Counts a blob, whole or not.
    fn blob(
        &mut self,
        family: &mut Family<'_>,
        name: &SealedName,
        meta: &BlobMeta,
        whole: Result<(), Fault>,
    ) {
        let counters = &mut family.counters;
        counters.count(meta);
        self.expect_end(family, name, meta);
        if meta.layout == Layout::Large {
            let chunks = seal::chunk_count(meta.size).unwrap_or(u32::MAX);
            family.large.insert(meta.blob_id, chunks);
        }
        if meta.quarantined == whole.is_ok() {
            family.actions.push(Action::Flag(*name, whole.is_err()));
        }
        match whole {
            Ok(()) => {
                self.report.blobs += 1;
                self.report.bytes += meta.size;
            }
            Err(fault) => {
                if matches!(fault, Fault::Unreadable(_)) {
                    match meta.layout {
                        // Whatever moves this value would fail, and stop all writing.
                        Layout::Small => {
                            let key = name_key(prefix::DATA, name).to_vec();
                            family.actions.push(Action::Remove(key, 0));
                        }
                        Layout::Large => family.large_unreadable = true,
                    }
                }
                self.report.damaged.add(DamagedBlob {
                    cid: Some(BlobCid::from_digest(meta.digest)),
                    shard: family.shard,
                    size: Some(meta.size),
                    file_name: meta.file_name.clone(),
                    reason: self.explain(name, meta, &fault),
                });
            }
        }
        (self.progress)(&Progress {
            family: family.name,
            families_done: self.report.families,
            families: self.families,
            blobs: self.report.blobs,
            bytes: self.report.bytes,
        });
    }

    /// A retired blob has a note of when it goes, or it would stay for good.
    fn expect_end(&mut self, family: &mut Family<'_>, name: &SealedName, meta: &BlobMeta) {
        let Some(at_ms) = meta.retired_until_ms else {
            return;
        };
        let end = End {
            at_ms,
            shard: family.shard.get(),
            name: *name,
        };
        if !matches!(self.db.get_pinned(end.key()), Ok(Some(_))) {
            let cause = "a retired blob has no note of its end".to_owned();
            self.bad_record(DEFAULT_FAMILY, "ends", cause);
            family.actions.push(Action::NoteEnd(end));
        }
    }

    /// What is wrong with a blob, and in which file.
    fn explain(&self, name: &SealedName, meta: &BlobMeta, fault: &Fault) -> String {
        let reason = fault.to_string();
        let unnamed = matches!(fault, Fault::Unreadable(_)) && !reason.contains(".sst");
        if unnamed && meta.layout == Layout::Small {
            let key = name_key(prefix::DATA, name);
            let files = blob_files::holding(self.db.path(), &key);
            return format!("{reason} in {}", files.join(" or "));
        }
        reason
    }

    fn orphan(&mut self, family: &mut Family<'_>, key: &[u8], sealed: &[u8]) {
        let bytes = sealed.len() as u64;
        self.report.orphans.small += 1;
        self.report.orphans.small_bytes += bytes;
        family.actions.push(Action::Remove(key.to_vec(), bytes));
    }

    /// Finds chunks that belong to no blob, upload or deletion.
    fn chunks(&mut self, family: &mut Family<'_>) -> Result<(), OfflineError> {
        let span = self.span(family, vec![prefix::CHUNK], vec![prefix::CHUNK + 1]);
        let elsewhere = self.elsewhere;
        let orphans = &mut self.report.orphans;
        let gaps = span.walk(|key, sealed| {
            let run = key.split_last_chunk::<4>().and_then(|(head, number)| {
                let id = parse_id_key(prefix::CHUNK, head)?;
                Some((id, u32::from_be_bytes(*number)))
            });
            let beyond = |id, number| Go::To(chunk_key(id, number).to_vec());
            if let Some((id, number)) = run {
                match family.large.get(&id) {
                    Some(count) if number < *count => return Ok(beyond(id, *count)),
                    None if elsewhere.runs.contains(&id) => {
                        return Ok(beyond(id, u32::MAX));
                    }
                    _ => {}
                }
                let action = Action::RemoveRun(id);
                // Rows of a run are neighbours. Those behind a whole blob's end stay: the file
                // they are in is the blob's.
                if !family.large.contains_key(&id) && family.actions.last() != Some(&action) {
                    family.actions.push(action);
                }
            }
            orphans.chunks += 1;
            orphans.chunk_bytes += sealed.len() as u64;
            Ok::<_, OfflineError>(Go::On)
        })?;
        // What cannot be read of a blob that is known was said there.
        if !family.large_unreadable {
            self.unreadable(family.name, "chunks", gaps);
        }
        Ok(())
    }

    pub(super) fn span<'s>(&self, family: &Family<'s>, from: Vec<u8>, to: Vec<u8>) -> Span<'s>
    where
        'a: 's,
    {
        Span {
            db: self.db,
            family: family.handle,
            from,
            to,
        }
    }

    pub(super) fn unreadable(&mut self, family: &str, what: &'static str, causes: Vec<String>) {
        for cause in causes {
            self.report.unreadable.add(Unreadable {
                family: family.to_owned(),
                what,
                cause,
            });
        }
    }

    pub(super) fn bad_record(&mut self, family: &str, what: &'static str, cause: String) {
        self.report.bad_records.add(Unreadable {
            family: family.to_owned(),
            what,
            cause,
        });
    }
}

/// Whether a newer version wrote the record.
pub(super) fn is_newer(error: &RecordError) -> bool {
    matches!(
        error,
        RecordError::Newer { .. } | RecordError::Keyring(KeyringError::Newer { .. })
    )
}

/// The first key behind `key`.
fn behind(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
