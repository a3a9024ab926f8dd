//! The schema of the database: families, keys, values. Nothing here is safe to rename or renumber.
//!
//! | family | what |
//! |---|---|
//! | `default` | what belongs to no shard; made first, opened first |
//! | `transit` | large blobs of other nodes' shards on their way: chunks only, and nothing else names them; emptied by every start |
//! | `shard-0000` … | one for each owned shard, four digits at least |
//!
//! In a shard's family, by first byte. **Chunks sort lowest, and nothing in that range ever passes
//! through a memtable**, not even a deletion: so an ingested file stays in the last level, no
//! compaction rewrites it, and it goes as a file.
//!
//! | key | value |
//! |---|---|
//! | `c` ‖ blob id (16) ‖ u32be chunk | a sealed segment of a large blob, behind the last of them its pages of group hashes |
//! | `d` ‖ sealed name (32) | a small blob: its sealed segments in a row |
//! | `m` ‖ sealed name (32) | metadata, sealed |
//! | `o` ‖ u64be sequence | an outbox entry, sealed |
//! | `s` | the shard's counters, sealed |
//!
//! In `default`:
//!
//! | key | value |
//! |---|---|
//! | `format` | u16be format of the database ‖ u16be `SHARD_COUNT`, in the open: read before anything else |
//! | `keyring` | the keyring's record, sealed by the unlock secret |
//! | `i` ‖ blob id (16) | intent: a large blob whose chunks may be in a family without metadata, sealed |
//! | `x` ‖ blob id (16) | drop: a large blob whose chunks have to go, sealed |
//! | `t` ‖ sealed name (32) | tombstone of a deleted blob, sealed |
//! | `b` ‖ sealed name (32) | block of a blob that the operator refuses, sealed |
//! | `e` ‖ u64be milliseconds since 1970 ‖ u16be shard ‖ sealed name (32) | a retired blob goes for good then: u16be format, in the open |
//! | `n` ‖ sealed name (32) | a nonce that was used up (the name is that of its digest): u16be format ‖ u64be milliseconds since 1970 at which it may go, in the open |
//! | `rotation` | where a rotation of keys stands, sealed |
//!
//! `format`, `keyring` and `rotation` begin with letters that no one-letter prefix uses.

use bytecave_core::ShardId;

use super::keyring::{SEALED_NAME_BYTES, SealedName};
use super::seal::{BLOB_ID_BYTES, BlobId};

/// Format of the database as a whole. A newer one is refused.
pub(crate) const FORMAT: u16 = 1;

/// The family of what belongs to no shard.
pub(crate) const DEFAULT_FAMILY: &str = "default";
/// The family of foreign blobs on their way.
pub(crate) const TRANSIT_FAMILY: &str = "transit";
const SHARD_FAMILY: &str = "shard-";

/// Key in `default` of format and shard count.
pub(crate) const FORMAT_KEY: &[u8] = b"format";
/// Key in `default` of the keyring.
pub(crate) const KEYRING_KEY: &[u8] = b"keyring";
/// Key in `default` of a rotation under way.
pub(crate) const ROTATION_KEY: &[u8] = b"rotation";
/// Key of a shard's counters.
pub(crate) const COUNTERS_KEY: &[u8] = b"s";

/// First byte of each kind of key.
pub(crate) mod prefix {
    /// Chunk of a large blob.
    pub(crate) const CHUNK: u8 = b'c';
    /// Small blob.
    pub(crate) const DATA: u8 = b'd';
    /// Metadata.
    pub(crate) const META: u8 = b'm';
    /// Outbox entry.
    pub(crate) const OUTBOX: u8 = b'o';
    /// Intent, in `default`.
    pub(crate) const INTENT: u8 = b'i';
    /// Drop, in `default`.
    pub(crate) const DROP: u8 = b'x';
    /// Tombstone, in `default`.
    pub(crate) const TOMBSTONE: u8 = b't';
    /// Block, in `default`.
    pub(crate) const BLOCK: u8 = b'b';
    /// Used nonce, in `default`.
    pub(crate) const NONCE: u8 = b'n';
    /// End of a retired blob, in `default`.
    pub(crate) const END: u8 = b'e';
}

/// Length of a key made of a prefix and a sealed name.
pub(crate) const NAME_KEY_BYTES: usize = 1 + SEALED_NAME_BYTES;
/// Length of a key made of a prefix and a blob id.
pub(crate) const ID_KEY_BYTES: usize = 1 + BLOB_ID_BYTES;
/// Length of a chunk's key.
pub(crate) const CHUNK_KEY_BYTES: usize = ID_KEY_BYTES + 4;
/// Length of an outbox entry's key.
pub(crate) const OUTBOX_KEY_BYTES: usize = 1 + 8;
/// Length of the key of a retired blob's end.
pub(crate) const END_KEY_BYTES: usize = 1 + 8 + 2 + SEALED_NAME_BYTES;
/// What stands under such a key: the format.
pub(crate) const END_VALUE: [u8; 2] = 1_u16.to_be_bytes();

/// Family of a shard.
pub(crate) fn shard_family(shard: ShardId) -> String {
    format!("{SHARD_FAMILY}{:04}", shard.get())
}

/// Number of the shard whose family this is.
pub(crate) fn parse_shard_family(family: &str) -> Option<u16> {
    let digits = family.strip_prefix(SHARD_FAMILY)?;
    let number = digits.parse::<u16>().ok()?;
    // "shard-7" or "shard-00007" is no family of ours.
    (format!("{number:04}") == digits).then_some(number)
}

