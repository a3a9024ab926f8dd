//! What unlocks the keyring: a raw key or a passphrase, and how the key that seals the keyring
//! follows from it. Who reads the secret from where is the composition root's business; here it is
//! only held, and wiped when dropped.

use std::fmt;

use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::codec::{CodecError, Reader, Writer};
use super::keyring::KeyringError;
use super::seal::fill_random;

/// Length of a raw unlock key, in bytes.
pub const UNLOCK_KEY_BYTES: usize = 32;

/// The secret that opens the keyring. Both forms are wiped from memory when dropped.
#[derive(Clone)]
pub enum UnlockSecret {
    /// 32 random bytes, usually from a file in `keys/`.
    Key(Zeroizing<[u8; UNLOCK_KEY_BYTES]>),
    /// A passphrase, stretched by argon2id.
    Passphrase(Zeroizing<String>),
}

impl UnlockSecret {
    /// A raw key.
    pub fn from_key(key: [u8; UNLOCK_KEY_BYTES]) -> Self {
        Self::Key(Zeroizing::new(key))
    }

    /// A passphrase.
    pub fn from_passphrase(passphrase: String) -> Self {
        Self::Passphrase(Zeroizing::new(passphrase))
    }
}

impl fmt::Debug for UnlockSecret {
    /// Nothing of the secret, not even which form it has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UnlockSecret")
    }
}

/// Memory of argon2id for new passphrases, in KiB: with [`PASSES`] the second choice of RFC 9106,
/// above the least that OWASP asks for (19 MiB, 2 passes). More slows the start, less helps a guesser.
const MEMORY_KIB: u32 = 64 * 1024;
/// Passes over that memory.
const PASSES: u32 = 3;
/// One lane: the start has nothing to gain from threads of argon2's own.
const LANES: u32 = 1;
/// Bounds on parameters read from a record, so that a forged one cannot take all memory or time.
const MAX_MEMORY_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 64;
const MAX_LANES: u32 = 64;
const STRETCH_SALT_BYTES: usize = 16;
const KIND_KEY: u8 = 0;
const KIND_PASSPHRASE: u8 = 1;

/// How the sealing key follows from the secret. Stands in the open in the keyring's record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stretch {
    /// The secret is a raw key and is taken as it is.
    Raw,
    /// The secret is a passphrase.
    Argon2id {
        memory_kib: u32,
        passes: u32,
        lanes: u32,
        salt: [u8; STRETCH_SALT_BYTES],
    },
}

/// The key that seals the keyring, with the way it was come by: kept so that a changed keyring is
/// written without asking for the secret again.
#[derive(Clone)]
pub(crate) struct Lock {
    stretch: Stretch,
    key: Zeroizing<[u8; UNLOCK_KEY_BYTES]>,
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lock")
    }
}

impl Lock {
    /// A lock for `secret`, with a fresh salt where it is a passphrase.
    pub(crate) fn new(secret: &UnlockSecret) -> Result<Self, KeyringError> {
        let stretch = match secret {
            UnlockSecret::Key(_) => Stretch::Raw,
            UnlockSecret::Passphrase(_) => {
                let mut salt = [0; STRETCH_SALT_BYTES];
                fill_random(&mut salt)?;
                Stretch::Argon2id {
                    memory_kib: MEMORY_KIB,
                    passes: PASSES,
                    lanes: LANES,
                    salt,
                }
            }
        };
        Self::derive(stretch, secret)
    }

    /// Reads how a record was locked and applies it to `secret`; gives the key without judging it.
    pub(crate) fn read(
        reader: &mut Reader<'_>,
        secret: &UnlockSecret,
    ) -> Result<Self, KeyringError> {
        let stretch = Stretch::read(reader).map_err(|_| KeyringError::Damaged {
            reason: "it does not say how it was sealed",
        })?;
        Self::derive(stretch, secret)
    }

    /// Writes how the key follows from the secret.
    pub(crate) fn write(&self, writer: &mut Writer) {
        self.stretch.write(writer);
    }

    /// The sealing key.
    pub(crate) fn key(&self) -> &[u8; UNLOCK_KEY_BYTES] {
        &self.key
    }

    fn derive(stretch: Stretch, secret: &UnlockSecret) -> Result<Self, KeyringError> {
        let key = match (stretch, secret) {
            (Stretch::Raw, UnlockSecret::Key(key)) => key.clone(),
            (
                Stretch::Argon2id {
                    memory_kib,
                    passes,
                    lanes,
                    salt,
                },
                UnlockSecret::Passphrase(passphrase),
            ) => {
                let failed = |error: argon2::Error| KeyringError::Stretching {
                    reason: error.to_string(),
                };
                let params = Params::new(memory_kib, passes, lanes, Some(UNLOCK_KEY_BYTES))
                    .map_err(failed)?;
                let mut key = Zeroizing::new([0; UNLOCK_KEY_BYTES]);
                Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
                    .hash_password_into(passphrase.as_bytes(), &salt, key.as_mut())
                    .map_err(failed)?;
                key
            }
            (Stretch::Raw, UnlockSecret::Passphrase(_)) => {
                return Err(KeyringError::WrongKind {
                    sealed_with: "key file",
                    given: "passphrase",
                });
            }
            (Stretch::Argon2id { .. }, UnlockSecret::Key(_)) => {
                return Err(KeyringError::WrongKind {
                    sealed_with: "passphrase",
                    given: "key file",
                });
            }
        };
        Ok(Self { stretch, key })
    }
}

impl Stretch {
    fn write(self, writer: &mut Writer) {
        match self {
            Self::Raw => writer.u8(KIND_KEY),
            Self::Argon2id {
                memory_kib,
                passes,
                lanes,
                salt,
            } => {
                writer.u8(KIND_PASSPHRASE);
                writer.u32(memory_kib);
                writer.u32(passes);
                writer.u32(lanes);
                writer.bytes(&salt);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let within = |value: u32, most: u32| {
            if (1..=most).contains(&value) {
                Ok(value)
            } else {
                Err(CodecError::Range(value.into()))
            }
        };
        match reader.u8()? {
            KIND_KEY => Ok(Self::Raw),
            KIND_PASSPHRASE => Ok(Self::Argon2id {
                memory_kib: within(reader.u32()?, MAX_MEMORY_KIB)?,
                passes: within(reader.u32()?, MAX_PASSES)?,
                lanes: within(reader.u32()?, MAX_LANES)?,
                salt: reader.array()?,
            }),
            other => Err(CodecError::Flag(other)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_prints_nothing_of_the_secret() {
        let key = UnlockSecret::from_key([0xab; UNLOCK_KEY_BYTES]);
        let passphrase = UnlockSecret::from_passphrase("open sesame".to_owned());
        assert_eq!(
            format!("{key:?} {passphrase:?}"),
            "UnlockSecret UnlockSecret"
        );
    }
}
