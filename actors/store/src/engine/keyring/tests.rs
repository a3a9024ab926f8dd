#![allow(clippy::unwrap_used)]
//! The fixed values were computed with Python's `cryptography` from the heads of the modules alone.

use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

/// Index key 42…, keys 1 (51…) and 3 (53…), 3 current, next id 4; sealed with the raw key 77….
const RAW: &str = "62636b72000100616161616161616161616161616161616262626262626262626262626fa6f52df4\
    9508ff255f0ff4b94a21cb7c8cbd87abdb12b82378bd7a1bcb32a75a8736f30678d3982d306634e4f30e6b6c5fc51699b7\
    d86f337c2b6ab74df8fb680679855f63ffdc83060566b647206c123e184272f19b63bf6bdadfd558d5e5b904104f013220\
    8ee760f4e84a71cf0d045bed7eb4da893781261a17b1d95d27eebd9ee12a4e5f9d6d6ceacb01977847b0ba";
/// The same keys sealed with the passphrase "correct horse": argon2id of 64 KiB, 2 passes, 1 lane.
const STRETCHED: &str = "62636b7200010100000040000000020000000163636363636363636363636363636363646464646464\
    646464646464646464646565656565656565656565658d9232768bc3da1d0762c4b962ad3d3bc81414b698aabace48a030e5\
    34be2543616cf6eaf720b870487006109059f5eef48998e6a6b1636715379b4905bc4e71357d41528de259e514c40fe00c\
    c0c348fa18e68fb51f46f5d8c7f60144c21adb6708b9903500f9321a49854b33112c455401fe9320a83a2500ff2d5bba62\
    4ecfba80d2a60a6e311271ea9b9fb5fd8dc15b49";
/// "some metadata" as metadata under key 1 for the key `m` ‖ 09… of shard-0007.
const RECORD: &str = "010000000170707070707070707070707070707070717171717171717171717171b2df2c9384aac9d1e6\
    b309430e1ea3ad429290393ab3bb8381d959e189";

fn unhex(text: &str) -> Vec<u8> {
    hex::decode(text.replace(' ', "")).unwrap()
}

fn raw_secret() -> UnlockSecret {
    UnlockSecret::from_key([0x77; 32])
}

fn passphrase(text: &str) -> UnlockSecret {
    UnlockSecret::from_passphrase(text.to_owned())
}

fn place_key() -> [u8; 33] {
    let mut key = [9; 33];
    key[0] = b'm';
    key
}

fn seal_here(keyring: &Keyring) -> Vec<u8> {
    keyring
        .seal_record("shard-0007", b"m-key", Purpose::Meta, b"secret")
        .unwrap()
}

#[test]
fn a_record_made_elsewhere_opens_with_either_secret() {
    for (record, secret) in [
        (RAW, raw_secret()),
        (STRETCHED, passphrase("correct horse")),
    ] {
        let keyring = Keyring::open(&unhex(record), &secret).unwrap();
        assert_eq!(keyring.key_ids().collect::<Vec<_>>(), [1, 3]);
        assert_eq!(keyring.current_key(), 3);
        assert_eq!(
            hex::encode(keyring.sealed_name(&Digest::of(b"abc"))),
            "59a336f3d8487626e0c474ad98a254ac80cec799fb177426c3f830937690d650"
        );
        let opened = keyring
            .open_record("shard-0007", &place_key(), Purpose::Meta, &unhex(RECORD))
            .unwrap();
        assert_eq!(&**opened, b"some metadata");
    }
}

#[test]
fn what_was_created_opens_again_and_seals_the_same_names() {
    for secret in [raw_secret(), passphrase("open sesame")] {
        let keyring = Keyring::create(&secret).unwrap();
        let record = keyring.to_record().unwrap();
        let again = Keyring::open(&record, &secret).unwrap();
        let digest = Digest::of(b"content");
        assert_eq!(again.sealed_name(&digest), keyring.sealed_name(&digest));
        let sealed = seal_here(&keyring);
        let opened = again
            .open_record("shard-0007", b"m-key", Purpose::Meta, &sealed)
            .unwrap();
        assert_eq!(&**opened, b"secret");
    }
}

