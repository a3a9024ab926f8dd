//! Why the keyring, or what is sealed under it, cannot be used.

use thiserror::Error;

use super::super::seal::SealError;

/// Why the keyring, or a record sealed under it, cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum KeyringError {
    /// The record is whole, but this secret does not open it.
    #[error(
        "the unlock key is not the one this data was sealed with: expected the key file or passphrase in use when the node last ran"
    )]
    WrongUnlockKey,
    /// A key was given where a passphrase is needed, or the reverse.
    #[error("the keyring is sealed with a {sealed_with} and a {given} was given")]
    WrongKind {
        /// What it is sealed with.
        sealed_with: &'static str,
        /// What was given.
        given: &'static str,
    },
    /// The keyring's record is not what was written.
    #[error("the keyring is damaged: {reason}")]
    Damaged {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The keyring or a record was written by a newer version.
    #[error(
        "{what} has format {found}, which this version does not know: expected at most {known}, written by a newer bytecave"
    )]
    Newer {
        /// What was being read.
        what: &'static str,
        /// The format found.
        found: u16,
        /// The newest format known.
        known: u16,
    },
    /// A record names a key that is not in the keyring.
    #[error("a record is sealed under key {id}, which is not in the keyring")]
    UnknownKey {
        /// The key's id.
        id: u32,
    },
    /// A sealed record does not open.
    #[error("a sealed {purpose} record does not open: it is damaged or not in its own place")]
    Record {
        /// What the record was read as.
        purpose: &'static str,
    },
    /// Not a sealed record at all.
    #[error("{len} bytes that should be a sealed record are none")]
    NotARecord {
        /// Bytes there are.
        len: usize,
    },
    /// The current key cannot be retired.
    #[error("key {id} is in use: rotate before retiring it")]
    InUse {
        /// The key's id.
        id: u32,
    },
    /// Too many keys, or their ids are used up.
    #[error("the keyring has {count} keys, which is all it takes: retire some first")]
    TooManyKeys {
        /// Keys there are.
        count: usize,
    },
    /// The passphrase could not be stretched.
    #[error("the passphrase could not be stretched by argon2id: {reason}")]
    Stretching {
        /// What the library said.
        reason: String,
    },
    /// No random bytes, or no key schedule.
    #[error(transparent)]
    Seal(#[from] SealError),
}
