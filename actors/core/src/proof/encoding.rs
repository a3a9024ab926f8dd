//! The encoding that signatures are made over, and which is with the signature the binary form.
//!
//! A tag, then fields: each is `u32be(length)` and that many bytes, also where the length never
//! differs. So there is one encoding for each proof and one proof for each encoding. Numbers are
//! big-endian, of 4 or 8 bytes.
//!
//! | field | bytes |
//! |---|---|
//! | (tag, no length) | `bytecave-proof-v1` |
//! | version | 4 |
//! | cid | 36: the binary CID |
//! | size | 8 |
//! | leafSize | 4 |
//! | blobRoot | 32 |
//! | nonce | 32 |
//! | leaves | 4: their number |
//! | for each: index | 8 |
//! | for each: data | 0 to 1024 |
//! | for each: path | 32 for each hash, 0 to 54 hashes |
//! | nodeId | 0 to 128: UTF-8 |
//! | peerId | 38: the binary peer id |
//! | publicKey | 32 |
//! | timestamp | 8 |
//! | signature (binary form only) | 64 |

use super::answer::{LeafProof, Proof};
use super::challenge::{COUNT_MAX, Nonce};
use super::form::{FormError, NODE_ID_MAX_BYTES};
use crate::tree::{Hash, LEAF_BYTES, PATH_MAX};
use crate::{BlobCid, BlobRoot, PeerId, PublicKey};

const TAG: &[u8] = b"bytecave-proof-v1";
const PREFIX: usize = 4;
const HASH: usize = 32;
const LEAF_MAX_BYTES: usize = PREFIX + 8 + PREFIX + LEAF_BYTES + PREFIX + PATH_MAX * HASH;

/// Longest binary form of a proof.
pub const PROOF_MAX_BYTES: usize = TAG.len()
    + 12 * PREFIX
    + (4 + 36 + 8 + 4 + 32 + 32 + 4)
    + COUNT_MAX as usize * LEAF_MAX_BYTES
    + (NODE_ID_MAX_BYTES + 38 + 32 + 8 + 64);

/// Appends fields.
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn new(tag: &[u8]) -> Self {
        Self(tag.to_vec())
    }

    /// A field that is made of `parts`.
    pub(super) fn parts<'a>(&mut self, parts: impl Iterator<Item = &'a [u8]> + Clone) {
        let len = parts.clone().map(<[u8]>::len).sum::<usize>();
        // What is signed or sent was within its bounds, which are far below.
        let len = u32::try_from(len).unwrap_or(u32::MAX);
        self.0.extend_from_slice(&len.to_be_bytes());
        parts.for_each(|part| self.0.extend_from_slice(part));
    }

    pub(super) fn field(&mut self, bytes: &[u8]) {
        self.parts(std::iter::once(bytes));
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Takes fields off, in their order; borrows, and allocates nothing.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, name: &'static str, len: usize) -> Result<&'a [u8], FormError> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(FormError::Short(name))?;
        self.0 = rest;
        Ok(head)
    }

    /// A field of any length up to `max`; longer ones are refused as `too_long` says.
    fn upto(
        &mut self,
        name: &'static str,
        max: usize,
        too_long: fn(u64) -> FormError,
    ) -> Result<&'a [u8], FormError> {
        let len = self.len(name)?;
        match usize::try_from(len) {
            Ok(len) if len <= max => self.take(name, len),
            _ => Err(too_long(len.into())),
        }
    }

    /// A field of exactly `N` bytes.
    fn exact<const N: usize>(
        &mut self,
        name: &'static str,
        expected: &'static str,
    ) -> Result<[u8; N], FormError> {
        let len = self.len(name)?;
        let wrong = || FormError::Field {
            field: name,
            len: len.into(),
            expected,
        };
        if usize::try_from(len) != Ok(N) {
            return Err(wrong());
        }
        self.take(name, N)?.try_into().map_err(|_| wrong())
    }

    fn len(&mut self, name: &'static str) -> Result<u32, FormError> {
        let prefix = self.take(name, PREFIX)?;
        let prefix = prefix.try_into().map_err(|_| FormError::Short(name))?;
        Ok(u32::from_be_bytes(prefix))
    }

    fn u32(&mut self, name: &'static str) -> Result<u32, FormError> {
        self.exact(name, "4").map(u32::from_be_bytes)
    }

    fn u64(&mut self, name: &'static str) -> Result<u64, FormError> {
        self.exact(name, "8").map(u64::from_be_bytes)
    }

    fn hash(&mut self, name: &'static str) -> Result<Hash, FormError> {
        self.exact(name, "32")
    }

    fn leaf(&mut self) -> Result<LeafProof, FormError> {
        let index = self.u64("index")?;
        let data = self.upto("data", LEAF_BYTES, FormError::Data)?;
        let hashes = |bytes: u64| FormError::Path(bytes.div_ceil(HASH as u64));
        let path = self.upto("path", PATH_MAX * HASH, hashes)?;
        let (path, rest) = path.as_chunks::<HASH>();
        if !rest.is_empty() {
            return Err(FormError::Value("path"));
        }
        Ok(LeafProof {
            index,
            data: data.to_vec(),
            path: path.to_vec(),
        })
    }

    fn leaves(&mut self) -> Result<Vec<LeafProof>, FormError> {
        let count = self.u32("leaves")?;
        if count > COUNT_MAX.into() {
            return Err(FormError::Leaves(count.into()));
        }
        (0..count).map(|_| self.leaf()).collect()
    }
}

