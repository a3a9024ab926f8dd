//! The same bytes in a plain file: how fast they can be read with the page cache full, or dropped.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{Advice, fadvise};

use super::{MachineError, at};
use crate::content::{BlobSeed, PIECE_BYTES, Pieces};
use crate::measure::{Enough, Measured, on_threads};
use crate::random::{SplitMix, fresh_seed};

/// A file of stretches as long as the blobs that it stands for.
#[derive(Debug)]
pub struct PlainFile {
    path: PathBuf,
    size: u64,
    count: u64,
}

impl PlainFile {
    pub(super) fn write(path: PathBuf, size: u64, count: u64) -> Result<Self, MachineError> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(at(&path))?;
        let mut pieces = Pieces::new();
        let seed = BlobSeed::new(fresh_seed(), 0);
        let mut offset = 0;
        while offset < size * count {
            let left = size * count - offset;
            let len = usize::try_from(left).map_or(PIECE_BYTES, |left| left.min(PIECE_BYTES));
            file.write_all(&pieces.piece(seed, offset, len))
                .map_err(at(&path))?;
            offset += len as u64;
        }
        file.sync_all().map_err(at(&path))?;
        Ok(Self { path, size, count })
    }

    /// Reads stretches at random, from as many threads as given.
    pub fn read_at_random(&self, readers: usize, enough: Enough) -> Result<Measured, MachineError> {
        let run = fresh_seed();
        self.read(readers, enough, |reader| {
            let mut random = SplitMix::new(run ^ reader as u64);
            move |_| random.below(usize::try_from(self.count).unwrap_or(usize::MAX)) as u64
        })
    }

    /// Reads each stretch once, in order.
    pub fn read_in_order(&self) -> Result<Measured, MachineError> {
        self.read(1, Enough::Operations(self.count), |_| |number| number)
    }

    /// Reads each stretch once, in order, after dropping all of them from the page cache.
    pub fn read_cold(&self) -> Result<Measured, MachineError> {
        drop_from_page_cache(&self.path).map_err(at(&self.path))?;
        self.read_in_order()
    }

    fn read<P>(
        &self,
        readers: usize,
        enough: Enough,
        picker: impl Fn(usize) -> P + Sync,
    ) -> Result<Measured, MachineError>
    where
        P: FnMut(u64) -> u64 + Send,
    {
        on_threads(readers, enough, |reader| {
            let file = File::open(&self.path).map_err(at(&self.path))?;
            let mut pick = picker(reader);
            let mut buffer = vec![0; PIECE_BYTES];
            Ok(move |number| {
                let begin = pick(number) * self.size;
                let mut done = 0;
                while done < self.size {
                    let left = usize::try_from(self.size - done).unwrap_or(PIECE_BYTES);
                    let len = left.min(PIECE_BYTES);
                    let part = buffer.get_mut(..len).unwrap_or_default();
                    file.read_exact_at(part, begin + done)
                        .map_err(at(&self.path))?;
                    done += len as u64;
                }
                Ok(self.size)
            })
        })
    }
}

/// Drops a file, or all files below a directory, from the page cache. What is not on disk yet is
/// synced first, since the kernel keeps dirty pages.
pub fn drop_from_page_cache(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            match drop_from_page_cache(&entry?.path()) {
                // Files of a database come and go.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        return Ok(());
    }
    let file = File::open(path)?;
    file.sync_data()?;
    fadvise(&file, 0, None, Advice::DontNeed)?;
    Ok(())
}
