//! Reading: a small blob with one get, a large one as a stream of its chunks.
//!
//! Nothing is handed out that did not open under its key. What does not open is looked at once more
//! (it may have been replaced or deleted meanwhile), and else quarantined.

mod chunks;
mod leaves;

use std::ops::Range;
use std::sync::Arc;

use bytecave_core::BlobCid;
use bytecave_messages::body::{BlobBody, BodyError, stream};
use bytecave_messages::store::{BlobInfo, BlobRead, ByteRange, StoreError};
use bytes::Bytes;
use rocksdb::ErrorKind;

pub use self::chunks::LargeReader;
pub(crate) use self::chunks::Origin;
use self::chunks::feed;
#[cfg(test)]
pub(crate) use self::leaves::of_large as leaves_of_large;
use super::Engine;
use super::cache::Cached;
use super::keyring::SealedName;
use super::layout::{name_key, prefix};
use super::record::{BlobMeta, Layout};
use super::seal::{
    BlobCipher, SEALED_SEGMENT_BYTES, SEGMENT_BYTES, SealError, sealed_len, segment_count,
};
use super::state::{Found, Inner, Place, failed, info, stopped};

/// How often a blob that is replaced while it is read is looked at again.
const ATTEMPTS: usize = 3;

/// The bytes of a blob, or the way to them.
#[derive(Debug)]
pub enum Opened {
    /// All that was asked for.
    Whole {
        /// What is known of the blob.
        info: BlobInfo,
        /// First byte.
        offset: u64,
        /// The bytes.
        bytes: Bytes,
    },
    /// A large blob.
    Chunks(Box<LargeReader>),
}

/// Why a chunk could not be read.
#[derive(Debug)]
pub(crate) enum ChunkError {
    Gone,
    Damaged(String),
    Failed(String),
}

/// A blob that was found.
struct Located<'a> {
    place: Place<'a>,
    name: SealedName,
    meta: Arc<BlobMeta>,
}

impl Engine {
    /// Reads a blob or a part of it. `held` is dropped when the last byte was handed over.
    pub async fn get<H: Send + 'static>(
        &self,
        cid: BlobCid,
        range: Option<ByteRange>,
        held: H,
    ) -> Result<BlobRead, StoreError> {
        if let Some(read) = open_cached(&self.inner, cid, range)? {
            return Ok(read);
        }
        let inner = Arc::clone(&self.inner);
        let opened = self
            .inner
            .readers
            .run(move || open_and_start(&inner, cid, range))
            .await
            .map_err(stopped)??;
        Ok(opened.into_read(held))
    }

    /// The same on the caller's thread.
    pub fn open_blocking(
        &self,
        cid: BlobCid,
        range: Option<ByteRange>,
    ) -> Result<Opened, StoreError> {
        match open_cached(&self.inner, cid, range)? {
            Some(BlobRead {
                info,
                offset,
                body: BlobBody::Whole(bytes),
                ..
            }) => Ok(Opened::Whole {
                info,
                offset,
                bytes,
            }),
            _ => open(&self.inner, cid, range),
        }
    }

    /// What is known of a blob.
    pub async fn info(&self, cid: BlobCid) -> Result<BlobInfo, StoreError> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .readers
            .run(move || {
                let located = locate(&inner, cid, false)?;
                Ok(info(&located.meta, located.place.family.shard))
            })
            .await
            .map_err(stopped)?
    }
}

/// A blob whose first bytes were read.
pub(crate) enum Started {
    Whole(Box<BlobRead>),
    Stream {
        reader: Box<LargeReader>,
        first: Vec<Bytes>,
    },
}

impl Started {
    /// The read, which goes on by itself; `held` is dropped when the last byte was handed over.
    pub(crate) fn into_read<H: Send + 'static>(self, held: H) -> BlobRead {
        match self {
            Self::Whole(read) => *read,
            Self::Stream { reader, first } => {
                let info = info(&reader.meta, reader.shard);
                let Range { start, end } = reader.range;
                let (sender, body) = stream(Some(end - start));
                tokio::spawn(feed(reader, first, sender, held));
                BlobRead {
                    info,
                    offset: start,
                    len: end - start,
                    body: BlobBody::Stream(body),
                }
            }
        }
    }
}

/// Reads a blob whose sealed bytes are in the cache; `None` if they are not, or do not open.
fn open_cached(
    inner: &Inner,
    cid: BlobCid,
    range: Option<ByteRange>,
) -> Result<Option<BlobRead>, StoreError> {
    let digest = cid.digest();
    let name = inner.keyring().sealed_name(&digest);
    if inner.blocked.contains(&name) {
        return Err(StoreError::Blocked { cid });
    }
    let Cached::Hit(meta, Some(sealed)) = inner.cache.get(&name) else {
        return Ok(None);
    };
    if meta.quarantined {
        return Err(StoreError::Damaged { cid });
    }
    let range = resolve(range, meta.size)?;
    let Ok(bytes) = unseal(&meta, &sealed, &range) else {
        return Ok(None);
    };
    Ok(Some(BlobRead {
        info: info(&meta, inner.shard_of(&digest)),
        offset: range.start,
        len: bytes.len() as u64,
        body: BlobBody::Whole(bytes),
    }))
}

