//! Walking keys of a family that may be damaged: what cannot be read is skipped and said, and the
//! walk goes on behind it.

use std::sync::Arc;

use rocksdb::{BoundColumnFamily, DB, DBRawIterator, ReadOptions};

/// A family of an open database.
pub(crate) type Handle<'a> = Arc<BoundColumnFamily<'a>>;

/// Keys of a family from `from` up to, not including, `to`. All begin with the same byte.
pub(crate) struct Span<'a> {
    pub(crate) db: &'a DB,
    pub(crate) family: &'a Handle<'a>,
    pub(crate) from: Vec<u8>,
    pub(crate) to: Vec<u8>,
}

/// A key as far as probing cares: its first byte is given, these are the eight behind it.
type Position = u64;

/// Where a walk goes from a row.
pub(crate) enum Go {
    /// To the next one.
    On,
    /// To the first at or behind this key.
    To(Vec<u8>),
    /// Nowhere: it has seen enough.
    End,
}

impl Span<'_> {
    /// Calls `row` with every row that can be read, in order. Gives what the database said of each
    /// stretch that cannot be read.
    pub(crate) fn walk<E>(
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
                    Go::End => return Ok(gaps),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;
    use std::fs;
    use std::path::Path;

    use bytecave_core::Digest;
    use rocksdb::{DEFAULT_COLUMN_FAMILY_NAME, Options};

    use super::*;

    const ROWS: u64 = 5000;

    fn key(row: u64) -> Vec<u8> {
        [b"m", &Digest::of(&row.to_be_bytes()).as_bytes()[..]].concat()
    }

    fn fill(dir: &Path, rows: std::ops::Range<u64>) {
        let db = DB::open_default(dir).unwrap();
        for row in rows {
            db.put(key(row), [7; 300]).unwrap();
        }
        db.flush().unwrap();
    }

    fn damage_middle_of_largest_table(dir: &Path) {
        let largest = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|kind| kind == "sst"))
            .max_by_key(|path| fs::metadata(path).unwrap().len())
            .unwrap();
        let mut bytes = fs::read(&largest).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(largest, bytes).unwrap();
    }

    /// Keys that a walk comes upon, and what it says of the rest.
    fn walk(dir: &Path) -> (Vec<Vec<u8>>, Vec<String>) {
        let mut options = Options::default();
        options.set_paranoid_checks(false);
        let db =
            DB::open_cf_for_read_only(&options, dir, [DEFAULT_COLUMN_FAMILY_NAME], false).unwrap();
        let family = db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME).unwrap();
        let span = Span {
            db: &db,
            family: &family,
            from: vec![b'm'],
            to: vec![b'n'],
        };
        let mut keys = Vec::new();
        let gaps = span
            .walk(|key, _| {
                keys.push(key.to_vec());
                Ok::<_, Infallible>(Go::On)
            })
            .unwrap();
        (keys, gaps)
    }

    #[test]
    fn a_damaged_block_costs_its_own_rows_and_no_others() {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 0..ROWS);
        assert_eq!(walk(dir.path()).0.len() as u64, ROWS);
        damage_middle_of_largest_table(dir.path());
        let (keys, gaps) = walk(dir.path());
        assert!(keys.is_sorted());
        let lost = ROWS - keys.len() as u64;
        assert!((1..50).contains(&lost), "{lost} rows lost");
        let [gap] = &gaps[..] else {
            panic!("one gap is expected: {gaps:?}");
        };
        assert!(gap.contains(".sst"), "the file is not named: {gap}");
    }

    #[test]
    fn damage_in_one_of_overlapping_files_leaves_the_rows_of_the_others() {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 0..ROWS);
        fill(dir.path(), ROWS..ROWS + 100);
        damage_middle_of_largest_table(dir.path());
        let (keys, _) = walk(dir.path());
        assert!(ROWS + 100 - (keys.len() as u64) < 100);
    }

    #[test]
    fn a_walk_goes_where_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fill(dir.path(), 0..200);
        let db = DB::open_cf_for_read_only(
            &Options::default(),
            dir.path(),
            [DEFAULT_COLUMN_FAMILY_NAME],
            false,
        )
        .unwrap();
        let family = db.cf_handle(DEFAULT_COLUMN_FAMILY_NAME).unwrap();
        let span = Span {
            db: &db,
            family: &family,
            from: vec![b'm'],
            to: vec![b'n'],
        };
        let mut seen = 0;
        let gaps = span
            .walk(|_, _| {
                seen += 1;
                Ok::<_, Infallible>(Go::To(vec![b'm', 0xff, 0xff, 0xff, 0xff]))
            })
            .unwrap();
        assert_eq!((seen, gaps.len()), (1, 0));
    }
}
