//! What the machine itself can do: the limits that figures are held against.
//!
//! Each is the barest program that does what the engine cannot avoid. They drift with the disk and
//! the neighbours of a virtual machine, so they are taken again beside each measurement.

pub mod bare;
mod plain;

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use ring::digest::{Context, SHA256};
use thiserror::Error;

use crate::content::{BlobSeed, PIECE_BYTES, Pieces};
use crate::measure::{Enough, Measured, on_threads};
use crate::random::{f64_of, fresh_seed};

pub use plain::{PlainFile, drop_from_page_cache};

/// Bytes handed to the disk at once by the sequential write.
const WRITE_BYTES: usize = 1 << 20;
/// Enough for the block size of any disk in use.
const DIRECT_ALIGNMENT: usize = 4096;
/// The append of the "raw" limit: what the smallest durable write costs.
const APPEND_BYTES: usize = 4096;
/// File system magic number of tmpfs, statfs(2).
const TMPFS: i64 = 0x0102_1994;

/// Why a limit could not be taken.
#[derive(Debug, Error)]
pub enum MachineError {
    /// The file system failed.
    #[error("{path}: {cause}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// In memory, where syncing costs nothing.
    #[error(
        "{path} is on a tmpfs, where nothing is ever on disk: choose a directory on a real one (--dir)"
    )]
    Tmpfs {
        /// The directory.
        path: PathBuf,
    },
    /// Bare RocksDB failed.
    #[error("bare RocksDB: {0}")]
    RocksDb(#[from] rocksdb::Error),
    /// The library of the cipher failed.
    #[error("AES-256-GCM failed")]
    Cipher,
    /// A value that was written is not there.
    #[error("bare RocksDB lost a value of this run")]
    Lost,
}

/// Adds the path to an error of the file system.
fn at(path: &Path) -> impl Fn(io::Error) -> MachineError {
    let path = path.to_owned();
    move |cause| MachineError::Io {
        path: path.clone(),
        cause,
    }
}

/// Where the limits are taken: a directory on the disk in question. Files are made and left.
#[derive(Debug)]
pub struct Machine {
    directory: PathBuf,
    /// Tells the files of this run from those of others in the same directory.
    run: u64,
    files: AtomicU64,
}

impl Machine {
    /// In `directory`, which is made when missing.
    pub fn new(directory: &Path) -> Result<Self, MachineError> {
        std::fs::create_dir_all(directory).map_err(at(directory))?;
        refuse_tmpfs(directory)?;
        Ok(Self {
            directory: directory.to_owned(),
            run: fresh_seed(),
            files: AtomicU64::new(0),
        })
    }

