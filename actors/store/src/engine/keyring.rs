//! The keyring: the few long-lived keys of a node, and what is sealed under them.
//!
//! It holds an *index key* (random, made once, kept for life, since the sealed names in the database
//! follow from it) and *key-encryption keys* with ids, one of which is current. The keyring itself
//! is one record, sealed by the unlock secret: a raw key, or a passphrase through argon2id with the
//! parameters and the salt standing in the record. A changed secret re-seals this one record.
//!
//! Whatever else is sealed under a long-lived key is a *sealed record*:
//!
//! ```text
//! format (1) ‖ u32be key id (4) ‖ salt (16) ‖ nonce (12) ‖ ciphertext ‖ tag (16)
//! ```
//!
//! under AES-256-GCM with the key HKDF-SHA256(key-encryption key, salt ‖ purpose), random salt and
//! nonce, and as associated data u16be(len) ‖ family ‖ u32be(len) ‖ key ‖ format: a record
//! opens only in the place, and for the use, it was written for. The key id can be read without
//! opening, so a rotation sees what it still has to do.
//!
//! A keyring is a value: [`Keyring::rotate`], [`Keyring::retire`] and [`Keyring::relock`] give a new
//! one, whose record is written before it is used. Raw keys are wiped when dropped; the schedules
//! inside ring are not.

use std::fmt;

use bytecave_core::Digest;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::{digest, hkdf, hmac};
use zeroize::Zeroizing;

use super::codec::{CodecError, Reader, Writer};
use super::seal::{SealError, TAG_BYTES, fill_random};
use super::secret::{Lock, UnlockSecret};
pub use error::KeyringError;

mod error;

/// First bytes of the keyring's record.
const MAGIC: &[u8; 4] = b"bckr";
/// Format of the keyring.
const KEYRING_FORMAT: u16 = 1;
/// Bytes of SHA-256 at the end of the keyring's record, in this and every later format: damage is
/// told apart from a wrong secret.
const CHECKSUM_BYTES: usize = 16;
/// Most keys in a keyring: a rotation retires the one before it, so more than two are already rare.
const MAX_KEYS: usize = 64;
/// What the derivation of the keyring's own sealing key is bound to.
const KEYRING_LABEL: &[u8] = b"keyring";
/// Format of sealed records.
const RECORD_FORMAT: u8 = 1;
const SALT_BYTES: usize = 16;
const KEY_BYTES: usize = 32;
const RECORD_HEAD_BYTES: usize = 1 + 4 + SALT_BYTES + NONCE_LEN;
/// Bytes that sealing adds to a record.
pub const RECORD_OVERHEAD_BYTES: usize = RECORD_HEAD_BYTES + TAG_BYTES;
/// Extraction salt of all derivations, so that they share nothing with another use of the key.
const HKDF_DOMAIN: &[u8] = b"bytecave-hkdf-v1";

/// Length of a sealed name, in bytes.
pub const SEALED_NAME_BYTES: usize = 32;

/// HMAC-SHA256(index key, digest): the database's name for a blob.
pub type SealedName = [u8; SEALED_NAME_BYTES];

/// What a sealed record is for; part of the derivation of its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// Metadata of a blob.
    Meta,
    /// Counters of a shard.
    Counters,
    /// An entry of an outbox.
    Outbox,
    /// A large blob being ingested.
    Intent,
    /// A large blob whose file is to be freed.
    Drop,
    /// A deleted blob.
    Tombstone,
    /// A blob that is refused.
    Block,
    /// Anything of the node itself in `default`: where a job stands, seals of settings.
    Node,
}

impl Purpose {
    /// The name, which enters the derivation: not safe to rename.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Meta => "meta",
            Self::Counters => "counters",
            Self::Outbox => "outbox",
            Self::Intent => "intent",
            Self::Drop => "drop",
            Self::Tombstone => "tombstone",
            Self::Block => "block",
            Self::Node => "node",
        }
    }
}

/// The node's long-lived keys.
#[derive(Clone)]
pub struct Keyring {
    lock: Lock,
    index: Zeroizing<[u8; KEY_BYTES]>,
    /// The index key as HMAC takes it.
    naming: hmac::Key,
    /// Ascending by id, never empty.
    keys: Vec<SealingKey>,
    current: u32,
    /// Ids are never given twice, also after a key was retired.
    next_id: u32,
}

