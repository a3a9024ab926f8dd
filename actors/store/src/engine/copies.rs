//! What is asked for the sake of copies on other nodes: which digests a shard has, how single blobs
//! stand, and that tombstones stay while peers list what was deleted here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytecave_core::{Digest, Fingerprint, ShardId};
use bytecave_messages::store::{DIGESTS_LIMIT, LIST_LIMIT, Standing, StoreError};
use bytecave_messages::sync::ListedDigest;
use rocksdb::{BoundColumnFamily, DB, IteratorMode, SnapshotWithThreadMode};

use super::Engine;
use super::commit::Op;
use super::commit::tombstones::Renew;
use super::keyring::{Keyring, SealedName};
use super::layout::{COUNTERS_KEY, DEFAULT_FAMILY, name_key, parse_name_key, prefix};
use super::record::{self, BlobMeta, BlockRecord, Counters, Record, RecordError, Tombstone};
use super::rocks::range_read_options;
use super::state::{Found, Inner, failed, now_ms, stopped};

/// A tombstone is not written anew more often than this, however often it is renewed; nor than in half
/// the time that it is kept.
const RENEW_AFTER: Duration = Duration::from_hours(1);
/// Rows that one iterator goes over: while it lives, it keeps memory from being given back.
const PAGE_ROWS: usize = 1000;

impl Engine {
    /// The digests of all blobs of a shard, ascending, and of those deleted or blocked here that count
    /// as present: exactly what the shard's fingerprint sums up at one moment. None if the shard has no
    /// family here. One list at a time is made.
    pub async fn list_digests(&self, shard: ShardId) -> Result<Arc<[ListedDigest]>, StoreError> {
        self.list_digests_up_to(shard, DIGESTS_LIMIT).await
    }

    pub(super) async fn list_digests_up_to(
        &self,
        shard: ShardId,
        limit: usize,
    ) -> Result<Arc<[ListedDigest]>, StoreError> {
        self.listed_in_turn(move |inner| list_digests(inner, shard, limit))
            .await
    }

    /// Runs a job that goes through whole families: one of them at a time.
    pub(super) async fn listed_in_turn<T: Send + 'static>(
        &self,
        list: impl FnOnce(&Inner) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let turn = Arc::clone(&self.inner.listings)
            .acquire_owned()
            .await
            .map_err(|_| StoreError::Unavailable)?;
        let inner = Arc::clone(&self.inner);
        self.inner
            .readers
            .run(move || {
                let listed = list(&inner);
                drop(turn);
                listed
            })
            .await
            .map_err(stopped)?
    }

    /// How these blobs stand here, in their order; at most [`LIST_LIMIT`].
    pub async fn check(&self, digests: Vec<Digest>) -> Result<Vec<Standing>, StoreError> {
        expect_few("checking blobs", &digests)?;
        let inner = Arc::clone(&self.inner);
        self.inner
            .readers
            .run(move || digests.iter().map(|digest| stand(&inner, digest)).collect())
            .await
            .map_err(stopped)?
    }

    /// Keeps the tombstones of these as if they were new; at most [`LIST_LIMIT`]. What was renewed
    /// within the last hour is left as it is.
    pub async fn renew_tombstones(&self, digests: Vec<Digest>) -> Result<(), StoreError> {
        expect_few("renewing tombstones", &digests)?;
        let inner = Arc::clone(&self.inner);
        let before_ms = now_ms().saturating_sub(renew_after_ms(&inner));
        let names = self
            .inner
            .readers
            .run(move || old_tombstones(&inner, &digests, before_ms))
            .await
            .map_err(stopped)??;
        if names.is_empty() {
            return Ok(());
        }
        let answer = self.inner.queue.submit(|reply| {
            Op::Renew(Renew {
                names,
                before_ms,
                reply,
            })
        });
        answer.await.map_err(|_| StoreError::Unavailable)?
    }
}

fn expect_few(operation: &'static str, digests: &[Digest]) -> Result<(), StoreError> {
    if digests.len() <= LIST_LIMIT {
        return Ok(());
    }
    let given = digests.len();
    let cause = format!("{given} digests were given and at most {LIST_LIMIT} are taken at once");
    Err(failed(operation, cause))
}

