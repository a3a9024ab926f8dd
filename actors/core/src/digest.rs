//! The SHA-256 digest of a blob's whole content, and sums of such digests.

use std::fmt;

use ring::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};

/// SHA-256 of a blob's content: the blob's identity, 32 bytes.
///
/// The same value that `sha256sum` prints and that stands inside the blob's CID.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Wraps 32 digest bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Hashes `content` in one go.
    pub fn of(content: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(content);
        Self::finish(context)
    }

    /// Ends a streaming SHA-256 context.
    pub fn finish(context: Context) -> Self {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(context.finish().as_ref());
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// 64 lower-case hex digits, the form that the 1.0.0 protocols use.
    pub fn to_hex(&self) -> String {
        hex::encode(self.0)
    }
}

impl fmt::Debug for Digest {
    /// Eight hex digits: logs carry no full content name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}…")
    }
}

/// What a set of blobs sums to: the sum of SHA-256(digest) modulo 2^256.
///
/// Two nodes whose fingerprints of a shard are equal hold the same set, unless somebody forged a
/// collision of sums. Adding and removing a blob are inverse and their order does not matter, so
/// the value can be kept up to date in the batch that adds or removes the blob.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The fingerprint of no blobs.
    pub const EMPTY: Self = Self([0; 32]);

    /// Wraps 32 bytes, big-endian.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes, big-endian.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Takes a blob into the set.
    pub fn add(&mut self, digest: &Digest) {
        let term = Digest::of(digest.as_bytes());
        let mut carry = false;
        for (sum, byte) in self.0.iter_mut().zip(term.0).rev() {
            let (partial, first) = sum.overflowing_add(byte);
            let (total, second) = partial.overflowing_add(u8::from(carry));
            *sum = total;
            carry = first || second;
        }
    }

    /// Takes a blob out of the set.
    pub fn remove(&mut self, digest: &Digest) {
        let term = Digest::of(digest.as_bytes());
        let mut borrow = false;
        for (sum, byte) in self.0.iter_mut().zip(term.0).rev() {
            let (partial, first) = sum.overflowing_sub(byte);
            let (total, second) = partial.overflowing_sub(u8::from(borrow));
            *sum = total;
            borrow = first || second;
        }
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_sha256() {
        assert_eq!(
            Digest::of(b"abc").to_hex(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn debug_of_a_digest_is_short() {
        assert_eq!(format!("{:?}", Digest::of(b"abc")), "ba7816bf…");
    }

    #[test]
    fn fingerprint_does_not_depend_on_order_and_removal_undoes_addition() {
        let blobs: Vec<Digest> = (0u16..500).map(|n| Digest::of(&n.to_be_bytes())).collect();
        let mut forwards = Fingerprint::EMPTY;
        let mut backwards = Fingerprint::EMPTY;
        blobs.iter().for_each(|blob| forwards.add(blob));
        blobs.iter().rev().for_each(|blob| backwards.add(blob));
        assert_eq!(forwards, backwards);
        assert_ne!(forwards, Fingerprint::EMPTY);
        blobs.iter().for_each(|blob| forwards.remove(blob));
        assert_eq!(forwards, Fingerprint::EMPTY);
    }

    #[test]
    fn removing_from_the_empty_set_wraps_and_comes_back() {
        let blob = Digest::of(b"one");
        let mut sum = Fingerprint::EMPTY;
        sum.remove(&blob);
        sum.add(&blob);
        assert_eq!(sum, Fingerprint::EMPTY);
    }
}
