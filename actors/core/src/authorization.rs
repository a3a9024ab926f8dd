//! Store authorization: an Ethereum account signs that these bytes may be stored for this
//! application (EIP-191 `personal_sign`).

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
