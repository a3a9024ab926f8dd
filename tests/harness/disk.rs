//! What stands in a directory: files, sizes, and where some bytes are.

use std::fs;
use std::path::{Path, PathBuf};

/// Every file below a directory. One that vanishes meanwhile is left out.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else {
            continue;
        };
        for entry in entries.flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => open.push(entry.path()),
                Ok(kind) if kind.is_file() => found.push(entry.path()),
                _ => {}
            }
        }
    }
    found.sort();
    found
}

/// Length of all files below a directory. Blocks would count what the database reserves ahead.
pub(crate) fn used(dir: &Path) -> u64 {
    files(dir)
        .iter()
        .filter_map(|file| fs::metadata(file).ok())
        .map(|m| m.len())
        .sum()
}

/// Files of one ending, by size, the largest first.
pub(crate) fn largest(dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut all: Vec<(u64, PathBuf)> = files(dir)
        .into_iter()
        .filter(|file| file.extension().is_some_and(|e| e == ending))
        .filter_map(|file| Some((fs::metadata(&file).ok()?.len(), file)))
        .collect();
    all.sort_by_key(|(size, _)| std::cmp::Reverse(*size));
    all.into_iter().map(|(_, file)| file).collect()
}

/// Where `needle` stands first in `hay`.
pub(crate) fn position(hay: &[u8], needle: &[u8]) -> Option<usize> {
    let first = *needle.first().unwrap();
    let mut at = 0;
    while let Some(next) = hay[at..].iter().position(|&b| b == first) {
        at += next;
        if hay[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Whether `needle` stands somewhere in `hay`.
pub(crate) fn contains(hay: &[u8], needle: &[u8]) -> bool {
    position(hay, needle).is_some()
}

/// Flips one bit of a file.
pub(crate) fn flip(file: &Path, at: u64) {
    use std::os::unix::fs::FileExt;
    let open = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(file)
        .unwrap();
    let mut byte = [0];
    open.read_exact_at(&mut byte, at).unwrap();
    byte[0] ^= 0x10;
    open.write_all_at(&byte, at).unwrap();
    open.sync_all().unwrap();
}
