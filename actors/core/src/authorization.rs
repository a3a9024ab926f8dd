//! Store authorization: an Ethereum account signs that these bytes may be stored for this
//! application (EIP-191 `personal_sign`).
//!
//! What is signed are five lines joined by a line feed:
//!
//! ```text
//! ByteCave Storage Request for:
//! Content Hash: 0x<64 lower-case hex digits>
//! App ID: <app id>
//! Timestamp: <milliseconds since 1970>
//! Nonce: <nonce>
//! ```
//!
//! The hash in the text is always that of the bytes that came, never the one that was stated, so a
//! signature over other bytes cannot pass. Whether the nonce is unused is asked of the store with
//! [`StoreAuthorization::nonce_key`]; nothing here remembers anything.

use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};
use sha3::{Digest as _, Keccak256};
use thiserror::Error;

use crate::digest::Digest;

/// Longest nonce, in bytes: room for a UUID, a hash in hex or a token.
pub const NONCE_MAX_BYTES: usize = 128;
/// Longest app id, in bytes.
pub const APP_ID_MAX_BYTES: usize = 128;
/// r, s, v.
const SIGNATURE_BYTES: usize = 65;
const ADDRESS_BYTES: usize = 20;
/// How much of a text that is refused is quoted.
const QUOTED_CHARS: usize = 80;

/// A signed permission to store, as it came; nothing of it is checked yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreAuthorization {
    /// Address of the account that signed, `0x` and 40 hex digits.
    pub sender: String,
    /// The signature, `0x` and 130 hex digits: r, s, v.
    pub signature: String,
    /// When it was signed, milliseconds since 1970.
    pub timestamp_ms: u64,
    /// Made once for this permission.
    pub nonce: String,
    /// SHA-256 of the content in hex, with or without `0x`.
    pub content_hash: String,
    /// The application.
    pub app_id: String,
}

/// A permission to store that holds, as long as its nonce is unused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedStore {
    /// The account that signed, `0x` and 40 lower-case hex digits.
    pub sender: String,
    /// The content that it is for.
    pub content: Digest,
    /// Under which its nonce is used up.
    pub nonce_key: Digest,
    /// From then on it is refused for its age, so that its nonce may be forgotten; milliseconds
    /// since 1970.
    pub expires_ms: u64,
}

/// Why a permission to store does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum AuthorizationError {
    /// The nonce is empty, too long, or has control characters.
    #[error("the nonce has to be 1 to {NONCE_MAX_BYTES} bytes without control characters")]
    Nonce,
    /// The app id is too long, or has control characters.
    #[error("the app id has to be at most {APP_ID_MAX_BYTES} bytes without control characters")]
    AppId,
    /// The sender is no address.
    #[error("sender \"{given}\" is no address: expected 0x and 40 hex digits")]
    Sender {
        /// What was given, shortened.
        given: String,
    },
    /// It was signed too long ago.
    #[error(
        "it was signed {} s ago and holds for {} s: sign again, or set the clock", age_ms / 1000, window_ms / 1000
    )]
    TooOld {
        /// How long ago.
        age_ms: u64,
        /// How long it would hold.
        window_ms: u64,
    },
    /// It was signed in the future.
    #[error(
        "its timestamp lies {} s in the future, at most {} s are allowed: set the clock, and give milliseconds", ahead_ms / 1000, window_ms / 1000
    )]
    InFuture {
        /// How far.
        ahead_ms: u64,
        /// How far would be allowed.
        window_ms: u64,
    },
    /// The stated content hash is no hash.
    #[error("content hash \"{given}\" is no SHA-256: expected 64 hex digits, with or without 0x")]
    ContentHash {
        /// What was given, shortened.
        given: String,
    },
    /// It is for other bytes.
    #[error("it is for content {stated}, and this is {actual}")]
    OtherContent {
        /// For which, in hex.
        stated: String,
        /// What came, in hex.
        actual: String,
    },
    /// The signature cannot be read.
    #[error("the signature is malformed: {0}")]
    Signature(&'static str),
    /// Another account signed, or another text.
    #[error(
        "the signature is not that of {sender} over this request, it recovers to {signer}: the five lines have to be signed as they are, with personal_sign"
    )]
    WrongSigner {
        /// Who should have signed.
        sender: String,
        /// Whose signature it would be.
        signer: String,
    },
}

impl StoreAuthorization {
    /// Whether it permits storing the content that it states at this time: signed by the stated
    /// sender over that content, not more than `window_ms` ago and not more than that ahead. Needs none
    /// of the content, so that a permission that does not hold costs nobody a look at the bytes.
    ///
    /// Signatures with a high s are refused, as the curve library does: every wallet makes low ones
    /// (EIP-2), and so each text has one signature.
    pub fn verify(&self, now_ms: u64, window_ms: u64) -> Result<VerifiedStore, AuthorizationError> {
        if self.nonce.is_empty() || !is_line(&self.nonce, NONCE_MAX_BYTES) {
            return Err(AuthorizationError::Nonce);
        }
        if !is_line(&self.app_id, APP_ID_MAX_BYTES) {
            return Err(AuthorizationError::AppId);
        }
        let sender = self.sender()?;
        self.check_time(now_ms, window_ms)?;
        let content = self.content()?;
        let signer = recover(&self.signature, self.text(&content).as_bytes())?;
        if signer != sender {
            return Err(AuthorizationError::WrongSigner {
                sender: address_text(sender),
                signer: address_text(signer),
            });
        }
        let sender = address_text(sender);
        Ok(VerifiedStore {
            nonce_key: nonce_key(&sender, &self.nonce),
            expires_ms: self.timestamp_ms.saturating_add(window_ms),
            content,
            sender,
        })
    }

