//! The blob tree: a Merkle tree over a blob's plaintext, and the 32 bytes that commit to it.
//!
//! Leaves are 1024 bytes of content (the last may be shorter); an empty blob is one empty leaf.
//! The root is the Merkle Tree Hash of RFC 9162, section 2.1.1, with SHA-256: a leaf hashes as
//! `SHA-256(0x00 ‖ bytes)`, a node as `SHA-256(0x01 ‖ left ‖ right)`, and a tree of n leaves splits
//! at the largest power of two below n.
//!
//! Sixteen leaves make a *group*, 4096 groups a *page*. Both are powers of two, so every full group
//! and page is a subtree of the whole tree, and the root follows from the groups' or pages' hashes
//! in the same way as from the leaves'. That lets pieces of a blob be hashed on any core, and lets
//! a challenge on a huge blob read one page instead of all of it.

mod path;

use std::fmt;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

pub use path::{
    LeafPlace, PATH_MAX, PagedLeaf, PathError, leaf_bytes, leaf_hashes, leaf_len, leaf_path,
    leaf_paths, path_in, root_and_paths, root_from_path,
};

/// Bytes of content in a leaf.
pub const LEAF_BYTES: usize = 1024;
/// Leaves in a group.
pub const GROUP_LEAVES: usize = 16;
/// Bytes of content in a group.
pub const GROUP_BYTES: usize = LEAF_BYTES * GROUP_LEAVES;
/// Groups in a page: 64 MiB of content.
pub const PAGE_GROUPS: usize = 4096;

const LEAF_PREFIX: u8 = 0x00;
const NODE_PREFIX: u8 = 0x01;
const COMMITMENT_PREFIX: &[u8] = b"bytecave-commitment-v1";

/// Hash of a leaf, an inner node or a subtree.
pub type Hash = [u8; 32];

macro_rules! hash_newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Hash);

        impl $name {
            /// Wraps 32 bytes.
            pub const fn new(bytes: Hash) -> Self {
                Self(bytes)
            }

            /// The 32 bytes.
            pub const fn as_bytes(&self) -> &Hash {
                &self.0
            }
        }

        impl fmt::Display for $name {
            /// 64 lower-case hex digits.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let [a, b, c, d, ..] = self.0;
                write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}…")
            }
        }
    };
}

hash_newtype! {
    /// Root of the blob tree.
    BlobRoot
}

hash_newtype! {
    /// The 32 bytes against which a proof of storage is checked: they bind size and root.
    ///
    /// `SHA-256("bytecave-commitment-v1" ‖ u64be(size) ‖ blobRoot)`. The size is bound because a
    /// path alone does not bind the number of leaves.
    Commitment
}

impl Commitment {
    /// Commits to a blob of `size` bytes with this root.
    pub fn of(size: u64, root: &BlobRoot) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(COMMITMENT_PREFIX);
        context.update(&size.to_be_bytes());
        context.update(root.as_bytes());
        Self(finish(context))
    }
}

/// Hash of one leaf, at most 1024 bytes.
pub fn leaf_hash(bytes: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[LEAF_PREFIX]);
    context.update(bytes);
    finish(context)
}

/// Hash of an inner node.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[NODE_PREFIX]);
    context.update(left);
    context.update(right);
    finish(context)
}

/// Number of leaves of a blob of `size` bytes.
pub const fn leaf_count(size: u64) -> u64 {
    let leaves = size.div_ceil(LEAF_BYTES as u64);
    if leaves == 0 { 1 } else { leaves }
}

/// Hashes of the groups that `content` is made of; its start must be a group boundary of the blob.
///
/// No content gives no hashes: only a blob that is empty as a whole has an empty leaf.
pub fn group_hashes(content: &[u8]) -> impl Iterator<Item = Hash> + '_ {
    content.chunks(GROUP_BYTES).map(|group| {
        let mut subtree = TreeFold::default();
        group
            .chunks(LEAF_BYTES)
            .for_each(|leaf| subtree.push(leaf_hash(leaf)));
        subtree.root()
    })
}

/// Root of the blob tree over the whole of `content`.
pub fn blob_root(content: &[u8]) -> BlobRoot {
    let mut fold = TreeFold::default();
    group_hashes(content).for_each(|group| fold.push(group));
    fold.into_blob_root()
}

