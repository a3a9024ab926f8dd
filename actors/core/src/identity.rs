//! A node's identity: one Ed25519 key, which is at once its libp2p peer id and its signing key.

use std::fmt;
use std::str::FromStr;

use multibase::Base;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Protobuf of libp2p's `PublicKey` up to the 32 key bytes: type Ed25519, data of 32 bytes.
const PUBLIC_KEY_HEAD: [u8; 4] = [0x08, 0x01, 0x12, 0x20];
/// Protobuf of libp2p's `PrivateKey` up to the 64 key bytes: type Ed25519, data of 64 bytes.
const PRIVATE_KEY_HEAD: [u8; 4] = [0x08, 0x01, 0x12, 0x40];
/// Identity multihash of 36 bytes, which is how a peer id wraps a short public key.
const IDENTITY_HASH_HEAD: [u8; 2] = [0x00, 0x24];

/// Why key material or a peer id is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum IdentityError {
    /// Not the protobuf of an Ed25519 private key.
    #[error(
        "the private key is not a libp2p Ed25519 key: expected 68 bytes of protobuf, found {0} bytes"
    )]
    NotEd25519(usize),
    /// The public half does not belong to the private half.
    #[error("the private key is damaged: its public half does not follow from its private half")]
    Mismatch,
    /// Not a public key.
    #[error("\"{0}\" is not a public key: expected 0x and 64 hex digits")]
    PublicKey(String),
    /// Not the peer id of an Ed25519 key.
    #[error("\"{0}\" is not a peer id of an Ed25519 key: expected 12D3KooW…")]
    PeerId(String),
}

/// Raw Ed25519 public key, 32 bytes. Displayed as `0x` and 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct PublicKey([u8; 32]);

/// libp2p peer id of an Ed25519 key (`12D3KooW…`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerId([u8; 32]);

/// The node's key pair.
pub struct NodeIdentity {
    seed: Zeroizing<[u8; 32]>,
    pair: Ed25519KeyPair,
    public: PublicKey,
}

impl PublicKey {
    /// Wraps 32 raw key bytes.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 raw key bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The peer id of this key.
    pub const fn peer_id(&self) -> PeerId {
        PeerId(self.0)
    }

    /// Whether `signature` over `message` was made with this key.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(message, signature)
            .is_ok()
    }
}

impl PeerId {
    /// The public key, which an Ed25519 peer id contains.
    pub const fn public_key(&self) -> PublicKey {
        PublicKey(self.0)
    }

    /// The binary peer id: an identity multihash of the protobuf public key, 38 bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&IDENTITY_HASH_HEAD[..], &PUBLIC_KEY_HEAD, &self.0].concat()
    }

    /// Reads what [`to_bytes`](Self::to_bytes) gives; `None` for anything else.
    pub fn from_bytes(bytes: [u8; 38]) -> Option<Self> {
        let key = bytes
            .strip_prefix(&IDENTITY_HASH_HEAD)?
            .strip_prefix(&PUBLIC_KEY_HEAD)?;
        key.try_into().ok().map(Self)
    }
}

impl FromStr for PublicKey {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let refused = || IdentityError::PublicKey(text.chars().take(80).collect());
        let digits = text.strip_prefix("0x").ok_or_else(refused)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(digits, &mut bytes).map_err(|_| refused())?;
        Ok(Self(bytes))
    }
}

impl FromStr for PeerId {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let refused = || IdentityError::PeerId(text.chars().take(80).collect());
        if text.len() > 128 {
            return Err(refused());
        }
        let bytes = Base::Base58Btc.decode(text).map_err(|_| refused())?;
        let (head, key) = bytes.split_at_checked(6).ok_or_else(refused)?;
        if head != [&IDENTITY_HASH_HEAD[..], &PUBLIC_KEY_HEAD].concat() {
            return Err(refused());
        }
        key.try_into().map(Self).map_err(|_| refused())
    }
}

