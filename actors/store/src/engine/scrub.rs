//! Reading again what is stored, to find damage while there are still whole copies elsewhere.
//!
//! Blobs are read as they are on disk, past all caches, and checked as a look through the whole database
//! does it: seals, CID, tree, and of large ones the stored hashes. A piece at a time is read in a job,
//! and between pieces nobody holds a thread. What is found damaged is read once more, since it may have been
//! deleted or replaced under the reader, or the disk was in trouble for a moment, and then quarantined as a
//! read would do it.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytecave_core::{BlobCid, ShardId};
use bytecave_messages::store::{LIST_LIMIT, ListCursor, Scrubbed, StoreError};
use rocksdb::ErrorKind;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::Engine;
use super::check::{Fault, LargeCheck, check_small};
use super::keyring::SealedName;
use super::layout::{chunk_key, name_key, parse_name_key, prefix};
use super::record::{BlobMeta, Layout};
use super::rocks::chunk_read_options;
use super::scan::{Go, Span};
use super::state::{Family, Found, Inner, Place, failed, stopped};

/// Content that one job reads at most before it lets others have the thread; a small blob is read whole.
const PIECE_BYTES: u64 = 1 << 20;
/// A job reads no more than what may be read in this part of a second.
const PIECES_PER_SECOND: u64 = 4;
/// Names that are read ahead.
const PAGE_NAMES: usize = 250;
/// Blobs that one call looks at, whatever their size.
const BLOBS_PER_CALL: usize = LIST_LIMIT;

impl Engine {
    /// Reads the next blobs behind `after` whole, in the order of the listing and in all families, until
    /// `enough_bytes` were read or a thousand blobs were looked at; at `bytes_per_second`. What is
    /// damaged is quarantined before the answer.
    pub async fn scrub(
        &self,
        after: Option<ListCursor>,
        enough_bytes: u64,
        bytes_per_second: u64,
    ) -> Result<Scrubbed, StoreError> {
        let inner = &self.inner;
        let mut pace = Pace::new(bytes_per_second);
        let mut pass = Pass::new(Arc::clone(inner), after, enough_bytes, pace.piece_bytes());
        loop {
            pace.begin();
            let job = move || pass.step().map(|read| (pass, read));
            let (next, read) = inner.readers.run(job).await.map_err(stopped)??;
            pass = next;
            for flagged in pass.flagged.drain(..) {
                // Refused, it is found again by whoever reads it.
                let _ = flagged.await;
            }
            tokio::select! {
                biased;
                () = inner.upkeep.closed() => return Err(StoreError::Unavailable),
                () = tokio::time::sleep_until(pace.after(read)) => {}
            }
            if pass.is_over() {
                return Ok(pass.report);
            }
        }
    }
}

/// Spreads reading over time.
struct Pace {
    per_second: u64,
    due: Instant,
}

impl Pace {
    fn new(per_second: u64) -> Self {
        Self {
            per_second: per_second.max(1),
            due: Instant::now(),
        }
    }

    fn piece_bytes(&self) -> u64 {
        PIECE_BYTES.min(self.per_second / PIECES_PER_SECOND).max(1)
    }

    /// A piece begins. Time that a slow disk took is not made up for.
    fn begin(&mut self) {
        self.due = self.due.max(Instant::now());
    }

    /// When the next piece may begin, if this one had so many bytes.
    fn after(&mut self, bytes: u64) -> Instant {
        let nanoseconds = u128::from(bytes) * 1_000_000_000 / u128::from(self.per_second);
        self.due += Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX));
        self.due
    }
}

/// A large blob under way.
struct Current {
    cursor: ListCursor,
    meta: Arc<BlobMeta>,
    check: LargeCheck,
}