pub(super) fn signed_bytes(proof: &Proof) -> Vec<u8> {
    let mut writer = Writer::new(TAG);
    writer.field(&proof.version.to_be_bytes());
    writer.field(&proof.cid.to_bytes());
    writer.field(&proof.size.to_be_bytes());
    writer.field(&proof.leaf_size.to_be_bytes());
    writer.field(proof.blob_root.as_bytes());
    writer.field(proof.nonce.as_bytes());
    let count = u32::try_from(proof.leaves.len()).unwrap_or(u32::MAX);
    writer.field(&count.to_be_bytes());
    for leaf in &proof.leaves {
        writer.field(&leaf.index.to_be_bytes());
        writer.field(&leaf.data);
        writer.parts(leaf.path.iter().map(<[u8; HASH]>::as_slice));
    }
    writer.field(proof.node_id.as_bytes());
    writer.field(&proof.peer_id.to_bytes());
    writer.field(proof.public_key.as_bytes());
    writer.field(&proof.timestamp_ms.to_be_bytes());
    writer.finish()
}

pub(super) fn to_bytes(proof: &Proof) -> Vec<u8> {
    let mut writer = Writer(signed_bytes(proof));
    writer.field(&proof.signature);
    writer.finish()
}

pub(super) fn from_bytes(bytes: &[u8]) -> Result<Proof, FormError> {
    if bytes.len() > PROOF_MAX_BYTES {
        return Err(FormError::Size(bytes.len() as u64));
    }
    let mut reader = Reader(bytes.strip_prefix(TAG).ok_or(FormError::Tag)?);
    let proof = Proof {
        version: reader.u32("version")?,
        cid: BlobCid::from_bytes(reader.exact("cid", "36")?).ok_or(FormError::Value("cid"))?,
        size: reader.u64("size")?,
        leaf_size: reader.u32("leafSize")?,
        blob_root: BlobRoot::new(reader.hash("blobRoot")?),
        nonce: Nonce::new(reader.hash("nonce")?),
        leaves: reader.leaves()?,
        node_id: str::from_utf8(reader.upto("nodeId", NODE_ID_MAX_BYTES, FormError::NodeId)?)
            .map_err(|_| FormError::Value("nodeId"))?
            .to_owned(),
        peer_id: PeerId::from_bytes(reader.exact("peerId", "38")?)
            .ok_or(FormError::Value("peerId"))?,
        public_key: PublicKey::new(reader.exact("publicKey", "32")?),
        timestamp_ms: reader.u64("timestamp")?,
        signature: reader.exact("signature", "64")?,
    };
    match reader.0.len() {
        0 => Ok(proof),
        behind => Err(FormError::Behind(behind as u64)),
    }
}
