//! The CID of a blob: `CIDv1`, codec raw, multihash sha2-256 of the whole content.

use std::fmt;
use std::str::FromStr;

use cid::Cid;
use multihash::Multihash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::Digest;

/// Multicodec code of raw binary.
const RAW: u64 = 0x55;
/// Multicodec code of sha2-256.
const SHA2_256: u64 = 0x12;
/// Version, codec, multihash code and digest length of the binary CID.
const BINARY_HEAD: [u8; 4] = [0x01, 0x55, 0x12, 0x20];
/// Longest text accepted as a CID; base2 of 36 bytes has 289 characters.
const MAX_TEXT_LEN: usize = 512;

/// The name of a blob (`bafkrei…`): `CIDv1`, raw codec (0x55), sha2-256 (0x12) of the content.
///
/// Displayed and serialised in lower-case base32. Parsed from any multibase form of that CID and
/// from the bare 64 hex digits of the digest, in either case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlobCid(Digest);

/// Why a text is not the name of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CidError {
    /// Not a CID at all.
    #[error(
        "\"{text}\" is not a CID: expected a CIDv1 such as bafkrei… or 64 hex digits of a SHA-256"
    )]
    Malformed {
        /// What was given, shortened.
        text: String,
    },
    /// A CID, but of another codec.
    #[error(
        "\"{text}\" has codec 0x{codec:x}: expected raw (0x55), since blobs are stored as they are, not as UnixFS"
    )]
    Codec {
        /// What was given, shortened.
        text: String,
        /// The multicodec code found.
        codec: u64,
    },
    /// A raw CID, but of another hash.
    #[error(
        "\"{text}\" has multihash 0x{code:x} of {len} bytes: expected sha2-256 (0x12) of 32 bytes"
    )]
    Hash {
        /// What was given, shortened.
        text: String,
        /// The multihash code found.
        code: u64,
        /// The length of the hash found, in bytes.
        len: usize,
    },
}

impl BlobCid {
    /// Names the content with this digest.
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// Names `content`.
    pub fn of(content: &[u8]) -> Self {
        Self(Digest::of(content))
    }

    /// The content's digest.
    pub const fn digest(&self) -> Digest {
        self.0
    }

    /// The 36 bytes of the binary CID: version, codec, multihash code, length, digest.
    pub fn to_bytes(&self) -> [u8; 36] {
        let mut bytes = [0; 36];
        let (head, digest) = bytes.split_at_mut(4);
        head.copy_from_slice(&BINARY_HEAD);
        digest.copy_from_slice(self.0.as_bytes());
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gives; `None` for anything else.
    pub fn from_bytes(bytes: [u8; 36]) -> Option<Self> {
        let digest = bytes.strip_prefix(&BINARY_HEAD)?;
        digest.try_into().ok().map(|d| Self(Digest::new(d)))
    }

    fn to_cid(self) -> Cid {
        // `wrap` fails only for digests longer than 64 bytes.
        let hash = Multihash::wrap(SHA2_256, self.0.as_bytes()).unwrap_or_default();
        Cid::new_v1(RAW, hash)
    }
}

impl fmt::Display for BlobCid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_cid().fmt(f)
    }
}

impl fmt::Debug for BlobCid {
    /// As short as the digest's: logs carry no full CID above debug, and there it is displayed.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BlobCid {
    type Err = CidError;

    fn from_str(text: &str) -> Result<Self, CidError> {
        let shortened = || text.chars().take(80).collect::<String>();
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let mut digest = [0; 32];
            if hex::decode_to_slice(text, &mut digest).is_ok() {
                return Ok(Self(Digest::new(digest)));
            }
        }
        let malformed = || CidError::Malformed { text: shortened() };
        if text.len() > MAX_TEXT_LEN {
            return Err(malformed());
        }
        // `Cid::from_str` also accepts "/ipfs/…" paths, which are not CIDs; parse the parts.
        let cid = if text.len() == 46 && text.starts_with("Qm") {
            Cid::from_str(text).map_err(|_| malformed())?
        } else {
            let (_, bytes) = multibase::decode(text).map_err(|_| malformed())?;
            let cid = Cid::try_from(bytes.as_slice()).map_err(|_| malformed())?;
            if cid.encoded_len() != bytes.len() {
                return Err(malformed());
            }
            cid
        };
        if cid.codec() != RAW {
            return Err(CidError::Codec {
                text: shortened(),
                codec: cid.codec(),
            });
        }
        let hash = cid.hash();
        match <[u8; 32]>::try_from(hash.digest()) {
            Ok(digest) if hash.code() == SHA2_256 => Ok(Self(Digest::new(digest))),
            _ => Err(CidError::Hash {
                text: shortened(),
                code: hash.code(),
                len: hash.digest().len(),
            }),
        }
    }
}

