#![allow(clippy::unwrap_used)]
//! The fixed values were computed with Python's `cryptography` from the module's head alone.

use bytecave_core::Digest;
use proptest::prelude::*;

use super::*;

const SEGMENT: usize = SEGMENT_BYTES;

fn fixed() -> BlobCipher {
    let key = std::array::from_fn(|at| u8::try_from(at).unwrap());
    let id = std::array::from_fn(|at| u8::try_from(0xa0 + at).unwrap());
    BlobCipher::new(&DataKey::new(key), BlobId::new(id)).unwrap()
}

fn fresh() -> BlobCipher {
    BlobCipher::new(&DataKey::random().unwrap(), BlobId::random().unwrap()).unwrap()
}

fn content(size: usize) -> Vec<u8> {
    (0..size)
        .map(|at| u8::try_from((at * 31 + at / 1024) % 251).unwrap())
        .collect()
}

fn seal_one(cipher: &BlobCipher, number: u32, last: bool, content: &[u8]) -> Vec<u8> {
    let mut segment = content.to_vec();
    cipher.seal_segment(number, last, &mut segment).unwrap();
    segment
}

#[test]
fn segments_are_sealed_as_the_head_of_the_module_says() {
    let empty = fixed().seal_whole(&[]).unwrap();
    assert_eq!(hex::encode(empty), "791c68b7e5e61d6eeb2f49c5616e7c07");
    let middle = seal_one(&fixed(), 3, false, b"hello");
    assert_eq!(
        hex::encode(middle),
        "ab46db8b893e2943383e2dde9c7d46b0f5035f5088"
    );
    let whole = fixed().seal_whole(&content(2 * SEGMENT + 5)).unwrap();
    assert_eq!(whole.len(), 524_341);
    assert_eq!(
        Digest::of(&whole).to_hex(),
        "ab763de300c2b90935df291baea464893878bb338fdaa8bfb226f5aa745b6d95"
    );
}

#[test]
fn pages_are_sealed_as_the_head_of_the_module_says() {
    let groups = [[0x11; 32], [0x22; 32]];
    let mut page = fixed().seal_page(7, &groups).unwrap();
    assert_eq!(
        hex::encode(&page),
        "4faa0898d8164c32550e92e5439b3d1bc52d2ad23997c10d77ced924effec20365632b5c8d45b8350f547b7\
         8b8d88454729c4cdcba7b503d0e8d333f63c9499cdbe66f00b2baa273e7677353f5cd0aa1"
    );
    assert_eq!(fixed().open_page(7, &mut page).unwrap(), groups);
}

#[test]
fn whole_blobs_come_back_at_every_boundary() {
    for size in [
        0,
        1,
        SEGMENT - 1,
        SEGMENT,
        SEGMENT + 1,
        2 * SEGMENT,
        3 * SEGMENT + 77,
        4 * 1024 * 1024,
    ] {
        let cipher = fresh();
        let content = content(size);
        let mut sealed = cipher.seal_whole(&content).unwrap();
        assert_eq!(sealed.len() as u64, sealed_len(size as u64), "{size} bytes");
        assert_eq!(sealed.capacity(), sealed.len(), "one allocation");
        cipher.open_whole(size as u64, &mut sealed).unwrap();
        assert!(sealed == content, "{size} bytes");
    }
}

#[test]
fn segments_sealed_one_by_one_are_the_whole_blob() {
    let cipher = fresh();
    let content = content(2 * SEGMENT + 100);
    let count = segment_count(content.len() as u64).unwrap();
    let mut buffer = Vec::with_capacity(SEALED_SEGMENT_BYTES);
    let home = buffer.as_ptr();
    let mut row = Vec::new();
    for (number, piece) in (0..count).zip(content.chunks(SEGMENT)) {
        buffer.clear();
        buffer.extend_from_slice(piece);
        cipher
            .seal_segment(number, number + 1 == count, &mut buffer)
            .unwrap();
        row.extend_from_slice(&buffer);
    }
    assert_eq!(buffer.as_ptr(), home, "the buffer is reused, not grown");
    assert!(row == cipher.seal_whole(&content).unwrap());
}

#[test]
fn any_segment_opens_alone() {
    let cipher = fresh();
    let content = content(3 * SEGMENT + 9);
    let sealed = cipher.seal_whole(&content).unwrap();
    let count = segment_count(content.len() as u64).unwrap();
    for (number, (piece, sealed)) in (0..count).zip(
        content
            .chunks(SEGMENT)
            .zip(sealed.chunks(SEALED_SEGMENT_BYTES)),
    ) {
        let mut sealed = sealed.to_vec();
        let opened = cipher
            .open_segment(number, number + 1 == count, &mut sealed)
            .unwrap();
        assert!(opened == piece, "segment {number}");
    }
}

#[test]
fn reordered_segments_do_not_open() {
    let cipher = fresh();
    let content = content(3 * SEGMENT);
    let sealed = cipher.seal_whole(&content).unwrap();
    let parts: Vec<&[u8]> = sealed.chunks(SEALED_SEGMENT_BYTES).collect();
    let mut swapped = [parts[1], parts[0], parts[2]].concat();
    assert_eq!(
        cipher.open_whole(content.len() as u64, &mut swapped),
        Err(SealError::Damaged { number: 0 })
    );
    let mut repeated = [parts[0], parts[0], parts[2]].concat();
    assert_eq!(
        cipher.open_whole(content.len() as u64, &mut repeated),
        Err(SealError::Damaged { number: 1 })
    );
}