/// Key of a prefix and a sealed name.
pub(crate) fn name_key(prefix: u8, name: &SealedName) -> [u8; NAME_KEY_BYTES] {
    let mut key = [prefix; NAME_KEY_BYTES];
    let (_, tail) = key.split_at_mut(1);
    tail.copy_from_slice(name);
    key
}

/// The sealed name in a key made by [`name_key`].
pub(crate) fn parse_name_key(prefix: u8, key: &[u8]) -> Option<SealedName> {
    let (first, name) = key.split_first()?;
    (*first == prefix).then(|| name.try_into().ok()).flatten()
}

/// Key of a prefix and a blob id.
pub(crate) fn id_key(prefix: u8, id: BlobId) -> [u8; ID_KEY_BYTES] {
    let mut key = [prefix; ID_KEY_BYTES];
    let (_, tail) = key.split_at_mut(1);
    tail.copy_from_slice(id.as_bytes());
    key
}

/// The blob id in a key made by [`id_key`].
pub(crate) fn parse_id_key(prefix: u8, key: &[u8]) -> Option<BlobId> {
    let (first, id) = key.split_first()?;
    (*first == prefix)
        .then(|| id.try_into().ok().map(BlobId::new))
        .flatten()
}

/// Key of a chunk.
pub(crate) fn chunk_key(id: BlobId, chunk: u32) -> [u8; CHUNK_KEY_BYTES] {
    let mut key = [prefix::CHUNK; CHUNK_KEY_BYTES];
    let (_, tail) = key.split_at_mut(1);
    let (name, number) = tail.split_at_mut(BLOB_ID_BYTES);
    name.copy_from_slice(id.as_bytes());
    number.copy_from_slice(&chunk.to_be_bytes());
    key
}

/// Key of an outbox entry.
pub(crate) fn outbox_key(sequence: u64) -> [u8; OUTBOX_KEY_BYTES] {
    let mut key = [prefix::OUTBOX; OUTBOX_KEY_BYTES];
    let (_, tail) = key.split_at_mut(1);
    tail.copy_from_slice(&sequence.to_be_bytes());
    key
}

/// The sequence in a key made by [`outbox_key`].
pub(crate) fn parse_outbox_key(key: &[u8]) -> Option<u64> {
    let (first, sequence) = key.split_first()?;
    (*first == prefix::OUTBOX)
        .then(|| sequence.try_into().ok().map(u64::from_be_bytes))
        .flatten()
}

/// When which retired blob goes for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// Milliseconds since 1970.
    pub(crate) at_ms: u64,
    /// Number of the shard.
    pub(crate) shard: u16,
    /// The blob.
    pub(crate) name: SealedName,
}

impl End {
    /// Its key: they sort by time.
    pub(crate) fn key(&self) -> [u8; END_KEY_BYTES] {
        let mut key = [prefix::END; END_KEY_BYTES];
        let (_, tail) = key.split_at_mut(1);
        let (at, tail) = tail.split_at_mut(8);
        let (shard, name) = tail.split_at_mut(2);
        at.copy_from_slice(&self.at_ms.to_be_bytes());
        shard.copy_from_slice(&self.shard.to_be_bytes());
        name.copy_from_slice(&self.name);
        key
    }

    /// What a key made by [`End::key`] says.
    pub(crate) fn parse(key: &[u8]) -> Option<Self> {
        let (first, tail) = key.split_first()?;
        let (at, tail) = tail.split_first_chunk()?;
        let (shard, name) = tail.split_first_chunk()?;
        let end = Self {
            at_ms: u64::from_be_bytes(*at),
            shard: u16::from_be_bytes(*shard),
            name: name.try_into().ok()?,
        };
        (*first == prefix::END).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use bytecave_core::ShardCount;

    use super::*;

    #[test]
    fn chunks_sort_below_all_that_passes_through_memtables() {
        let name = [0; SEALED_NAME_BYTES];
        let last_chunk = chunk_key(BlobId::new([0xff; 16]), u32::MAX);
        for above in [
            &name_key(prefix::DATA, &name)[..],
            &name_key(prefix::META, &name),
            &outbox_key(0),
            COUNTERS_KEY,
        ] {
            assert!(&last_chunk[..] < above);
        }
    }

    #[test]
    fn keys_parse_back() {
        let name = [7; SEALED_NAME_BYTES];
        let id = BlobId::new([9; 16]);
        assert_eq!(
            parse_name_key(prefix::META, &name_key(prefix::META, &name)),
            Some(name)
        );
        assert_eq!(
            parse_name_key(prefix::DATA, &name_key(prefix::META, &name)),
            None
        );
        assert_eq!(
            parse_id_key(prefix::DROP, &id_key(prefix::DROP, id)),
            Some(id)
        );
        assert_eq!(parse_outbox_key(&outbox_key(0x0102)), Some(0x0102));
        assert_eq!(parse_outbox_key(b"o"), None);
        let end = End {
            at_ms: 0x0102,
            shard: 0x0304,
            name,
        };
        assert_eq!(End::parse(&end.key()), Some(end));
        assert_eq!(End::parse(&end.key()[..42]), None);
        let later = End {
            at_ms: 0x0103,
            shard: 0,
            name: [0; SEALED_NAME_BYTES],
        };
        assert!(end.key() < later.key());
    }

    #[test]
    fn family_names_are_four_digits() {
        let count = ShardCount::new(4096).unwrap();
        assert_eq!(shard_family(count.shard(7).unwrap()), "shard-0007");
        assert_eq!(parse_shard_family("shard-4095"), Some(4095));
        for foreign in ["shard-7", "shard-00007", "shard-", "default", "shard--001"] {
            assert_eq!(parse_shard_family(foreign), None, "{foreign}");
        }
    }
}
