//! What no decoder accepts.

use bytecave_core::proof::Proof;
use bytecave_core::tree::LEAF_BYTES;

use super::file::Malformed;
use super::make::{Blob, nonce};

fn short_proof() -> Proof {
    let blob = Blob::new(1, 1);
    blob.answer(&blob.challenge(nonce(0), 1))
}

fn malformed(name: &str, text: String) -> Malformed {
    Malformed {
        name: name.to_owned(),
        text,
    }
}

/// `count` times `entry`, as the inside of a list.
fn list(entry: &str, count: usize) -> String {
    vec![entry; count].join(",")
}

pub(crate) fn json() -> Vec<Malformed> {
    let proof = short_proof();
    let text = serde_json::to_string(&proof).unwrap();
    let replaced = |name: &str, from: &str, to: &str| {
        assert_eq!(text.matches(from).count(), 1, "{name}: {from} in {text}");
        malformed(name, text.replacen(from, to, 1))
    };
    let leaf = serde_json::to_string(&proof.leaves[0]).unwrap();
    let data = leaf.split('"').nth(5).unwrap();
    let hash = format!("\"{}\"", "0".repeat(64));
    let nonce = proof.nonce.to_string();
    let signature = hex::encode(proof.signature);
    // 1026 bytes are the first more than 1024 whose base64 is whole groups; 1025 end in padding.
    let data_1025 = format!("{}AAA=", "A".repeat(LEAF_BYTES.div_ceil(3) * 4 - 4));
    let wrong_data = |name: &str, to: &str| {
        replaced(
            name,
            &format!("\"data\":\"{data}\""),
            &format!("\"data\":\"{to}\""),
        )
    };
    vec![
        replaced("33 leaves", &leaf, &list(&leaf, 33)),
        replaced(
            "a path of 55 hashes",
            "\"path\":[]",
            &format!("\"path\":[{}]", list(&hash, 55)),
        ),
        replaced(
            "a path with a hash of 31 bytes",
            "\"path\":[]",
            &format!("\"path\":[\"{}\"]", "0".repeat(62)),
        ),
        wrong_data("leaf data of 1025 bytes", &data_1025),
        wrong_data("leaf data without padding", data.trim_end_matches('=')),
        wrong_data("leaf data with bits after its end", "QR=="),
        wrong_data("leaf data in the alphabet for URLs", "-_8="),
        replaced("a nonce of 31 bytes", &nonce, &nonce[..62]),
        replaced("a nonce with 0x", &nonce, &format!("0x{nonce}")),
        replaced("a signature of 63 bytes", &signature, &signature[..126]),
        replaced("a node id of 129 bytes", &proof.node_id, &"n".repeat(129)),
        replaced("a public key without 0x", "\"0x", "\""),
        replaced("a peer id that is none", "12D3KooW", "22D3KooW"),
        replaced("a CID that is none", "bafkrei", "bafkre"),
        replaced("a negative size", "\"size\":1,", "\"size\":-1,"),
        replaced("half an index", "\"index\":0", "\"index\":0.5"),
        replaced(
            "an index of 2^64",
            "\"index\":0",
            "\"index\":18446744073709551616",
        ),
        replaced("a size as text", "\"size\":1,", "\"size\":\"1\","),
        replaced("no size", "\"size\":1,", ""),
        replaced(
            "a field that is not known",
            "\"size\":1,",
            "\"size\":1,\"extra\":1,",
        ),
        replaced("a field twice", "\"size\":1,", "\"size\":1,\"size\":1,"),
        replaced(
            "a field of a leaf that is not known",
            "\"index\":0",
            "\"index\":0,\"extra\":1",
        ),
        malformed("cut", text[..text.len() - 1].to_owned()),
        malformed("something behind", format!("{text}{{}}")),
    ]
}

pub(crate) fn binary() -> Vec<Malformed> {
    let proof = short_proof();
    let bytes = proof.to_bytes();
    let tag = b"bytecave-proof-v1".len();
    let changed = |name: &str, change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = bytes.clone();
        change(&mut bytes);
        malformed(name, hex::encode(bytes))
    };
    // After tag, version, cid, size, leafSize, blobRoot and nonce.
    let leaves = tag + 8 + 40 + 12 + 8 + 36 + 36;
    // After the number of leaves and the index; then one byte of data.
    let data = leaves + 8 + 12;
    let path = data + 5;
    vec![
        malformed("nothing", String::new()),
        changed("another tag", &|b| b[tag - 1] = b'2'),
        changed("a byte behind", &|b| b.push(0)),
        changed("a byte short", &|b| b.truncate(b.len() - 1)),
        changed("no signature", &|b| b.truncate(b.len() - 68)),
        changed("a version of 5 bytes", &|b| b[tag + 3] = 5),
        changed("another codec in the CID", &|b| b[tag + 8 + 4 + 1] = 0x70),
        changed("33 leaves", &|b| b[leaves + 7] = 33),
        changed("2^32 - 1 leaves", &|b| b[leaves + 4..leaves + 8].fill(255)),
        changed("2 leaves stated, one given", &|b| b[leaves + 7] = 2),
        changed("leaf data of 2^32 - 1 bytes", &|b| {
            b[data..data + 4].fill(255);
        }),
        changed("a path of 31 bytes", &|b| {
            b[path + 3] = 31;
            b.splice(path + 4..path + 4, [0; 31]);
        }),
        changed("a path of 55 hashes", &|b| {
            b[path + 2..path + 4].copy_from_slice(&(55u16 * 32).to_be_bytes());
            b.splice(path + 4..path + 4, [0; 55 * 32]);
        }),
        changed("leaf data of 1025 bytes", &|b| {
            b[data + 2..data + 4].copy_from_slice(&1025u16.to_be_bytes());
            b.splice(data + 4..data + 4, [0; 1024]);
        }),
        changed("a node id that is not UTF-8", &|b| b[path + 4 + 4] = 0xff),
        changed("a peer id that is none", &|b| {
            let peer_id = path + 4 + 4 + proof.node_id.len() + 4;
            b[peer_id] ^= 1;
        }),
    ]
}
