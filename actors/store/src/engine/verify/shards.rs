//! Dropping the families of shards that this node no longer keeps, with what is in them. Only those that
//! have become empty go by themselves.

use std::collections::BTreeSet;

use bytecave_core::{Digest, ShardId, ShardSet};
use rocksdb::{DB, WriteBatch};

use super::super::keyring::Keyring;
use super::super::layout::{COUNTERS_KEY, DEFAULT_FAMILY, prefix, shard_family};
use super::super::open::{self, Opened};
use super::super::options::EngineOptions;
use super::super::record::{
    self, BlockRecord, ChunkRun, Counters, DropRecord, Intent, Record, Tombstone,
};
use super::super::rocks::write_options;
use super::default::DefaultFamily;
use super::report::{DropReport, DroppedShard, VerifyReport};
use super::{OfflineError, Progress, database_failed, expect_database};

/// Drops the families of `shards`, with all blobs in them. None of them may be one that `options`
/// keep. What was dropped when this fails half way stays dropped; calling it again goes on.
pub fn drop_shards(
    options: &EngineOptions,
    shards: &ShardSet,
    progress: &mut dyn FnMut(&Progress<'_>),
) -> Result<DropReport, OfflineError> {
    expect_database(options)?;
    if let Some(shard) = shards.iter().find(|shard| options.shards.contains(*shard)) {
        return Err(OfflineError::Owned { shard });
    }
    let Opened {
        db,
        keyring,
        shards: existing,
        ..
    } = open::open(options)?;
    let (here, absent): (Vec<ShardId>, Vec<ShardId>) =
        shards.iter().partition(|shard| existing.contains(shard));
    let families: BTreeSet<String> = here.iter().map(|shard| shard_family(*shard)).collect();
    forget(&db, &keyring, &families, |digest| {
        shards.contains(options.shards.count().shard_of(digest))
    })?;
    let mut report = DropReport {
        dropped: Vec::new(),
        absent,
    };
    for shard in here {
        let name = shard_family(shard);
        let counters = counters(&db, &keyring, &name);
        db.drop_cf(&name)
            .map_err(database_failed("dropping a family"))?;
        let of = |count: fn(&Counters) -> u64| counters.as_ref().map(count);
        report.dropped.push(DroppedShard {
            shard,
            blobs: of(|counters| counters.blobs),
            bytes: of(|counters| counters.bytes),
            sealed_bytes: of(|counters| counters.sealed_bytes),
        });
        progress(&Progress {
            family: &name,
            families_done: report.dropped.len() as u64,
            families: families.len() as u64,
            blobs: report.dropped.iter().filter_map(|shard| shard.blobs).sum(),
            bytes: report.dropped.iter().filter_map(|shard| shard.bytes).sum(),
        });
    }
    Ok(report)
}

/// Removes what stands in `default` about families that are about to go: intents and drops, which
/// nobody could do any more, and what counted in their fingerprints. A block stays, and does not count
/// any more.
fn forget(
    db: &DB,
    keyring: &Keyring,
    families: &BTreeSet<String>,
    of_them: impl Fn(&Digest) -> bool,
) -> Result<(), OfflineError> {
    let default = DefaultFamily { db, keyring };
    let mut batch = WriteBatch::default();
    collect::<Intent>(&default, prefix::INTENT, &mut batch, |Intent(run)| {
        gone(run, families)
    })?;
    collect::<DropRecord>(&default, prefix::DROP, &mut batch, |DropRecord(run)| {
        gone(run, families)
    })?;
    collect::<Tombstone>(&default, prefix::TOMBSTONE, &mut batch, |tombstone| {
        of_them(&tombstone.digest)
    })?;
    uncount_blocks(&default, &mut batch, of_them)?;
    if batch.is_empty() {
        return Ok(());
    }
    db.write_opt(batch, &write_options(true))
        .map_err(database_failed("removing what was under way"))
}

fn uncount_blocks(
    default: &DefaultFamily<'_>,
    batch: &mut WriteBatch,
    of_them: impl Fn(&Digest) -> bool,
) -> Result<(), OfflineError> {
    let mut unread = VerifyReport::default();
    default.walk(
        prefix::BLOCK,
        DEFAULT_FAMILY,
        &mut unread,
        |key, opened: Option<BlockRecord>, _| {
            if let Some(mut block) = opened
                && block.counted
                && of_them(&block.digest)
            {
                block.counted = false;
                batch.put(
                    key,
                    record::seal(default.keyring, DEFAULT_FAMILY, key, &block)?,
                );
            }
            Ok(())
        },
    )
}

fn gone(run: &ChunkRun, families: &BTreeSet<String>) -> bool {
    families.contains(&run.family)
}

fn collect<R: Record>(
    default: &DefaultFamily<'_>,
    prefix: u8,
    batch: &mut WriteBatch,
    goes: impl Fn(&R) -> bool,
) -> Result<(), OfflineError> {
    // What does not open is left for `verify` to report.
    let mut unread = VerifyReport::default();
    default.walk(
        prefix,
        DEFAULT_FAMILY,
        &mut unread,
        |key, opened: Option<R>, _| {
            if opened.is_some_and(|record| goes(&record)) {
                batch.delete(key);
            }
            Ok(())
        },
    )
}

fn counters(db: &DB, keyring: &Keyring, name: &str) -> Option<Counters> {
    let handle = db.cf_handle(name)?;
    match db.get_cf(&handle, COUNTERS_KEY) {
        // Never written to.
        Ok(None) => Some(Counters::default()),
        Ok(Some(sealed)) => record::open(keyring, name, COUNTERS_KEY, &sealed).ok(),
        Err(_) => None,
    }
}
