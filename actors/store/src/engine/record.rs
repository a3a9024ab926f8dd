//! What the engine keeps beside the bytes of blobs: each record's fields and their encoding.
//!
//! A record is u16be format ‖ fields, and is only ever stored sealed ([`seal`], [`open`]): whatever
//! follows from a blob's content (digest, root, commitment, fingerprint, size, name) says to a
//! stranger what is here, so none of it stands in the open. Formats are not safe to change: a new
//! field is a new format, the older one stays readable, a newer one is refused.

mod counters;

use bytecave_core::tree::Hash;
use bytecave_core::{BlobRoot, Digest};
use thiserror::Error;
use zeroize::Zeroizing;

pub use self::counters::Counters;
use super::codec::{CodecError, Reader, Writer};
use super::keyring::{Keyring, KeyringError, Purpose};
use super::seal::{BlobId, DataKey};

/// Why a record cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RecordError {
    /// It does not open.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// It opens, and is not a record of this kind.
    #[error("a {what} record is malformed: {cause}")]
    Malformed {
        /// Kind of record.
        what: &'static str,
        /// What is wrong with it.
        cause: CodecError,
    },
    /// It was written by a newer version.
    #[error(
        "a {what} record has format {found}: this version knows {known} and older, use the bytecave that wrote it or a newer one"
    )]
    Newer {
        /// Kind of record.
        what: &'static str,
        /// The format found.
        found: u16,
        /// The newest format known.
        known: u16,
    },
}

/// A kind of record.
pub trait Record: Sized {
    /// What it is sealed for; its label is what errors call it.
    const PURPOSE: Purpose;
    /// The newest format, which is the one written.
    const FORMAT: u16;

    /// Bytes that the fields take at most.
    fn capacity(&self) -> usize;
    /// Appends the fields.
    fn write(&self, writer: &mut Writer);
    /// Takes the fields of a record of `format`, at most [`Record::FORMAT`].
    fn read(reader: &mut Reader<'_>, format: u16) -> Result<Self, CodecError>;
}

/// Seals `record` for its place.
pub fn seal<R: Record>(
    keyring: &Keyring,
    family: &str,
    key: &[u8],
    record: &R,
) -> Result<Vec<u8>, RecordError> {
    Ok(keyring.seal_record(family, key, R::PURPOSE, &encode(record))?)
}

/// Opens the record of this kind from its place.
pub fn open<R: Record>(
    keyring: &Keyring,
    family: &str,
    key: &[u8],
    sealed: &[u8],
) -> Result<R, RecordError> {
    decode(&keyring.open_record(family, key, R::PURPOSE, sealed)?)
}

/// A record as plain bytes. They are wiped when dropped, for metadata holds a data key.
fn encode<R: Record>(record: &R) -> Zeroizing<Vec<u8>> {
    let mut writer = Writer::with_capacity(record.capacity() + 2);
    writer.u16(R::FORMAT);
    record.write(&mut writer);
    writer.finish()
}

fn decode<R: Record>(plain: &[u8]) -> Result<R, RecordError> {
    let what = R::PURPOSE.label();
    let malformed = |cause| RecordError::Malformed { what, cause };
    let mut reader = Reader::new(plain);
    let format = reader.u16().map_err(malformed)?;
    if format > R::FORMAT {
        return Err(RecordError::Newer {
            what,
            found: format,
            known: R::FORMAT,
        });
    }
    if format == 0 {
        return Err(malformed(CodecError::Range(0)));
    }
    let record = R::read(&mut reader, format).map_err(malformed)?;
    reader.finish().map_err(malformed)?;
    Ok(record)
}

/// How a blob's bytes are kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Layout {
    /// One value with all segments, read whole.
    Small,
    /// A chunk per segment, and pages of group hashes behind them.
    Large,
}