impl Serialize for BlobCid {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for BlobCid {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use multibase::Base;

    use super::*;

    /// CID of "hello world\n" as a raw block, as IPFS tools print it.
    const HELLO: &str = "bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4";

    #[test]
    fn names_content_as_ipfs_names_a_raw_block() {
        assert_eq!(BlobCid::of(b"hello world\n").to_string(), HELLO);
    }

    #[test]
    fn accepts_every_multibase_and_hex_in_either_case() {
        let cid = BlobCid::of(b"hello world\n");
        for base in [
            Base::Base2,
            Base::Base16Lower,
            Base::Base16Upper,
            Base::Base32Upper,
            Base::Base36Lower,
            Base::Base58Btc,
            Base::Base64Url,
        ] {
            let text = multibase::encode(base, cid.to_bytes());
            assert_eq!(text.parse::<BlobCid>().unwrap(), cid, "{text}");
        }
        let hex = cid.digest().to_hex();
        assert_eq!(hex.parse::<BlobCid>().unwrap(), cid);
        assert_eq!(hex.to_uppercase().parse::<BlobCid>().unwrap(), cid);
    }

    #[test]
    fn refuses_other_codecs_and_says_which() {
        let v0 = "QmT78zSuBmuS4z925WZfrqQ1qHaJ56DQaTfyMUF7F8ff5o";
        assert!(matches!(
            v0.parse::<BlobCid>(),
            Err(CidError::Codec { codec: 0x70, .. })
        ));
        let dag_pb = Cid::new_v1(0x70, *BlobCid::of(b"x").to_cid().hash()).to_string();
        let error = dag_pb.parse::<BlobCid>().unwrap_err();
        assert!(error.to_string().contains("codec 0x70"), "{error}");
    }

    #[test]
    fn refuses_other_hashes_and_says_which() {
        let short = Cid::new_v1(RAW, Multihash::wrap(SHA2_256, &[1; 20]).unwrap()).to_string();
        assert!(matches!(
            short.parse::<BlobCid>(),
            Err(CidError::Hash {
                code: 0x12,
                len: 20,
                ..
            })
        ));
        let sha512 = Cid::new_v1(RAW, Multihash::wrap(0x13, &[1; 64]).unwrap()).to_string();
        assert!(matches!(
            sha512.parse::<BlobCid>(),
            Err(CidError::Hash {
                code: 0x13,
                len: 64,
                ..
            })
        ));
    }

    #[test]
    fn refuses_nonsense_without_echoing_all_of_it() {
        for text in [
            "",
            "b",
            "hello",
            "bafkrei",
            "/ipfs/bafkreifjjcie6lypi6ny7amxnfftagclbuxndqonfipmb64f2km2devei4",
            "\u{1f600}",
        ] {
            assert!(
                matches!(text.parse::<BlobCid>(), Err(CidError::Malformed { .. })),
                "{text}"
            );
        }
        let long = "b".repeat(100_000);
        assert!(long.parse::<BlobCid>().unwrap_err().to_string().len() < 300);
        let trailing = multibase::encode(
            Base::Base16Lower,
            [&BlobCid::of(b"x").to_bytes()[..], &[0]].concat(),
        );
        assert!(
            trailing.parse::<BlobCid>().is_err(),
            "trailing bytes are not part of a CID"
        );
    }

    #[test]
    fn binary_form_is_that_of_the_cid_crate() {
        let cid = BlobCid::of(b"x");
        assert_eq!(cid.to_cid().to_bytes(), cid.to_bytes());
        assert_eq!(BlobCid::from_bytes(cid.to_bytes()), Some(cid));
        for at in 0..4 {
            let mut other = cid.to_bytes();
            other[at] ^= 1;
            assert_eq!(BlobCid::from_bytes(other), None, "byte {at}");
        }
    }
}
