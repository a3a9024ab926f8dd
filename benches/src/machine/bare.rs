//! RocksDB with nothing around it: values as large as the blobs, one family, the engine's options.

use std::path::Path;

use rocksdb::{BlockBasedOptions, Cache, DB, DBCompressionType, Options, WriteOptions};

use super::MachineError;
use crate::content::{BlobSeed, Pieces};
use crate::measure::{Enough, Measured, on_threads};
use crate::random::{SplitMix, fresh_seed, mix};

/// Values from this size on live in blob files, as in the engine.
const BLOB_FROM_BYTES: u64 = 2 << 10;
/// The engine's default cache.
const CACHE_BYTES: usize = 128 << 20;

/// A database of values of one size.
pub struct BareRocks {
    database: DB,
    run: u64,
    count: u64,
}

impl std::fmt::Debug for BareRocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BareRocks({} values)", self.count)
    }
}

impl BareRocks {
    pub(super) fn write(path: &Path, size: u64, count: u64) -> Result<Self, MachineError> {
        let database = DB::open(&options(), path)?;
        let run = fresh_seed();
        let mut unsynced = WriteOptions::default();
        unsynced.set_sync(false);
        for number in 0..count {
            let content = Pieces::whole(
                BlobSeed::new(run, number),
                usize::try_from(size).unwrap_or(usize::MAX),
            );
            database.put_opt(key(run, number), &content, &unsynced)?;
        }
        database.flush()?;
        Ok(Self {
            database,
            run,
            count,
        })
    }

    /// Gets values at random, from as many threads as given.
    pub fn get_at_random(&self, readers: usize, enough: Enough) -> Result<Measured, MachineError> {
        let seed = fresh_seed();
        on_threads(readers, enough, |reader| {
            let mut random = SplitMix::new(seed ^ reader as u64);
            let count = usize::try_from(self.count).unwrap_or(usize::MAX);
            Ok(move |_| {
                let number = random.below(count) as u64;
                let value = self.database.get_pinned(key(self.run, number))?;
                Ok(value.ok_or(MachineError::Lost)?.len() as u64)
            })
        })
    }
}

/// As long as the engine's keys, and as random.
fn key(run: u64, number: u64) -> [u8; 33] {
    let mut key = [b'd'; 33];
    for (word, part) in key.chunks_exact_mut(8).zip(0..) {
        word.copy_from_slice(&mix(run.wrapping_add(number) ^ (part << 56)).to_be_bytes());
    }
    key
}

fn options() -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(10.0, false);
    table.set_block_cache(&Cache::new_lru_cache(CACHE_BYTES));
    table.set_cache_index_and_filter_blocks(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&table);
    options.set_compression_type(DBCompressionType::None);
    options.set_write_buffer_size(64 << 20);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(BLOB_FROM_BYTES);
    options.set_blob_file_size(256 << 20);
    options.set_blob_compression_type(DBCompressionType::None);
    options
}
