//! The blob tree of a large blob, hashed while its bytes come in.
//!
//! The pages of group hashes are stored behind all chunks, so they have to wait until the content
//! ends: the first ones in memory, those of a huge blob sealed in a file, so that memory does not
//! grow with the blob.

use std::fs::File;
use std::io::{BufReader, Read as _, Seek as _, Write as _};
use std::path::PathBuf;

use bytecave_core::BlobRoot;
use bytecave_core::tree::{GROUP_BYTES, Hash, PAGE_GROUPS, TreeFold, group_hashes, page_root};
use bytecave_messages::store::StoreError;

use super::temp::TempFile;
use crate::engine::seal::{BlobCipher, BlobId, DataKey, TAG_BYTES};
use crate::engine::state::{failed, seal_failed};

/// Full pages that wait in memory: those of 1 GiB, 2 MiB.
const PAGES_IN_MEMORY: usize = 16;
/// A full page, sealed.
const SEALED_PAGE_BYTES: usize = PAGE_GROUPS * size_of::<Hash>() + TAG_BYTES;

/// Hashes the tree, group by group.
pub(super) struct TreeHasher {
    /// Content of the group being filled.
    partial: Vec<u8>,
    /// Hashes of the page being filled.
    groups: Vec<Hash>,
    /// Full pages that are not in the file.
    full: Vec<Vec<Hash>>,
    page_roots: Vec<Hash>,
    path: PathBuf,
    spilled: Option<Spill>,
}

/// Full pages in a file, sealed under a key that nothing else is sealed with.
struct Spill {
    // Before the name in this list, so that it is closed first.
    file: File,
    _name: TempFile,
    cipher: BlobCipher,
    pages: u32,
}

/// The tree of a whole blob.
pub(super) struct Tree {
    pub(super) root: BlobRoot,
    pub(super) page_roots: Vec<Hash>,
    pages: Vec<Vec<Hash>>,
    spilled: Option<Spill>,
}

impl TreeHasher {
    /// Begins; `path` is where full pages go once there are many.
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            partial: Vec::new(),
            groups: Vec::new(),
            full: Vec::new(),
            page_roots: Vec::new(),
            path,
            spilled: None,
        }
    }

    /// Takes in the next bytes.
    pub(super) fn absorb(&mut self, piece: &[u8]) -> Result<(), StoreError> {
        let mut rest = piece;
        if !self.partial.is_empty() {
            let room = GROUP_BYTES - self.partial.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.partial.extend_from_slice(now);
            rest = later;
            if self.partial.len() < GROUP_BYTES {
                return Ok(());
            }
            let group = std::mem::take(&mut self.partial);
            self.push(group_hashes(&group))?;
        }
        let (full, tail) = rest.split_at(rest.len() - rest.len() % GROUP_BYTES);
        self.push(group_hashes(full))?;
        self.partial.extend_from_slice(tail);
        Ok(())
    }

    /// The tree over everything.
    pub(super) fn finish(mut self) -> Result<Tree, StoreError> {
        let group = std::mem::take(&mut self.partial);
        self.push(group_hashes(&group))?;
        if !self.groups.is_empty() {
            self.page_roots.push(page_root(&self.groups));
            self.full.push(self.groups);
        }
        let mut fold = TreeFold::default();
        self.page_roots.iter().for_each(|root| fold.push(*root));
        Ok(Tree {
            root: fold.into_blob_root(),
            page_roots: self.page_roots,
            pages: self.full,
            spilled: self.spilled,
        })
    }

    fn push(&mut self, groups: impl Iterator<Item = Hash>) -> Result<(), StoreError> {
        for group in groups {
            self.groups.push(group);
            if self.groups.len() == PAGE_GROUPS {
                self.page_roots.push(page_root(&self.groups));
                self.full.push(std::mem::take(&mut self.groups));
                if self.full.len() > PAGES_IN_MEMORY {
                    self.spill()?;
                }
            }
        }
        Ok(())
    }

    /// Moves the full pages to the file.
    fn spill(&mut self) -> Result<(), StoreError> {
        let spill = match &mut self.spilled {
            Some(spill) => spill,
            none => none.insert(Spill::create(self.path.clone())?),
        };
        self.full.drain(..).try_for_each(|page| spill.put(&page))
    }
}

