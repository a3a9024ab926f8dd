//! Inclusion paths in the blob tree, made and checked: RFC 9162, section 2.1.3.
//!
//! A path holds the siblings of a leaf and of its ancestors, from the leaf upwards. A node without a
//! sibling moves up unchanged and leaves nothing in the path. Because groups and pages are
//! subtrees, the path of a leaf in a large blob is made of three: inside its group, from there
//! inside its page, and from there across the roots of the pages.

use thiserror::Error;

use super::{
    BlobRoot, GROUP_BYTES, GROUP_LEAVES, Hash, LEAF_BYTES, PAGE_GROUPS, leaf_hash, node_hash,
};

/// Longest path: a blob of 2^64 - 1 bytes has 2^54 leaves.
pub const PATH_MAX: usize = 54;

/// Why a path leads to no root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathError {
    /// There is no such leaf.
    #[error("leaf {index} is none of {leaf_count} leaves")]
    NoSuchLeaf {
        /// The leaf asked for.
        index: u64,
        /// How many there are.
        leaf_count: u64,
    },
    /// The root is reached before the path ends.
    #[error("the path goes on above the root")]
    TooLong,
    /// The path ends before the root is reached.
    #[error("the path ends below the root")]
    TooShort,
}

/// Hashes of the leaves that `content` is made of; no content is one empty leaf.
pub fn leaf_hashes(content: &[u8]) -> Vec<Hash> {
    if content.is_empty() {
        return vec![leaf_hash(&[])];
    }
    content.chunks(LEAF_BYTES).map(leaf_hash).collect()
}

/// The leaf with this index of a blob whose whole content this is, as bytes.
pub fn leaf_bytes(content: &[u8], index: u64) -> Option<&[u8]> {
    if content.is_empty() {
        return (index == 0).then_some(content);
    }
    content.chunks(LEAF_BYTES).nth(usize::try_from(index).ok()?)
}

/// How many bytes leaf `index` of a blob of `size` bytes has; `None` when it has no such leaf.
pub const fn leaf_len(size: u64, index: u64) -> Option<usize> {
    let leaf_count = super::leaf_count(size);
    if index >= leaf_count {
        return None;
    }
    if index + 1 < leaf_count {
        return Some(LEAF_BYTES);
    }
    // At most 1024, and no overflow: the leaf begins inside the blob.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the last leaf has at most 1024 bytes"
    )]
    Some((size - index * LEAF_BYTES as u64) as usize)
}

/// The root over `hashes` and the paths of those at `indexes`, in their order; each inner node is
/// hashed once, however many paths there are. `None` when there are no hashes, or not as many as
/// an index says.
pub fn root_and_paths(hashes: &[Hash], indexes: &[usize]) -> Option<(Hash, Vec<Vec<Hash>>)> {
    if indexes.iter().any(|index| *index >= hashes.len()) {
        return None;
    }
    let mut open: Vec<(usize, Vec<Hash>)> = indexes.iter().map(|i| (*i, Vec::new())).collect();
    let mut level = hashes.to_vec();
    while level.len() > 1 {
        for (at, path) in &mut open {
            // The last of an odd number has no sibling.
            path.extend(level.get(*at ^ 1));
            *at /= 2;
        }
        level = level
            .chunks(2)
            .filter_map(|pair| match pair {
                [left, right] => Some(node_hash(left, right)),
                [single] => Some(*single),
                _ => None,
            })
            .collect();
    }
    let paths = open.into_iter().map(|(_, path)| path).collect();
    level.first().map(|root| (*root, paths))
}

/// The path of the hash at `index` to the root over `hashes`, which are those of leaves, groups or
/// pages. `None` when there are not so many.
pub fn path_in(hashes: &[Hash], index: usize) -> Option<Vec<Hash>> {
    root_and_paths(hashes, &[index]).and_then(|(_, paths)| paths.into_iter().next())
}

/// The root of a blob with this content and the paths of the leaves at `indexes`, in one pass over
/// the content. `None` when it has no such leaf.
pub fn leaf_paths(content: &[u8], indexes: &[u64]) -> Option<(BlobRoot, Vec<Vec<Hash>>)> {
    let indexes: Option<Vec<usize>> = indexes.iter().map(|i| usize::try_from(*i).ok()).collect();
    let (root, paths) = root_and_paths(&leaf_hashes(content), &indexes?)?;
    Some((BlobRoot::new(root), paths))
}

