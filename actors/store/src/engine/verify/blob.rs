//! Whether one blob is whole: every byte opened, and CID and tree computed anew from the content.

use bytecave_core::tree::{self, Hash, PAGE_GROUPS, TreeFold};
use bytecave_core::{BlobRoot, Digest};
use ring::digest::{Context, SHA256};
use rocksdb::DB;
use thiserror::Error;

use super::super::keyring::SealedName;
use super::super::layout::{chunk_key, name_key, prefix};
use super::super::record::{BlobMeta, Layout};
use super::super::rocks::chunk_read_options;
use super::super::seal::{self, BlobCipher, SealError};
use super::scan::Handle;

/// Why a blob is not whole.
#[derive(Debug, Error)]
pub(super) enum Fault {
    /// Its bytes are not there.
    #[error("its bytes are missing")]
    Missing,
    /// One of its chunks is not there.
    #[error("chunk {number} of {count} is missing")]
    MissingChunk {
        /// Which, from 0.
        number: u32,
        /// Chunks and pages that there must be.
        count: u32,
    },
    /// The database cannot read them.
    #[error("{0}")]
    Unreadable(rocksdb::Error),
    /// They do not open.
    #[error(transparent)]
    Sealed(#[from] SealError),
    /// They open and are another content.
    #[error("its content has the digest of another blob")]
    Digest,
    /// The stored root is not that of the content.
    #[error("its tree has another root than its metadata says")]
    Root,
    /// The stored group hashes are not those of the content.
    #[error("its page {page} of group hashes is not that of its content")]
    Page {
        /// Which, from 0.
        page: usize,
    },
    /// Whoever takes the bytes failed.
    #[error("its bytes could not be written: {0}")]
    Sink(rocksdb::Error),
}

/// Takes the sealed rows of a blob that is being checked, in order of their keys.
pub(super) type Sink<'s> = dyn FnMut(&[u8], &[u8]) -> Result<(), rocksdb::Error> + 's;

/// A family to read blobs from.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) db: &'a DB,
    pub(super) family: &'a Handle<'a>,
}

impl Source<'_> {
    /// Checks the blob that `meta` describes, and hands its sealed rows to `sink` as it goes: what
    /// was handed over is only to be kept if the check succeeds.
    pub(super) fn check(
        &self,
        name: &SealedName,
        meta: &BlobMeta,
        sink: &mut Sink<'_>,
    ) -> Result<(), Fault> {
        match meta.layout {
            Layout::Small => {
                let key = name_key(prefix::DATA, name);
                let sealed = self.read(&key)?.ok_or(Fault::Missing)?;
                sink(&key, &sealed).map_err(Fault::Sink)?;
                check_small(meta, sealed)
            }
            Layout::Large => self.check_large(meta, sink),
        }
    }

    fn check_large(&self, meta: &BlobMeta, sink: &mut Sink<'_>) -> Result<(), Fault> {
        let cipher = BlobCipher::new(&meta.data_key, meta.blob_id)?;
        let count = seal::chunk_count(meta.size)?;
        let segments = seal::segment_count(meta.size)?;
        let mut sealed_size = 0;
        let mut read = |number| {
            let key = chunk_key(meta.blob_id, number);
            let sealed = self
                .read(&key)?
                .ok_or(Fault::MissingChunk { number, count })?;
            sink(&key, &sealed).map_err(Fault::Sink)?;
            sealed_size += sealed.len() as u64;
            Ok::<_, Fault>(sealed)
        };
        let mut digest = Context::new(&SHA256);
        let mut pages = Pages::default();
        let mut size = 0;
        for number in 0..segments {
            let mut sealed = read(number)?;
            let content = cipher.open_segment(number, number + 1 == segments, &mut sealed)?;
            size += content.len() as u64;
            digest.update(content);
            tree::group_hashes(content).for_each(|group| pages.push(group));
        }
        check_size(size, meta.size)?;
        if Digest::finish(digest) != meta.digest {
            return Err(Fault::Digest);
        }
        let pages = pages.finish();
        if !pages
            .iter()
            .map(|page| page.root)
            .eq(meta.page_roots.iter().copied())
        {
            return Err(Fault::Root);
        }
        let mut root = TreeFold::default();
        for (number, (at, page)) in (segments..).zip(pages.iter().enumerate()) {
            let stored = cipher.open_page(number, &mut read(number)?)?;
            // The root stands for the hashes, given how many they are.
            if stored.len() != page.groups || tree::page_root(&stored) != page.root {
                return Err(Fault::Page { page: at });
            }
            root.push(page.root);
        }
        check_root(root.into_blob_root(), meta)?;
        check_size(sealed_size, meta.sealed_size)
    }

    fn read(&self, key: &[u8]) -> Result<Option<Vec<u8>>, Fault> {
        self.db
            .get_cf_opt(self.family, key, &chunk_read_options())
            .map_err(Fault::Unreadable)
    }
}

/// The pages of a blob as its content gives them.
#[derive(Default)]
struct Pages {
    finished: Vec<Page>,
    groups: Vec<Hash>,
}

struct Page {
    root: Hash,
    groups: usize,
}

impl Pages {
    fn push(&mut self, group: Hash) {
        self.groups.push(group);
        if self.groups.len() == PAGE_GROUPS {
            self.turn();
        }
    }

    fn turn(&mut self) {
        self.finished.push(Page {
            root: tree::page_root(&self.groups),
            groups: self.groups.len(),
        });
        self.groups.clear();
    }

    fn finish(mut self) -> Vec<Page> {
        if !self.groups.is_empty() {
            self.turn();
        }
        self.finished
    }
}

pub(super) fn check_small(meta: &BlobMeta, mut sealed: Vec<u8>) -> Result<(), Fault> {
    check_size(sealed.len() as u64, meta.sealed_size)?;
    BlobCipher::new(&meta.data_key, meta.blob_id)?.open_whole(meta.size, &mut sealed)?;
    if Digest::of(&sealed) != meta.digest {
        return Err(Fault::Digest);
    }
    check_root(tree::blob_root(&sealed), meta)
}

fn check_root(root: BlobRoot, meta: &BlobMeta) -> Result<(), Fault> {
    if root == meta.blob_root {
        Ok(())
    } else {
        Err(Fault::Root)
    }
}

fn check_size(found: u64, expected: u64) -> Result<(), Fault> {
    if found == expected {
        Ok(())
    } else {
        Err(SealError::Length { found, expected }.into())
    }
}