#[test]
fn a_wrong_secret_is_told_apart_from_damage() {
    let raw = unhex(RAW);
    assert_eq!(
        Keyring::open(&raw, &UnlockSecret::from_key([0x78; 32])).unwrap_err(),
        KeyringError::WrongUnlockKey
    );
    let stretched = unhex(STRETCHED);
    assert_eq!(
        Keyring::open(&stretched, &passphrase("correct house")).unwrap_err(),
        KeyringError::WrongUnlockKey
    );
    assert!(matches!(
        Keyring::open(&raw, &passphrase("correct horse")),
        Err(KeyringError::WrongKind {
            sealed_with: "key file",
            ..
        })
    ));
    assert!(matches!(
        Keyring::open(&stretched, &raw_secret()),
        Err(KeyringError::WrongKind {
            sealed_with: "passphrase",
            ..
        })
    ));
}

#[test]
fn every_flipped_bit_of_the_keyring_is_damage() {
    let record = unhex(RAW);
    for at in 0..record.len() * 8 {
        let mut flipped = record.clone();
        flipped[at / 8] ^= 1 << (at % 8);
        let error = Keyring::open(&flipped, &raw_secret()).unwrap_err();
        assert!(
            matches!(error, KeyringError::Damaged { .. }),
            "bit {at}: {error}"
        );
    }
    for len in 0..record.len() {
        let error = Keyring::open(&record[..len], &raw_secret()).unwrap_err();
        assert!(
            matches!(error, KeyringError::Damaged { .. }),
            "{len} bytes: {error}"
        );
    }
}

/// `record` with its checksum made right again.
fn forged(mut record: Vec<u8>) -> Vec<u8> {
    record.truncate(record.len() - CHECKSUM_BYTES);
    let checksum = digest::digest(&digest::SHA256, &record);
    record.extend_from_slice(&checksum.as_ref()[..CHECKSUM_BYTES]);
    record
}

#[test]
fn a_newer_keyring_is_refused_as_newer() {
    let mut newer = unhex(RAW);
    newer[5] = 2;
    let error = Keyring::open(&forged(newer), &raw_secret()).unwrap_err();
    assert!(matches!(
        error,
        KeyringError::Newer {
            found: 2,
            known: 1,
            ..
        }
    ));
    assert!(error.to_string().contains("newer bytecave"), "{error}");
}

#[test]
fn forged_stretching_parameters_take_neither_memory_nor_time() {
    for field in 0..3 {
        for value in [0, u32::MAX] {
            let mut record = unhex(STRETCHED);
            record[7 + 4 * field..][..4].copy_from_slice(&value.to_be_bytes());
            let error = Keyring::open(&forged(record), &passphrase("x")).unwrap_err();
            assert!(matches!(error, KeyringError::Damaged { .. }), "{error}");
        }
    }
}

#[test]
fn the_stretching_parameters_are_bound_to_the_keys() {
    let mut record = unhex(STRETCHED);
    record[7 + 4 + 3] = 3;
    assert_eq!(
        Keyring::open(&forged(record), &passphrase("correct horse")).unwrap_err(),
        KeyringError::WrongUnlockKey
    );
}

#[test]
fn a_changed_secret_keeps_all_keys_and_shuts_the_old_one_out() {
    let keyring = Keyring::create(&raw_secret()).unwrap();
    let sealed = seal_here(&keyring);
    let relocked = keyring.relock(&passphrase("new")).unwrap();
    let record = relocked.to_record().unwrap();
    assert!(Keyring::open(&record, &raw_secret()).is_err());
    let opened = Keyring::open(&record, &passphrase("new")).unwrap();
    let digest = Digest::of(b"x");
    assert_eq!(opened.sealed_name(&digest), keyring.sealed_name(&digest));
    assert!(
        opened
            .open_record("shard-0007", b"m-key", Purpose::Meta, &sealed)
            .is_ok()
    );
}

#[test]
fn rotation_keeps_the_old_key_until_it_is_retired() {
    let old = Keyring::create(&raw_secret()).unwrap();
    let sealed = seal_here(&old);
    assert_eq!(record_key_id(&sealed).unwrap(), 1);
    let rotated = old.rotate().unwrap();
    let digest = Digest::of(b"x");
    assert_eq!(rotated.sealed_name(&digest), old.sealed_name(&digest));
    assert_eq!(record_key_id(&seal_here(&rotated)).unwrap(), 2);
    let open =
        |keyring: &Keyring| keyring.open_record("shard-0007", b"m-key", Purpose::Meta, &sealed);
    assert!(open(&rotated).is_ok());
    assert_eq!(
        rotated.retire(2).unwrap_err(),
        KeyringError::InUse { id: 2 }
    );
    assert_eq!(
        rotated.retire(7).unwrap_err(),
        KeyringError::UnknownKey { id: 7 }
    );
    let retired = rotated.retire(1).unwrap();
    assert_eq!(
        open(&retired).unwrap_err(),
        KeyringError::UnknownKey { id: 1 }
    );
    let reopened = Keyring::open(&retired.to_record().unwrap(), &raw_secret()).unwrap();
    assert_eq!(reopened.key_ids().collect::<Vec<_>>(), [2]);
    assert_eq!(
        reopened.rotate().unwrap().current_key(),
        3,
        "ids do not come back"
    );
}

