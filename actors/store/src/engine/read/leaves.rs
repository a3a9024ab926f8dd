//! The leaves of a blob that a challenge asks for.
//!
//! What is read proves itself: every leaf's path is computed up to the root in the blob's metadata, and
//! one that does not reach it is damage and no answer. A small blob is hashed whole, once. Of a large
//! one only the pages and chunks are read that the leaves lie in, each once, however many leaves they
//! have: so the cost does not grow with the blob.

use std::sync::Arc;

use bytecave_core::proof::{Challenge, LeafProof, Statement};
use bytecave_core::tree::{GROUP_BYTES, Hash, LeafPlace, leaf_bytes, leaf_hashes, root_and_paths};
use bytecave_messages::store::StoreError;

use super::{ChunkError, Located, soundly};
use crate::engine::Engine;
use crate::engine::layout::{chunk_key, name_key, prefix};
use crate::engine::record::{BlobMeta, Layout};
use crate::engine::rocks::chunk_read_options;
use crate::engine::seal::{self, BlobCipher, SEGMENT_BYTES};
use crate::engine::state::{Inner, stopped};

impl Engine {
    /// The leaves that `challenge` asks for, with their paths. What is damaged is quarantined.
    pub async fn leaves(&self, challenge: Challenge) -> Result<Statement, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .readers
            .run(move || leaves(&inner, &challenge))
            .await
            .map_err(stopped)?
    }
}

fn leaves(inner: &Inner, challenge: &Challenge) -> Result<Statement, StoreError> {
    let cid = challenge.cid;
    let read = soundly(inner, cid, "reading leaves", |located| {
        let meta = &located.meta;
        if meta.is_retired() {
            // It will go: whoever relies on it would lose a copy.
            return Err(StoreError::NotFound { cid });
        }
        Ok(match meta.layout {
            Layout::Small => of_small(inner, located, challenge),
            Layout::Large => of_large(meta, challenge, &mut |number| {
                read(inner, located, &chunk_key(meta.blob_id, number))
            }),
        })
    });
    match read {
        Err(StoreError::NotFound { .. }) => Err(absent(inner, challenge)?),
        read => read,
    }
}

/// Why a blob that is not there is not there.
fn absent(inner: &Inner, challenge: &Challenge) -> Result<StoreError, StoreError> {
    let cid = challenge.cid;
    let name = inner.keyring().sealed_name(&cid.digest());
    Ok(if inner.has_tombstone(&name)? {
        StoreError::Deleted { cid }
    } else {
        StoreError::NotFound { cid }
    })
}

/// Reads a sealed value as it is on disk, past our caches: what is proved is what is there. Challenges come for
/// any blob, once.
fn read(inner: &Inner, located: &Located<'_>, key: &[u8]) -> Result<Vec<u8>, ChunkError> {
    inner
        .db
        .get_cf_opt(&located.place.handle, key, &chunk_read_options())
        .map_err(ChunkError::from_db)?
        .ok_or(ChunkError::Gone)
}

fn of_small(
    inner: &Inner,
    located: &Located<'_>,
    challenge: &Challenge,
) -> Result<Statement, ChunkError> {
    let Located { name, meta, .. } = located;
    let mut content = read(inner, located, &name_key(prefix::DATA, name))?;
    BlobCipher::new(&meta.data_key, meta.blob_id)
        .and_then(|cipher| cipher.open_whole(meta.size, &mut content))
        .map_err(damaged)?;
    let statement = Statement::from_content(challenge, &content).map_err(damaged)?;
    if statement.blob_root != meta.blob_root {
        return Err(damaged("its tree has another root than its metadata says"));
    }
    Ok(statement)
}

/// Where one of the leaves lies, and its place in the answer.
struct Wanted {
    at: usize,
    index: u64,
    place: LeafPlace,
    /// Number of its page as a position in the list of page roots.
    page: usize,
}

