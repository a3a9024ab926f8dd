#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;
use crate::tree::{blob_root, group_hashes, leaf_count, page_root};

/// The tree's hash and the path of leaf `index`: RFC 9162, sections 2.1.1 and 2.1.3.1, word for
/// word.
fn root_of(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => leaf_hash(&[]),
        [leaf] => *leaf,
        _ => {
            let (left, right) = leaves.split_at(leaves.len().next_power_of_two() / 2);
            node_hash(&root_of(left), &root_of(right))
        }
    }
}

fn path_of(index: usize, leaves: &[Hash]) -> Vec<Hash> {
    if leaves.len() == 1 {
        return Vec::new();
    }
    let split = leaves.len().next_power_of_two() / 2;
    let (left, right) = leaves.split_at(split);
    if index < split {
        [path_of(index, left), vec![root_of(right)]].concat()
    } else {
        [path_of(index - split, right), vec![root_of(left)]].concat()
    }
}

fn hashes(count: usize) -> Vec<Hash> {
    (0..count).map(|n| leaf_hash(&n.to_be_bytes())).collect()
}

fn content(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| u8::try_from((at * 31 + at / 1024 * 7) % 251).unwrap())
        .collect()
}

#[test]
fn every_path_of_small_trees_is_that_of_the_rfc() {
    for count in 1..=70 {
        let hashes = hashes(count);
        let all: Vec<usize> = (0..count).collect();
        let (root, paths) = root_and_paths(&hashes, &all).unwrap();
        assert_eq!(root, root_of(&hashes), "{count} leaves");
        for (index, path) in paths.iter().enumerate() {
            assert_eq!(path, &path_of(index, &hashes), "{index} of {count}");
            let reached = root_from_path(hashes[index], index as u64, count as u64, path);
            assert_eq!(reached, Ok(root), "{index} of {count}");
        }
    }
}

#[test]
fn paths_at_the_boundaries_are_those_of_the_rfc() {
    for count in [
        1, 2, 3, 5, 7, 15, 16, 17, 511, 512, 513, 1023, 1024, 1025, 4095, 4096, 4097, 8191, 8193,
    ] {
        let hashes = hashes(count);
        let root = root_of(&hashes);
        for index in [0, 1, count / 2, count.saturating_sub(2), count - 1] {
            let Some(path) = path_in(&hashes, index) else {
                assert!(index >= count);
                continue;
            };
            assert_eq!(path, path_of(index, &hashes), "{index} of {count}");
            let reached = root_from_path(hashes[index], index as u64, count as u64, &path);
            assert_eq!(reached, Ok(root), "{index} of {count}");
        }
    }
}

#[test]
fn no_leaf_outside_has_a_path() {
    assert_eq!(path_in(&[], 0), None);
    assert_eq!(path_in(&hashes(3), 3), None);
    assert_eq!(leaf_path(&[], 0), Some(Vec::new()));
    assert_eq!(leaf_path(&[], 1), None);
    assert_eq!(leaf_path(&content(1025), 2), None);
    assert_eq!(leaf_bytes(&content(1025), 2), None);
    assert_eq!(leaf_bytes(&[], 0), Some(&[][..]));
    assert_eq!(leaf_bytes(&[], 1), None);
}

#[test]
fn a_leaf_has_the_length_that_is_left() {
    assert_eq!(leaf_len(0, 0), Some(0));
    assert_eq!(leaf_len(0, 1), None);
    assert_eq!(leaf_len(1, 0), Some(1));
    assert_eq!(leaf_len(1024, 0), Some(1024));
    assert_eq!(leaf_len(1024, 1), None);
    assert_eq!(leaf_len(1025, 0), Some(1024));
    assert_eq!(leaf_len(1025, 1), Some(1));
    let last = leaf_count(u64::MAX) - 1;
    assert_eq!(leaf_len(u64::MAX, last), Some(1023));
    assert_eq!(leaf_len(u64::MAX, last + 1), None);
}

#[test]
fn longest_path_fits_its_bound() {
    let leaf_count = leaf_count(u64::MAX);
    let path = vec![[7; 32]; PATH_MAX];
    assert!(root_from_path([1; 32], 0, leaf_count, &path).is_ok());
    assert!(root_from_path([1; 32], leaf_count - 1, leaf_count, &path).is_ok());
    assert_eq!(
        root_from_path([1; 32], 0, leaf_count, &[[7; 32]; PATH_MAX + 1]),
        Err(PathError::TooLong)
    );
}

