//! Keeps the memory of the memtables within its limit.
//!
//! `RocksDB` left alone flushes one family, the one written longest ago, whenever a write finds its
//! limit reached. With a thousand families of a few hundred KiB each that frees far less than the
//! write adds: the limit is passed, until the log is full and everything is flushed at once. So the
//! commit thread, the only writer, counts what it writes to each family and has the fullest ones
//! flushed in the background while there is still room: fewer and larger files, and no pause.

use std::thread;
use std::time::{Duration, Instant};

use rocksdb::{FlushOptions, properties};

use super::super::state::Inner;

/// Families are flushed when this part of the limit is written since they last were.
const FLUSH_ABOVE: u64 = 2;
/// Of what is written, this part stays in memory when families are flushed.
const KEEP: u64 = 2;
/// A memtable with less than this is not worth a file of its own.
const WORTH_FLUSHING_BYTES: u64 = 32 << 10;
/// Memtables may pass the limit by this part of it before the commit thread waits for flushes.
const WAIT_ABOVE: usize = 4;
/// Longest such wait for one group: flushing is then behind, or stuck, and the write decides.
const WAIT_AT_MOST: Duration = Duration::from_secs(2);
const WAIT_STEP: Duration = Duration::from_millis(2);

/// What was written to each family since it was last flushed, as far as the commit thread knows:
/// the database also flushes on its own account.
#[derive(Debug, Default)]
pub(crate) struct Memtables {
    /// Bytes by shard number.
    unflushed: Vec<u64>,
    total: u64,
}

impl Memtables {
    /// Counts what a group is about to write to a family.
    pub(crate) fn count(&mut self, shard: u16, bytes: u64) {
        let shard = usize::from(shard);
        if self.unflushed.len() <= shard {
            self.unflushed.resize(shard + 1, 0);
        }
        if let Some(count) = self.unflushed.get_mut(shard) {
            *count += bytes;
            self.total += bytes;
        }
    }

    /// Makes room for the next group; gives the time waited for it.
    pub(crate) fn make_room(&mut self, inner: &Inner) -> Duration {
        let limit = inner.options.write_buffer_bytes;
        if self.total > limit as u64 / FLUSH_ABOVE {
            self.flush_fullest(inner, limit as u64 / FLUSH_ABOVE / KEEP);
        }
        let ceiling = limit + limit / WAIT_ABOVE;
        let began = Instant::now();
        while inner.rocks.write_buffers.get_usage() > ceiling && began.elapsed() < WAIT_AT_MOST {
            thread::sleep(WAIT_STEP);
        }
        began.elapsed()
    }

    /// Starts flushes until no more than `keep` bytes are left to flush.
    fn flush_fullest(&mut self, inner: &Inner, keep: u64) {
        let mut fullest: Vec<(u64, usize)> = self
            .unflushed
            .iter()
            .enumerate()
            .filter(|(_, bytes)| **bytes > 0)
            .map(|(shard, bytes)| (*bytes, shard))
            .collect();
        fullest.sort_unstable_by(|one, other| other.cmp(one));
        let mut options = FlushOptions::default();
        options.set_wait(false);
        for (bytes, shard) in fullest {
            if self.total <= keep {
                break;
            }
            self.total -= bytes;
            if let Some(count) = self.unflushed.get_mut(shard) {
                *count = 0;
            }
            let family = inner.families.get(shard).and_then(Option::as_ref);
            let Some(place) = family.and_then(|family| inner.place(family.shard)) else {
                continue;
            };
            // Flushed by the database meanwhile: what is left is for the next time.
            let active = inner
                .db
                .property_int_value_cf(&place.handle, properties::CUR_SIZE_ACTIVE_MEM_TABLE);
            if matches!(active, Ok(Some(active)) if active < WORTH_FLUSHING_BYTES) {
                continue;
            }
            if let Err(error) = inner.db.flush_cf_opt(&place.handle, &options) {
                // The next write meets the same fault and reports it.
                tracing::debug!(%error, shard, "flush not started");
            }
        }
    }
}
