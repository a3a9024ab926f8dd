//! The blob tree of a large blob, hashed while its bytes come in.

use bytecave_core::BlobRoot;
use bytecave_core::tree::{GROUP_BYTES, Hash, PAGE_GROUPS, TreeFold, group_hashes, page_root};

/// Hashes the tree, group by group.
#[derive(Debug, Default)]
pub(super) struct TreeHasher {
    /// Content of the group being filled.
    partial: Vec<u8>,
    /// Hashes of all groups: 2 MiB for each GiB of content.
    groups: Vec<Hash>,
}

/// The tree of a whole blob.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) root: BlobRoot,
    pub(super) page_roots: Vec<Hash>,
    pub(super) groups: Vec<Hash>,
}

impl TreeHasher {
    /// Takes in the next bytes.
    pub(super) fn absorb(&mut self, piece: &[u8]) {
        let mut rest = piece;
        if !self.partial.is_empty() {
            let room = GROUP_BYTES - self.partial.len();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.partial.extend_from_slice(now);
            rest = later;
            if self.partial.len() < GROUP_BYTES {
                return;
            }
            self.groups.extend(group_hashes(&self.partial));
            self.partial.clear();
        }
        let (full, tail) = rest.split_at(rest.len() - rest.len() % GROUP_BYTES);
        self.groups.extend(group_hashes(full));
        self.partial.extend_from_slice(tail);
    }

    /// The tree over everything.
    pub(super) fn finish(mut self) -> Tree {
        self.groups.extend(group_hashes(&self.partial));
        let page_roots: Vec<Hash> = self.groups.chunks(PAGE_GROUPS).map(page_root).collect();
        let mut fold = TreeFold::default();
        page_roots.iter().for_each(|root| fold.push(*root));
        Tree {
            root: fold.into_blob_root(),
            page_roots,
            groups: self.groups,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytecave_core::tree::blob_root;

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
            let mut hasher = TreeHasher::default();
            content.chunks(step).for_each(|piece| hasher.absorb(piece));
            let tree = hasher.finish();
            assert_eq!(tree.root, blob_root(&content), "in steps of {step}");
            assert_eq!(tree.groups.len(), content.len().div_ceil(GROUP_BYTES));
        }
    }
}
