//! A node's store in a directory of its own, and hands to damage it with.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytecave_core::{BlobCid, Digest, Fingerprint, ShardCount, ShardId, ShardSet};
use bytecave_messages::body::{BlobBody, BodyError};
#[cfg(feature = "failpoints")]
use bytecave_messages::store::{BlobInfo, Standing};
use bytecave_messages::store::{
    Foreign, InTransit, NewBlob, StoreError, Stored, TransitHold, Word,
};
use bytecave_store::engine::{Engine, EngineOptions, OpenError, Opened, UnlockSecret};
use bytecave_store::offline::{Mode, Unfinished, VerifyReport, verify};
use bytes::Bytes;
use rocksdb::{ColumnFamilyDescriptor, DB, Options};
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Longest wait for what the engine does of itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at a condition.
const POLL: Duration = Duration::from_millis(5);
const MIB: usize = 1 << 20;

/// Above the size from which a blob has a file of its own.
pub(crate) const LARGE: usize = 5 * MIB;

/// A data directory, the options it is opened with, and a runtime to ask from.
pub(crate) struct Store {
    pub(crate) options: EngineOptions,
    runtime: Runtime,
    /// Removed with the test.
    dir: Option<TempDir>,
}

impl Store {
    /// An empty directory that goes with the test.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Self::at(dir.path());
        store.dir = Some(dir);
        store
    }

    /// The directory `dir`, which stays.
    pub(crate) fn at(dir: &Path) -> Self {
        let shards = ShardSet::all(ShardCount::new(16).unwrap());
        let unlock = UnlockSecret::from_key([7; 32]);
        let mut options = EngineOptions::new(dir, unlock, shards);
        options.disk_reserve_bytes = Some(0);
        Self {
            options,
            runtime: Runtime::new().unwrap(),
            dir: None,
        }
    }

    pub(crate) fn try_open(&self) -> Result<Engine, OpenError> {
        Engine::open(self.options.clone())
    }

    pub(crate) fn open(&self) -> Engine {
        self.try_open().unwrap()
    }

    /// Why it does not open.
    pub(crate) fn refusal(&self) -> OpenError {
        self.try_open().expect_err("the store opened")
    }

    pub(crate) fn try_put(&self, engine: &Engine, content: &[u8]) -> Result<Stored, StoreError> {
        let body = BlobBody::Whole(Bytes::copy_from_slice(content));
        self.runtime.block_on(engine.put(NewBlob {
            body,
            expected: None,
            content_type: Some("text/plain".to_owned()),
            file_name: None,
            word: Word::Client,
            durable: false,
            foreign: Foreign::Refuse,
        }))
    }

    /// Has a large blob of others' shard in transit.
    pub(crate) fn pass(&self, engine: &Engine, content: &[u8]) -> TransitHold {
        let stored = self.runtime.block_on(engine.put(NewBlob {
            body: BlobBody::Whole(Bytes::copy_from_slice(content)),
            expected: None,
            content_type: None,
            file_name: None,
            word: Word::Client,
            durable: false,
            foreign: Foreign::Transit,
        }));
        match stored.unwrap().transit {
            Some(InTransit::Disk(hold)) => hold,
            other => panic!("it is in transit on disk: {other:?}"),
        }
    }

    pub(crate) fn set_blocked(&self, engine: &Engine, cid: BlobCid, blocked: bool) -> bool {
        self.runtime
            .block_on(engine.set_blocked(cid, blocked))
            .unwrap()
    }

    /// Every list of digests sums up to the fingerprint of its shard; gives how many are declined.
    pub(crate) fn expect_even(&self, engine: &Engine) -> usize {
        let mut declined = 0;
        for shard in engine.snapshot().shards {
            let listed = self
                .runtime
                .block_on(engine.list_digests(shard.shard))
                .unwrap();
            let mut sum = Fingerprint::EMPTY;
            listed.iter().for_each(|listed| sum.add(&listed.digest));
            assert_eq!(sum, shard.fingerprint, "shard {}", shard.shard);
            declined += listed.iter().filter(|listed| listed.declined).count();
        }
        declined
    }

    pub(crate) fn put(&self, engine: &Engine, content: &[u8]) -> BlobCid {
        self.try_put(engine, content).unwrap().cid
    }

    pub(crate) fn delete(&self, engine: &Engine, cid: BlobCid) -> Result<(), StoreError> {
        self.runtime.block_on(engine.delete(cid))
    }

    /// Uses up a nonce that is remembered for a long time; whether it was unused.
    pub(crate) fn use_nonce(&self, engine: &Engine, key: Digest) -> bool {
        let used = engine.use_nonce(key, u64::MAX);
        self.runtime.block_on(used).unwrap()
    }

    /// Has a blob count as absent, and kept for so long.
    #[cfg(feature = "failpoints")]
    pub(crate) fn retire(&self, engine: &Engine, cid: BlobCid, keep_for: Duration) -> bool {
        self.runtime.block_on(engine.retire(cid, keep_for)).unwrap()
    }

    #[cfg(feature = "failpoints")]
    pub(crate) fn restore(&self, engine: &Engine, cid: BlobCid) -> bool {
        self.runtime.block_on(engine.restore(cid)).unwrap()
    }

    #[cfg(feature = "failpoints")]
    pub(crate) fn standing(&self, engine: &Engine, cid: BlobCid) -> Standing {
        let standings = self.runtime.block_on(engine.check(vec![cid.digest()]));
        standings.unwrap()[0]
    }

    pub(crate) fn collect_garbage(&self, engine: &Engine) -> Result<(), StoreError> {
        self.runtime.block_on(engine.collect_garbage()).map(|_| ())
    }

    /// All blobs that the store lists.
    #[cfg(feature = "failpoints")]
    pub(crate) fn list(&self, engine: &Engine) -> Vec<BlobInfo> {
        let mut all = Vec::new();
        let mut after = None;
        loop {
            let page = self
                .runtime
                .block_on(engine.list(None, after, 100))
                .unwrap();
            all.extend(page.blobs);
            after = page.next;
            if after.is_none() {
                return all;
            }
        }
    }

    pub(crate) fn verify(&self, mode: Mode) -> VerifyReport {
        verify(&self.options, mode, &mut |_| ()).unwrap()
    }

    /// Looks through everything and finds nothing amiss; gives the number of blobs.
    pub(crate) fn verified_clean(&self) -> u64 {
        let report = self.verify(Mode::Check);
        assert!(report.is_clean(), "{report:#?}");
        assert_eq!(report.unfinished, Unfinished::default());
        report.blobs
    }

    /// Opens the database beside the engine, to change what no engine would.
    pub(crate) fn raw(&self) -> DB {
        let options = Options::default();
        let families: Vec<String> = DB::list_cf(&options, &self.options.db_dir).unwrap();
        let descriptors = families.iter().map(|family| {
            let mut options = Options::default();
            options.set_enable_blob_files(true);
            options.set_min_blob_size(2048);
            options.set_disable_auto_compactions(true);
            ColumnFamilyDescriptor::new(family, options)
        });
        DB::open_cf_descriptors(&options, &self.options.db_dir, descriptors).unwrap()
    }

    /// Moves everything out of the log, into table and blob files.
    pub(crate) fn flush(&self) {
        let db = self.raw();
        for family in DB::list_cf(&Options::default(), &self.options.db_dir).unwrap() {
            db.flush_cf(&db.cf_handle(&family).unwrap()).unwrap();
        }
    }

    /// Files of the database that end in `suffix`, in order of their numbers.
    pub(crate) fn files(&self, suffix: &str) -> Vec<PathBuf> {
        let mut files: Vec<PathBuf> = fs::read_dir(&self.options.db_dir)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.to_str().unwrap().ends_with(suffix))
            .collect();
        files.sort();
        files
    }

    /// Table files that the database says belong to a family and hold a given kind of keys.
    pub(crate) fn tables(&self, family: &str, first_key: u8) -> Vec<PathBuf> {
        let db = self.raw();
        db.live_files()
            .unwrap()
            .into_iter()
            .filter(|file| file.column_family_name == family)
            .filter(|file| file.start_key.as_ref().unwrap()[0] == first_key)
            .map(|file| self.options.db_dir.join(file.name.trim_start_matches('/')))
            .collect()
    }

    pub(crate) fn shard_of(&self, content: &[u8]) -> ShardId {
        self.options.shards.count().shard_of(&Digest::of(content))
    }

    /// Different contents of `size` bytes that belong to `shard`.
    pub(crate) fn contents_of(&self, shard: u64, size: usize, count: usize) -> Vec<Vec<u8>> {
        let shard = self.options.shards.count().shard(shard).unwrap();
        (0..)
            .map(|seed| content(seed, size))
            .filter(|content| self.shard_of(content) == shard)
            .take(count)
            .collect()
    }
}