/// One call's work; it travels from job to job.
pub(crate) struct Pass {
    inner: Arc<Inner>,
    /// The last blob that was looked at.
    after: Option<ListCursor>,
    enough_bytes: u64,
    piece_bytes: u64,
    names: VecDeque<ListCursor>,
    current: Option<Current>,
    /// A blob that was found damaged and is to be read once more.
    again: Option<ListCursor>,
    /// The one that was read once more last.
    doubted: Option<ListCursor>,
    looked_at: usize,
    report: Scrubbed,
    flagged: Vec<oneshot::Receiver<Result<(), StoreError>>>,
    over: bool,
}

impl Pass {
    /// Begins behind `after`; a step reads about `piece_bytes`.
    pub(crate) fn new(
        inner: Arc<Inner>,
        after: Option<ListCursor>,
        enough_bytes: u64,
        piece_bytes: u64,
    ) -> Self {
        Self {
            inner,
            after,
            enough_bytes,
            piece_bytes,
            names: VecDeque::new(),
            current: None,
            again: None,
            doubted: None,
            looked_at: 0,
            report: Scrubbed {
                blobs: 0,
                bytes: 0,
                damaged: Vec::new(),
                next: None,
            },
            flagged: Vec::new(),
            over: false,
        }
    }

    /// Whether there is nothing left to do.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Reads a piece; gives how many bytes of content it had.
    pub(crate) fn step(&mut self) -> Result<u64, StoreError> {
        let inner = Arc::clone(&self.inner);
        let before = self.report.bytes;
        while !self.over && self.report.bytes - before < self.piece_bytes {
            if inner.upkeep.is_closed() {
                return Err(StoreError::Unavailable);
            }
            if let Some(current) = self.current.take() {
                self.go_on(&inner, current)?;
            } else if let Some(again) = self.again.take() {
                self.begin(&inner, again)?;
            } else if let Some(next) = self.next(&inner) {
                self.begin(&inner, next)?;
            } else {
                self.over = true;
            }
        }
        Ok(self.report.bytes - before)
    }

    /// The next blob; `None` when there is none, or when it was enough.
    fn next(&mut self, inner: &Inner) -> Option<ListCursor> {
        let enough = self.report.blobs > 0 && self.report.bytes >= self.enough_bytes;
        if enough || self.looked_at >= BLOBS_PER_CALL {
            self.report.next = self.after;
            return None;
        }
        if self.names.is_empty() {
            self.read_names(inner);
        }
        let next = self.names.pop_front()?;
        self.after = Some(next);
        self.looked_at += 1;
        Some(next)
    }

    /// Reads the names that follow, of one family. Rows that cannot be read are passed over.
    fn read_names(&mut self, inner: &Inner) {
        for family in inner.all_families() {
            let from = match self.after {
                Some(after) if family.shard < after.shard => continue,
                Some(after) if family.shard == after.shard => {
                    // The least key behind it.
                    [&name_key(prefix::META, &after.after)[..], &[0]].concat()
                }
                _ => vec![prefix::META],
            };
            self.read_names_of(inner, family, from);
            if !self.names.is_empty() {
                return;
            }
        }
    }

    fn read_names_of(&mut self, inner: &Inner, family: &Family, from: Vec<u8>) {
        let Some(handle) = inner.db.cf_handle(&family.name) else {
            return;
        };
        let span = Span {
            db: &inner.db,
            family: &handle,
            from,
            to: vec![prefix::META + 1],
        };
        let shard = family.shard;
        let names = &mut self.names;
        let Ok(gaps) = span.walk(|key, _| {
            let name = parse_name_key(prefix::META, key);
            names.extend(name.map(|after| ListCursor { shard, after }));
            let enough = names.len() >= PAGE_NAMES;
            Ok::<_, std::convert::Infallible>(if enough { Go::End } else { Go::On })
        });
        for gap in gaps {
            inner.note_damage("metadata", gap);
        }
    }

