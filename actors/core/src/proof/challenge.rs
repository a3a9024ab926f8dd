//! What a proof answers: a nonce that the verifier made, and the leaves that follow from it.

use std::fmt;
use std::str::FromStr;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::form::FormError;
use super::json;
use crate::BlobCid;
use crate::tree::leaf_count;

const CHALLENGE_PREFIX: &[u8] = b"bytecave-challenge-v1";
/// Most leaves that one challenge asks for.
pub(super) const COUNT_MAX: u8 = 32;
const COUNT_DEFAULT: u8 = 4;

/// 32 bytes that the verifier made at random for one challenge, so that no answer is ready before.
///
/// Displayed and serialised as 64 lower-case hex digits; parsed in either case.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Nonce([u8; 32]);

impl Nonce {
    /// Wraps 32 bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Nonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}…")
    }
}

impl FromStr for Nonce {
    type Err = FormError;

    fn from_str(text: &str) -> Result<Self, FormError> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes)
            .map_err(|_| FormError::Nonce(text.chars().take(80).collect()))?;
        Ok(Self(bytes))
    }
}

impl Serialize for Nonce {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Nonce {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        json::hex_bytes::deserialize(deserializer).map(Self)
    }
}

/// For how many leaves a challenge asks: 1 to 32, 4 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct ChallengeCount(u8);

impl ChallengeCount {
    /// The most.
    pub const MAX: Self = Self(COUNT_MAX);

    /// For this many leaves.
    pub fn new(count: u64) -> Result<Self, FormError> {
        match u8::try_from(count) {
            Ok(small @ 1..=COUNT_MAX) => Ok(Self(small)),
            _ => Err(FormError::Count(count)),
        }
    }

    /// The number.
    pub const fn get(self) -> u8 {
        self.0
    }
}

impl Default for ChallengeCount {
    fn default() -> Self {
        Self(COUNT_DEFAULT)
    }
}

impl TryFrom<u64> for ChallengeCount {
    type Error = FormError;

    fn try_from(count: u64) -> Result<Self, FormError> {
        Self::new(count)
    }
}

impl From<ChallengeCount> for u64 {
    fn from(count: ChallengeCount) -> Self {
        count.0.into()
    }
}

/// A demand for leaves of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge {
    /// The blob.
    pub cid: BlobCid,
    /// What the verifier made for this one challenge.
    pub nonce: Nonce,
    /// How many leaves.
    pub count: ChallengeCount,
}

impl Challenge {
    /// Indexes of the leaves asked for, in the order of the answer. They may repeat.
    ///
    /// Leaf i, from 0, is the first 8 bytes, big-endian, of
    /// `SHA-256("bytecave-challenge-v1" ‖ nonce ‖ cid ‖ u32be(i))` modulo the number of leaves of a
    /// blob of `size` bytes, `cid` being the 36 bytes of the binary CID.
    pub fn leaf_indexes(&self, size: u64) -> Vec<u64> {
        let leaf_count = leaf_count(size);
        let mut common = Context::new(&SHA256);
        common.update(CHALLENGE_PREFIX);
        common.update(self.nonce.as_bytes());
        common.update(&self.cid.to_bytes());
        (0..u32::from(self.count.get()))
            .map(|i| {
                let mut context = common.clone();
                context.update(&i.to_be_bytes());
                let hash = context.finish();
                let head = hash.as_ref().first_chunk().copied().unwrap_or_default();
                u64::from_be_bytes(head) % leaf_count
            })
            .collect()
    }
}
