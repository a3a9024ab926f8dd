//! Which blob file a value lies in: the database says so of tables, but not of its blob files.
//!
//! A blob file is a head of 30 bytes, then for each value 32 bytes (u64le key length, u64le value
//! length, expiration, two checksums), the key and the value. Keys are in the open, so the heads of
//! the values suffice.

use std::fs::{self, File};
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

const FILE_HEAD_BYTES: i64 = 30;
const VALUE_HEAD_BYTES: usize = 32;
/// Keys are much shorter; more than this is no head of a value (but, say, the file's foot).
const KEY_AT_MOST: u64 = 256;

/// Names of the blob files in `dir` that hold a value under `key`, older ones of it included. Reads
/// the head of every value there is: only for when something is wrong.
pub(crate) fn holding(dir: &Path, key: &[u8]) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| {
            Path::new(name)
                .extension()
                .is_some_and(|kind| kind == "blob")
        })
        // A file that cannot be read to its end has said what it could.
        .filter(|name| holds(&dir.join(name), key).unwrap_or_default())
        .collect();
    names.sort();
    names
}

fn holds(file: &Path, wanted: &[u8]) -> io::Result<bool> {
    let mut file = BufReader::new(File::open(file)?);
    file.seek_relative(FILE_HEAD_BYTES)?;
    let mut head = [0; VALUE_HEAD_BYTES];
    let mut key = Vec::new();
    loop {
        match file.read_exact(&mut head) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(false),
            read => read?,
        }
        let [key_len, value_len, ..] = *head.as_chunks::<8>().0 else {
            return Ok(false);
        };
        let key_len = u64::from_le_bytes(key_len);
        if key_len > KEY_AT_MOST {
            return Ok(false);
        }
        key.clear();
        file.by_ref().take(key_len).read_to_end(&mut key)?;
        if key == wanted {
            return Ok(true);
        }
        let Ok(value_len) = i64::try_from(u64::from_le_bytes(value_len)) else {
            return Ok(false);
        };
        file.seek(SeekFrom::Current(value_len))?;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rocksdb::{DB, Options};

    use super::*;

    #[test]
    fn the_file_of_a_value_is_found_among_many() {
        let dir = tempfile::tempdir().unwrap();
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_enable_blob_files(true);
        options.set_disable_auto_compactions(true);
        let db = DB::open(&options, dir.path()).unwrap();
        for file in 0..3 {
            for row in 0..20 {
                db.put(format!("d{file}-{row}"), vec![b'd'; 3000 + row])
                    .unwrap();
            }
            db.flush().unwrap();
        }
        drop(db);
        let all: Vec<Vec<String>> = (0..3)
            .map(|file| holding(dir.path(), format!("d{file}-19").as_bytes()))
            .collect();
        assert!(all.iter().all(|names| names.len() == 1), "{all:?}");
        assert!(all.is_sorted() && all[0] < all[2], "{all:?}");
        assert!(holding(dir.path(), b"d3-0").is_empty());
        assert!(holding(&dir.path().join("gone"), b"d0-0").is_empty());
    }
}