/// The path of the leaf at `index` of a blob with this content. `None` when it has no such leaf.
pub fn leaf_path(content: &[u8], index: u64) -> Option<Vec<Hash>> {
    leaf_paths(content, &[index]).and_then(|(_, paths)| paths.into_iter().next())
}

/// Where a leaf stands in a blob whose tree is kept in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafPlace {
    /// Number of the page, from 0.
    pub page: u64,
    /// Number of the group inside the page, below [`PAGE_GROUPS`].
    pub group_in_page: usize,
    /// Number of the leaf inside the group, below [`GROUP_LEAVES`].
    pub leaf_in_group: usize,
    /// Where in the blob the group's content begins; it has [`GROUP_BYTES`] bytes, or what is left
    /// of the blob.
    pub group_start: u64,
}

impl LeafPlace {
    /// The place of the leaf at `index`; `None` for an index that no blob reaches.
    pub fn of(index: u64) -> Option<Self> {
        let group = index / GROUP_LEAVES as u64;
        Some(Self {
            page: group / PAGE_GROUPS as u64,
            group_in_page: usize::try_from(group % PAGE_GROUPS as u64).ok()?,
            leaf_in_group: usize::try_from(index % GROUP_LEAVES as u64).ok()?,
            group_start: group.checked_mul(GROUP_BYTES as u64)?,
        })
    }
}

/// What the path of a leaf in a blob with pages is made of.
#[derive(Clone, Copy)]
pub struct PagedLeaf<'a> {
    /// Which leaf of the blob.
    pub index: u64,
    /// Content of its whole group: 16 KiB, less only at the blob's end.
    pub group_content: &'a [u8],
    /// Hashes of all groups of its page: [`PAGE_GROUPS`], fewer only in the last page.
    pub page_groups: &'a [Hash],
    /// Roots of all pages of the blob.
    pub page_roots: &'a [Hash],
}

impl PagedLeaf<'_> {
    /// The leaf's bytes and its path to the blob's root; `None` when a part is too short to have
    /// this leaf. Whether the parts belong together shows only when the path is checked.
    pub fn bytes_and_path(&self) -> Option<(&[u8], Vec<Hash>)> {
        let place = LeafPlace::of(self.index)?;
        let bytes = self
            .group_content
            .chunks(LEAF_BYTES)
            .nth(place.leaf_in_group)?;
        let mut path = path_in(&leaf_hashes(self.group_content), place.leaf_in_group)?;
        path.extend(path_in(self.page_groups, place.group_in_page)?);
        path.extend(path_in(self.page_roots, usize::try_from(place.page).ok()?)?);
        Some((bytes, path))
    }
}

/// The root that a path leads to from the leaf with this hash, at `index` among `leaf_count`:
/// RFC 9162, section 2.1.3.2.
///
/// A path of any other length than that leaf's is refused. The number of leaves is *not* proven:
/// the same path may also be one among another number of leaves, so it has to come from elsewhere.
pub fn root_from_path(
    leaf: Hash,
    index: u64,
    leaf_count: u64,
    path: &[Hash],
) -> Result<Hash, PathError> {
    if index >= leaf_count {
        return Err(PathError::NoSuchLeaf { index, leaf_count });
    }
    let (mut at, mut last) = (index, leaf_count - 1);
    let mut reached = leaf;
    for sibling in path {
        if last == 0 {
            return Err(PathError::TooLong);
        }
        if at % 2 == 1 || at == last {
            reached = node_hash(sibling, &reached);
            // Levels in which this node is the last of an odd number have no sibling for it.
            while at.is_multiple_of(2) && at != 0 {
                at /= 2;
                last /= 2;
            }
        } else {
            reached = node_hash(&reached, sibling);
        }
        at /= 2;
        last /= 2;
    }
    if last == 0 {
        Ok(reached)
    } else {
        Err(PathError::TooShort)
    }
}

#[cfg(test)]
mod tests;
