//! How the fields of proofs and receipts stand in JSON, each refused above its bound before
//! anything is kept of it.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Deserialize, Deserializer, Error, SeqAccess, Unexpected, Visitor};
use serde::ser::Serializer;

use super::answer::LeafProof;
use super::challenge::COUNT_MAX;
use super::form::{FormError, NODE_ID_MAX_BYTES};
use crate::tree::{Hash, LEAF_BYTES, PATH_MAX};
use crate::{BlobRoot, Commitment};

/// Base64 characters of the longest leaf.
const DATA_MAX_CHARS: usize = LEAF_BYTES.div_ceil(3) * 4;

pub(super) fn as_text<T: fmt::Display, S: Serializer>(
    value: &T,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

pub(super) fn blob_root<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BlobRoot, D::Error> {
    hex_bytes::deserialize(deserializer).map(BlobRoot::new)
}

pub(super) fn commitment<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Commitment, D::Error> {
    hex_bytes::deserialize(deserializer).map(Commitment::new)
}

pub(super) fn leaves<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<LeafProof>, D::Error> {
    let max = COUNT_MAX.into();
    deserializer.deserialize_seq(ListOf::new(max, FormError::Leaves))
}

pub(super) fn node_id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    let read = |text: &str| {
        if text.len() > NODE_ID_MAX_BYTES {
            return Err(FormError::NodeId(text.len() as u64).to_string());
        }
        Ok(text.to_owned())
    };
    deserializer.deserialize_str(Text::new("the name of a node", read))
}

/// Bytes of a fixed number as hex digits, lower-case when written.
pub(super) mod hex_bytes {
    use super::{Deserializer, Serializer, Text};

    pub(in super::super) fn serialize<S: Serializer, const N: usize>(
        bytes: &[u8; N],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&hex::encode(bytes))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
        deserializer: D,
    ) -> Result<[u8; N], D::Error> {
        deserializer.deserialize_str(Text::new("hex digits", super::hex_array::<N>))
    }
}

/// Leaf data as base64: the standard alphabet, padded.
pub(super) mod leaf_data {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;

    use super::{DATA_MAX_CHARS, Deserializer, FormError, Serializer, Text};
    use crate::tree::LEAF_BYTES;

    pub(in super::super) fn serialize<S: Serializer>(
        data: &[u8],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(data))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let read = |text: &str| {
            if text.len() > DATA_MAX_CHARS {
                return Err(FormError::Data(text.len() as u64 / 4 * 3).to_string());
            }
            let data = STANDARD
                .decode(text)
                .map_err(|why| format!("leaf data is not padded base64: {why}"))?;
            if data.len() > LEAF_BYTES {
                return Err(FormError::Data(data.len() as u64).to_string());
            }
            Ok(data)
        };
        deserializer.deserialize_str(Text::new("base64", read))
    }
}

/// A path as a list of hex digits.
pub(super) mod path {
    use serde::{Deserialize, Serialize};

    use super::{Deserializer, FormError, Hash, ListOf, PATH_MAX, Serializer};

    #[derive(Serialize, Deserialize)]
    #[serde(transparent)]
    struct HexHash(#[serde(with = "super::hex_bytes")] Hash);

    pub(in super::super) fn serialize<S: Serializer>(
        path: &[Hash],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(path.iter().map(|hash| HexHash(*hash)))
    }

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<Hash>, D::Error> {
        let list = ListOf::<HexHash>::new(PATH_MAX, FormError::Path);
        let path = deserializer.deserialize_seq(list)?;
        Ok(path.into_iter().map(|hash| hash.0).collect())
    }
}

fn hex_array<const N: usize>(text: &str) -> Result<[u8; N], String> {
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| {
        let shown: String = text.chars().take(16).collect();
        format!("\"{shown}…\" is not {} hex digits", N * 2)
    })?;
    Ok(bytes)
}

/// A text that becomes a `T` without being copied first.
struct Text<T, F: Fn(&str) -> Result<T, String>> {
    what: &'static str,
    read: F,
}

impl<T, F: Fn(&str) -> Result<T, String>> Text<T, F> {
    fn new(what: &'static str, read: F) -> Self {
        Self { what, read }
    }
}

impl<T, F: Fn(&str) -> Result<T, String>> Visitor<'_> for Text<T, F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.read)(text).map_err(E::custom)
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<T, E> {
        Err(E::invalid_type(Unexpected::Bytes(bytes), &self))
    }
}

/// A list of at most `max` entries.
struct ListOf<T> {
    max: usize,
    too_many: fn(u64) -> FormError,
    of: PhantomData<T>,
}

impl<T> ListOf<T> {
    fn new(max: usize, too_many: fn(u64) -> FormError) -> Self {
        Self {
            max,
            too_many,
            of: PhantomData,
        }
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for ListOf<T> {
    type Value = Vec<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of at most {}", self.max)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Vec<T>, A::Error> {
        let mut list = Vec::new();
        while let Some(entry) = entries.next_element()? {
            if list.len() == self.max {
                return Err(A::Error::custom((self.too_many)(self.max as u64 + 1)));
            }
            list.push(entry);
        }
        Ok(list)
    }
}