#[test]
fn paths_through_pages_are_those_of_the_whole_blob() {
    // Pages of the real size would be 64 MiB each; their hashes alone are enough for the upper
    // part. The blob here has two full pages and a third of one group with three leaves.
    let last_group = content(2 * LEAF_BYTES + 100);
    let mut groups = hashes(2 * PAGE_GROUPS);
    groups.extend(group_hashes(&last_group));
    let page_roots: Vec<Hash> = groups.chunks(PAGE_GROUPS).map(page_root).collect();
    let root = root_of(&groups);
    let first_of_last = (2 * PAGE_GROUPS * GROUP_LEAVES) as u64;
    let leaf_count = first_of_last + 3;
    for index in first_of_last..leaf_count {
        let leaf = PagedLeaf {
            index,
            group_content: &last_group,
            page_groups: &groups[2 * PAGE_GROUPS..],
            page_roots: &page_roots,
        };
        let (bytes, path) = leaf.bytes_and_path().unwrap();
        assert_eq!(
            root_from_path(leaf_hash(bytes), index, leaf_count, &path),
            Ok(root)
        );
    }
    let outside = PagedLeaf {
        index: leaf_count,
        group_content: &last_group,
        page_groups: &groups[2 * PAGE_GROUPS..],
        page_roots: &page_roots,
    };
    assert!(outside.bytes_and_path().is_none());
}

#[test]
fn paths_across_a_page_boundary_are_those_of_the_whole_blob() {
    let page_bytes = PAGE_GROUPS * GROUP_BYTES;
    let content = content(page_bytes + GROUP_BYTES + 5000);
    let groups: Vec<Hash> = group_hashes(&content).collect();
    let page_roots: Vec<Hash> = groups.chunks(PAGE_GROUPS).map(page_root).collect();
    let page_leaves = (PAGE_GROUPS * GROUP_LEAVES) as u64;
    let last = leaf_count(content.len() as u64) - 1;
    let indexes = [
        0,
        15,
        16,
        page_leaves - 1,
        page_leaves,
        page_leaves + 16,
        last,
    ];
    let (root, paths) = leaf_paths(&content, &indexes).unwrap();
    assert_eq!(root, blob_root(&content));
    for (index, path) in indexes.into_iter().zip(paths) {
        let place = LeafPlace::of(index).unwrap();
        let start = usize::try_from(place.group_start).unwrap();
        let page = usize::try_from(place.page).unwrap();
        let leaf = PagedLeaf {
            index,
            group_content: &content[start..content.len().min(start + GROUP_BYTES)],
            page_groups: groups.chunks(PAGE_GROUPS).nth(page).unwrap(),
            page_roots: &page_roots,
        };
        let (bytes, through_pages) = leaf.bytes_and_path().unwrap();
        assert_eq!(through_pages, path, "leaf {index}");
        assert_eq!(leaf_bytes(&content, index), Some(bytes));
        assert_eq!(leaf_len(content.len() as u64, index), Some(bytes.len()));
    }
}

proptest! {
    #[test]
    fn paths_of_any_blob_are_those_of_the_rfc_and_lead_to_its_root(
        size in 0usize..90_000, picks in prop::collection::vec(any::<prop::sample::Index>(), 1..8),
    ) {
        let content = content(size);
        let leaves = leaf_hashes(&content);
        prop_assert_eq!(leaves.len() as u64, leaf_count(size as u64));
        let indexes: Vec<u64> = picks.iter().map(|pick| pick.index(leaves.len()) as u64).collect();
        let (root, paths) = leaf_paths(&content, &indexes).unwrap();
        prop_assert_eq!(root, blob_root(&content));
        for (index, path) in indexes.iter().zip(&paths) {
            let at = usize::try_from(*index).unwrap();
            prop_assert_eq!(path, &path_of(at, &leaves));
            prop_assert_eq!(leaf_path(&content, *index), Some(path.clone()));
            let count = leaves.len() as u64;
            prop_assert_eq!(root_from_path(leaves[at], *index, count, path), Ok(*root.as_bytes()));
        }
    }

    #[test]
    fn a_path_too_long_or_too_short_is_refused(count in 1usize..600, pick in any::<prop::sample::Index>()) {
        let hashes = hashes(count);
        let index = pick.index(count);
        let mut path = path_in(&hashes, index).unwrap();
        let check = |path: &[Hash]| root_from_path(hashes[index], index as u64, count as u64, path);
        if let Some((_, shorter)) = path.split_last() {
            prop_assert_eq!(check(shorter), Err(PathError::TooShort));
        }
        path.push([0; 32]);
        prop_assert_eq!(check(&path), Err(PathError::TooLong));
        let outside = root_from_path(hashes[index], count as u64, count as u64, &path);
        let refused = Err(PathError::NoSuchLeaf { index: count as u64, leaf_count: count as u64 });
        prop_assert_eq!(outside, refused);
    }

    #[test]
    fn a_path_leads_to_the_root_from_its_own_place_alone(
        count in 2usize..300, pick in any::<prop::sample::Index>(), other in any::<prop::sample::Index>(),
    ) {
        let hashes = hashes(count);
        let (index, other) = (pick.index(count), other.index(count));
        let (root, paths) = root_and_paths(&hashes, &[index]).unwrap();
        prop_assume!(index != other);
        let reached = root_from_path(hashes[index], other as u64, count as u64, &paths[0]);
        prop_assert_ne!(reached, Ok(root));
    }
}