/// What is known of a stored blob.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlobMeta {
    /// SHA-256 of its content.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Media type, as given when it was first stored.
    pub content_type: Option<String>,
    /// The client's name for it.
    pub file_name: Option<String>,
    /// When it was first stored, milliseconds since 1970.
    pub created_ms: u64,
    /// Names its chunks.
    pub blob_id: BlobId,
    /// Seals its bytes.
    pub data_key: DataKey,
    /// Root of its tree.
    pub blob_root: BlobRoot,
    /// Roots of its pages of group hashes, one for each 64 MiB; none for a small blob.
    pub page_roots: Vec<Hash>,
    /// How its bytes are kept.
    pub layout: Layout,
    /// Whether it is protected from deletion.
    pub pinned: bool,
    /// Whether its bytes were found damaged.
    pub quarantined: bool,
    /// Bytes that it takes on disk, pages included: what the quota counts.
    pub sealed_size: u64,
    /// Set when it is needed no longer: when it goes for good, milliseconds since 1970. It counts as
    /// absent, save in the quota. Format 1 knows nothing of it.
    pub retired_until_ms: Option<u64>,
}

impl BlobMeta {
    /// Whether it is needed no longer.
    pub fn is_retired(&self) -> bool {
        self.retired_until_ms.is_some()
    }
}

impl Record for BlobMeta {
    const PURPOSE: Purpose = Purpose::Meta;
    const FORMAT: u16 = 2;

    fn capacity(&self) -> usize {
        let text = |text: &Option<String>| 5 + text.as_ref().map_or(0, String::len);
        170 + text(&self.content_type) + text(&self.file_name) + self.page_roots.len() * 32
    }

    fn write(&self, writer: &mut Writer) {
        writer.bytes(self.digest.as_bytes());
        writer.u64(self.size);
        writer.optional_text(self.content_type.as_deref());
        writer.optional_text(self.file_name.as_deref());
        writer.u64(self.created_ms);
        writer.bytes(self.blob_id.as_bytes());
        writer.bytes(self.data_key.as_bytes());
        writer.bytes(self.blob_root.as_bytes());
        writer.flag(self.layout == Layout::Large);
        writer.flag(self.pinned);
        writer.flag(self.quarantined);
        writer.u64(self.sealed_size);
        writer.u32(u32::try_from(self.page_roots.len()).unwrap_or(u32::MAX));
        self.page_roots.iter().for_each(|root| writer.bytes(root));
        writer.flag(self.is_retired());
        if let Some(until_ms) = self.retired_until_ms {
            writer.u64(until_ms);
        }
    }

    fn read(reader: &mut Reader<'_>, format: u16) -> Result<Self, CodecError> {
        Ok(Self {
            digest: Digest::new(reader.array()?),
            size: reader.u64()?,
            content_type: reader.optional_text()?,
            file_name: reader.optional_text()?,
            created_ms: reader.u64()?,
            blob_id: BlobId::new(reader.array()?),
            data_key: DataKey::new(reader.array()?),
            blob_root: BlobRoot::new(reader.array()?),
            layout: if reader.flag()? {
                Layout::Large
            } else {
                Layout::Small
            },
            pinned: reader.flag()?,
            quarantined: reader.flag()?,
            sealed_size: reader.u64()?,
            page_roots: read_hashes(reader)?,
            retired_until_ms: if format >= 2 && reader.flag()? {
                Some(reader.u64()?)
            } else {
                None
            },
        })
    }
}

/// What an outbox entry is about; the number is not safe to change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OutboxKind {
    /// A blob was stored (1).
    Stored,
}

/// An entry of a shard's outbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OutboxItem {
    /// What happened.
    pub kind: OutboxKind,
    /// To which content.
    pub digest: Digest,
}

impl Record for OutboxItem {
    const PURPOSE: Purpose = Purpose::Outbox;
    const FORMAT: u16 = 1;

    fn capacity(&self) -> usize {
        1 + 32
    }

    fn write(&self, writer: &mut Writer) {
        writer.u8(match self.kind {
            OutboxKind::Stored => 1,
        });
        writer.bytes(self.digest.as_bytes());
    }

    fn read(reader: &mut Reader<'_>, _format: u16) -> Result<Self, CodecError> {
        let kind = match reader.u8()? {
            1 => OutboxKind::Stored,
            other => return Err(CodecError::Flag(other)),
        };
        Ok(Self {
            kind,
            digest: Digest::new(reader.array()?),
        })
    }
}

/// Where the chunks and pages of a large blob lie.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ChunkRun {
    /// The family.
    pub family: String,
    /// Whose chunks.
    pub blob_id: BlobId,
    /// Keys from chunk 0 on, pages included.
    pub chunks: u32,
    /// Bytes that they take.
    pub sealed_size: u64,
}