    /// A name that was not used before: nothing is overwritten, and nothing deleted, since a file
    /// system slows down for minutes after many deletes.
    fn fresh_path(&self, what: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::Relaxed);
        self.directory
            .join(format!("{what}-{:016x}-{number}", self.run))
    }

    fn fresh_file(&self, what: &str) -> Result<(File, PathBuf), MachineError> {
        let path = self.fresh_path(what);
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .open(&path)
            .map_err(at(&path))?;
        Ok((file, path))
    }

    /// "disk": one sequential write of `bytes` with one fsync at the end.
    pub fn disk(&self, bytes: u64) -> Result<Measured, MachineError> {
        let (mut file, path) = self.fresh_file("disk")?;
        let mut pieces = Pieces::of(WRITE_BYTES);
        let seed = BlobSeed::new(fresh_seed(), 0);
        let writes = bytes.div_ceil(WRITE_BYTES as u64);
        let started = Instant::now();
        for write in 0..writes {
            let piece = pieces.piece(seed, write * WRITE_BYTES as u64, WRITE_BYTES);
            file.write_all(&piece).map_err(at(&path))?;
        }
        file.sync_all().map_err(at(&path))?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Measured {
            operations: 1,
            bytes: writes * WRITE_BYTES as u64,
            seconds,
        })
    }

    /// "direct": the same past the page cache (`O_DIRECT`), 1 MiB at a time, with one fsync at the end.
    /// Where pages of the cache are dear, as on many virtual machines, this is the faster of the two.
    pub fn direct(&self, bytes: u64) -> Result<Measured, MachineError> {
        let path = self.fresh_path("direct");
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .custom_flags(rustix::fs::OFlags::DIRECT.bits().cast_signed())
            .open(&path)
            .map_err(at(&path))?;
        // The kernel takes only buffers that begin at a multiple of the disk's block.
        let mut buffer = vec![0; WRITE_BYTES + DIRECT_ALIGNMENT];
        let aligned = buffer.as_ptr().align_offset(DIRECT_ALIGNMENT);
        let content = Pieces::whole(BlobSeed::new(fresh_seed(), 0), WRITE_BYTES);
        let part = buffer
            .get_mut(aligned..aligned + WRITE_BYTES)
            .unwrap_or_default();
        part.copy_from_slice(&content);
        let writes = bytes.div_ceil(WRITE_BYTES as u64);
        let started = Instant::now();
        for _ in 0..writes {
            file.write_all(part).map_err(at(&path))?;
        }
        file.sync_all().map_err(at(&path))?;
        let seconds = started.elapsed().as_secs_f64();
        Ok(Measured {
            operations: 1,
            bytes: writes * WRITE_BYTES as u64,
            seconds,
        })
    }

    /// "raw": 4 KiB appended and fdatasync, over and over.
    pub fn raw(&self, time: Duration) -> Result<Measured, MachineError> {
        let run = fresh_seed();
        on_threads(1, Enough::After(time), |_| {
            let (mut file, path) = self.fresh_file("raw")?;
            let mut pieces = Pieces::of(APPEND_BYTES);
            Ok(move |number| {
                let piece = pieces.piece(BlobSeed::new(run, number), 0, APPEND_BYTES);
                file.write_all(&piece).map_err(at(&path))?;
                file.sync_data().map_err(at(&path))?;
                Ok(APPEND_BYTES as u64)
            })
        })
    }

    /// "core": SHA-256 and AES-256-GCM over the same bytes on one core, a piece at a time.
    pub fn hash_and_seal(&self, time: Duration) -> Result<Measured, MachineError> {
        let run = fresh_seed();
        on_threads(1, Enough::After(time), |_| {
            let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| MachineError::Cipher)?;
            let key = LessSafeKey::new(key);
            let mut content = Pieces::whole(BlobSeed::new(run, 0), PIECE_BYTES).to_vec();
            let mut hash = Context::new(&SHA256);
            Ok(move |number: u64| {
                hash.update(&content);
                let mut nonce = [0; 12];
                let (low, _) = nonce.split_at_mut(8);
                low.copy_from_slice(&number.to_le_bytes());
                let nonce = Nonce::assume_unique_for_key(nonce);
                // What comes out is sealed again the next time: content does not change the speed.
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::empty(), &mut content)
                    .map_err(|_| MachineError::Cipher)?;
                let _ = black_box(tag);
                Ok(PIECE_BYTES as u64)
            })
        })
    }

    /// "open": pieces copied, as out of the page cache, and opened with AES-256-GCM, on as many cores
    /// as there are readers for. What a reader of encrypted bytes cannot do without.
    pub fn copy_and_open(&self, readers: usize, time: Duration) -> Result<Measured, MachineError> {
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let run = fresh_seed();
        on_threads(readers.min(cores), Enough::After(time), |_| {
            let key = UnboundKey::new(&AES_256_GCM, &[7; 32]).map_err(|_| MachineError::Cipher)?;
            let key = LessSafeKey::new(key);
            let nonce = || Nonce::assume_unique_for_key([0; 12]);
            let mut sealed = Pieces::whole(BlobSeed::new(run, 0), PIECE_BYTES).to_vec();
            key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed)
                .map_err(|_| MachineError::Cipher)?;
            let mut piece = sealed.clone();
            Ok(move |_| {
                piece.copy_from_slice(&sealed);
                let opened = key
                    .open_in_place(nonce(), Aad::empty(), &mut piece)
                    .map_err(|_| MachineError::Cipher)?;
                Ok(opened.len() as u64)
            })
        })
    }

    /// A plain file of `count` stretches of `size` bytes, for reading.
    pub fn plain_file(&self, size: u64, count: u64) -> Result<PlainFile, MachineError> {
        PlainFile::write(self.fresh_path("plain"), size, count)
    }

    /// A bare RocksDB with `count` values of `size` bytes, for reading.
    pub fn bare_rocksdb(&self, size: u64, count: u64) -> Result<bare::BareRocks, MachineError> {
        bare::BareRocks::write(&self.fresh_path("bare"), size, count)
    }
}

