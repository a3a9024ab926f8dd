//! RocksDB as this engine wants it. Each option that is not at its default says why.

use std::sync::OnceLock;

use rocksdb::{
    BlockBasedOptions, BottommostLevelCompaction, Cache, CompactOptions, DBCompressionType,
    DBRecoveryMode, IngestExternalFileOptions, Options, ReadOptions, WriteBufferManager,
    WriteOptions,
};

use super::options::EngineOptions;

/// Memtable of one family: large enough for the family that gets all the writes.
const WRITE_BUFFER_BYTES: usize = 16 << 20;
/// First allocation of a memtable. The default (an eighth of the write buffer) is 2 MiB, which 1024
/// active families multiply to 2 GiB.
const ARENA_BLOCK_BYTES: usize = 16 << 10;
/// Values from this size on live in blob files, which compaction does not rewrite.
const BLOB_FROM_BYTES: u64 = 2 << 10;
/// Blob files are closed at this size.
const BLOB_FILE_BYTES: u64 = 256 << 20;
/// Dirty pages are handed to the disk in steps of this size, so that a sync finds few.
const SYNC_STEP_BYTES: u64 = 1 << 20;
/// Bits of the bloom filter per key: a lookup in vain reads one block in a hundred.
const BLOOM_BITS: f64 = 10.0;
/// The database's own log files: so many of such a size.
const LOG_FILES: usize = 4;
const LOG_FILE_BYTES: usize = 4 << 20;
/// The manifest is written anew at this size; replaying it is part of every start.
const MANIFEST_BYTES: usize = 64 << 20;

/// The memory that all families share, and the options made with it.
pub(crate) struct Rocks {
    /// Blocks, filters and indexes.
    pub(crate) cache: Cache,
    /// Counts the memtables.
    pub(crate) write_buffers: WriteBufferManager,
    /// Options of database and families alike.
    pub(crate) options: Options,
}

impl Rocks {
    /// The options of the engine, with at most `open_files` files open.
    pub(crate) fn new(engine: &EngineOptions, open_files: i32) -> Result<Self, rocksdb::Error> {
        // Readers of this kind of cache take no lock. The other half is the engine's own.
        let cache = Cache::new_hyper_clock_cache(engine.block_cache_bytes / 2, 0);
        // No stall: memory pinned by an iterator counts too, and a job that iterates and writes
        // could wait for itself for ever. The commit thread paces the writes instead.
        let write_buffers =
            WriteBufferManager::new_write_buffer_manager(engine.write_buffer_bytes, false);
        // The binding has no setter for this one. Without it a start after a crash flushes every
        // family that the log touches.
        let mut options =
            Options::default().get_options_from_string("avoid_flush_during_recovery=true")?;
        database_options(&mut options, engine, open_files);
        family_options(&mut options, &cache);
        options.set_write_buffer_manager(&write_buffers);
        Ok(Self {
            cache,
            write_buffers,
            options,
        })
    }
}

fn database_options(options: &mut Options, engine: &EngineOptions, open_files: i32) {
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_open_files(open_files);
    // With 4 jobs, 1024 families fell to a third of the throughput.
    options.set_max_background_jobs(engine.background_jobs.into());
    options.set_max_total_wal_size(engine.max_wal_bytes);
    // The default mode drops every acknowledged record behind a damaged one without a word.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_recycle_log_file_num(0);
    options.set_track_and_verify_wals_in_manifest(true);
    options.set_bytes_per_sync(SYNC_STEP_BYTES);
    options.set_wal_bytes_per_sync(SYNC_STEP_BYTES);
    // On, it keeps the kernel from reading ahead: cold sequential reads at less than half.
    options.set_advise_random_on_open(false);
    options.set_atomic_flush(false);
    options.set_stats_dump_period_sec(0);
    options.set_stats_persist_period_sec(0);
    options.set_keep_log_file_num(LOG_FILES);
    options.set_max_log_file_size(LOG_FILE_BYTES);
    options.set_max_manifest_file_size(MANIFEST_BYTES);
    // A walk over all table files at the start, for statistics that nothing here needs.
    options.set_skip_stats_update_on_db_open(true);
    options.set_avoid_unnecessary_blocking_io(true);
}

fn family_options(options: &mut Options, cache: &Cache) {
    table_options(options, Some(cache));
    options.set_write_buffer_size(WRITE_BUFFER_BYTES);
    options.set_arena_block_size(ARENA_BLOCK_BYTES);
    options.set_max_write_buffer_number(4);
    options.set_enable_blob_files(true);
    options.set_min_blob_size(BLOB_FROM_BYTES);
    options.set_blob_file_size(BLOB_FILE_BYTES);
    options.set_blob_compression_type(DBCompressionType::None);
    // Only for one family at a time, while a job collects it: always on, it doubled to tripled the
    // write amplification by moving live blobs.
    options.set_enable_blob_gc(false);
    // Nothing expires: ingested files must never be rewritten for their age.
    options.set_ttl(0);
    options.set_periodic_compaction_seconds(0);
}

/// What table files look like, written by the database or for it.
fn table_options(options: &mut Options, cache: Option<&Cache>) {
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(BLOOM_BITS, false);
    if let Some(cache) = cache {
        table.set_block_cache(cache);
        table.set_cache_index_and_filter_blocks(true);
        // Files of one flush each, looked into by every read of their family.
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    }
    options.set_block_based_table_factory(&table);
    // Ciphertext does not compress.
    options.set_compression_type(DBCompressionType::None);
}

/// Options of the files that large blobs are written into. They live as long as the process, since
/// a writer borrows them and travels between threads.
pub(crate) fn sst_options() -> &'static Options {
    static OPTIONS: OnceLock<Options> = OnceLock::new();
    OPTIONS.get_or_init(|| {
        let mut options = Options::default();
        table_options(&mut options, None);
        options
    })
}

/// Ingesting a file of chunks. They overlap nothing, neither in a memtable nor in another file; if
/// they ever did, refusing is better than a flush or a sequence number that has it rewritten.
pub(crate) fn ingest_options() -> IngestExternalFileOptions {
    let mut options = IngestExternalFileOptions::default();
    options.set_move_files(true);
    options.set_snapshot_consistency(false);
    options.set_allow_global_seqno(false);
    options.set_allow_blocking_flush(false);
    options
}

/// A write that is on disk, or not yet, when it returns.
pub(crate) fn write_options(sync: bool) -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(sync);
    options
}

/// Reading chunks of large blobs, and everything once in turn: it would push all else out of the cache.
pub(crate) fn chunk_read_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}

/// Reading keys from `from` up to, not including, `to`.
pub(crate) fn range_read_options(from: Vec<u8>, to: Vec<u8>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_lower_bound(from);
    options.set_iterate_upper_bound(to);
    options
}

/// Compacting all levels, the last one too, beside whatever else is going on.
pub(crate) fn full_compaction() -> CompactOptions {
    let mut options = CompactOptions::default();
    options.set_exclusive_manual_compaction(false);
    options.set_bottommost_level_compaction(BottommostLevelCompaction::Force);
    options
}