    fn begin(&mut self, inner: &Inner, next: ListCursor) -> Result<(), StoreError> {
        let ListCursor { shard, after: name } = next;
        // An earlier version left what is blocked in families that were not ours.
        if inner.blocked.contains(&name) {
            return Ok(());
        }
        let Some((place, meta)) = find(inner, shard, &name)? else {
            return Ok(());
        };
        if meta.is_retired() {
            return Ok(());
        }
        if meta.quarantined {
            self.report.damaged.push(BlobCid::from_digest(meta.digest));
            return Ok(());
        }
        self.report.blobs += 1;
        match meta.layout {
            Layout::Small => {
                let read = read(inner, &place, &name_key(prefix::DATA, &name));
                self.report.bytes += meta.size;
                let checked = read.and_then(|sealed| {
                    let sealed = sealed.ok_or(Fault::Missing)?;
                    check_small(&meta, sealed)
                });
                match checked {
                    Ok(()) => Ok(()),
                    Err(fault) => self.found_damage(inner, next, &meta, &fault),
                }
            }
            Layout::Large => match LargeCheck::new(&meta) {
                Ok(check) => {
                    self.current = Some(Current {
                        cursor: next,
                        meta,
                        check,
                    });
                    Ok(())
                }
                Err(fault) => self.found_damage(inner, next, &meta, &fault),
            },
        }
    }

    /// Reads the next chunk or page of a large blob, or ends it.
    fn go_on(&mut self, inner: &Inner, current: Current) -> Result<(), StoreError> {
        let Current {
            cursor,
            meta,
            mut check,
        } = current;
        let Some(number) = check.wants() else {
            return match check.finish(&meta) {
                Ok(()) => Ok(()),
                Err(fault) => self.found_damage(inner, cursor, &meta, &fault),
            };
        };
        let sealed = match inner.place(cursor.shard) {
            Some(place) => read(inner, &place, &chunk_key(meta.blob_id, number)),
            None => Ok(None),
        };
        let taken = sealed
            .and_then(|sealed| sealed.ok_or_else(|| check.missing()))
            .and_then(|sealed| check.take(&meta, sealed));
        match taken {
            Ok(bytes) => {
                self.report.bytes += bytes;
                self.current = Some(Current {
                    cursor,
                    meta,
                    check,
                });
                Ok(())
            }
            Err(fault) => self.found_damage(inner, cursor, &meta, &fault),
        }
    }

    /// Quarantines a blob that is still what was read.
    fn found_damage(
        &mut self,
        inner: &Inner,
        cursor: ListCursor,
        read: &BlobMeta,
        fault: &Fault,
    ) -> Result<(), StoreError> {
        if let Fault::Unreadable(error) = fault
            && !matches!(error.kind(), ErrorKind::Corruption | ErrorKind::IOError)
        {
            return Err(failed("reading a blob", error));
        }
        let found = find(inner, cursor.shard, &cursor.after)?;
        let Some((place, meta)) = found.filter(|(_, meta)| meta.blob_id == read.blob_id) else {
            return Ok(());
        };
        if self.doubted != Some(cursor) {
            self.doubted = Some(cursor);
            self.again = Some(cursor);
            self.report.blobs -= 1;
            return Ok(());
        }
        if !meta.is_retired() {
            self.report.damaged.push(BlobCid::from_digest(meta.digest));
        }
        if !meta.quarantined {
            let there = !matches!(fault, Fault::Missing);
            let cause = fault.to_string();
            let flagged = inner.flag_damaged(&place, &cursor.after, &meta, &cause, there);
            self.flagged.push(flagged);
        }
        Ok(())
    }
}

/// A blob as it stands now; metadata that does not open is passed over, and counted.
fn find<'a>(
    inner: &'a Inner,
    shard: ShardId,
    name: &SealedName,
) -> Result<Option<(Place<'a>, Arc<BlobMeta>)>, StoreError> {
    let Some(place) = inner.place(shard) else {
        return Ok(None);
    };
    let found = inner.find_with(&place, &inner.keyring(), name, &chunk_read_options())?;
    Ok(match found {
        Found::Here(meta) => Some((place, meta)),
        Found::Absent | Found::Unreadable => None,
    })
}

fn read(inner: &Inner, place: &Place<'_>, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
    inner
        .db
        .get_cf_opt(&place.handle, key, &chunk_read_options())
        .map_err(Fault::Unreadable)
}
