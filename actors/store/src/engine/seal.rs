//! How the bytes of a blob are sealed.
//!
//! Every blob has its own random 256-bit data key and random 16-byte id. Its content is cut into
//! *segments* of 256 KiB, the last one shorter, and each is sealed with AES-256-GCM:
//!
//! - nonce: kind ‖ 3 zero bytes ‖ u32be(segment number) ‖ 3 zero bytes ‖ flag, the flag being 1 for
//!   the last segment of the blob and 0 for all others;
//! - associated data: format ‖ blob id ‖ u32be(segment number);
//! - stored: ciphertext ‖ 16-byte tag.
//!
//! An empty blob is one empty segment. The number in the nonce makes reordering fail, the flag makes
//! truncation and extension fail, key and id make swapping between blobs fail. A nonce is never used
//! twice because a key seals one blob once: storing the same bytes again draws a new key and id.
//!
//! A small blob is all its segments in a row in one value. A large one has a chunk per segment, and
//! behind the last of them *pages* of group hashes of the blob tree (4096 hashes of 16 KiB groups
//! each), under the chunk numbers that follow. Pages have another kind in the nonce and longer
//! associated data, so a page never opens as a chunk, nor a chunk as a page.

use std::fmt;

use bytecave_core::tree::{GROUP_BYTES, Hash, PAGE_GROUPS};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use thiserror::Error;
use zeroize::Zeroizing;

/// Bytes of content in a segment; only a blob's last may have fewer.
pub const SEGMENT_BYTES: usize = 256 * 1024;
/// Bytes that sealing adds to a segment or a page.
pub const TAG_BYTES: usize = 16;
/// A full segment as it is stored.
pub const SEALED_SEGMENT_BYTES: usize = SEGMENT_BYTES + TAG_BYTES;
/// Bytes of content that a page of group hashes stands for: 64 MiB.
pub const PAGE_SPAN_BYTES: u64 = (PAGE_GROUPS * GROUP_BYTES) as u64;
/// Bytes of a blob's random id.
pub const BLOB_ID_BYTES: usize = 16;
/// Bytes of a blob's data key.
pub const DATA_KEY_BYTES: usize = 32;

const HASH_BYTES: usize = size_of::<Hash>();
/// Format of sealed segments and pages; part of the associated data.
const FORMAT: u8 = 1;
const KIND_SEGMENT: u8 = 0;
const KIND_PAGE: u8 = 1;
/// Ends the associated data of a page, which makes it longer than any segment's.
const PAGE_MARK: &[u8; 4] = b"page";

/// Why sealing or opening failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SealError {
    /// Not the bytes that were sealed under this key, id and number.
    #[error("sealed segment {number} does not open: its bytes are damaged or not its own")]
    Damaged {
        /// Segment or chunk number.
        number: u32,
    },
    /// A stored value has another length than the blob's size asks for.
    #[error("the sealed bytes are {found} long: expected {expected}")]
    Length {
        /// Bytes there are.
        found: u64,
        /// Bytes there must be.
        expected: u64,
    },
    /// More segments than a number can name.
    #[error("a blob of {size} bytes has too many segments: expected at most 1 PiB")]
    TooLarge {
        /// The blob's size in bytes.
        size: u64,
    },
    /// The cipher library refused a key or a length that it is documented to take.
    #[error("the cipher library refused a key of 32 bytes or a buffer of valid length")]
    Refused,
    /// The operating system gave no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
}

/// Fills `bytes` from the operating system's generator.
pub(crate) fn fill_random(bytes: &mut [u8]) -> Result<(), SealError> {
    SystemRandom::new()
        .fill(bytes)
        .map_err(|_| SealError::NoRandomness)
}

/// Number of segments of a blob of `size` bytes, at least one.
pub fn segment_count(size: u64) -> Result<u32, SealError> {
    u32::try_from(size.div_ceil(SEGMENT_BYTES as u64).max(1))
        .map_err(|_| SealError::TooLarge { size })
}

/// Number of pages of group hashes of a large blob of `size` bytes.
pub fn page_count(size: u64) -> Result<u32, SealError> {
    u32::try_from(size.div_ceil(PAGE_SPAN_BYTES)).map_err(|_| SealError::TooLarge { size })
}

/// Number of keys that a large blob of `size` bytes has: its chunks, then its pages.
pub fn chunk_count(size: u64) -> Result<u32, SealError> {
    segment_count(size)?
        .checked_add(page_count(size)?)
        .ok_or(SealError::TooLarge { size })
}

/// Chunk number of page `page` of a large blob of `size` bytes.
pub fn page_chunk(size: u64, page: u32) -> Result<u32, SealError> {
    segment_count(size)?
        .checked_add(page)
        .ok_or(SealError::TooLarge { size })
}