/// A key-encryption key.
#[derive(Clone)]
struct SealingKey {
    id: u32,
    raw: Zeroizing<[u8; KEY_BYTES]>,
    /// What the keys of its records are expanded from.
    prk: hkdf::Prk,
}

impl SealingKey {
    fn new(id: u32, raw: Zeroizing<[u8; KEY_BYTES]>) -> Self {
        let prk = extract(&raw);
        Self { id, raw, prk }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keyring(current {})", self.current)
    }
}

impl Keyring {
    /// A new keyring: a new index key and one key-encryption key.
    pub fn create(secret: &UnlockSecret) -> Result<Self, KeyringError> {
        let lock = Lock::new(secret)?;
        let key = SealingKey::new(1, random_key()?);
        Ok(Self::assemble(lock, random_key()?, vec![key], 1, 2))
    }

    /// Opens the record that [`Keyring::to_record`] gave.
    pub fn open(record: &[u8], secret: &UnlockSecret) -> Result<Self, KeyringError> {
        let body = checked_body(record)?;
        let damaged = |_: CodecError| KeyringError::Damaged {
            reason: "it ends too early",
        };
        let mut reader = Reader::new(body);
        reader.take(MAGIC.len()).map_err(damaged)?;
        let format = reader.u16().map_err(damaged)?;
        if format > KEYRING_FORMAT {
            return Err(KeyringError::Newer {
                what: "the keyring",
                found: format,
                known: KEYRING_FORMAT,
            });
        }
        let lock = Lock::read(&mut reader, secret)?;
        let salt: [u8; SALT_BYTES] = reader.array().map_err(damaged)?;
        let nonce: [u8; NONCE_LEN] = reader.array().map_err(damaged)?;
        let sealed = reader.rest();
        let (head, _) = body.split_at(body.len() - sealed.len() - NONCE_LEN);
        let mut plain = Zeroizing::new(sealed.to_vec());
        let key = expand(&extract(lock.key()), &salt, KEYRING_LABEL)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        // The checksum was right, so these are the bytes that were written: the secret is wrong.
        let plain = key
            .open_in_place(nonce, Aad::from(head), &mut plain)
            .map_err(|_| KeyringError::WrongUnlockKey)?;
        Self::decode(lock, plain)
    }

    /// The keyring as the record to keep; sealed anew, so no two calls give the same bytes.
    pub fn to_record(&self) -> Result<Vec<u8>, KeyringError> {
        let mut fresh = [0; SALT_BYTES + NONCE_LEN];
        fill_random(&mut fresh)?;
        let (salt, nonce) = fresh.split_at(SALT_BYTES);
        let mut head = Writer::with_capacity(64);
        head.bytes(MAGIC);
        head.u16(KEYRING_FORMAT);
        self.lock.write(&mut head);
        head.bytes(salt);
        let head = head.finish();
        let mut plain = self.encode();
        let key = expand(&extract(self.lock.key()), salt, KEYRING_LABEL)?;
        let tag = key
            .seal_in_place_separate_tag(nonce_of(nonce)?, Aad::from(&**head), &mut plain)
            .map_err(|_| SealError::Refused)?;
        let mut record = [&**head, nonce, &**plain, tag.as_ref()].concat();
        let checksum = digest::digest(&digest::SHA256, &record);
        record.extend_from_slice(checksum.as_ref().get(..CHECKSUM_BYTES).unwrap_or_default());
        Ok(record)
    }

    /// The same keys under another secret. Nothing but the keyring's record changes.
    pub fn relock(&self, secret: &UnlockSecret) -> Result<Self, KeyringError> {
        let lock = Lock::new(secret)?;
        Ok(Self {
            lock,
            ..self.clone()
        })
    }

    /// A keyring with one key-encryption key more, which is the current one.
    pub fn rotate(&self) -> Result<Self, KeyringError> {
        let too_many = KeyringError::TooManyKeys {
            count: self.keys.len(),
        };
        if self.keys.len() >= MAX_KEYS {
            return Err(too_many);
        }
        let mut rotated = self.clone();
        rotated.current = self.next_id;
        rotated.next_id = self.next_id.checked_add(1).ok_or(too_many)?;
        rotated
            .keys
            .push(SealingKey::new(rotated.current, random_key()?));
        Ok(rotated)
    }

