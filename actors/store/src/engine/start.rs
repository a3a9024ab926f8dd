//! From an open database to a running engine.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, RwLock};
use std::thread;
use std::time::Instant;

use bytecave_messages::store::StoreError;
use rocksdb::DB;
use tokio::sync::Semaphore;

use super::blocks::Blocked;
use super::cache::BlobCache;
use super::commit::large::Abandon;
use super::commit::queue::CommitQueue;
use super::commit::{self, Op};
use super::empty;
use super::health::Health;
use super::keyring::Keyring;
use super::layout::{
    COUNTERS_KEY, DEFAULT_FAMILY, parse_id_key, parse_shard_family, prefix, shard_family,
};
use super::nonces::Nonces;
use super::open::{self, OpenError, Opened};
use super::options::EngineOptions;
use super::pool::Pool;
use super::record::{self, ChunkRun, Counters, DropRecord, Intent, Record};
use super::seal::BlobId;
use super::space::{Reservation, Space};
use super::state::{Family, Inner, Stats};
use super::transit::{self, Transit};
use super::upkeep::{self, Upkeep};
use super::{Engine, Owner, Threads};

/// Threads that wait for the disk, for each core.
const READERS_PER_CORE: usize = 2;
/// Threads for what takes long: the uploads that may sync and ingest at once.
const MOVERS: usize = 6;

impl Engine {
    /// Opens the database, making it if there is none, and starts the engine's threads.
    pub fn open(options: EngineOptions) -> Result<Self, OpenError> {
        let began = Instant::now();
        let opened = open::open(&options)?;
        open::empty_tmp(&options.tmp_dir)?;
        transit::empty(&opened.db, &opened.rocks.options)?;
        let new = opened.new;
        let (inner, unfinished) = assemble(options, opened)?;
        let inner = Arc::new(inner);
        let foreign = inner.all_families().filter(|family| !family.owned).count();
        if foreign > 0 {
            tracing::warn!(
                families = foreign,
                "shards that are not ours any more take nothing new; `bytecave shards drop` removes them"
            );
        }
        let threads = |cause| OpenError::Threads { cause };
        let commit = commit::start(Arc::clone(&inner)).map_err(threads)?;
        for (run, shard) in unfinished {
            inner.queue.submit_cleanup(Op::Abandon(Abandon {
                name: None,
                shard,
                run,
            }));
        }
        let upkeep = upkeep::start(Arc::clone(&inner)).map_err(|cause| {
            inner.queue.close();
            OpenError::Threads { cause }
        })?;
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(new, milliseconds, "the database is open");
        let owner = Arc::new(Owner {
            inner: Arc::clone(&inner),
            threads: Mutex::new(Some(Threads { commit, upkeep })),
        });
        Ok(Self { inner, owner })
    }
}

/// Uploads that an earlier process left between intent and end, with their shards.
type Unfinished = Vec<(ChunkRun, bytecave_core::ShardId)>;