/// Root of the page that starts with the first of `groups`: at most [`PAGE_GROUPS`] of them.
pub fn page_root(groups: &[Hash]) -> Hash {
    let mut fold = TreeFold::default();
    groups.iter().for_each(|group| fold.push(*group));
    fold.root()
}

/// The Merkle Tree Hash over a sequence of hashes, taken one at a time.
///
/// Holds one hash per bit of the number pushed so far. The hashes may be those of leaves, groups or
/// pages: the result is the same root as long as all but the last stand for full subtrees.
#[derive(Clone, Default, Debug)]
pub struct TreeFold {
    pushed: u64,
    /// Roots of the full subtrees so far, largest first: one for each set bit of `pushed`.
    subtrees: Vec<Hash>,
}

impl TreeFold {
    /// Appends the next hash.
    pub fn push(&mut self, hash: Hash) {
        let mut merged = hash;
        // Each trailing one bit of the count is a full subtree of the size reached so far.
        for _ in 0..self.pushed.trailing_ones() {
            if let Some(left) = self.subtrees.pop() {
                merged = node_hash(&left, &merged);
            }
        }
        self.subtrees.push(merged);
        self.pushed += 1;
    }

    /// The root over everything pushed; of nothing, the hash of an empty leaf.
    pub fn root(&self) -> Hash {
        let mut from_the_right = self.subtrees.iter().rev();
        let Some(last) = from_the_right.next() else {
            return leaf_hash(&[]);
        };
        from_the_right.fold(*last, |right, left| node_hash(left, &right))
    }

    /// The root as that of a blob.
    pub fn into_blob_root(self) -> BlobRoot {
        BlobRoot(self.root())
    }
}

fn finish(context: Context) -> Hash {
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// RFC 9162, section 2.1.1, word for word.
    fn merkle_tree_hash(leaves: &[&[u8]]) -> Hash {
        match leaves {
            [] => leaf_hash(&[]),
            [leaf] => leaf_hash(leaf),
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                let (left, right) = leaves.split_at(split);
                node_hash(&merkle_tree_hash(left), &merkle_tree_hash(right))
            }
        }
    }

    fn content(size: usize) -> Vec<u8> {
        (0..size)
            .map(|at| u8::try_from((at * 31 + at / 1024) % 251).unwrap_or_default())
            .collect()
    }

    #[test]
    fn empty_blob_is_one_empty_leaf() {
        // SHA-256 of the single byte 0x00.
        let expected = "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d";
        assert_eq!(blob_root(&[]).to_string(), expected);
        assert_eq!(leaf_count(0), 1);
    }

    #[test]
    fn root_is_that_of_the_rfc_at_every_boundary() {
        let sizes = [
            1, 1023, 1024, 1025, 2048, 3000, 16_383, 16_384, 16_385, 32_768, 33_000, 262_144,
            262_145, 700_001,
        ];
        for size in sizes {
            let content = content(size);
            let leaves: Vec<&[u8]> = content.chunks(LEAF_BYTES).collect();
            assert_eq!(
                blob_root(&content).as_bytes(),
                &merkle_tree_hash(&leaves),
                "{size} bytes"
            );
            assert_eq!(leaf_count(size as u64), leaves.len() as u64);
        }
    }

    #[test]
    fn root_follows_from_page_roots() {
        let groups: Vec<Hash> = (0..PAGE_GROUPS * 2 + 3)
            .map(|n| leaf_hash(&n.to_be_bytes()))
            .collect();
        let mut by_groups = TreeFold::default();
        groups.iter().for_each(|group| by_groups.push(*group));
        let mut by_pages = TreeFold::default();
        groups
            .chunks(PAGE_GROUPS)
            .for_each(|page| by_pages.push(page_root(page)));
        assert_eq!(by_groups.root(), by_pages.root());
    }

    #[test]
    fn commitment_binds_the_size() {
        let root = blob_root(b"x");
        assert_ne!(Commitment::of(1, &root), Commitment::of(2, &root));
    }

    proptest! {
        #[test]
        fn pieces_cut_at_group_boundaries_give_the_same_root(size in 0usize..200_000, cut in 0usize..12) {
            let content = content(size);
            let (head, tail) = content.split_at((cut * GROUP_BYTES).min(size));
            let mut fold = TreeFold::default();
            if head.len() % GROUP_BYTES == 0 {
                group_hashes(head).chain(group_hashes(tail)).for_each(|group| fold.push(group));
                prop_assert_eq!(fold.into_blob_root(), blob_root(&content));
            }
        }
    }
}
