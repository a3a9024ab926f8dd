//! Storing: small blobs here, the way to [`super::large`] for the others.
//!
//! A small blob is hashed, tree-hashed and sealed by one job, which hands it to the commit thread
//! itself; the caller waits for the commit's answer only.

use std::sync::Arc;

use bytecave_core::{BlobCid, BlobRoot, Commitment, Digest, tree};
use bytecave_messages::body::{BlobBody, BodyError, BodyStream};
use bytecave_messages::store::{Durability, Foreign, InTransit, NewBlob, StoreError, Stored, Word};
use bytes::{Bytes, BytesMut};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::Engine;
use super::commit::blobs::{Kept, Settle, SmallPut};
use super::commit::{Op, Reply};
use super::failpoint::failpoint;
use super::keyring::SealedName;
use super::large;
use super::layout::{name_key, prefix};
use super::record::{self, BlobMeta, Layout};
use super::seal::{BlobCipher, BlobId, DataKey, sealed_len};
use super::state::{Found, Inner, Place, now_ms, record_failed, seal_failed, stopped};

/// Blobs up to this size are one value, written with their metadata in one batch.
pub const SMALL_MAX_BYTES: usize = 4 << 20;

/// What is said of a blob beside its bytes.
#[derive(Debug, Clone)]
pub struct Details {
    /// What the bytes must hash to.
    pub expected: Option<BlobCid>,
    /// Media type.
    pub content_type: Option<String>,
    /// The client's name for it.
    pub file_name: Option<String>,
    /// On whose word.
    pub word: Word,
    /// Synced before the answer, whatever the durability is.
    pub durable: bool,
    /// What becomes of it when its shard is not ours.
    pub foreign: Foreign,
}

impl Default for Details {
    /// A client's, of which nothing is known.
    fn default() -> Self {
        Self {
            expected: None,
            content_type: None,
            file_name: None,
            word: Word::Client,
            durable: false,
            foreign: Foreign::Refuse,
        }
    }
}

/// What became of a put.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is here.
    Kept(Kept),
    /// Its shard is not ours: it is on its way.
    Passing(Passing),
}

/// A blob on its way.
#[derive(Debug)]
pub(crate) struct Passing {
    pub(crate) digest: Digest,
    pub(crate) size: u64,
    pub(crate) blob_root: BlobRoot,
    pub(crate) content: InTransit,
}

impl Engine {
    /// Keeps a blob; answers when it is as durable as configured, or synced if that was asked for.
    pub async fn put(&self, blob: NewBlob) -> Result<Stored, StoreError> {
        let NewBlob {
            body,
            expected,
            content_type,
            file_name,
            word,
            durable,
            foreign,
        } = blob;
        let details = Details {
            expected,
            content_type,
            file_name,
            word,
            durable,
            foreign,
        };
        let inner = &self.inner;
        inner.check_before_body(&details, body.stated_len())?;
        inner.check_tombstone_before_body(&details).await?;
        let outcome = match body {
            BlobBody::Whole(bytes) if bytes.len() <= SMALL_MAX_BYTES => {
                put_small(inner, bytes, details).await
            }
            BlobBody::Whole(bytes) => large::put(inner, vec![bytes], None, details).await,
            BlobBody::Stream(stream) => put_stream(inner, stream, details).await,
        }?;
        Ok(inner.stored(outcome, durable))
    }

    /// Keeps a blob of at most [`SMALL_MAX_BYTES`] on the caller's thread, which must be outside any
    /// runtime.
    pub fn put_blocking(&self, content: Bytes, details: Details) -> Result<Stored, StoreError> {
        let inner = &self.inner;
        if content.len() > SMALL_MAX_BYTES {
            return Err(StoreError::TooLarge {
                limit_bytes: SMALL_MAX_BYTES as u64,
            });
        }
        inner.check_before_body(&details, Some(content.len() as u64))?;
        let (reply, answer) = oneshot::channel();
        let durable = details.durable;
        prepare_and_submit(inner, &content, details, None, reply);
        let outcome = answer
            .blocking_recv()
            .map_err(|_| StoreError::Unavailable)??;
        Ok(inner.stored(outcome, durable))
    }
}

impl Inner {
    /// What can be refused before a byte of the body is read, and without asking the disk.
    fn check_before_body(
        &self,
        details: &Details,
        stated_len: Option<u64>,
    ) -> Result<(), StoreError> {
        let limit_bytes = self.options.max_blob_bytes;
        if stated_len.is_some_and(|len| len > limit_bytes) {
            return Err(StoreError::TooLarge { limit_bytes });
        }
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        let Some(cid) = details.expected else {
            return Ok(());
        };
        if self
            .blocked
            .contains(&self.keyring().sealed_name(&cid.digest()))
        {
            return Err(StoreError::Blocked { cid });
        }
        if details.foreign == Foreign::Refuse {
            self.owned_place(self.shard_of(&cid.digest()), cid)?;
        }
        Ok(())
    }