fn assemble(options: EngineOptions, opened: Opened) -> Result<(Inner, Unfinished), OpenError> {
    let Opened {
        db,
        rocks,
        keyring,
        shards,
        new: _,
    } = opened;
    let count = options.shards.count();
    let mut families: Vec<Option<Family>> = Vec::new();
    families.resize_with(usize::from(count.get()), || None);
    for shard in shards {
        if let Some(slot) = families.get_mut(usize::from(shard.get())) {
            *slot = Some(Family {
                name: shard_family(shard),
                shard,
                owned: options.shards.contains(shard),
            });
        }
    }
    let mut counters = families
        .iter()
        .map(|family| match family {
            Some(family) => read_counters(&db, &keyring, &family.name),
            None => Ok(Counters::default()),
        })
        .collect::<Result<Vec<_>, _>>()?;
    let drops = read_runs::<DropRecord>(&db, &keyring, prefix::DROP, |record| record.0)?;
    let intents = read_runs::<Intent>(&db, &keyring, prefix::INTENT, |record| record.0)?;
    let under_way = drops.values().chain(intents.values());
    let under_way: HashSet<&str> = under_way.map(|run| run.family.as_str()).collect();
    empty::drop_families(&db, &mut families, &mut counters, &under_way);
    let unfinished = intents
        .into_values()
        .filter_map(|run| {
            let number = parse_shard_family(&run.family)?;
            Some((run, count.shard(number.into()).ok()?))
        })
        .collect();
    let space = Space::new(
        options.db_dir.clone(),
        options.quota_bytes,
        options.disk_reserve_bytes,
    );
    space.book(
        0,
        counters
            .iter()
            .map(|counters| counters.sealed_bytes + counters.dead_bytes)
            .sum(),
    );
    let tombstones = !is_empty(&db, prefix::TOMBSTONE)?;
    let blocked = Blocked::read(&db)?;
    let nonces = Nonces::read(&db)?;
    let upkeep = Arc::new(Upkeep::default());
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let pool =
        |name, threads| Pool::start(name, threads).map_err(|cause| OpenError::Threads { cause });
    let inner = Inner {
        readers: pool("store-read", cores * READERS_PER_CORE)?,
        sealers: pool("store-seal", cores)?,
        movers: pool("store-move", MOVERS)?,
        sealed_slots: Arc::new(Semaphore::new(
            (options.sealed_in_flight_bytes / 1024).clamp(1, Semaphore::MAX_PERMITS),
        )),
        cache: BlobCache::new(options.block_cache_bytes / 2),
        options,
        db,
        rocks,
        keyring: RwLock::new(Arc::new(keyring)),
        families,
        counters: Mutex::new(counters),
        space,
        health: Health::default(),
        queue: CommitQueue::default(),
        drops: Mutex::new(drops),
        tombstones: AtomicBool::new(tombstones),
        blocked,
        transit: Arc::new(Transit::new(Arc::clone(&upkeep))),
        listings: Arc::new(Semaphore::new(1)),
        nonces,
        upkeep,
        stats: Stats::default(),
    };
    Ok((inner, unfinished))
}

fn read_counters(db: &DB, keyring: &Keyring, family: &str) -> Result<Counters, OpenError> {
    let handle = db.cf_handle(family).ok_or_else(|| OpenError::Database {
        cause: format!("family {family} was not opened"),
    })?;
    let sealed = db
        .get_cf(&handle, COUNTERS_KEY)
        .map_err(|error| open::refusal(&error, db.path()))?;
    match sealed {
        None => Ok(Counters::default()),
        Some(sealed) => record::open(keyring, family, COUNTERS_KEY, &sealed).map_err(|cause| {
            OpenError::Record {
                what: format!("the counters of {family}"),
                cause,
            }
        }),
    }
}

/// Reads all records of one kind in `default`; there are few.
fn read_runs<R: Record>(
    db: &DB,
    keyring: &Keyring,
    kind: u8,
    run: impl Fn(R) -> ChunkRun,
) -> Result<HashMap<BlobId, ChunkRun>, OpenError> {
    let options = super::rocks::range_read_options(vec![kind], vec![kind + 1]);
    let mut runs = HashMap::new();
    for row in db.iterator_opt(rocksdb::IteratorMode::Start, options) {
        let (key, sealed) = row.map_err(|error| open::refusal(&error, db.path()))?;
        if parse_id_key(kind, &key).is_none() {
            continue;
        }
        let record =
            record::open::<R>(keyring, DEFAULT_FAMILY, &key, &sealed).map_err(|cause| {
                OpenError::Record {
                    what: "the note of a large blob under way".to_owned(),
                    cause,
                }
            })?;
        let run = run(record);
        runs.insert(run.blob_id, run);
    }
    Ok(runs)
}

fn is_empty(db: &DB, kind: u8) -> Result<bool, OpenError> {
    let options = super::rocks::range_read_options(vec![kind], vec![kind + 1]);
    db.iterator_opt(rocksdb::IteratorMode::Start, options)
        .next()
        .transpose()
        .map(|row| row.is_none())
        .map_err(|error| open::refusal(&error, db.path()))
}

impl Inner {
    /// Sets `bytes` aside; if the quota has no room, deleted blobs are collected for the next try.
    pub(crate) fn reserve(&self, bytes: u64) -> Result<Reservation, StoreError> {
        let reserved = self.space.reserve(bytes);
        if matches!(reserved, Err(StoreError::QuotaReached { .. })) {
            self.upkeep.want_space();
        }
        reserved
    }
}
