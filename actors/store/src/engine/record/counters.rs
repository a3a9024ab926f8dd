//! What is counted of a shard.

use bytecave_core::Fingerprint;

use super::{BlobMeta, Record};
use crate::engine::codec::{CodecError, Reader, Writer};
use crate::engine::keyring::Purpose;

/// Counters of a shard, kept in the batch that changes what they count.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// Blobs.
    pub blobs: u64,
    /// Content bytes.
    pub bytes: u64,
    /// Sealed bytes of live blobs, retired ones among them.
    pub sealed_bytes: u64,
    /// Sealed bytes of deleted blobs whose space is not free yet.
    pub dead_bytes: u64,
    /// Blobs whose bytes were found damaged; they are among `blobs` or `retired`.
    pub quarantined: u64,
    /// Sum over the set of blobs, without those retired.
    pub fingerprint: Fingerprint,
    /// Sequence that the next outbox entry gets.
    pub next_sequence: u64,
    /// Outbox entries below this sequence are dealt with and gone.
    pub outbox_cursor: u64,
    /// Blobs that are needed no longer and not gone yet; none in format 1.
    pub retired: u64,
    /// Content bytes of these.
    pub retired_bytes: u64,
}

impl Counters {
    /// Counts a blob, as a full count does.
    pub fn count(&mut self, meta: &BlobMeta) {
        if meta.is_retired() {
            self.retired += 1;
            self.retired_bytes += meta.size;
        } else {
            self.blobs += 1;
            self.bytes += meta.size;
            self.fingerprint.add(&meta.digest);
        }
        self.sealed_bytes += meta.sealed_size;
        self.quarantined += u64::from(meta.quarantined);
    }
}

impl Record for Counters {
    const PURPOSE: Purpose = Purpose::Counters;
    const FORMAT: u16 = 2;

    fn capacity(&self) -> usize {
        9 * 8 + 32
    }

    fn write(&self, writer: &mut Writer) {
        writer.u64(self.blobs);
        writer.u64(self.bytes);
        writer.u64(self.sealed_bytes);
        writer.u64(self.dead_bytes);
        writer.u64(self.quarantined);
        writer.bytes(self.fingerprint.as_bytes());
        writer.u64(self.next_sequence);
        writer.u64(self.outbox_cursor);
        writer.u64(self.retired);
        writer.u64(self.retired_bytes);
    }

    fn read(reader: &mut Reader<'_>, format: u16) -> Result<Self, CodecError> {
        let mut counters = Self {
            blobs: reader.u64()?,
            bytes: reader.u64()?,
            sealed_bytes: reader.u64()?,
            dead_bytes: reader.u64()?,
            quarantined: reader.u64()?,
            fingerprint: Fingerprint::new(reader.array()?),
            next_sequence: reader.u64()?,
            outbox_cursor: reader.u64()?,
            ..Self::default()
        };
        if format >= 2 {
            counters.retired = reader.u64()?;
            counters.retired_bytes = reader.u64()?;
        }
        Ok(counters)
    }
}
