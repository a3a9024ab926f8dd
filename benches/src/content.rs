//! Blobs that nobody has stored before, at next to no cost.
//!
//! A blob is one random block of 4 KiB over and over, with 16 bytes stamped into the front of each:
//! which blob it is, and which block. So no two blobs share a block, hashing or filling them costs
//! the client nothing, and what comes back can be checked byte by byte from the stamp alone. Buffers
//! are stamped again once the socket has let go of them, never copied.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use crate::random::{SplitMix, mix};

/// Bytes between two stamps: a page, the smallest unit that disks and caches know.
pub const BLOCK_BYTES: usize = 4096;
/// Bytes handed to the socket at once.
pub const PIECE_BYTES: usize = 256 << 10;
/// Bytes of a stamp: who and where, 8 each.
const STAMP_BYTES: usize = 16;
/// The random block is the same in every run, so that checking needs nothing from the run that stored.
const TEMPLATE_SEED: u64 = 0x6279_7465_6361_7665;

/// Which blob of which run: equal only for equal content.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlobSeed(u64);

impl BlobSeed {
    /// Blob `number` of the run that drew `run`.
    pub const fn new(run: u64, number: u64) -> Self {
        Self(mix(run.wrapping_add(number)))
    }

    fn stamp(self, block: u64) -> [u8; STAMP_BYTES] {
        let mut stamp = [0; STAMP_BYTES];
        let (who, place) = stamp.split_at_mut(8);
        who.copy_from_slice(&self.0.to_le_bytes());
        place.copy_from_slice(&block.to_le_bytes());
        stamp
    }
}

/// Buffers in which blobs are made piece by piece; each client has its own.
#[derive(Debug)]
pub struct Pieces {
    /// Filled with the template, each of the same length, the one used longest ago first.
    ring: VecDeque<Bytes>,
    /// That length.
    buffer_bytes: usize,
}

impl Default for Pieces {
    fn default() -> Self {
        Self::new()
    }
}

impl Pieces {
    /// Pieces of at most [`PIECE_BYTES`]. Buffers are made as they are needed.
    pub const fn new() -> Self {
        Self::of(PIECE_BYTES)
    }

    /// Pieces of at most `buffer_bytes`.
    pub const fn of(buffer_bytes: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            buffer_bytes,
        }
    }

    /// Bytes `offset..offset + len` of the blob; `offset` is a multiple of [`BLOCK_BYTES`], `len` at
    /// most what the pieces were made for.
    pub fn piece(&mut self, blob: BlobSeed, offset: u64, len: usize) -> Bytes {
        let mut buffer = self.free_buffer();
        let first = offset / BLOCK_BYTES as u64;
        let used = buffer
            .chunks_mut(BLOCK_BYTES)
            .take(len.div_ceil(BLOCK_BYTES));
        for (block, number) in used.zip(first..) {
            if let Some(front) = block.first_chunk_mut::<STAMP_BYTES>() {
                *front = blob.stamp(number);
            }
        }
        let buffer = buffer.freeze();
        let piece = buffer.slice(..len);
        self.ring.push_back(buffer);
        piece
    }

    /// The whole blob in one piece; for the sizes that are stored in one call.
    pub fn whole(blob: BlobSeed, size: usize) -> Bytes {
        let mut buffer = BytesMut::with_capacity(size);
        let template = template();
        let mut number = 0;
        while buffer.len() < size {
            let take = BLOCK_BYTES.min(size - buffer.len());
            let mut block = template;
            if let Some(front) = block.first_chunk_mut::<STAMP_BYTES>() {
                *front = blob.stamp(number);
            }
            buffer.extend_from_slice(block.get(..take).unwrap_or_default());
            number += 1;
        }
        buffer.freeze()
    }

    /// A buffer that nobody else holds any more: the oldest when it is free, a new one when not.
    fn free_buffer(&mut self) -> BytesMut {
        match self.ring.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(buffer)) => buffer,
            Some(Err(held)) => {
                self.ring.push_front(held);
                self.fresh_buffer()
            }
            None => self.fresh_buffer(),
        }
    }

    fn fresh_buffer(&self) -> BytesMut {
        let blocks = self.buffer_bytes.div_ceil(BLOCK_BYTES);
        let mut buffer = BytesMut::with_capacity(blocks * BLOCK_BYTES);
        for _ in 0..blocks {
            buffer.extend_from_slice(&template());
        }
        buffer
    }
}

