//! A blob of a shard by lot, for the price of a seek and a few rows.
//!
//! Sealed names are spread evenly, so a random one is near each blob as often as near any other; among
//! the few behind it the larger ones are chosen more often. Where much was deleted a seek may come upon
//! nothing but what is gone, and would go over all of it: it gives up, and another place is looked at.

use std::sync::Arc;

use bytecave_core::{Digest, ShardId};
use bytecave_messages::store::{BlobInfo, StoreError};
use rocksdb::{ErrorKind, IteratorMode};

use super::Engine;
use super::layout::{name_key, parse_name_key, prefix};
use super::record::{self, BlobMeta};
use super::rocks::range_read_options;
use super::state::{Inner, Place, info, stopped};

/// Blobs among which is chosen: with more, size counts for more and a draw costs more.
const CANDIDATES: usize = 16;
/// Rows that one look opens to find them: others are quarantined, blocked or no longer needed.
const ROWS: usize = 128;
/// Deleted rows that one seek goes over before it gives up.
const DELETED_ROWS: u64 = 4000;
/// Places that are looked at until there is a candidate.
const PLACES: usize = 8;

impl Engine {
    /// A sound blob of `shard` by lot: near `point` in the order of sealed names, chosen by `pick`,
    /// larger ones more often. `None` of a shard that has none, or where all places looked at hold
    /// only what is gone.
    pub async fn sample(
        &self,
        shard: ShardId,
        point: [u8; 32],
        pick: u64,
    ) -> Result<Option<BlobInfo>, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .readers
            .run(move || sample(&inner, shard, point, pick))
            .await
            .map_err(stopped)
    }
}

fn sample(inner: &Inner, shard: ShardId, point: [u8; 32], pick: u64) -> Option<BlobInfo> {
    let blobs = {
        let counters = inner.lock_counters();
        counters.get(usize::from(shard.get()))?.blobs
    };
    if blobs == 0 {
        return None;
    }
    let place = inner.place(shard)?;
    let mut point = point;
    for _ in 0..PLACES {
        let mut found = Candidates::default();
        let key = name_key(prefix::META, &point).to_vec();
        let end = vec![prefix::META + 1];
        // Behind the last name the first one follows.
        if found.look(inner, &place, key.clone(), end) {
            found.look(inner, &place, vec![prefix::META], key);
        }
        if let Some(meta) = found.choose(pick) {
            return Some(info(&meta, shard));
        }
        point = *Digest::of(&point).as_bytes();
    }
    None
}

/// Blobs near a point.
#[derive(Default)]
struct Candidates {
    metas: Vec<BlobMeta>,
    rows: usize,
}

impl Candidates {
    /// Takes the sound blobs between two keys; whether it came to the end and has room for more.
    fn look(&mut self, inner: &Inner, place: &Place<'_>, from: Vec<u8>, to: Vec<u8>) -> bool {
        let keyring = inner.keyring();
        let family = place.family.name.as_str();
        let mut options = range_read_options(from, to);
        options.fill_cache(false);
        options.set_max_skippable_internal_keys(DELETED_ROWS);
        let rows = inner
            .db
            .iterator_cf_opt(&place.handle, options, IteratorMode::Start);
        for row in rows {
            let (key, sealed) = match row {
                Ok(row) => row,
                // Deleted rows, and no end of them.
                Err(error) if error.kind() == ErrorKind::Incomplete => return false,
                Err(error) => {
                    inner.note_damage("metadata", error);
                    return false;
                }
            };
            self.rows += 1;
            let name = parse_name_key(prefix::META, &key);
            if name.is_some_and(|name| !inner.blocked.contains(&name)) {
                match record::open::<BlobMeta>(&keyring, family, &key, &sealed) {
                    Ok(meta) if meta.quarantined || meta.is_retired() => {}
                    Ok(meta) => self.metas.push(meta),
                    Err(error) => inner.note_damage("metadata", error),
                }
            }
            if self.metas.len() >= CANDIDATES || self.rows >= ROWS {
                return false;
            }
        }
        true
    }

    /// Chooses one by `pick`, weighted by size; one byte more, so that an empty blob has a weight too.
    fn choose(self, pick: u64) -> Option<BlobMeta> {
        let weight = |meta: &BlobMeta| u128::from(meta.size) + 1;
        let all: u128 = self.metas.iter().map(weight).sum();
        let mut left = u128::from(pick).checked_rem(all)?;
        self.metas.into_iter().find(|meta| {
            let weight = weight(meta);
            let chosen = left < weight;
            left = left.saturating_sub(weight);
            chosen
        })
    }
}
