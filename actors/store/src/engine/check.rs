//! Whether one blob is whole: every byte opened, and CID and tree computed anew from the content.

use bytecave_core::tree::{self, Hash, PAGE_GROUPS, TreeFold};
use bytecave_core::{BlobRoot, Digest};
use ring::digest::{Context, SHA256};
use thiserror::Error;

use super::record::BlobMeta;
use super::seal::{self, BlobCipher, SealError};

/// Why a blob is not whole.
#[derive(Debug, Error)]
pub(crate) enum Fault {
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
        page: u32,
    },
    /// Whoever takes the bytes failed.
    #[error("its bytes could not be written: {0}")]
    Sink(rocksdb::Error),
}

/// Checks the sealed bytes of a small blob.
pub(crate) fn check_small(meta: &BlobMeta, mut sealed: Vec<u8>) -> Result<(), Fault> {
    check_size(sealed.len() as u64, meta.sealed_size)?;
    BlobCipher::new(&meta.data_key, meta.blob_id)?.open_whole(meta.size, &mut sealed)?;
    if Digest::of(&sealed) != meta.digest {
        return Err(Fault::Digest);
    }
    check_root(tree::blob_root(&sealed), meta)
}

/// Checks a large blob, chunk by chunk and then page by page, in the order of their numbers.
pub(crate) struct LargeCheck {
    cipher: BlobCipher,
    segments: u32,
    /// Chunks and pages.
    count: u32,
    /// What comes next.
    next: u32,
    digest: Context,
    pages: Pages,
    root: TreeFold,
    size: u64,
    sealed_size: u64,
}

impl LargeCheck {
    /// Begins with the blob that `meta` describes.
    pub(crate) fn new(meta: &BlobMeta) -> Result<Self, Fault> {
        Ok(Self {
            cipher: BlobCipher::new(&meta.data_key, meta.blob_id)?,
            segments: seal::segment_count(meta.size)?,
            count: seal::chunk_count(meta.size)?,
            next: 0,
            digest: Context::new(&SHA256),
            pages: Pages::default(),
            root: TreeFold::default(),
            size: 0,
            sealed_size: 0,
        })
    }

    /// Number of the chunk or page that is to be read next; `None` behind the last.
    pub(crate) fn wants(&self) -> Option<u32> {
        (self.next < self.count).then_some(self.next)
    }

    /// What to say when that one is not there.
    pub(crate) fn missing(&self) -> Fault {
        Fault::MissingChunk {
            number: self.next,
            count: self.count,
        }
    }

    /// Takes the sealed bytes of the one wanted; gives how many bytes of content are in them.
    pub(crate) fn take(&mut self, meta: &BlobMeta, mut sealed: Vec<u8>) -> Result<u64, Fault> {
        self.sealed_size += sealed.len() as u64;
        let number = self.next;
        self.next += 1;
        if number >= self.segments {
            self.take_page(number, &mut sealed)?;
            return Ok(0);
        }
        let last = number + 1 == self.segments;
        let content = self.cipher.open_segment(number, last, &mut sealed)?;
        self.size += content.len() as u64;
        self.digest.update(content);
        for group in tree::group_hashes(content) {
            self.pages.push(group);
        }
        let len = content.len() as u64;
        if last {
            self.end_content(meta)?;
        }
        Ok(len)
    }

    fn end_content(&mut self, meta: &BlobMeta) -> Result<(), Fault> {
        check_size(self.size, meta.size)?;
        let digest = std::mem::replace(&mut self.digest, Context::new(&SHA256));
        if Digest::finish(digest) != meta.digest {
            return Err(Fault::Digest);
        }
        self.pages.turn();
        let found = self.pages.finished.iter().map(|page| &page.root);
        if !found.eq(&meta.page_roots) {
            return Err(Fault::Root);
        }
        Ok(())
    }

    fn take_page(&mut self, number: u32, sealed: &mut [u8]) -> Result<(), Fault> {
        let page = number - self.segments;
        let stored = self.cipher.open_page(number, sealed)?;
        let at = usize::try_from(page).unwrap_or(usize::MAX);
        match self.pages.finished.get(at) {
            // The root stands for the hashes, given how many they are.
            Some(computed)
                if stored.len() == computed.groups && tree::page_root(&stored) == computed.root =>
            {
                self.root.push(computed.root);
                Ok(())
            }
            _ => Err(Fault::Page { page }),
        }
    }

    /// What is left to check when nothing is wanted any more.
    pub(crate) fn finish(self, meta: &BlobMeta) -> Result<(), Fault> {
        check_root(self.root.into_blob_root(), meta)?;
        check_size(self.sealed_size, meta.sealed_size)
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

    /// Ends the page being filled, if anything is in it.
    fn turn(&mut self) {
        if self.groups.is_empty() {
            return;
        }
        self.finished.push(Page {
            root: tree::page_root(&self.groups),
            groups: self.groups.len(),
        });
        self.groups.clear();
    }
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