fn template() -> [u8; BLOCK_BYTES] {
    let mut random = SplitMix::new(TEMPLATE_SEED);
    let mut block = [0; BLOCK_BYTES];
    for word in block.chunks_exact_mut(8) {
        word.copy_from_slice(&random.next().to_le_bytes());
    }
    block
}

/// Compares what comes back with what was stored.
#[derive(Debug)]
pub struct Checker {
    blob: BlobSeed,
    template: Box<[u8; BLOCK_BYTES]>,
    offset: u64,
    intact: bool,
}

impl Checker {
    /// Expects the blob from its beginning.
    pub fn new(blob: BlobSeed) -> Self {
        Self {
            blob,
            template: Box::new(template()),
            offset: 0,
            intact: true,
        }
    }

    /// Takes the next bytes that came.
    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let block = self.offset / BLOCK_BYTES as u64;
            // Below BLOCK_BYTES, so it fits whatever a usize is.
            let within = usize::try_from(self.offset % BLOCK_BYTES as u64).unwrap_or(0);
            let take = bytes.len().min(BLOCK_BYTES - within);
            let (now, later) = bytes.split_at(take);
            if within < STAMP_BYTES
                && let Some(front) = self.template.first_chunk_mut::<STAMP_BYTES>()
            {
                *front = self.blob.stamp(block);
            }
            self.intact &= self.template.get(within..within + take) == Some(now);
            self.offset += take as u64;
            bytes = later;
        }
    }

    /// Whether exactly the blob's `size` bytes came, all as they were stored.
    pub fn is_intact(&self, size: u64) -> bool {
        self.intact && self.offset == size
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn in_pieces(pieces: &mut Pieces, blob: BlobSeed, size: usize) -> Vec<u8> {
        let mut content = Vec::new();
        while content.len() < size {
            let len = PIECE_BYTES.min(size - content.len());
            content.extend_from_slice(&pieces.piece(blob, content.len() as u64, len));
        }
        content
    }

    #[test]
    fn pieces_make_the_same_blob_as_the_whole_and_the_checker_agrees() {
        let mut pieces = Pieces::new();
        for (number, size) in [
            0,
            1,
            15,
            4096,
            5000,
            PIECE_BYTES,
            PIECE_BYTES + 1,
            3 * PIECE_BYTES,
        ]
        .into_iter()
        .enumerate()
        {
            let blob = BlobSeed::new(9, number as u64);
            let whole = Pieces::whole(blob, size);
            assert_eq!(whole.len(), size);
            assert!(in_pieces(&mut pieces, blob, size) == whole, "{size}");
            // However the bytes arrive.
            for step in [7, 4096, 100_000] {
                let mut checker = Checker::new(blob);
                whole.chunks(step).for_each(|bytes| checker.feed(bytes));
                assert!(checker.is_intact(size as u64), "{size} by {step}");
                assert!(!checker.is_intact(size as u64 + 1));
            }
        }
    }

    #[test]
    fn a_flipped_bit_or_another_blob_is_seen() {
        let blob = BlobSeed::new(1, 1);
        let whole = Pieces::whole(blob, 10_000);
        for position in [0, 20, 4096, 9_999] {
            let mut damaged = whole.to_vec();
            damaged[position] ^= 1;
            let mut checker = Checker::new(blob);
            checker.feed(&damaged);
            assert!(!checker.is_intact(10_000), "{position}");
        }
        let mut checker = Checker::new(BlobSeed::new(1, 2));
        checker.feed(&whole);
        assert!(!checker.is_intact(10_000));
    }

    #[test]
    fn no_block_occurs_twice() {
        let mut pieces = Pieces::new();
        let mut seen = HashSet::new();
        for run in 0..3 {
            for number in 0..20 {
                let content = in_pieces(&mut pieces, BlobSeed::new(run << 32, number), 100_000);
                for block in content.chunks(BLOCK_BYTES) {
                    assert!(seen.insert(block.to_vec()));
                }
            }
        }
    }

    #[test]
    fn a_buffer_that_is_still_held_is_left_alone() {
        let mut pieces = Pieces::new();
        let first = pieces.piece(BlobSeed::new(0, 1), 0, 8192);
        let before = first.to_vec();
        let second = pieces.piece(BlobSeed::new(0, 2), 0, 8192);
        assert_eq!(first, before);
        assert_ne!(first, second);
        let address = first.as_ptr();
        drop((first, second));
        assert_eq!(
            pieces.piece(BlobSeed::new(0, 3), 0, 10).as_ptr(),
            address,
            "reused, not copied"
        );
    }
}