fn renew_after_ms(inner: &Inner) -> u64 {
    let after = RENEW_AFTER.min(inner.options.tombstone_keep / 2);
    u64::try_from(after.as_millis()).unwrap_or(u64::MAX)
}

/// Names of those whose tombstone is older than `before_ms`. The commit thread looks again.
fn old_tombstones(
    inner: &Inner,
    digests: &[Digest],
    before_ms: u64,
) -> Result<Vec<SealedName>, StoreError> {
    let mut old = Vec::new();
    if !inner.may_have_tombstones() {
        return Ok(old);
    }
    let keyring = inner.keyring();
    for digest in digests {
        let name = keyring.sealed_name(digest);
        let key = name_key(prefix::TOMBSTONE, &name);
        let sealed = inner
            .db
            .get_pinned(key)
            .map_err(|error| failed("reading a tombstone", error))?;
        let Some(sealed) = sealed else { continue };
        match record::open::<Tombstone>(&keyring, DEFAULT_FAMILY, &key, &sealed) {
            Ok(tombstone) if tombstone.deleted_ms >= before_ms => {}
            // What does not open is for the commit thread to say, which has the keyring of then.
            Ok(_) | Err(_) => old.push(name),
        }
    }
    Ok(old)
}

fn stand(inner: &Inner, digest: &Digest) -> Result<Standing, StoreError> {
    let keyring = inner.keyring();
    let name = keyring.sealed_name(digest);
    if inner.blocked.contains(&name) {
        return Ok(Standing::Blocked);
    }
    let found = match inner.place(inner.shard_of(digest)) {
        Some(place) => inner.find(&place, &keyring, &name)?,
        None => Found::Absent,
    };
    Ok(match found {
        Found::Here(meta) if !meta.is_retired() && meta.quarantined => Standing::Damaged,
        Found::Here(meta) if !meta.is_retired() => Standing::Here,
        _ if inner.has_tombstone(&name)? => Standing::Deleted,
        Found::Unreadable => Standing::Damaged,
        Found::Here(_) | Found::Absent => Standing::Absent,
    })
}

/// The database at one moment, for one shard.
struct View<'a> {
    inner: &'a Inner,
    snapshot: SnapshotWithThreadMode<'a, DB>,
    /// Before and after the snapshot was taken: a rotation may add or retire keys meanwhile.
    keyrings: [Arc<Keyring>; 2],
    shard: ShardId,
    limit: usize,
    listed: Vec<ListedDigest>,
}

fn list_digests(
    inner: &Inner,
    shard: ShardId,
    limit: usize,
) -> Result<Arc<[ListedDigest]>, StoreError> {
    let Some(place) = inner.place(shard) else {
        return Ok(Arc::default());
    };
    let before = inner.keyring();
    let snapshot = inner.db.snapshot();
    let mut view = View {
        inner,
        snapshot,
        keyrings: [before, inner.keyring()],
        shard,
        limit,
        listed: Vec::new(),
    };
    let family = place.family.name.as_str();
    let counters = view.counters(family, &place.handle)?;
    let blobs = usize::try_from(counters.blobs).unwrap_or(usize::MAX);
    if blobs > limit {
        return Err(view.too_many());
    }
    view.listed.reserve(blobs);
    let mut sum = Fingerprint::EMPTY;
    view.each(
        family,
        &place.handle,
        prefix::META,
        "metadata",
        |view, name, meta: BlobMeta| {
            if meta.is_retired() {
                return Ok(());
            }
            sum.add(&meta.digest);
            // In a family that was not ours, what is blocked may be there.
            let declined = view.inner.blocked.contains(&name);
            view.list(meta.digest, declined)
        },
    )?;
    // Equal sums: nothing that is not here counts as present, so nobody has to look for it.
    if sum != counters.fingerprint {
        view.declined()?;
    }
    let mut listed = view.listed;
    listed.sort_unstable_by(|one, other| {
        one.digest
            .cmp(&other.digest)
            .then(other.declined.cmp(&one.declined))
    });
    listed.dedup_by_key(|listed| listed.digest);
    if sum != counters.fingerprint {
        let mut all = Fingerprint::EMPTY;
        listed.iter().for_each(|listed| all.add(&listed.digest));
        if all != counters.fingerprint {
            inner.stats.uneven_lists.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                %shard,
                "the fingerprint is not that of what is here: `bytecave verify --repair` counts anew"
            );
        }
    }
    Ok(listed.into())
}