/// Bytes that all segments of a blob of `size` bytes take when sealed, without pages.
pub fn sealed_len(size: u64) -> u64 {
    let segments = size.div_ceil(SEGMENT_BYTES as u64).max(1);
    size.saturating_add(segments.saturating_mul(TAG_BYTES as u64))
}

/// Bytes that the pages of a large blob of `size` bytes take when sealed.
pub fn sealed_pages_len(size: u64) -> u64 {
    let hashes = size
        .div_ceil(GROUP_BYTES as u64)
        .saturating_mul(HASH_BYTES as u64);
    let tags = size
        .div_ceil(PAGE_SPAN_BYTES)
        .saturating_mul(TAG_BYTES as u64);
    hashes.saturating_add(tags)
}

/// A blob's random id: names its chunks in the database and says nothing about its content.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobId([u8; BLOB_ID_BYTES]);

impl BlobId {
    /// Draws a new id.
    pub fn random() -> Result<Self, SealError> {
        let mut bytes = [0; BLOB_ID_BYTES];
        fill_random(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Wraps 16 bytes.
    pub const fn new(bytes: [u8; BLOB_ID_BYTES]) -> Self {
        Self(bytes)
    }

    /// The 16 bytes.
    pub const fn as_bytes(&self) -> &[u8; BLOB_ID_BYTES] {
        &self.0
    }
}

impl fmt::Debug for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A blob's data key. Wiped from memory when dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct DataKey(Zeroizing<[u8; DATA_KEY_BYTES]>);

impl DataKey {
    /// Draws a new key.
    pub fn random() -> Result<Self, SealError> {
        let mut bytes = Zeroizing::new([0; DATA_KEY_BYTES]);
        fill_random(bytes.as_mut())?;
        Ok(Self(bytes))
    }

    /// Wraps 32 bytes.
    pub fn new(bytes: [u8; DATA_KEY_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The 32 bytes, for the sealed metadata only.
    pub(crate) fn as_bytes(&self) -> &[u8; DATA_KEY_BYTES] {
        &self.0
    }
}

impl fmt::Debug for DataKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DataKey")
    }
}

/// Seals and opens the segments and pages of one blob; the key schedule is computed once, here.
///
/// The schedule lies inside ring, which does not wipe it.
pub struct BlobCipher {
    key: LessSafeKey,
    id: BlobId,
}

impl fmt::Debug for BlobCipher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlobCipher({:?})", self.id)
    }
}

impl BlobCipher {
    /// The cipher of the blob with this key and id.
    pub fn new(key: &DataKey, id: BlobId) -> Result<Self, SealError> {
        let key = schedule(key.as_bytes())?;
        Ok(Self { key, id })
    }

    /// Seals all of a small blob: its segments in a row, in one allocation of [`sealed_len`] bytes.
    pub fn seal_whole(&self, content: &[u8]) -> Result<Vec<u8>, SealError> {
        let size = content.len() as u64;
        let count = segment_count(size)?;
        let mut sealed = Vec::with_capacity(
            usize::try_from(sealed_len(size)).map_err(|_| SealError::TooLarge { size })?,
        );
        let mut pieces = content.chunks(SEGMENT_BYTES);
        for number in 0..count {
            let start = sealed.len();
            // Only the empty blob has a segment without a piece.
            sealed.extend_from_slice(pieces.next().unwrap_or_default());
            self.seal_tail(number, number + 1 == count, &mut sealed, start)?;
        }
        Ok(sealed)
    }

    /// Seals one segment in place: `segment` holds at most [`SEGMENT_BYTES`] of content and comes
    /// back as ciphertext and tag. Give it [`SEALED_SEGMENT_BYTES`] of capacity and reuse it.
    ///
    /// `last` is true for the last segment of the blob only. A number must be sealed only once.
    pub fn seal_segment(
        &self,
        number: u32,
        last: bool,
        segment: &mut Vec<u8>,
    ) -> Result<(), SealError> {
        self.seal_tail(number, last, segment, 0)
    }