/// Opens the blob and reads its first chunks, so that damage there is an error and no broken stream.
fn open_and_start(
    inner: &Arc<Inner>,
    cid: BlobCid,
    range: Option<ByteRange>,
) -> Result<Started, StoreError> {
    Ok(match open(inner, cid, range)? {
        Opened::Whole {
            info,
            offset,
            bytes,
        } => Started::Whole(Box::new(BlobRead {
            info,
            offset,
            len: bytes.len() as u64,
            body: BlobBody::Whole(bytes),
        })),
        Opened::Chunks(reader) => start(reader)?,
    })
}

/// Reads the first chunks of a large blob.
pub(crate) fn start(mut reader: Box<LargeReader>) -> Result<Started, StoreError> {
    let cid = BlobCid::from_digest(reader.meta.digest);
    let first = reader.read().map_err(|error| match error {
        BodyError::Damaged => StoreError::Damaged { cid },
        BodyError::Deleted => StoreError::NotFound { cid },
        other => StoreError::Body(other),
    })?;
    Ok(Started::Stream { reader, first })
}

/// Finds a blob; `fresh` asks the database even if its metadata was read lately.
fn locate(inner: &Inner, cid: BlobCid, fresh: bool) -> Result<Located<'_>, StoreError> {
    let digest = cid.digest();
    let not_found = || StoreError::NotFound { cid };
    let keyring = inner.keyring();
    let name = keyring.sealed_name(&digest);
    if inner.blocked.contains(&name) {
        return Err(StoreError::Blocked { cid });
    }
    let place = inner.place(inner.shard_of(&digest)).ok_or_else(not_found)?;
    let ticket = match inner.cache.get(&name) {
        Cached::Hit(meta, _) if !fresh => return Ok(Located { place, name, meta }),
        Cached::Hit(..) => None,
        Cached::Miss(ticket) => Some(ticket),
    };
    match inner.find(&place, &keyring, &name)? {
        Found::Here(meta) => {
            if let Some(ticket) = ticket {
                inner.cache.fill(&name, &meta, ticket);
            }
            Ok(Located { place, name, meta })
        }
        Found::Absent => Err(not_found()),
        Found::Unreadable => Err(StoreError::Damaged { cid }),
    }
}