#[test]
fn a_blob_cut_at_a_segment_does_not_open_as_a_shorter_one() {
    let cipher = fresh();
    let sealed = cipher.seal_whole(&content(3 * SEGMENT)).unwrap();
    let mut cut = sealed[..2 * SEALED_SEGMENT_BYTES].to_vec();
    assert_eq!(
        cipher.open_whole(2 * SEGMENT as u64, &mut cut),
        Err(SealError::Damaged { number: 1 }),
        "the second segment was not sealed as the last"
    );
    let mut last = sealed[2 * SEALED_SEGMENT_BYTES..].to_vec();
    assert_eq!(
        cipher.open_segment(2, false, &mut last),
        Err(SealError::Damaged { number: 2 }),
        "the last segment was not sealed as one in the middle"
    );
}

#[test]
fn a_wrong_length_is_said_before_anything_is_opened() {
    let cipher = fresh();
    let mut sealed = cipher.seal_whole(&content(1000)).unwrap();
    let before = sealed.clone();
    assert_eq!(
        cipher.open_whole(999, &mut sealed),
        Err(SealError::Length {
            found: 1016,
            expected: 1015
        })
    );
    assert_eq!(sealed, before);
}

#[test]
fn another_blobs_bytes_do_not_open() {
    let key = DataKey::random().unwrap();
    let ours = BlobCipher::new(&key, BlobId::random().unwrap()).unwrap();
    let same_key = BlobCipher::new(&key, BlobId::random().unwrap()).unwrap();
    let sealed = ours.seal_whole(b"content").unwrap();
    for other in [same_key, fresh()] {
        let mut sealed = sealed.clone();
        assert_eq!(
            other.open_whole(7, &mut sealed),
            Err(SealError::Damaged { number: 0 })
        );
    }
}

#[test]
fn pages_and_chunks_never_open_as_each_other() {
    let cipher = fresh();
    let mut page = cipher.seal_page(2, &[[7; 32]; 3]).unwrap();
    let mut again = page.clone();
    for last in [false, true] {
        assert!(cipher.open_segment(2, last, &mut page.clone()).is_err());
        let mut chunk = seal_one(&cipher, 2, last, &[7; 96]);
        assert!(cipher.open_page(2, &mut chunk).is_err());
    }
    assert!(cipher.open_page(3, &mut page).is_err(), "another page");
    assert_eq!(cipher.open_page(2, &mut again).unwrap(), [[7; 32]; 3]);
}

#[test]
fn a_full_page_is_128_kib_and_lengths_add_up() {
    let size = PAGE_SPAN_BYTES + 1;
    assert_eq!(page_count(size).unwrap(), 2);
    assert_eq!(segment_count(size).unwrap(), 257);
    assert_eq!(page_chunk(size, 1).unwrap(), 258);
    assert_eq!(chunk_count(size).unwrap(), 259);
    let cipher = fresh();
    let full = cipher.seal_page(257, &vec![[1; 32]; PAGE_GROUPS]).unwrap();
    let rest = cipher.seal_page(258, &[[1; 32]]).unwrap();
    assert_eq!(full.len(), 128 * 1024 + TAG_BYTES);
    assert_eq!(sealed_pages_len(size), (full.len() + rest.len()) as u64);
}

#[test]
fn an_oversized_segment_and_an_impossible_blob_are_refused() {
    let mut segment = vec![0; SEGMENT + 1];
    assert_eq!(
        fresh().seal_segment(0, true, &mut segment),
        Err(SealError::Length {
            found: SEGMENT as u64 + 1,
            expected: SEGMENT as u64
        })
    );
    assert_eq!(
        segment_count(u64::MAX),
        Err(SealError::TooLarge { size: u64::MAX })
    );
}

#[test]
fn keys_and_ids_are_drawn_anew() {
    assert!(DataKey::random().unwrap() != DataKey::random().unwrap());
    assert_ne!(BlobId::random().unwrap(), BlobId::random().unwrap());
    assert_eq!(format!("{:?}", DataKey::new([1; 32])), "DataKey");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_changed_bit_is_found(size in 0usize..600_000, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let cipher = fresh();
        let mut sealed = cipher.seal_whole(&content(size)).unwrap();
        let at = at.index(sealed.len());
        sealed[at] ^= 1 << bit;
        let number = u32::try_from(at / SEALED_SEGMENT_BYTES).unwrap();
        prop_assert_eq!(
            cipher.open_whole(size as u64, &mut sealed),
            Err(SealError::Damaged { number })
        );
    }

    #[test]
    fn any_cut_or_growth_is_found(size in 0usize..600_000, stated in 0u64..600_000, cut in any::<prop::sample::Index>()) {
        let cipher = fresh();
        let sealed = cipher.seal_whole(&content(size)).unwrap();
        let mut cut = sealed[..cut.index(sealed.len())].to_vec();
        prop_assert!(cipher.open_whole(size as u64, &mut cut).is_err());
        if stated != size as u64 {
            prop_assert!(cipher.open_whole(stated, &mut sealed.clone()).is_err());
        }
    }

    #[test]
    fn opening_arbitrary_bytes_never_panics(
        bytes in prop::collection::vec(any::<u8>(), 0..400), size in any::<u64>(), number in any::<u32>(), last in any::<bool>(),
    ) {
        let cipher = fixed();
        prop_assert!(cipher.open_whole(size, &mut bytes.clone()).is_err());
        prop_assert!(cipher.open_segment(number, last, &mut bytes.clone()).is_err());
        prop_assert!(cipher.open_page(number, &mut bytes.clone()).is_err());
    }
}