impl View<'_> {
    /// Adds what was deleted or blocked and counts as present.
    fn declined(&mut self) -> Result<(), StoreError> {
        let default = self.inner.default_family()?;
        let count = self.inner.options.shards.count();
        let shard = self.shard;
        self.each(
            DEFAULT_FAMILY,
            &default,
            prefix::TOMBSTONE,
            "a tombstone",
            |view, _, tombstone: Tombstone| {
                if count.shard_of(&tombstone.digest) == shard {
                    view.list(tombstone.digest, true)?;
                }
                Ok(())
            },
        )?;
        self.each(
            DEFAULT_FAMILY,
            &default,
            prefix::BLOCK,
            "a block",
            |view, _, block: BlockRecord| {
                if block.counted && count.shard_of(&block.digest) == shard {
                    view.list(block.digest, true)?;
                }
                Ok(())
            },
        )
    }

    fn list(&mut self, digest: Digest, declined: bool) -> Result<(), StoreError> {
        if self.listed.len() >= self.limit {
            return Err(self.too_many());
        }
        self.listed.push(ListedDigest { digest, declined });
        Ok(())
    }

    fn too_many(&self) -> StoreError {
        let Self { shard, limit, .. } = self;
        failed(
            "listing digests",
            format!("shard {shard} has more than {limit}, which is all that are listed"),
        )
    }

    fn counters(
        &self,
        family: &str,
        handle: &Arc<BoundColumnFamily<'_>>,
    ) -> Result<Counters, StoreError> {
        let sealed = self
            .snapshot
            .get_cf(handle, COUNTERS_KEY)
            .map_err(|error| failed("reading counters", error))?;
        match sealed {
            Some(sealed) => self
                .open(family, COUNTERS_KEY, &sealed)
                .map_err(|error| failed("reading counters", error)),
            None => Ok(Counters::default()),
        }
    }

    fn open<R: Record>(&self, family: &str, key: &[u8], sealed: &[u8]) -> Result<R, RecordError> {
        let [before, after] = &self.keyrings;
        record::open(before, family, key, sealed)
            .or_else(|_| record::open(after, family, key, sealed))
    }

    /// Calls `visit` with every record of a kind, page by page. What does not open is passed over, and
    /// counted: whoever has it offers it, and storing it again heals it.
    fn each<R: Record>(
        &mut self,
        family: &str,
        handle: &Arc<BoundColumnFamily<'_>>,
        kind: u8,
        what: &'static str,
        mut visit: impl FnMut(&mut Self, SealedName, R) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let mut from = vec![kind];
        loop {
            if self.inner.upkeep.is_closed() {
                return Err(StoreError::Unavailable);
            }
            let mut options = range_read_options(from.clone(), vec![kind + 1]);
            options.fill_cache(false);
            let page = self
                .snapshot
                .iterator_cf_opt(handle, options, IteratorMode::Start)
                .take(PAGE_ROWS)
                .collect::<Result<Vec<_>, _>>()
                .map_err(|error| failed("listing digests", error))?;
            for (key, sealed) in &page {
                let Some(name) = parse_name_key(kind, key) else {
                    continue;
                };
                match self.open::<R>(family, key, sealed) {
                    Ok(record) => visit(self, name, record)?,
                    Err(error) => self.inner.note_damage(what, error),
                }
            }
            match page.last() {
                // The least key behind the last one.
                Some((last, _)) if page.len() == PAGE_ROWS => from = [last, &[0][..]].concat(),
                _ => return Ok(()),
            }
        }
    }
}
