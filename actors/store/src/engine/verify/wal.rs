//! Copies of a damaged write-ahead log in which the damage can be skipped.
//!
//! RocksDB is told to skip damaged records. Of a record that spans several blocks it notices damage
//! behind the first fragment too late: 11.8 then takes the next whole record for damaged as well, and
//! gives up ("Write batch content corrupted"). Where the *first* fragment is damaged it skips the
//! record as it should. So in a copy the first fragment of such a record is damaged on purpose; no
//! record is lost by that which was not lost already.
//!
//! The format (`db/log_format.h` of RocksDB): blocks of 32 KiB; in them fragments of masked CRC-32C (4
//! bytes, little endian, over type and payload), length (2 bytes), type (1 byte), payload. A fragment
//! whose checksum or length is wrong makes the rest of its block unreadable.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

const BLOCK_BYTES: usize = 32 * 1024;
const HEADER_BYTES: usize = 7;
const FULL: u8 = 1;
const FIRST: u8 = 2;
const LAST: u8 = 4;

/// Copies every log file of the database in `from` to the directory `to`, mended.
pub(super) fn copy_mended(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let path = entry?.path();
        if let (Some(name), true) = (path.file_name(), path.extension() == Some("log".as_ref())) {
            copy_file(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn copy_file(from: &Path, to: &Path) -> io::Result<()> {
    let mut source = File::open(from)?;
    let mut copy = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(to)?;
    let mut block = Vec::with_capacity(BLOCK_BYTES);
    let mut mender = Mender::default();
    loop {
        block.clear();
        (&mut source)
            .take(BLOCK_BYTES as u64)
            .read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(());
        }
        copy.write_all(&block)?;
        if let Some(at) = mender.block(&block) {
            let mut checksum = [0; 1];
            copy.read_exact_at(&mut checksum, at)?;
            copy.write_all_at(&checksum.map(|byte| !byte), at)?;
        }
    }
}

/// Follows the records of a log from block to block.
#[derive(Debug, Default)]
struct Mender {
    /// Where the block stands in the file.
    block_at: u64,
    /// Where the first fragment of the record under way stands in the file.
    first_at: Option<u64>,
}

impl Mender {
    /// Goes through the next block. Gives the place of a first fragment that has to be damaged, since
    /// its record is broken in this block.
    fn block(&mut self, block: &[u8]) -> Option<u64> {
        let start = self.block_at;
        self.block_at += block.len() as u64;
        let mut at = 0;
        while let Some((header, rest)) = block.get(at..)?.split_first_chunk::<HEADER_BYTES>() {
            let [c0, c1, c2, c3, l0, l1, kind] = *header;
            let length = usize::from(u16::from_le_bytes([l0, l1]));
            let stated = u32::from_le_bytes([c0, c1, c2, c3]);
            let whole = rest
                .get(..length)
                .filter(|payload| kind != 0 && masked_crc(kind, payload) == stated);
            if whole.is_none() {
                return self.first_at.take();
            }
            match kind {
                FIRST => self.first_at = Some(start + at as u64),
                FULL | LAST => self.first_at = None,
                _ => {}
            }
            at += HEADER_BYTES + length;
        }
        None
    }
}

/// CRC-32C (Castagnoli) of type and payload, masked as RocksDB stores it.
fn masked_crc(kind: u8, payload: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| {
        let index = (crc ^ u32::from(*byte)) & 0xff;
        TABLE.get(index as usize).copied().unwrap_or_default() ^ (crc >> 8)
    };
    let crc = !payload.iter().fold(step(!0, &kind), step);
    crc.rotate_right(15).wrapping_add(0xa282_ead8)
}

const TABLE: [u32; 256] = table();

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index: u32 = 0;
    while index < 256 {
        let mut crc = index;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 == 1 {
                (crc >> 1) ^ 0x82f6_3b78
            } else {
                crc >> 1
            };
            bit += 1;
        }
        table[index as usize] = crc;
        index += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    /// A log of one record of each size, as RocksDB's writer lays it out; and where each begins.
    fn log(sizes: &[usize]) -> (Vec<u8>, Vec<u64>) {
        let (mut log, mut begins) = (Vec::new(), Vec::new());
        for &size in sizes {
            let mut left = size;
            let mut first = true;
            loop {
                let room = BLOCK_BYTES - log.len() % BLOCK_BYTES;
                if room < HEADER_BYTES {
                    log.resize(log.len() + room, 0);
                    continue;
                }
                let now = left.min(room - HEADER_BYTES);
                let kind = match (first, now == left) {
                    (true, true) => FULL,
                    (true, false) => FIRST,
                    (false, false) => 3,
                    (false, true) => LAST,
                };
                if first {
                    begins.push(log.len() as u64);
                }
                let payload = vec![7; now];
                log.extend_from_slice(&masked_crc(kind, &payload).to_le_bytes());
                log.extend_from_slice(&u16::try_from(now).unwrap().to_le_bytes());
                log.push(kind);
                log.extend_from_slice(&payload);
                left -= now;
                first = false;
                if left == 0 {
                    break;
                }
            }
        }
        (log, begins)
    }

    fn mended(log: &[u8]) -> Vec<u64> {
        let mut mender = Mender::default();
        log.chunks(BLOCK_BYTES)
            .filter_map(|block| mender.block(block))
            .collect()
    }

    #[test]
    fn the_checksum_is_castagnolis() {
        // RFC 3720, B.4: 32 bytes of zero have 0x8a9136aa; the first stands for the type here.
        let unmasked = masked_crc(0, &[0; 31])
            .wrapping_sub(0xa282_ead8)
            .rotate_left(15);
        assert_eq!(unmasked, 0x8a91_36aa);
    }

    #[test]
    fn a_whole_log_stays_as_it_is() {
        let (log, _) = log(&[10, 100_000, 0, 32_761, 5, 70_000, 40_000]);
        assert!(mended(&log).is_empty());
        // Also one that ends in the middle of a record.
        assert_eq!(mended(&log[..log.len() - 1]), [log_begin(&log)]);
    }

    /// The last record of the log above.
    fn log_begin(whole: &[u8]) -> u64 {
        let (again, begins) = log(&[10, 100_000, 0, 32_761, 5, 70_000, 40_000]);
        assert_eq!(again, whole);
        *begins.last().unwrap()
    }

    #[test]
    fn the_first_fragment_of_a_broken_record_is_named() {
        let (log, begins) = log(&[100_000, 100_000, 100_000]);
        for at in 0..log.len() {
            if at % 331 != 0 {
                continue;
            }
            let mut damaged = log.clone();
            damaged[at] ^= 0x10;
            let hit = begins
                .iter()
                .rposition(|begin| *begin <= at as u64)
                .unwrap();
            let named = mended(&damaged);
            let first_fragment_ends = (begins[hit] / BLOCK_BYTES as u64 + 1) * BLOCK_BYTES as u64;
            if (at as u64) < first_fragment_ends {
                // Broken at its first fragment: nothing needs to be done.
                assert!(named.is_empty(), "byte {at}");
            } else {
                assert_eq!(named, [begins[hit]], "byte {at}");
            }
        }
    }
}