impl NodeIdentity {
    /// The identity that follows from 32 secret random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Result<Self, IdentityError> {
        let seed = Zeroizing::new(seed);
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_ref())
            .map_err(|_| IdentityError::Mismatch)?;
        let mut public = [0; 32];
        public.copy_from_slice(pair.public_key().as_ref());
        Ok(Self {
            seed,
            pair,
            public: PublicKey(public),
        })
    }

    /// Reads libp2p's protobuf form, which `keys/private.key` holds.
    pub fn from_protobuf(bytes: &[u8]) -> Result<Self, IdentityError> {
        let refused = || IdentityError::NotEd25519(bytes.len());
        let (head, key) = bytes.split_at_checked(4).ok_or_else(refused)?;
        let (seed, public) = key.split_at_checked(32).ok_or_else(refused)?;
        if head != PRIVATE_KEY_HEAD || public.len() != 32 {
            return Err(refused());
        }
        let mut copy = [0; 32];
        copy.copy_from_slice(seed);
        let identity = Self::from_seed(copy);
        copy.zeroize();
        let identity = identity?;
        if identity.public.0 == public {
            Ok(identity)
        } else {
            Err(IdentityError::Mismatch)
        }
    }

    /// libp2p's protobuf form: 68 bytes, secret.
    pub fn to_protobuf(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(68));
        bytes.extend_from_slice(&PRIVATE_KEY_HEAD);
        bytes.extend_from_slice(self.seed.as_ref());
        bytes.extend_from_slice(&self.public.0);
        bytes
    }

    /// The public key.
    pub const fn public_key(&self) -> PublicKey {
        self.public
    }

    /// The peer id.
    pub const fn peer_id(&self) -> PeerId {
        self.public.peer_id()
    }

    /// Signs `message`: 64 bytes, RFC 8032.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes.copy_from_slice(self.pair.sign(message).as_ref());
        bytes
    }
}

impl fmt::Debug for NodeIdentity {
    /// The public half only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("NodeIdentity")
            .field(&self.peer_id())
            .finish()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{}", hex::encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base::Base58Btc.encode(self.to_bytes()))
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

macro_rules! serde_as_text {
    ($name:ident) => {
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

serde_as_text!(PublicKey);
serde_as_text!(PeerId);

macro_rules! deserialize_from_text {
    ($name:ident) => {
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?
                    .parse()
                    .map_err(serde::de::Error::custom)
            }
        }
    };
}

deserialize_from_text!(PublicKey);
deserialize_from_text!(PeerId);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn peer_id_has_the_form_that_libp2p_prints() {
        let identity = NodeIdentity::from_seed([7; 32]).unwrap();
        let text = identity.peer_id().to_string();
        assert!(text.starts_with("12D3KooW"), "{text}");
        assert_eq!(text.len(), 52);
        assert_eq!(text.parse::<PeerId>().unwrap(), identity.peer_id());
        let bytes: [u8; 38] = identity.peer_id().to_bytes().try_into().unwrap();
        assert_eq!(PeerId::from_bytes(bytes), Some(identity.peer_id()));
        for at in 0..6 {
            let mut other = bytes;
            other[at] ^= 1;
            assert_eq!(PeerId::from_bytes(other), None, "byte {at}");
        }
    }

    #[test]
    fn public_key_is_read_as_it_is_written() {
        let key = NodeIdentity::from_seed([7; 32]).unwrap().public_key();
        let text = key.to_string();
        assert_eq!(text.parse::<PublicKey>().unwrap(), key);
        for wrong in [&text[2..], &text[..64], "0x", "", &format!("{text}00")] {
            assert_eq!(
                wrong.parse::<PublicKey>().unwrap_err(),
                IdentityError::PublicKey(wrong.to_owned())
            );
        }
    }

    #[test]
    fn key_of_rfc_8032_gives_its_public_key() {
        // Section 7.1, test 1.
        let mut seed = [0; 32];
        hex::decode_to_slice(
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            &mut seed,
        )
        .unwrap();
        let identity = NodeIdentity::from_seed(seed).unwrap();
        assert_eq!(
            identity.public_key().to_string(),
            "0xd75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
        );
    }

    #[test]
    fn protobuf_form_survives_a_round_trip_and_damage_is_noticed() {
        let identity = NodeIdentity::from_seed([9; 32]).unwrap();
        let bytes = identity.to_protobuf();
        assert_eq!(bytes.len(), 68);
        assert_eq!(
            NodeIdentity::from_protobuf(&bytes).unwrap().peer_id(),
            identity.peer_id()
        );
        let mut damaged = bytes.to_vec();
        damaged[10] ^= 1;
        assert_eq!(
            NodeIdentity::from_protobuf(&damaged).unwrap_err(),
            IdentityError::Mismatch
        );
        assert_eq!(
            NodeIdentity::from_protobuf(&bytes[..40]).unwrap_err(),
            IdentityError::NotEd25519(40)
        );
        assert!(NodeIdentity::from_protobuf(b"").is_err());
    }

    #[test]
    fn signatures_verify_only_over_what_was_signed() {
        let identity = NodeIdentity::from_seed([3; 32]).unwrap();
        let signature = identity.sign(b"message");
        assert!(identity.public_key().verifies(b"message", &signature));
        assert!(!identity.public_key().verifies(b"massage", &signature));
    }

    #[test]
    fn secrets_do_not_show_in_debug() {
        let identity = NodeIdentity::from_seed([5; 32]).unwrap();
        assert_eq!(
            format!("{identity:?}"),
            format!("NodeIdentity({})", identity.peer_id())
        );
    }
}
