#![allow(clippy::unwrap_used)]

use std::fmt::Debug;

use bytecave_core::Fingerprint;
use proptest::prelude::*;

use super::super::secret::UnlockSecret;
use super::*;

fn meta() -> BlobMeta {
    BlobMeta {
        digest: Digest::new([1; 32]),
        size: 0x0203,
        content_type: Some("a/b".to_owned()),
        file_name: None,
        created_ms: 4,
        blob_id: BlobId::new([5; 16]),
        data_key: DataKey::new([6; 32]),
        blob_root: BlobRoot::new([7; 32]),
        page_roots: vec![[8; 32]],
        layout: Layout::Large,
        pinned: false,
        quarantined: true,
        sealed_size: 9,
        retired_until_ms: Some(0x0a0b),
    }
}

#[test]
fn metadata_is_laid_out_field_by_field() {
    let expected = [
        "0002",
        &"01".repeat(32),
        "0000000000000203",
        "0100000003",
        "612f62",
        "00",
        "0000000000000004",
        &"05".repeat(16),
        &"06".repeat(32),
        &"07".repeat(32),
        "01",
        "00",
        "01",
        "0000000000000009",
        "00000001",
        &"08".repeat(32),
        "01",
        "0000000000000a0b",
    ]
    .concat();
    assert_eq!(hex::encode(&**encode(&meta())), expected);
}

#[test]
fn records_of_the_first_format_are_read_and_know_nothing_of_retired_blobs() {
    let needed = BlobMeta {
        retired_until_ms: None,
        ..meta()
    };
    let mut bytes = encode(&needed).to_vec();
    assert_eq!(bytes.pop(), Some(0));
    bytes[1] = 1;
    assert_eq!(decode::<BlobMeta>(&bytes), Ok(needed));
    let counters = Counters {
        blobs: 1,
        outbox_cursor: 2,
        ..Counters::default()
    };
    let mut bytes = encode(&counters).to_vec();
    bytes.truncate(bytes.len() - 16);
    bytes[1] = 1;
    assert_eq!(decode::<Counters>(&bytes), Ok(counters));
}

#[test]
fn a_newer_format_is_refused_and_the_message_says_what_to_do() {
    let mut bytes = encode(&meta()).to_vec();
    bytes[1] = 3;
    let error = decode::<BlobMeta>(&bytes).unwrap_err();
    assert_eq!(
        error,
        RecordError::Newer {
            what: "meta",
            found: 3,
            known: 2
        }
    );
    assert!(error.to_string().contains("a newer one"), "{error}");
    bytes[1] = 0;
    assert!(decode::<BlobMeta>(&bytes).is_err(), "there is no format 0");
}

#[test]
fn a_count_of_hashes_that_are_not_there_takes_no_memory() {
    let mut bytes = encode(&meta()).to_vec();
    let count_at = bytes.len() - 9 - 32 - 4;
    bytes[count_at..][..4].copy_from_slice(&u32::MAX.to_be_bytes());
    assert_eq!(
        decode::<BlobMeta>(&bytes).unwrap_err(),
        RecordError::Malformed {
            what: "meta",
            cause: CodecError::Truncated
        }
    );
}

#[test]
fn an_unknown_kind_of_outbox_entry_is_malformed() {
    let item = OutboxItem {
        kind: OutboxKind::Stored,
        digest: Digest::new([3; 32]),
    };
    let mut bytes = encode(&item).to_vec();
    assert_eq!(decode::<OutboxItem>(&bytes).unwrap(), item);
    bytes[2] = 9;
    assert_eq!(
        decode::<OutboxItem>(&bytes).unwrap_err(),
        RecordError::Malformed {
            what: "outbox",
            cause: CodecError::Flag(9)
        }
    );
}

#[test]
fn a_record_is_read_back_only_as_what_it_is() {
    let keyring = Keyring::create(&UnlockSecret::from_key([1; 32])).unwrap();
    let run = ChunkRun {
        family: "shard-0003".to_owned(),
        blob_id: BlobId::new([2; 16]),
        chunks: 40,
        sealed_size: 10_000_000,
    };
    let intent = Intent(run.clone());
    let sealed = seal(&keyring, "default", b"i", &intent).unwrap();
    assert_eq!(
        open::<Intent>(&keyring, "default", b"i", &sealed).unwrap(),
        intent
    );
    assert!(
        open::<DropRecord>(&keyring, "default", b"i", &sealed).is_err(),
        "the same fields, sealed for another use"
    );
}

