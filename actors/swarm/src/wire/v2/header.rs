//! Headers of `retrieve`, `replicate` and `proof`: a CBOR map with small numbers for keys.
//!
//! Keys that are not known are passed over, so that later versions can say more.
//!
//! | key | what | form |
//! |---|---|---|
//! | 0 | kind of refusal, a [`RefusalKind`] | number |
//! | 1 | its words | text |
//! | 2 | name of the blob: the SHA-256 of its content | 32 bytes |
//! | 3 | first byte that is asked for or follows | number |
//! | 4 | how many bytes are asked for or follow | number |
//! | 5 | size of the whole blob | number |
//! | 6 | root of its tree | 32 bytes |
//! | 7 | its media type | text |
//! | 8 | a [`Word`] | number |
//! | 9 | nonce of a challenge | 32 bytes |
//! | 10 | how many leaves it asks for | number |

use std::convert::Infallible;
use std::time::Duration;

use bytecave_core::proof::Nonce;
use bytecave_core::{BlobCid, BlobRoot, Digest};
use bytecave_messages::swarm::RefusalKind;
use futures_util::AsyncRead;
use minicbor::{Decoder, Encoder};
use thiserror::Error;

use super::Refused;
use crate::plain::cleaned;
use crate::wire::frame::{self, FrameError, PREFIX_BYTES, Pace};
use crate::wire::v1::text::is_media_type;

/// Longest header.
pub(crate) const HEADER_BYTES: u64 = 4 * 1024;
/// Most keys of a header: the known ones and room for later ones.
const KEYS_MAX: u64 = 32;
/// Longest words of a refusal.
const TEXT_BYTES: usize = 256;

/// What a receiver of a copy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    /// The bytes, please.
    Send = 1,
    /// It is here, and durable, without them.
    AlreadyStored = 2,
    /// It is stored, and durable.
    Stored = 3,
}

/// A header; which fields are needed, the protocol says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Header {
    /// A refusal, and nothing else is of interest.
    pub(crate) refused: Option<Refused>,
    /// Name of the blob.
    pub(crate) cid: Option<BlobCid>,
    /// First byte.
    pub(crate) from: Option<u64>,
    /// Number of bytes.
    pub(crate) len: Option<u64>,
    /// Size of the whole.
    pub(crate) size: Option<u64>,
    /// Root of its tree.
    pub(crate) blob_root: Option<BlobRoot>,
    /// Media type, if it looks like one.
    pub(crate) content_type: Option<String>,
    /// A word.
    pub(crate) word: Option<Word>,
    /// Nonce of a challenge.
    pub(crate) nonce: Option<Nonce>,
    /// Number of leaves.
    pub(crate) count: Option<u64>,
}