/// Reads a whole blob; a stream that breaks off is an error too.
pub(crate) fn get(engine: &Engine, cid: BlobCid) -> Result<Vec<u8>, StoreError> {
    match engine.open_blocking(cid, None)? {
        Opened::Whole { bytes, .. } => Ok(bytes.to_vec()),
        Opened::Chunks(mut reader) => {
            let mut content = Vec::new();
            while !reader.is_done() {
                let pieces = reader.read().map_err(|error| match error {
                    BodyError::Damaged => StoreError::Damaged { cid },
                    other => StoreError::Body(other),
                })?;
                pieces
                    .iter()
                    .for_each(|piece| content.extend_from_slice(piece));
            }
            Ok(content)
        }
    }
}

/// The content that `get` must give, whatever its size.
pub(crate) fn expect_whole(engine: &Engine, content: &[u8]) {
    let cid = BlobCid::of(content);
    let read = get(engine, cid);
    assert!(
        read.as_deref() == Ok(content),
        "{cid}: {:?}",
        read.map(|read| read.len())
    );
}

/// The blob is there, is found to be damaged, and not a byte of it is served.
pub(crate) fn expect_damaged(engine: &Engine, content: &[u8]) {
    let cid = BlobCid::of(content);
    let error = get(engine, cid).map(|read| read.len()).unwrap_err();
    assert_eq!(error, StoreError::Damaged { cid });
}

/// Waits until `condition` holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(POLL);
    }
}

/// Waits until the files of all deleted and given up large blobs are gone.
pub(crate) fn wait_until_freed(engine: &Engine) {
    wait_until("files are freed", || gauge(engine, "files_to_free") == 0);
}

pub(crate) fn gauge(engine: &Engine, name: &str) -> u64 {
    let gauges = engine.snapshot().gauges;
    gauges.iter().find(|gauge| gauge.0 == name).unwrap().1
}

/// `size` bytes that differ with `seed` and do not compress.
pub(crate) fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut content = Vec::with_capacity(size + 8);
    while content.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        content.extend_from_slice(&state.to_le_bytes());
    }
    content.truncate(size);
    content
}

/// Flips one bit in the middle of a file.
pub(crate) fn flip_middle(file: &Path) {
    flip(file, fs::metadata(file).unwrap().len() / 2);
}

/// Flips one bit of a file's byte `at`.
pub(crate) fn flip(file: &Path, at: u64) {
    let mut bytes = fs::read(file).unwrap();
    bytes[usize::try_from(at).unwrap()] ^= 0x10;
    fs::write(file, bytes).unwrap();
}