#[test]
fn a_keyring_takes_a_bounded_number_of_keys() {
    let mut keyring = Keyring::create(&raw_secret()).unwrap();
    for _ in 1..MAX_KEYS {
        keyring = keyring.rotate().unwrap();
    }
    assert!(matches!(
        keyring.rotate(),
        Err(KeyringError::TooManyKeys { count: MAX_KEYS })
    ));
    assert!(Keyring::open(&keyring.to_record().unwrap(), &raw_secret()).is_ok());
}

#[test]
fn a_record_opens_only_in_its_place_and_for_its_use() {
    let keyring = Keyring::create(&raw_secret()).unwrap();
    let sealed = seal_here(&keyring);
    let open = |family, key: &[u8], purpose| keyring.open_record(family, key, purpose, &sealed);
    assert!(open("shard-0007", b"m-key", Purpose::Meta).is_ok());
    let refused = [
        open("shard-0008", b"m-key", Purpose::Meta),
        open("shard-0007", b"m-kez", Purpose::Meta),
        open("shard-0007", b"m-key", Purpose::Counters),
        open("shard-0007m", b"-key", Purpose::Meta),
    ];
    for result in refused {
        assert!(matches!(result, Err(KeyringError::Record { .. })));
    }
    let other = Keyring::create(&raw_secret()).unwrap();
    assert!(
        other
            .open_record("shard-0007", b"m-key", Purpose::Meta, &sealed)
            .is_err()
    );
}

#[test]
fn the_same_record_is_never_sealed_to_the_same_bytes() {
    let keyring = Keyring::create(&raw_secret()).unwrap();
    let plain = [0; 64];
    let mut runs = HashSet::new();
    for _ in 0..50 {
        let sealed = keyring
            .seal_record("default", b"s", Purpose::Counters, &plain)
            .unwrap();
        assert_eq!(sealed.len(), plain.len() + RECORD_OVERHEAD_BYTES);
        for run in sealed.windows(16) {
            assert!(runs.insert(run.to_vec()), "a run of 16 bytes came twice");
        }
    }
    assert_ne!(keyring.to_record().unwrap(), keyring.to_record().unwrap());
}

#[test]
fn a_newer_record_is_refused_as_newer() {
    let keyring = Keyring::create(&raw_secret()).unwrap();
    let mut sealed = seal_here(&keyring);
    sealed[0] = 2;
    assert!(matches!(
        keyring.open_record("shard-0007", b"m-key", Purpose::Meta, &sealed),
        Err(KeyringError::Newer { found: 2, .. })
    ));
}

#[test]
fn debug_prints_no_key() {
    let keyring = Keyring::create(&raw_secret()).unwrap();
    assert_eq!(format!("{keyring:?}"), "Keyring(current 1)");
}

proptest! {
    #[test]
    fn any_changed_bit_of_a_record_is_found(
        plain in prop::collection::vec(any::<u8>(), 0..200), at in any::<prop::sample::Index>(), bit in 0u8..8,
    ) {
        let keyring = Keyring::open(&unhex(RAW), &raw_secret()).unwrap();
        let sealed = keyring.seal_record("f", b"k", Purpose::Outbox, &plain).unwrap();
        let opened = keyring.open_record("f", b"k", Purpose::Outbox, &sealed).unwrap();
        prop_assert_eq!(&**opened, &plain[..]);
        let mut changed = sealed.clone();
        changed[at.index(sealed.len())] ^= 1 << bit;
        prop_assert!(keyring.open_record("f", b"k", Purpose::Outbox, &changed).is_err());
        let cut = &sealed[..at.index(sealed.len())];
        prop_assert!(keyring.open_record("f", b"k", Purpose::Outbox, cut).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let keyring = Keyring::open(&unhex(RAW), &raw_secret()).unwrap();
        prop_assert!(keyring.open_record("f", b"k", Purpose::Meta, &bytes).is_err());
        prop_assert!(Keyring::open(&bytes, &raw_secret()).is_err());
        // With a right checksum in front of the parser, too.
        let mut dressed = [&MAGIC[..], &bytes, &[0; CHECKSUM_BYTES]].concat();
        dressed = forged(dressed);
        prop_assert!(Keyring::open(&dressed, &raw_secret()).is_err());
    }
}
