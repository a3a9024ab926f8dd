//! Walking keys of a family that may be damaged: what cannot be read is skipped and said, and the
//! walk goes on behind it.

use std::sync::Arc;

use rocksdb::{BoundColumnFamily, DB, DBRawIterator, ReadOptions};

/// A family of an open database.
pub(super) type Handle<'a> = Arc<BoundColumnFamily<'a>>;

/// Keys of a family from `from` up to, not including, `to`. All begin with the same byte.
pub(super) struct Span<'a> {
    pub(super) db: &'a DB,
    pub(super) family: &'a Handle<'a>,
    pub(super) from: Vec<u8>,
    pub(super) to: Vec<u8>,
}

/// A key as far as probing cares: its first byte is given, these are the eight behind it.
type Position = u64;

/// Where a walk goes from a row.
pub(super) enum Go {
    /// To the next one.
    On,
    /// To the first at or behind this key.
    To(Vec<u8>),
}

impl Span<'_> {
    /// Calls `row` with every row that can be read, in order. Gives what the database said of each
    /// stretch that cannot be read.
    pub(super) fn walk<E>(
        &self,
        mut row: impl FnMut(&[u8], &[u8]) -> Result<Go, E>,
    ) -> Result<Vec<String>, E> {
        let mut gaps = Vec::new();
        let mut iterator = self.iterator();
        iterator.seek(&self.from);
        let mut reached = position(&self.from);
        loop {
            while let Some((key, value)) = iterator.item() {
                reached = position(key);
                match row(key, value)? {
                    Go::On => iterator.next(),
                    Go::To(key) => {
                        reached = position(&key);
                        iterator.seek(key);
                    }
                }
            }
            let Err(error) = iterator.status() else {
                return Ok(gaps);
            };
            gaps.push(error.into_string());
            // An iterator that failed once goes on failing: the probes use their own.
            match self.behind(reached) {
                Some((next, at)) => {
                    iterator = next;
                    reached = at;
                }
                None => return Ok(gaps),
            }
        }
    }

    /// An iterator at the first row behind the damage that begins at `failed`, if there is one.
    fn behind(&self, failed: Position) -> Option<(DBRawIterator<'_>, Position)> {
        // An end such as `n` lies behind all keys of `m`.
        let last = if self.to.len() == 1 {
            Position::MAX
        } else {
            position(&self.to)
        };
        let mut bad = failed;
        let mut step: Position = 1;
        let mut good = loop {
            let probe = bad.checked_add(step).filter(|probe| *probe <= last)?;
            if self.probe(probe).is_some() {
                break probe;
            }
            bad = probe;
            step = step.saturating_mul(2);
        };
        while good - bad > 1 {
            let middle = bad + (good - bad) / 2;
            if self.probe(middle).is_some() {
                good = middle;
            } else {
                bad = middle;
            }
        }
        self.probe(good).map(|iterator| (iterator, good))
    }

    /// An iterator at `at`, if the database can read there (or finds nothing more there).
    fn probe(&self, at: Position) -> Option<DBRawIterator<'_>> {
        let mut key = vec![self.from.first().copied().unwrap_or_default()];
        key.extend_from_slice(&at.to_be_bytes());
        let mut iterator = self.iterator();
        iterator.seek(key);
        iterator.status().is_ok().then_some(iterator)
    }

    fn iterator(&self) -> DBRawIterator<'_> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        options.set_iterate_lower_bound(self.from.clone());
        options.set_iterate_upper_bound(self.to.clone());
        self.db.raw_iterator_cf_opt(self.family, options)
    }
}

/// The position of a key: eight bytes behind the first, zeros where there are none.
fn position(key: &[u8]) -> Position {
    let mut head = [0; 8];
    for (to, from) in head.iter_mut().zip(key.iter().skip(1)) {
        *to = *from;
    }
    Position::from_be_bytes(head)
}