#[test]
fn nothing_of_the_content_stands_in_the_open() {
    let keyring = Keyring::create(&UnlockSecret::from_key([1; 32])).unwrap();
    let mut meta = meta();
    meta.file_name = Some("a telling file name.pdf".to_owned());
    let sealed = seal(&keyring, "shard-0000", b"m", &meta).unwrap();
    for known in [
        &meta.digest.as_bytes()[..8],
        &meta.blob_root.as_bytes()[..8],
        meta.data_key.as_bytes(),
        b"telling",
        meta.blob_id.as_bytes(),
    ] {
        assert!(!sealed.windows(known.len()).any(|run| run == known));
    }
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(".{0,40}")
}

prop_compose! {
    fn any_meta()(
        digest: [u8; 32], size: u64, content_type in text(), file_name in text(), created_ms: u64, id: [u8; 16],
        key: [u8; 32], root: [u8; 32], page_roots in prop::collection::vec(any::<[u8; 32]>(), 0..5),
        flags: [bool; 3], sealed_size: u64, retired_until_ms: Option<u64>,
    ) -> BlobMeta {
        BlobMeta {
            digest: Digest::new(digest),
            size,
            content_type,
            file_name,
            created_ms,
            blob_id: BlobId::new(id),
            data_key: DataKey::new(key),
            blob_root: BlobRoot::new(root),
            page_roots,
            layout: if flags[0] { Layout::Large } else { Layout::Small },
            pinned: flags[1],
            quarantined: flags[2],
            sealed_size,
            retired_until_ms,
        }
    }
}

prop_compose! {
    fn any_counters()(numbers: [u64; 9], fingerprint: [u8; 32]) -> Counters {
        let [blobs, bytes, sealed_bytes, dead_bytes, quarantined, next_sequence, outbox_cursor, retired, retired_bytes] =
            numbers;
        Counters {
            blobs,
            bytes,
            sealed_bytes,
            dead_bytes,
            quarantined,
            fingerprint: Fingerprint::new(fingerprint),
            next_sequence,
            outbox_cursor,
            retired,
            retired_bytes,
        }
    }
}

prop_compose! {
    fn any_run()(family in ".{0,20}", id: [u8; 16], chunks: u32, sealed_size: u64) -> ChunkRun {
        ChunkRun { family, blob_id: BlobId::new(id), chunks, sealed_size }
    }
}

/// What holds for every kind of record: it comes back, within the room it asked for, and neither cut
/// nor lengthened bytes are taken for it.
fn comes_back<R: Record + PartialEq + Debug>(record: R, cut: usize) -> Result<(), TestCaseError> {
    let bytes = encode(&record);
    prop_assert!(
        bytes.len() <= record.capacity() + 2,
        "the capacity is too small"
    );
    let cut = &bytes[..cut % bytes.len()];
    prop_assert!(decode::<R>(cut).is_err());
    let longer = [&bytes[..], &[0]].concat();
    prop_assert!(decode::<R>(&longer).is_err());
    prop_assert_eq!(decode::<R>(&bytes).unwrap(), record);
    Ok(())
}

proptest! {
    #[test]
    fn every_record_comes_back(
        meta in any_meta(), counters in any_counters(), run in any_run(), digest: [u8; 32], size: u64, deleted_ms: u64, cut: usize,
    ) {
        let digest = Digest::new(digest);
        comes_back(meta, cut)?;
        comes_back(counters, cut)?;
        comes_back(Intent(run.clone()), cut)?;
        comes_back(DropRecord(run), cut)?;
        comes_back(OutboxItem { kind: OutboxKind::Stored, digest }, cut)?;
        comes_back(Tombstone { digest, size, deleted_ms }, cut)?;
        comes_back(BlockRecord { digest, size, blocked_ms: deleted_ms, counted: cut % 2 == 0 }, cut)?;
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), format in 0u8..4) {
        let bytes = if format > 0 { [&[0, format], &bytes[..]].concat() } else { bytes };
        let _ = decode::<BlobMeta>(&bytes);
        let _ = decode::<Counters>(&bytes);
        let _ = decode::<OutboxItem>(&bytes);
        let _ = decode::<Intent>(&bytes);
        let _ = decode::<DropRecord>(&bytes);
        let _ = decode::<Tombstone>(&bytes);
        let _ = decode::<BlockRecord>(&bytes);
    }

    #[test]
    fn changed_metadata_is_other_metadata_or_none(meta in any_meta(), at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = encode(&meta).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(other) = decode::<BlobMeta>(&bytes) {
            prop_assert_ne!(other, meta);
        }
    }
}