impl ChunkRun {
    fn capacity(&self) -> usize {
        4 + self.family.len() + 16 + 4 + 8
    }

    fn write(&self, writer: &mut Writer) {
        writer.text(&self.family);
        writer.bytes(self.blob_id.as_bytes());
        writer.u32(self.chunks);
        writer.u64(self.sealed_size);
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Self {
            family: reader.text()?,
            blob_id: BlobId::new(reader.array()?),
            chunks: reader.u32()?,
            sealed_size: reader.u64()?,
        })
    }
}

/// A large blob whose chunks may be in a family without metadata: written before they are ingested,
/// gone with the batch that makes the blob visible. What still stands at the start was cut short.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Intent(pub ChunkRun);

impl Record for Intent {
    const PURPOSE: Purpose = Purpose::Intent;
    const FORMAT: u16 = 1;

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
    }

    fn read(reader: &mut Reader<'_>, _format: u16) -> Result<Self, CodecError> {
        ChunkRun::read(reader).map(Self)
    }
}

/// A large blob that is deleted and whose file may still be there; its bytes count as dead until
/// the record goes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DropRecord(pub ChunkRun);

impl Record for DropRecord {
    const PURPOSE: Purpose = Purpose::Drop;
    const FORMAT: u16 = 1;

    fn capacity(&self) -> usize {
        self.0.capacity()
    }

    fn write(&self, writer: &mut Writer) {
        self.0.write(writer);
    }

    fn read(reader: &mut Reader<'_>, _format: u16) -> Result<Self, CodecError> {
        ChunkRun::read(reader).map(Self)
    }
}

/// A blob that was deleted here and shall not come back by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tombstone {
    /// SHA-256 of the content.
    pub digest: Digest,
    /// The size it had.
    pub size: u64,
    /// When it was deleted, milliseconds since 1970.
    pub deleted_ms: u64,
}

impl Record for Tombstone {
    const PURPOSE: Purpose = Purpose::Tombstone;
    const FORMAT: u16 = 1;

    fn capacity(&self) -> usize {
        32 + 8 + 8
    }

    fn write(&self, writer: &mut Writer) {
        writer.bytes(self.digest.as_bytes());
        writer.u64(self.size);
        writer.u64(self.deleted_ms);
    }

    fn read(reader: &mut Reader<'_>, _format: u16) -> Result<Self, CodecError> {
        Ok(Self {
            digest: Digest::new(reader.array()?),
            size: reader.u64()?,
            deleted_ms: reader.u64()?,
        })
    }
}

/// A blob that the operator refuses: neither kept nor given.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BlockRecord {
    /// SHA-256 of the content.
    pub digest: Digest,
    /// The size it had, if it was here; else 0.
    pub size: u64,
    /// When it was blocked, milliseconds since 1970.
    pub blocked_ms: u64,
    /// Whether it counts in the fingerprint of its shard: it was here, or its tombstone was.
    pub counted: bool,
}

impl Record for BlockRecord {
    const PURPOSE: Purpose = Purpose::Block;
    const FORMAT: u16 = 1;

    fn capacity(&self) -> usize {
        32 + 8 + 8 + 1
    }

    fn write(&self, writer: &mut Writer) {
        writer.bytes(self.digest.as_bytes());
        writer.u64(self.size);
        writer.u64(self.blocked_ms);
        writer.flag(self.counted);
    }

    fn read(reader: &mut Reader<'_>, _format: u16) -> Result<Self, CodecError> {
        Ok(Self {
            digest: Digest::new(reader.array()?),
            size: reader.u64()?,
            blocked_ms: reader.u64()?,
            counted: reader.flag()?,
        })
    }
}

/// u32 count and the hashes; nothing is allocated before the bytes are known to be there.
fn read_hashes(reader: &mut Reader<'_>) -> Result<Vec<Hash>, CodecError> {
    let count = usize::try_from(reader.u32()?).map_err(|_| CodecError::Truncated)?;
    let len = count
        .checked_mul(size_of::<Hash>())
        .ok_or(CodecError::Truncated)?;
    let (hashes, _) = reader.take(len)?.as_chunks();
    Ok(hashes.to_vec())
}

#[cfg(test)]
mod tests;