fn refuse_tmpfs(directory: &Path) -> Result<(), MachineError> {
    let statistics = rustix::fs::statfs(directory).map_err(|error| at(directory)(error.into()))?;
    if statistics.f_type == TMPFS {
        return Err(MachineError::Tmpfs {
            path: directory.to_owned(),
        });
    }
    Ok(())
}

/// MiB of `bytes`, for messages.
pub fn mebibytes(bytes: u64) -> f64 {
    f64_of(bytes) / f64_of(1 << 20)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::process;

    /// Beside the test program, which is on a disk; `/tmp` may be none.
    fn machine() -> (Machine, tempfile::TempDir) {
        let program = std::env::current_exe().unwrap();
        let directory = tempfile::tempdir_in(program.parent().unwrap()).unwrap();
        (Machine::new(directory.path()).unwrap(), directory)
    }

    #[test]
    fn limits_count_what_they_did() {
        let (machine, directory) = machine();
        let written = || -> u64 {
            let files = std::fs::read_dir(directory.path()).unwrap();
            files
                .map(|file| file.unwrap().metadata().unwrap().len())
                .sum()
        };
        assert_eq!(machine.disk(3 << 20).unwrap().bytes, 3 << 20);
        assert_eq!(written(), 3 << 20);
        assert_eq!(machine.direct(1 << 20).unwrap().bytes, 1 << 20);
        assert_eq!(written(), 4 << 20);
        let moment = Duration::from_millis(20);
        let raw = machine.raw(moment).unwrap();
        assert_eq!(written(), (4 << 20) + raw.bytes);
        assert!(machine.hash_and_seal(moment).unwrap().operations > 0);
        assert!(machine.copy_and_open(2, moment).unwrap().operations > 0);
    }

    #[test]
    fn plain_and_bare_reads_move_whole_blobs() {
        let (machine, _directory) = machine();
        let plain = machine.plain_file(300_000, 4).unwrap();
        let read = plain.read_at_random(2, Enough::Operations(10)).unwrap();
        assert_eq!(read.bytes, 3_000_000);
        let bare = machine.bare_rocksdb(5_000, 20).unwrap();
        let got = bare.get_at_random(2, Enough::Operations(100)).unwrap();
        assert_eq!(got.bytes, 500_000);
    }

    #[test]
    fn a_cold_read_comes_from_the_disk() {
        let (machine, _directory) = machine();
        let plain = machine.plain_file(1 << 20, 4).unwrap();
        let before = process::own_disk_reads().unwrap();
        assert_eq!(plain.read_cold().unwrap().bytes, 4 << 20);
        let read = process::own_disk_reads().unwrap() - before;
        assert!(read >= 4 << 20, "{read} bytes came from the disk");
    }

    #[test]
    fn a_directory_in_memory_is_refused() {
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap();
        let in_memory = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let directory = fields.next()?;
            (fields.next()? == "tmpfs").then_some(directory)
        });
        let directory = Path::new(in_memory.expect("every Linux has a tmpfs, /run or /dev/shm"));
        assert!(matches!(
            Machine::new(directory),
            Err(MachineError::Tmpfs { .. })
        ));
    }
}