    /// The text that is signed, for this content.
    pub fn text(&self, content: &Digest) -> String {
        format!(
            "ByteCave Storage Request for:\nContent Hash: 0x{}\nApp ID: {}\nTimestamp: {}\nNonce: {}",
            content.to_hex(),
            self.app_id,
            self.timestamp_ms,
            self.nonce
        )
    }

    fn sender(&self) -> Result<[u8; ADDRESS_BYTES], AuthorizationError> {
        decode(self.sender.strip_prefix("0x").unwrap_or_default()).ok_or_else(|| {
            AuthorizationError::Sender {
                given: shortened(&self.sender),
            }
        })
    }

    fn check_time(&self, now_ms: u64, window_ms: u64) -> Result<(), AuthorizationError> {
        let age_ms = now_ms.saturating_sub(self.timestamp_ms);
        if age_ms > window_ms {
            return Err(AuthorizationError::TooOld { age_ms, window_ms });
        }
        let ahead_ms = self.timestamp_ms.saturating_sub(now_ms);
        if ahead_ms > window_ms {
            return Err(AuthorizationError::InFuture {
                ahead_ms,
                window_ms,
            });
        }
        Ok(())
    }

    fn content(&self) -> Result<Digest, AuthorizationError> {
        let stated = self.content_hash.as_str();
        let bytes = decode(stated.strip_prefix("0x").unwrap_or(stated)).ok_or_else(|| {
            AuthorizationError::ContentHash {
                given: shortened(stated),
            }
        })?;
        Ok(Digest::new(bytes))
    }
}

impl VerifiedStore {
    /// Whether it is for the content with this digest.
    pub fn covers(&self, content: &Digest) -> Result<(), AuthorizationError> {
        if self.content == *content {
            return Ok(());
        }
        Err(AuthorizationError::OtherContent {
            stated: self.content.to_hex(),
            actual: content.to_hex(),
        })
    }
}

/// SHA-256 of the lower-case sender and the nonce, each behind its length: no two pairs meet.
fn nonce_key(sender: &str, nonce: &str) -> Digest {
    let mut bytes = Vec::with_capacity(16 + sender.len() + nonce.len());
    for part in [sender, nonce] {
        bytes.extend((part.len() as u64).to_be_bytes());
        bytes.extend(part.as_bytes());
    }
    Digest::of(&bytes)
}

/// Text that cannot pretend to be another line of what is signed.
fn is_line(text: &str, max_bytes: usize) -> bool {
    text.len() <= max_bytes && !text.chars().any(char::is_control)
}

fn decode<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    // Refuses every other length before it looks at a digit.
    hex::decode_to_slice(digits, &mut bytes).ok()?;
    Some(bytes)
}

/// The address whose account signed `text` with `personal_sign`.
fn recover(signature: &str, text: &[u8]) -> Result<[u8; ADDRESS_BYTES], AuthorizationError> {
    let malformed = AuthorizationError::Signature;
    let digits = signature.strip_prefix("0x").unwrap_or_default();
    let bytes = decode::<SIGNATURE_BYTES>(digits)
        .ok_or(malformed("expected 0x and 130 hex digits: r, s, v"))?;
    let (v, scalars) = bytes.split_last().ok_or(malformed("it is empty"))?;
    let recovery = match v {
        0 | 27 => RecoveryId::new(false, false),
        1 | 28 => RecoveryId::new(true, false),
        _ => return Err(malformed("its last byte has to be 27 or 28")),
    };
    let scalars = Signature::from_slice(scalars)
        .map_err(|_| malformed("r and s have to lie between 0 and the order of secp256k1"))?;
    if scalars.normalize_s().is_some() {
        return Err(malformed("s is high, which no wallet makes (EIP-2)"));
    }
    let mut hasher = Keccak256::new();
    hasher.update(format!("\x19Ethereum Signed Message:\n{}", text.len()));
    hasher.update(text);
    let key = VerifyingKey::recover_from_digest(hasher, &scalars, recovery)
        .map_err(|_| malformed("no account can have made it"))?;
    let point = key.to_encoded_point(false);
    // The first byte says that the point is uncompressed.
    let hash = Keccak256::digest(point.as_bytes().get(1..).unwrap_or_default());
    let mut address = [0; ADDRESS_BYTES];
    for (to, from) in address.iter_mut().rev().zip(hash.iter().rev()) {
        *to = *from;
    }
    Ok(address)
}

fn address_text(address: [u8; ADDRESS_BYTES]) -> String {
    format!("0x{}", hex::encode(address))
}

fn shortened(text: &str) -> String {
    text.chars().take(QUOTED_CHARS).collect()
}

#[cfg(test)]
mod tests;