    /// A keyring without the key `id`, under which nothing may be sealed any more.
    pub fn retire(&self, id: u32) -> Result<Self, KeyringError> {
        if id == self.current {
            return Err(KeyringError::InUse { id });
        }
        let mut retired = self.clone();
        retired.keys.retain(|key| key.id != id);
        if retired.keys.len() == self.keys.len() {
            return Err(KeyringError::UnknownKey { id });
        }
        Ok(retired)
    }

    /// Id of the key that new records are sealed under.
    pub fn current_key(&self) -> u32 {
        self.current
    }

    /// Ids of all keys, ascending.
    pub fn key_ids(&self) -> impl Iterator<Item = u32> + '_ {
        self.keys.iter().map(|key| key.id)
    }

    /// What the database calls the blob with this digest.
    pub fn sealed_name(&self, digest: &Digest) -> SealedName {
        let mut name = [0; SEALED_NAME_BYTES];
        name.copy_from_slice(hmac::sign(&self.naming, digest.as_bytes()).as_ref());
        name
    }

    /// Seals `plain` for the place `family`, `key` and the use `purpose`.
    pub fn seal_record(
        &self,
        family: &str,
        key: &[u8],
        purpose: Purpose,
        plain: &[u8],
    ) -> Result<Vec<u8>, KeyringError> {
        let mut fresh = [0; SALT_BYTES + NONCE_LEN];
        fill_random(&mut fresh)?;
        let (salt, nonce) = fresh.split_at(SALT_BYTES);
        let mut record = Vec::with_capacity(plain.len() + RECORD_OVERHEAD_BYTES);
        record.push(RECORD_FORMAT);
        record.extend_from_slice(&self.current.to_be_bytes());
        record.extend_from_slice(&fresh);
        record.extend_from_slice(plain);
        let data = place(family, key, RECORD_FORMAT);
        let body = record.get_mut(RECORD_HEAD_BYTES..).unwrap_or_default();
        let tag = expand(
            &self.key(self.current)?.prk,
            salt,
            purpose.label().as_bytes(),
        )?
        .seal_in_place_separate_tag(nonce_of(nonce)?, Aad::from(data), body)
        .map_err(|_| SealError::Refused)?;
        record.extend_from_slice(tag.as_ref());
        Ok(record)
    }

    /// Opens what [`Keyring::seal_record`] gave for the same place and use.
    pub fn open_record(
        &self,
        family: &str,
        key: &[u8],
        purpose: Purpose,
        record: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, KeyringError> {
        let unopened = || KeyringError::Record {
            purpose: purpose.label(),
        };
        let id = record_key_id(record)?;
        let mut reader = Reader::new(record);
        reader.take(1 + 4).map_err(|_| unopened())?;
        let salt = reader.take(SALT_BYTES).map_err(|_| unopened())?;
        let nonce = reader.take(NONCE_LEN).map_err(|_| unopened())?;
        let mut plain = Zeroizing::new(reader.rest().to_vec());
        let data = place(family, key, RECORD_FORMAT);
        let len = expand(&self.key(id)?.prk, salt, purpose.label().as_bytes())?
            .open_in_place(nonce_of(nonce)?, Aad::from(data), &mut plain)
            .map_err(|_| unopened())?
            .len();
        plain.truncate(len);
        Ok(plain)
    }

    fn key(&self, id: u32) -> Result<&SealingKey, KeyringError> {
        self.keys
            .iter()
            .find(|key| key.id == id)
            .ok_or(KeyringError::UnknownKey { id })
    }

    fn assemble(
        lock: Lock,
        index: Zeroizing<[u8; KEY_BYTES]>,
        keys: Vec<SealingKey>,
        current: u32,
        next_id: u32,
    ) -> Self {
        let naming = hmac::Key::new(hmac::HMAC_SHA256, &*index);
        Self {
            lock,
            index,
            naming,
            keys,
            current,
            next_id,
        }
    }

    /// index key ‖ current ‖ next id ‖ u16 count ‖ count × (id ‖ key).
    fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut writer = Writer::with_capacity(KEY_BYTES + 10 + self.keys.len() * (4 + KEY_BYTES));
        writer.bytes(&*self.index);
        writer.u32(self.current);
        writer.u32(self.next_id);
        writer.u16(u16::try_from(self.keys.len()).unwrap_or(u16::MAX));
        for key in &self.keys {
            writer.u32(key.id);
            writer.bytes(&*key.raw);
        }
        writer.finish()
    }

    fn decode(lock: Lock, plain: &[u8]) -> Result<Self, KeyringError> {
        let parse = || {
            let mut reader = Reader::new(plain);
            let index = Zeroizing::new(reader.array()?);
            let current = reader.u32()?;
            let next_id = reader.u32()?;
            let keys = (0..reader.u16()?)
                .map(|_| {
                    let id = reader.u32()?;
                    Ok(SealingKey::new(id, Zeroizing::new(reader.array()?)))
                })
                .collect::<Result<Vec<_>, CodecError>>()?;
            reader.finish()?;
            Ok((index, keys, current, next_id))
        };
        let (index, keys, current, next_id) =
            parse().map_err(|_: CodecError| KeyringError::Damaged {
                reason: "its content is not that of a keyring",
            })?;
        if !keys.iter().any(|key| key.id == current) {
            return Err(KeyringError::Damaged {
                reason: "its current key is missing",
            });
        }
        Ok(Self::assemble(lock, index, keys, current, next_id))
    }
}