    /// The same for what was deleted here and is known beforehand.
    async fn check_tombstone_before_body(
        self: &Arc<Self>,
        details: &Details,
    ) -> Result<(), StoreError> {
        let Some(cid) = details.expected else {
            return Ok(());
        };
        let passes = details.foreign == Foreign::Transit;
        if details.word == Word::Client || passes || !self.may_have_tombstones() {
            return Ok(());
        }
        let inner = Arc::clone(self);
        self.readers
            .run(move || {
                let name = inner.keyring().sealed_name(&cid.digest());
                inner.expect_wanted(&name, cid, Word::Peer)
            })
            .await
            .map_err(stopped)?
    }

    /// Where a blob is to be kept; none if it only passes through, since its shard is not ours or it was
    /// deleted here.
    pub(crate) fn destination(
        &self,
        name: &SealedName,
        cid: BlobCid,
        details: &Details,
    ) -> Result<Option<Place<'_>>, StoreError> {
        let wanted = self.expect_wanted(name, cid, details.word);
        let place = wanted.and_then(|()| self.owned_place(self.shard_of(&cid.digest()), cid));
        match place {
            Err(StoreError::NotOurShard { .. } | StoreError::Deleted { .. })
                if details.foreign == Foreign::Transit =>
            {
                Ok(None)
            }
            place => place.map(Some),
        }
    }

    fn stored(&self, outcome: Outcome, durable: bool) -> Stored {
        let (digest, size, blob_root, new, durability, transit) = match outcome {
            Outcome::Kept(Kept { meta, new }) => {
                let durability = match meta.layout {
                    Layout::Small if !durable => self.options.durability,
                    Layout::Small | Layout::Large => Durability::Strict,
                };
                (
                    meta.digest,
                    meta.size,
                    meta.blob_root,
                    new,
                    durability,
                    None,
                )
            }
            Outcome::Passing(passing) => {
                let Passing {
                    digest,
                    size,
                    blob_root,
                    content,
                } = passing;
                // Neither survives an end of the process.
                (
                    digest,
                    size,
                    blob_root,
                    true,
                    Durability::Relaxed,
                    Some(content),
                )
            }
        };
        Stored {
            cid: BlobCid::from_digest(digest),
            shard: self.shard_of(&digest),
            size,
            blob_root,
            commitment: Commitment::of(size, &blob_root),
            new,
            durability,
            transit,
        }
    }
}

/// Checks what was hashed against what was stated.
pub(crate) fn check_expected(details: &Details, digest: Digest) -> Result<(), StoreError> {
    let actual = BlobCid::from_digest(digest);
    match details.expected {
        Some(expected) if expected != actual => Err(StoreError::Mismatch { expected, actual }),
        _ => Ok(()),
    }
}

/// Collects the head of a stream, and stores it as small if it was all.
async fn put_stream(
    inner: &Arc<Inner>,
    mut stream: BodyStream,
    details: Details,
) -> Result<Outcome, StoreError> {
    if stream
        .stated_len()
        .is_some_and(|len| len > SMALL_MAX_BYTES as u64)
    {
        return large::put(inner, Vec::new(), Some(stream), details).await;
    }
    let mut head: Vec<Bytes> = Vec::new();
    let mut len = 0;
    while let Some(piece) = stream.next().await {
        let piece = piece?;
        len += piece.len();
        head.push(piece);
        if len as u64 > inner.options.max_blob_bytes {
            let limit_bytes = inner.options.max_blob_bytes;
            return Err(StoreError::Body(BodyError::TooLarge { limit_bytes }));
        }
        if len > SMALL_MAX_BYTES {
            return large::put(inner, head, Some(stream), details).await;
        }
    }
    let content = if head.len() == 1 {
        head.pop().unwrap_or_default()
    } else {
        let mut whole = BytesMut::with_capacity(len);
        head.iter().for_each(|piece| whole.extend_from_slice(piece));
        whole.freeze()
    };
    drop(head);
    put_small(inner, content, details).await
}

async fn put_small(
    inner: &Arc<Inner>,
    content: Bytes,
    details: Details,
) -> Result<Outcome, StoreError> {
    // Never more than there are, or the wait would never end.
    let all = inner.options.sealed_in_flight_bytes / 1024;
    let slots = (content.len() / 1024 + 1).min(all.max(1));
    let slots = u32::try_from(slots).unwrap_or(u32::MAX);
    let slots = Arc::clone(&inner.sealed_slots)
        .acquire_many_owned(slots)
        .await
        .map_err(|_| StoreError::Unavailable)?;
    let (reply, answer) = oneshot::channel();
    let job = {
        let inner = Arc::clone(inner);
        move || prepare_and_submit(&inner, &content, details, Some(slots), reply)
    };
    inner.sealers.submit(job).await.map_err(stopped)?;
    // No answer at all: the job panicked, or the engine is closing.
    answer.await.map_err(|_| StoreError::Unavailable)?
}

