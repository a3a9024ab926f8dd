//! Bytes to store, and what they must be called: CID, shard, blob tree and commitment, computed here
//! from their definitions alone, so that the node's own computation has something to be compared with.

use ring::digest::{SHA256, digest};

/// `size` bytes that look random and are the same for the same seed.
pub(crate) fn bytes(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0xD1B5_4A32_D192_ED03;
    let mut out = Vec::with_capacity(size + 8);
    while out.len() < size {
        // SplitMix64 (Steele, Lea, Flood 2014).
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        out.extend_from_slice(&(z ^ (z >> 31)).to_le_bytes());
    }
    out.truncate(size);
    out
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest(&SHA256, bytes).as_ref().try_into().unwrap()
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    ::hex::encode(bytes)
}

/// The 36 bytes of the binary CID: version 1, codec raw, sha2-256, 32 bytes.
pub(crate) fn binary_cid(content: &[u8]) -> Vec<u8> {
    let mut cid = vec![0x01, 0x55, 0x12, 0x20];
    cid.extend_from_slice(&sha256(content));
    cid
}

/// The CID in base32, as answers give it.
pub(crate) fn cid(content: &[u8]) -> String {
    format!("b{}", base32(&binary_cid(content)))
}

/// RFC 4648 base32, lower case, without padding.
pub(crate) fn base32(bytes: &[u8]) -> String {
    let mut out = String::new();
    let (mut held, mut bits) = (0u32, 0);
    for &byte in bytes {
        held = (held << 8) | u32::from(byte);
        bits += 8;
        while bits >= 5 {
            bits -= 5;
            out.push(letter(held >> bits));
        }
    }
    if bits > 0 {
        out.push(letter(held << (5 - bits)));
    }
    out
}

fn letter(value: u32) -> char {
    char::from(b"abcdefghijklmnopqrstuvwxyz234567"[(value & 31) as usize])
}

/// Base58 with Bitcoin's alphabet.
pub(crate) fn base58(bytes: &[u8]) -> String {
    let mut digits = vec![0u32];
    for &byte in bytes {
        let mut carry = u32::from(byte);
        for digit in &mut digits {
            carry += *digit << 8;
            *digit = carry % 58;
            carry /= 58;
        }
        while carry > 0 {
            digits.push(carry % 58);
            carry /= 58;
        }
    }
    let zeros = bytes.iter().take_while(|&&b| b == 0).count();
    let alphabet = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    std::iter::repeat_n('1', zeros)
        .chain(
            digits
                .iter()
                .rev()
                .skip_while(|&&d| d == 0)
                .map(|&d| char::from(alphabet[d as usize])),
        )
        .collect()
}

/// The shard of a content.
pub(crate) fn shard(content: &[u8], count: u64) -> u64 {
    let digest = sha256(content);
    let first = digest[..6]
        .iter()
        .fold(0u64, |all, &byte| (all << 8) | u64::from(byte));
    first % count
}

/// Some content of this size whose shard satisfies the condition.
pub(crate) fn in_shard(
    seed: u64,
    size: usize,
    count: u64,
    wanted: impl Fn(u64) -> bool,
) -> Vec<u8> {
    (0..1000 * count)
        .map(|n| bytes(seed.wrapping_mul(1_000_003).wrapping_add(n), size))
        .find(|content| wanted(shard(content, count)))
        .unwrap()
}

/// The Merkle tree hash of RFC 9162, section 2.1, over leaves of 1024 bytes.
pub(crate) fn blob_root(content: &[u8]) -> [u8; 32] {
    let leaves: Vec<[u8; 32]> = if content.is_empty() {
        vec![sha256(&[0])]
    } else {
        content
            .chunks(1024)
            .map(|leaf| sha256(&[&[0], leaf].concat()))
            .collect()
    };
    tree(&leaves)
}

fn tree(leaves: &[[u8; 32]]) -> [u8; 32] {
    if let [leaf] = leaves {
        return *leaf;
    }
    let split = leaves.len().next_power_of_two() / 2;
    sha256(&[&[1][..], &tree(&leaves[..split]), &tree(&leaves[split..])].concat())
}

/// The 32 bytes to which a holder is bound.
pub(crate) fn commitment(content: &[u8]) -> [u8; 32] {
    let size = (content.len() as u64).to_be_bytes();
    sha256(&[&b"bytecave-commitment-v1"[..], &size, &blob_root(content)].concat())
}

/// What the definitions give for well-known input, so that the measure itself is measured.
#[test]
fn the_measure_is_right() {
    assert_eq!(
        hex(&sha256(b"")),
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    );
    assert_eq!(base32(b"foobar"), "mzxw6ytboi");
    assert_eq!(base58(b"Hello World!"), "2NEpo7TZRRrLZSi2U");
    assert_eq!(base58(&[0, 0, 0x28, 0x7f, 0xb4, 0xcd]), "11233QC4");
    assert_eq!(
        cid(b""),
        "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"
    );
    assert_eq!(blob_root(b""), sha256(&[0]));
    // Three leaves split two to one.
    let content = bytes(1, 2049);
    let leaf = |range: std::ops::Range<usize>| sha256(&[&[0][..], &content[range]].concat());
    let left = sha256(&[&[1][..], &leaf(0..1024), &leaf(1024..2048)].concat());
    assert_eq!(
        blob_root(&content),
        sha256(&[&[1][..], &left, &leaf(2048..2049)].concat())
    );
}