/// `read` gives the sealed chunk or page with a number.
pub(crate) fn of_large(
    meta: &BlobMeta,
    challenge: &Challenge,
    read: &mut dyn FnMut(u32) -> Result<Vec<u8>, ChunkError>,
) -> Result<Statement, ChunkError> {
    let indexes = challenge.leaf_indexes(meta.size);
    let mut wanted = indexes
        .iter()
        .enumerate()
        .map(|(at, index)| {
            let place = LeafPlace::of(*index)?;
            let page = usize::try_from(place.page).ok()?;
            let index = *index;
            Some(Wanted {
                at,
                index,
                place,
                page,
            })
        })
        .collect::<Option<Vec<_>>>()
        .ok_or_else(|| damaged("its size is beyond what has a tree"))?;
    // What lies in one page and one chunk comes together.
    wanted.sort_by_key(|leaf| leaf.index);
    let pages: Vec<usize> = wanted.iter().map(|leaf| leaf.page).collect();
    let mut above = paths(&meta.page_roots, &pages, meta.blob_root.as_bytes())?.into_iter();
    let mut large = Large {
        meta,
        cipher: BlobCipher::new(&meta.data_key, meta.blob_id).map_err(damaged)?,
        segments: seal::segment_count(meta.size).map_err(damaged)?,
        read,
        chunk: None,
    };
    let mut leaves: Vec<Option<LeafProof>> = vec![None; wanted.len()];
    for of_page in wanted.chunk_by(|one, other| one.page == other.page) {
        for (at, mut leaf) in large.leaves_of_page(of_page)? {
            leaf.path.extend(above.next().unwrap_or_default());
            if let Some(slot) = leaves.get_mut(at) {
                *slot = Some(leaf);
            }
        }
    }
    Ok(Statement {
        cid: challenge.cid,
        size: meta.size,
        blob_root: meta.blob_root,
        nonce: challenge.nonce,
        leaves: leaves.into_iter().flatten().collect(),
    })
}

/// A large blob under a challenge.
struct Large<'a> {
    meta: &'a BlobMeta,
    cipher: BlobCipher,
    segments: u32,
    read: &'a mut dyn FnMut(u32) -> Result<Vec<u8>, ChunkError>,
    /// The chunk that was read last, opened.
    chunk: Option<(u32, Vec<u8>)>,
}

impl Large<'_> {
    /// Leaves that lie in one page, each with its path up to the root of the page, in their order.
    fn leaves_of_page(&mut self, wanted: &[Wanted]) -> Result<Vec<(usize, LeafProof)>, ChunkError> {
        let Some(first) = wanted.first() else {
            return Ok(Vec::new());
        };
        let page = u32::try_from(first.page).map_err(damaged)?;
        let number = seal::page_chunk(self.meta.size, page).map_err(damaged)?;
        let mut sealed = (self.read)(number)?;
        let groups = self
            .cipher
            .open_page(number, &mut sealed)
            .map_err(damaged)?;
        let root = self.meta.page_roots.get(first.page);
        let root = root.ok_or_else(|| damaged("its metadata has too few page roots"))?;
        let in_page: Vec<usize> = wanted.iter().map(|leaf| leaf.place.group_in_page).collect();
        let above = paths(&groups, &in_page, root)?;
        wanted
            .iter()
            .zip(above)
            .map(|(leaf, above)| {
                let expected = groups.get(leaf.place.group_in_page);
                let expected = expected.ok_or_else(|| damaged("a page is too short"))?;
                let group = self.group(leaf.place.group_start)?;
                let in_group = leaf.place.leaf_in_group;
                let mut path = paths(&leaf_hashes(group), &[in_group], expected)?
                    .pop()
                    .unwrap_or_default();
                path.extend(above);
                let data = leaf_bytes(group, in_group as u64)
                    .ok_or_else(|| damaged("a group is too short"))?
                    .to_vec();
                let index = leaf.index;
                Ok((leaf.at, LeafProof { index, data, path }))
            })
            .collect()
    }

    /// Content of the group that begins at this byte of the blob.
    fn group(&mut self, start: u64) -> Result<&[u8], ChunkError> {
        let number = u32::try_from(start / SEGMENT_BYTES as u64).map_err(damaged)?;
        if self.chunk.as_ref().is_none_or(|(read, _)| *read != number) {
            let mut segment = (self.read)(number)?;
            let last = number + 1 == self.segments;
            let opened = self.cipher.open_segment(number, last, &mut segment);
            let len = opened.map_err(damaged)?.len();
            segment.truncate(len);
            self.chunk = Some((number, segment));
        }
        let (_, content) = self.chunk.as_ref().ok_or(ChunkError::Gone)?;
        let from = usize::try_from(start % SEGMENT_BYTES as u64).map_err(damaged)?;
        let to = content.len().min(from + GROUP_BYTES);
        content
            .get(from..to)
            .ok_or_else(|| damaged("a chunk is too short"))
    }
}

/// The paths from the hashes at `indexes` to `root`, which must be what the hashes come to.
fn paths(hashes: &[Hash], indexes: &[usize], root: &Hash) -> Result<Vec<Vec<Hash>>, ChunkError> {
    match root_and_paths(hashes, indexes) {
        Some((found, paths)) if found == *root => Ok(paths),
        _ => Err(damaged("its stored hashes do not lead to its root")),
    }
}

fn damaged(cause: impl ToString) -> ChunkError {
    ChunkError::Damaged(cause.to_string())
}