/// Hashes and seals `content` and hands it to the commit thread, or answers at once.
fn prepare_and_submit(
    inner: &Inner,
    content: &Bytes,
    details: Details,
    slots: Option<OwnedSemaphorePermit>,
    reply: Reply<Outcome>,
) {
    let durable = details.durable;
    match prepare(inner, content, details) {
        Ok(Prepared::Here(kept)) if durable && inner.options.durability != Durability::Strict => {
            // It may have been written a moment ago.
            inner.queue.submit_to(reply, |reply| {
                Op::Settle(Box::new(Settle { kept: *kept, reply }))
            });
        }
        Ok(Prepared::Here(kept)) => {
            let _ = reply.send(Ok(Outcome::Kept(*kept)));
        }
        Ok(Prepared::Passing(passing)) => {
            let _ = reply.send(Ok(Outcome::Passing(*passing)));
        }
        Ok(Prepared::Ready(ready)) => {
            failpoint!("put::before-commit");
            inner.queue.submit_to(reply, |reply| {
                Op::Put(Box::new(ready.with_reply(slots, reply)))
            });
        }
        Err(error) => {
            // The caller may have gone away.
            let _ = reply.send(Err(error));
        }
    }
}

pub(super) enum Prepared {
    /// It is stored already.
    Here(Box<Kept>),
    /// Its shard is not ours.
    Passing(Box<Passing>),
    Ready(Box<Ready>),
}

/// A small blob, hashed and sealed.
pub(super) struct Ready {
    name: SealedName,
    shard: bytecave_core::ShardId,
    meta: BlobMeta,
    sealed_meta: Vec<u8>,
    sealed: Vec<u8>,
    space: super::space::Reservation,
    word: Word,
    durable: bool,
}

impl Ready {
    pub(super) fn with_reply(
        self,
        slots: Option<OwnedSemaphorePermit>,
        reply: Reply<Outcome>,
    ) -> SmallPut {
        SmallPut {
            name: self.name,
            shard: self.shard,
            meta: self.meta,
            sealed_meta: self.sealed_meta,
            sealed: self.sealed,
            space: self.space,
            slots,
            word: self.word,
            durable: self.durable,
            reply,
        }
    }
}

pub(super) fn prepare(
    inner: &Inner,
    content: &Bytes,
    details: Details,
) -> Result<Prepared, StoreError> {
    let digest = Digest::of(content);
    check_expected(&details, digest)?;
    let shard = inner.shard_of(&digest);
    let cid = BlobCid::from_digest(digest);
    let keyring = inner.keyring();
    let name = keyring.sealed_name(&digest);
    let Some(place) = inner.destination(&name, cid, &details)? else {
        return Ok(Prepared::Passing(Box::new(Passing {
            digest,
            size: content.len() as u64,
            blob_root: tree::blob_root(content),
            content: InTransit::Memory(content.clone()),
        })));
    };
    // The commit thread looks again; this spares the sealing of what is here already.
    let mut needed_bytes = sealed_len(content.len() as u64);
    if let Found::Here(meta) = inner.find(&place, &keyring, &name)?
        && !meta.quarantined
    {
        if !meta.is_retired() {
            let meta = (*meta).clone();
            return Ok(Prepared::Here(Box::new(Kept { meta, new: false })));
        }
        // Unless it goes in this very moment, its bytes are taken back and no others are written.
        needed_bytes = 0;
    }
    let size = content.len() as u64;
    let sealed_size = sealed_len(size);
    let space = inner.reserve(needed_bytes)?;
    let blob_id = BlobId::random().map_err(seal_failed)?;
    let data_key = DataKey::random().map_err(seal_failed)?;
    let sealed = BlobCipher::new(&data_key, blob_id)
        .and_then(|cipher| cipher.seal_whole(content))
        .map_err(seal_failed)?;
    let meta = BlobMeta {
        digest,
        size,
        content_type: details.content_type,
        file_name: details.file_name,
        created_ms: now_ms(),
        blob_id,
        data_key,
        blob_root: tree::blob_root(content),
        page_roots: Vec::new(),
        layout: Layout::Small,
        pinned: false,
        quarantined: false,
        sealed_size,
        retired_until_ms: None,
    };
    let key = name_key(prefix::META, &name);
    let sealed_meta =
        record::seal(&keyring, &place.family.name, &key, &meta).map_err(record_failed)?;
    Ok(Prepared::Ready(Box::new(Ready {
        name,
        shard,
        meta,
        sealed_meta,
        sealed,
        space,
        word: details.word,
        durable: details.durable,
    })))
}