/// Reads a blob with `read`. What does not open twice, although
/// it is the same blob both times, is quarantined; one that was replaced or deleted under the reader is looked
/// up anew.
fn soundly<T>(
    inner: &Inner,
    cid: BlobCid,
    doing: &'static str,
    mut read: impl FnMut(&Located<'_>) -> Result<Result<T, ChunkError>, StoreError>,
) -> Result<T, StoreError> {
    let mut tried = None;
    for _ in 0..ATTEMPTS {
        let located = locate(inner, cid, tried.is_some())?;
        let meta = &located.meta;
        if meta.quarantined {
            return Err(StoreError::Damaged { cid });
        }
        match read(&located)? {
            Ok(read) => return Ok(read),
            Err(ChunkError::Failed(cause)) => return Err(failed(doing, cause)),
            Err(error) => {
                if tried == Some(meta.blob_id) {
                    inner.quarantine(&located, &error);
                    return Err(StoreError::Damaged { cid });
                }
                tried = Some(meta.blob_id);
            }
        }
    }
    Err(failed(
        doing,
        "the blob was replaced again and again while it was read",
    ))
}

fn open(inner: &Arc<Inner>, cid: BlobCid, range: Option<ByteRange>) -> Result<Opened, StoreError> {
    soundly(inner, cid, "reading a blob", |located| {
        let Located { place, meta, .. } = located;
        let shard = place.family.shard;
        let range = resolve(range, meta.size)?;
        if meta.layout == Layout::Large {
            let reader = LargeReader::open(inner, Arc::clone(meta), shard, range, Origin::Shard)?;
            return Ok(Ok(Opened::Chunks(Box::new(reader))));
        }
        Ok(
            open_small(inner, located, &range).map(|bytes| Opened::Whole {
                info: info(meta, shard),
                offset: range.start,
                bytes,
            }),
        )
    })
}

/// The part of `size` bytes that `range` asks for.
pub(crate) fn resolve(range: Option<ByteRange>, size: u64) -> Result<Range<u64>, StoreError> {
    let outside = StoreError::RangeNotSatisfiable { size };
    match range {
        None => Ok(0..size),
        Some(ByteRange::FromTo(first, last)) if first <= last && first < size => {
            Ok(first..size.min(last.saturating_add(1)))
        }
        Some(ByteRange::From(first)) if first < size => Ok(first..size),
        Some(ByteRange::Last(len)) if len > 0 && size > 0 => Ok(size.saturating_sub(len)..size),
        Some(_) => Err(outside),
    }
}

fn open_small(
    inner: &Inner,
    located: &Located<'_>,
    range: &Range<u64>,
) -> Result<Bytes, ChunkError> {
    let Located { place, name, meta } = located;
    let sealed = inner
        .db
        .get_pinned_cf(&place.handle, name_key(prefix::DATA, name))
        .map_err(ChunkError::from_db)?
        .ok_or(ChunkError::Gone)?;
    let bytes =
        unseal(meta, &sealed, range).map_err(|error| ChunkError::Damaged(error.to_string()))?;
    inner.cache.keep(name, meta.blob_id, &sealed);
    Ok(bytes)
}

/// Opens the segments of a small blob that lie in `range`.
fn unseal(meta: &BlobMeta, sealed: &[u8], range: &Range<u64>) -> Result<Bytes, SealError> {
    let cipher = BlobCipher::new(&meta.data_key, meta.blob_id)?;
    if *range == (0..meta.size) {
        let mut whole = sealed.to_vec();
        cipher.open_whole(meta.size, &mut whole)?;
        return Ok(Bytes::from(whole));
    }
    let (found, expected) = (sealed.len() as u64, sealed_len(meta.size));
    if found != expected {
        return Err(SealError::Length { found, expected });
    }
    let last = segment_count(meta.size)? - 1;
    let mut part = Vec::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
    for (number, sealed) in (0..).zip(sealed.chunks(SEALED_SEGMENT_BYTES)) {
        if let Some(wanted) = part_of_segment(number, range) {
            let mut segment = sealed.to_vec();
            let content = cipher.open_segment(number, number == last, &mut segment)?;
            part.extend_from_slice(content.get(wanted).unwrap_or_default());
        }
    }
    Ok(Bytes::from(part))
}

/// The bytes of segment `number` that lie in `range`, if any.
fn part_of_segment(number: u32, range: &Range<u64>) -> Option<Range<usize>> {
    let start = u64::from(number) * SEGMENT_BYTES as u64;
    let end = start + SEGMENT_BYTES as u64;
    let from = range.start.max(start);
    let to = range.end.min(end);
    (from < to).then(|| {
        let within = |at: u64| usize::try_from(at - start).unwrap_or(SEGMENT_BYTES);
        within(from)..within(to)
    })
}

impl ChunkError {
    fn cause(&self) -> &str {
        match self {
            Self::Gone => "its bytes are missing",
            Self::Damaged(cause) | Self::Failed(cause) => cause,
        }
    }

    fn from_db(error: rocksdb::Error) -> Self {
        // A table file that is gone or cut short shows as an I/O error that names it.
        match error.kind() {
            ErrorKind::Corruption | ErrorKind::IOError => Self::Damaged(error.into_string()),
            _ => Self::Failed(error.into_string()),
        }
    }
}

impl Inner {
    /// Has a blob flagged as damaged.
    fn quarantine(&self, located: &Located<'_>, error: &ChunkError) {
        let Located { place, name, meta } = located;
        let unreadable = matches!(error, ChunkError::Damaged(_));
        // Nobody waits for it: the next reader finds out as this one did.
        drop(self.flag_damaged(place, name, meta, error.cause(), unreadable));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_resolve_as_http_means_them() {
        assert_eq!(resolve(None, 0), Ok(0..0));
        assert_eq!(resolve(Some(ByteRange::FromTo(0, 0)), 10), Ok(0..1));
        assert_eq!(resolve(Some(ByteRange::FromTo(3, 99)), 10), Ok(3..10));
        assert_eq!(resolve(Some(ByteRange::FromTo(3, u64::MAX)), 10), Ok(3..10));
        assert_eq!(resolve(Some(ByteRange::From(9)), 10), Ok(9..10));
        assert_eq!(resolve(Some(ByteRange::Last(4)), 10), Ok(6..10));
        assert_eq!(resolve(Some(ByteRange::Last(40)), 10), Ok(0..10));
        for (range, size) in [
            (ByteRange::FromTo(10, 12), 10),
            (ByteRange::FromTo(5, 4), 10),
            (ByteRange::From(10), 10),
            (ByteRange::From(0), 0),
            (ByteRange::Last(0), 10),
            (ByteRange::Last(1), 0),
        ] {
            assert_eq!(
                resolve(Some(range), size),
                Err(StoreError::RangeNotSatisfiable { size }),
                "{range:?} of {size}"
            );
        }
    }

    #[test]
    fn only_the_segments_in_range_are_opened() {
        let segment = SEGMENT_BYTES as u64;
        let range = segment - 1..segment + 1;
        assert_eq!(
            part_of_segment(0, &range),
            Some(SEGMENT_BYTES - 1..SEGMENT_BYTES)
        );
        assert_eq!(part_of_segment(1, &range), Some(0..1));
        assert_eq!(part_of_segment(2, &range), None);
    }
}
