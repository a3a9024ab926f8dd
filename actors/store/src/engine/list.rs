//! Listing blobs and outbox entries, in pages: no iterator lives over more than a page.

use std::ops::ControlFlow;
use std::sync::Arc;

use bytecave_core::ShardId;
use bytecave_messages::store::{
    BlobPage, LIST_LIMIT, ListCursor, OutboxEntry, OutboxKind, StoreError,
};

use super::Engine;
use super::commit::Op;
use super::commit::blobs::Advance;
use super::layout::{outbox_key, parse_name_key, parse_outbox_key, prefix};
use super::record::{self, BlobMeta, OutboxItem};
use super::rocks::range_read_options;
use super::state::{Family, Inner, failed, info, stopped};

impl Engine {
    /// The next page of stored blobs, in the order of shard and sealed name.
    pub async fn list(
        &self,
        shard: Option<ShardId>,
        after: Option<ListCursor>,
        limit: usize,
    ) -> Result<BlobPage, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .readers
            .run(move || list(&inner, shard, after, limit))
            .await
            .map_err(stopped)?
    }

    /// Outbox entries behind a shard's cursor, oldest first.
    pub async fn read_outbox(
        &self,
        shard: ShardId,
        limit: usize,
    ) -> Result<Vec<OutboxEntry>, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .readers
            .run(move || read_outbox(&inner, shard, limit))
            .await
            .map_err(stopped)?
    }

    /// Removes outbox entries: in each of these shards all up to and including the sequence.
    pub async fn advance_outbox(&self, through: Vec<(ShardId, u64)>) -> Result<(), StoreError> {
        let answer = self
            .inner
            .queue
            .submit(|reply| Op::Advance(Advance { through, reply }));
        answer.await.map_err(|_| StoreError::Unavailable)?
    }

    /// Owned shards whose outbox has entries.
    pub fn outbox_shards(&self) -> Vec<ShardId> {
        let counters = self.inner.lock_counters();
        self.inner
            .all_families()
            .filter(|family| family.owned)
            .map(|family| family.shard)
            .filter(|shard| {
                counters
                    .get(usize::from(shard.get()))
                    .is_some_and(|counters| counters.next_sequence > counters.outbox_cursor)
            })
            .collect()
    }
}

fn list(
    inner: &Inner,
    shard: Option<ShardId>,
    after: Option<ListCursor>,
    limit: usize,
) -> Result<BlobPage, StoreError> {
    let limit = limit.clamp(1, LIST_LIMIT);
    let mut page = BlobPage {
        blobs: Vec::new(),
        next: None,
    };
    // The cursor is moved on over every blob that is in the page.
    let mut last = after;
    for family in inner.all_families() {
        let behind = |cursor: &ListCursor| family.shard < cursor.shard;
        if shard.is_some_and(|shard| shard != family.shard) || after.as_ref().is_some_and(behind) {
            continue;
        }
        let from = after.filter(|cursor| cursor.shard == family.shard);
        let mut full = false;
        inner.each_meta(family, from.map(|cursor| cursor.after), |name, meta| {
            // An earlier version left what is blocked in families that were not ours.
            if !meta.is_retired() && !inner.blocked.contains(&name) {
                if page.blobs.len() == limit {
                    // One more is there, so there is a next page.
                    full = true;
                    return ControlFlow::Break(());
                }
                page.blobs.push(info(&meta, family.shard));
            }
            last = Some(ListCursor {
                shard: family.shard,
                after: name,
            });
            ControlFlow::Continue(())
        })?;
        if full {
            page.next = last;
            break;
        }
    }
    Ok(page)
}

impl Inner {
    /// Calls `visit` for each blob of a family behind `after`, in the order of their names, until it
    /// breaks off; no iterator lives over more than [`LIST_LIMIT`] rows. Metadata that does not open is passed over, and counted.
    pub(crate) fn each_meta(
        &self,
        family: &Family,
        after: Option<[u8; 32]>,
        mut visit: impl FnMut([u8; 32], BlobMeta) -> ControlFlow<()>,
    ) -> Result<(), StoreError> {
        let keyring = self.keyring();
        let mut from = vec![prefix::META];
        from.extend(after.iter().flatten());
        if after.is_some() {
            // The least key behind that of the cursor.
            from.push(0);
        }
        loop {
            if self.upkeep.is_closed() {
                return Err(StoreError::Unavailable);
            }
            let rows = self.rows(&family.name, from, vec![prefix::META + 1])?;
            let mut looked_at = 0;
            let mut last = Vec::new();
            for row in rows.take(LIST_LIMIT) {
                let (key, sealed) = row?;
                looked_at += 1;
                if let Some(name) = parse_name_key(prefix::META, &key) {
                    match record::open::<BlobMeta>(&keyring, &family.name, &key, &sealed) {
                        Ok(meta) => {
                            if visit(name, meta).is_break() {
                                return Ok(());
                            }
                        }
                        Err(error) => self.note_damage("metadata", error),
                    }
                }
                last = key.into_vec();
            }
            if looked_at < LIST_LIMIT {
                return Ok(());
            }
            // The least key behind the last one.
            last.push(0);
            from = last;
        }
    }

    /// The rows of a family from `from` up to, not including, `to`.
    pub(crate) fn rows(
        &self,
        family: &str,
        from: Vec<u8>,
        to: Vec<u8>,
    ) -> Result<impl Iterator<Item = Result<Row, StoreError>> + '_, StoreError> {
        let handle = self.db.cf_handle(family).ok_or(StoreError::Unavailable)?;
        let options = range_read_options(from, to);
        let rows = self
            .db
            .iterator_cf_opt(&handle, options, rocksdb::IteratorMode::Start);
        Ok(rows.map(|row| row.map_err(|error| failed("reading rows", error))))
    }
}

/// A key and its value.
pub(crate) type Row = (Box<[u8]>, Box<[u8]>);

fn read_outbox(
    inner: &Inner,
    shard: ShardId,
    limit: usize,
) -> Result<Vec<OutboxEntry>, StoreError> {
    let Some(family) = inner.family(shard) else {
        return Ok(Vec::new());
    };
    let keyring = inner.keyring();
    let cursor = inner
        .lock_counters()
        .get(usize::from(shard.get()))
        .map_or(0, |counters| counters.outbox_cursor);
    let rows = inner.rows(
        &family.name,
        outbox_key(cursor).to_vec(),
        vec![prefix::OUTBOX + 1],
    )?;
    let mut entries = Vec::new();
    for row in rows.take(limit.clamp(1, LIST_LIMIT)) {
        let (key, sealed) = row?;
        let opened = record::open::<OutboxItem>(&keyring, &family.name, &key, &sealed);
        match (parse_outbox_key(&key), opened) {
            (Some(sequence), Ok(item)) => entries.push(OutboxEntry {
                sequence,
                kind: match item.kind {
                    record::OutboxKind::Stored => OutboxKind::Stored,
                },
                digest: item.digest,
            }),
            (_, Err(error)) => inner.note_damage("an outbox entry", error),
            (None, Ok(_)) => {}
        }
    }
    Ok(entries)
}