/// Why these bytes are no header.
#[derive(Debug, Error)]
pub(crate) enum HeaderError {
    /// Not this form.
    #[error("no header: {0}")]
    Form(#[from] minicbor::decode::Error),
    /// Too many keys, or their number is left open.
    #[error("a header has at most {KEYS_MAX} keys")]
    Keys,
    /// A key stands twice.
    #[error("key {0} stands twice")]
    Twice(u64),
    /// A hash of another length.
    #[error("key {0} has to be 32 bytes")]
    Hash(u64),
    /// A word that is not known.
    #[error("the word {0} is not known")]
    Word(u8),
    /// Something follows.
    #[error("bytes follow the header")]
    Behind,
    /// What the protocol needs is missing.
    #[error("the header lacks {0}")]
    Lacks(&'static str),
}

/// Why no header came.
#[derive(Debug, Error)]
pub(crate) enum NoHeader {
    /// It did not come.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It is none.
    #[error(transparent)]
    Nonsense(#[from] HeaderError),
}

impl Header {
    /// One with a word in it.
    pub(crate) fn word(word: Word) -> Self {
        Self {
            word: Some(word),
            ..Self::default()
        }
    }

    /// Its frame.
    pub(crate) fn frame(&self) -> Vec<u8> {
        let refused = self.refused.as_ref();
        let keys = [
            refused.is_some(),
            refused.is_some(),
            self.cid.is_some(),
            self.from.is_some(),
            self.len.is_some(),
            self.size.is_some(),
            self.blob_root.is_some(),
            self.content_type.is_some(),
            self.word.is_some(),
            self.nonce.is_some(),
            self.count.is_some(),
        ];
        let keys = keys.into_iter().filter(|is_there| *is_there).count();
        let mut encoder = Encoder::new(vec![0; PREFIX_BYTES]);
        // Writing into a vector cannot fail.
        let _ = self.write(&mut encoder, keys as u64);
        frame::seal(encoder.into_writer())
    }

    fn write(
        &self,
        to: &mut Encoder<Vec<u8>>,
        keys: u64,
    ) -> Result<(), minicbor::encode::Error<Infallible>> {
        to.map(keys)?;
        if let Some(Refused { kind, text }) = &self.refused {
            to.u8(0)?.u8(*kind as u8)?;
            to.u8(1)?.str(&cleaned(text, TEXT_BYTES))?;
        }
        if let Some(cid) = self.cid {
            to.u8(2)?.bytes(cid.digest().as_bytes())?;
        }
        for (key, number) in [(3, self.from), (4, self.len), (5, self.size)] {
            if let Some(number) = number {
                to.u8(key)?.u64(number)?;
            }
        }
        if let Some(root) = self.blob_root {
            to.u8(6)?.bytes(root.as_bytes())?;
        }
        if let Some(content_type) = &self.content_type {
            to.u8(7)?.str(content_type)?;
        }
        if let Some(word) = self.word {
            to.u8(8)?.u8(word as u8)?;
        }
        if let Some(nonce) = self.nonce {
            to.u8(9)?.bytes(nonce.as_bytes())?;
        }
        if let Some(count) = self.count {
            to.u8(10)?.u64(count)?;
        }
        Ok(())
    }

    /// Reads one; what is copied is bounded by the length of `bytes`.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, HeaderError> {
        let mut from = Decoder::new(bytes);
        let keys = from.map()?.filter(|keys| *keys <= KEYS_MAX);
        let mut header = Self::default();
        let (mut kind, mut text) = (None, None);
        for _ in 0..keys.ok_or(HeaderError::Keys)? {
            let key = from.u64()?;
            let twice = match key {
                0 => kind.replace(from.u8()?).is_some(),
                1 => text.replace(from.str()?).is_some(),
                2 => {
                    let cid = BlobCid::from_digest(Digest::new(hash(key, from.bytes()?)?));
                    header.cid.replace(cid).is_some()
                }
                3 => header.from.replace(from.u64()?).is_some(),
                4 => header.len.replace(from.u64()?).is_some(),
                5 => header.size.replace(from.u64()?).is_some(),
                6 => {
                    let root = BlobRoot::new(hash(key, from.bytes()?)?);
                    header.blob_root.replace(root).is_some()
                }
                7 => {
                    let stated = from.str()?;
                    let stated = is_media_type(stated).then(|| stated.to_owned());
                    std::mem::replace(&mut header.content_type, stated).is_some()
                }
                8 => header.word.replace(word(from.u8()?)?).is_some(),
                9 => {
                    let nonce = Nonce::new(hash(key, from.bytes()?)?);
                    header.nonce.replace(nonce).is_some()
                }
                10 => header.count.replace(from.u64()?).is_some(),
                _ => {
                    from.skip()?;
                    false
                }
            };
            if twice {
                return Err(HeaderError::Twice(key));
            }
        }
        if from.position() != bytes.len() {
            return Err(HeaderError::Behind);
        }
        header.refused = kind.map(|kind| Refused {
            kind: RefusalKind::from_number(kind),
            text: cleaned(text.unwrap_or_default(), TEXT_BYTES),
        });
        Ok(header)
    }

    /// Reads one from a stream.
    pub(crate) async fn read<S>(stream: &mut S, pace: &mut Pace) -> Result<Self, NoHeader>
    where
        S: AsyncRead + Unpin,
    {
        let length = frame::read_length(stream, HEADER_BYTES, pace).await?;
        let bytes = frame::read_body(stream, length, pace).await?;
        Ok(Self::parse(&bytes)?)
    }

    /// Reads one that has to be there within this time.
    pub(crate) async fn read_within<S>(stream: &mut S, grace: Duration) -> Result<Self, NoHeader>
    where
        S: AsyncRead + Unpin,
    {
        Self::read(stream, &mut Pace::new(grace)).await
    }
}

/// A field that the protocol needs.
pub(crate) fn needed<T>(field: Option<T>, name: &'static str) -> Result<T, HeaderError> {
    field.ok_or(HeaderError::Lacks(name))
}

/// The frame of a refusal, in all protocols of this kind.
pub(crate) fn refusal(kind: RefusalKind, text: &str) -> Vec<u8> {
    let text = text.to_owned();
    Header {
        refused: Some(Refused { kind, text }),
        ..Header::default()
    }
    .frame()
}

fn hash(key: u64, bytes: &[u8]) -> Result<[u8; 32], HeaderError> {
    bytes.try_into().map_err(|_| HeaderError::Hash(key))
}

fn word(number: u8) -> Result<Word, HeaderError> {
    match number {
        1 => Ok(Word::Send),
        2 => Ok(Word::AlreadyStored),
        3 => Ok(Word::Stored),
        other => Err(HeaderError::Word(other)),
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