impl Tree {
    /// Hands out all pages, first to last.
    pub(super) fn each_page(
        self,
        mut visit: impl FnMut(&[Hash]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        if let Some(spill) = self.spilled {
            spill.each(&mut visit)?;
        }
        self.pages.iter().try_for_each(|page| visit(page))
    }
}

impl Spill {
    fn create(path: PathBuf) -> Result<Self, StoreError> {
        let name = TempFile::new(path);
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(name.path())
            .map_err(spill_failed)?;
        let key = DataKey::random().map_err(seal_failed)?;
        let id = BlobId::random().map_err(seal_failed)?;
        Ok(Self {
            file,
            _name: name,
            cipher: BlobCipher::new(&key, id).map_err(seal_failed)?,
            pages: 0,
        })
    }

    fn put(&mut self, page: &[Hash]) -> Result<(), StoreError> {
        let sealed = self
            .cipher
            .seal_page(self.pages, page)
            .map_err(seal_failed)?;
        self.pages += 1;
        self.file.write_all(&sealed).map_err(spill_failed)
    }

    fn each(
        mut self,
        visit: &mut impl FnMut(&[Hash]) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        self.file.rewind().map_err(spill_failed)?;
        let mut file = BufReader::new(self.file);
        let mut sealed = vec![0; SEALED_PAGE_BYTES];
        for number in 0..self.pages {
            file.read_exact(&mut sealed).map_err(spill_failed)?;
            let page = self
                .cipher
                .open_page(number, &mut sealed)
                .map_err(seal_failed)?;
            visit(&page)?;
        }
        Ok(())
    }
}

fn spill_failed(error: std::io::Error) -> StoreError {
    failed("keeping group hashes in a temporary file", error)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_core::tree::{blob_root, leaf_hash};

    use super::*;

    #[test]
    fn pieces_of_any_size_give_the_tree_of_the_whole() {
        let content: Vec<u8> = (0..200_003_u32).map(|n| (n % 253) as u8).collect();
        for step in [
            1,
            1000,
            GROUP_BYTES - 1,
            GROUP_BYTES,
            GROUP_BYTES + 1,
            100_000,
        ] {
            let mut hasher = TreeHasher::new(PathBuf::new());
            content
                .chunks(step)
                .for_each(|piece| hasher.absorb(piece).unwrap());
            let tree = hasher.finish().unwrap();
            assert_eq!(tree.root, blob_root(&content), "in steps of {step}");
            let mut groups = 0;
            tree.each_page(|page| {
                groups += page.len();
                Ok(())
            })
            .unwrap();
            assert_eq!(groups, content.len().div_ceil(GROUP_BYTES));
        }
    }

    #[test]
    fn pages_beyond_those_in_memory_come_back_from_a_sealed_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pages");
        let hashes: Vec<Hash> = (0..PAGE_GROUPS * (2 * PAGES_IN_MEMORY + 3) + 7)
            .map(|n| leaf_hash(&n.to_be_bytes()))
            .collect();
        let mut hasher = TreeHasher::new(path.clone());
        hasher.push(hashes.iter().copied()).unwrap();
        assert!(hasher.full.len() <= PAGES_IN_MEMORY);
        let file = std::fs::read(&path).unwrap();
        assert!(file.len() > SEALED_PAGE_BYTES);
        assert!(
            !file.windows(32).any(|window| window == hashes[0]),
            "no hash lies open"
        );
        let tree = hasher.finish().unwrap();
        let mut fold = TreeFold::default();
        hashes.iter().for_each(|hash| fold.push(*hash));
        assert_eq!(tree.root, fold.into_blob_root());
        let mut back = Vec::new();
        tree.each_page(|page| {
            back.extend_from_slice(page);
            Ok(())
        })
        .unwrap();
        assert!(back == hashes);
        assert!(!path.exists(), "it goes with its owner");
    }
}