    /// Opens one segment in place and gives its content, which lies at the start of `sealed`.
    pub fn open_segment<'a>(
        &self,
        number: u32,
        last: bool,
        sealed: &'a mut [u8],
    ) -> Result<&'a mut [u8], SealError> {
        self.key
            .open_in_place(
                nonce(KIND_SEGMENT, number, last),
                Aad::from(self.segment_data(number)),
                sealed,
            )
            .map_err(|_| SealError::Damaged { number })
    }

    /// Opens all of a small blob of `size` bytes in place: `sealed` comes back as the content.
    ///
    /// The content closes up over the tags as it is decrypted, so nothing is moved twice.
    pub fn open_whole(&self, size: u64, sealed: &mut Vec<u8>) -> Result<(), SealError> {
        let count = segment_count(size)?;
        let expected = sealed_len(size);
        let found = sealed.len() as u64;
        if found != expected {
            return Err(SealError::Length { found, expected });
        }
        let mut opened = 0;
        for number in 0..count {
            // Behind the content opened so far lie the tags already used up, then this segment.
            let gap = TAG_BYTES * number as usize;
            let rest = sealed.get_mut(opened..).unwrap_or_default();
            let end = rest.len().min(gap + SEALED_SEGMENT_BYTES);
            let segment = rest.get_mut(..end).unwrap_or_default();
            let content = self
                .key
                .open_within(
                    nonce(KIND_SEGMENT, number, number + 1 == count),
                    Aad::from(self.segment_data(number)),
                    segment,
                    gap..,
                )
                .map_err(|_| SealError::Damaged { number })?;
            opened += content.len();
        }
        sealed.truncate(opened);
        Ok(())
    }

    /// Seals a page of at most 4096 group hashes, stored as chunk `number`.
    pub fn seal_page(&self, number: u32, groups: &[Hash]) -> Result<Vec<u8>, SealError> {
        let mut page = Vec::with_capacity(groups.len() * HASH_BYTES + TAG_BYTES);
        groups
            .iter()
            .for_each(|group| page.extend_from_slice(group));
        let tag = self
            .key
            .seal_in_place_separate_tag(
                nonce(KIND_PAGE, number, false),
                Aad::from(self.page_data(number)),
                &mut page,
            )
            .map_err(|_| SealError::Refused)?;
        page.extend_from_slice(tag.as_ref());
        Ok(page)
    }

    /// Opens the page stored as chunk `number` and gives its group hashes.
    pub fn open_page(&self, number: u32, sealed: &mut [u8]) -> Result<Vec<Hash>, SealError> {
        let found = sealed.len() as u64;
        let page = self
            .key
            .open_in_place(
                nonce(KIND_PAGE, number, false),
                Aad::from(self.page_data(number)),
                sealed,
            )
            .map_err(|_| SealError::Damaged { number })?;
        let (groups, rest) = page.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() {
            let expected = found - rest.len() as u64;
            return Err(SealError::Length { found, expected });
        }
        Ok(groups.to_vec())
    }

    /// Seals what `buffer` holds from `start` on and appends the tag.
    fn seal_tail(
        &self,
        number: u32,
        last: bool,
        buffer: &mut Vec<u8>,
        start: usize,
    ) -> Result<(), SealError> {
        let content = buffer.get_mut(start..).unwrap_or_default();
        if content.len() > SEGMENT_BYTES {
            return Err(SealError::Length {
                found: content.len() as u64,
                expected: SEGMENT_BYTES as u64,
            });
        }
        let tag = self
            .key
            .seal_in_place_separate_tag(
                nonce(KIND_SEGMENT, number, last),
                Aad::from(self.segment_data(number)),
                content,
            )
            .map_err(|_| SealError::Refused)?;
        buffer.extend_from_slice(tag.as_ref());
        Ok(())
    }

    fn segment_data(&self, number: u32) -> [u8; 21] {
        let mut data = [0; 21];
        self.write_data(number, &mut data);
        data
    }

    fn page_data(&self, number: u32) -> [u8; 25] {
        let mut data = [0; 25];
        let (head, mark) = data.split_at_mut(21);
        self.write_data(number, head);
        mark.copy_from_slice(PAGE_MARK);
        data
    }

    /// format ‖ blob id ‖ u32be(number), 21 bytes.
    fn write_data(&self, number: u32, data: &mut [u8]) {
        let (format, rest) = data.split_at_mut(1);
        let (id, chunk) = rest.split_at_mut(BLOB_ID_BYTES);
        format.copy_from_slice(&[FORMAT]);
        id.copy_from_slice(self.id.as_bytes());
        chunk.copy_from_slice(&number.to_be_bytes());
    }
}

/// The AES-256-GCM key schedule of `key`.
pub(crate) fn schedule(key: &[u8; DATA_KEY_BYTES]) -> Result<LessSafeKey, SealError> {
    UnboundKey::new(&AES_256_GCM, key)
        .map(LessSafeKey::new)
        .map_err(|_| SealError::Refused)
}

fn nonce(kind: u8, number: u32, last: bool) -> Nonce {
    let [a, b, c, d] = number.to_be_bytes();
    let bytes: [u8; NONCE_LEN] = [kind, 0, 0, 0, a, b, c, d, 0, 0, 0, u8::from(last)];
    Nonce::assume_unique_for_key(bytes)
}

#[cfg(test)]
mod tests;