/// Id of the key that `record` is sealed under, read without opening it.
pub fn record_key_id(record: &[u8]) -> Result<u32, KeyringError> {
    let foreign = |_: CodecError| KeyringError::NotARecord { len: record.len() };
    let mut reader = Reader::new(record);
    let format = reader.u8().map_err(foreign)?;
    if format == 0 {
        return Err(foreign(CodecError::Flag(format)));
    }
    if format > RECORD_FORMAT {
        return Err(KeyringError::Newer {
            what: "a sealed record",
            found: format.into(),
            known: RECORD_FORMAT.into(),
        });
    }
    reader.u32().map_err(foreign)
}

/// The record without its checksum, which must be right.
fn checked_body(record: &[u8]) -> Result<&[u8], KeyringError> {
    if !record.starts_with(MAGIC) {
        return Err(KeyringError::Damaged {
            reason: "it does not begin as a keyring does",
        });
    }
    let (body, checksum) = record
        .split_at_checked(record.len().saturating_sub(CHECKSUM_BYTES))
        .unwrap_or_default();
    let whole = digest::digest(&digest::SHA256, body);
    if whole.as_ref().starts_with(checksum) && checksum.len() == CHECKSUM_BYTES {
        Ok(body)
    } else {
        Err(KeyringError::Damaged {
            reason: "its checksum is wrong",
        })
    }
}

fn random_key() -> Result<Zeroizing<[u8; KEY_BYTES]>, KeyringError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    fill_random(key.as_mut())?;
    Ok(key)
}

fn extract(key: &[u8; KEY_BYTES]) -> hkdf::Prk {
    hkdf::Salt::new(hkdf::HKDF_SHA256, HKDF_DOMAIN).extract(key)
}

/// The one-time key for `salt` and `label`; the salt's length is fixed, so the two cannot run together.
fn expand(prk: &hkdf::Prk, salt: &[u8], label: &[u8]) -> Result<LessSafeKey, KeyringError> {
    let info = [salt, label];
    let okm = prk
        .expand(&info, &AES_256_GCM)
        .map_err(|_| SealError::Refused)?;
    Ok(LessSafeKey::new(UnboundKey::from(okm)))
}

fn nonce_of(bytes: &[u8]) -> Result<Nonce, KeyringError> {
    Nonce::try_assume_unique_for_key(bytes).map_err(|_| SealError::Refused.into())
}

/// Where a record stands, each part with its length before it.
fn place(family: &str, key: &[u8], format: u8) -> Vec<u8> {
    let mut data = Vec::with_capacity(family.len() + key.len() + 7);
    let family_len = u16::try_from(family.len()).unwrap_or(u16::MAX);
    data.extend_from_slice(&family_len.to_be_bytes());
    data.extend_from_slice(family.as_bytes());
    let key_len = u32::try_from(key.len()).unwrap_or(u32::MAX);
    data.extend_from_slice(&key_len.to_be_bytes());
    data.extend_from_slice(key);
    data.push(format);
    data
}

#[cfg(test)]
mod tests;
